//! A table of levels that fall with time, in bounded memory; [`super::throttle`] has one for each kind of key.
//!
//! A key has one line of [`WAYS`] slots, chosen by a hash that can't be foreseen. A new key takes a free slot of its line,
//! or the lowest one that is not locked. Where all are locked, a new key gets none and counts as locked itself until the
//! first of them falls below the limit: **an entry that is locked is never pushed out**. To get a key into that state by
//! intent takes about as many locked keys as the table has slots.
//!
//! Rejected: pushing out the lowest entry, locked or not (with enough addresses an attacker frees one that guesses); the
//! newcomer inheriting the level of what it pushes out (the same); growing (a flood would take all memory).

use crate::{
    smtp::Tick,
    state::{Moment, Secret, Section},
};
use std::{
    hash::{BuildHasher, Hash},
    marker::PhantomData,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Slots of a line: with fewer, locked keys fill one by chance.
const WAYS: usize = 8;

/// `due` is the moment at which nothing is left of what was charged.
#[derive(Clone, Copy, Default)]
struct Slot {
    tag: u64,
    due: u64,
}

type Line = [Slot; WAYS];

/// What a failure costs: by how much it raises a level, how high the level can get, from where on it is locked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fine {
    /// What is added, in microseconds of falling.
    pub price: u64,
    /// The highest level.
    pub most: u64,
    /// The level of a lock; `None`: there is no limit.
    pub lock: Option<u64>,
}

/// Lines that are looked at under one lock while a snapshot is made: sessions wait for no more.
const LINES_AT_ONCE: usize = 512;

struct Table {
    seed: Secret,
    lines: Box<[Line]>,
}

impl Table {
    fn line(&mut self, tag: u64) -> &mut Line {
        let place = (u128::from(tag) * self.lines.len() as u128) >> 64;
        &mut self.lines[place as usize]
    }
}

/// Levels by key.
pub(super) struct Levels<K: ?Sized> {
    table: Mutex<Table>,
    key: PhantomData<fn(&K)>,
}

