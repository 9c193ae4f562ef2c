//! One rule that matched, and what names it.

use super::{At, What};
use std::borrow::Cow;

/// Which rule: an index of [`super::Policy::checks`]. Numbers change with a reload, names don't.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckId(pub u16);

impl CheckId {
    /// The list of recipients that a route has in a file. It is asked after the checks of a policy and is none of them; a
    /// refusal names it all the same.
    pub const RECIPIENTS: CheckId = CheckId(u16::MAX);
    /// Its name.
    pub const RECIPIENTS_NAME: &str = "recipients";
}

/// What kind of thing a hit found, for counters by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HitKind {
    /// What the client is, or what it sent.
    #[default]
    Finding,
    /// A limit or a rate that it is above.
    Limit,
}

/// One rule that matched.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// Which: see [`super::Policy::check`].
    pub check: CheckId,
    /// At which question.
    pub at: At,
    /// What it found.
    pub kind: HitKind,
    /// What it did; with `shadow`, what it would have done.
    pub what: What,
    /// What it added to the score (in shadow: would have added).
    pub score: f64,
    /// It only watches.
    pub shadow: bool,
    /// Only strangers answer for it: it is taken back from a client that turns out to be known.
    pub stranger: bool,
    /// What exactly matched, where the check's name does not say it: `connections`, `literal`, `zen 127.0.0.2` …;
    /// bounded where others chose it.
    pub detail: Cow<'static, str>,
    /// Of a rule with a condition: the facts that it read and their values, for the explanation. Bounded as
    /// [`super::expression::Expression::values`] says.
    pub read: Option<Box<str>>,
    /// Microseconds from the question, or the hit before this one, to this hit.
    pub micros: u32,
}
