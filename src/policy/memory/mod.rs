//! What is remembered of clients and senders from one session to the next, by all workers together: see [`Shared`]. All of it
//! is bounded, outlives a reload, and is kept over a restart where `[state]` says so.

pub(super) mod greylist;
mod reputation;
pub(super) mod tables;

use super::{
    Facts, Inquiry, Keys, Shared,
    lists::lower,
    spf::{Identity, ResultCode},
};
use crate::{smtp::envelope::Path, state::Note};
use reputation::Deed;
use std::{hash::BuildHasher, net::IpAddr};

/// How long an address is known that one of our users has written to, in seconds.
const CORRESPONDENT: u64 = 90 * 86_400;
/// Recipients of one message that are remembered so.
const CORRESPONDENTS_AT_ONCE: usize = 100;
/// The account of a client's network among those of [`super::rates::key::RateKey::account`]: the rates have those below.
const REPUTATION: u8 = 16;
/// That of a client's address.
const GREETING: u8 = 17;

fn by_time(_: u64, left: u64) -> u64 {
    left
}

/// The domain that SPF has shown to be the sender's: of MAIL FROM, or for bounces of HELO.
pub(super) fn shown_domain<'a>(facts: &Facts<'a>, inquiry: Option<&Inquiry>) -> Option<&'a [u8]> {
    let spf = inquiry?.spf().filter(|spf| spf.code == ResultCode::Pass)?;
    let domain = match spf.identity {
        Identity::MailFrom => facts.sender.domain,
        Identity::Helo => facts.hello,
    };
    (!domain.is_empty()).then_some(domain)
}

impl Shared {
    /// The hash of a domain, in any spelling.
    pub(super) fn domain_hash(&self, domain: &[u8]) -> u64 {
        let mut room = [0; lower::ROOM];
        self.secret
            .hash_one(("domain", lower::host(domain, &mut room)))
    }

    /// The hash of a mailbox, in any spelling. That local parts in other letters may be others' is not worth a delay.
    fn mailbox_hash(&self, mailbox: Path<'_>) -> u64 {
        let (mut local, mut domain) = ([0; lower::ROOM], [0; lower::ROOM]);
        let local = lower::text(mailbox.local, &mut local);
        let domain = lower::host(mailbox.domain, &mut domain);
        self.secret.hash_one(("mailbox", local, domain))
    }

    /// Remembers that one of our users, or a server of ours, writes to these, so that their answers are not put off.
    pub fn wrote_to<'a>(&self, recipients: impl Iterator<Item = Path<'a>>, unix_seconds: u64) {
        if !self.memory.uses.greylist {
            return;
        }
        let until = unix_seconds.saturating_add(CORRESPONDENT);
        for recipient in recipients.take(CORRESPONDENTS_AT_ONCE) {
            let note = Some(Note { value: 1, until });
            let hash = self.mailbox_hash(recipient);
            let notes = &self.memory.correspondents;
            // None is kept, so that it gets a place.
            let _ = notes.change(hash, unix_seconds, &by_time, |_| note);
        }
    }

    /// Whether one of our users has written to this sender.
    pub(super) fn is_correspondent(&self, sender: Path<'_>, unix_seconds: u64) -> bool {
        let hash = self.mailbox_hash(sender);
        !sender.domain.is_empty() && self.memory.correspondents.get(hash, unix_seconds).is_some()
    }

    fn greeting_hash(&self, keys: Option<&Keys>, client: IpAddr) -> u64 {
        self.keys(keys, client).client.account(GREETING)
    }

    /// Whether the client has waited for the greeting lately.
    #[must_use]
    pub fn has_waited(&self, keys: Option<&Keys>, client: IpAddr, unix_seconds: u64) -> bool {
        let passed = self.memory.passed_lately();
        passed.is_some_and(|notes| {
            let hash = self.greeting_hash(keys, client);
            notes.get(hash, unix_seconds).is_some()
        })
    }

    /// Remembers for so long, in seconds, that it has.
    pub fn waited(&self, keys: Option<&Keys>, client: IpAddr, unix_seconds: u64, holds: u64) {
        let until = unix_seconds.saturating_add(holds);
        let hash = self.greeting_hash(keys, client);
        let note = Some(Note { value: 1, until });
        let notes = self.memory.passed();
        let _ = notes.change(hash, unix_seconds, &by_time, |_| note);
    }

    /// Whether anything asks what became of messages.
    #[must_use]
    pub fn counts_messages(&self) -> bool {
        self.memory.uses.reputation
    }

    /// Counts what became of a stranger's message for and against its client's network, and the domain that it is from.
    /// Only where [`Shared::counts_messages`].
    pub fn count_message(&self, facts: &Facts<'_>, was_accepted: bool) {
        let deed = if was_accepted { Deed::Good } else { Deed::Bad };
        let now = facts.unix_seconds;
        let memory = &self.memory;
        memory
            .clients
            .count_deed(self.network_hash(facts), deed, now);
        if let Some(domain) = shown_domain(facts, facts.inquiry) {
            let hash = self.domain_hash(domain);
            memory.domains.count_deed(hash, deed, now);
        }
    }

    fn network_hash(&self, facts: &Facts<'_>) -> u64 {
        let keys = self.keys(facts.keys, facts.client);
        keys.prefix.account(REPUTATION)
    }

    /// The reputation of the client's network.
    pub(super) fn reputation_of_client(&self, facts: &Facts<'_>) -> f64 {
        let hash = self.network_hash(facts);
        self.memory.clients.of(hash, facts.unix_seconds)
    }

    /// That of the domain that the sender is shown to be of.
    pub(super) fn reputation_of_domain(&self, facts: &Facts<'_>) -> f64 {
        let domain = shown_domain(facts, facts.inquiry);
        domain.map_or(0.0, |domain| {
            let hash = self.domain_hash(domain);
            self.memory.domains.of(hash, facts.unix_seconds)
        })
    }
}
