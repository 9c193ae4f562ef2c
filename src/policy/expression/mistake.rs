//! What is wrong with an expression or a reply template, and where in its text.

use crate::config;
use std::fmt;

/// One mistake in an expression or a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Octets of the text before the place.
    pub start: usize,
    /// Octets that are wrong; may be 0 at the end of the text.
    pub width: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// Octets `start..end` of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub start: usize,
    /// After the last.
    pub end: usize,
}

impl Span {
    /// From the start of this one to the end of the other.
    pub fn to(self, other: Span) -> Span {
        Span {
            start: self.start,
            end: other.end.max(self.end),
        }
    }
}

impl Mistake {
    /// One without a hint.
    pub(super) fn new(span: Span, message: impl Into<String>) -> Mistake {
        Mistake {
            start: span.start,
            width: span.end.saturating_sub(span.start),
            message: message.into(),
            hint: None,
        }
    }

    /// The same with a hint.
    #[must_use]
    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Mistake {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// The hint that the nearest known name was meant.
pub(super) fn did_you_mean<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    config::nearest(name, known).map(|word| format!("did you mean `{word}`?"))
}
