//! What the checks are built with: rules by their names, and every mistake that is found.

use super::{
    CheckId, CheckInfo, What, expression::NamedLists, lists::named::Named, marks::TagId,
    replies::Defaults, rule::Rule,
};
use crate::{
    config::{self, Mode, Then},
    smtp::{Reply, Status, Text},
};
use std::{collections::HashMap, fmt, sync::Arc};

/// One mistake in `[policy]`. Shown as `client_list "bad": blocklist.txt:17: "300.1.1.1" is neither …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFault {
    /// Where in the configuration, below `policy`: `client_list "bad"`, `helo.ours`.
    pub key: String,
    /// What is wrong, and with files where: `blocklist.txt:17: …`.
    pub message: String,
}

impl fmt::Display for PolicyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// What the configuration says of one rule, whichever table it stands in.
#[derive(Clone, Copy)]
pub struct RuleSettings<'a> {
    pub then: Then,
    pub score: f64,
    pub reply: Option<&'a str>,
    pub mode: Mode,
}

impl<'a> From<&'a config::Outcome> for RuleSettings<'a> {
    fn from(o: &'a config::Outcome) -> RuleSettings<'a> {
        RuleSettings {
            then: o.then,
            score: o.score,
            reply: o.reply.as_deref(),
            mode: o.mode,
        }
    }
}

impl<'a> From<&'a config::List> for RuleSettings<'a> {
    fn from(l: &'a config::List) -> RuleSettings<'a> {
        RuleSettings {
            then: l.then,
            score: l.score,
            reply: l.reply.as_deref(),
            mode: l.mode,
        }
    }
}

impl<'a> From<&'a config::HeaderRule> for RuleSettings<'a> {
    fn from(r: &'a config::HeaderRule) -> RuleSettings<'a> {
        RuleSettings {
            then: r.then,
            score: r.score,
            reply: r.reply.as_deref(),
            mode: r.mode,
        }
    }
}

/// What the checks build themselves with.
pub(super) struct Builder<'a> {
    pub config: &'a config::Policy,
    pub hostname: &'a str,
    /// The named lists of `config`.
    pub lists: NamedLists,
    /// The same, for the checks that look at their entries.
    pub entries: HashMap<String, Arc<Named>>,
    pub infos: Vec<CheckInfo>,
    /// The words that messages are tagged with.
    pub tags: Vec<Box<str>>,
    /// Names of the profile that is being made.
    pub taken: Vec<CheckId>,
    pub faults: Vec<PolicyFault>,
}

impl<'a> Builder<'a> {
    /// The named list that a list of a check shares.
    pub fn shared(&mut self, key: &str, list: &config::List) -> Option<Arc<Named>> {
        if list.list.is_empty() {
            return None;
        }
        let shared = self.entries.get(&list.list).cloned();
        if shared.is_none() {
            self.fault(key, format!("there is no list {:?}", list.list));
        }
        shared
    }

