//! What is wrong with the rules and checks of a configuration, for a reader of the file: each with the key where it stands.

use super::{
    Policy, PolicyFault,
    condition::{Condition, RuleMistake},
    expression::{Environment, NamedList, NamedLists},
    unfed::unfed,
};
use crate::config::{self, Config};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

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

fn empty(has_no_network: bool) -> Arc<dyn NamedList> {
    Arc::new(Empty { has_no_network })
}

/// The named lists of a policy. `own`: the key of those that stand where its rules do.
fn lists(policy: &config::Policy, own: &str, is_broken: &dyn Fn(&str) -> bool) -> NamedLists {
    let lists = policy.list.iter().enumerate();
    lists
        .map(|(place, named)| {
            let is_unread = ["policy.list", own]
                .map(|lists| is_broken(&format!("{lists}[{place}]")))
                .contains(&true);
            let has_no_network = named.has_no_network() && !is_unread;
            (named.name.clone(), empty(has_no_network))
        })
        .collect()
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

impl WrongRule {
    fn of(
        section: &str,
        place: usize,
        rule: &config::Rule,
        is_warning: bool,
        mistake: RuleMistake,
    ) -> WrongRule {
        WrongRule {
            key: format!("{section}[{place}].{}", mistake.key),
            value: match mistake.key {
                "reply" => rule.reply.clone().unwrap_or_default(),
                _ => rule.when.clone(),
            },
            is_warning,
            mistake,
        }
    }
}

/// What is wrong with the conditions and replies of rules; and conditions that are always the same, which is worth a
/// warning. `is_broken` says of a key that what is written there could not be read, so that what comes of it is no mistake.
#[must_use]
pub fn rule_mistakes(config: &Config, is_broken: &dyn Fn(&str) -> bool) -> Vec<WrongRule> {
    let mut found = Vec::new();
    // By rule: `None` where one of the policies that it is in has a list for what it reads.
    let mut starved: BTreeMap<String, Option<WrongRule>> = BTreeMap::new();
    let unread = empty(false);
    let mut look = |section: &str, policy: &config::Policy| {
        let own_lists = section.replace(".rule", ".list");
        let lists = lists(policy, &own_lists, is_broken);
        let is_unread = is_broken("policy.list") || is_broken(&own_lists);
        let own_dnsbl = section.replace(".rule", ".dnsbl");
        let has_unread_list = is_broken("policy.dnsbl") || is_broken(&own_dnsbl);
        for (place, rule) in policy.rule.iter().enumerate() {
            let environment = Environment {
                rule: &rule.name,
                lists: &lists,
                unread_list: is_unread.then_some(&unread),
            };
            // That there is no condition is told by `config`.
            let has_condition = !rule.when.trim().is_empty();
            let (mistakes, condition) = mistakes(rule, &environment);
            for (is_warning, mistake) in mistakes {
                let wrong = WrongRule::of(section, place, rule, is_warning, mistake);
                let is_told = is_broken(&wrong.key)
                    || (wrong.mistake.key == "when" && !has_condition)
                    || found.contains(&wrong);
                if !is_told {
                    found.push(wrong);
                }
            }
            let unfed = condition.and_then(|condition| match has_unread_list {
                true => None,
                false => unfed(rule, &condition, &policy.dnsbl),
            });
            let unfed = unfed.map(|mistake| WrongRule::of(section, place, rule, true, mistake));
            let entry = starved.entry(format!("{section}[{place}]"));
            let kept = entry.or_insert_with(|| unfed.clone());
            *kept = kept.take().filter(|_| unfed.is_some());
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
    found.extend(starved.into_values().flatten());
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

/// What is wrong with a rule, errors or warnings, and what it is where it has no errors.
fn mistakes(
    rule: &config::Rule,
    environment: &Environment<'_>,
) -> (Vec<(bool, RuleMistake)>, Option<Condition>) {
    match Condition::within(rule, environment) {
        Err(mistakes) => {
            let mistakes = mistakes.into_iter();
            (mistakes.map(|mistake| (false, mistake)).collect(), None)
        }
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
            let warnings = warnings.map(|mistake| (true, mistake)).collect();
            (warnings, Some(condition))
        }
    }
}
