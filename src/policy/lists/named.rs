//! `[[policy.list]]`: networks, domains, addresses and patterns under one name, for rules, and for the lists of checks that name it.

use super::{lower, names::Names, networks::Networks};
use crate::{policy::expression::NamedList, smtp::envelope::Path};
use std::net::IpAddr;

/// The entries of one list.
pub struct Named {
    networks: Networks,
    pub(super) names: Names,
}

impl Named {
    /// One with these entries.
    pub fn new(networks: Networks, names: Names) -> Named {
        Named { networks, names }
    }
}

impl NamedList for Named {
    fn has_address(&self, address: IpAddr) -> bool {
        self.networks.contains(address)
    }

    fn has_domain(&self, domain: &[u8]) -> bool {
        let mut room = [0; lower::ROOM];
        let lowered = lower::host(domain, &mut room);
        self.names.name(domain, lowered).is_some()
    }

    fn has_mailbox(&self, mailbox: &[u8]) -> bool {
        let mut room = [0; lower::ROOM];
        let whole = lower::host(mailbox, &mut room);
        let domain = Path::split(whole).domain;
        self.names.address(mailbox, whole, domain).is_some()
    }

    fn has_text(&self, text: &[u8]) -> bool {
        let mut room = [0; lower::ROOM];
        self.names.text(text, lower::text(text, &mut room))
    }
}
