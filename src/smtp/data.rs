//! The body that follows DATA: where it ends, what its payload is, what is wrong with it.
//!
//! RFC 5321 §4.1.1.4 and §4.5.2. A line ends at CRLF alone. A line that is one dot ends the body; any other
//! line that begins with a dot loses that dot. CR, LF and CRLF are not the same thing here: of `\n.\n`,
//! `\n.\r\n`, `\r\n.\n`, `\r.\r`, `\r\n.\r` and their like none ends a body, neither in a message that is
//! going to be rejected nor in one that is normalised ([`BareNewline`]).
//!
//! The machine holds back at most the two octets `.` and CR of a line that may turn out to be the end. All
//! the rest is handed on as soon as it is seen, so the memory it needs is the size of [`DataScan`].

use super::body::{BareNewline, BodyFacts, Piece, clip};
use super::scan::{Engine, Tally, walk};

/// Finds the end of a DATA body, and the payload in it. One for each message.
///
/// Two bodies are the same to it if their octets are: where the input is split makes no difference to
/// payload, facts and end.
#[derive(Clone, Debug)]
pub struct DataScan {
    at: At,
    mode: BareNewline,
    engine: Engine,
    tally: Tally,
}

/// What the octets so far mean for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Behind a CRLF, or at the very start: a dot means something.
    LineStart,
    /// Anywhere else in a line. A bare LF leads here as well: it starts no line.
    Text,
    /// Behind a CR that was handed on.
    Cr,
    /// Before a bare LF, for which a CR was just inserted.
    CrAdded,
    /// Behind a dot that began a line; it is held back.
    Dot,
    /// Behind such a dot and a CR, both held back.
    DotCr,
}

impl DataScan {
    /// For the first octet behind the 354 reply.
    #[must_use]
    pub fn new(mode: BareNewline) -> DataScan {
        DataScan::with_engine(mode, Engine::best())
    }

    /// The same with a chosen engine: for tests and benches.
    #[must_use]
    pub fn with_engine(mode: BareNewline, engine: Engine) -> DataScan {
        DataScan {
            at: At::LineStart,
            mode,
            engine,
            tally: Tally::default(),
        }
    }

    /// What is known of the body so far.
    #[must_use]
    pub fn facts(&self) -> &BodyFacts {
        &self.tally.facts
    }

    /// The next piece of the body at the front of `input`. Call it until it says `More` or `End`; after
    /// `End` it is done. An unwanted body (too large, to be rejected) is scanned just the same, and its
    /// pieces dropped: that is the only way to find its true end.
    pub fn scan(&mut self, input: &[u8]) -> Piece {
        let piece = match self.mode {
            BareNewline::Reject => self.advance::<false>(clip(input)),
            BareNewline::Normalize => self.advance::<true>(clip(input)),
        };
        match piece.kind {
            super::body::Kind::Payload(span) => self.tally.facts.size += span.len() as u64,
            super::body::Kind::Insert(octets) => self.tally.facts.size += octets.len() as u64,
            _ => {}
        }
        piece
    }

    fn advance<const NORMALIZE: bool>(&mut self, input: &[u8]) -> Piece {
        let mut start = 0; // of the payload not yet handed on
        let mut at = 0;
        while at < input.len() {
            // Two octets of look-back tell the state, so the fast walk may begin behind them.
            if at >= 2 && matches!(self.at, At::LineStart | At::Text | At::Cr) {
                at = walk::<true, NORMALIZE>(self.engine, input, at, &mut self.tally);
                self.at = match (input[at - 2], input[at - 1]) {
                    (_, b'\r') => At::Cr,
                    (b'\r', b'\n') => At::LineStart,
                    _ => At::Text,
                };
                if at == input.len() {
                    break;
                }
            }
            let octet = input[at];
            match (self.at, octet) {
                (At::LineStart, b'.') => {
                    self.at = At::Dot;
                    at += 1;
                    if start < at - 1 {
                        return Piece::payload(start, at - 1, at);
                    }
                    start = at;
                }
                (At::Dot, b'\r') => match input.get(at + 1) {
                    Some(b'\n') => return Piece::end(at + 2),
                    Some(_) => self.take(octet, At::Cr, &mut at),
                    None => {
                        self.at = At::DotCr;
                        at += 1;
                        start = at;
                    }
                },
                (At::DotCr, b'\n') => return Piece::end(at + 1),
                (At::DotCr, _) => {
                    self.tally.octet(b'\r');
                    self.at = At::Cr;
                    return Piece::insert(b"\r", at);
                }
                (At::Cr, b'\n') => self.take(octet, At::LineStart, &mut at),
                (At::CrAdded, _) => self.take(octet, At::Text, &mut at),
                (At::Cr, _) | (At::LineStart | At::Text | At::Dot, b'\n') => {
                    if NORMALIZE {
                        return self.mend(start, at);
                    }
                    self.tally.facts.bare_newline = true;
                    self.take(octet, behind(octet), &mut at);
                }
                (At::LineStart | At::Text | At::Dot, _) => self.take(octet, behind(octet), &mut at),
            }
        }
        if start < at {
            Piece::payload(start, at, at)
        } else {
            Piece::more(at)
        }
    }

