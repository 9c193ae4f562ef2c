//! Sliding windows: at most so many in any time of that length, for very many keys.
//!
//! A window is counted in thirds. What counts at a moment is the third that it is in and the three before: no window of the
//! whole length has more in it. So none is ever admitted too many, and one that uses all of its limit gets it back after a
//! third more than the time at the latest. A number holds it all: the lowest bits of the third's number, and four counts.
//!
//! Rejected: the window before in proportion (as many as twice the limit get through within one time); the moment of each
//! event (memory by the limit).

use crate::state::{Note, Notes};

/// The most that can be counted.
pub const LIMIT_MAX: u64 = 10_000;
const THIRDS: u64 = 3;
const COUNT_BITS: u32 = 14;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const COUNTS: u32 = 4;
/// Above the counts: the number of the latest third, modulo 256. A note holds for fewer thirds than that.
const INDEX_AT: u32 = COUNT_BITS * COUNTS;
/// A third that lies so little in the future was counted before a clock was set back.
const BACK: u8 = 250;

/// The windows of all keys.
pub struct Windows {
    notes: Notes,
}

/// The four counts, the latest lowest, as they are at a third.
fn rolled(value: u64, index: u64) -> u64 {
    let passed = (index as u8).wrapping_sub((value >> INDEX_AT) as u8);
    let counts = value & ((1 << INDEX_AT) - 1);
    let (index, counts) = match passed {
        0 => (index as u8, counts),
        BACK.. => ((value >> INDEX_AT) as u8, counts),
        1..=3 => {
            let moved = counts << (COUNT_BITS * u32::from(passed));
            (index as u8, moved & ((1 << INDEX_AT) - 1))
        }
        _ => (index as u8, 0),
    };
    u64::from(index) << INDEX_AT | counts
}

fn sum(value: u64) -> u64 {
    let counts = (0..COUNTS).map(|at| value >> (at * COUNT_BITS) & COUNT_MASK);
    counts.sum()
}

impl Windows {
    /// Room for about so many keys.
    pub fn new(slots: usize) -> Windows {
        Windows {
            notes: Notes::new(slots),
        }
    }

    /// Whether a new one for so many keys would be of the same size.
    pub fn fits(&self, slots: usize) -> bool {
        self.notes.fits(slots)
    }

    /// Its table.
    pub fn table(&self) -> &Notes {
        &self.notes
    }

    /// Counts one for the key, unless that is more than `limit` in `per_ms`. `now_ms`: since 1970. What is refused does not
    /// count. Windows of different lengths need different keys.
    pub fn admit(&self, hash: u64, limit: u64, per_ms: u64, now_ms: u64) -> bool {
        let limit = limit.min(LIMIT_MAX);
        let third = per_ms.div_ceil(THIRDS).max(1);
        let index = now_ms / third;
        let until = now_ms.saturating_add(4 * third).div_ceil(1_000);
        let mut admitted = false;
        let change = |old: Option<Note>| {
            let value = rolled(
                old.map_or((index & 0xff) << INDEX_AT, |note| note.value),
                index,
            );
            admitted = sum(value) < limit;
            admitted.then_some(Note {
                value: value + 1,
                until,
            })
        };
        // Those with the most in their window are the last to go.
        let worth = |value: u64, _: u64| sum(value);
        let room = self.notes.change(hash, now_ms / 1_000, &worth, change);
        room.is_ok() && admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Secret;
    use proptest::prelude::*;
    use std::hash::BuildHasher;

    const NOW: u64 = 1_800_000_000_000;

    #[test]
    fn what_was_used_comes_back_after_the_time() {
        let windows = Windows::new(100);
        let admitted = |at: u64| {
            (0..20)
                .filter(|_| windows.admit(1 << 40, 10, 9_000, at))
                .count()
        };
        assert_eq!(admitted(NOW), 10);
        assert_eq!(admitted(NOW + 8_999), 0);
        assert_eq!(admitted(NOW + 12_000), 10);
        assert!(windows.admit(2 << 40, 10, 9_000, NOW), "another key");
    }

    #[test]
    fn the_longest_and_the_shortest() {
        let windows = Windows::new(100);
        let day = 86_400_000;
        assert!(windows.admit(1 << 40, 1, day, NOW));
        assert!(!windows.admit(1 << 40, 1, day, NOW + day - 1));
        assert!(windows.admit(1 << 40, 1, day, NOW + day * 4 / 3));
        for second in 0..1_000 {
            let at = NOW + second * 2_000;
            assert!(windows.admit(2 << 40, 1, 1_000, at), "{second}");
            assert!(!windows.admit(2 << 40, 1, 1_000, at));
        }
        let most = (0..20_000).filter(|_| windows.admit(3 << 40, LIMIT_MAX, day, NOW));
        assert_eq!(most.count() as u64, LIMIT_MAX);
    }

    #[test]
    fn a_clock_that_is_set_back_frees_nobody() {
        let windows = Windows::new(100);
        for _ in 0..10 {
            windows.admit(1 << 40, 10, 60_000, NOW);
        }
        assert!(!windows.admit(1 << 40, 10, 60_000, NOW - 30_000));
    }

    #[test]
    fn a_flood_frees_nobody_who_is_above() {
        let (windows, secret) = (Windows::new(1_024), Secret::random());
        let abuser = secret.hash_one("abuser");
        while windows.admit(abuser, 100, 60_000, NOW) {}
        for key in 0..100_000u32 {
            windows.admit(secret.hash_one(key), 100, 60_000, NOW);
        }
        assert!(!windows.admit(abuser, 100, 60_000, NOW));
    }

    proptest! {
        #[test]
        fn no_window_sees_more(
            limit in 1u64..20,
            per in 1_000u64..100_000,
            steps in proptest::collection::vec(0u64..20_000, 1..300),
        ) {
            let windows = Windows::new(64);
            let (mut now, mut admitted) = (NOW, Vec::new());
            for wait in steps {
                now += wait;
                if windows.admit(1 << 40, limit, per, now) {
                    admitted.push(now);
                } else {
                    // It is refused only where the time and a third of it are full.
                    let long = per + 2 * per.div_ceil(3);
                    let lately = admitted.iter().filter(|at| **at + long > now);
                    prop_assert!(lately.count() as u64 >= limit);
                }
            }
            for (i, from) in admitted.iter().enumerate() {
                let inside = admitted[i..].iter().filter(|at| **at < from + per);
                prop_assert!(inside.count() as u64 <= limit);
            }
        }
    }
}
