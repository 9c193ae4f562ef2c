//! What all workers count together, and what a reload leaves alone: rates and open sessions.

pub(super) mod key;
mod sessions;
pub(super) mod table;

pub use key::{Keys, address as client_key, prefix_of};
pub use sessions::{SessionCounts, SessionTicket};

use crate::config;
use sessions::Sessions;
use std::{net::IpAddr, sync::Arc};
use table::Table;

/// Rate tables and session counts. Made once a process, cloned freely (it is a handful of `Arc`s). Memory
/// is bounded: the tables by `policy.*.table`, the counts by the number of open sessions.
#[derive(Clone)]
pub struct Shared {
    sessions: Arc<Sessions>,
    pub(super) client: Arc<Table>,
    pub(super) prefix: Arc<Table>,
    pub(super) sender: Arc<Table>,
    pub(super) rules: Arc<Table>,
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
        let sized = |rate| Arc::new(Table::new(largest(configs, rate)));
        Shared {
            sessions: Arc::default(),
            client: sized(|config| &config.client_rate),
            prefix: sized(|config| &config.prefix_rate),
            sender: sized(|config| &config.sender_rate),
            rules: Arc::new(Table::new(rule_slots(configs))),
        }
    }

    /// What to go on with after a reload: the same counts and tables, but for those whose size has changed,
    /// which start anew.
    #[must_use]
    pub fn adapted(&self, configs: &[config::Policy]) -> Shared {
        let resized = |table: &Arc<Table>, slots| match table.fits(slots) {
            true => Arc::clone(table),
            false => Arc::new(Table::new(slots)),
        };
        let fitting = |table, rate| resized(table, largest(configs, rate));
        Shared {
            sessions: Arc::clone(&self.sessions),
            client: fitting(&self.client, |config| &config.client_rate),
            prefix: fitting(&self.prefix, |config| &config.prefix_rate),
            sender: fitting(&self.sender, |config| &config.sender_rate),
            rules: resized(&self.rules, rule_slots(configs)),
        }
    }

    /// The keys of a client: those that its session has brought, or else made now.
    pub(super) fn keys(&self, brought: Option<&Keys>, client: IpAddr) -> Keys {
        match brought {
            Some(keys) if keys.are_of(client) => *keys,
            _ => self.sessions.keys(client, 0),
        }
    }

    /// Counts a session from this address until the ticket is dropped, in a group of listeners
    /// ([`super::Policy::rate_group`]). To be taken before [`super::At::Connect`] is asked, for every session.
    pub fn open_session(&self, client: IpAddr, group: u8) -> SessionTicket {
        self.sessions.open(client, group)
    }
}

fn largest(configs: &[config::Policy], rate: fn(&config::Policy) -> &config::Rate) -> usize {
    let sizes = configs.iter().map(|config| slots(rate(config)));
    sizes.max().unwrap_or(0)
}

/// Room for the accounts of rules, where one may use `rate`.
fn rule_slots(configs: &[config::Policy]) -> usize {
    let uses = |config: &&config::Policy| config.rule.iter().any(|rule| rule.when.contains("rate"));
    let sizes = configs.iter().filter(uses);
    sizes
        .map(|config| config.rate_table as usize)
        .max()
        .unwrap_or(0)
}

/// A key takes a slot for each limit that is set.
fn slots(rate: &config::Rate) -> usize {
    let limits = [
        u64::from(rate.connections),
        u64::from(rate.messages),
        u64::from(rate.recipients),
        rate.bytes.0,
    ];
    limits.iter().filter(|limit| **limit > 0).count() * rate.table as usize
}
