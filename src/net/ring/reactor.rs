//! The ring: operations on their way, from their submission to their last completion.
//!
//! The submitter of an operation gives an object that is told of each completion; the reactor holds it until the last one,
//! so whatever the kernel may still touch is alive. Operations are named by slot and generation: what is cancelled late
//! never hits a stranger.
//!
//! A descriptor is named in an entry only, and closed by an entry too ([`Reactor::close`]), after all that was queued
//! for it: an entry never meets a descriptor whose number belongs to another file by then.
//!
//! Nothing but [`Reactor::turn`] enters the kernel (and [`Reactor::flush`], for the rare hand-over of a stream).

use super::buffers::{Buffers, GROUP};
use crate::{
    net::{clock::now, sys},
    smtp::tick::Tick,
};
use io_uring::{
    IoUring, cqueue, opcode,
    squeue::{Entry, Flags},
    types::{CancelBuilder, Fd, SubmitArgs, Timespec},
};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    mem::MaybeUninit,
    os::fd::{IntoRawFd, OwnedFd},
    rc::Rc,
    time::Duration,
};

/// Entries that one turn may queue; more wait for the next one.
const ENTRIES: u32 = 1024;

/// Completions that fit; the kernel keeps what is more, at a price.
const COMPLETIONS: u32 = 8192;

/// Completions taken out at a time.
const REAP: usize = 64;

/// Completions of no interest: of cancels and closes.
const NOBODY: u64 = 0;

/// Run what is due and fill the completion queue, also where nothing is waited for.
const GETEVENTS: u32 = 1;

/// How often, and how long each time, the end waits for operations to be over.
const END_TRIES: u32 = 200;
const END_WAIT: Duration = Duration::from_millis(10);

/// What is told of an operation's completions.
pub(super) trait Operation {
    /// One of them.
    fn complete(&self, io: &Reactor, done: Done);
}

/// A completion.
#[derive(Clone, Copy)]
pub(super) struct Done {
    /// As the kernel gives it: an error is negative.
    pub(super) result: i32,
    flags: u32,
}

impl Done {
    /// Is the operation over?
    pub(super) fn is_last(self) -> bool {
        !cqueue::more(self.flags)
    }

    /// The buffer that comes with it.
    pub(super) fn buffer(self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }
}

/// Names an operation in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OperationKey(u64);

/// The operations in flight. A generation is never zero, so no key is [`NOBODY`].
#[derive(Default)]
struct Table {
    slots: Vec<(u32, Option<Rc<dyn Operation>>)>,
    free: Vec<u32>,
}

impl Table {
    fn insert(&mut self, operation: Rc<dyn Operation>) -> OperationKey {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            u32::try_from(self.slots.len() - 1).expect("memory ends before four thousand million")
        });
        let (generation, place) = &mut self.slots[slot as usize];
        *generation = generation.checked_add(1).unwrap_or(1);
        *place = Some(operation);
        OperationKey(u64::from(*generation) << 32 | u64::from(slot))
    }

    /// The object to tell; it is dropped after the last completion.
    fn find(&mut self, key: u64, last: bool) -> Option<Rc<dyn Operation>> {
        let slot = key as u32;
        let (generation, place) = self.slots.get_mut(slot as usize)?;
        if u64::from(*generation) != key >> 32 {
            return None;
        }
        if !last {
            return place.clone();
        }
        let operation = place.take()?;
        self.free.push(slot);
        Some(operation)
    }

    fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

/// A worker's ring.
pub(super) struct Reactor {
    /// `None` once the worker has ended.
    ring: RefCell<Option<IoUring>>,
    buffers: Rc<Buffers>,
    table: RefCell<Table>,
    /// Entries that found the queue full.
    backlog: RefCell<VecDeque<Entry>>,
    /// Goes up whenever all entries have been handed over.
    round: Cell<u64>,
    ending: Cell<bool>,
    /// The kernel's, for sleeps that gather.
    tick: Duration,
}

/// Sets up a ring as this engine needs it.
pub(super) fn build(entries: u32, completions: u32) -> io::Result<IoUring> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_cqsize(completions)
        .build(entries)
}

