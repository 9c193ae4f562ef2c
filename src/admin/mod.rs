//! The HTTP endpoint for people and machines that run Gatepost: metrics, health, reload, drain.
//!
//! It lives on the control thread, on that thread's tokio, and has no password: it binds to the loopback by
//! default, refuses what a browser was tricked into sending, and holds few connections, small requests and
//! short waits.
//!
//! It must not know what a worker or a backend is. It asks a [`Source`], which whoever starts it provides;
//! a worker that does not answer within a second is reported as stalled and the rest is shown.
//!
//! Rejected: serving HTTP from the workers (a scrape would sit between two messages); shared histograms
//! guarded by a lock (the scrape would stop the worker).

pub mod collector;
pub mod histograms;
pub mod routes;
pub mod server;
pub mod source;

pub use collector::Collector;
pub use histograms::Histograms;
pub use server::{bind, exposure, serve};
pub use source::{Answer, BackendStatus, PoolStatus, Source, Status};

#[cfg(test)]
mod tests;
