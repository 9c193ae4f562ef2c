//! The deadlines of a worker's streams, and the sweep that enforces them.
//!
//! Setting a deadline is a store to a table, because a session does it with each command. The sweep looks at the
//! table only when the earliest deadline it has seen may have passed: not at all while sessions keep moving, and
//! never more than once in [`RESOLUTION`].
//!
//! A stream past its deadline has its input shut down, which ends a read in flight (rather than drop it, and lose
//! its place), while the last reply may still be written, for [`LAST_WORDS`]; then, or at once where a
//! write is what hangs, both ways are shut.
//!
//! Rejected: a timer a stream. It costs an insert and a removal for each command, for a deadline that practically
//! never comes.

use super::sys;
use crate::smtp::tick::Tick;
use std::{
    cell::{Cell, RefCell},
    net::Shutdown,
    os::fd::RawFd,
    time::Duration,
};

/// How much later than asked a deadline may be noticed.
pub const RESOLUTION: Duration = Duration::from_millis(50);

/// How long a stream whose read timed out may still write, unless it is given a new deadline.
pub const LAST_WORDS: Duration = Duration::from_secs(10);

/// How far a stream has been ended by its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// It has not.
    Open,
    /// Reads fail with `TimedOut`; a last write may pass.
    Deaf,
    /// Reads and writes fail with `TimedOut`.
    Dead,
}

/// What may end a stream's wait before its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Nothing.
    Fixed,
    /// The end of the process ([`Deadlines::end_idle`]) or a shortage: nothing is lost where it ends early.
    Idle,
    /// A shortage ([`Deadlines::hasten`]): the peer has something under way.
    Busy,
}

struct Entry {
    fd: RawFd,
    expiry: Expiry,
    writing: bool,
    wait: Wait,
    /// Until when it may write once it is [`Expiry::Deaf`].
    last_words: Tick,
}

/// The table: one slot a stream. `due` stands apart from the rest so that a sweep over ten thousand idle streams
/// reads 80 KB in sequence.
#[derive(Default)]
struct Table {
    due: Vec<Tick>,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
}

/// The deadlines of one worker.
pub(super) struct Deadlines {
    table: RefCell<Table>,
    /// No deadline is earlier than this one; it may be too early, never too late.
    earliest: Cell<Tick>,
    swept: Cell<Tick>,
    /// No deadline is later: the process ends.
    over: Cell<Tick>,
}

impl Default for Deadlines {
    fn default() -> Deadlines {
        Deadlines {
            table: RefCell::default(),
            earliest: Cell::new(Tick::FAR),
            swept: Cell::default(),
            over: Cell::new(Tick::FAR),
        }
    }
}

impl Deadlines {
    /// Takes a slot for `fd`, without a deadline. Give it back before the descriptor is closed.
    pub(super) fn insert(&self, fd: RawFd) -> u32 {
        let mut table = self.table.borrow_mut();
        let entry = Some(Entry {
            fd,
            expiry: Expiry::Open,
            writing: false,
            wait: Wait::Fixed,
            last_words: Tick::default(),
        });
        if let Some(slot) = table.free.pop() {
            table.entries[slot as usize] = entry;
            return slot;
        }
        table.entries.push(entry);
        table.due.push(Tick::FAR);
        u32::try_from(table.entries.len() - 1)
            .expect("fewer streams than descriptors, which are 31 bits")
    }

    /// Frees a slot.
    pub(super) fn remove(&self, slot: u32) {
        let mut table = self.table.borrow_mut();
        table.entries[slot as usize] = None;
        table.due[slot as usize] = Tick::FAR;
        table.free.push(slot);
    }

    /// Sets a deadline; true where it is the earliest of all, so that the alarm must be set anew. `wait` says what
    /// may end it before.
    pub(super) fn set(&self, slot: u32, due: Tick, wait: Wait) -> bool {
        let due = due.min(self.over.get());
        let mut table = self.table.borrow_mut();
        table.due[slot as usize] = due;
        if let Some(entry) = &mut table.entries[slot as usize] {
            entry.wait = wait;
        }
        drop(table);
        let earlier = due < self.earliest.get();
        if earlier {
            self.earliest.set(due);
        }
        earlier
    }

