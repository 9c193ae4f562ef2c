//! The backend for tests and load: takes mail, verifies it, counts it, and is as ill-behaved as it is told to be.
//!
//! ```text
//! command → handle → control, thread → connection → session → transfer → verify, save
//!                             └ shared: behaviour (plan), tallies, counters → summary
//! ```
//!
//! - [`behaviour`] is what it is told, in the language of [`spec`]; a plan is that made ready for use.
//! - A session is a pure machine that asks wherever the behaviour may have a say; a connection throws the dice,
//!   waits, and writes.
//! - [`tallies`] say what arrived of each run; [`summary`] says what happened.
//!
//! A message is in the tallies before its 250 is sent: what a client was told arrived is a part of what is in the
//! tallies, never more than it.
//!
//! It must be cheap, for it shares the machine with what is measured; and it must not know whom it serves.
//!
//! Rejected: Gatepost's own `smtp::server` (see `session`). Rejected: tallies for each worker, merged when asked: a
//! second copy that another worker took would be noticed too late to be counted.

pub mod behaviour;
mod command;
mod connection;
mod control;
pub mod counters;
mod handle;
pub mod login;
mod plan;
pub mod point;
mod save;
mod session;
mod shared;
pub mod spec;
pub mod summary;
pub mod tallies;
mod thread;
mod transfer;
pub mod verify;
mod worker;

pub use behaviour::{Behaviour, Changes};
pub use command::{Args, main};
pub use handle::{Handle, Options, start};
pub use summary::Summary;
