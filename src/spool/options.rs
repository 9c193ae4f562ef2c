//! How a spool is kept, and what is counted.

use super::{
    disk::SECTOR,
    segment::{SEGMENT_MAX, SEGMENT_MIN},
    watermarks::Limits,
};

/// How a spool is kept.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Octets of a new segment: from [`SEGMENT_MIN`] to [`SEGMENT_MAX`].
    pub segment_octets: u32,
    /// How full it may get.
    pub limits: Limits,
    /// Read every record and body at the start, no index file.
    pub verify_bodies: bool,
    /// The copy of the tail at the start is left out, to see that a test notices.
    #[cfg(test)]
    pub sabotage_tail: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_octets: 64 << 20,
            limits: Limits::default(),
            verify_bodies: false,
            #[cfg(test)]
            sabotage_tail: false,
        }
    }
}

impl Options {
    pub(super) fn octets(&self) -> u32 {
        let octets = self.segment_octets.clamp(SEGMENT_MIN, SEGMENT_MAX);
        octets / SECTOR * SECTOR
    }

    /// How many octets at the end of a segment messages leave alone, where there is no other segment.
    pub(super) fn reserve(&self) -> u32 {
        self.octets() / 16
    }
}

/// What the log did, since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Batches that were made durable.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Octets written, with padding and headers but without the zeros of new files.
    pub octets: u64,
    /// Octets of new files filled with zeros.
    pub octets_filled: u64,
    /// New files that a batch had to wait for and to make itself, because no spare one was there.
    pub late_files: u64,
    /// Batches that failed.
    pub failed_batches: u64,
    /// Segments begun.
    pub segments: u64,
    /// Attempts to begin one that failed.
    pub failed_segments: u64,
    /// Segments whose space may be used again.
    pub retired: u64,
    /// Segments whose retirement is in doubt until the next start.
    pub failed_retirements: u64,
    /// Index files of sealed segments written.
    pub sealed: u64,
    /// Octets of these.
    pub octets_sealed: u64,
    /// Records copied out of segments that were nearly empty.
    pub copied: u64,
    /// Messages set aside since the start because a record or the body was damaged.
    pub set_aside: u64,
    /// Segments found damaged while their survivors were copied; those of the start are in its report.
    pub damaged_segments: u64,
}
