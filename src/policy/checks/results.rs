//! Checks by the result of one look-up: each result has its own effect (`fail = "reject"`, `none = 2.0`), and its own rule,
//! named `spf.fail`. Those without an effect are told in Authentication-Results and the log alone.

use super::{Check, Whom};
use crate::{
    config::{DecideAt, Effect, Mode, Then},
    policy::{
        At, Facts, Inquiry, Shared,
        builder::{Builder, RuleSettings},
        dns::reverse,
        inquiry::{Want, Wants},
        replies::{self, Defaults},
        rule::{Rule, Say},
        spf::ResultCode,
    },
};
use std::{borrow::Cow, sync::Arc};

/// The result that counts, and what of it is worth a word in the log.
pub(super) type Found<'a> = (&'static str, Cow<'a, str>);

/// Octets of a detail that another chose.
pub(super) const DETAIL_MAX: usize = 120;

struct Results {
    name: &'static str,
    at: At,
    rules: Vec<(&'static str, Rule)>,
    read: fn(&Inquiry, &Facts<'_>) -> Option<Found<'static>>,
    want: fn(&mut Wants, Want),
    /// Whether the result is told where nothing hangs on it.
    told: bool,
}

/// What the configuration says of one such check.
pub(super) struct Said<'a> {
    pub name: &'static str,
    pub mode: Mode,
    pub at: At,
    pub reply: Option<&'a str>,
    pub defaults: &'static Defaults,
    pub results: &'a [(&'static str, &'static str, Effect)],
}

/// The point at which a check decides.
pub(super) fn point(at: DecideAt) -> At {
    match at {
        // By then the client may have talked out of turn, and nothing more.
        DecideAt::Connect => At::Greeting,
        DecideAt::Helo => At::Hello,
        DecideAt::Mail => At::Mail,
        DecideAt::Rcpt => At::Answers,
    }
}

/// What an effect is as a rule; `None`: it does nothing.
pub(super) fn wish(effect: Effect, reply: Option<&str>, mode: Mode) -> Option<RuleSettings<'_>> {
    let (then, score) = match effect {
        Effect::Nothing => return None,
        Effect::Defer => (Then::Defer, 0.0),
        Effect::Reject => (Then::Reject, 0.0),
        Effect::Close => (Then::Close, 0.0),
        Effect::Tag => (Then::Tag, 0.0),
        Effect::Tarpit => (Then::Tarpit, 0.0),
        Effect::Greylist => (Then::Greylist, 0.0),
        Effect::Quarantine => (Then::Quarantine, 0.0),
        Effect::Score(score) => (Then::Score, score),
    };
    Some(RuleSettings {
        then,
        score,
        // One text for several results: it is said where it fits what the result does.
        reply: reply.filter(|text| match then {
            Then::Defer => text.starts_with('4'),
            Then::Reject => text.starts_with('5'),
            _ => true,
        }),
        mode,
    })
}

fn rules(builder: &mut Builder<'_>, said: &Said<'_>) -> Vec<(&'static str, Rule)> {
    let mut rules = Vec::new();
    for (result, doc, effect) in said.results {
        let key = format!("{}.{result}", said.name);
        let Some(wish) = wish(*effect, said.reply, said.mode) else {
            continue;
        };
        let defaults = match (said.name, *result) {
            ("rdns", "unknown") => &replies::RDNS_NOT_KNOWN,
            ("helo_domain", "unknown") => &replies::HELO_DOMAIN_NOT_KNOWN,
            ("sender_domain", "null_mx") => &replies::NULL_MX,
            ("spf", "permerror") => &replies::SPF_WRONG,
            _ => said.defaults,
        };
        if let Some(rule) = builder.rule(key.clone(), doc, &key, wish, defaults) {
            rules.push((*result, rule));
        }
    }
    rules
}

