//! The body that comes in BDAT chunks (RFC 3030): its payload is what is in the chunks, and the same facts
//! are wanted of it as of a DATA body.
//!
//! A chunk has no terminator and no dot-stuffing: its length is all. But a backend without CHUNKING gets the
//! payload as DATA, where a bare newline would be as dangerous as if it had come so; hence the same check. A
//! chunk may end anywhere, between CR and LF too: the state lives on from chunk to chunk.
//!
//! A BINARYMIME body (RFC 3030 §3) may hold bare newlines by right: scan it with [`BareNewline::Reject`] and
//! don't look at that fact.

use super::body::{BareNewline, BodyFacts, Piece, clip};
use super::scan::{Engine, Tally, walk};

/// Looks through the chunks of one message. One for each message, not for each chunk.
#[derive(Clone, Debug)]
pub struct ChunkScan {
    at: At,
    mode: BareNewline,
    engine: Engine,
    tally: Tally,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Anywhere but in one of the others.
    Text,
    /// Behind a CR.
    Cr,
    /// Before a bare LF, for which a CR was just inserted.
    CrAdded,
}

impl ChunkScan {
    /// For the first octet of the first chunk.
    #[must_use]
    pub fn new(mode: BareNewline) -> ChunkScan {
        ChunkScan::with_engine(mode, Engine::best())
    }

    /// The same with a chosen engine: for tests and benches.
    #[must_use]
    pub fn with_engine(mode: BareNewline, engine: Engine) -> ChunkScan {
        ChunkScan {
            at: At::Text,
            mode,
            engine,
            tally: Tally {
                facts: BodyFacts {
                    dotted: true,
                    ..BodyFacts::default()
                },
                ..Tally::default()
            },
        }
    }

    /// What is known of the body so far.
    #[must_use]
    pub fn facts(&self) -> &BodyFacts {
        &self.tally.facts
    }

    /// The next piece of `input`, which holds octets of chunks only: the caller counts and cuts. Call it
    /// until it says `More`; it never says `End`.
    pub fn scan(&mut self, input: &[u8]) -> Piece {
        let piece = match self.mode {
            BareNewline::Reject => self.advance::<false>(clip(input)),
            BareNewline::Normalize => self.advance::<true>(clip(input)),
        };
        self.tally.facts.size += piece.octets();
        piece
    }

    /// Behind the last octet of the LAST chunk: a CR that stands there is bare after all. Returns the LF
    /// to hand on after it where that is to be normalized.
    pub fn finish(&mut self) -> Option<&'static [u8]> {
        if self.at != At::Cr {
            return None;
        }
        self.at = At::Text;
        self.tally.facts.bare_newline = true;
        if self.mode == BareNewline::Reject {
            return None;
        }
        self.tally.octet(b'\n');
        self.tally.facts.size += 1;
        Some(b"\n")
    }

    fn advance<const NORMALIZE: bool>(&mut self, input: &[u8]) -> Piece {
        let mut at = 0;
        while at < input.len() {
            if at >= 1 {
                at = walk::<false, NORMALIZE>(self.engine, input, at, &mut self.tally);
                self.at = behind(input[at - 1]);
                if at == input.len() {
                    break;
                }
            }
            let octet = input[at];
            let bare = (self.at == At::Cr) != (octet == b'\n') && self.at != At::CrAdded;
            if bare && NORMALIZE {
                return self.normalize(at);
            }
            self.tally.facts.bare_newline |= bare;
            self.tally.octet(octet);
            self.at = behind(octet);
            at += 1;
        }
        if at > 0 {
            Piece::payload(0, at, at)
        } else {
            Piece::more(0)
        }
    }

    /// A bare newline shows at `at`: hands on what stands before it, then the half that it lacks.
    fn normalize(&mut self, at: usize) -> Piece {
        if at > 0 {
            return Piece::payload(0, at, at); // and comes back here with the next call
        }
        self.tally.facts.bare_newline = true;
        if self.at == At::Cr {
            self.tally.octet(b'\n');
            self.at = At::Text;
            Piece::insert(b"\n", 0)
        } else {
            self.tally.octet(b'\r');
            self.at = At::CrAdded;
            Piece::insert(b"\r", 0)
        }
    }
}

