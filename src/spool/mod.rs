//! The durable store for messages that wait: an append-only log, and an index of it in memory.
//!
//! ```text
//! handle ─ the spool as a worker uses it: nothing there waits for the disk
//!   ├ watermarks ─ whether another message is taken; `refused` says why not
//!   ├ committer ─ a thread: takes requests (`request`), answers them after one sync for all, and counts (`meter`)
//!   │   └ log ─ batch ─ record ─ payload, message ─ fields     what is appended, and its format (`plan`: what a batch does)
//!   │      ├ segment      files of a fixed size, used again under a new epoch
//!   │      ├ index        where each message lies, and what each segment is needed for
//!   │      ├ reclaim      segments that nothing needs become spares
//!   │      └ chores       what other threads do for it: spares made, index files written (`sealed`), files removed
//!   └ read, body ─ messages handed out; bodies that have a file of their own
//! recover ─ the start; `scan`: which segments count, what they say, what is set aside (`report`)
//! shared ─ what the log's one writer shares with all others
//! disk ─ one directory of files; `tests/simulator` is one that loses what was not synced
//! ```
//!
//! What it must not know: sessions, policy, engines, routes, schedules. A message is an envelope and octets.
//!
//! What holds, each with a test of its name in `tests/`: success is told after the sync that covers it; a segment that
//! failed takes no more; a tail is copied before it counts; damage is never delivered; an end is durable before its space
//! is used again; one owner; every released format can be opened.
//!
//! Rejected: an embedded database (`docs/decisions/0032-a-log-of-our-own.md`).

pub mod batch;
pub mod body;
pub mod chores;
pub mod committer;
pub mod disk;
pub mod fields;
pub mod handle;
pub mod index;
pub mod log;
pub mod message;
pub mod meter;
pub mod options;
pub mod payload;
pub mod plan;
pub mod read;
pub mod reclaim;
pub mod record;
pub mod recover;
pub mod refused;
pub mod report;
pub mod request;
mod scan;
pub mod sealed;
pub mod segment;
pub mod shared;
#[cfg(test)]
mod tests;
pub mod watermarks;
