//! What came of signing a message, in the words of the log.

use crate::metrics::Counter;

/// What came of signing a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Signed {
    /// By these: `domain/selector`.
    By(Box<str>),
    /// It was not, for this reason.
    Not(Counter),
}

impl Signed {
    /// It in a word.
    pub fn as_str(&self) -> &str {
        match self {
            Signed::By(signers) => signers,
            Signed::Not(Counter::DkimNoKey) => "no_key",
            Signed::Not(Counter::DkimNoAuthor) => "no_author",
            Signed::Not(Counter::DkimTooLarge) => "too_large",
            Signed::Not(_) => "failed",
        }
    }
}
