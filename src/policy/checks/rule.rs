//! Rules with conditions that the operator wrote: `[[policy.rule]]`. The language is in `expression/`.
//!
//! They are judged in their order, each at its point. One whose condition is unknown does nothing, and its hit says why;
//! not so for clients that are known, about which nothing is asked elsewhere.

use super::{Check, Whom};
use crate::{
    client_key,
    config::Time,
    policy::{
        At, Facts, Judgement, Shared, What,
        builder::{Builder, RuleSettings},
        condition::{Condition, RuleMistake},
        expression::{Counting, Fields, Gap, KeyPart, Missing, Need, Rate, Rates, Subject, Truth},
        inquiry::{Want, Wants},
        lists::lower,
        rates::table::Limit,
        replies,
        rule::{Rule, Say},
    },
    smtp::header,
};
use std::{
    cell::RefCell,
    hash::{BuildHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

/// Rules of one configuration.
const RULES_MAX: usize = 1_000;
/// Characters of a text in the key of a rate, and parts of a key, that an explanation shows.
const KEY_SHOWN_MAX: usize = 64;
const KEY_PARTS_SHOWN_MAX: usize = 3;

struct One {
    rule: Rule,
    condition: Condition,
    /// No other is judged after it.
    stops: bool,
}

/// What is judged at one point.
struct Point {
    at: At,
    rules: Vec<One>,
    /// The names of the header fields that these rules read.
    headers: Vec<Box<str>>,
}

struct Rules {
    points: Vec<Point>,
    stages: Vec<At>,
}

pub fn build(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    let configured = &builder.config.rule;
    if configured.len() > RULES_MAX {
        builder.fault("rule", format!("there are more than {RULES_MAX} rules"));
    }
    let mut points: Vec<Point> = Vec::new();
    for wish in configured {
        let key = format!("rule {:?}", wish.name);
        let condition = match Condition::of(wish, &builder.lists) {
            Ok(condition) => condition,
            Err(mistakes) => {
                for mistake in mistakes {
                    builder.fault(&key, told(mistake));
                }
                continue;
            }
        };
        let settings = RuleSettings {
            then: wish.then,
            score: wish.score,
            // It has values in it, and is checked with the condition.
            reply: None,
            mode: wish.mode,
        };
        let (name, doc) = (
            format!("rule.{}", wish.name),
            "A rule of the configuration.",
        );
        let Some(mut rule) = builder.rule(name, doc, &key, settings, &replies::RULE) else {
            continue;
        };
        if let Some(word) = &wish.tag {
            rule.tag = Some(builder.tag(word));
        }
        let at = condition.at;
        let one = One {
            rule,
            condition,
            stops: wish.stop,
        };
        match points.iter_mut().find(|point| point.at == at) {
            Some(point) => point.rules.push(one),
            None => points.push(Point::new(at, one)),
        }
    }
    for point in &mut points {
        let named = point.rules.iter();
        let named = named.flat_map(|one| one.condition.when.headers());
        point.headers = named.cloned().collect();
        point.headers.sort_unstable();
        point.headers.dedup();
    }
    let stages = points.iter().map(|point| point.at).collect();
    (!points.is_empty()).then(|| Arc::new(Rules { points, stages }) as Arc<dyn Check>)
}

fn told(mistake: RuleMistake) -> String {
    let RuleMistake {
        key, message, hint, ..
    } = mistake;
    match hint {
        Some(hint) => format!("`{key}`: {message}; {hint}"),
        None => format!("`{key}`: {message}"),
    }
}

impl Point {
    fn new(at: At, first: One) -> Point {
        Point {
            at,
            rules: vec![first],
            headers: Vec::new(),
        }
    }

    /// Where the session waits for what these rules read of the DNS: the points by their numbers.
    fn waits(&self) -> u16 {
        match self.at {
            At::Rcpt => 1 << At::Answers as u16,
            // What is about the message is waited for by itself.
            At::Body => 1 << At::Header as u16 | 1 << At::Body as u16,
            at => 1 << at as u16,
        }
    }
}

thread_local! {
    /// One a worker, not one a session.
    static FIELDS: RefCell<Fields> = RefCell::default();
}

impl Check for Rules {
    fn name(&self) -> &'static str {
        "rule"
    }

    fn stages(&self) -> &[At] {
        &self.stages
    }

    fn wants(&self, wants: &mut Wants, welcome: bool) {
        for point in &self.points {
            let needs = point.rules.iter().flat_map(|one| &one.condition.needs);
            // The lists in the DNS are not asked about a client that one of ours has let in.
            for need in needs.filter(|need| !welcome || **need != Need::Dnsbl) {
                match need {
                    Need::ReverseDns => wants.reverse = Want::Decides,
                    // They are asked as `policy.dnsbl` says.
                    Need::Dnsbl => {}
                    Need::HeloDomain => wants.helo = true,
                    Need::SenderDomain => wants.sender = true,
                    Need::Spf => wants.spf = Want::Decides,
                    Need::Dkim => wants.dkim = Want::Decides,
                    Need::Dmarc => wants.need_dmarc(),
                    Need::Arc => wants.arc = Want::Decides,
                }
                wants.waits |= point.waits();
            }
        }
    }

    fn reads_answers(&self, at: At) -> bool {
        let needs = |point: &Point| {
            point
                .rules
                .iter()
                .any(|one| !one.condition.needs.is_empty())
        };
        self.points
            .iter()
            .any(|point| point.at == at && needs(point))
    }

    fn reads_scores(&self) -> bool {
        true
    }

    fn whom(&self) -> Whom {
        Whom::Everybody
    }

    fn look(&self, at: At, facts: &Facts<'_>, shared: &Shared, say: &mut Say<'_>) {
        let Some(point) = self.points.iter().find(|point| point.at == at) else {
            return;
        };
        if say.rules_are_ended() {
            return;
        }
        FIELDS.with_borrow_mut(|fields| {
            if !point.headers.is_empty() {
                match facts.fields {
                    Some(index) => fields.read(index.fields(), &point.headers),
                    None => fields.read(header::fields(facts.header), &point.headers),
                }
            }
            for one in &point.rules {
                let subject = Subject {
                    facts,
                    shared,
                    score: say.score(),
                    welcome: say.is_welcome(),
                    fields,
                };
                if one.look(&subject, shared, say) {
                    return;
                }
            }
        });
    }
}

impl One {
    /// Whether no other rule is to be judged.
    fn look(&self, subject: &Subject<'_>, shared: &Shared, say: &mut Say<'_>) -> bool {
        let at = self.condition.at;
        let mut above = String::new();
        let judge = |judgement: &mut Judgement, above: &mut String| {
            let charges = Charges {
                shared,
                facts: subject.facts,
                at,
                judgement: RefCell::new(judgement),
                above: RefCell::new(above),
            };
            self.condition.when.judge(subject, &charges)
        };
        match judge(say.judgement(), &mut above) {
            Truth::False => false,
            Truth::Unknown(gap) => {
                let is_asked = !matches!(gap, Gap::Unknown(_, Missing::NotAsked));
                // Once a message: a thousand recipients have the same to say.
                if is_asked && !say.has(&self.rule) {
                    let silent = Rule {
                        score: 0.0,
                        ..self.rule.clone()
                    };
                    let reply = |rule: &Rule| rule.reply.clone();
                    let _ = say.hit_as(&silent, What::Unknown, gap.to_string(), reply);
                }
                false
            }
            Truth::True => {
                let reply = |rule: &Rule| match &self.condition.reply {
                    Some(template) => template.render(subject, &Uncharged),
                    None => rule.reply.clone(),
                };
                // For the explanation alone: where there is none of this hit, nothing is written.
                let read = say
                    .keeps_hits()
                    .then(|| self.condition.when.values(subject));
                let told = (above, read.flatten());
                let flow = say.hit_after(&self.rule, self.rule.what, told, reply);
                let ends = !self.rule.shadow && (self.stops || self.rule.what == What::Accept);
                if ends {
                    say.end_rules();
                }
                ends || flow.is_break()
            }
        }
    }
}

/// The accounts of rates, at a moment.
struct Charges<'a> {
    shared: &'a Shared,
    facts: &'a Facts<'a>,
    at: At,
    judgement: RefCell<&'a mut Judgement>,
    /// The first limit that was reached, and for what key, for the explanation.
    above: RefCell<&'a mut String>,
}