    /// How far the deadline has ended this stream.
    pub(super) fn expiry(&self, slot: u32) -> Expiry {
        self.table.borrow().entries[slot as usize]
            .as_ref()
            .map_or(Expiry::Dead, |entry| entry.expiry)
    }

    /// Says whether a write is waiting for the peer: then an expired deadline ends that.
    pub(super) fn set_writing(&self, slot: u32, writing: bool) {
        if let Some(entry) = &mut self.table.borrow_mut().entries[slot as usize] {
            entry.writing = writing;
        }
    }

    /// Has the reads of all streams that are idle end at `by`, where they don't before.
    pub(super) fn end_idle(&self, by: Tick) {
        self.end(by, |wait| wait == Wait::Idle);
    }

    /// The same of those whose peer has something under way, too.
    pub(super) fn hasten(&self, by: Tick) {
        self.end(by, |wait| wait != Wait::Fixed);
    }

    /// The same of all, and of those that begin later.
    pub(super) fn end_all(&self, by: Tick) {
        self.over.set(by.min(self.over.get()));
        self.end(by, |_| true);
    }

    /// Whether [`Deadlines::end_all`] was called.
    pub(super) fn are_over(&self) -> bool {
        self.over.get() != Tick::FAR
    }

    fn end(&self, by: Tick, may: fn(Wait) -> bool) {
        let Table { due, entries, .. } = &mut *self.table.borrow_mut();
        for (due, entry) in due.iter_mut().zip(entries) {
            if let Some(entry) = entry
                && may(entry.wait)
                && entry.expiry == Expiry::Open
            {
                *due = by.min(*due);
            }
        }
        self.earliest.set(by.min(self.earliest.get()));
    }

    /// When to sweep next; [`Tick::FAR`] where nothing has a deadline.
    pub(super) fn next_sweep(&self) -> Tick {
        let earliest = self.earliest.get();
        if earliest == Tick::FAR {
            return Tick::FAR;
        }
        earliest.max(self.swept.get().after(RESOLUTION))
    }

    /// Ends every stream whose deadline has come, and finds the earliest of the rest.
    pub(super) fn sweep(&self, now: Tick) {
        self.swept.set(now);
        let mut earliest = Tick::FAR;
        let Table { due, entries, .. } = &mut *self.table.borrow_mut();
        for (due, entry) in due.iter_mut().zip(entries) {
            if *due <= now
                && let Some(entry) = entry
            {
                *due = entry.expire(now);
            }
            earliest = earliest.min(*due);
        }
        self.earliest.set(earliest);
    }
}

