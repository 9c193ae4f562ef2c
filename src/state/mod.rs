//! What is remembered over a restart: tables of notes about hashed keys, and the file that they are kept in.
//!
//! [`Notes`] is a table in bounded memory that all workers share without a lock. [`Snapshot`] is what several tables hold at
//! one moment, as octets and back; [`Store`] is the file. Keys are hashed under a [`Secret`] that lies in the file too, so that a
//! key has the same hash after a restart and strangers can't foresee it.
//!
//! *Must not know* what is noted, and of whom.
//!
//! Rejected: an embedded database (SQLite, LMDB, sled). It would keep the last minute as well, at the price of a write for each
//! message; counts that are a minute old are as good as any, and what must not be lost is mail.

mod notes;
mod secret;
mod snapshot;
mod store;

pub use notes::{Full, Note, Notes};
pub use secret::Secret;
pub use snapshot::{Moment, Section, Snapshot};
pub use store::{Loaded, Store};
