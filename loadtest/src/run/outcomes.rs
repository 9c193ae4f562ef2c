//! The ledger while it is written: one word a message, that any worker writes without a lock.
//!
//! Shelves of words are made as numbers come to them, so that a run without an end costs what it has sent.

use crate::{
    ledger::{Entry, Fate, Ledger, MESSAGES_MAX},
    stamp::RunId,
};
use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

/// Messages of a shelf.
const SHELF: usize = 1 << 16;

type Shelf = Box<[AtomicU32]>;

/// What became of each message so far.
#[derive(Debug)]
pub struct Outcomes {
    shelves: Box<[OnceLock<Shelf>]>,
}

impl Default for Outcomes {
    fn default() -> Outcomes {
        let count = MESSAGES_MAX as usize / SHELF;
        Outcomes {
            shelves: (0..count).map(|_| OnceLock::new()).collect(),
        }
    }
}

impl Outcomes {
    /// Writes what became of a message. Numbers from [`MESSAGES_MAX`] on are nobody's.
    pub fn note(&self, number: u32, entry: Entry) {
        let at = number as usize;
        let Some(shelf) = self.shelves.get(at / SHELF) else {
            return;
        };
        let shelf = shelf.get_or_init(|| (0..SHELF).map(|_| AtomicU32::new(0)).collect());
        shelf[at % SHELF].store(pack(entry), Ordering::Relaxed);
    }

    /// The ledger of the first `count` messages. To be asked for when the workers are done.
    #[must_use]
    pub fn ledger(&self, run: RunId, count: u32) -> Ledger {
        let count = count.min(MESSAGES_MAX) as usize;
        let mut entries = Vec::with_capacity(count);
        for shelf in &self.shelves {
            let wanted = (count - entries.len()).min(SHELF);
            match shelf.get() {
                Some(words) => {
                    let words = &words[..wanted];
                    entries.extend(
                        words
                            .iter()
                            .map(|word| unpack(word.load(Ordering::Relaxed))),
                    );
                }
                None => entries.resize(entries.len() + wanted, Entry::default()),
            }
        }
        Ledger { run, entries }
    }
}

fn pack(entry: Entry) -> u32 {
    let fate = match entry.fate {
        Fate::Unsent => 0,
        Fate::Acknowledged => 1,
        Fate::Refused => 2,
        Fate::Uncertain => 3,
    };
    fate << 16 | u32::from(entry.recipients)
}

fn unpack(word: u32) -> Entry {
    Entry {
        fate: match word >> 16 {
            1 => Fate::Acknowledged,
            2 => Fate::Refused,
            3 => Fate::Uncertain,
            _ => Fate::Unsent,
        },
        recipients: (word & 0xffff) as u16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_stands_in_the_ledger() {
        let outcomes = Outcomes::default();
        let entry = |fate, recipients| Entry { fate, recipients };
        let far = 3 * SHELF as u32 + 5;
        outcomes.note(0, entry(Fate::Acknowledged, u16::MAX));
        outcomes.note(1, entry(Fate::Refused, 0));
        outcomes.note(far, entry(Fate::Uncertain, 7));
        outcomes.note(u32::MAX, entry(Fate::Uncertain, 7));
        let ledger = outcomes.ledger(RunId(1), far + 1);
        assert_eq!(ledger.entries.len(), far as usize + 1);
        assert_eq!(ledger.entries[0], entry(Fate::Acknowledged, u16::MAX));
        assert_eq!(ledger.entries[1], entry(Fate::Refused, 0));
        assert_eq!(ledger.entries[2], Entry::default());
        assert_eq!(ledger.entries[far as usize], entry(Fate::Uncertain, 7));
    }
}
