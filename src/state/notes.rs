//! Notes about very many keys in bounded memory, without a lock.
//!
//! A note is a number and a time until which it holds, to the minute. The table is set-associative: a key's hash picks one
//! line of [`WAYS`] slots, and only they are looked at. A new key takes a slot whose note holds no more, or else the one of the
//! least worth: whoever uses the table says what a note is worth to him, and [`KEPT`] is never given up. Where all of a line
//! are kept, a new key gets no slot ([`Full`]). So a flood of keys neither grows the table nor pushes out what protects.
//!
//! A slot is two words: 40 bits of the hash with the time, and the number. What two workers can do to each other is bounded:
//! a slot that is given to another key while a third worker writes to it leaves one note on the wrong key.
//!
//! Keys that share 40 bits of their hash share a note: of ten million questions about keys that are not there, about one
//! finds another's in a table that is full.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Slots of a line.
const WAYS: usize = 8;
/// The low bits of a slot's first word: the minute until which its note holds, modulo 2^24 (32 years).
const TIME_BITS: u32 = 24;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

/// The worth of a note that no other pushes out.
pub const KEPT: u64 = u64::MAX;

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whatever its owner makes of it.
    pub value: u64,
    /// Seconds since 1970 until which it holds; in the table it holds up to a minute longer.
    pub until: u64,
}

/// A key got no slot: all in its line are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

#[derive(Default)]
#[repr(align(64))]
struct Line {
    heads: [AtomicU64; WAYS],
    values: [AtomicU64; WAYS],
}

/// The table.
pub struct Notes {
    lines: Box<[Line]>,
}

/// What a note is worth, where another needs its slot: its value and the seconds that it still holds.
pub type Worth<'a> = &'a dyn Fn(u64, u64) -> u64;

impl Notes {
    /// The worth of a note that no other pushes out.
    pub const KEPT: u64 = KEPT;

    /// Room for about so many keys, 16 octets each.
    #[must_use]
    pub fn new(slots: usize) -> Notes {
        let lines = (0..Notes::lines(slots)).map(|_| Line::default()).collect();
        Notes { lines }
    }

    /// Whether a new table for so many keys would be of the same size.
    #[must_use]
    pub fn fits(&self, slots: usize) -> bool {
        self.lines.len() == Notes::lines(slots)
    }

    fn lines(slots: usize) -> usize {
        slots.div_ceil(WAYS).max(1)
    }

    /// The line of a key and its tag: the upper 40 bits of its hash choose both, so that a snapshot need keep no more.
    fn place(&self, hash: u64) -> (&Line, u64) {
        let tag = hash & !TIME_MASK;
        let line = (u128::from(tag) * self.lines.len() as u128) >> 64;
        // A slot that was never used is 0.
        (&self.lines[line as usize], tag.max(1 << TIME_BITS))
    }

    /// The note of a key, if it has one that still holds.
    #[must_use]
    pub fn get(&self, hash: u64, now: u64) -> Option<Note> {
        let (line, tag) = self.place(hash);
        let (head, value) = line.slot(line.find(tag)?);
        note(head, value, now)
    }

    /// Writes the note of a key. `change` is told the note that still holds, and says what holds from now on, or `None`
    /// where nothing changes; it may be called more than once. What the key has then.
    ///
    /// # Errors
    /// The key has none, and gets none.
    pub fn change(
        &self,
        hash: u64,
        now: u64,
        worth: Worth<'_>,
        mut change: impl FnMut(Option<Note>) -> Option<Note>,
    ) -> Result<Option<Note>, Full> {
        let (line, tag) = self.place(hash);
        let at = match line.find(tag) {
            Some(at) => at,
            None if change(None).is_none() => return Ok(None),
            None => line.claim(tag, now, worth)?,
        };
        loop {
            let (head, value) = line.slot(at);
            if head & !TIME_MASK != tag {
                // Another key has just taken the slot: what was noted of this one is lost, as if it had been pushed out.
                return Ok(None);
            }
            let old = note(head, value, now);
            let Some(new) = change(old) else {
                return Ok(old);
            };
            let values = &line.values[at];
            if values
                .compare_exchange(value, new.value, Relaxed, Relaxed)
                .is_err()
            {
                continue;
            }
            let to = tag | minute_after(new.until);
            // Where it fails, another key has the slot, or another worker has written a time.
            let _ = line.heads[at].compare_exchange(head, to, Relaxed, Relaxed);
            return Ok(Some(new));
        }
    }

