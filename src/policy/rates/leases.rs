//! How many transactions or sessions of a key there are at once.
//!
//! Each takes a lease, which it gives back when it ends. One that is lost is forgotten after a time: leases are counted in
//! generations as long as that, and the latest two count. So a lease counts for that time at least, and for twice that at most.

use crate::{
    smtp::Tick,
    state::{Note, Notes},
};
use std::{fmt, sync::Arc};

/// The most that can be counted.
pub const LIMIT_MAX: u64 = 1_000_000;
const COUNT_BITS: u32 = 28;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
/// Above the counts of the generation before and the present one: the number of that, modulo 256.
const INDEX_AT: u32 = 2 * COUNT_BITS;

/// The leases of all keys.
pub struct Leases {
    notes: Notes,
}

/// A lease; dropping it gives it back.
pub struct Lease {
    of: Arc<Leases>,
    hash: u64,
    generation: u8,
    taken: u64,
}

fn pack(generation: u8, before: u64, present: u64) -> u64 {
    u64::from(generation) << INDEX_AT | before << COUNT_BITS | present
}

/// Generation, count of the one before, count of the present one.
fn unpack(value: u64) -> (u8, u64, u64) {
    let counts = (value >> COUNT_BITS & COUNT_MASK, value & COUNT_MASK);
    ((value >> INDEX_AT) as u8, counts.0, counts.1)
}

fn sum(value: u64) -> u64 {
    let (_, before, present) = unpack(value);
    before + present
}

impl Leases {
    /// Room for about so many keys.
    pub fn new(slots: usize) -> Arc<Leases> {
        Arc::new(Leases {
            notes: Notes::new(slots),
        })
    }

    /// Whether a new one for so many keys would be of the same size.
    pub fn fits(&self, slots: usize) -> bool {
        self.notes.fits(slots)
    }

    /// A lease for the key, unless there are `limit` already. `ttl_ms`: after which one that is lost is forgotten.
    pub fn take(
        self: &Arc<Leases>,
        hash: u64,
        limit: u64,
        ttl_ms: u64,
        now: Tick,
    ) -> Option<Lease> {
        let limit = limit.min(LIMIT_MAX);
        let (ttl, now) = (ttl_ms.div_ceil(1_000).max(1), now.0 / 1_000_000);
        let generation = (now / ttl) as u8;
        let mut taken = false;
        let change = |old: Option<Note>| {
            let (then, before, present) = unpack(old.map_or(0, |note| note.value));
            let (before, present) = match generation.wrapping_sub(then) {
                _ if old.is_none() => (0, 0),
                0 => (before, present),
                1 => (present, 0),
                _ => (0, 0),
            };
            taken = before + present < limit;
            taken.then_some(Note {
                value: pack(generation, before, present + 1),
                until: now.saturating_add(2 * ttl),
            })
        };
        let worth = |value: u64, _: u64| sum(value);
        let room = self.notes.change(hash, now, &worth, change);
        (room.is_ok() && taken).then(|| Lease {
            of: Arc::clone(self),
            hash,
            generation,
            taken: now,
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let change = |old: Option<Note>| {
            let note = old?;
            let (then, before, present) = unpack(note.value);
            let (before, present) = match then.wrapping_sub(self.generation) {
                0 => (before, present.saturating_sub(1)),
                1 => (before.saturating_sub(1), present),
                // It was forgotten.
                _ => return None,
            };
            Some(Note {
                value: pack(then, before, present),
                ..note
            })
        };
        // By the time at which it was taken, for there is no clock here: what held then holds still, or counts no more.
        let by_count = |value: u64, _: u64| sum(value);
        let _ = self
            .of
            .notes
            .change(self.hash, self.taken, &by_count, change);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lease")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Tick {
        Tick((1_000_000 + seconds) * 1_000_000)
    }

    #[test]
    fn what_ends_makes_room() {
        let leases = Leases::new(100);
        let take = |seconds| leases.take(1 << 40, 2, 60_000, at(seconds));
        let (one, two) = (take(0), take(0));
        assert!(one.is_some() && two.is_some() && take(0).is_none());
        drop(one);
        let three = take(1);
        assert!(three.is_some() && take(1).is_none());
        assert!(
            leases.take(2 << 40, 2, 60_000, at(1)).is_some(),
            "another key"
        );
        drop((two, three));
        assert_eq!((take(2).is_some(), take(2).is_some()), (true, true));
    }

    #[test]
    fn what_is_lost_is_forgotten() {
        let leases = Leases::new(100);
        let take = |seconds| leases.take(1 << 40, 1, 60_000, at(seconds));
        std::mem::forget(take(0).expect("there is room"));
        assert!(take(60).is_none(), "as long as its time");
        let late = take(181);
        assert!(late.is_some());
        assert!(take(181).is_none());
    }

    #[test]
    fn one_that_ends_after_it_was_forgotten_frees_no_other() {
        let leases = Leases::new(100);
        let take = |seconds| leases.take(1 << 40, 1, 60_000, at(seconds));
        let old = take(0);
        let new = take(300);
        assert!(new.is_some());
        drop(old);
        assert!(take(300).is_none());
    }

    proptest! {
        #[test]
        fn never_more_than_the_limit(steps in proptest::collection::vec((any::<bool>(), 0usize..8), 1..200)) {
            let leases = Leases::new(64);
            let mut held = Vec::new();
            for (takes, place) in steps {
                if takes {
                    let lease = leases.take(1 << 40, 4, 3_600_000, at(0));
                    prop_assert_eq!(lease.is_some(), held.len() < 4);
                    held.extend(lease);
                } else if place < held.len() {
                    drop(held.swap_remove(place));
                }
            }
        }
    }
}
