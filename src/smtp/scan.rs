//! The walk over the octets of a body: everything about 128 of them at once, and a stop only where there is
//! something to think about.
//!
//! A body is text in which nothing happens. So the walk compares the text with itself moved by one octet:
//!
//! - bare newlines are where "CR before" and "LF here" differ,
//! - a dot that may mean something is where "LF before" and "dot here" meet,
//!
//! and none of it leaves the vector registers before a stride is over. 8-bit octets and NULs are the ones that
//! are not above zero: one signed minimum collects both, to be told apart at the end. A line is measured only
//! where a whole stride has no LF.
//!
//! AVX2 where the machine has it (asked at run time, remembered by the standard library), SSE2 on any other
//! x86-64, one octet at a time elsewhere. The scalar walk is the definition; tests hold the others to it.
//!
//! Rejected: `memchr::memmem` for the terminator and further passes for the rest. It is faster at its one
//! question, but the terminator is not all there is to ask, and five passes read the body five times.
//! Rejected: a bit mask of each stride for each kind of octet. Bits are easy to think about, but moving three
//! masks out of the vector registers cost more than all comparisons.
// INV-UNSAFE
#![allow(unsafe_code)] // vector intrinsics; this file and net/ alone

use super::body::{BodyFacts, LINE_STANDARD};

#[cfg(target_arch = "x86_64")]
mod x86;

/// Which implementation walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Engine(Kind);

// Private, so that Avx2 exists only where the machine was asked: that is what makes `walk` sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Sse2,
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Engine {
    /// The best that this machine can run.
    #[must_use]
    pub fn best() -> Engine {
        *Engine::all().last().unwrap_or(&Engine::scalar())
    }

    /// All that this machine can run, slowest first.
    #[must_use]
    pub fn all() -> &'static [Engine] {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("lzcnt")
                && is_x86_feature_detected!("popcnt");
            let all = &[Engine(Kind::Scalar), Engine(Kind::Sse2), Engine(Kind::Avx2)];
            if avx2 { all } else { &all[..2] }
        }
        #[cfg(not(target_arch = "x86_64"))]
        &[Engine(Kind::Scalar)]
    }

    /// One octet at a time: the definition, and the fall-back.
    #[must_use]
    pub const fn scalar() -> Engine {
        Engine(Kind::Scalar)
    }
}

/// What was counted, and how far the unfinished line has grown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::smtp) struct Tally {
    pub facts: BodyFacts,
    pub line: usize,
}

impl Tally {
    /// Counts one octet of payload.
    #[inline]
    pub fn octet(&mut self, octet: u8) {
        self.line += 1;
        self.measure(self.line);
        self.facts.eight_bit |= octet >= 0x80;
        self.facts.nuls += u64::from(octet == 0);
        if octet == b'\n' {
            self.line = 0;
        }
    }

    /// A line, or the beginning of one, has this many octets.
    #[inline]
    fn measure(&mut self, octets: usize) {
        if octets > LINE_STANDARD {
            self.facts.line_longest = self.facts.line_longest.max(octets);
        }
    }

    /// Counts the lines of `count` octets, 64 at most, with an LF wherever `ends` has a bit; it has none above
    /// them. A line that lies within them is too short to be measured.
    #[inline]
    fn block(&mut self, ends: u64, count: usize) {
        let first = (ends.trailing_zeros() as usize + 1).min(count);
        self.measure(self.line + first);
        let kept = if ends == 0 { self.line } else { 0 };
        self.line = kept + count - (64 - ends.leading_zeros() as usize);
        self.measure(self.line);
    }
}