impl Entry {
    /// Shuts what the deadline ends now; says when to look again.
    fn expire(&mut self, now: Tick) -> Tick {
        match self.expiry {
            Expiry::Open if !self.writing => {
                self.expiry = Expiry::Deaf;
                sys::shutdown(self.fd, Shutdown::Read);
                self.last_words = now.after(LAST_WORDS);
                self.last_words
            }
            // Bytes that came before the deadline were handled after it, and the next read was given the same deadline,
            // which has passed: that read fails, but the last reply must not.
            Expiry::Deaf if !self.writing && now < self.last_words => self.last_words,
            _ => {
                self.expiry = Expiry::Dead;
                sys::shutdown(self.fd, Shutdown::Both);
                Tick::FAR
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_is_due_only_when_a_deadline_may_have_passed() {
        let deadlines = Deadlines::default();
        assert_eq!(deadlines.next_sweep(), Tick::FAR);
        let (a, b) = (deadlines.insert(-1), deadlines.insert(-1));
        assert!(deadlines.set(a, Tick(1_000_000), Wait::Fixed));
        assert!(
            !deadlines.set(b, Tick(2_000_000), Wait::Fixed),
            "not the earliest"
        );
        assert!(
            !deadlines.set(a, Tick(5_000_000), Wait::Fixed),
            "moved away"
        );
        assert_eq!(deadlines.next_sweep(), Tick(1_000_000), "may be too early");
        deadlines.sweep(Tick(1_000_000));
        assert_eq!(deadlines.expiry(a), Expiry::Open);
        assert_eq!(deadlines.next_sweep(), Tick(2_000_000));
        deadlines.sweep(Tick(2_000_001));
        assert_eq!(deadlines.expiry(b), Expiry::Deaf);
        assert_eq!(deadlines.next_sweep(), Tick(5_000_000));
        deadlines.sweep(Tick(2_000_001).after(LAST_WORDS));
        assert_eq!(deadlines.expiry(b), Expiry::Dead);
        assert_eq!(deadlines.expiry(a), Expiry::Deaf);
    }

    #[test]
    fn where_the_process_ends_all_waits_do_also_new_ones() {
        let deadlines = Deadlines::default();
        let [waits, later] = [(); 2].map(|()| deadlines.insert(-1));
        deadlines.set(waits, Tick(9_000_000), Wait::Fixed);
        assert!(!deadlines.are_over());
        deadlines.end_all(Tick(1_000_000));
        assert!(deadlines.are_over());
        deadlines.set(later, Tick(9_000_000), Wait::Fixed);
        deadlines.sweep(Tick(1_000_001));
        assert_eq!(
            [waits, later].map(|slot| deadlines.expiry(slot)),
            [Expiry::Deaf; 2]
        );
    }

    #[test]
    fn only_idle_streams_are_ended_early() {
        let deadlines = Deadlines::default();
        let [idle, busy, writes, over] = [(); 4].map(|()| deadlines.insert(-1));
        for (slot, wait) in [
            (idle, Wait::Idle),
            (busy, Wait::Busy),
            (writes, Wait::Idle),
            (over, Wait::Busy),
        ] {
            deadlines.set(slot, Tick(9_000_000), wait);
        }
        // A reply is on its way, and a wait that is over is no longer idle.
        deadlines.set(writes, Tick(9_000_000), Wait::Fixed);
        deadlines.set(over, Tick::FAR, Wait::Fixed);
        deadlines.end_idle(Tick(1_000_000));
        assert_eq!(deadlines.next_sweep(), Tick(1_000_000));
        deadlines.sweep(Tick(1_000_000));
        assert_eq!(
            deadlines.expiry(idle),
            Expiry::Deaf,
            "a last reply may pass"
        );
        for slot in [busy, writes, over] {
            assert_eq!(deadlines.expiry(slot), Expiry::Open);
        }
        // In a hurry those that have something under way are ended as well.
        deadlines.hasten(Tick(2_000_000));
        deadlines.sweep(Tick(2_000_000));
        assert_eq!(deadlines.expiry(busy), Expiry::Deaf);
        for slot in [writes, over] {
            assert_eq!(deadlines.expiry(slot), Expiry::Open);
        }
    }

    #[test]
    fn a_read_after_the_deadline_leaves_the_time_for_the_last_reply() {
        let deadlines = Deadlines::default();
        let slot = deadlines.insert(-1);
        let due = Tick(1_000_000);
        deadlines.set(slot, due, Wait::Idle);
        deadlines.sweep(due);
        assert_eq!(deadlines.expiry(slot), Expiry::Deaf);
        deadlines.set(slot, due, Wait::Idle);
        deadlines.sweep(due.after(RESOLUTION));
        assert_eq!(deadlines.expiry(slot), Expiry::Deaf);
        assert_eq!(deadlines.next_sweep(), due.after(LAST_WORDS));
        // A write that hangs ends at its own deadline all the same.
        deadlines.set_writing(slot, true);
        deadlines.set(slot, Tick(2_000_000), Wait::Fixed);
        deadlines.sweep(Tick(2_000_000));
        assert_eq!(deadlines.expiry(slot), Expiry::Dead);
    }

    #[test]
    fn a_freed_slot_is_used_again_and_forgets_its_deadline() {
        let deadlines = Deadlines::default();
        let a = deadlines.insert(-1);
        deadlines.set(a, Tick(1), Wait::Fixed);
        deadlines.remove(a);
        let b = deadlines.insert(-1);
        assert_eq!(a, b);
        deadlines.sweep(Tick(9));
        assert_eq!(deadlines.expiry(b), Expiry::Open);
    }

    #[test]
    fn a_stream_that_hangs_in_a_write_is_ended_both_ways() {
        let deadlines = Deadlines::default();
        let slot = deadlines.insert(-1);
        deadlines.set_writing(slot, true);
        deadlines.set(slot, Tick(1), Wait::Fixed);
        deadlines.sweep(Tick(2));
        assert_eq!(deadlines.expiry(slot), Expiry::Dead);
    }
}
