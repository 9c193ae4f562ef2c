//! A rule of the configuration, checked and compiled: at the start, at a reload and by `gatepost check` alike.

use super::{
    At,
    expression::{Environment, Expression, Fact, Mistake, NamedLists, Need, ReplyKind, Template},
};
use crate::config::{self, DecideAt, Then};
use std::ops::Range;

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleMistake {
    /// The key of the rule that it is in.
    pub key: &'static str,
    /// Octets of the value; `None`: it is about the whole of it.
    pub span: Option<Range<usize>>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl RuleMistake {
    pub(super) fn of(key: &'static str, mistake: Mistake) -> RuleMistake {
        RuleMistake {
            key,
            span: Some(mistake.start..mistake.start + mistake.width),
            message: mistake.message,
            hint: mistake.hint,
        }
    }
}

/// When a rule fires, and what it says then.
pub(super) struct Condition {
    /// Whether it fires.
    pub when: Expression,
    /// Its own reply.
    pub reply: Option<Template>,
    /// The point at which it is judged.
    pub at: At,
    /// The look-ups that it reads.
    pub needs: Vec<Need>,
}

/// The look-ups that a rule reads, each once.
fn needs(when: &Expression, reply: Option<&Template>) -> Vec<Need> {
    let shown = reply.into_iter().flat_map(Template::reads);
    let read = when.reads().chain(shown);
    let mut needs: Vec<Need> = read.filter_map(|fact| fact.need).collect();
    needs.sort_unstable();
    needs.dedup();
    needs
}

/// A rule that asks the greylist when that has been asked already.
fn after_greylist(at: At) -> RuleMistake {
    RuleMistake {
        key: "then",
        span: None,
        message: format!(
            "the greylist is asked at rcpt, and the rule is judged at {}",
            at.as_str()
        ),
        hint: Some("write a score, or \"defer\"".into()),
    }
}

/// What to write where a reply says a fact that is not known yet.
fn in_time(fact: &Fact) -> String {
    let name = fact.name;
    format!(
        "a rule is judged once what `when` reads is known: read `{name}` there too, as in `… && {name} != …`, or leave it out of the reply"
    )
}

impl Condition {
    /// Checks and compiles one.
    ///
    /// # Errors
    /// Every mistake that was found.
    pub fn of(rule: &config::Rule, lists: &NamedLists) -> Result<Condition, Vec<RuleMistake>> {
        let environment = Environment {
            rule: &rule.name,
            lists,
            unread_list: None,
        };
        Condition::within(rule, &environment)
    }

    /// The same with an environment of one's own.
    ///
    /// # Errors
    /// Every mistake that was found.
    pub fn within(
        rule: &config::Rule,
        environment: &Environment<'_>,
    ) -> Result<Condition, Vec<RuleMistake>> {
        let mut mistakes = Vec::new();
        let when = match Expression::compile(&rule.when, environment) {
            Ok(when) => Some(when),
            Err(found) => {
                let found = found.into_iter();
                mistakes.extend(found.map(|mistake| RuleMistake::of("when", mistake)));
                None
            }
        };
        let kind = match rule.then {
            Then::Defer => Some(ReplyKind::Defer),
            Then::Reject => Some(ReplyKind::Reject),
            Then::Close => Some(ReplyKind::Close),
            // That a reply is never said there is told by `config`.
            _ => None,
        };
        let reply = match (kind, &rule.reply) {
            (Some(kind), Some(text)) => match Template::parse(text, kind) {
                Ok(reply) => Some(reply),
                Err(found) => {
                    let found = found.into_iter();
                    mistakes.extend(found.map(|mistake| RuleMistake::of("reply", mistake)));
                    None
                }
            },
            _ => None,
        };
        match when.map(|when| Condition::at(rule, when, reply)) {
            Some(Ok(condition)) if mistakes.is_empty() => return Ok(condition),
            Some(Err(mistake)) => mistakes.push(mistake),
            _ => {}
        }
        Err(mistakes)
    }

    /// Finds the point at which it is judged.
    fn at(
        rule: &config::Rule,
        when: Expression,
        reply: Option<Template>,
    ) -> Result<Condition, RuleMistake> {
        let needs = needs(&when, reply.as_ref());
        let stage = when.stage();
        let at = match rule.at {
            // Answers are waited for once the client may have talked out of turn.
            DecideAt::Connect if !needs.is_empty() => stage.max(At::Greeting),
            DecideAt::Connect => stage,
            DecideAt::Helo => stage.max(At::Hello),
            DecideAt::Mail => stage.max(At::Mail),
            DecideAt::Rcpt => stage.max(At::Answers),
        };
        let latest = match rule.at {
            DecideAt::Connect => At::Greeting,
            DecideAt::Helo => At::Hello,
            DecideAt::Mail => At::Mail,
            DecideAt::Rcpt => At::Body,
        };
        let early = |fact: Option<&Fact>, known: At| RuleMistake {
            key: "at",
            span: None,
            message: match fact {
                Some(fact) => format!(
                    "`{}` is known at {}, and not at {}",
                    fact.name,
                    known.as_str(),
                    rule.at
                ),
                None => format!(
                    "the header is known at {}, and not at {}",
                    known.as_str(),
                    rule.at
                ),
            },
            hint: Some("leave `at` out: the rule is then judged as soon as it can be".into()),
        };
        if rule.then == Then::Greylist && at > At::Rcpt {
            return Err(after_greylist(at));
        }
        if at > latest {
            return Err(early(when.reads().find(|fact| fact.stage > latest), stage));
        }
        if let Some(fact) = reply.as_ref().and_then(|reply| reply.too_late(at).next()) {
            return Err(RuleMistake {
                key: "reply",
                message: format!(
                    "`{}` is known at {}, and the rule is judged {}",
                    fact.name,
                    fact.stage.as_str(),
                    match at.as_str() == fact.stage.as_str() {
                        true => "before there is one".to_string(),
                        false => format!("at {}", at.as_str()),
                    }
                ),
                hint: Some(in_time(fact)),
                ..early(None, stage)
            });
        }
        Ok(Condition {
            when,
            reply,
            at,
            needs,
        })
    }
}
