//! Replies that we write (RFC 5321 §4.2). Those that we read are in `reply_parse`.
//!
//! A reply's text may carry what a stranger typed (an address, a name, a backend's text), so writing one
//! makes it safe: only printable ASCII and UTF-8 go out, a line stays below 512 octets (§4.5.3.1.5), and a
//! newline in the text starts another line of the same reply. Nothing can add a reply of its own.

use super::status::Status;
use crate::{characters::is_hidden, decimal::push_decimal};
use std::{fmt, sync::Arc};

/// Octets of a reply line without its CRLF (RFC 5321 §4.5.3.1.5: 512 with it).
pub const LINE_MAX: usize = 510;
/// Lines of one reply at most; the rest of a longer text is dropped.
pub const LINES_MAX: usize = 16;

/// Text of a reply. Static text costs nothing, configured text is shared, the rest is owned.
#[derive(Clone, Debug)]
pub enum Text {
    /// Known at compile time.
    Static(&'static str),
    /// From the configuration, or a backend's text shared by several recipients.
    Shared(Arc<str>),
    /// Made for this one reply.
    Owned(String),
}

impl Text {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Text::Static(text) => text,
            Text::Shared(text) => text,
            Text::Owned(text) => text,
        }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Text) -> bool {
        self.as_str() == other.as_str()
    }
}
impl Eq for Text {}

/// One reply to a client: code, enhanced code, text (several lines where it holds `\n`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// [`Status::NONE`] writes none.
    pub status: Status,
    /// What a person reads.
    pub text: Text,
}

impl Reply {
    /// A reply whose text is known at compile time.
    #[must_use]
    pub const fn fixed(code: u16, status: Status, text: &'static str) -> Reply {
        Reply {
            code,
            status,
            text: Text::Static(text),
        }
    }

    /// A reply with a text made for it.
    #[must_use]
    pub fn owned(code: u16, status: Status, text: String) -> Reply {
        Reply {
            code,
            status,
            text: Text::Owned(text),
        }
    }

    /// Whether the code is 2xx.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// Whether the code is 4xx: the sender should try again.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// Appends the reply as it goes on the wire, CRLF included.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut lines = self.text.as_str().split('\n').take(LINES_MAX).peekable();
        while let Some(line) = lines.next() {
            write_line(self.code, self.status, line, lines.peek().is_some(), out);
        }
    }
}

/// Appends one line of a reply; `more` writes the hyphen that says that another follows.
pub fn write_line(code: u16, status: Status, text: &str, more: bool, out: &mut Vec<u8>) {
    let start = out.len();
    push_decimal(u64::from(code), out);
    out.push(if more { b'-' } else { b' ' });
    if status != Status::NONE {
        push_decimal(u64::from(status.0), out);
        out.push(b'.');
        push_decimal(u64::from(status.1), out);
        out.push(b'.');
        push_decimal(u64::from(status.2), out);
        out.push(b' ');
    }
    let room = LINE_MAX.saturating_sub(out.len() - start);
    // Nearly every text is plain and short.
    let odd = |odd, octet| odd | !matches!(octet, b' '..=b'~'); // on vectors, as it can't stop midway
    if text.len() <= room && !text.bytes().fold(false, odd) {
        out.extend_from_slice(text.as_bytes());
        trim_end(start, out);
        out.extend_from_slice(b"\r\n");
        return;
    }
    let mut left = room;
    for c in text.chars() {
        let c = if is_hidden(c) { '?' } else { c };
        if c.len_utf8() > left {
            break;
        }
        left -= c.len_utf8();
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    trim_end(start, out);
    out.extend_from_slice(b"\r\n");
}

/// Takes blanks off the end of the line that begins at `start`, but not the one after its code.
fn trim_end(start: usize, out: &mut Vec<u8>) {
    while out.last() == Some(&b' ') && out.len() > start + 4 {
        out.pop();
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.status == Status::NONE {
            write!(f, "{} {}", self.code, self.text.as_str())
        } else {
            write!(f, "{} {} {}", self.code, self.status, self.text.as_str())
        }
    }
}

/// A reply that Gatepost itself originates, with what a reader of `docs/replies.md` needs to know of it.
/// Each folder that originates replies has a `replies.rs` with its own and a list `ALL` of them.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The reply's code.
    pub code: u16,
    /// Its enhanced code.
    pub status: Status,
    /// Its text, or the start of it where something is appended.
    pub text: &'static str,
    /// Why it is sent.
    pub cause: &'static str,
    /// What the person who reads it in a bounce or a log should do.
    pub advice: &'static str,
}

impl Known {
    /// The reply as it stands.
    #[must_use]
    pub const fn reply(&self) -> Reply {
        Reply::fixed(self.code, self.status, self.text)
    }

    /// The reply with more text after its own.
    #[must_use]
    pub fn with(&self, detail: &str) -> Reply {
        Reply::owned(self.code, self.status, format!("{} {detail}", self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.write(&mut out);
        String::from_utf8(out).expect("replies are UTF-8")
    }

    #[test]
    fn writes_one_line_and_many() {
        assert_eq!(
            wire(&Reply::fixed(250, Status(2, 0, 0), "Ok")),
            "250 2.0.0 Ok\r\n"
        );
        assert_eq!(
            wire(&Reply::fixed(220, Status::NONE, "mx ESMTP")),
            "220 mx ESMTP\r\n"
        );
        let two = Reply::owned(550, Status(5, 7, 1), "No\nNever".into());
        assert_eq!(wire(&two), "550-5.7.1 No\r\n550 5.7.1 Never\r\n");
    }

    #[test]
    // INV-REPLY
    fn a_strangers_text_cannot_add_a_reply() {
        let evil = Reply::owned(550, Status(5, 1, 1), "a\r\n250 ok\r\n\0".into());
        let seen = wire(&evil);
        assert!(
            seen.split_terminator("\r\n").all(|l| l.starts_with("550")),
            "{seen:?}"
        );
        assert!(!seen.contains('\0'));
        let long = Reply::owned(550, Status(5, 1, 1), "é".repeat(600));
        assert!(wire(&long).len() <= 512);
    }
}
