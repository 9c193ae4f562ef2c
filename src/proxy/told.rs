//! What a client would be told, and by which check.

use crate::{
    policy::{At, Finding, Judgement, Policy, Verdict, What},
    smtp::Reply,
};

/// An answer, and the check that it comes from, where it is a refusal by one.
#[derive(Clone)]
pub struct Told {
    /// What is answered.
    pub verdict: Verdict,
    /// The check's name.
    pub check: Option<String>,
}

/// A check that matched.
pub struct Match {
    /// At which point: `connect`, `helo` …
    pub at: &'static str,
    /// Its name.
    pub check: String,
    /// What it did; in shadow, what it would have done.
    pub what: What,
    /// What it added to the score.
    pub score: f64,
    /// It only watches.
    pub shadow: bool,
    /// What exactly matched.
    pub detail: String,
    /// The facts that a rule read, and their values.
    pub read: Option<Box<str>>,
    /// What the check took, in µs.
    pub micros: u32,
}

/// All that came of it.
pub struct Explained {
    /// The message's fate.
    pub told: Told,
    /// What each recipient is told.
    pub recipients: Vec<(String, Told)>,
    /// What the DNS said, as far as it was asked.
    pub findings: Vec<Finding>,
    /// The checks that matched.
    pub matches: Vec<Match>,
    /// The sum of the scores.
    pub score: f64,
    /// The words that are written on the message.
    pub tags: Vec<String>,
    /// The session's replies are slow.
    pub slow: bool,
}

/// The name of a point for a reader.
pub(super) fn point(at: At) -> &'static str {
    match at {
        At::Connect => "connect",
        At::Greeting => "greeting",
        At::Hello => "helo",
        At::Mail => "mail",
        At::Answers | At::Rcpt => "rcpt",
        At::Header => "header",
        At::Body => "body",
    }
}

/// What becomes of a message that nothing refuses.
pub(super) fn fate(judgement: &Judgement, policy: &Policy) -> Told {
    let verdict = judgement.fate();
    let by = match verdict {
        Verdict::Quarantine => judgement.asked_by(What::Quarantine),
        Verdict::Discard => judgement.asked_by(What::Discard),
        _ => None,
    };
    let check = by.and_then(|check| policy.check(check));
    Told {
        check: check.map(|info| info.name.clone()),
        verdict,
    }
}

pub(super) fn accepted() -> Told {
    Told {
        verdict: Verdict::Accept,
        check: None,
    }
}

pub(super) fn refused(reply: Reply) -> Told {
    let verdict = match reply.is_transient() {
        true => Verdict::Defer(reply),
        false => Verdict::Reject(reply),
    };
    Told {
        verdict,
        check: None,
    }
}
