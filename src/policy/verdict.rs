//! What the session does now.

use crate::smtp::Reply;

/// The answer to one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Accept,
    /// 4xx: the client should come again.
    Defer(Reply),
    /// 5xx: it should not.
    Reject(Reply),
    /// Say this and close the connection.
    Close(Reply),
}

impl Verdict {
    /// Whether the session goes on.
    #[must_use]
    pub fn is_accept(&self) -> bool {
        matches!(self, Verdict::Accept)
    }
}

/// What a rule does, or in shadow mode would have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Ended the check in the client's favour.
    Accept,
    /// Refused for now: 4xx, the client tries again.
    Defer,
    /// Refused for good: 5xx.
    Reject,
    /// The last reply, then the end.
    Close,
    /// Added to the score.
    Score,
    /// Nothing: what the rule reads is not known.
    Unknown,
}

impl What {
    /// The word for it in logs and in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            What::Accept => "accept",
            What::Defer => "defer",
            What::Reject => "reject",
            What::Close => "close",
            What::Score => "score",
            What::Unknown => "unknown",
        }
    }
}
