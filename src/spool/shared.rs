//! What the log's one writer shares with those that ask, read and write bodies.
//!
//! The directory is owned for as long as anything of this lives: a thread that still writes a file must not outlive the
//! ownership, or it would write into the files of the next owner.

use super::{
    disk::Disk,
    index::Index,
    watermarks::{Limits, Watermarks},
};
use std::{
    io,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// What the log's owner and its readers share.
pub struct Shared<D: Disk> {
    pub(super) disk: D,
    #[expect(dead_code, reason = "held until the last of them is dropped")]
    lock: D::Lock,
    index: Mutex<Index<D::File>>,
    next_sequence: AtomicU64,
    set_aside: AtomicU64,
    spool: u128,
    watermarks: Watermarks,
    /// How many syncs of the directory have failed. Held while one is under way.
    failed_syncs: Mutex<u64>,
}

/// A moment, for [`Shared::sync_names`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Since(u64);

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<D: Disk> Shared<D> {
    pub(super) fn new(
        (disk, lock): (D, D::Lock),
        index: Index<D::File>,
        next_sequence: u64,
        spool: u128,
        limits: Limits,
    ) -> Shared<D> {
        Shared {
            disk,
            lock,
            index: Mutex::new(index),
            next_sequence: AtomicU64::new(next_sequence),
            set_aside: AtomicU64::new(0),
            spool,
            watermarks: Watermarks::new(limits),
            failed_syncs: Mutex::new(0),
        }
    }

    /// The index. Held for moments, never while the disk works.
    pub fn index(&self) -> MutexGuard<'_, Index<D::File>> {
        locked(&self.index)
    }

    /// The sequence of a new message. Each is given once.
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence.fetch_add(1, Ordering::Relaxed)
    }

    /// No message has this sequence or a larger one.
    pub(super) fn unused_sequence(&self) -> u64 {
        self.next_sequence.load(Ordering::Relaxed)
    }

    /// What the ids of all messages of this spool begin with.
    pub fn id(&self) -> u128 {
        self.spool
    }

    /// How full the spool is, and whether its disk works.
    pub fn watermarks(&self) -> &Watermarks {
        &self.watermarks
    }

    /// A message that can't be read is never delivered from now on, and kept.
    pub(super) fn set_aside(&self, sequence: u64) {
        if self.index().set_aside(sequence) {
            self.set_aside.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many messages were set aside since the start.
    pub(super) fn messages_set_aside(&self) -> u64 {
        self.set_aside.load(Ordering::Relaxed)
    }

    /// The moment before a name is made or changed.
    pub(super) fn before_names(&self) -> Since {
        Since(*locked(&self.failed_syncs))
    }

    /// Makes the changes of names durable that were made after `since`.
    ///
    /// # Errors
    /// What the file system said; or a sync on another thread has failed meanwhile. The kernel tells of a failure once, so
    /// success of this call would not prove that an earlier change is on the disk.
    pub(super) fn sync_names(&self, since: Since) -> io::Result<()> {
        let mut failed = locked(&self.failed_syncs);
        if let Err(why) = self.disk.sync_directory() {
            *failed += 1;
            return Err(why);
        }
        match *failed == since.0 {
            true => Ok(()),
            false => Err(io::Error::other("an earlier sync of the directory failed")),
        }
    }
}