impl Reactor {
    /// Builds the ring.
    ///
    /// # Errors
    /// The kernel refuses descriptors or memory, or a feature.
    pub(super) fn new() -> io::Result<Rc<Reactor>> {
        let ring = build(ENTRIES, COMPLETIONS)?;
        Ok(Rc::new(Reactor {
            buffers: Buffers::register(&ring)?,
            ring: RefCell::new(Some(ring)),
            table: RefCell::default(),
            backlog: RefCell::default(),
            round: Cell::new(1),
            ending: Cell::new(false),
            tick: sys::tick(),
        }))
    }

    /// The memory for receives.
    pub(super) fn buffers(&self) -> &Rc<Buffers> {
        &self.buffers
    }

    /// Queues an operation. What `entry` points to must be owned by `operation`.
    pub(super) fn submit(&self, operation: Rc<dyn Operation>, entry: Entry) -> OperationKey {
        let key = self.table.borrow_mut().insert(operation);
        self.push(entry.user_data(key.0));
        key
    }

    /// Asks for the end of an operation; its last completion comes in any case.
    pub(super) fn cancel(&self, key: OperationKey) {
        self.push(unanswered(opcode::AsyncCancel::new(key.0).build()));
    }

    /// Closes a descriptor once everything that was queued for it before has been handed over.
    pub(super) fn close(&self, fd: OwnedFd) {
        if self.ring.borrow().is_some() {
            let entry = opcode::Close::new(Fd(fd.into_raw_fd())).build();
            self.push(unanswered(entry));
        }
    }

    fn push(&self, entry: Entry) {
        let mut ring = self.ring.borrow_mut();
        let Some(ring) = &mut *ring else { return };
        let mut backlog = self.backlog.borrow_mut();
        // SAFETY: what the entry points to lives until its last completion: its operation owns it.
        let full = !backlog.is_empty() || unsafe { ring.submission().push(&entry) }.is_err();
        if full {
            backlog.push_back(entry);
        }
    }

    /// When something queued now will have been handed over, [`Reactor::is_past`] says so.
    pub(super) fn round(&self) -> u64 {
        self.round.get()
    }

    /// Has everything that was queued in `round` been handed over?
    pub(super) fn is_past(&self, round: u64) -> bool {
        self.round.get() > round
    }

    /// Is it certain that nothing has happened to any operation that was handed over? Costs two loads.
    pub(super) fn is_calm(&self) -> bool {
        let mut ring = self.ring.borrow_mut();
        ring.as_mut()
            .is_some_and(|ring| ring.completion().is_empty() && !ring.submission().taskrun())
    }

    /// Hands over what is queued, waits until `wanted` completions are there or `due` has come, and tells the operations;
    /// returns how many completions there were. It doesn't wait where `due` is not later than `now`, and for more than
    /// one completion no longer than a tick of the kernel.
    ///
    /// # Errors
    /// The ring is broken.
    pub(super) fn turn(&self, now: Tick, due: Tick, wanted: usize) -> io::Result<usize> {
        let all = self.fill();
        let mut wait = due.since(now);
        if wanted > 1 {
            wait = wait.min(self.tick);
        }
        let entered = {
            let ring = self.ring.borrow();
            let Some(ring) = &*ring else { return Ok(0) };
            if wait.is_zero() || !all {
                enter_briefly(ring)
            } else if wanted == 1 && due == Tick::FAR {
                ring.submit_and_wait(1)
            } else {
                let wait = Timespec::from(wait);
                let args = SubmitArgs::new().timespec(&wait);
                ring.submitter().submit_with_args(wanted, &args)
            }
        };
        if let Err(error) = entered
            && !is_passing(&error)
        {
            return Err(error);
        }
        if all && self.with(true, |ring| ring.submission().is_empty()) {
            self.round.set(self.round.get() + 1);
        }
        Ok(self.reap())
    }

    /// [`Reactor::turn`] without a wait.
    ///
    /// # Errors
    /// The ring is broken.
    pub(super) fn flush(&self) -> io::Result<usize> {
        self.turn(Tick::default(), Tick::default(), 1)
    }

    fn with<T>(&self, otherwise: T, what: impl FnOnce(&mut IoUring) -> T) -> T {
        self.ring.borrow_mut().as_mut().map_or(otherwise, what)
    }

