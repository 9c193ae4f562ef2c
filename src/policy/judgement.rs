//! What one session has earned so far: hits and scores, for the verdict on its messages and for the log.

use super::{
    At, Verdict, What,
    hit::{CheckId, Hit, HitKind},
    marks::{Marks, TagId},
    rates::leases::Lease,
};
use std::sync::Arc;

/// Hits that a judgement keeps; of those beyond only the scores are added.
pub const HITS_MAX: usize = 32;
/// Of these, so many are kept free for the message's own: a thousand recipients must not crowd them out.
const HITS_FOR_BODY: usize = 8;

/// Leases that a session holds.
const LEASES_MAX: usize = 64;

/// A refusal that is told later, and the check that made it.
type Waiting = (Verdict, Option<(CheckId, HitKind)>);

/// A lease that a rule has taken, and when.
#[derive(Clone, Debug)]
struct Held {
    at: At,
    key: u64,
    /// Shared with copies of the judgement.
    _lease: Arc<Lease>,
}

/// What few sessions have, boxed, for an idle one owns little.
#[derive(Clone, Debug, Default)]
struct Rare {
    /// A refusal of the connection that is told at MAIL, where the client has not logged in by then.
    waiting: Option<Waiting>,
    /// Leases of its rules. No more than [`LEASES_MAX`].
    held: Vec<Held>,
    marks: Marks,
    /// The score of [`At::Rcpt`] and the strangers' part of it, without the present recipient.
    before_recipient: [f64; 2],
}

/// A flag of [`Judgement`]: a client list has accepted the client.
const WELCOME: u8 = 1;
/// Another: its HELO name is judged at MAIL, where it has not logged in by then.
const HELLO_IS_DUE: u8 = 2;

/// Hits and scores of a session. One a session, reused from message to message; empty it owns no memory. Its
/// check ids are those of the policy that was asked: a session keeps its policy to its end, also over a reload.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    hits: Vec<Hit>,
    /// No more than [`HITS_MAX`].
    fresh_from: u8,
    refusal: Option<(CheckId, HitKind)>,
    scores: [f64; At::COUNT],
    /// The part of the scores for which only strangers answer.
    of_strangers: [f64; At::COUNT],
    /// Something has matched since all of this was last empty. Most messages leave it false, and cost nothing to clear.
    has_matched: bool,
    flags: u8,
    rare: Option<Box<Rare>>,
    /// The points at which a rule has ended the rules, by their numbers.
    ended: u8,
}

impl Judgement {
    /// Nothing earned yet.
    #[must_use]
    pub fn new() -> Judgement {
        Judgement::default()
    }

    /// The score of the present message: what connection, HELO, sender, recipients and header have earned.
    #[must_use]
    pub fn score(&self) -> f64 {
        if !self.has_matched {
            return 0.0;
        }
        self.scores.iter().chain(&self.of_strangers).sum()
    }

    /// The rules that matched, for the session and its present message, in order.
    #[must_use]
    pub fn hits(&self) -> &[Hit] {
        &self.hits
    }

    /// Those of the latest question alone, to be counted once.
    #[must_use]
    pub fn fresh(&self) -> &[Hit] {
        self.hits
            .get(usize::from(self.fresh_from)..)
            .unwrap_or_default()
    }

    /// The check that has refused the latest question, and what it found.
    #[must_use]
    pub fn refusal(&self) -> Option<(CheckId, HitKind)> {
        self.refusal
    }

    /// A client list has accepted this client: stranger checks are skipped.
    #[must_use]
    pub fn is_welcome(&self) -> bool {
        self.flags & WELCOME != 0
    }

    /// Whether a rule holds this lease already.
    pub(super) fn holds(&self, key: u64) -> bool {
        let rare = self.rare.as_deref();
        rare.is_some_and(|rare| rare.held.iter().any(|held| held.key == key))
    }

    /// Whether another lease can be held.
    pub(super) fn can_hold(&self) -> bool {
        let rare = self.rare.as_deref();
        rare.is_none_or(|rare| rare.held.len() < LEASES_MAX)
    }

