//! The HTTP endpoint for people and machines that run Gatepost: metrics, health, reload, drain.
//!
//! It lives on the control thread, on that thread's tokio. It listens on the loopback by default, answers only under names
//! of its own, refuses what a page of another site had a browser send ([`rules`]), asks for a token where one is set, lets no
//! other user of this machine change anything where none is, and holds few connections, small requests and short waits. A
//! second socket may show what is measured to others ([`Door::Public`]): what changes state doesn't exist there.
//!
//! It must not know what a worker or a backend is. It asks a [`AdminSource`], which the supervisor provides; a worker that does
//! not answer within a second is reported as stalled and the rest is shown.
//!
//! Rejected: serving HTTP from the workers (a scrape would sit between two messages); shared histograms
//! guarded by a lock (the scrape would stop the worker).

pub mod collector;
pub mod explanations;
pub mod histograms;
mod pages;
pub mod routes;
pub mod rules;
pub mod server;
pub mod source;
mod users;

pub use collector::Collector;
pub use histograms::Histograms;
pub use routes::Door;
pub use rules::Rules;
pub use server::{Place, exposure, places, serve};
pub use source::{AdminSource, Answer, BackendStatus, Judgements, PoolStatus, Status, Wanted};

#[cfg(test)]
mod explanation_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod user_tests;