    /// All notes that still hold, as two words each.
    pub fn each(&self, now: u64, mut visit: impl FnMut([u64; 2])) {
        for line in &self.lines {
            for at in 0..WAYS {
                let (head, value) = line.slot(at);
                if note(head, value, now).is_some() {
                    visit([head, value]);
                }
            }
        }
    }

    /// Takes in a note that [`Notes::each`] has told of, where there is room; not over one of the same key.
    pub fn take_in(&self, [head, value]: [u64; 2], now: u64, worth: Worth<'_>) {
        let (line, tag) = self.place(head);
        if note(head, value, now).is_some()
            && line.find(tag).is_none()
            && let Ok(at) = line.claim(tag, now, worth)
        {
            line.values[at].store(value, Relaxed);
            line.heads[at].store(head, Relaxed);
        }
    }
}

/// The note in a slot, if it still holds.
fn note(head: u64, value: u64, now: u64) -> Option<Note> {
    let left = minutes_left(head, now);
    (head & !TIME_MASK != 0 && left > 0).then(|| Note {
        value,
        until: (now / 60 + left) * 60,
    })
}

/// The whole minutes that a note still holds, the present one included.
fn minutes_left(head: u64, now: u64) -> u64 {
    let left = (head & TIME_MASK).wrapping_sub(now / 60) & TIME_MASK;
    // Half of the circle lies in the past.
    if left > TIME_MASK / 2 { 0 } else { left }
}

/// The first minute after a time, modulo 2^24.
fn minute_after(time: u64) -> u64 {
    time.div_ceil(60) & TIME_MASK
}

impl Line {
    fn slot(&self, at: usize) -> (u64, u64) {
        (self.heads[at].load(Relaxed), self.values[at].load(Relaxed))
    }

    /// The first slot with this tag: should two workers have made two, all use the same.
    fn find(&self, tag: u64) -> Option<usize> {
        let of = |head: &AtomicU64| head.load(Relaxed) & !TIME_MASK;
        self.heads.iter().position(|head| of(head) == tag)
    }

