//! `[listener.policy]` and `[profile.policy]`: some keys of a policy; and what a submission listener does where nothing is said.

use super::{Outcome, Policy, Rate};
use crate::config::{Mode, Preset, lay_over};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use toml::{Table, Value};

/// Some tables and keys of `[policy]`, as the file has them; they were held against its schema.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PolicyPart(Table);

impl JsonSchema for PolicyPart {
    fn schema_name() -> Cow<'static, str> {
        Policy::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Policy::json_schema(generator)
    }
}

impl PolicyPart {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it has this key or table.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Its keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn preset(&self) -> Option<Preset> {
        self.0.get("preset")?.as_str()?.parse().ok()
    }

    /// Lays the part of each listener and profile that has a preset of its own over what the file has written in `[policy]`: that wins
    /// over any preset.
    pub fn join(whole: &mut Table) {
        let Some(Value::Table(written)) = whole.get("policy").cloned() else {
            return;
        };
        for tables in ["listener", "profile"] {
            let tables = whole.get_mut(tables).and_then(Value::as_array_mut);
            for table in tables.into_iter().flatten() {
                let part = table.get_mut("policy").and_then(Value::as_table_mut);
                if let Some(part) = part.filter(|part| part.contains_key("preset")) {
                    let mut joined = written.clone();
                    lay_over(&mut joined, std::mem::take(part));
                    *part = joined;
                }
            }
        }
    }

    /// What it says, over what holds elsewhere.
    pub(super) fn over(&self, below: Policy) -> Policy {
        if self.is_empty() {
            return below;
        }
        let Ok(mut whole) = Table::try_from(&below) else {
            return below;
        };
        lay_over(&mut whole, self.0.clone());
        // What fits the schema can be read; what doesn't has been told as an error.
        Policy::deserialize(Value::Table(whole)).unwrap_or(below)
    }
}

/// What the policy is where mail programs connect, which greet with any name, and from a whole office at once. Tables
/// that differ from their default were written for all listeners, and stay.
pub(super) fn for_submission(policy: &Policy) -> Policy {
    let (plain, mut policy) = (Policy::of(policy.preset), policy.clone());
    for (outcome, default, mode) in [
        (
            &mut policy.helo.unqualified,
            plain.helo.unqualified,
            Mode::Off,
        ),
        (&mut policy.helo.address, plain.helo.address, Mode::Off),
        (&mut policy.helo.ours, plain.helo.ours, Mode::Off),
        (&mut policy.early_talk, plain.early_talk, Mode::Shadow),
    ] {
        if *outcome == default {
            *outcome = Outcome { mode, ..default };
        }
    }
    for (rate, default) in [
        (&mut policy.client_rate, plain.client_rate),
        (&mut policy.prefix_rate, plain.prefix_rate),
    ] {
        if *rate == default {
            *rate = Rate {
                sessions: default.sessions * 5,
                connections: default.connections * 5,
                ..default
            };
        }
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{REST, config},
        *,
    };

    #[test]
    fn a_listener_changes_what_it_names() {
        let config = config(
            "
            [policy]
            reject_score = 7.0
            [policy.helo.unqualified]
            then = 'reject'
            [[policy.client_list]]
            name = 'all'
            entries = ['192.0.2.0/24']
            [[listener]]
            name = 'mx'
            address = ['127.0.0.1:2525']
            [[listener]]
            name = 'partners'
            address = ['127.0.0.1:2526']
            [listener.policy]
            reject_score = 20.0
            [listener.policy.helo.unqualified]
            mode = 'shadow'
            [[listener.policy.client_list]]
            name = 'one'
            entries = ['192.0.2.1']
            then = 'accept'",
        );
        let [mx, partners] = &config.policies()[..] else {
            panic!("two listeners");
        };
        assert_eq!(*mx, config.policy);
        assert_eq!((partners.reject_score, partners.defer_score), (20.0, 0.0));
        assert_eq!(partners.helo.unqualified.mode, Mode::Shadow);
        assert_eq!(partners.helo.unqualified.then, crate::config::Then::Reject);
        assert_eq!(partners.helo.ours, config.policy.helo.ours);
        let names: Vec<_> = partners
            .client_list
            .iter()
            .map(|list| &*list.name)
            .collect();
        assert_eq!(names, ["one"]);
    }

    #[test]
    fn mail_programs_are_not_judged_by_their_greeting() {
        let listener =
            "[[listener]]\nname = 's'\naddress = ['127.0.0.1:2587']\nrole = 'submission'\n";
        let plain = &config(listener).policies()[0];
        assert_eq!(plain.helo.ours.mode, Mode::Off);
        assert_eq!(plain.early_talk.mode, Mode::Shadow);
        assert_eq!(plain.client_rate.sessions, 500);
        let written = "[policy.helo.ours]\nthen = 'defer'\n[policy.client_rate]\nsessions = 3\n";
        let written = &config(&format!("{written}{listener}")).policies()[0];
        assert_eq!(written.helo.ours.mode, Mode::On);
        assert_eq!(written.helo.address.mode, Mode::Off);
        assert_eq!(written.client_rate.sessions, 3);
        let own = "[listener.policy.helo.ours]\nmode = 'on'\n";
        let own = &config(&format!("{listener}{own}")).policies()[0];
        assert_eq!(own.helo.ours.mode, Mode::On);
    }

    #[test]
    fn mistakes_have_their_place() {
        let found = |part: &str| {
            let listener = "[[listener]]\nname = 'x'\naddress = ['127.0.0.1:2525']";
            let text = format!("{listener}\n{part}\n{REST}");
            let found = crate::config::parse("test", &text)
                .err()
                .unwrap_or_default();
            found.iter().map(ToString::to_string).collect::<String>()
        };
        assert!(found("[listener.policy.helo.our]\nmode = 'off'").contains("did you mean `ours`?"));
        assert!(found("[listener.policy.relay]\nmode = 'off'").contains("is an open relay"));
        let reply = found("[listener.policy.helo.ours]\nreply = 'no'");
        assert_eq!(reply.matches("is no reply").count(), 1, "{reply}");
        assert_eq!(found("[listener.policy]\ndefer_score = 1.0"), "");
    }
}
