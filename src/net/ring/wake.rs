//! Wakers that are numbers.
//!
//! Where a waker keeps its pointer, ours keep three numbers: the worker, the slot of the task, and the slot's
//! generation. So a waker is made, cloned, compared and dropped without memory and without an atomic; waking a task of
//! this thread is a push to a queue, and only a wake from another thread takes a lock, and a system call where the worker
//! may be asleep. A waker that outlives its task finds another generation and does nothing.
//!
//! Rejected: a reference-counted waker for each task, the usual way. Sessions clone one with each wait.

use super::executor;
use crate::net::sys;
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    ptr,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{RawWaker, RawWakerVTable, Waker},
};

const _: () = assert!(usize::BITS == 64, "a waker's three numbers need 64 bits");

/// Names a task: which worker's, in which slot, the how manieth there. The last may repeat after 65,536 tasks: then an
/// old waker wakes a stranger for nothing, which every task must bear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TaskId {
    pub(super) worker: u16,
    pub(super) generation: u16,
    pub(super) slot: u32,
}

impl TaskId {
    fn pack(self) -> *const () {
        let TaskId {
            worker,
            generation,
            slot,
        } = self;
        let bits = u64::from(worker) << 48 | u64::from(generation) << 32 | u64::from(slot);
        ptr::without_provenance(bits as usize)
    }

    fn unpack(data: *const ()) -> TaskId {
        let bits = data.addr() as u64;
        TaskId {
            worker: (bits >> 48) as u16,
            generation: (bits >> 32) as u16,
            slot: bits as u32,
        }
    }

    pub(super) fn waker(self) -> Waker {
        // SAFETY: the table's functions take the data for the numbers that it is; they keep the contract of a waker
        // without owning anything, from any thread.
        unsafe { Waker::from_raw(RawWaker::new(self.pack(), &TABLE)) }
    }
}

static TABLE: RawWakerVTable =
    RawWakerVTable::new(|data| RawWaker::new(data, &TABLE), wake, wake, |_| {});

fn wake(data: *const ()) {
    let id = TaskId::unpack(data);
    if executor::wake_here(id) {
        return;
    }
    let workers = WORKERS.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(Some(remote)) = workers.get(usize::from(id.worker)) {
        remote.wake(id);
    }
}

/// The workers that run this engine in this process, by number.
static WORKERS: RwLock<Vec<Option<Arc<Remote>>>> = RwLock::new(Vec::new());

/// Where other threads leave word for a worker.
pub(super) struct Remote {
    woken: Mutex<Vec<TaskId>>,
    /// Was it rung since the worker last looked?
    rung: AtomicBool,
    bell: OwnedFd,
}

impl Remote {
    /// Makes one and gives it a number.
    ///
    /// # Errors
    /// No descriptor is left, or no number.
    pub(super) fn register() -> io::Result<(u16, Arc<Remote>)> {
        let remote = Arc::new(Remote {
            woken: Mutex::default(),
            rung: AtomicBool::new(false),
            bell: sys::event()?,
        });
        let mut workers = WORKERS.write().unwrap_or_else(PoisonError::into_inner);
        let number = workers.iter().position(Option::is_none);
        let number = number.unwrap_or_else(|| {
            workers.push(None);
            workers.len() - 1
        });
        let id = u16::try_from(number).map_err(|_| io::ErrorKind::QuotaExceeded)?;
        workers[number] = Some(Arc::clone(&remote));
        Ok((id, remote))
    }

    /// Takes the number back.
    pub(super) fn forget(id: u16) {
        let mut workers = WORKERS.write().unwrap_or_else(PoisonError::into_inner);
        workers[usize::from(id)] = None;
    }

    fn wake(&self, id: TaskId) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        woken.push(id);
        drop(woken);
        // The worker unsets this before it looks: what was pushed is seen then, or rings again.
        if !self.rung.swap(true, Ordering::AcqRel) {
            sys::ring(self.bell.as_fd());
        }
    }

    /// Moves what was left to `woken`, which is empty.
    pub(super) fn take(&self, woken: &mut Vec<TaskId>) {
        self.rung.store(false, Ordering::SeqCst);
        let mut left = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *left, woken);
    }

    /// Becomes readable with each ring; it need not be read.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waker_is_the_numbers_of_its_task() {
        for (worker, generation, slot) in [(0, 0, 0), (1, 2, 3), (u16::MAX, u16::MAX, u32::MAX)] {
            let id = TaskId {
                worker,
                generation,
                slot,
            };
            assert_eq!(TaskId::unpack(id.pack()), id);
            let (one, other) = (id.waker(), id.waker());
            assert!(one.will_wake(&other) && one.will_wake(&one.clone()));
            // Of a worker that does not exist: nothing happens.
            other.wake();
        }
    }
}
