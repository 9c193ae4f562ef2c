//! The id of a transaction: in the log line, in the Received field, and in the final reply to the client.

use std::{cell::Cell, fmt};

/// Crockford's base 32: no letter that is mistaken for a digit, and sortable.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Thirteen characters that sort by time: 44 bits of 32 µs units since 2024 (enough for 17 years), 6 of the
/// worker, 14 of a counter. Unique within one running process; across restarts and machines as
/// good as their clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct MessageId(u64);

impl MessageId {
    /// What the client is told: `Ok: `, then the characters.
    #[must_use]
    pub fn accepted(self) -> String {
        let mut text = String::with_capacity(32);
        text.push_str("Ok: ");
        // The digits are ASCII.
        text.push_str(std::str::from_utf8(&self.text()).unwrap_or_default());
        text
    }

    /// The characters.
    #[must_use]
    pub fn text(self) -> [u8; 13] {
        let mut text = [0; 13];
        let mut left = self.0;
        for digit in text.iter_mut().rev() {
            *digit = DIGITS[(left & 31) as usize];
            left >>= 5;
        }
        text
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        // The digits are ASCII.
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// Hands out ids; one a worker.
#[derive(Debug)]
pub struct Ids {
    worker: u64,
    last: Cell<u64>,
}

/// Seconds from the epoch to 2024-01-01, where our time starts.
const START_SECS: u64 = 1_704_067_200;

impl Ids {
    /// Ids of this worker (its number modulo 64 is part of them).
    #[must_use]
    pub fn new(worker: usize) -> Ids {
        Ids {
            worker: worker as u64 & 63,
            last: Cell::new(0),
        }
    }

    /// The next id; `micros` since 1970.
    pub fn next(&self, micros: u64) -> MessageId {
        // A clock that fails or runs backwards must not repeat an id: count on from the last one.
        let clock = micros.saturating_sub(START_SECS * 1_000_000) / 32;
        let stamp = (clock & ((1 << 44) - 1)) << 14;
        let last = self.last.get();
        let stamp = if stamp > last { stamp } else { last + 1 };
        self.last.set(stamp);
        let (time, count) = (stamp >> 14, stamp & ((1 << 14) - 1));
        MessageId(((time << 6 | self.worker) << 14) | count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_unique_and_sorted() {
        let (one, two) = (Ids::new(1), Ids::new(2));
        let mut seen = HashSet::new();
        let mut last = MessageId::default();
        for _ in 0..50_000 {
            let id = one.next(START_SECS * 1_000_000);
            assert!(id > last);
            last = id;
            assert!(seen.insert(id.0) && seen.insert(two.next(0).0));
        }
        assert_eq!(last.to_string().len(), 13);
    }
}
