//! What is known of the backends' host names. The supervisor looks them up; a configuration is built with what it found.

use crate::config::entry;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

/// A host name of a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Its addresses: those of the last look-up that found some.
    pub addresses: Vec<IpAddr>,
    /// Why the last look-up found none.
    pub fault: Option<String>,
}

/// Host names, in lower case.
pub type Names = BTreeMap<String, Named>;

/// A backend whose name has no address yet: it counts as down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// `host:port`, as the configuration has it.
    pub address: String,
    /// The share of each address, relative to the pool's other backends.
    pub weight: u32,
    /// The resolver's words, for the log.
    pub why: String,
}

/// Where a backend is, by what is written.
pub(super) enum Place {
    /// There: one address, or all of a name.
    At(Vec<SocketAddr>),
    /// Nowhere yet, and why.
    Unknown(String),
}

/// Finds a backend. Errors: what is written is no backend, and what to write.
pub(super) fn find(text: &str, names: &Names) -> Result<Place, String> {
    let (host, port) = entry::backend(text).map_err(|(what, hint)| format!("{what}; {hint}"))?;
    if let Some(address) = address(host) {
        return Ok(Place::At(vec![SocketAddr::new(address, port)]));
    }
    Ok(match names.get(&host.to_ascii_lowercase()) {
        Some(named) if !named.addresses.is_empty() => {
            let all = named.addresses.iter();
            Place::At(all.map(|address| SocketAddr::new(*address, port)).collect())
        }
        Some(named) => Place::Unknown(named.fault.clone().unwrap_or_default()),
        None => Place::Unknown("it has not been looked up yet".into()),
    })
}

/// The address that a host is, where it is no name.
fn address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

/// The name in a backend's `host:port`, in lower case; `None` where it is an address.
#[must_use]
pub fn name_of(text: &str) -> Option<String> {
    let (host, _) = entry::backend(text).ok()?;
    address(host).is_none().then(|| host.to_ascii_lowercase())
}
