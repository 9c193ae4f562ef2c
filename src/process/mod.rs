//! What the process may do: it starts with much and keeps little.
//!
//! In this order, by the supervisor and before any thread starts: ports are bound and sockets of a service manager
//! taken in (`net`), helpers that can still read keys are started ([`secrets`]), the user is changed ([`user`]), the
//! kernel is told to refuse the rest ([`confine`]). [`notify`] tells the service manager how it goes.
//!
//! ```text
//! this process (another user) ◀─ questions ─▶ reader (root)     reads what the configuration names as secret
//!       └────────────── a socket for each ─── keeper (root)     starts the reader, and starts it again
//! ```
//!
//! It must not know what the files hold or what the process is for. `docs/decisions/0012-privileges.md` says what was
//! weighed.

pub mod confine;
pub mod keeper;
pub mod notify;
pub mod reader;
pub mod secrets;
mod trusted;
pub mod user;

/// The command that both helpers are started with: the reader, or with [`KEEP`] the keeper.
pub const COMMAND: &str = "serve-files";
/// The flag that makes it the keeper.
pub const KEEP: &str = "--keep";
