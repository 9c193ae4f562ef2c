//! Sends mail: open loop or closed loop.
//!
//! ```text
//! settings (flags, scenario) → plan → execute ─ worker (a thread) ─ session ─ dial, send ─ link ─ net, smtp::backend_session
//!                              shape, payload     arrivals, alarm     dispatcher      record, outcomes → gather → result
//! ```
//!
//! - In an open loop each message has its intended moment ([`arrivals`]), whatever the target does; its latency counts
//!   from there. A message that finds no session free waits, and the wait counts.
//! - Nothing is made when a message's turn comes but its envelope and its first line ([`payload`]); nothing is allocated
//!   for it, and no task is started.
//! - Each wait has a deadline, so each run has an end.

mod after;
mod alarm;
pub mod arrivals;
mod auth;
mod command;
mod dial;
mod dispatcher;
mod envelope;
mod execute;
mod gather;
mod knee;
mod link;
mod machine;
mod mailbox;
mod outcomes;
mod payload;
pub mod plan;
mod record;
pub mod scenario;
mod secure;
mod send;
mod session;
pub mod settings;
pub mod shape;
mod text;
pub mod value;
mod worker;

pub use after::reconciled;
pub use command::{Args, main};
pub use execute::{Error, Hooks, execute};
pub use plan::Plan;
pub use settings::Settings;
