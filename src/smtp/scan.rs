//! The primitives that look at every octet of a body, as fast as the machine allows.

use super::body::BodyFacts;

/// Which implementation looks at the octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Engine(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Scalar,
}

impl Engine {
    /// The best that this machine can run.
    #[must_use]
    pub fn best() -> Engine {
        Engine(Kind::Scalar)
    }

    /// One octet at a time: the reference, and the fall-back.
    #[must_use]
    pub const fn scalar() -> Engine {
        Engine(Kind::Scalar)
    }
}

/// What was counted, and how far the unfinished line has grown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub facts: BodyFacts,
    pub line: usize,
}

impl Tally {
    /// Counts one octet of payload.
    #[inline]
    pub fn octet(&mut self, octet: u8) {
        self.line += 1;
        self.facts.line_longest = self.facts.line_longest.max(self.line);
        self.facts.eight_bit |= octet >= 0x80;
        self.facts.nuls += u64::from(octet == 0);
        if octet == b'\n' {
            self.facts.lines += 1;
            self.line = 0;
        }
    }
}

/// Counts `bytes[from..]` up to the first octet that needs thought, and returns its place (or the length).
///
/// With `DOTS` that is a dot behind an LF; with `STOP` the octet at which a bare newline shows: an LF
/// without CR before it, or the octet behind a CR that is not an LF. Without `STOP` that is only noted.
/// The octet before `from` must be in `bytes`: `from` is at least 1.
pub(super) fn walk<const DOTS: bool, const STOP: bool>(
    engine: Engine,
    bytes: &[u8],
    from: usize,
    tally: &mut Tally,
) -> usize {
    debug_assert!(from >= 1 && from <= bytes.len());
    match engine.0 {
        Kind::Scalar => walk_scalar::<DOTS, STOP>(bytes, from, tally),
    }
}

fn walk_scalar<const DOTS: bool, const STOP: bool>(
    bytes: &[u8],
    from: usize,
    tally: &mut Tally,
) -> usize {
    let mut before = bytes[from - 1];
    for (at, &octet) in bytes.iter().enumerate().skip(from) {
        let bare = (before == b'\r') != (octet == b'\n');
        if (DOTS && before == b'\n' && octet == b'.') || (STOP && bare) {
            return at;
        }
        tally.facts.bare_newline |= bare;
        tally.octet(octet);
        before = octet;
    }
    bytes.len()
}
