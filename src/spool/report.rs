//! What a start has found, and why there is none.

use super::refused::Refused;
use std::io;

/// How many places of damage a report names; all are counted.
pub const DAMAGE_MAX: usize = 1_000;

/// Octets that were written and can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// Where it begins.
    pub from: u32,
    /// Where it ends.
    pub to: u32,
}

/// What a start has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Messages in the spool.
    pub messages: u64,
    /// Segments read.
    pub segments: u64,
    /// Of these, read by their index files.
    pub sealed: u64,
    /// Records of the tail, which were copied.
    pub tail_records: u64,
    /// Octets of the tail that are no record and were dropped, with what an earlier use of the file left there.
    pub tail_dropped: u64,
    /// How many places are damaged.
    pub damaged: u64,
    /// The first [`DAMAGE_MAX`] of them.
    pub damage: Vec<Damage>,
    /// How many sectors could not be read.
    pub unreadable: u64,
    /// Messages set aside: their body is missing or damaged.
    pub set_aside: u64,
    /// Body files without a message: removed, unless there is damage.
    pub orphans: u64,
}

impl Report {
    pub(super) fn damage(&mut self, file: &str, from: u32, to: u32) {
        self.damaged += 1;
        if self.damage.len() < DAMAGE_MAX {
            let file = file.to_owned();
            self.damage.push(Damage { file, from, to });
        }
    }
}

/// Why a spool can't be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has it.
    Owned,
    /// A newer program wrote it.
    Newer,
    /// What the file system said.
    Io(io::Error),
    /// No segment could be begun.
    Refused(Refused),
}

impl From<io::Error> for OpenError {
    fn from(why: io::Error) -> OpenError {
        OpenError::Io(why)
    }
}
