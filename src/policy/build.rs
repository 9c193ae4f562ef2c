//! From configuration to rules: every mistake is reported, with the key and the file and line where it is.

use super::{
    Looked, Policy, Profile,
    builder::{Builder, PolicyFault, RuleSettings},
    checks::{self, Check},
    expression::{NamedList, NamedLists},
    facts::At,
    inquiry::Wants,
    lists::named::Named,
    replies,
    rule::Rule,
};
use crate::config::{self, Mode, Then};
use std::sync::Arc;

impl Policy {
    /// Makes the checks that `config` asks for, and reads the files of its lists (which may take seconds for
    /// millions of entries: not to be called on a worker). `hostname` is our own name.
    ///
    /// # Errors
    /// Every mistake that was found, not only the first.
    pub fn build(config: &config::Policy, hostname: &str) -> Result<Policy, Vec<PolicyFault>> {
        Policy::build_all(std::slice::from_ref(config), hostname)
    }

    /// The same for several listeners, each with its own configuration. What several ask for in the same words is made
    /// once. One at least.
    ///
    /// # Errors
    /// Every mistake that was found, not only the first.
    pub fn build_all(
        configs: &[config::Policy],
        hostname: &str,
    ) -> Result<Policy, Vec<PolicyFault>> {
        let Some(first) = configs.first() else {
            return Policy::build(&config::Policy::default(), hostname);
        };
        let mut builder = Builder {
            config: first,
            hostname,
            lists: NamedLists::new(),
            infos: Vec::new(),
            taken: Vec::new(),
            faults: Vec::new(),
        };
        let mut kinds = Vec::new();
        let mut made: Vec<Vec<Made<'_>>> = Vec::new();
        made.resize_with(checks::TABLE.len(), Vec::new);
        let mut read: Vec<(&config::NamedList, Arc<dyn NamedList>)> = Vec::new();
        let mut different: Vec<&config::Policy> = Vec::new();
        let (mut profiles, mut listeners) = (Vec::new(), Vec::new());
        let rate_groups = configs.iter().map(|config| {
            let same = |other: &&config::Policy| rates(other) == rates(config);
            let first = configs.iter().position(|other| same(&other));
            first
                .and_then(|at| u8::try_from(at).ok())
                .unwrap_or(u8::MAX)
        });
        let rate_groups = rate_groups.collect();
        for config in configs {
            if let Some(known) = different.iter().position(|before| *before == config) {
                listeners.push(known);
                continue;
            }
            listeners.push(different.len());
            different.push(config);
            builder.config = config;
            builder.taken.clear();
            builder.read_lists(&mut read);
            profiles.push(builder.profile(&mut made, &mut kinds));
        }
        if builder.infos.len() > usize::from(u16::MAX) {
            builder.fault("checks", "there are more than 65535 of them");
        }
        if builder.faults.is_empty() {
            Ok(Policy {
                infos: builder.infos,
                kinds,
                profiles,
                listeners,
                rate_groups,
                hostname: hostname.into(),
            })
        } else {
            Err(builder.faults)
        }
    }
}

/// The limits of a client's address and prefix.
fn rates(config: &config::Policy) -> [&config::Rate; 2] {
    [&config.client_rate, &config.prefix_rate]
}

/// A check that was made, and the configuration that it was made of.
type Made<'a> = (&'a config::Policy, Option<Arc<dyn Check>>);

impl<'a> Builder<'a> {
    /// The named lists of `self.config`. `read` keeps those of the configurations before.
    fn read_lists(&mut self, read: &mut Vec<(&'a config::NamedList, Arc<dyn NamedList>)>) {
        self.lists.clear();
        for list in &self.config.list {
            let known = read.iter().find(|(known, _)| *known == list);
            let entries = match known {
                Some((_, entries)) => Arc::clone(entries),
                None => {
                    let entries: Arc<dyn NamedList> = Arc::new(Named::read(self, list));
                    read.push((list, Arc::clone(&entries)));
                    entries
                }
            };
            self.lists.insert(list.name.clone(), entries);
        }
    }

    /// The checks of `self.config`. `made` keeps those of the configurations before, by their place in the table.
    fn profile(&mut self, made: &mut [Vec<Made<'a>>], kinds: &mut Vec<&'static str>) -> Profile {
        let mut stages: [Vec<Looked>; At::COUNT] = Default::default();
        let (mut wants, mut of_welcome) = (Wants::default(), Wants::default());
        for ((build, same), made) in checks::TABLE.iter().zip(made) {
            let known = made.iter().find(|(config, _)| same(config, self.config));
            let check = match known {
                Some((_, check)) => check.clone(),
                None => {
                    let check = build(self);
                    made.push((self.config, check.clone()));
                    check
                }
            };
            let Some(check) = check else { continue };
            let kind = kinds.iter().position(|kind| *kind == check.name());
            let kind = kind.unwrap_or_else(|| {
                kinds.push(check.name());
                kinds.len() - 1
            });
            for at in check.stages() {
                let stage = &mut stages[*at as usize];
                let is_late = stage.iter().any(|before| before.after_answers);
                stage.push(Looked {
                    kind,
                    whom: check.whom(),
                    finds: check.finds(),
                    check: Arc::clone(&check),
                    after_answers: check.reads_answers(*at) || (check.reads_scores() && is_late),
                });
            }
            check.wants(&mut wants, false);
            check.wants(&mut of_welcome, true);
        }
        if !of_welcome.reads_lists {
            of_welcome.lists.clear();
        }
        Profile {
            wants,
            of_welcome,
            stages,
            reject: self.threshold("reject_score", self.config.reject_score, Then::Reject),
            defer: self.threshold("defer_score", self.config.defer_score, Then::Defer),
        }
    }

    fn threshold(&mut self, key: &str, score: f64, then: Then) -> Option<(f64, Rule)> {
        if !score.is_finite() || score < 0.0 {
            self.fault(key, "must be 0 (off) or more");
        }
        let settings = RuleSettings {
            then,
            score: 0.0,
            reply: None,
            mode: Mode::On,
        };
        let doc = "The scores of all checks have reached the threshold.";
        (score > 0.0)
            .then(|| self.rule(key.to_string(), doc, key, settings, &replies::SCORE))
            .flatten()
            .map(|rule| (score, rule))
    }
}
