//! What is known of the backends' names: hosts, and services of SRV records. The supervisor looks them up; a configuration is
//! built with what it found.

use crate::config::entry;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

/// What begins a backend that is named by SRV records.
pub const SERVICE: &str = "srv:";

/// A host name of a backend, or a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// The addresses of a host: those of the last look-up that found some.
    pub addresses: Vec<IpAddr>,
    /// The hosts of a service, those that are used first before the others. Their addresses are those of their own names.
    pub targets: Vec<ServiceTarget>,
    /// Why the last look-up found none.
    pub fault: Option<String>,
}

/// A host that serves (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceTarget {
    /// In lower case, as its own name is kept: absolute, with a dot at its end.
    pub host: String,
    /// Where it listens.
    pub port: u16,
    /// Its share among those of its tier; 1 at least.
    pub weight: u32,
    /// 0: used first; others only where none of a lower tier can be.
    pub tier: u16,
}

/// Host names, and services with [`SERVICE`] before them, in lower case.
pub type Names = BTreeMap<String, Named>;

/// A backend whose name has no address yet: it counts as down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// `host:port`, as the configuration has it; a service likewise.
    pub address: String,
    /// The share of each address, relative to the pool's other backends.
    pub weight: u32,
    /// The resolver's words, for the log.
    pub why: String,
}

/// An address that one entry of `backends` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub address: SocketAddr,
    pub weight: u32,
    pub tier: u16,
}

/// Where a backend is, by what is written.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// There: one address, or all of a name.
    pub at: Vec<Spot>,
    /// Nowhere yet.
    pub unresolved: Vec<Unresolved>,
}

/// Addresses of one service that are used, those of its first hosts. Each is a backend, and all of a pool's backends are looked at
/// for a message: many hosts of many addresses each are no list of servers.
const SPOTS_MAX: usize = 64;

const NOT_YET: &str = "it has not been looked up yet";

/// Finds a backend of this weight. Errors: what is written is no backend, and what to write.
pub(super) fn find(text: &str, weight: u32, names: &Names) -> Result<Places, String> {
    let told = |(what, hint)| format!("{what}; {hint}");
    if let Some(service) = entry::service(text) {
        service.map_err(told)?;
        return Ok(of_service(text, names));
    }
    let (host, port) = entry::backend(text).map_err(told)?;
    let at = |address| Spot {
        address,
        weight,
        tier: 0,
    };
    if let Some(address) = address(host) {
        return Ok(Places {
            at: vec![at(SocketAddr::new(address, port))],
            ..Places::default()
        });
    }
    Ok(match addresses(&host.to_ascii_lowercase(), names) {
        Ok(found) => Places {
            at: found
                .iter()
                .map(|found| at(SocketAddr::new(*found, port)))
                .collect(),
            ..Places::default()
        },
        Err(why) => Places {
            unresolved: vec![Unresolved {
                address: text.to_owned(),
                weight,
                why,
            }],
            ..Places::default()
        },
    })
}

fn of_service(text: &str, names: &Names) -> Places {
    let mut places = Places::default();
    let nowhere = |why: &str| Unresolved {
        address: text.to_owned(),
        weight: 1,
        why: why.to_owned(),
    };
    let Some(named) = names.get(&text.to_ascii_lowercase()) else {
        places.unresolved.push(nowhere(NOT_YET));
        return places;
    };
    if named.targets.is_empty() {
        let why = named.fault.as_deref();
        places
            .unresolved
            .push(nowhere(why.unwrap_or("the service is not offered")));
    }
    for target in &named.targets {
        let &ServiceTarget {
            ref host,
            port,
            weight,
            tier,
        } = target;
        match addresses(host, names) {
            Ok(found) => places.at.extend(found.iter().map(|found| Spot {
                address: SocketAddr::new(*found, port),
                weight,
                tier,
            })),
            Err(why) => places.unresolved.push(Unresolved {
                address: format!("{}:{port}", host.trim_end_matches('.')),
                weight,
                why,
            }),
        }
    }
    places.at.truncate(SPOTS_MAX);
    places
}

/// The addresses of a host, or why there is none.
fn addresses<'a>(host: &str, names: &'a Names) -> Result<&'a [IpAddr], String> {
    match names.get(host) {
        Some(named) if !named.addresses.is_empty() => Ok(&named.addresses),
        Some(named) => Err(named.fault.clone().unwrap_or_default()),
        None => Err(NOT_YET.into()),
    }
}

/// The address that a host is, where it is no name.
fn address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

/// The name in a backend's `host:port`, or its service, in lower case; `None` where it is an address.
#[must_use]
pub fn name_of(text: &str) -> Option<String> {
    if let Some(service) = entry::service(text) {
        return service.ok().map(|_| text.to_ascii_lowercase());
    }
    let (host, _) = entry::backend(text).ok()?;
    address(host).is_none().then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_of_many_hosts_with_many_addresses_is_few_backends() {
        const SERVICE: &str = "srv:_smtp._tcp.example.net";
        let host = |number: u8| format!("mx{number:02}.example.");
        let target = |number| ServiceTarget {
            host: host(number),
            port: 25,
            weight: 1,
            tier: 0,
        };
        let all = (0..64).map(|number| {
            let addresses = (0..40).map(|last| [192, 0, number, last].into());
            let named = Named {
                addresses: addresses.collect(),
                ..Named::default()
            };
            (host(number), named)
        });
        let service = Named {
            targets: (0..64).map(target).collect(),
            ..Named::default()
        };
        let names = all.chain([(SERVICE.into(), service)]).collect();
        let at = find(SERVICE, 1, &names).expect("a service").at;
        assert_eq!(at.len(), SPOTS_MAX);
        let of_the_second = at
            .iter()
            .filter(|spot| spot.address.ip() >= IpAddr::from([192, 0, 1, 0]));
        assert_eq!(of_the_second.count(), SPOTS_MAX - 40);
    }
}