impl<K: Hash + ?Sized> Levels<K> {
    /// For so many keys.
    pub fn new(slots: usize) -> Levels<K> {
        Levels {
            table: Mutex::new(Table {
                seed: Secret::random(),
                lines: vec![[Slot::default(); WAYS]; slots / WAYS].into(),
            }),
            key: PhantomData,
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The levels that are not down yet.
    pub fn section(&self, name: &str, now: Moment) -> Section {
        let mut section = Section::new(name, 0);
        let lines = self.table().lines.len();
        for start in (0..lines).step_by(LINES_AT_ONCE) {
            let table = self.table();
            let some = &table.lines[start..lines.min(start + LINES_AT_ONCE)];
            for slot in some.iter().flatten() {
                if let (true, Some(due)) = (slot.tag != 0, now.unix_of(slot.due)) {
                    section.entries.push([slot.tag, due]);
                }
            }
        }
        section
    }

    /// Hashes keys with this secret from here on, under which the levels of the section were kept. For a table in which
    /// nothing has been counted yet.
    pub fn restore(&self, seed: Secret, kept: Option<&Section>, now: Moment) {
        let mut table = self.table();
        table.seed = seed;
        for [tag, due] in kept.into_iter().flat_map(|section| &section.entries) {
            if let Some(due) = now.tick_of(*due) {
                let lowest = table.line(*tag).iter_mut().min_by_key(|slot| slot.due);
                if let Some(slot) = lowest.filter(|slot| slot.due < due) {
                    *slot = Slot { tag: *tag, due };
                }
            }
        }
    }

    fn with<T>(&self, key: &K, use_it: impl FnOnce(u64, &mut Line) -> T) -> T {
        let mut table = self.table();
        let tag = table.seed.hash_one(key).max(1);
        use_it(tag, table.line(tag))
    }

    /// The key's level; 0 for one that isn't there.
    pub fn level(&self, key: &K, now: Tick) -> u64 {
        self.with(key, |tag, line| {
            find(tag, line).map_or(0, |slot| slot.level(now))
        })
    }

    /// Whether the key has reached the level `lock`, or can't be counted since its line is full of others that have.
    pub fn is_full(&self, key: &K, now: Tick, lock: Option<u64>) -> bool {
        let Some(lock) = lock else {
            return false;
        };
        self.with(key, |tag, line| match find(tag, line) {
            Some(slot) => slot.level(now) >= lock,
            None => line.iter().all(|slot| slot.level(now) >= lock),
        })
    }

    /// Raises the key's level; what it is then. Of a key that gets no slot it is the highest.
    pub fn charge(&self, key: &K, now: Tick, fine: Fine) -> u64 {
        self.with(key, |tag, line| {
            if find(tag, line).is_none() {
                let free = |slot: &&mut Slot| fine.lock.is_none_or(|lock| slot.level(now) < lock);
                let lowest = line.iter_mut().filter(free).min_by_key(|slot| slot.due);
                match lowest {
                    Some(slot) => *slot = Slot { tag, due: 0 },
                    None => return fine.most,
                }
            }
            let Some(slot) = find(tag, line) else {
                return fine.most; // Never: it has just been made.
            };
            let level = slot.level(now).saturating_add(fine.price).min(fine.most);
            slot.due = now.0.saturating_add(level);
            level
        })
    }

    /// Sets the key's level. Another one goes for it if need be: the lowest.
    pub fn set(&self, key: &K, now: Tick, level: u64) {
        self.with(key, |tag, line| {
            let place = line.iter().position(|slot| slot.tag == tag);
            let lowest = line.iter_mut().enumerate().min_by_key(|(at, slot)| {
                // Its own slot before any other.
                (Some(*at) != place, slot.due)
            });
            if let Some((_, slot)) = lowest {
                let due = now.0.saturating_add(level);
                *slot = Slot { tag, due };
            }
        });
    }
}

impl Slot {
    fn level(&self, now: Tick) -> u64 {
        self.due.saturating_sub(now.0)
    }
}

fn find(tag: u64, line: &mut Line) -> Option<&mut Slot> {
    line.iter_mut().find(|slot| slot.tag == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Fine = Fine {
        price: 10,
        most: 30,
        lock: Some(25),
    };

    /// With one line, so that all keys meet.
    fn crowded() -> Levels<u32> {
        Levels::new(WAYS)
    }

    fn lock(levels: &Levels<u32>, key: u32, now: Tick) {
        for _ in 0..3 {
            let _ = levels.charge(&key, now, FINE);
        }
    }

    #[test]
    fn a_level_rises_to_its_most_and_falls() {
        let levels = crowded();
        let told: Vec<u64> = (0..4).map(|_| levels.charge(&1, Tick(100), FINE)).collect();
        assert_eq!(told, [10, 20, 30, 30]);
        assert!(levels.is_full(&1, Tick(105), FINE.lock));
        assert!(!levels.is_full(&1, Tick(106), FINE.lock));
        assert_eq!(levels.level(&1, Tick(130)), 0);
        assert!(!levels.is_full(&1, Tick(100), None));
    }

    #[test]
    fn what_is_locked_is_never_pushed_out() {
        let levels = crowded();
        for key in 0..8 {
            lock(&levels, key, Tick(100));
        }
        for key in 8..2000 {
            lock(&levels, key, Tick(101));
            assert!(
                levels.is_full(&key, Tick(101), FINE.lock),
                "can't be counted"
            );
        }
        for key in 0..8 {
            assert!(levels.is_full(&key, Tick(101), FINE.lock), "{key}");
        }
        // The locks are over: others may be counted again.
        assert_eq!(levels.charge(&9, Tick(110), FINE), 10);
        assert!(!levels.is_full(&9, Tick(110), FINE.lock));
    }

    #[test]
    fn the_lowest_that_is_not_locked_goes_for_a_new_one() {
        let levels = crowded();
        lock(&levels, 0, Tick(100));
        for key in 1..100 {
            let _ = levels.charge(&key, Tick(100), FINE);
        }
        assert!(levels.is_full(&0, Tick(100), FINE.lock));
        assert_eq!(levels.level(&99, Tick(100)), 10);
        let kept = (1..100).filter(|key| levels.level(key, Tick(100)) > 0);
        assert_eq!(kept.count(), WAYS - 1);
    }

    #[test]
    fn what_is_locked_is_locked_after_a_restart() {
        let before = crowded();
        lock(&before, 1, Tick(1_000));
        let _ = before.charge(&2, Tick(1_000), FINE);
        let moment = |tick: u64, unix: u64| Moment { tick, unix };
        let kept = before.section("some", moment(1_000, 50_000));
        let seed = before.table().seed;
        let after = crowded();
        after.restore(seed, Some(&kept), moment(7, 50_003));
        assert!(after.is_full(&1, Tick(7), FINE.lock));
        assert_eq!(
            (after.level(&1, Tick(7)), after.level(&2, Tick(7))),
            (27, 7)
        );
        assert_eq!(after.level(&3, Tick(7)), 0);
    }

    #[test]
    fn what_is_set_takes_the_place_of_the_oldest() {
        let levels = crowded();
        for key in 0..9 {
            levels.set(&key, Tick(u64::from(key)), 50);
        }
        levels.set(&8, Tick(20), 50);
        assert_eq!(levels.level(&0, Tick(9)), 0);
        assert!((1..9).all(|key| levels.level(&key, Tick(9)) > 0));
        assert_eq!(levels.level(&8, Tick(20)), 50);
    }
}
