//! How large the tables are that configurations ask for.

use crate::{
    config::{self, Mode},
    policy::expression::{named, shown},
};

/// Room for the accounts of a rate: as much as the configuration with the most asks for.
pub fn largest(configs: &[config::Policy], rate: fn(&config::Policy) -> &config::Rate) -> usize {
    let sizes = configs.iter().map(|config| slots(rate(config)));
    sizes.max().unwrap_or(0)
}

/// Whether a rule names such a fact or function.
pub fn is_named(config: &config::Policy, is_such: impl Fn(&str) -> bool) -> bool {
    let mut rules = config.rule.iter().filter(|rule| rule.mode != Mode::Off);
    rules.any(|rule| {
        named(&rule.when).iter().any(|name| is_such(name))
            || rule
                .reply
                .iter()
                .flat_map(|reply| shown(reply))
                .any(&is_such)
    })
}

/// Room for the accounts of rules, where one calls the function.
pub fn rule_slots(configs: &[config::Policy], function: &str) -> usize {
    let calls = |config: &&config::Policy| is_named(config, |name| name == function);
    let sizes = configs.iter().filter(calls);
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
