//! A rule is one named thing that can match, with what it does then; a check holds one or more of them.

use super::{At, CheckId, Hit, HitKind, Judgement, Verdict, What, marks::TagId};
use crate::smtp::{Reply, Tick};
use std::{borrow::Cow, ops::ControlFlow};

/// What a log or a metric calls a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckInfo {
    /// `relay`, `helo.unqualified`, `client_list.NAME` …
    pub name: String,
    /// What it looks for.
    pub doc: &'static str,
}

/// One rule, ready to fire.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub id: CheckId,
    pub what: What,
    pub score: f64,
    pub reply: Reply,
    pub shadow: bool,
    /// What it writes on the message.
    pub tag: Option<TagId>,
}

/// Where a check reports to while one question is answered.
pub(super) struct Say<'a> {
    at: At,
    clock: fn() -> Tick,
    last: Tick,
    kind: HitKind,
    stranger: bool,
    judgement: &'a mut Judgement,
    refusal: Option<Verdict>,
}

impl<'a> Say<'a> {
    /// For a question of the moment `asked`. `clock` is read at hits alone: most questions have none.
    pub fn new(at: At, asked: Tick, clock: fn() -> Tick, judgement: &'a mut Judgement) -> Say<'a> {
        Say {
            at,
            clock,
            last: asked,
            kind: HitKind::Finding,
            stranger: false,
            judgement,
            refusal: None,
        }
    }

    /// What the hits to come are.
    pub fn finds(&mut self, kind: HitKind) {
        self.kind = kind;
    }

    /// Whether only strangers answer for the hits to come.
    pub fn of_strangers(&mut self, stranger: bool) {
        self.stranger = stranger;
    }

    /// The rule has matched. `Break`: the check has nothing more to say.
    pub fn hit(&mut self, rule: &Rule, detail: impl Into<Cow<'static, str>>) -> ControlFlow<()> {
        self.hit_as(rule, rule.what, detail, |rule| rule.reply.clone())
    }

    /// The same with another reply than the rule's own, and perhaps another deed.
    pub fn hit_as(
        &mut self,
        rule: &Rule,
        what: What,
        detail: impl Into<Cow<'static, str>>,
        reply: impl FnOnce(&Rule) -> Reply,
    ) -> ControlFlow<()> {
        self.hit_after(rule, what, (detail, None), reply)
    }

    /// The same by a condition, with the facts that it read.
    pub fn hit_after(
        &mut self,
        rule: &Rule,
        what: What,
        (detail, read): (impl Into<Cow<'static, str>>, Option<Box<str>>),
        reply: impl FnOnce(&Rule) -> Reply,
    ) -> ControlFlow<()> {
        let now = (self.clock)();
        self.judgement.push(Hit {
            check: rule.id,
            at: self.at,
            kind: self.kind,
            what,
            score: rule.score,
            shadow: rule.shadow,
            stranger: self.stranger,
            detail: detail.into(),
            read,
            micros: u32::try_from(now.micros_since(self.last)).unwrap_or(u32::MAX),
        });
        self.last = now;
        if rule.shadow || what == What::Unknown {
            return ControlFlow::Continue(());
        }
        let is_mark = is_mark(what);
        if is_mark || rule.tag.is_some() {
            let marks = self.judgement.marks();
            marks.make(self.at, self.stranger, what, rule.id, rule.tag);
        }
        if is_mark || what == What::Score {
            return ControlFlow::Continue(());
        }
        self.refusal = match what {
            What::Defer => Some(Verdict::Defer(reply(rule))),
            What::Reject => Some(Verdict::Reject(reply(rule))),
            What::Close => Some(Verdict::Close(reply(rule))),
            _ => None,
        };
        if self.refusal.is_some() {
            self.judgement.refuse(rule.id, self.kind);
        }
        ControlFlow::Break(())
    }

    /// A client list accepts the client: no more stranger checks in this session.
    pub fn welcome(&mut self) {
        self.judgement.set_welcome();
    }

    /// For the leases that the rules take.
    pub fn judgement(&mut self) -> &mut Judgement {
        self.judgement
    }

    pub fn is_welcome(&self) -> bool {
        self.judgement.is_welcome()
    }

    /// No more rules for the session, the message or the recipient, whichever this point is about.
    pub fn end_rules(&mut self) {
        self.judgement.end_rules(self.at);
    }

    pub fn rules_are_ended(&self) -> bool {
        self.judgement.rules_are_ended(self.at)
    }

    /// Whether another hit is kept, and not its score alone.
    pub fn keeps_hits(&self) -> bool {
        self.judgement.keeps_hits(self.at)
    }

    /// Whether the rule has left its hit in this session or message already.
    pub fn has(&self, rule: &Rule) -> bool {
        self.judgement.has(rule.id)
    }

    /// The check that has refused last, for it was not its last word: the refusal waits.
    pub fn refused_by(&mut self) -> Option<(CheckId, HitKind)> {
        self.judgement.take_refusal()
    }

    /// Whether something has asked for this fate of the message.
    pub fn has_asked(&self, what: What) -> bool {
        self.judgement.has_asked(what)
    }

    pub fn score(&self) -> f64 {
        self.judgement.score()
    }

    pub fn has_refusal(&self) -> bool {
        self.refusal.is_some()
    }

    pub fn take_refusal(&mut self) -> Option<Verdict> {
        self.refusal.take()
    }
}

/// Whether it refuses nothing, ends nothing, and is remembered for the message or the session.
fn is_mark(what: What) -> bool {
    match what {
        What::Tag | What::Tarpit | What::Greylist | What::Quarantine | What::Discard => true,
        What::Accept | What::Defer | What::Reject | What::Close | What::Score | What::Unknown => {
            false
        }
    }
}
