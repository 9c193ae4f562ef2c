//! What is wrong with the rules of a configuration, for a reader of the file: each with the key where it stands.

use super::{
    condition::{Condition, RuleMistake},
    expression::{NamedList, NamedLists},
};
use crate::config::{self, Config};
use std::{net::IpAddr, sync::Arc};

/// A list of which only the name counts.
struct Empty;

impl NamedList for Empty {
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
/// warning.
#[must_use]
pub fn rule_mistakes(config: &Config) -> Vec<WrongRule> {
    let mut found = Vec::new();
    let mut look = |section: &str, policy: &config::Policy| {
        let lists = policy.list.iter();
        let lists: NamedLists = lists
            .map(|list| (list.name.clone(), Arc::new(Empty) as Arc<dyn NamedList>))
            .collect();
        for (place, rule) in policy.rule.iter().enumerate() {
            for (is_warning, mistake) in mistakes(rule, &lists) {
                let wrong = WrongRule {
                    key: format!("{section}[{place}].{}", mistake.key),
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
    for (place, listener) in config.listener.iter().enumerate() {
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

fn mistakes(rule: &config::Rule, lists: &NamedLists) -> Vec<(bool, RuleMistake)> {
    match Condition::of(rule, lists) {
        Err(mistakes) => mistakes
            .into_iter()
            .map(|mistake| (false, mistake))
            .collect(),
        Ok(condition) => match condition.when.constant() {
            None => Vec::new(),
            Some(value) => vec![(
                true,
                RuleMistake {
                    key: "when",
                    span: None,
                    message: format!("the condition is always {value}"),
                    hint: None,
                },
            )],
        },
    }
}
