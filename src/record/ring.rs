//! The latest explanations of one worker: bounded in number and in octets, found by their ids.
//!
//! All of them lie in one block of memory that is written round and round, so that keeping one more costs a copy and no
//! allocation. The block is taken with the first explanation; the system gives it pages as they are written. Once all are there
//! that may be kept, the start is written again as soon as it has room, so that a busy worker stays in the pages that it has.
//! Where larger ones follow small ones, they push out more than one each, and fewer are kept until the block has grown.
//!
//! Rejected: a text for each (an allocation a message, or buffers that all grow to the largest that ever was); one ring for
//! all workers (a lock on the path of a message).

use std::collections::VecDeque;

/// Octets of one explanation at most; one that is longer is not kept.
pub const ENTRY_MAX: usize = 64 * 1024;
/// Octets of the block for each explanation that may be kept: most take less. Where they take more, fewer are kept.
pub const ENTRY_ROOM: usize = 1024;

/// The id of a log line.
pub type Id = [u8; 13];

/// Where one lies.
#[derive(Clone, Copy, Debug)]
struct Entry {
    id: Id,
    /// When it was kept, in microseconds since 1970.
    micros: u64,
    at: usize,
    len: usize,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// How many.
    pub count: usize,
    /// When the oldest of them was kept, in microseconds since 1970; `None` where there is none.
    pub since: Option<u64>,
}

/// The explanations.
#[derive(Debug, Default)]
pub struct Ring {
    /// Most that are kept; 0: none.
    max: usize,
    block: Vec<u8>,
    /// Oldest first.
    entries: VecDeque<Entry>,
    /// Where the next one goes.
    head: usize,
    scratch: Vec<u8>,
}

impl Ring {
    /// An empty one for so many.
    #[must_use]
    pub fn new(max: usize) -> Ring {
        Ring {
            max,
            ..Ring::default()
        }
    }

    /// Most that are kept.
    #[must_use]
    pub fn max(&self) -> usize {
        self.max
    }

    /// Keeps so many from now on. With another number than before, what was kept goes.
    pub fn resize(&mut self, max: usize) {
        if max != self.max {
            *self = Ring::new(max);
        }
    }

    /// Keeps what `render` writes.
    // INV-LIMIT
    pub fn keep(&mut self, id: Id, micros: u64, render: impl FnOnce(&mut Vec<u8>)) {
        if self.max == 0 {
            return;
        }
        self.scratch.clear();
        render(&mut self.scratch);
        let len = self.scratch.len();
        if len <= ENTRY_MAX {
            let at = self.make_room(len);
            self.block[at..at + len].copy_from_slice(&self.scratch);
            self.head = at + len;
            let entry = Entry {
                id,
                micros,
                at,
                len,
            };
            self.entries.push_back(entry);
        }
        // A long one is rare, and must not stay twice.
        self.scratch.shrink_to(ENTRY_ROOM);
    }

    /// A place for so many octets: the oldest entries make room.
    fn make_room(&mut self, len: usize) -> usize {
        if self.block.is_empty() {
            let room = self.max.saturating_mul(ENTRY_ROOM).max(2 * ENTRY_MAX);
            self.block = vec![0; room];
        }
        let full = self.entries.len() >= self.max;
        if full {
            self.entries.pop_front();
        }
        let mut at = self.head;
        let oldest = self.entries.front().map_or(0, |oldest| oldest.at);
        if full && (len..at).contains(&oldest) {
            // Enough is free at the start: memory that was written before costs less than memory that was not.
            at = 0;
        } else if at + len > self.block.len() {
            // What lies between here and the end of the block is the oldest, and would be in the way for ever.
            while self.entries.front().is_some_and(|oldest| oldest.at >= at) {
                self.entries.pop_front();
            }
            at = 0;
        }
        let overlaps = |oldest: &Entry| oldest.at >= at && oldest.at < at + len;
        while self.entries.front().is_some_and(overlaps) {
            self.entries.pop_front();
        }
        at
    }

    /// The one with this id.
    #[must_use]
    pub fn find(&self, id: &[u8]) -> Option<&[u8]> {
        let found = self.entries.iter().rev().find(|entry| entry.id == id)?;
        Some(self.text(found))
    }

    /// The latest, newest first.
    pub fn latest(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().rev().map(|entry| self.text(entry))
    }

    /// How much is kept.
    #[must_use]
    pub fn extent(&self) -> Extent {
        Extent {
            count: self.entries.len(),
            since: self.entries.front().map(|oldest| oldest.micros),
        }
    }

    fn text(&self, entry: &Entry) -> &[u8] {
        &self.block[entry.at..entry.at + entry.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> Id {
        let mut id = [b'0'; 13];
        id[..4].copy_from_slice(&number.to_le_bytes());
        id
    }

    /// What the ring must hold is always the end of what it was given.
    fn fill(ring: &mut Ring, sizes: impl Iterator<Item = usize>) {
        let mut given: Vec<(Id, Vec<u8>)> = Vec::new();
        for (number, size) in sizes.enumerate() {
            let number = number as u32;
            let text = vec![number as u8; size];
            ring.keep(id(number), u64::from(number), |out| {
                out.extend_from_slice(&text);
            });
            if size <= ENTRY_MAX {
                given.push((id(number), text));
            }
            let kept = ring.extent().count;
            assert!(kept <= ring.max && kept <= given.len());
            assert!(kept > 0 || given.is_empty());
            let newest: Vec<&[u8]> = given.iter().rev().map(|(_, text)| &**text).collect();
            let found: Vec<&[u8]> = ring.latest().collect();
            assert!(found == newest[..kept], "after {number}");
            for (id, text) in given.iter().rev().take(kept) {
                assert_eq!(ring.find(id), Some(&**text));
            }
        }
    }

    #[test]
    fn it_keeps_the_end_of_what_it_was_given() {
        let mut seed = 7_u32;
        let mut random = move |below: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) % below
        };
        for max in [1, 2, 7, 100] {
            let sizes: Vec<usize> = (0..400)
                .map(|_| match random(10) {
                    0 => random(ENTRY_MAX as u32 + 100) as usize,
                    1 => 0,
                    _ => random(3000) as usize,
                })
                .collect();
            fill(&mut Ring::new(max), sizes.into_iter());
        }
        fill(&mut Ring::new(3), std::iter::repeat_n(ENTRY_MAX, 20));
    }

    #[test]
    // INV-LIMIT
    fn its_memory_is_bounded_and_does_not_move() {
        let mut ring = Ring::new(64);
        ring.keep(id(0), 0, |out| out.push(b'x'));
        let (block, octets) = (ring.block.as_ptr(), ring.block.len());
        for number in 1..10_000 {
            ring.keep(id(number), 0, |out| {
                out.resize(1 + number as usize % 9000, 1)
            });
        }
        assert_eq!((block, octets), (ring.block.as_ptr(), ring.block.len()));
        assert!(ring.scratch.capacity() <= ENTRY_MAX && ring.entries.capacity() <= 128);
        ring.resize(64);
        assert!(ring.extent().count > 0, "the same size changes nothing");
        ring.resize(0);
        ring.keep(id(1), 0, |_| panic!("it is off"));
        assert_eq!(ring.extent(), Extent::default());
    }
}
