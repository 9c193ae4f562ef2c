//! A message handed to a pool of backends, and what came of it.
//!
//! It takes a [`Message`] (envelope, pieces of the body, what is known of it, the client it comes from) and the
//! worker's [`Pools`](crate::upstream::Pools), and returns one [`Outcome`]. The proxy calls it at the end of a body; a
//! queue that sends later calls it with what it has stored.
//!
//! ```text
//! deliver ─ attempts: which backend next ─┬─ Pools::acquire: a lease
//! open    ─ (the same, for a stream)      ├─ transfer: the envelope, the body, the replies
//!                                         └─ another backend, or the outcome
//! replies ─ what a backend said → a reply of ours (the only conversion), and an outcome → the reply to the client
//! ```
//!
//! What it must not know: sessions, policy, the log, where a body lies, and its callers. It neither remembers
//! refusals nor decides on a bounce.
//!
//! The rules that it holds: a message is never sent again once the end of its data went out and no reply came
//! (INV-ONCE); before that, and after a reply that says no for now and for the backend's own reasons, another backend is
//! tried, four at most for a message in all. Where a recipient is refused that the client was told is accepted, the
//! message is broken off before its end and no recipient gets it.
//!
//! Rejected: a try that returns `Option<Reply>`, as it once was. `None` meant *accepted* in one place and *try again* in
//! another, and each caller interpreted it anew.

mod attempts;
mod measure;
mod outcome;
pub mod replies;
#[cfg(test)]
mod tests;
mod transfer;

pub use attempts::{deliver, open};
pub use outcome::{Ending, Outcome, Step, Times};
pub use transfer::{Message, PIECE, Room, Streaming};
