//! What all workers count together, and what a reload leaves alone: rates and open sessions.

pub(super) mod key;
pub(super) mod leases;
mod sessions;
pub(super) mod slots;
pub(super) mod table;
pub(super) mod windows;

pub use key::Keys;
pub use sessions::{SessionCounts, SessionTicket};

use super::memory::tables::Memory;
use crate::{
    config,
    state::{Moment, Notes, Secret, Section, Snapshot},
};
use leases::Leases;
use sessions::Sessions;
use slots::{largest, rule_slots};
use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};
use table::Table;
use windows::Windows;

/// Refused clients of one address (IPv6: a /64) whose certificates are waited for at once: an honest one shows it in a moment.
const CERTIFICATE_WAITS_CLIENT: u32 = 4;
/// The same of a network (IPv4 /24, IPv6 /48).
const CERTIFICATE_WAITS_PREFIX: u32 = 16;

/// Rate tables and session counts, and all that is remembered of clients. Made once a process, cloned freely (it is a handful
/// of `Arc`s). Memory is bounded: the tables by `policy.*.table`, the counts by the number of open sessions.
#[derive(Clone)]
pub struct Shared {
    /// What keys are hashed with.
    pub(super) secret: Secret,
    sessions: Arc<Sessions>,
    /// The refused ones whose certificates are waited for.
    certificate_waits: Arc<Sessions>,
    pub(super) client: Arc<Table>,
    pub(super) prefix: Arc<Table>,
    pub(super) sender: Arc<Table>,
    pub(super) rules: Arc<Table>,
    pub(super) windows: Arc<Windows>,
    pub(super) leases: Arc<Leases>,
    pub(super) memory: Memory,
    slowed: Arc<AtomicU32>,
}

impl Shared {
    /// Empty tables of the sizes that the configuration asks for.
    #[must_use]
    pub fn new(config: &config::Policy) -> Shared {
        Shared::of_all(std::slice::from_ref(config))
    }

    /// The same for the configurations of several listeners, which count in the same tables.
    #[must_use]
    pub fn of_all(configs: &[config::Policy]) -> Shared {
        Shared::with_secret(configs, Secret::random())
    }

    /// The same, with the keys hashed by this secret.
    #[must_use]
    pub fn with_secret(configs: &[config::Policy], secret: Secret) -> Shared {
        let sized = |rate| Arc::new(Table::new(largest(configs, rate), secret));
        Shared {
            secret,
            sessions: Arc::new(Sessions::new(secret)),
            certificate_waits: Arc::new(Sessions::new(secret)),
            client: sized(|config| &config.client_rate),
            prefix: sized(|config| &config.prefix_rate),
            sender: sized(|config| &config.sender_rate),
            rules: Arc::new(Table::new(rule_slots(configs, "rate"), secret)),
            windows: Arc::new(Windows::new(rule_slots(configs, "rate_window"))),
            leases: Leases::new(rule_slots(configs, "leases")),
            memory: Memory::new(configs, secret),
            slowed: Arc::default(),
        }
    }

    /// What to go on with after a reload: the same counts and tables, but for those whose size has changed,
    /// which start anew.
    #[must_use]
    pub fn adapted(&self, configs: &[config::Policy]) -> Shared {
        let resized = |table: &Arc<Table>, slots| match table.fits(slots) {
            true => Arc::clone(table),
            false => Arc::new(Table::new(slots, self.secret)),
        };
        let fitting = |table, rate| resized(table, largest(configs, rate));
        let windows = rule_slots(configs, "rate_window");
        let leases = rule_slots(configs, "leases");
        Shared {
            sessions: Arc::clone(&self.sessions),
            certificate_waits: Arc::clone(&self.certificate_waits),
            client: fitting(&self.client, |config| &config.client_rate),
            prefix: fitting(&self.prefix, |config| &config.prefix_rate),
            sender: fitting(&self.sender, |config| &config.sender_rate),
            rules: resized(&self.rules, rule_slots(configs, "rate")),
            windows: match self.windows.fits(windows) {
                true => Arc::clone(&self.windows),
                false => Arc::new(Windows::new(windows)),
            },
            leases: match self.leases.fits(leases) {
                true => Arc::clone(&self.leases),
                false => Leases::new(leases),
            },
            memory: self.memory.adapted(configs, self.secret),
            secret: self.secret,
            slowed: Arc::clone(&self.slowed),
        }
    }

    /// The keys of a client: those that its session has brought, or else made now.
    pub(super) fn keys(&self, brought: Option<&Keys>, client: IpAddr) -> Keys {
        match brought {
            Some(keys) if keys.are_of(client) => *keys,
            _ => self.sessions.keys(client, 0),
        }
    }

