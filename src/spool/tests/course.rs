//! What a run of the oracle is given, and what it gives.

use super::simulator::Sabotage;

/// What a run is to have.
#[derive(Debug, Clone, Copy, Default)]
pub struct Course {
    pub seed: u64,
    /// Errors of the disk beside crashes.
    pub faults: bool,
    /// Bits that go wrong.
    pub rot: bool,
    pub sabotage: Option<Sabotage>,
    pub sabotage_tail: bool,
}

/// What a run came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    pub accepted: u64,
    pub refused: u64,
    pub done: u64,
    pub crashes: u64,
    pub starts: u64,
    pub rotted: u64,
    pub set_aside: u64,
    pub retired: u64,
    pub copied: u64,
    /// Index files read.
    pub sealed: u64,
    /// Messages that a start showed and whose acceptance was not told.
    pub surplus: u64,
}
