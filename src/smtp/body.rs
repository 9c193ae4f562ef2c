//! The words that all body scanners share: what a body turned out to be, and the pieces it is handed on in.
//!
//! DATA ([`super::data`]) and BDAT ([`super::chunk`]) differ on the wire alone. Behind them there is one
//! *payload*: the octets of the message without dot-stuffing and without terminator, its last CRLF included.
//! The scanners never copy: they name spans of the input, and the few octets that the input does not hold
//! come as [`Kind::Insert`].
//!
//! Rejected: unstuffing into a buffer. It costs a copy of every message, and nearly none has a dot to remove.

use super::Span;

/// What becomes of a CR without LF after it, or an LF without CR before it (RFC 5321 §2.3.8 forbids both).
///
/// Neither ever ends a line of the protocol: only CRLF.CRLF ends DATA, whatever is chosen here
/// (CVE-2023-51764 and its kin: one side took `LF.LF` for the end, the other did not).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BareNewline {
    /// The payload is handed on as it is, and [`BodyFacts::bare_newline`] tells the caller to refuse it.
    #[default]
    Reject,
    /// Every bare CR and every bare LF becomes CRLF, each by itself: `\r\r\n` becomes two line ends, `\n\r`
    /// too. No octet is lost, and the rule needs no look-ahead. Dot-stuffing is removed *before* this, on
    /// the lines that were lines on the wire: a dot after a bare newline is payload, and whoever sends the
    /// payload on stuffs it.
    Normalize,
}

/// A text line of this many octets with its CRLF has to be accepted (RFC 5321 §4.5.3.1.6), so no limit is
/// below it, and the lengths of such lines are not needed. That is half of the scan's speed.
pub const LINE_STANDARD: usize = 1000;

/// What is known of a body so far. Exact after each call of a scanner, for any split of the input.
///
/// All counts are of the payload as it is handed on: unstuffed, and normalised where that was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodyFacts {
    /// Octets of the payload, dots unstuffed.
    pub size: u64,
    /// The longest line in octets with its CRLF; 0 while none is longer than [`LINE_STANDARD`]: such lines
    /// are not measured. The unfinished line counts, so an endless one shows while it grows. The stuffing
    /// dot does not count (RFC 5321 §4.5.3.1.6).
    pub line_longest: usize,
    /// NUL octets. They are passed on intact; refusing them is the caller's choice.
    pub nuls: u64,
    /// An octet above 127 was seen: the body needs 8BITMIME (RFC 6152).
    pub eight_bit: bool,
    /// A line of the payload begins with a dot. True of every BDAT body, which is not searched for them. A dot after a
    /// bare newline does not count.
    pub dotted: bool,
    /// A bare CR or bare LF was seen on the wire. A CR counts once the octet after it is known.
    pub bare_newline: bool,
}

impl BodyFacts {
    /// Whether the payload can go into a DATA transfer as it is: no dot in it needs stuffing.
    #[must_use]
    pub fn is_undotted(&self) -> bool {
        // A newline that was normalized begins a line for the next reader.
        !self.dotted && !self.bare_newline
    }
}

/// One answer of a scanner: drop `consumed` octets from the front of the input, and do `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// How much of the input is done with; may be 0 with [`Kind::Insert`].
    pub consumed: usize,
    /// What it was.
    pub kind: Kind,
}

/// What a [`Piece`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// These octets of the input are payload. Never empty; lies within `consumed`.
    Payload(Span),
    /// These octets are payload, and are not in the input: the half of a CRLF that a bare newline lacked,
    /// or a CR that had been held back when the input before this one ended after it.
    Insert(&'static [u8]),
    /// The input is used up, nothing is left to hand on; call again with more.
    More,
    /// The body is complete. What follows in the input is the next command.
    End,
}

impl Piece {
    /// How many octets of payload it holds.
    #[inline]
    pub(super) fn octets(&self) -> u64 {
        match self.kind {
            Kind::Payload(span) => span.len() as u64,
            Kind::Insert(octets) => octets.len() as u64,
            Kind::More | Kind::End => 0,
        }
    }

    pub(super) fn payload(start: usize, end: usize, consumed: usize) -> Piece {
        Piece {
            consumed,
            kind: Kind::Payload(Span::new(start, end)),
        }
    }

    pub(super) fn insert(octets: &'static [u8], consumed: usize) -> Piece {
        Piece {
            consumed,
            kind: Kind::Insert(octets),
        }
    }

    pub(super) fn more(consumed: usize) -> Piece {
        Piece {
            consumed,
            kind: Kind::More,
        }
    }

    pub(super) fn end(consumed: usize) -> Piece {
        Piece {
            consumed,
            kind: Kind::End,
        }
    }
}

/// The most of one input that is looked at in one call: spans count in 32 bits.
pub(super) fn clip(input: &[u8]) -> &[u8] {
    &input[..input.len().min(u32::MAX as usize)]
}