    /// A place among the sessions whose replies are slow, where `most` leaves one.
    // INV-LIMIT
    #[must_use]
    pub fn slow_session(&self, most: u32) -> Option<TarpitPlace> {
        let before = self.slowed.fetch_add(1, Relaxed);
        let place = TarpitPlace(Arc::clone(&self.slowed));
        (before < most).then_some(place)
    }

    /// Counts a session from this address until the ticket is dropped, in a group of listeners
    /// ([`super::Policy::rate_group`]). To be taken before [`super::At::Connect`] is asked, for every session.
    pub fn open_session(&self, client: IpAddr, group: u8) -> SessionTicket {
        self.sessions.open(client, group)
    }

    /// A place among the refused clients that may still show a certificate which lifts that, where its address and its network
    /// have one left. To be held for the time of the handshake.
    // INV-LIMIT
    #[must_use]
    pub fn wait_for_certificate(&self, client: IpAddr) -> Option<SessionTicket> {
        let ticket = self.certificate_waits.open(client, 0);
        let SessionCounts { client, prefix } = ticket.counts();
        (client <= CERTIFICATE_WAITS_CLIENT && prefix <= CERTIFICATE_WAITS_PREFIX).then_some(ticket)
    }

    fn rate_tables(&self) -> [(&'static str, &Table); 4] {
        [
            ("rate.client", &self.client),
            ("rate.prefix", &self.prefix),
            ("rate.sender", &self.sender),
            ("rate.rules", &self.rules),
        ]
    }

    fn note_tables(&self) -> Vec<(&'static str, u64, &Notes)> {
        let mut tables = self.memory.tables();
        tables.push(("rate.windows", 0, self.windows.table()));
        tables
    }

    /// Entries of what is to outlive a restart at most, in tables of the sizes that these configurations ask for.
    #[must_use]
    pub fn kept_max(configs: &[config::Policy]) -> usize {
        let rates: [fn(&config::Policy) -> &config::Rate; 3] = [
            |config| &config.client_rate,
            |config| &config.prefix_rate,
            |config| &config.sender_rate,
        ];
        let rates = rates
            .map(|rate| largest(configs, rate))
            .iter()
            .sum::<usize>();
        let rules = ["rate", "rate_window"].map(|function| rule_slots(configs, function));
        rates + rules.iter().sum::<usize>() + Memory::kept_max(configs)
    }

    /// What is to outlive a restart.
    #[must_use]
    pub fn sections(&self, now: Moment) -> Vec<Section> {
        let rates = self.rate_tables().into_iter().map(|(name, table)| {
            let mut section = Section::new(name, 0);
            table.each(now, |entry| section.entries.push(entry));
            section
        });
        let notes = self.note_tables().into_iter().map(|(name, shape, notes)| {
            let mut section = Section::new(name, shape);
            notes.each(now.seconds(), |entry| section.entries.push(entry));
            section
        });
        rates.chain(notes).collect()
    }

    /// Takes in what was kept of tables that are there still.
    pub fn restore(&self, kept: &Snapshot, now: Moment) {
        for (name, table) in self.rate_tables() {
            let section = kept.section(name, 0);
            for entry in section.iter().flat_map(|section| &section.entries) {
                table.take_in(*entry, now);
            }
        }
        let is_filled = |name: &str| {
            let mut all = kept.sections.iter();
            all.any(|section| section.name == name && !section.entries.is_empty())
        };
        self.memory.prepare(is_filled);
        for (name, shape, notes) in self.note_tables() {
            let section = kept.section(name, shape);
            for entry in section.iter().flat_map(|section| &section.entries) {
                notes.take_in(*entry, now.seconds(), &|_, left| left);
            }
        }
    }
}

/// A place in the tarpit; given back when dropped.
#[derive(Debug)]
pub struct TarpitPlace(Arc<AtomicU32>);

impl Drop for TarpitPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    // INV-LIMIT
    fn few_certificates_are_waited_for_at_once() {
        let shared = Shared::new(&config::Policy::default());
        let at = |last: u8| IpAddr::from([192, 0, 2, last]);
        let wait = |last: u8| shared.wait_for_certificate(at(last));
        let mut held: Vec<SessionTicket> = (0..8).filter_map(|_| wait(1)).collect();
        assert_eq!(held.len(), 4, "of an address");
        held.extend((2..40).filter_map(wait));
        assert_eq!(held.len(), 16, "of its network");
        let elsewhere = shared.wait_for_certificate([198, 51, 100, 1].into());
        assert!(elsewhere.is_some());
        held.truncate(15);
        assert!(wait(40).is_some(), "what has ended makes room");
        assert!(wait(1).is_none(), "not for an address that has its share");
    }
}
