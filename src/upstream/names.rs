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
    /// In lower case.
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
                address: format!("{host}:{port}"),
                weight,
                why,
            }),
        }
    }
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
