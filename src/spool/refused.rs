//! Why the spool does not take something.

use std::io;

/// Why nothing was made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The spool has no such message (any more), or has it already.
    Unknown,
    /// The record is larger than a segment, or the envelope than [`META_MAX`](super::record::META_MAX).
    TooLarge,
    /// The disk is full: 452 4.3.1.
    Full,
    /// A limit of the spool is reached: 452 4.3.1.
    Watermark(Watermark),
    /// A write or a sync failed: 451 4.3.0.
    Failed(io::ErrorKind),
}

/// A limit of [`Limits`](super::watermarks::Limits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watermark {
    /// There are as many messages as there may be.
    Messages,
    /// They have as many octets as they may have together.
    Octets,
    /// The rest of the disk is to stay free.
    Free,
}

impl Refused {
    pub(super) fn of(why: &io::Error) -> Refused {
        match why.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Refused::Full,
            kind => Refused::Failed(kind),
        }
    }
}
