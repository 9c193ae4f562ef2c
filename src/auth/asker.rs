//! Whose credential is checked: what the shares of those under way are counted by.

use super::throttle::site;
use std::net::IpAddr;

/// Whose password is checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Asker {
    /// Any account from this address.
    Stranger(IpAddr),
    /// An account that was used from this address with success.
    Known(IpAddr, String),
}

impl Asker {
    /// The network of a stranger. A known pair takes nothing of its share.
    pub fn network(&self) -> Option<IpAddr> {
        match self {
            Asker::Stranger(client) => Some(site(*client)),
            Asker::Known(..) => None,
        }
    }
}
