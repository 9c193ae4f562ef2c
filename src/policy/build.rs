//! From configuration to rules: every mistake is reported, with the key and the file and line where it is.

use super::{
    Policy,
    builder::{Builder, PolicyFault, RuleSettings},
    checks::{self, Check},
    expression::{NamedList, NamedLists},
    facts::At,
    inquiry::Wants,
    lists::{asked::read_named, named::Named},
    profile::{Looked, Profile},
    replies,
    rule::Rule,
};
use crate::config::{self, Mode, Then};
use std::{collections::HashMap, sync::Arc};

impl Policy {
    /// Makes the checks that `config` asks for, and reads the files of its lists (which may take seconds for
    /// millions of entries: not to be called on a worker). `hostname` is our own name.
    ///
    /// # Errors
    /// Every mistake that was found, not only the first.
    pub fn build(config: &config::Policy, hostname: &str) -> Result<Policy, Vec<PolicyFault>> {
        Policy::build_all(std::slice::from_ref(config), 1, hostname)
    }

    /// The same for several listeners, classes of clients and routes, each with its own configuration: `per_class` that
    /// follow each other differ by the recipient's route alone ([`config::Config::policies`]). What several ask for in the
    /// same words is made once. One at least.
    ///
    /// # Errors
    /// Every mistake that was found, not only the first.
    pub fn build_all(
        configs: &[config::Policy],
        per_class: usize,
        hostname: &str,
    ) -> Result<Policy, Vec<PolicyFault>> {
        let Some(first) = configs.first() else {
            return Policy::build(&config::Policy::default(), hostname);
        };
        let mut builder = Builder {
            config: first,
            hostname,
            lists: NamedLists::new(),
            entries: HashMap::new(),
            infos: Vec::new(),
            tags: Vec::new(),
            taken: Vec::new(),
            faults: Vec::new(),
        };
        let mut kinds = Vec::new();
        let mut made: Vec<Vec<Made<'_>>> = Vec::new();
        made.resize_with(checks::TABLE.len(), Vec::new);
        let mut read: Vec<(&config::NamedList, Arc<Named>)> = Vec::new();
        let mut different: Vec<&config::Policy> = Vec::new();
        let (mut profiles, mut listeners) = (Vec::new(), Vec::new());
        let rate_groups = rate_groups(configs);
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
        let tag_fields = match builder.tags.is_empty() {
            true => Vec::new(),
            false => tag_fields(&profiles),
        };
        let asks = [false, true].map(|welcome| {
            let of = |place: usize| Arc::clone(profiles[place].wants_for(welcome));
            asks(of, &listeners, per_class)
        });
        if builder.faults.is_empty() {
            Ok(Policy {
                asks,
                infos: builder.infos,
                kinds,
                profiles,
                listeners,
                rate_groups,
                hostname: hostname.into(),
                tags: builder.tags,
                lists: read
                    .into_iter()
                    .map(|(list, entries)| (list.name.clone(), entries as Arc<dyn NamedList>))
                    .collect(),
                tag_fields,
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

/// The names of the fields that tell of tags, each once.
fn tag_fields(profiles: &[Profile]) -> Vec<Arc<str>> {
    let mut fields: Vec<Arc<str>> = Vec::new();
    for profile in profiles {
        let known = |field: &Arc<str>| field.eq_ignore_ascii_case(&profile.tag_field);
        if !fields.iter().any(known) {
            fields.push(Arc::clone(&profile.tag_field));
        }
    }
    fields
}

/// The number of each configuration's limits among those that differ.
fn rate_groups(configs: &[config::Policy]) -> Vec<u8> {
    let mut known: Vec<[&config::Rate; 2]> = Vec::new();
    let group = |config| {
        let limits = rates(config);
        let place = known.iter().position(|other| *other == limits);
        let place = place.unwrap_or_else(|| {
            known.push(limits);
            known.len() - 1
        });
        u8::try_from(place).unwrap_or(u8::MAX)
    };
    configs.iter().map(group).collect()
}

/// What is asked of clients and senders before the recipient is known, in each profile: what those of its class want together
/// that differ by route alone, `per_class` of them.
fn asks(of: impl Fn(usize) -> Arc<Wants>, places: &[usize], per_class: usize) -> Vec<Arc<Wants>> {
    let together = places.chunks(per_class.max(1)).flat_map(|class| {
        let own = of(class[0]);
        let asks = match class.iter().all(|place| *place == class[0]) {
            true => own,
            false => {
                let mut all = Wants::clone(&own);
                class.iter().for_each(|place| all.ask_with(&of(*place)));
                Arc::new(all)
            }
        };
        std::iter::repeat_n(asks, class.len())
    });
    together.collect()
}

/// A check that was made, and the configuration that it was made of.
type Made<'a> = (&'a config::Policy, Option<Arc<dyn Check>>);

impl<'a> Builder<'a> {
    /// The named lists of `self.config`. `read` keeps those of the configurations before.
    fn read_lists(&mut self, read: &mut Vec<(&'a config::NamedList, Arc<Named>)>) {
        self.lists.clear();
        self.entries.clear();
        for list in &self.config.list {
            let known = read.iter().find(|(known, _)| *known == list);
            let entries = match known {
                Some((_, entries)) => Arc::clone(entries),
                None => {
                    let entries = Arc::new(read_named(self, list));
                    read.push((list, Arc::clone(&entries)));
                    entries
                }
            };
            let shared: Arc<dyn NamedList> = entries.clone();
            self.lists.insert(list.name.clone(), shared);
            self.entries.insert(list.name.clone(), entries);
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
        let config = self.config;
        let reject = self.threshold("reject_score", config.reject_score, Then::Reject);
        let quarantine = self.threshold(
            "quarantine_score",
            config.quarantine_score,
            Then::Quarantine,
        );
        let defer = self.threshold("defer_score", config.defer_score, Then::Defer);
        let tag = self.threshold("tag_score", config.tag_score, Then::Tag);
        let thresholds = [&reject, &quarantine, &defer, &tag].into_iter().flatten();
        let least = thresholds
            .map(|(score, _)| *score)
            .fold(f64::INFINITY, f64::min);
        let is_idle = |stage: &&Vec<Looked>| {
            stage
                .iter()
                .all(|looked| looked.check.reads_breaches_alone())
        };
        let idle = (0..)
            .zip(&stages)
            .filter(|(_, stage)| is_idle(stage))
            .map(|(at, _)| 1 << at)
            .sum();
        Profile {
            wants: Arc::new(wants),
            of_welcome: Arc::new(of_welcome),
            stages,
            idle,
            reject,
            quarantine,
            defer,
            tag,
            least,
            tag_field: config.tag.header.as_str().into(),
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
