//! What a configuration wants to know of clients and messages from elsewhere: what nothing reads is not asked.

use super::dns::{
    special,
    watched::Watched,
    zone::{Kind, Role},
};
use std::{net::IpAddr, sync::Arc};

/// How much a finding is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Want {
    /// Not at all.
    #[default]
    No,
    /// For Authentication-Results and the log: of clients on the internet alone.
    Told,
    /// Something decides by it, or a report tells of it: of every client.
    Decides,
}

impl Want {
    /// Whether it is asked for this client.
    pub fn of(self, client: IpAddr) -> bool {
        match self {
            Want::No => false,
            Want::Told => special::purpose(client).is_none(),
            Want::Decides => true,
        }
    }
}

/// What a configuration wants to know of each client and message.
#[derive(Clone, Default)]
pub(super) struct Wants {
    /// The lists, in the order of the configuration, without those that are off; and whether a list is asked for its text
    /// as well.
    pub lists: Vec<(Arc<Watched>, bool)>,
    /// The names of the client's address.
    pub reverse: Want,
    /// Whether the name in HELO exists.
    pub helo: bool,
    /// Whether the sender's domain exists.
    pub sender: bool,
    /// SPF.
    pub spf: Want,
    /// Signatures.
    pub dkim: Want,
    /// What the author's domain asks for.
    pub dmarc: Want,
    /// Chains of seals.
    pub arc: Want,
    /// The domains whose seals are believed.
    pub sealers: Vec<Box<str>>,
    /// The points at which something decides by a finding, by their number: the session waits there for the answers.
    pub waits: u16,
}

impl Wants {
    /// Whether anything is asked about this client and what it sends.
    pub fn has_any_of(&self, client: IpAddr) -> bool {
        let most = self.reverse.max(self.spf).max(self.dkim).max(self.arc);
        !self.lists.is_empty() || self.helo || self.sender || most.of(client)
    }

    /// Asks what others want as well; the lists are the same.
    pub fn ask_with(&mut self, others: &Wants) {
        self.reverse = self.reverse.max(others.reverse);
        self.helo |= others.helo;
        self.sender |= others.sender;
        self.spf = self.spf.max(others.spf);
        self.dkim = self.dkim.max(others.dkim);
        self.dmarc = self.dmarc.max(others.dmarc);
        self.arc = self.arc.max(others.arc);
    }

    /// Something needs DMARC of every client, and so what it rests on.
    pub fn need_dmarc(&mut self) {
        (self.spf, self.dkim, self.dmarc) = (Want::Decides, Want::Decides, Want::Decides);
    }

    /// Whether messages are verified as these want it.
    pub fn verifies_as(&self, other: &Wants) -> bool {
        let verified = |wants: &Wants| (wants.spf, wants.dkim, wants.dmarc, wants.arc);
        verified(self) == verified(other) && self.sealers == other.sealers
    }

    pub fn of_names(&self, role: Role) -> bool {
        let is_of = |(list, _): &(Arc<Watched>, bool)| match list.zone().kind {
            Kind::Names(roles) => roles.contains(role),
            Kind::Addresses(_) => false,
        };
        self.lists.iter().any(is_of)
    }
}