    /// Counts an octet of payload and steps over it.
    #[inline]
    fn take(&mut self, octet: u8, next: At, at: &mut usize) {
        self.tally.octet(octet);
        self.at = next;
        *at += 1;
    }

    /// A bare newline shows at `at`: hands on what stands before it, then the half that it lacks.
    fn mend(&mut self, start: usize, at: usize) -> Piece {
        if start < at {
            return Piece::payload(start, at, at); // and comes back here with the next call
        }
        self.tally.facts.bare_newline = true;
        if self.at == At::Cr {
            self.tally.octet(b'\n');
            self.at = At::Text;
            Piece::insert(b"\n", at)
        } else {
            self.tally.octet(b'\r');
            self.at = At::CrAdded;
            Piece::insert(b"\r", at)
        }
    }
}

/// The state behind an octet that is payload and completes no CRLF.
fn behind(octet: u8) -> At {
    if octet == b'\r' { At::Cr } else { At::Text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::body::Kind;

    /// The payload, and what stands behind the end; `None` while there is no end.
    fn run(mode: BareNewline, pieces: &[&[u8]]) -> (Vec<u8>, BodyFacts, Option<Vec<u8>>) {
        let mut scan = DataScan::new(mode);
        let mut payload = Vec::new();
        let mut behind: Option<Vec<u8>> = None;
        for piece in pieces {
            let mut rest = *piece;
            if let Some(behind) = &mut behind {
                behind.extend_from_slice(rest);
                continue;
            }
            loop {
                let step = scan.scan(rest);
                match step.kind {
                    Kind::Payload(span) => {
                        assert!(!span.is_empty() && span.end as usize <= step.consumed);
                        payload.extend_from_slice(span.of(rest));
                    }
                    Kind::Insert(octets) => payload.extend_from_slice(octets),
                    Kind::More => assert_eq!(step.consumed, rest.len()),
                    Kind::End => behind = Some(Vec::new()),
                }
                rest = &rest[step.consumed..];
                match step.kind {
                    Kind::More => break,
                    Kind::End => {
                        behind = Some(rest.to_vec());
                        break;
                    }
                    _ => {}
                }
            }
        }
        (payload, *scan.facts(), behind)
    }

    #[test]
    fn unstuffs_exactly() {
        for (wire, payload) in [
            (&b".\r\n"[..], &b""[..]),
            (b"\r\n.\r\n", b"\r\n"),
            (b"a\r\n.\r\n", b"a\r\n"),
            (b"..\r\n.\r\n", b".\r\n"),
            (b"...\r\n.\r\n", b"..\r\n"),
            (b".x\r\n.\r\n", b"x\r\n"),
            (b"a\r\n..\r\n..b\r\n.c\r\n.\r\n", b"a\r\n.\r\n.b\r\nc\r\n"),
            (b"a.\r\n.\r\n", b"a.\r\n"),
        ] {
            let (got, facts, behind) = run(BareNewline::Reject, &[wire]);
            assert_eq!(got, payload);
            assert_eq!(behind.as_deref(), Some(&b""[..]));
            assert!(!facts.bare_newline);
            assert_eq!(facts.size, payload.len() as u64);
        }
    }
}
