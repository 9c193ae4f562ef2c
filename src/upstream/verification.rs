//! What is known of a recipient: what a session is told, and what one question came to.

use super::reply::BackendReply;
use crate::smtp::Reply;

/// What is known of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// A backend takes it, or none can be asked and the delivery will tell.
    Accepted,
    /// It doesn't (5xx).
    Refused(BackendReply),
    /// It doesn't now (4xx).
    Deferred(BackendReply),
    /// The backends can't be asked: the address is not ASCII, and none of them offers SMTPUTF8.
    NoUtf8,
    /// No backend could be asked; the reply is a 4xx of ours.
    Unknown(Reply),
}

/// What one question came to.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// That holds.
    Final(Verification),
    /// No, in these words, which may be about the sender.
    BySender(BackendReply),
    /// MAIL was refused: nothing was said about the recipient.
    Unasked,
}

impl Answer {
    /// What a session is told, where no other sender is left to ask with.
    pub(super) fn last(self) -> Verification {
        match self {
            Answer::Final(verification) => verification,
            Answer::BySender(said) if said.head.is_permanent() => Verification::Refused(said),
            Answer::BySender(said) => Verification::Deferred(said),
            Answer::Unasked => Verification::Accepted,
        }
    }
}
