//! The numbers of pools and backends: what the rooms above hold instead of the things themselves, so that a reload can
//! take a pool or a backend away under them.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A pool's number: the same for the same name for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(pub u32);

/// A backend's number; no number is used twice in the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(pub u32);

impl BackendId {
    /// The next number.
    pub(super) fn next() -> BackendId {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        BackendId(NEXT.fetch_add(1, Relaxed))
    }
}