/// Counts `bytes[from..]` up to the first octet that needs thought, and returns its place (or the length).
///
/// With `DOTS` that is a dot after an LF; with `STOP` the octet at which a bare newline shows: an LF
/// without CR before it, or the octet after a CR that is not an LF. Without `STOP` that is only noted.
///
/// # Panics
/// If `from` is 0 or beyond the end: the octet before it must be there to be looked at.
pub(super) fn walk<const DOTS: bool, const STOP: bool>(
    engine: Engine,
    bytes: &[u8],
    from: usize,
    tally: &mut Tally,
) -> usize {
    assert!(from >= 1 && from <= bytes.len());
    match engine.0 {
        Kind::Scalar => scalar::<DOTS, STOP>(bytes, from, tally),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: SSE2 is part of x86-64. `from` was checked.
        Kind::Sse2 => unsafe { x86::sse2::<DOTS, STOP>(bytes, from, tally) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: this engine exists only where its features were found. `from` was checked.
        Kind::Avx2 => unsafe { x86::avx2::<DOTS, STOP>(bytes, from, tally) },
    }
}

fn scalar<const DOTS: bool, const STOP: bool>(
    bytes: &[u8],
    from: usize,
    tally: &mut Tally,
) -> usize {
    let mut local = *tally; // in registers: through the reference each octet would cost five stores
    let mut before = bytes[from - 1];
    let mut at = from;
    while at < bytes.len() {
        let octet = bytes[at];
        let bare = (before == b'\r') != (octet == b'\n');
        if (DOTS && before == b'\n' && octet == b'.') || (STOP && bare) {
            break;
        }
        local.facts.bare_newline |= bare;
        local.octet(octet);
        before = octet;
        at += 1;
    }
    *tally = local;
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Octets that are mostly the ones that matter, in runs that are sometimes longer than a block.
    fn octets() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => Just(b"\r\n".to_vec()),
            1 => Just(b"\r".to_vec()),
            1 => Just(b"\n".to_vec()),
            2 => Just(b".".to_vec()),
            1 => prop_oneof![Just(0u8), Just(0xe4), Just(0x80), Just(0xff)].prop_map(|o| vec![o]),
            6 => (1usize..90).prop_map(|n| vec![b'x'; n]),
            1 => (700usize..1300).prop_map(|n| vec![b'x'; n]),
        ];
        proptest::collection::vec(piece, 1..40).prop_map(|pieces| pieces.concat())
    }

    /// Walks to the end, over every stop.
    fn all<const DOTS: bool, const STOP: bool>(
        engine: Engine,
        bytes: &[u8],
    ) -> (Tally, Vec<usize>) {
        let mut tally = Tally::default();
        let mut stops = Vec::new();
        let mut at = 1;
        while at < bytes.len() {
            at = walk::<DOTS, STOP>(engine, bytes, at, &mut tally);
            stops.push(at);
            if at < bytes.len() {
                tally.octet(bytes[at]);
                at += 1;
            }
        }
        (tally, stops)
    }

    proptest! {
        #[test]
        fn every_engine_is_the_scalar_one(bytes in octets()) {
            for &engine in Engine::all() {
                let scalar = Engine::scalar();
                prop_assert_eq!(all::<false, false>(engine, &bytes), all::<false, false>(scalar, &bytes));
                prop_assert_eq!(all::<true, false>(engine, &bytes), all::<true, false>(scalar, &bytes));
                prop_assert_eq!(all::<false, true>(engine, &bytes), all::<false, true>(scalar, &bytes));
                prop_assert_eq!(all::<true, true>(engine, &bytes), all::<true, true>(scalar, &bytes));
            }
        }
    }

    #[test]
    fn a_fact_shows_at_every_place_of_a_block() {
        for at in 1..200 {
            for octet in [0, b'\r', b'\n', 0xff] {
                let mut bytes = [b'x'; 200];
                bytes[at] = octet;
                for &engine in Engine::all() {
                    let (tally, _) = all::<true, false>(engine, &bytes);
                    assert_eq!(tally.facts.nuls, u64::from(octet == 0));
                    assert_eq!(tally.facts.eight_bit, octet == 0xff);
                    let newline = octet == b'\n' || (octet == b'\r' && at < 199);
                    assert_eq!(tally.facts.bare_newline, newline, "{octet} at {at}");
                }
            }
        }
    }

    #[test]
    fn the_best_engine_uses_vectors_where_there_are_any() {
        assert_eq!(Engine::best(), Engine::all()[Engine::all().len() - 1]);
        #[cfg(target_arch = "x86_64")]
        assert_ne!(Engine::best(), Engine::scalar());
    }
}
