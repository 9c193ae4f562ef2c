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
// INV-CRLF
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
    /// For the first octet after the 354 reply.
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
        self.tally.facts.size += piece.octets();
        piece
    }

    fn advance<const NORMALIZE: bool>(&mut self, input: &[u8]) -> Piece {
        let mut start = 0; // of the payload not yet handed on
        let mut at = 0;
        while at < input.len() {
            // Two octets of look-back tell the state, so the fast walk may begin after them.
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
                        return self.normalize(start, at);
                    }
                    self.tally.facts.bare_newline = true;
                    self.take(octet, behind(octet), &mut at);
                }
                (At::LineStart | At::Text | At::Dot, _) => {
                    self.tally.facts.dotted |= self.at == At::Dot && octet == b'.';
                    self.take(octet, behind(octet), &mut at);
                }
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
    fn normalize(&mut self, start: usize, at: usize) -> Piece {
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

/// The state after an octet that is payload and completes no CRLF.
fn behind(octet: u8) -> At {
    if octet == b'\r' { At::Cr } else { At::Text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::body::Kind;
    use crate::smtp::stuff::Stuff;
    use proptest::prelude::*;

    /// The payload, and what stands after the end; `None` while there is no end.
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

    /// The same from the text of RFC 5321, a line at a time, for a body that has an end.
    fn plain(mode: BareNewline, wire: &[u8]) -> (Vec<u8>, BodyFacts, Option<Vec<u8>>) {
        let mut payload = Vec::new();
        let mut facts = BodyFacts::default();
        let mut rest = wire;
        loop {
            let end = memchr::memmem::find(rest, b"\r\n").expect("a body with an end") + 2;
            let (line, behind) = rest.split_at(end);
            rest = behind;
            if line == b".\r\n" {
                break;
            }
            facts.dotted |= line.starts_with(b"..");
            payload.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        }
        let (mut normalized, mut before) = (Vec::new(), b' ');
        for &octet in &payload {
            let bare = (before == b'\r') != (octet == b'\n');
            facts.bare_newline |= bare;
            if bare && mode == BareNewline::Normalize {
                normalized.push(if before == b'\r' { b'\n' } else { b'\r' });
            }
            normalized.push(octet);
            before = octet;
        }
        facts.size = normalized.len() as u64;
        facts.nuls = normalized.iter().filter(|o| **o == 0).count() as u64;
        facts.eight_bit = !normalized.is_ascii();
        facts.line_longest = normalized
            .split_inclusive(|o| *o == b'\n')
            .map(<[u8]>::len)
            .filter(|length| *length > crate::smtp::body::LINE_STANDARD)
            .max()
            .unwrap_or(0);
        (normalized, facts, Some(rest.to_vec()))
    }

    const MODES: [BareNewline; 2] = [BareNewline::Reject, BareNewline::Normalize];

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
            for mode in MODES {
                let (got, facts, behind) = run(mode, &[wire]);
                assert_eq!(got, payload);
                assert_eq!(behind.as_deref(), Some(&b""[..]));
                assert!(!facts.bare_newline);
                assert_eq!(facts.size, payload.len() as u64);
            }
        }
    }

    /// What some server somewhere has taken for the end (CVE-2023-51764, -51765, -51766 and after).
    const NOT_THE_END: [&[u8]; 16] = [
        b"\n.\n",
        b"\n.\r\n",
        b"\n.\r",
        b"\r\n.\n",
        b"\r.\r",
        b"\r.\n",
        b"\r.\r\n",
        b"\r\n.\r",
        b"\r\n.\r\r\n",
        b"\r\n\0.\r\n",
        b"\r\n.\0\r\n",
        b"\r\n\0.\0\r\n",
        b"\r\r\n.\r\r\n",
        b"\r\n .\r\n",
        b"\r\n. \r\n",
        b"\r\n..\r\n",
    ];

    #[test]
    // INV-CRLF
    fn nothing_but_the_end_ends() {
        for trick in NOT_THE_END {
            // Also deep in a body, where whole strides are walked.
            for filler in [0, 1, 100, 5000] {
                for mode in MODES {
                    let mut wire = vec![b'x'; filler];
                    wire.extend_from_slice(trick);
                    wire.extend_from_slice(b"MAIL FROM:<smuggler@a.example>\r\n");
                    let (_, facts, behind) = run(mode, &[&wire]);
                    assert_eq!(behind, None, "{trick:?}");
                    // A CR before NUL and the like is no bare one.
                    let clean = [&b"\r\n\0.\r\n"[..], b"\r\n.\0\r\n", b"\r\n\0.\0\r\n"];
                    let clean =
                        clean.contains(&trick) || trick.contains(&b' ') || trick == b"\r\n..\r\n";
                    assert_eq!(facts.bare_newline, !clean, "{trick:?}");
                    wire.extend_from_slice(b".\r\nQUIT\r\n");
                    let (_, _, behind) = run(mode, &[&wire]);
                    assert_eq!(behind.as_deref(), Some(&b"QUIT\r\n"[..]));
                }
            }
        }
    }

    #[test]
    fn bare_newlines_become_line_ends_and_their_dots_payload() {
        for (wire, payload) in [
            (&b"a\nb\r\n"[..], &b"a\r\nb\r\n"[..]),
            (b"a\rb\r\n", b"a\r\nb\r\n"),
            (b"a\r\r\n", b"a\r\n\r\n"),
            (b"a\n\r\n", b"a\r\n\r\n"),
            (b"a\n\rb\r\n", b"a\r\n\r\nb\r\n"),
            (b"\n.\n\r\n", b"\r\n.\r\n\r\n"),
            (b"a\n.\r\n", b"a\r\n.\r\n"),
            (b"a\n..\r\n", b"a\r\n..\r\n"),
            (b"\r\n..\n\r\n", b"\r\n.\r\n\r\n"),
            (b"\r\n.\n\r\n", b"\r\n\r\n\r\n"), // the dot was a stuffing dot: its line on the wire went on
            (b"\r\n.\rb\r\n", b"\r\n\r\nb\r\n"),
        ] {
            let wire = [wire, b".\r\n"].concat();
            let (got, facts, behind) = run(BareNewline::Normalize, &[&wire]);
            assert_eq!(
                got.escape_ascii().to_string(),
                payload.escape_ascii().to_string()
            );
            assert_eq!(behind.as_deref(), Some(&b""[..]));
            assert!(facts.bare_newline);
        }
    }

    #[test]
    fn an_endless_line_shows_while_it_grows() {
        let mut scan = DataScan::new(BareNewline::Reject);
        for at in 1..100 {
            assert!(matches!(scan.scan(&[b'x'; 777]).kind, Kind::Payload(_)));
            let length = at * 777;
            let shown = if length > 1000 { length } else { 0 };
            assert_eq!(scan.facts().line_longest, shown);
        }
    }

    fn wires() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            6 => Just(b"\r\n".to_vec()),
            2 => Just(b"\r".to_vec()),
            2 => Just(b"\n".to_vec()),
            6 => Just(b".".to_vec()),
            1 => prop_oneof![Just(0u8), Just(0xe4)].prop_map(|octet| vec![octet]),
            4 => (1usize..4).prop_map(|n| vec![b'x'; n]),
            1 => (60usize..300).prop_map(|n| vec![b'x'; n]),
            1 => (900usize..1100).prop_map(|n| vec![b'x'; n]),
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|pieces| {
            let mut wire = pieces.concat();
            wire.extend_from_slice(b"\r\n.\r\nQUIT\r\n");
            wire
        })
    }

    proptest! {
        #[test]
        fn the_scan_is_the_rule(wire in wires()) {
            for mode in MODES {
                prop_assert_eq!(run(mode, &[&wire]), plain(mode, &wire));
            }
        }

        #[test]
        fn any_split_is_the_same(wire in wires()) {
            for mode in MODES {
                let whole = run(mode, &[&wire]);
                for at in 0..wire.len() {
                    prop_assert_eq!(&run(mode, &[&wire[..at], &wire[at..]]), &whole);
                }
                for size in [1, 2, 3, 65] {
                    let pieces: Vec<&[u8]> = wire.chunks(size).collect();
                    prop_assert_eq!(&run(mode, &pieces), &whole);
                }
            }
        }

        /// As a body goes through that is passed on while it comes: each piece by what is known of it by then.
        #[test]
        fn what_is_known_of_a_piece_is_enough_to_stuff_it(wire in wires(), size in 1usize..70) {
            for mode in MODES {
                let (mut scan, mut stuff, mut out) = (DataScan::new(mode), Stuff::new(), Vec::new());
                'wire: for mut input in wire.chunks(size) {
                    loop {
                        let piece = scan.scan(input);
                        let bytes = match piece.kind {
                            Kind::Payload(span) => span.of(input),
                            Kind::Insert(bytes) => bytes,
                            Kind::More => break,
                            Kind::End => break 'wire,
                        };
                        match scan.facts().is_undotted() {
                            true => stuff.append_undotted(bytes, &mut out),
                            false => stuff.append(bytes, &mut out),
                        }
                        input = &input[piece.consumed..];
                    }
                }
                stuff.finish(&mut out);
                let mut whole = Vec::new();
                let mut stuff = Stuff::new();
                stuff.append(&plain(mode, &wire).0, &mut whole);
                stuff.finish(&mut whole);
                prop_assert_eq!(out, whole);
            }
        }

        #[test]
        fn what_was_stuffed_is_unstuffed(payload in wires(), at in 0usize..2000) {
            let (front, back) = payload.split_at(at.min(payload.len()));
            let mut wire = Vec::new();
            let mut stuff = Stuff::new();
            stuff.append(front, &mut wire);
            stuff.append(back, &mut wire);
            stuff.finish(&mut wire);
            let (got, _, behind) = run(BareNewline::Reject, &[&wire]);
            prop_assert_eq!(got, payload);
            prop_assert_eq!(behind.as_deref(), Some(&b""[..]));
        }
    }
}