pub(super) fn check(
    builder: &mut Builder<'_>,
    said: &Said<'_>,
    told: bool,
    read: fn(&Inquiry, &Facts<'_>) -> Option<Found<'static>>,
    want: fn(&mut Wants, Want),
) -> Option<Arc<dyn Check>> {
    if said.mode == Mode::Off {
        return None;
    }
    let rules = rules(builder, said);
    let used = told || !rules.is_empty();
    used.then(|| {
        let (name, at) = (said.name, said.at);
        let check = Results {
            name,
            at,
            rules,
            read,
            want,
            told,
        };
        Arc::new(check) as Arc<dyn Check>
    })
}

pub fn rdns(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    let rules = &builder.config.rdns;
    let said = Said {
        name: "rdns",
        mode: rules.mode,
        at: point(rules.at),
        reply: rules.reply.as_deref(),
        defaults: &replies::RDNS,
        results: &[
            (
                "none",
                "The client's address has no name in the DNS.",
                rules.none,
            ),
            (
                "unconfirmed",
                "None of the names of the client's address leads back to it.",
                rules.unconfirmed,
            ),
            (
                "generic",
                "The name of the client's address looks generated.",
                rules.generic,
            ),
            (
                "unknown",
                "The names of the client's address are not known in time.",
                rules.unknown,
            ),
        ],
    };
    check(
        builder,
        &said,
        true,
        |inquiry, facts| {
            let names = inquiry.reverse()?;
            let first = || names.names.first().map_or("", |name| name).to_string();
            Some(match names.outcome {
                reverse::Outcome::None => ("none", "".into()),
                reverse::Outcome::Unconfirmed => ("unconfirmed", first().into()),
                reverse::Outcome::Unknown(why) => ("unknown", why.as_str().into()),
                reverse::Outcome::Confirmed => {
                    let is_generic = names.look_generic(facts.client);
                    return is_generic.then(|| ("generic", first().into()));
                }
            })
        },
        |wants, want| wants.reverse = wants.reverse.max(want),
    )
}

pub fn helo_domain(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    let rules = &builder.config.helo_domain;
    let said = Said {
        name: "helo_domain",
        mode: rules.mode,
        at: point(match rules.at {
            // Before the greeting there is no name.
            DecideAt::Connect => DecideAt::Helo,
            at => at,
        }),
        reply: rules.reply.as_deref(),
        defaults: &replies::HELO_DOMAIN,
        results: &[
            ("no_name", "The name in HELO does not exist.", rules.no_name),
            (
                "no_host",
                "The name in HELO has neither addresses nor MX records.",
                rules.no_host,
            ),
            (
                "not_client",
                "The name in HELO does not lead to the client.",
                rules.not_client,
            ),
            (
                "unknown",
                "What the name in HELO leads to is not known in time.",
                rules.unknown,
            ),
        ],
    };
    check(
        builder,
        &said,
        false,
        |inquiry, _| Some((inquiry.helo()?.result()?, "".into())),
        |wants, _| wants.helo = true,
    )
}

pub fn sender_domain(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    let rules = &builder.config.sender_domain;
    let said = Said {
        name: "sender_domain",
        mode: rules.mode,
        at: not_before_mail(rules.at),
        reply: rules.reply.as_deref(),
        defaults: &replies::SENDER_DOMAIN,
        results: &[
            (
                "no_name",
                "The sender's domain does not exist.",
                rules.no_name,
            ),
            (
                "no_mail",
                "The sender's domain has neither MX records nor addresses.",
                rules.no_mail,
            ),
            (
                "null_mx",
                "The sender's domain takes no mail.",
                rules.null_mx,
            ),
            (
                "unusable",
                "The mail exchangers of the sender's domain can't be reached from the internet.",
                rules.unusable,
            ),
            (
                "unknown",
                "Whether the sender's domain exists is not known in time.",
                rules.unknown,
            ),
        ],
    };
    check(
        builder,
        &said,
        false,
        |inquiry, _| Some((inquiry.sender()?.result()?, "".into())),
        |wants, _| wants.sender = true,
    )
}

pub fn spf(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    let rules = &builder.config.spf;
    let said = Said {
        name: "spf",
        mode: rules.mode,
        at: not_before_mail(rules.at),
        reply: rules.reply.as_deref(),
        defaults: &replies::SPF,
        results: &[
            (
                "pass",
                "The sender's domain allows this client.",
                rules.pass,
            ),
            (
                "fail",
                "The sender's domain does not allow this client.",
                rules.fail,
            ),
            (
                "softfail",
                "The sender's domain probably does not allow this client.",
                rules.softfail,
            ),
            (
                "neutral",
                "The sender's domain does not say whether it allows this client.",
                rules.neutral,
            ),
            ("none", "The sender's domain has no SPF record.", rules.none),
            (
                "temperror",
                "The SPF record of the sender's domain is not known in time.",
                rules.temperror,
            ),
            (
                "permerror",
                "The SPF record of the sender's domain is wrong.",
                rules.permerror,
            ),
        ],
    };
    check(
        builder,
        &said,
        true,
        |inquiry, _| {
            let spf = inquiry.spf()?;
            let mut detail = spf.domain.to_string();
            detail.truncate(DETAIL_MAX);
            if let (ResultCode::PermError, Some(problem)) = (spf.code, &spf.problem) {
                detail = format!("{detail}: {problem}");
            }
            Some((spf.code.as_str(), detail.into()))
        },
        |wants, want| wants.spf = wants.spf.max(want),
    )
}

fn not_before_mail(at: DecideAt) -> At {
    point(match at {
        // Before MAIL there is no sender.
        DecideAt::Connect | DecideAt::Helo => DecideAt::Mail,
        at => at,
    })
}

impl Check for Results {
    fn name(&self) -> &'static str {
        self.name
    }

    fn stages(&self) -> &[At] {
        // What is only told is not looked at.
        match self.rules.is_empty() {
            true => &[],
            false => std::slice::from_ref(&self.at),
        }
    }

    fn wants(&self, wants: &mut Wants, welcome: bool) {
        let decides = !self.rules.is_empty() && !welcome;
        if !decides && !self.told {
            return;
        }
        (self.want)(wants, if decides { Want::Decides } else { Want::Told });
        if decides {
            wants.waits |= 1 << self.at as u16;
        }
        if self.told {
            // It is told in the header, once all is known that can be.
            wants.waits |= 1 << self.at.max(At::Header) as u16;
        }
    }

    fn reads_answers(&self, _: At) -> bool {
        true
    }

    fn whom(&self) -> Whom {
        Whom::Strangers
    }

    fn look(&self, _: At, facts: &Facts<'_>, _: &Shared, say: &mut Say<'_>) {
        let found = facts
            .inquiry
            .and_then(|inquiry| (self.read)(inquiry, facts));
        let Some((result, detail)) = found else {
            return;
        };
        if let Some((_, rule)) = self.rules.iter().find(|(name, _)| *name == result) {
            let _ = say.hit(rule, detail);
        }
    }
}

#[cfg(test)]
mod tests;
