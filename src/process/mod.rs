//! What the process may do: it starts with much and keeps little.
//!
//! In this order, by the supervisor and before any thread starts: ports are bound and sockets of a service manager
//! taken in (`net`), a helper that can still read keys is started ([`secrets`]), the user is changed ([`user`]), the
//! kernel is told to refuse the rest ([`confine`]). [`notify`] tells the service manager how it goes.
//!
//! It must not know what the files hold or what the process is for. `docs/decisions/0012-privileges.md` says what was
//! weighed.

pub mod confine;
pub mod notify;
pub mod secrets;
pub mod user;