    /// Gives the cheapest slot to `tag`. Relaxed is enough: no slot guards other memory.
    fn claim(&self, tag: u64, now: u64, worth: Worth<'_>) -> Result<usize, Full> {
        for _ in 0..WAYS {
            let mut cheapest: Option<(u64, usize, u64)> = None;
            for at in 0..WAYS {
                let (head, value) = self.slot(at);
                let left = minutes_left(head, now) * 60;
                let price = match note(head, value, now) {
                    None => 0,
                    Some(_) => worth(value, left).max(1),
                };
                if cheapest.is_none_or(|(least, ..)| price < least) {
                    cheapest = Some((price, at, head));
                }
            }
            let Some((_, at, was)) = cheapest.filter(|(price, ..)| *price != KEPT) else {
                return Err(Full);
            };
            // Its time is over, so that the number that is still in it says nothing of the new key.
            let past = (now / 60) & TIME_MASK;
            if self.heads[at]
                .compare_exchange(was, tag | past, Relaxed, Relaxed)
                .is_ok()
            {
                return Ok(self.find(tag).unwrap_or(at));
            }
            if let Some(at) = self.find(tag) {
                return Ok(at);
            }
        }
        Err(Full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Secret;
    use proptest::prelude::*;
    use std::{collections::HashMap, hash::BuildHasher};

    const NOW: u64 = 1_800_000_000;

    fn by_time(_: u64, left: u64) -> u64 {
        left
    }

    fn set(notes: &Notes, hash: u64, now: u64, value: u64, holds: u64) -> Result<(), Full> {
        let until = now + holds;
        notes
            .change(hash, now, &by_time, |_| Some(Note { value, until }))
            .map(drop)
    }

    fn value(notes: &Notes, hash: u64, now: u64) -> Option<u64> {
        notes.get(hash, now).map(|note| note.value)
    }

    #[test]
    fn a_note_holds_for_its_time() {
        let (notes, secret) = (Notes::new(100), Secret::random());
        let [one, two] = ["one", "two"].map(|key| secret.hash_one(key));
        set(&notes, one, NOW, 7, 600).expect("there is room");
        assert_eq!(value(&notes, one, NOW + 599), Some(7));
        assert_eq!(value(&notes, one, NOW + 661), None);
        assert_eq!(value(&notes, two, NOW), None);
        let unchanged = notes.change(two, NOW, &by_time, |_| None);
        assert_eq!(unchanged, Ok(None));
        // What held before is no part of what is noted anew.
        let seen = notes.change(one, NOW + 700, &by_time, |old| {
            assert_eq!(old, None);
            Some(Note {
                value: 1,
                until: NOW + 800,
            })
        });
        assert_eq!(seen.expect("there is room").expect("it is noted").value, 1);
    }

    #[test]
    fn a_flood_neither_grows_the_table_nor_pushes_out_what_is_kept() {
        let (notes, secret) = (Notes::new(1_024), Secret::random());
        let lines = notes.lines.len();
        let kept = |value: u64, left: u64| if value == 1 { KEPT } else { left };
        let guarded: Vec<u64> = (0..64u32)
            .map(|key| secret.hash_one(("good", key)))
            .collect();
        let put = |hash: u64, value: u64| {
            notes.change(hash, NOW, &kept, |_| {
                Some(Note {
                    value,
                    until: NOW + 3600,
                })
            })
        };
        for hash in &guarded {
            put(*hash, 1).expect("there is room");
        }
        for key in 0..200_000u32 {
            let _ = put(secret.hash_one(key), 2);
        }
        assert_eq!(notes.lines.len(), lines);
        for hash in guarded {
            assert_eq!(value(&notes, hash, NOW), Some(1));
        }
    }

    #[test]
    fn a_line_that_is_kept_whole_takes_no_other() {
        let notes = Notes::new(WAYS);
        for key in 1..=WAYS as u64 {
            set(&notes, key << 40, NOW, 5, 60).expect("there is room");
        }
        let new = |until| Some(Note { value: 5, until });
        let more = notes.change(99 << 40, NOW, &|_, _| KEPT, |_| new(NOW + 60));
        assert_eq!(more, Err(Full));
        // Two minutes later none of them holds.
        let later = notes.change(99 << 40, NOW + 120, &|_, _| KEPT, |_| new(NOW + 300));
        assert!(later.is_ok());
    }

    #[test]
    // INV-LOCK
    fn workers_together_count_right() {
        let (notes, hash) = (Notes::new(64), Secret::random().hash_one(1));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        let _ = notes.change(hash, NOW, &by_time, |old| {
                            Some(Note {
                                value: old.map_or(0, |note| note.value) + 1,
                                until: NOW + 60,
                            })
                        });
                    }
                });
            }
        });
        // The first note of all may be made by two at once, so that one of the two goes.
        let counted = value(&notes, hash, NOW).expect("it is noted");
        assert!((3_990..=4_000).contains(&counted), "{counted}");
    }

    proptest! {
        #[test]
        fn what_is_taken_in_is_what_was_told(keys in proptest::collection::hash_map(0u64..1 << 40, 1u64..1_000_000, 0..200)) {
            let (notes, copy) = (Notes::new(4_096), Notes::new(8_192));
            for (key, number) in &keys {
                set(&notes, key << 24, NOW, *number, 60 + number).expect("there is room");
            }
            let mut told = Vec::new();
            notes.each(NOW, |words| told.push(words));
            for words in told {
                copy.take_in(words, NOW, &by_time);
            }
            let of = |table: &Notes| -> HashMap<u64, Option<u64>> {
                keys.keys().map(|key| (*key, value(table, key << 24, NOW))).collect()
            };
            prop_assert_eq!(of(&notes), of(&copy));
        }
    }
}
