//! What a backend said.
//!
//! It is a type of its own, and not a [`Reply`](crate::smtp::Reply), so that none can reach a client by mistake: the
//! one conversion is in `delivery::replies`, which judges code, enhanced code and text and writes them anew (INV-REPLY).

use crate::{
    characters::is_hidden,
    smtp::reply_parse::{ReplyHead, ReplyRef},
};
use std::{borrow::Cow, fmt, sync::Arc};

/// Octets of a backend's text that are kept. A client gets to see fewer.
pub const TEXT_MAX: usize = 1024;

/// A reply of a backend, kept: its code, its enhanced code and its own words, as far as [`TEXT_MAX`] reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendReply {
    /// Code and enhanced code.
    pub head: ReplyHead,
    text: Arc<str>,
}

impl BackendReply {
    /// One with this text.
    #[must_use]
    pub fn new(head: ReplyHead, text: &str) -> BackendReply {
        let text = Arc::from(start_of(text, TEXT_MAX));
        BackendReply { head, text }
    }

    /// The text without codes, lines parted by `\n`. It is the backend's: any character may be in it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text in one line, without characters that act instead of being shown.
    #[must_use]
    pub fn shown(&self) -> Cow<'_, str> {
        // Nearly all replies are printable ASCII, and each message has one.
        let printable = self.text.bytes();
        if printable.fold(true, |all, octet| all & matches!(octet, b' '..=b'~')) {
            return Cow::Borrowed(&self.text);
        }
        let plain = |c: char| if is_hidden(c) { ' ' } else { c };
        self.text.chars().map(plain).collect()
    }
}

impl From<ReplyRef<'_>> for BackendReply {
    fn from(said: ReplyRef<'_>) -> BackendReply {
        // Nearly every text is UTF-8: the check of a whole text is much faster than one piece by piece.
        match str::from_utf8(said.text()) {
            Ok(text) => BackendReply::new(said.head, text),
            Err(_) => BackendReply::new(said.head, &String::from_utf8_lossy(said.text())),
        }
    }
}

/// For a line of the service's log: in one line, without characters that act instead of being shown.
impl fmt::Display for BackendReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.head, self.shown())
    }
}

/// The first octets of a text, cut between two characters.
#[must_use]
pub fn start_of(text: &str, octets: usize) -> &str {
    match text.get(..octets.min(text.len())) {
        Some(start) => start,
        None => {
            let end = (0..octets).rev().find(|at| text.is_char_boundary(*at));
            &text[..end.unwrap_or(0)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::Status;

    #[test]
    fn a_long_text_is_cut_between_characters_and_a_line_of_the_log_stays_one() {
        let head = ReplyHead {
            code: 550,
            status: Status(5, 1, 1),
        };
        let long = BackendReply::new(head, &"é".repeat(TEXT_MAX));
        assert_eq!(long.text().len(), TEXT_MAX);
        assert_eq!(start_of("aé", 2), "a");
        let two = BackendReply::new(head, "no\nsuch\u{202e}user");
        assert_eq!(two.to_string(), "550 5.1.1 no such user");
    }
}
