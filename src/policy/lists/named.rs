//! `[[policy.list]]`: networks, domains, addresses and patterns under one name, for rules.

use super::{file, lower, names::Names, networks::Networks};
use crate::{
    config::{self, entry},
    policy::{builder::Builder, expression::NamedList},
    smtp::envelope::Path,
};
use std::net::IpAddr;

/// The entries of one list.
pub struct Named {
    networks: Networks,
    names: Names,
}

impl Named {
    /// Reads the entries and files of a list; what is wrong with them is reported.
    pub fn read(builder: &mut Builder<'_>, list: &config::NamedList) -> Named {
        let key = format!("list {:?}", list.name);
        let mut networks = Networks::builder();
        let (mut names, mut patterns) = (Names::default(), Vec::new());
        file::read(builder, &key, &list.entries, &list.files, &mut |text| {
            match entry::is_address_or_network(text) {
                true => networks.add(text),
                false => names.add(text, &mut patterns),
            }
        });
        if let Err(why) = names.set_patterns(&patterns) {
            builder.fault(&key, why);
        }
        Named {
            networks: networks.build(),
            names,
        }
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
