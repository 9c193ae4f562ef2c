//! What has come from a key so far: good messages and bad ones, of which half is forgotten in each half-life.
//!
//! A count that decays needs no time beside it: `log2(count) + time / half-life` stays the same while it decays. A note is two
//! such numbers, in 4096ths, so that one word holds both, and looking at it changes nothing.

use crate::state::{Note, Notes};

/// Parts of a half-life in the numbers.
const PARTS: f64 = 4_096.0;
/// Seconds since 1970 from which half-lives are counted: 2020. So that 32 bits hold centuries of them.
const EPOCH: u64 = 1_577_836_800;
/// Neither count goes beyond, so that a long good past doesn't outweigh what comes now.
const COUNT_MAX: f64 = 1_000.0;
/// Messages of which nothing is known count as so many: a few tell little.
const PRIOR: f64 = 4.0;
/// A count that has decayed to 2^-this is forgotten.
const FORGOTTEN: f64 = 6.0;

/// What became of a message, as far as it speaks for or against who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It was accepted.
    Good,
    /// It was refused for good.
    Bad,
}

/// Reputations of one kind of key.
pub struct Reputation {
    notes: Notes,
    /// Seconds.
    half_life: u64,
}

impl Reputation {
    /// Room for about so many keys. `half_life` in seconds.
    pub fn new(slots: usize, half_life: u64) -> Reputation {
        Reputation {
            notes: Notes::new(slots),
            half_life: half_life.max(3_600),
        }
    }

    /// Whether a new one would be the same.
    pub fn fits(&self, slots: usize, half_life: u64) -> bool {
        self.notes.fits(slots) && self.half_life == half_life.max(3_600)
    }

    /// What its numbers mean.
    pub fn half_life(&self) -> u64 {
        self.half_life
    }

    /// Its table.
    pub fn table(&self) -> &Notes {
        &self.notes
    }

    fn half_lives(&self, now: u64) -> f64 {
        now.saturating_sub(EPOCH) as f64 / self.half_life as f64
    }

    /// The count that a number stands for; 0 stands for none.
    fn count(&self, number: u64, now: u64) -> f64 {
        match number & 0xffff_ffff {
            0 => 0.0,
            // What was counted while the clock was ahead has not begun to decay, and would be beyond all numbers.
            number => ((number as f64 / PARTS) - 1.0 - self.half_lives(now))
                .exp2()
                .min(COUNT_MAX),
        }
    }

    fn number(&self, count: f64, now: u64) -> u64 {
        // One more, so that a count of one at the beginning is not 0.
        let number = (count.log2() + 1.0 + self.half_lives(now)) * PARTS;
        // Beyond the range: no count.
        (number.round().max(0.0) as u64).min(0xffff_ffff)
    }

    /// Counts what became of a message, `now` in seconds since 1970.
    pub fn count_deed(&self, hash: u64, deed: Deed, now: u64) {
        let change = |old: Option<Note>| {
            let value = old.map_or(0, |note| note.value);
            let (mut good, mut bad) = (self.count(value >> 32, now), self.count(value, now));
            match deed {
                Deed::Good => good += 1.0,
                Deed::Bad => bad += 1.0,
            }
            let (good, bad) = (good.min(COUNT_MAX), bad.min(COUNT_MAX));
            let number = |count: f64| {
                if count > 0.0 {
                    self.number(count, now)
                } else {
                    0
                }
            };
            let holds = good.max(bad).log2().max(0.0) + FORGOTTEN;
            Some(Note {
                value: number(good) << 32 | number(bad),
                until: now.saturating_add((holds * self.half_life as f64) as u64),
            })
        };
        let by_time = |_: u64, left: u64| left;
        // It always gets a place, for none is kept.
        let _ = self.notes.change(hash, now, &by_time, change);
    }