    /// Reports a mistake.
    pub fn fault(&mut self, key: &str, message: impl Into<String>) {
        let fault = PolicyFault {
            key: key.to_string(),
            message: message.into(),
        };
        // Another listener may have the same mistake.
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// A rule with this name; `None` where it is off, or wrong (and then reported for `key`).
    pub fn rule(
        &mut self,
        name: String,
        doc: &'static str,
        key: &str,
        settings: RuleSettings<'_>,
        defaults: &'static Defaults,
    ) -> Option<Rule> {
        if settings.mode == Mode::Off {
            return None;
        }
        let known = self.infos.iter().position(|info| info.name == name);
        let place = known.unwrap_or(self.infos.len());
        let id = CheckId(u16::try_from(place).unwrap_or(u16::MAX));
        if self.taken.contains(&id) {
            self.fault(
                key,
                format!("the name {name:?} is taken: logs and metrics need one of its own"),
            );
        }
        let what = what(settings.then);
        self.needs_of(what, &name, key, settings.mode);
        if !settings.score.is_finite() {
            self.fault(key, "`score` must be a finite number");
        }
        let mut reply = defaults.of(what).reply();
        if let Some(text) = settings.reply {
            match parse_reply(text, what) {
                Ok(custom) => reply = custom,
                Err(why) => self.fault(key, why),
            }
        }
        self.taken.push(id);
        if known.is_none() {
            self.infos.push(CheckInfo { name, doc });
        }
        let score = if what == What::Score {
            settings.score
        } else {
            0.0
        };
        let tag = (what == What::Tag).then(|| self.tag(&self.config.tag.word));
        Some(Rule {
            id,
            what,
            score,
            reply,
            shadow: settings.mode == Mode::Shadow,
            tag,
        })
    }

    /// The number of a word that messages are tagged with.
    pub fn tag(&mut self, word: &str) -> TagId {
        let known = self.tags.iter().position(|tag| **tag == *word);
        let place = known.unwrap_or_else(|| {
            self.tags.push(word.into());
            self.tags.len() - 1
        });
        TagId(u16::try_from(place).unwrap_or(u16::MAX))
    }

    /// What a rule can't do where the configuration has no place for it. `check` of the configuration tells most of it
    /// before, with its line.
    fn needs_of(&mut self, what: What, name: &str, key: &str, mode: Mode) {
        match what {
            What::Quarantine if mode == Mode::On && self.config.quarantine.pool.is_empty() => {
                self.fault(key, "quarantine needs a pool: `policy.quarantine.pool`");
            }
            What::Greylist if mode == Mode::On && self.config.greylist.mode == Mode::Off => {
                self.fault(key, "the greylist is off: `policy.greylist.mode`");
            }
            // A message is lost by it: that must be somebody's own and explicit wish.
            What::Discard if !name.starts_with("rule.") => {
                self.fault(key, "only a `[[policy.rule]]` can discard");
            }
            _ => {}
        }
    }

    /// A check with one rule of the same name, out of an `Outcome` table.
    pub fn outcome(
        &mut self,
        key: &str,
        doc: &'static str,
        outcome: &config::Outcome,
        defaults: &'static Defaults,
    ) -> Option<Rule> {
        self.rule(key.to_string(), doc, key, outcome.into(), defaults)
    }
}

fn what(then: Then) -> What {
    match then {
        Then::Accept => What::Accept,
        Then::Defer => What::Defer,
        Then::Reject => What::Reject,
        Then::Close => What::Close,
        Then::Score => What::Score,
        Then::Tag => What::Tag,
        Then::Tarpit => What::Tarpit,
        Then::Greylist => What::Greylist,
        Then::Quarantine => What::Quarantine,
        Then::Discard => What::Discard,
    }
}

/// Reads `550 5.7.1 Not from there`; the enhanced code may be missing. Its class must be what `what` means.
fn parse_reply(text: &str, what: What) -> Result<Reply, String> {
    let wrong = |why: &str| Err(format!("the reply {text:?} {why}"));
    let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
    let Some(code) = code
        .parse::<u16>()
        .ok()
        .filter(|n| code.len() == 3 && (400..=599).contains(n))
    else {
        return wrong("must start with its code, as in \"550 5.7.1 Not from there\"");
    };
    let (class, needs) = match what {
        What::Defer => (Some(4), "`then = \"defer\"` needs a code of 400 to 499"),
        What::Reject => (Some(5), "`then = \"reject\"` needs a code of 500 to 599"),
        _ => (None, ""),
    };
    if class.is_some_and(|class| class != code / 100) {
        return wrong(&format!("does not fit: {needs}"));
    }
    if rest.chars().any(|c| c.is_control() && c != '\n') {
        return wrong("has a control character in it");
    }
    let (status, text_at) = match Status::parse(rest.as_bytes()) {
        Some((status, at)) if u16::from(status.0) == code / 100 => (status, at),
        Some((status, _)) => {
            return wrong(&format!("says {code} but {status}: their classes differ"));
        }
        None => (Status((code / 100) as u8, 7, 1), 0),
    };
    let said = rest[text_at..].trim();
    if said.is_empty() {
        return wrong("has no text");
    }
    Ok(Reply {
        code,
        status,
        text: Text::Shared(Arc::from(said)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_replies() {
        let reply = |text, what| parse_reply(text, what).map(|r| r.to_string());
        assert_eq!(
            reply("550 5.7.1 Not from there", What::Reject),
            Ok("550 5.7.1 Not from there".into())
        );
        assert_eq!(
            reply("451 Later", What::Defer),
            Ok("451 4.7.1 Later".into())
        );
        assert_eq!(
            reply("554 5.7.1 Gone", What::Close),
            Ok("554 5.7.1 Gone".into())
        );
        for (text, what) in [
            ("550 5.7.1 No", What::Defer),
            ("450 4.7.1 No", What::Reject),
            ("550 4.7.1 No", What::Reject),
            ("250 2.0.0 Ok", What::Close),
            ("Not from there", What::Reject),
            ("550", What::Reject),
            ("550 5.7.1", What::Reject),
            ("550 5.7.1 a\rb", What::Reject),
            ("5500 No", What::Reject),
            ("+55 No", What::Reject),
            ("", What::Reject),
        ] {
            assert!(parse_reply(text, what).is_err(), "{text:?}");
        }
    }
}