    /// Holds a lease to the end of the transaction, or of the session where that has not begun.
    pub(super) fn hold(&mut self, at: At, key: u64, lease: Lease) {
        let _lease = Arc::new(lease);
        let rare = self.rare.get_or_insert_default();
        rare.held.push(Held { at, key, _lease });
    }

    /// The transaction is over: gives back what it held.
    pub fn end_transaction(&mut self) {
        self.give_back(At::Mail);
    }

    /// Gives back the leases that were taken from this point on.
    fn give_back(&mut self, at: At) {
        if let Some(rare) = &mut self.rare {
            rare.held.retain(|held| held.at < at);
        }
    }

    /// What becomes of the message where nothing refuses it.
    #[must_use]
    pub fn fate(&self) -> Verdict {
        let has = |what| self.has_asked(what);
        if has(What::Discard) {
            Verdict::Discard
        } else if has(What::Quarantine) {
            Verdict::Quarantine
        } else {
            Verdict::Accept
        }
    }

    /// The check that has asked for this fate of the message.
    #[must_use]
    pub fn asked_by(&self, what: What) -> Option<CheckId> {
        // Not from the hits, of which some are not kept, and some are those of refused recipients.
        self.rare.as_deref()?.marks.asked_by(what)
    }

    /// The tags of the message.
    pub fn tags(&self) -> impl ExactSizeIterator<Item = TagId> {
        let rare = self.rare.as_deref();
        rare.map_or(&[][..], |rare| rare.marks.tagged())
            .iter()
            .map(|tagged| tagged.tag)
    }

