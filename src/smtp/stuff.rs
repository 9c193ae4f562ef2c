//! The payload on its way into a DATA transfer: dots stuffed (RFC 5321 §4.5.2), the end added.
//!
//! A line begins at the start and after CRLF, nowhere else: exactly the rule by which [`super::data`] takes
//! the dots off again. A payload with bare newlines is refused or normalized before it gets here.

use memchr::memmem::Finder;
use std::sync::LazyLock;

/// Room for this many stuffed dots is reserved with each piece; more make the buffer grow.
const DOTS_EXPECTED: usize = 16;

// Built once: a search for every piece would spend longer on its preparation than on a small piece.
static LINE_DOT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n."));

/// Writes one message into a DATA transfer. The payload may come in any pieces.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stuff {
    at: At,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    LineStart,
    Text,
    Cr,
}

impl Stuff {
    /// For the first octet of a message.
    #[must_use]
    pub fn new() -> Stuff {
        Stuff::default()
    }

    /// Appends a piece of the payload to `out`, every dot that begins a line doubled.
    pub fn append(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        out.reserve(payload.len() + DOTS_EXPECTED);
        let mut rest = payload;
        // The border to the piece before this one, octet by octet: a line may begin on it.
        while let Some((&octet, behind)) = rest.split_first() {
            self.at = match (self.at, octet) {
                (At::LineStart, b'.') => {
                    out.push(b'.');
                    At::Text
                }
                (At::Cr, b'\n') => At::LineStart,
                (_, b'\r') => At::Cr,
                _ => At::Text,
            };
            out.push(octet);
            rest = behind;
            if self.at == At::Text {
                break;
            }
        }
        if rest.is_empty() {
            return;
        }
        let mut done = 0;
        for found in LINE_DOT.find_iter(rest) {
            let dot = found + 2;
            out.extend_from_slice(&rest[done..dot]);
            out.push(b'.');
            done = dot;
        }
        out.extend_from_slice(&rest[done..]);
        self.at = if rest.ends_with(b"\r\n") {
            At::LineStart
        } else if rest.ends_with(b"\r") {
            At::Cr
        } else {
            At::Text
        };
    }

    /// Appends a piece of a payload in which no line begins with a dot, as its reader has found.
    pub fn append_undotted(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        debug_assert!(
            !(payload.windows(3).any(|three| three == b"\r\n.")
                || self.at == At::LineStart && payload.starts_with(b".")),
            "a dot begins a line"
        );
        out.extend_from_slice(payload);
        self.at = match payload {
            [] => self.at,
            [b'\n'] if self.at == At::Cr => At::LineStart,
            [.., b'\r', b'\n'] => At::LineStart,
            [.., b'\r'] => At::Cr,
            _ => At::Text,
        };
    }

    /// Appends the end: `.CRLF` where the payload ended its last line (or is empty), else CRLF first.
    /// Returns whether that CRLF had to be added. The next octet appended belongs to a new message.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> bool {
        let added = self.at != At::LineStart;
        if added {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
        self.at = At::LineStart;
        added
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Octet by octet, from the rule.
    fn plain(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for (at, &octet) in payload.iter().enumerate() {
            if octet == b'.' && (at == 0 || payload[..at].ends_with(b"\r\n")) {
                out.push(b'.');
            }
            out.push(octet);
        }
        if !payload.is_empty() && !payload.ends_with(b"\r\n") {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
        out
    }

    fn stuffed(pieces: &[&[u8]]) -> Vec<u8> {
        let mut stuff = Stuff::new();
        let mut out = Vec::new();
        for piece in pieces {
            stuff.append(piece, &mut out);
        }
        let ended = pieces.concat();
        let added = stuff.finish(&mut out);
        assert_eq!(added, !ended.is_empty() && !ended.ends_with(b"\r\n"));
        out
    }

    #[test]
    fn dots_are_doubled_where_a_line_begins() {
        for (payload, wire) in [
            (&b""[..], &b".\r\n"[..]),
            (b".", b"..\r\n.\r\n"),
            (b".\r\n", b"..\r\n.\r\n"),
            (b"a", b"a\r\n.\r\n"),
            (b"a\r", b"a\r\r\n.\r\n"),
            (b"a\r\n", b"a\r\n.\r\n"),
            (b"\r\n.\r\n..\r\n", b"\r\n..\r\n...\r\n.\r\n"),
            (b"a.\r\n.b\r\n", b"a.\r\n..b\r\n.\r\n"),
            (b"a\n.\n", b"a\n.\n\r\n.\r\n"), // no line begins after a bare LF
        ] {
            assert_eq!(stuffed(&[payload]), wire);
        }
    }

    #[test]
    fn one_value_serves_message_after_message() {
        let mut stuff = Stuff::new();
        let mut out = Vec::new();
        for _ in 0..2 {
            stuff.append(b".a", &mut out);
            stuff.finish(&mut out);
        }
        assert_eq!(out, b"..a\r\n.\r\n..a\r\n.\r\n");
    }

    proptest! {
        #[test]
        fn any_split_stuffs_the_same(payload in "[.\r\nx]{0,60}", at in 0usize..60, to in 0usize..60) {
            let payload = payload.as_bytes();
            let at = at.min(payload.len());
            let to = to.clamp(at, payload.len());
            let whole = plain(payload);
            prop_assert_eq!(&stuffed(&[payload]), &whole);
            prop_assert_eq!(&stuffed(&[&payload[..at], &payload[at..to], &payload[to..]]), &whole);
            let octets: Vec<&[u8]> = payload.chunks(1).collect();
            prop_assert_eq!(&stuffed(&octets), &whole);
            // Where the stuffing adds nothing, the spared search gives the same, in any pieces.
            let none = stuffed(&[payload]).starts_with(payload) && !payload.starts_with(b".");
            if none && !payload.windows(3).any(|three| three == b"\r\n.") {
                for pieces in [vec![&payload[..at], &payload[at..to], &payload[to..]], octets] {
                    let (mut stuff, mut out) = (Stuff::new(), Vec::new());
                    pieces.iter().for_each(|piece| stuff.append_undotted(piece, &mut out));
                    stuff.finish(&mut out);
                    prop_assert_eq!(&out, &whole);
                }
            }
        }
    }
}
