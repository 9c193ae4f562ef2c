//! The tables of what is remembered, as large as configurations ask for.

use super::{greylist::Greylist, reputation::Reputation};
use crate::{
    config::{self, Mode},
    policy::rates::slots::is_named,
    state::{Notes, Secret},
};
use std::sync::{Arc, OnceLock};

/// Clients that are spared the wait before the greeting: a mebibyte, once there is one.
const PASSED_MAX: usize = 64 * 1024;

/// The tables.
#[derive(Clone)]
pub struct Memory {
    /// Whether something reads what is known of correspondents, and reputations.
    pub uses: Uses,
    /// Who has been put off, and who has come again.
    pub greylist: Arc<Greylist>,
    /// Whom our users have written to.
    pub correspondents: Arc<Notes>,
    /// Clients that have waited for the greeting. Made when the first has.
    passed: Arc<OnceLock<Notes>>,
    /// Of clients' networks.
    pub clients: Arc<Reputation>,
    /// Of domains that SPF has shown to be the sender's.
    pub domains: Arc<Reputation>,
}

/// What of it a configuration reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uses {
    pub greylist: bool,
    pub reputation: bool,
}

impl Uses {
    fn of(configs: &[config::Policy]) -> Uses {
        Uses {
            greylist: greylist_slots(configs) > 0,
            reputation: reputation_slots(configs) > 0,
        }
    }
}

/// What tells the sections of reputations of other half-lives apart.
fn shape(reputation: &Reputation) -> u64 {
    reputation.half_life()
}

/// Room in the greylist, where a configuration has one.
fn greylist_slots(configs: &[config::Policy]) -> usize {
    let used = configs
        .iter()
        .filter(|config| config.greylist.mode != Mode::Off);
    let sizes = used.map(|config| config.greylist.table as usize);
    sizes.max().unwrap_or(0)
}

/// The half-life of reputations in seconds: the longest that a listener has.
fn half_life(configs: &[config::Policy]) -> u64 {
    let all = configs.iter();
    let all = all.map(|config| config.reputation.half_life.0.as_secs());
    all.max().unwrap_or(0)
}

/// Room for reputations, where a rule reads them.
fn reputation_slots(configs: &[config::Policy]) -> usize {
    let reads = |config: &&config::Policy| is_named(config, |name| name.starts_with("reputation."));
    let sizes = configs.iter().filter(reads);
    let sizes = sizes.map(|config| config.reputation.table as usize);
    sizes.max().unwrap_or(0)
}

impl Memory {
    /// Nothing is known.
    pub fn new(configs: &[config::Policy], secret: Secret) -> Memory {
        let (slots, half_life) = (reputation_slots(configs), half_life(configs));
        Memory {
            uses: Uses::of(configs),
            greylist: Arc::new(Greylist::new(greylist_slots(configs), secret)),
            correspondents: Arc::new(Notes::new(greylist_slots(configs))),
            passed: Arc::default(),
            clients: Arc::new(Reputation::new(slots, half_life)),
            domains: Arc::new(Reputation::new(slots, half_life)),
        }
    }

    /// What to go on with after a reload: tables whose size has changed start anew.
    pub fn adapted(&self, configs: &[config::Policy], secret: Secret) -> Memory {
        let mut adapted = self.clone();
        adapted.uses = Uses::of(configs);
        let slots = greylist_slots(configs);
        if !self.greylist.fits(slots) {
            adapted.greylist = Arc::new(Greylist::new(slots, secret));
            adapted.correspondents = Arc::new(Notes::new(slots));
        }
        let (slots, half_life) = (reputation_slots(configs), half_life(configs));
        for reputation in [&mut adapted.clients, &mut adapted.domains] {
            if !reputation.fits(slots, half_life) {
                *reputation = Arc::new(Reputation::new(slots, half_life));
            }
        }
        adapted
    }

    /// Entries of its tables at most: those of the greylist, correspondents, reputations, clients that have waited.
    pub fn kept_max(configs: &[config::Policy]) -> usize {
        (3 + 1) * greylist_slots(configs) + 2 * reputation_slots(configs) + PASSED_MAX
    }

    /// Its tables: their names, what tells their shapes apart, and what they hold.
    pub fn tables(&self) -> Vec<(&'static str, u64, &Notes)> {
        let mut all = vec![
            ("correspondents", 0, &*self.correspondents),
            (
                "reputation.client",
                shape(&self.clients),
                self.clients.table(),
            ),
            (
                "reputation.domain",
                shape(&self.domains),
                self.domains.table(),
            ),
        ];
        all.extend(self.greylist.tables().map(|(name, notes)| (name, 0, notes)));
        all.extend(self.passed.get().map(|notes| (PASSED, 0, notes)));
        all
    }

    /// Makes the tables that a snapshot has something for, and that are made late.
    pub fn prepare(&self, has: impl Fn(&str) -> bool) {
        if has(PASSED) {
            self.passed();
        }
    }

    /// Clients that have waited for the greeting, as soon as there are any.
    pub fn passed_lately(&self) -> Option<&Notes> {
        self.passed.get()
    }

    /// The same, made where there is none.
    pub fn passed(&self) -> &Notes {
        self.passed.get_or_init(|| Notes::new(PASSED_MAX))
    }
}

/// The name of the table of clients that have waited for the greeting.
const PASSED: &str = "greeting";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::config;

    #[test]
    fn reputations_are_kept_where_a_rule_names_them_and_nowhere_else() {
        for (rule, is_read) in [
            ("when = 'reputation.client < -0.5'", true),
            (
                "when = '!(helo == \"a\") && reputation . domain > 0.5'",
                true,
            ),
            (
                "when = 'client.trusted', then = 'reject', reply = '550 5.7.1 {reputation.client}'",
                true,
            ),
            ("when = 'reputation.client < -0.5', mode = 'off'", false),
            ("when = 'helo == \"reputation.client\"'", false),
            ("when = 'rate(helo, 1, \"1m\")'", false),
        ] {
            for accounts in [0, 1_000] {
                let toml = format!("rate_table = {accounts}\nrule = [{{ name = 'a', {rule} }}]");
                let memory = Memory::new(&[config(&toml)], Secret::random());
                assert_eq!(memory.uses.reputation, is_read, "{toml}");
            }
        }
    }
}
