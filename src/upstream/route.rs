//! Which pool a recipient's domain goes to.
//!
//! `example.net` beats `.example.net` beats `.net` beats `*`, whatever the order in the file. A look-up
//! lowers the case on the stack and asks hash tables: it allocates nothing, and a domain of many labels
//! costs one question a label.

use super::ids::PoolId;
use crate::{config::Recipients, smtp::domain};
use rustc_hash::FxHashMap;

/// Longest domain that can have a route (RFC 5321 §4.5.3.1.2).
const DOMAIN_MAX: usize = 255;

/// Where a recipient goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The route's place in the file.
    pub id: RouteId,
    /// The pool.
    pub pool: PoolId,
    /// Whether its backends are asked for each recipient.
    pub recipients: Recipients,
}

/// A route's place in the file, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteId(pub u32);

impl RouteId {
    /// Of no route in the file.
    pub const NONE: RouteId = RouteId(u32::MAX);
}

/// All routes.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    exact: FxHashMap<Box<[u8]>, Route>,
    below: FxHashMap<Box<[u8]>, Route>,
    other: Option<Route>,
    first: Option<Route>,
}

impl RouteTable {
    /// Adds one domain of a route, as it's written in the file: `example.net`, `.example.net` or `*`. What was there first
    /// stays; `Err` says of which route that is.
    pub fn add(&mut self, domain: &str, route: Route) -> Result<(), RouteId> {
        self.first.get_or_insert(route);
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        let lower = |name: &str| {
            let form = domain::to_ascii(name.as_bytes()).unwrap_or(name.as_bytes().into());
            form.to_ascii_lowercase().into_boxed_slice()
        };
        let before = match domain.strip_prefix('.') {
            _ if domain == "*" => *self.other.get_or_insert(route),
            Some(parent) => *self.below.entry(lower(parent)).or_insert(route),
            None => *self.exact.entry(lower(domain)).or_insert(route),
        };
        if before.id == route.id {
            Ok(())
        } else {
            Err(before.id)
        }
    }

    /// The route of a domain (or an address literal, which only `*` or its own text match).
    #[must_use]
    pub fn find(&self, domain: &[u8]) -> Option<&Route> {
        let domain = &*domain::to_ascii(domain)?;
        let mut buffer = [0u8; DOMAIN_MAX];
        let lower = buffer.get_mut(..domain.len())?;
        lower.copy_from_slice(domain);
        lower.make_ascii_lowercase();
        if lower.is_empty() {
            return None;
        }
        if let Some(route) = self.exact.get(&*lower) {
            return Some(route);
        }
        if !self.below.is_empty() {
            for dot in memchr::memchr_iter(b'.', lower) {
                // `.example.net` is every domain below it: there is something before the dot.
                if dot > 0
                    && let Some(route) = self.below.get(&lower[dot + 1..])
                {
                    return Some(route);
                }
            }
        }
        self.other.as_ref()
    }

    /// The route of a domain that the file names: not by `*`.
    #[must_use]
    pub fn find_ours(&self, domain: &[u8]) -> Option<&Route> {
        let found = self.find(domain)?;
        let any = self
            .other
            .as_ref()
            .is_some_and(|other| std::ptr::eq(other, found));
        (!any).then_some(found)
    }

    /// Where mail for a domain that no route matches goes, and that for `<Postmaster>`, which has no domain (RFC 5321 §4.5.1):
    /// to the pool of the first route of the file. What that route says of its own domains, its list of recipients and its
    /// profile, does not hold for them.
    #[must_use]
    pub fn of_others(&self) -> Option<Route> {
        self.first.map(|first| Route {
            id: RouteId::NONE,
            ..first
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(routes: &[&[&str]]) -> RouteTable {
        let mut table = RouteTable::default();
        for (i, domains) in routes.iter().enumerate() {
            let route = Route {
                id: RouteId(i as u32),
                pool: PoolId(i as u32 * 10),
                recipients: Recipients::Accept,
            };
            for domain in *domains {
                table.add(domain, route).expect("no two alike");
            }
        }
        table
    }

    #[test]
    fn the_nearest_name_wins_in_any_case_and_order() {
        let table = table(&[
            &["*"],
            &[".net", "example.org"],
            &[".Example.NET"],
            &["example.net", "a.b.example.net"],
        ]);
        for (domain, route) in [
            (&b"example.net"[..], 3),
            (b"EXAMPLE.NET", 3),
            (b"x.example.net", 2),
            (b"y.x.Example.net", 2),
            (b"a.b.example.net", 3),
            (b"b.example.net", 2),
            (b"other.net", 1),
            (b"net", 0),
            (b"sub.example.org", 0),
            (b"[192.0.2.1]", 0),
        ] {
            let found = table.find(domain).expect("there is a star");
            let name = String::from_utf8_lossy(domain);
            assert_eq!((found.id.0, found.pool.0), (route, route * 10), "{name}");
        }
    }

    #[test]
    fn other_domains_have_the_pool_of_the_first_route_and_nothing_else_of_it() {
        let table = table(&[&["example.net"], &["example.org"]]);
        assert_eq!(table.find(b"other.example"), None);
        let others = table.of_others().expect("there is a first route");
        assert_eq!((others.id, others.pool), (RouteId::NONE, PoolId(0)));
        assert_eq!(RouteTable::default().of_others(), None);
    }

    #[test]
    fn without_a_star_there_is_none_for_strangers() {
        let table = table(&[&[".example.net"]]);
        for domain in [&b"example.net"[..], b"", b".example.net", b"xexample.net"] {
            assert_eq!(table.find(domain), None);
        }
        assert_eq!(table.find(&[b'a'; 300]), None);
        assert!(table.find(b"a.example.net").is_some());
    }

    #[test]
    fn says_which_route_has_the_domain_already() {
        let mut table = table(&[&["example.net"]]);
        let route = Route {
            id: RouteId(7),
            ..table.of_others().expect("one")
        };
        assert_eq!(table.add("EXAMPLE.net", route), Err(RouteId(0)));
        assert_eq!(table.add(".example.net", route), Ok(()));
    }

    #[test]
    fn either_spelling_of_a_domain_finds_its_route() {
        let routes = table(&[&["bücher.example", ".xn--strae-oqa.example."], &["*"]]);
        for (domain, place) in [
            ("BÜCHER.example", 0),
            ("XN--bcher-kva.example", 0),
            ("mx.straße.example", 0),
            ("mx.strasse.example", 1),
        ] {
            let found = routes.find(domain.as_bytes()).map(|route| route.id);
            assert_eq!(found, Some(RouteId(place)), "{domain}");
        }
        assert_eq!(routes.find("b\u{200b}.example".as_bytes()), None);
    }
}
