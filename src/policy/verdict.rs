//! What the session does now.

use crate::smtp::Reply;

/// The answer to one question.
///
/// What refuses is told at once, and wins over what would become of the message otherwise. Of a message that nothing refuses
/// this is the severest of what its checks ask for, from [`At::Header`](super::At::Header) on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Accept,
    /// Go on; the message goes to the pool for suspicious mail instead of its own.
    Quarantine,
    /// Go on; the message is taken and delivered nowhere. Only a rule of the operator's own asks for that.
    Discard,
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
        self.refusal().is_none()
    }

    /// The reply of one that refuses.
    #[must_use]
    pub fn refusal(&self) -> Option<&Reply> {
        match self {
            Verdict::Accept | Verdict::Quarantine | Verdict::Discard => None,
            Verdict::Defer(reply) | Verdict::Reject(reply) | Verdict::Close(reply) => Some(reply),
        }
    }

    /// The word for it in logs.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Verdict::Accept => "accept",
            Verdict::Quarantine => "quarantine",
            Verdict::Discard => "discard",
            Verdict::Defer(_) => "defer",
            Verdict::Reject(_) => "reject",
            Verdict::Close(_) => "close",
        }
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
    /// Marked the message with a word for its readers.
    Tag,
    /// Slows the replies of the session.
    Tarpit,
    /// Refuses for now a sender that was not seen before.
    Greylist,
    /// Sends the message to the pool for suspicious mail.
    Quarantine,
    /// Has the message taken and delivered nowhere.
    Discard,
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
            What::Tag => "tag",
            What::Tarpit => "tarpit",
            What::Greylist => "greylist",
            What::Quarantine => "quarantine",
            What::Discard => "discard",
            What::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests;
