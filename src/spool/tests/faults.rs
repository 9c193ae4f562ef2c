//! What fails on a simulated disk.

/// A sync that returns success and does nothing: a test must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Of segments.
    Segment,
    /// Of the directory.
    Directory,
    /// Of bodies' files.
    Body,
}

/// How often what fails: once in so many operations, zero for never.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Writes: EIO.
    pub write: u64,
    /// Syncs of files: EIO.
    pub sync: u64,
    /// Syncs of the directory: EIO.
    pub directory: u64,
    /// Everything that changes anything: EROFS.
    pub read_only: bool,
}
