//! How large the tables are that configurations ask for.

use crate::config;

/// Room for the accounts of a rate: as much as the configuration with the most asks for.
pub fn largest(configs: &[config::Policy], rate: fn(&config::Policy) -> &config::Rate) -> usize {
    let sizes = configs.iter().map(|config| slots(rate(config)));
    sizes.max().unwrap_or(0)
}

/// Room for the accounts of rules, where one may call the function.
pub fn rule_slots(configs: &[config::Policy], function: &str) -> usize {
    let uses =
        |config: &&config::Policy| config.rule.iter().any(|rule| rule.when.contains(function));
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