impl Rates for Charges<'_> {
    fn is_above(&self, rate: &Rate, key: &[KeyPart<'_>]) -> bool {
        let is_above = self.charge(rate, key);
        let mut above = self.above.borrow_mut();
        if is_above && above.is_empty() {
            **above = shown(rate, key);
        }
        is_above
    }
}

/// A limit and the key that reached it: `2 in 1d for amy@example.net`.
fn shown(rate: &Rate, key: &[KeyPart<'_>]) -> String {
    let parts = key.iter().map(|part| match part {
        KeyPart::Text(text) | KeyPart::Name(text) => {
            let text = String::from_utf8_lossy(text);
            let plain = text
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' '..='~'));
            let plain: String = plain.take(KEY_SHOWN_MAX).collect();
            match plain.is_empty() {
                true => "\"\"".into(),
                false => plain,
            }
        }
        KeyPart::Address(address) => address.to_string(),
        KeyPart::Int(number) => number.to_string(),
    });
    let key: Vec<String> = parts.take(KEY_PARTS_SHOWN_MAX).collect();
    let key = key.join(", ");
    let limit = rate.limit;
    match rate.counting {
        Counting::Leases => format!("{limit} at once for {key}"),
        _ => format!(
            "{limit} in {} for {key}",
            Time(Duration::from_millis(rate.per_ms))
        ),
    }
}

