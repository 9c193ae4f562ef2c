//! Which account a client is, and which addresses that account owns: AUTH on submission (RFC 4954) with its mechanisms and
//! credential sources, and what slows down clients that guess passwords.
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
mod asker;
mod attempt;
mod cache;
pub mod edit;
mod exchange;
mod grant;
mod hashing;
mod identity;
mod levels;
mod names;
pub mod remote;
mod service;
mod slowed;
mod throttle;
mod verifier;

pub use accounts::{Accounts, Entry};
pub use attempt::{Account, Attempt, Credential, Mechanism, Outcome, Secret};
pub use exchange::{Exchange, Turn};
pub use grant::Grant;
pub use identity::{SenderRule, owns, owns_from};
pub use names::folded;
pub use service::{Reply, Service, SourceId, Task, faults};
pub use slowed::Slowed;
pub use verifier::Verifier;
