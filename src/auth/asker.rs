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
        (!self.is_known()).then(|| self.site())
    }

    /// The network of its address, whoever it is.
    pub fn site(&self) -> IpAddr {
        let (Asker::Stranger(client) | Asker::Known(client, _)) = self;
        site(*client)
    }

    /// Whether it is a pair that has worked.
    pub fn is_known(&self) -> bool {
        matches!(self, Asker::Known(..))
    }
}
