//! Who is it, and which addresses are theirs? AUTH on submission (RFC 4954): mechanisms, credential sources, and what
//! slows down those who guess.
//!
//! What it must not know: streams, sessions, backends' health. It is asked with an [`Attempt`] and says an
//! [`Outcome`].
//!
//! ```text
//! session ─ Exchange::respond ─▶ Check(credential) ─ Service::check ─┬─ known lately (cache)
//!                                                                    ├─ file: a thread of the pool
//!                                                                    └─ remote: a task on the control thread
//! ```
//!
//! Rejected: asking on the worker and awaiting there. A hash would stop all its sessions, and a socket of a worker's
//! engine would tie every source to `net`; a source is asked a few times a second and may take its time.

mod accounts;
mod attempt;
mod cache;
pub mod edit;
mod exchange;
mod identity;
pub mod remote;
mod service;
mod throttle;
mod verifier;

pub use accounts::{Accounts, Entry};
pub use attempt::{Account, Attempt, Credential, Mechanism, Outcome, Secret};
pub use exchange::{Exchange, Turn};
pub use identity::{owns, owns_from};
pub use service::{Reply, Service, Slowed, SourceId, Task};
pub use verifier::Verifier;