    /// Whether the session's replies are slow.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        let rare = self.rare.as_deref();
        rare.is_some_and(|rare| rare.marks.is_slow())
    }

    /// Whether the latest recipient asks for another fate of the message than those before it.
    #[must_use]
    pub fn recipient_differs(&self) -> bool {
        let rare = self.rare.as_deref();
        rare.is_some_and(|rare| rare.marks.recipient_differs())
    }

    /// The latest recipient is refused, by whatever it was: what it has scored and asked for does not count. Its hits stay, for
    /// the log. To be called after [`At::Rcpt`] was judged for it.
    pub fn take_back_recipient(&mut self) {
        let mut before = [0.0; 2];
        if let Some(rare) = self.rare.as_deref_mut() {
            rare.marks.take_back_recipient();
            before = rare.before_recipient;
        }
        self.set_score_at(At::Rcpt, before);
    }

    pub(super) fn marks(&mut self) -> &mut Marks {
        &mut self.rare.get_or_insert_default().marks
    }

    /// Whether something has asked for this.
    pub(super) fn has_asked(&self, what: What) -> bool {
        self.asked_by(what).is_some()
    }

    /// Another profile judges from here on: forgets what the one before found at [`At::Answers`], where this one may judge
    /// nothing.
    pub fn forget_answers(&mut self) {
        self.begin(At::Answers);
    }

    /// Forgets what an earlier question of the same kind, and all that came after it, had found. Recipients
    /// add up.
    pub(super) fn begin(&mut self, at: At) {
        if at == At::Connect {
            self.flags = 0;
            self.forget_waiting();
        }
        if at == At::Rcpt {
            let at = at as usize;
            let before = [self.scores[at], self.of_strangers[at]];
            if before != [0.0; 2] || self.rare.is_some() {
                self.rare.get_or_insert_default().before_recipient = before;
            }
        }
        if let Some(Rare { marks, .. }) = self.rare.as_deref_mut() {
            marks.begin(at);
        }
        self.ended &= match at {
            At::Rcpt => !(1 << At::Rcpt as u8),
            _ => (1 << at as u8) - 1,
        };
        self.refusal = None;
        if at <= At::Mail {
            self.give_back(at);
        }
        if self.has_matched {
            self.forget(at);
        }
        self.fresh_from = self.hits.len() as u8;
    }

    /// What hits and scores of earlier questions go when this one is asked.
    #[cold]
    fn forget(&mut self, at: At) {
        match at {
            At::Rcpt => {}
            // It may come between two recipients: what those before have earned stays.
            At::Answers => {
                self.hits.retain(|hit| hit.at != at);
                self.set_score_at(at, [0.0; 2]);
            }
            _ => {
                self.hits.retain(|hit| hit.at < at);
                self.scores[at as usize..].fill(0.0);
                self.of_strangers[at as usize..].fill(0.0);
                // Where nothing is left of it, the next message is an easy one again.
                let scores = self.scores.iter().chain(&self.of_strangers);
                self.has_matched = !self.hits.is_empty() || scores.into_iter().any(|s| *s != 0.0);
            }
        }
    }

    /// Goes on with the rest of the same question.
    pub(super) fn go_on(&mut self) {
        self.fresh_from = self.hits.len() as u8;
        self.refusal = None;
    }

    /// Whether a refusal of the connection waits for MAIL.
    pub(super) fn is_refused_later(&self) -> bool {
        let rare = self.rare.as_deref();
        rare.is_some_and(|rare| rare.waiting.is_some())
    }

    fn forget_waiting(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.waiting = None;
        }
    }

    /// Remembers what has refused the question, apart from the hits, which may be too many to keep.
    pub(super) fn refuse(&mut self, check: CheckId, kind: HitKind) {
        self.refusal = Some((check, kind));
    }

    /// The client is known by now: takes back what only strangers answer for.
    pub(super) fn acquit(&mut self) {
        self.forget_waiting();
        self.set_hello_is_due(false);
        if self.has_matched {
            self.of_strangers.fill(0.0);
            self.hits.retain(|hit| !hit.stranger);
        }
        if let Some(rare) = self.rare.as_deref_mut() {
            rare.marks.acquit();
            rare.before_recipient[1] = 0.0;
        }
    }

    /// The refusal that waits, where there is one: from here on it is the answer to the latest question.
    pub(super) fn refuse_as_waiting(&mut self) -> Option<Verdict> {
        let (refusal, by) = self.rare.as_deref()?.waiting.clone()?;
        self.refusal = by;
        Some(refusal)
    }

    pub(super) fn set_waiting(&mut self, refusal: Verdict, by: Option<(CheckId, HitKind)>) {
        self.rare.get_or_insert_default().waiting = Some((refusal, by));
    }

    /// Takes back that a check has refused the question.
    pub(super) fn take_refusal(&mut self) -> Option<(CheckId, HitKind)> {
        self.refusal.take()
    }

    pub(super) fn hello_is_due(&self) -> bool {
        self.flags & HELLO_IS_DUE != 0
    }

    pub(super) fn set_hello_is_due(&mut self, due: bool) {
        match due {
            true => self.flags |= HELLO_IS_DUE,
            false => self.flags &= !HELLO_IS_DUE,
        }
    }

    pub(super) fn has(&self, check: CheckId) -> bool {
        self.hits.iter().any(|hit| hit.check == check)
    }

    pub(super) fn push(&mut self, hit: Hit) {
        self.has_matched = true;
        if !hit.shadow {
            let scores = match hit.stranger {
                true => &mut self.of_strangers,
                false => &mut self.scores,
            };
            scores[hit.at as usize] += hit.score;
        }
        if self.keeps_hits(hit.at) {
            self.hits.push(hit);
        }
    }

    /// Whether another hit of this point is kept, and not its score alone.
    pub(super) fn keeps_hits(&self, at: At) -> bool {
        let room = match at >= At::Header {
            true => HITS_MAX,
            false => HITS_MAX - HITS_FOR_BODY,
        };
        self.hits.len() < room
    }

    pub(super) fn end_rules(&mut self, at: At) {
        self.ended |= 1 << at as u8;
    }

    /// Whether a rule at this point or before has ended them. For a recipient it counts for that one alone.
    pub(super) fn rules_are_ended(&self, at: At) -> bool {
        let of_others = match at {
            At::Rcpt => 0,
            _ => 1 << At::Rcpt as u8,
        };
        self.ended & !of_others != 0
    }

    pub(super) fn set_welcome(&mut self) {
        self.flags |= WELCOME;
    }

    fn set_score_at(&mut self, at: At, [score, of_strangers]: [f64; 2]) {
        self.scores[at as usize] = score;
        self.of_strangers[at as usize] = of_strangers;
    }
}

#[cfg(test)]
mod tests;
