//! What is wrong with the rules and checks of a configuration, for a reader of the file: each with the key where it stands.

use super::{
    Policy, PolicyFault,
    condition::{Condition, RuleMistake},
    expression::{Environment, NamedList, NamedLists},
};
use crate::config::{self, Config};
use std::{net::IpAddr, sync::Arc};

/// A list of which only the name counts.
struct Empty {
    /// No address can be in it.
    has_no_network: bool,
}

impl NamedList for Empty {
    fn has_no_address(&self) -> bool {
        self.has_no_network
    }

    fn has_address(&self, _: IpAddr) -> bool {
        false
    }

    fn has_domain(&self, _: &[u8]) -> bool {
        false
    }

    fn has_mailbox(&self, _: &[u8]) -> bool {
        false
    }

    fn has_text(&self, _: &[u8]) -> bool {
        false
    }
}

/// A mistake and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongRule {
    /// The path of the key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Whether it stops nothing.
    pub is_warning: bool,
    /// What is wrong.
    pub mistake: RuleMistake,
}

/// What is wrong with the conditions and replies of rules; and conditions that are always the same, which is worth a
/// warning. `is_broken` says of a key that what is written there could not be read, so that what comes of it is no mistake.
#[must_use]
pub fn rule_mistakes(config: &Config, is_broken: &dyn Fn(&str) -> bool) -> Vec<WrongRule> {
    let mut found = Vec::new();
    let list = |has_no_network| Arc::new(Empty { has_no_network }) as Arc<dyn NamedList>;
    let unread = list(false);
    let mut look = |section: &str, policy: &config::Policy| {
        let own_lists = section.replace(".rule", ".list");
        let lists = policy.list.iter().enumerate();
        let lists: NamedLists = lists
            .map(|(place, named)| {
                let is_unread = ["policy.list", &own_lists]
                    .map(|lists| is_broken(&format!("{lists}[{place}]")))
                    .contains(&true);
                let has_no_network = named.has_no_network() && !is_unread;
                (named.name.clone(), list(has_no_network))
            })
            .collect();
        let is_unread = is_broken("policy.list") || is_broken(&own_lists);
        for (place, rule) in policy.rule.iter().enumerate() {
            let environment = Environment {
                rule: &rule.name,
                lists: &lists,
                unread_list: is_unread.then_some(&unread),
            };
            // That there is no condition is told by `config`.
            let has_condition = !rule.when.trim().is_empty();
            for (is_warning, mistake) in mistakes(rule, &environment) {
                let key = format!("{section}[{place}].{}", mistake.key);
                if is_broken(&key) || (mistake.key == "when" && !has_condition) {
                    continue;
                }
                let wrong = WrongRule {
                    key,
                    value: match mistake.key {
                        "reply" => rule.reply.clone().unwrap_or_default(),
                        _ => rule.when.clone(),
                    },
                    is_warning,
                    mistake,
                };
                if !found.contains(&wrong) {
                    found.push(wrong);
                }
            }
        }
    };
    look("policy.rule", &config.policy);
    for (place, profile) in config.profile.iter().enumerate() {
        let policy = config.policy_in(profile);
        if profile.policy.has("rule") && policy.rule != config.policy.rule {
            look(&format!("profile[{place}].policy.rule"), &policy);
        }
    }
    for (place, listener) in config.listener.iter().enumerate() {
        let mut named = config.profile.iter();
        let shares = named.any(|one| one.name == listener.profile && one.policy.has("rule"));
        if shares && !listener.policy.has("rule") {
            // They were looked at in the profile.
            continue;
        }
        let policy = config.policy_of(listener);
        // A listener with a preset of its own has what `[policy]` says as its own.
        let section = match listener.policy.has("rule") && policy.rule != config.policy.rule {
            true => format!("listener[{place}].policy.rule"),
            false => "policy.rule".to_string(),
        };
        look(&section, &policy);
    }
    found
}

/// What else would stop a start, such as a code of a list in the DNS that can't be read: what making the checks finds. No list
/// is read for it: the configuration has read them all, and told what is wrong in them.
#[must_use]
pub fn check_mistakes(config: &Config) -> Vec<PolicyFault> {
    let mut found: Vec<PolicyFault> = Vec::new();
    // What lies below a part is told where it stands.
    let mut told: Vec<PolicyFault> = Vec::new();
    let mut look = |section: &str, policy: &config::Policy| {
        let mut policy = policy.clone();
        // These are the business of `rule_mistakes`.
        policy.rule.clear();
        // Checks share them by their names.
        for list in &mut policy.list {
            list.entries.clear();
            list.files.clear();
        }
        let lists = [
            &mut policy.client_list,
            &mut policy.helo_list,
            &mut policy.sender_list,
            &mut policy.recipient_list,
        ];
        for list in lists.into_iter().flatten() {
            list.files.clear();
        }
        let faults = Policy::build(&policy, &config.hostname).err();
        for fault in faults.unwrap_or_default() {
            if told.contains(&fault) {
                continue;
            }
            told.push(fault.clone());
            let key = format!("{section}.{}", place(&policy, &fault));
            found.push(PolicyFault { key, ..fault });
        }
    };
    look("policy", &config.policy);
    for (number, profile) in config.profile.iter().enumerate() {
        if profile.policy.has("dnsbl") {
            let section = format!("profile[{number}].policy");
            look(&section, &config.policy_in(profile));
        }
    }
    for (number, listener) in config.listener.iter().enumerate() {
        if listener.policy.has("dnsbl") {
            let section = format!("listener[{number}].policy");
            look(&section, &config.policy_of(listener));
        }
    }
    found
}

/// The key of a fault below its section.
fn place(policy: &config::Policy, fault: &PolicyFault) -> String {
    let Some((table, label)) = fault.key.split_once(' ') else {
        return fault.key.clone();
    };
    let label = label.trim_matches('"');
    let is_it = |list: &config::Dnsbl| list.name == label || list.zone == label;
    let list = match table {
        "dnsbl" => policy.dnsbl.iter().position(is_it),
        _ => None,
    };
    let Some(list) = list else {
        return table.to_string();
    };
    let key = match fault.message.split_once(": ") {
        Some((key @ ("codes" | "errors" | "of" | "families"), _)) => key,
        _ => "zone",
    };
    format!("dnsbl[{list}].{key}")
}

fn mistakes(rule: &config::Rule, environment: &Environment<'_>) -> Vec<(bool, RuleMistake)> {
    match Condition::within(rule, environment) {
        Err(mistakes) => mistakes
            .into_iter()
            .map(|mistake| (false, mistake))
            .collect(),
        Ok(condition) => {
            let constant = condition.when.constant().map(|value| RuleMistake {
                key: "when",
                span: None,
                message: format!("the condition is always {value}"),
                hint: None,
            });
            let shared = condition.when.shared_account().cloned();
            let shared = shared.map(|mistake| RuleMistake::of("when", mistake));
            let warnings = constant.into_iter().chain(shared);
            warnings.map(|mistake| (true, mistake)).collect()
        }
    }
}