    /// From -1 (nothing but bad) to 1 (nothing but good); 0 of a key of which nothing is known.
    #[must_use]
    pub fn of(&self, hash: u64, now: u64) -> f64 {
        let value = self.notes.get(hash, now).map_or(0, |note| note.value);
        let (good, bad) = (self.count(value >> 32, now), self.count(value, now));
        (good - bad) / (good + bad + PRIOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Secret;
    use proptest::prelude::*;
    use std::hash::BuildHasher;

    const NOW: u64 = 1_800_000_000;
    const WEEK: u64 = 7 * 86_400;

    fn counted(deeds: &[(Deed, u32)]) -> Reputation {
        let table = Reputation::new(1_000, WEEK);
        for (deed, times) in deeds {
            for _ in 0..*times {
                table.count_deed(1 << 40, *deed, NOW);
            }
        }
        table
    }

    #[test]
    fn it_says_what_came() {
        let of = |deeds: &[(Deed, u32)]| counted(deeds).of(1 << 40, NOW);
        assert_eq!(of(&[]), 0.0);
        assert!((of(&[(Deed::Good, 1)]) - 0.2).abs() < 0.01);
        assert!(of(&[(Deed::Good, 100)]) > 0.95);
        assert!(of(&[(Deed::Bad, 100)]) < -0.95);
        assert!(of(&[(Deed::Good, 50), (Deed::Bad, 50)]).abs() < 0.01);
        assert!(
            of(&[(Deed::Good, 5_000), (Deed::Bad, 1_000)]).abs() < 0.01,
            "bounded"
        );
    }

    #[test]
    fn half_is_forgotten_in_a_half_life() {
        let table = counted(&[(Deed::Bad, 64)]);
        for (weeks, left) in [(0, 64.0), (1, 32.0), (2, 16.0), (6, 1.0)] {
            let expected = -left / (left + PRIOR);
            let found = table.of(1 << 40, NOW + weeks * WEEK);
            assert!(
                (found - expected).abs() < 0.01,
                "{weeks}: {found} {expected}"
            );
        }
        assert_eq!(table.of(1 << 40, NOW + 20 * WEEK), 0.0);
    }

    #[test]
    fn a_flood_of_keys_pushes_out_those_of_which_least_is_known() {
        let (table, secret) = (Reputation::new(1_024, WEEK), Secret::random());
        for _ in 0..100 {
            table.count_deed(secret.hash_one("abuser"), Deed::Bad, NOW);
        }
        for key in 0..100_000u32 {
            table.count_deed(secret.hash_one(key), Deed::Good, NOW);
        }
        assert!(table.of(secret.hash_one("abuser"), NOW) < -0.9);
    }

    #[test]
    fn a_clock_that_was_ahead_leaves_numbers() {
        let table = Reputation::new(1_000, 3_600);
        let ahead = NOW + 365 * 86_400;
        for deed in [Deed::Good, Deed::Bad] {
            table.count_deed(1 << 40, deed, ahead);
        }
        assert_eq!(table.of(1 << 40, NOW), 0.0);
        table.count_deed(1 << 40, Deed::Bad, NOW);
        assert!(table.of(1 << 40, NOW).abs() < 0.01);
    }

    proptest! {
        /// Against counts that are kept as they are, with the time beside them.
        #[test]
        fn it_decays_right(steps in proptest::collection::vec((any::<bool>(), 0u64..200_000), 1..200)) {
            let table = Reputation::new(100, WEEK);
            let (mut good, mut bad, mut now) = (0.0f64, 0.0f64, NOW);
            for (is_good, wait) in steps {
                now += wait;
                let decay = (-(wait as f64) / WEEK as f64).exp2();
                (good, bad) = (good * decay, bad * decay);
                let deed = if is_good { Deed::Good } else { Deed::Bad };
                match deed {
                    Deed::Good => good += 1.0,
                    Deed::Bad => bad += 1.0,
                }
                table.count_deed(1 << 40, deed, now);
                let expected = (good - bad) / (good + bad + PRIOR);
                let found = table.of(1 << 40, now);
                prop_assert!((-1.0..=1.0).contains(&found));
                prop_assert!((found - expected).abs() < 0.02, "{found} {expected}");
            }
        }
    }
}