    /// Moves the backlog to the queue; true where all of it fits.
    fn fill(&self) -> bool {
        let mut backlog = self.backlog.borrow_mut();
        while let Some(entry) = backlog.front() {
            // SAFETY: as in `push`.
            let pushed = self.with(Ok(()), |ring| unsafe { ring.submission().push(entry) });
            if pushed.is_err() {
                return false;
            }
            backlog.pop_front();
        }
        true
    }

    /// Tells the operations what has happened; returns of how much.
    fn reap(&self) -> usize {
        let mut count = 0;
        let mut place = [const { MaybeUninit::<cqueue::Entry>::uninit() }; REAP];
        loop {
            let done = {
                let mut ring = self.ring.borrow_mut();
                let Some(ring) = &mut *ring else { return count };
                ring.completion().fill(&mut place)
            };
            for entry in &*done {
                self.tell(entry);
            }
            count += done.len();
            if done.len() < REAP {
                return count;
            }
        }
    }

    fn tell(&self, entry: &cqueue::Entry) {
        let done = Done {
            result: entry.result(),
            flags: entry.flags(),
        };
        let operation = self
            .table
            .borrow_mut()
            .find(entry.user_data(), done.is_last());
        if let Some(operation) = operation {
            operation.complete(self, done);
        }
    }

    /// Has the end begun? Then nothing is submitted any more.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.get()
    }

    /// Ends every operation and waits for that, then gives the ring back to the kernel. The tasks are gone by now.
    pub(super) fn end(&self) {
        self.ending.set(true);
        for _ in 0..END_TRIES {
            let alive = self.table.borrow().in_flight() > 0;
            if !alive && self.backlog.borrow().is_empty() && self.with(true, is_handed_over) {
                break;
            }
            let (now, mut due) = (now(), Tick::default());
            if alive {
                due = now.after(END_WAIT);
                let all = CancelBuilder::any();
                self.push(unanswered(opcode::AsyncCancel2::new(all).build()));
            }
            if self.turn(now, due, 1).is_err() {
                break;
            }
        }
        let ring = self.ring.take();
        if self.table.borrow().in_flight() > 0 {
            // The kernel may still write to the buffers while it takes the ring down: they are never freed.
            std::mem::forget(Rc::clone(&self.buffers));
        } else if let Some(ring) = &ring {
            // Without a ring there is no group either: a refusal means nothing.
            let _ = ring.submitter().unregister_buf_ring(GROUP);
        }
        drop(ring);
        let table = self.table.take();
        drop(table);
    }
}

fn is_handed_over(ring: &mut IoUring) -> bool {
    ring.submission().is_empty()
}

/// An entry whose success is of no interest.
fn unanswered(entry: Entry) -> Entry {
    entry.user_data(NOBODY).flags(Flags::SKIP_SUCCESS)
}

/// Hands over what is queued and makes the completions that are due, without waiting. `submit` would not make them.
fn enter_briefly(ring: &IoUring) -> io::Result<usize> {
    let submitter = ring.submitter();
    // SAFETY: the ring is ours and so small that its length fits; no argument is passed, so none can dangle.
    unsafe {
        let queued = ring.submission_shared().len() as u32;
        submitter.enter::<libc::sigset_t>(queued, 0, GETEVENTS, None)
    }
}

/// Does the next turn put it right? The time has come, a signal came, or the kernel is short of memory for now.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Deaf;

    impl Operation for Deaf {
        fn complete(&self, _: &Reactor, _: Done) {}
    }

    #[test]
    fn a_late_completion_meets_nobody() {
        let mut table = Table::default();
        let first = table.insert(Rc::new(Deaf));
        assert!(table.find(first.0, false).is_some());
        assert!(table.find(first.0, true).is_some());
        assert_eq!(table.in_flight(), 0);
        let second = table.insert(Rc::new(Deaf));
        assert_ne!(first, second);
        assert!(table.find(first.0, true).is_none());
        assert!(table.find(NOBODY, true).is_none());
        assert_eq!(table.in_flight(), 1);
        assert!(table.find(second.0, true).is_some());
    }
}
