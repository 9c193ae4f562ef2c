//! The way to the backends: which of them, over which connection, and whether they are well.
//!
//! [`Backends`] is what all workers share: pools, backends, their budgets and health, routes, verified
//! recipients. [`Pools`] is one worker's idle connections. A [`Lease`] is a connection borrowed for one
//! transaction; it wraps the protocol machine (`smtp::backend_session`) and the stream, and knows how it must end.
//!
//! ```text
//! route ─ domain → pool
//! acquire ─┬─ pool, balance, health: which backend         (arithmetic)
//!          ├─ pools: an idle connection of this worker     (no lock, no wait)
//!          ├─ pooling/budget: a permit, exact over all workers ─ connect
//!          └─ pooling/queue: wait for one of the two
//! lease ─ open, body, next … give_back ─→ pools, or a lease that waits
//! tried ─ which backends one message has been to, and how many it may go to
//! probe ─ brings ejected backends back       verify ─ asks about recipients
//! ```
//!
//! What it must not know: policy, sessions, spooling, and what becomes of a message that fails. It says what happened,
//! in the backend's own words ([`BackendReply`]); whether another backend is tried, and what the client is told, is
//! decided in `delivery`.
//!
//! Rejected: one set of idle connections for all workers behind a lock. It would share warm connections
//! better, but puts that lock, and the wake-up of another core's ring, on the path of each message. Here
//! a connection changes its worker only when a lease of another worker waits for it.
//!
//! Rejected: a connection for each client connection, as a TCP proxy has. A hundred thousand slow clients
//! would then be a hundred thousand backend connections.

mod acquire;
mod announced;
mod answers;
mod audit;
mod backends;
pub mod balance;
mod build_error;
mod changes;
mod conn;
mod connect;
mod endurance;
mod error;
mod flights;
mod health;
mod ids;
mod in_step;
mod learned;
mod lease;
mod message_source;
mod names;
mod notes;
mod origin;
mod outlier;
mod patience;
mod pool;
mod pooling;
mod pools;
mod probe;
mod proxy_header;
mod question;
pub mod recipient_key;
mod refusals;
mod refused_pairs;
pub mod replies;
pub mod reply;
mod route;
mod security;
mod select;
mod sharing;
mod silence;
mod strain;
mod streaming;
#[cfg(test)]
mod tests;
mod tried;
mod turns;
mod verification;
mod verify;
pub mod verify_cache;

pub use acquire::Request;
pub use audit::Audit;
pub use backends::Backends;
pub use build_error::BuildError;
pub use changes::{Change, Changes};
pub use error::{Broken, LeaseError};
pub use health::{Health, Rules, Trouble};
pub use ids::{BackendId, PoolId};
pub use lease::Lease;
pub use message_source::MessageSource;
pub use names::{Named, Names, SERVICE, ServiceTarget, Unresolved, name_of};
pub use origin::Origin;
pub use outlier::Counts;
pub use pool::{Pool, Waits};
pub use pooling::{
    backend::{Backend, BackendView, ConnectionIdentity},
    budget::{Budget, Permit},
    streams::StreamPlace,
};
pub use pools::Pools;
pub use refusals::{Found, Lately, Sending};
pub use reply::BackendReply;
pub use route::{Route, RouteId, RouteTable};
pub use security::look as look_at_tls;
pub use select::Needs;
pub use tried::{TRIES_MAX, Tried};
pub use turns::{MessageKey, Turn, Turns};
pub use verification::Verification;