fn behind(octet: u8) -> At {
    if octet == b'\r' { At::Cr } else { At::Text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::body::Kind;
    use proptest::prelude::*;

    fn run(mode: BareNewline, engine: Engine, chunks: &[&[u8]]) -> (Vec<u8>, BodyFacts) {
        let mut scan = ChunkScan::with_engine(mode, engine);
        let mut payload = Vec::new();
        for chunk in chunks {
            let mut rest = *chunk;
            loop {
                let piece = scan.scan(rest);
                match piece.kind {
                    Kind::Payload(span) => payload.extend_from_slice(span.of(rest)),
                    Kind::Insert(octets) => payload.extend_from_slice(octets),
                    Kind::More => break,
                    Kind::End => panic!("a chunk has no end of its own"),
                }
                rest = &rest[piece.consumed..];
            }
        }
        payload.extend_from_slice(scan.finish().unwrap_or_default());
        (payload, *scan.facts())
    }

    fn octets() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            6 => Just(b"\r\n".to_vec()),
            1 => Just(b"\r".to_vec()),
            1 => Just(b"\n".to_vec()),
            2 => Just(b".".to_vec()),
            1 => prop_oneof![Just(0u8), Just(0xe4)].prop_map(|octet| vec![octet]),
            4 => (1usize..300).prop_map(|n| vec![b'x'; n]),
        ];
        proptest::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
    }

    #[test]
    fn a_chunk_border_in_a_line_end_is_no_bare_newline() {
        let best = Engine::best();
        for (chunks, bare) in [
            (&[&b"a\r"[..], b"\n"][..], false),
            (&[b"a", b"\r", b"\n", b""], false),
            (&[b"a\r", b""], true),
            (&[b"a\r", b"b"], true),
            (&[b"a", b"\n"], true),
            (&[b"\n"], true),
            (&[b".\r\n.\r\n..\r\n"], false), // dots are nothing here
            (&[b""], false),
        ] {
            let (payload, facts) = run(BareNewline::Reject, best, chunks);
            assert_eq!(payload, chunks.concat());
            assert_eq!(facts.bare_newline, bare, "{chunks:?}");
            let (normalized, facts) = run(BareNewline::Normalize, best, chunks);
            assert_eq!(facts.bare_newline, bare, "{chunks:?}");
            assert_eq!(normalized == payload, !bare);
            assert_eq!(facts.size, normalized.len() as u64);
        }
        let (normalized, _) = run(BareNewline::Normalize, best, &[b"\na\r\r", b"\n\r"]);
        assert_eq!(normalized, b"\r\na\r\n\r\n\r\n");
    }

    proptest! {
        #[test]
        fn any_split_and_any_engine_is_the_same(payload in octets()) {
            for mode in [BareNewline::Reject, BareNewline::Normalize] {
                let whole = run(mode, Engine::scalar(), &[&payload]);
                for &engine in Engine::all() {
                    prop_assert_eq!(&run(mode, engine, &[&payload]), &whole);
                }
                for at in 0..payload.len() {
                    let (front, back) = payload.split_at(at);
                    prop_assert_eq!(&run(mode, Engine::best(), &[front, back]), &whole);
                }
                let octets: Vec<&[u8]> = payload.chunks(1).collect();
                prop_assert_eq!(&run(mode, Engine::best(), &octets), &whole);
            }
        }

        #[test]
        fn a_mended_body_has_nothing_to_mend(payload in octets()) {
            let (normalized, _) = run(BareNewline::Normalize, Engine::best(), &[&payload]);
            let (again, facts) = run(BareNewline::Reject, Engine::best(), &[&normalized]);
            prop_assert_eq!(again, normalized);
            prop_assert!(!facts.bare_newline);
        }
    }
}
