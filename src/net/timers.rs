//! The timers of one worker: one ordered map.
//!
//! One engine timer is set to the earliest of them (and of the deadlines of the worker's streams), so a timer costs no
//! system call and a dropped one leaves nothing behind.

use crate::smtp::tick::Tick;
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    task::Waker,
};

/// The timers of one worker.
#[derive(Default)]
pub(super) struct Timers {
    waiting: RefCell<BTreeMap<(Tick, u64), Waker>>,
    next: Cell<u64>,
}

impl Timers {
    /// The moment of the earliest timer; [`Tick::FAR`] where there is none.
    pub(super) fn earliest(&self) -> Tick {
        self.waiting
            .borrow()
            .first_key_value()
            .map_or(Tick::FAR, |((due, _), _)| *due)
    }

    /// Wakes every sleeper that is due.
    pub(super) fn fire(&self, now: Tick) {
        loop {
            let mut waiting = self.waiting.borrow_mut();
            let Some(first) = waiting.first_entry() else {
                return;
            };
            if first.key().0 > now {
                return;
            }
            let waker = first.remove();
            drop(waiting);
            waker.wake();
        }
    }

    /// A number for a new timer.
    pub(super) fn number(&self) -> u64 {
        let number = self.next.get();
        self.next.set(number + 1);
        number
    }

    /// Has the timer wake this task at `due`.
    pub(super) fn wait(&self, due: Tick, number: u64, waker: &Waker) {
        let mut waiting = self.waiting.borrow_mut();
        match waiting.get_mut(&(due, number)) {
            Some(known) => known.clone_from(waker),
            None => {
                waiting.insert((due, number), waker.clone());
            }
        }
    }

    /// Forgets the timer.
    pub(super) fn forget(&self, due: Tick, number: u64) {
        self.waiting.borrow_mut().remove(&(due, number));
    }
}