impl Charges<'_> {
    fn charge(&self, rate: &Rate, key: &[KeyPart<'_>]) -> bool {
        let (shared, facts) = (self.shared, self.facts);
        let hash = shared.secret.hash_one(Key(rate.account, key));
        match rate.counting {
            Counting::Bucket => {
                let per = Duration::from_millis(rate.per_ms);
                let limit = Limit::new(rate.limit, per);
                limit.is_some_and(|limit| !shared.rules.admit_hashed(hash, limit, 1, facts.now))
            }
            Counting::Window => {
                let now = facts.unix_millis;
                !shared.windows.admit(hash, rate.limit, rate.per_ms, now)
            }
            Counting::Leases => self.takes_no_lease(hash, rate),
        }
    }
}

/// For replies, in which nothing is charged.
struct Uncharged;

impl Rates for Uncharged {
    fn is_above(&self, _: &Rate, _: &[KeyPart<'_>]) -> bool {
        false
    }
}

impl Charges<'_> {
    fn takes_no_lease(&self, hash: u64, rate: &Rate) -> bool {
        let mut judgement = self.judgement.borrow_mut();
        if judgement.holds(hash) || !judgement.can_hold() {
            return false;
        }
        let leases = &self.shared.leases;
        match leases.take(hash, rate.limit, rate.per_ms, self.facts.now) {
            Some(lease) => {
                judgement.hold(self.at, hash, lease);
                false
            }
            None => true,
        }
    }
}

/// The account of a use of `rate` and its key.
struct Key<'a>(u64, &'a [KeyPart<'a>]);

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
        for (kind, part) in self.1.iter().enumerate() {
            kind.hash(state);
            match part {
                KeyPart::Text(text) => text.hash(state),
                KeyPart::Name(name) => lower::host(name, &mut [0; lower::ROOM]).hash(state),
                KeyPart::Address(address) => client_key::address(*address).hash(state),
                KeyPart::Int(number) => number.hash(state),
            }
        }
    }
}

#[cfg(test)]
mod tests;
