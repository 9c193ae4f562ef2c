//! The way to the backends: which of them, over which connection, and whether they are well.
//!
//! [`Backends`] is what all workers share: pools, backends, their budgets and health, routes, verified
//! recipients. [`Pools`] is one worker's idle connections. A [`Lease`] is a connection borrowed for one
//! transaction; it wraps the protocol machine (`smtp::client`) and the stream, and knows how it must end.
//!
//! ```text
//! route ─ domain → pool
//! lend ─┬─ pool, balance, health: which backend        (arithmetic)
//!       ├─ pools: an idle connection of this worker     (no lock, no wait)
//!       ├─ budget: a permit, exact over all workers ─ connect
//!       └─ queue: wait for one of the two
//! lease ─ open, body, next … give_back ─→ pools, or who waits
//! probe ─ brings ejected backends back       verify ─ asks about recipients
//! ```
//!
//! What it must not know: policy, sessions, spooling. It says what happened; what the client is told, and
//! whether a message is tried again, is the proxy's to decide.
//!
//! Rejected: one set of idle connections for all workers behind a lock. It would share warm connections
//! better, but puts that lock, and the wake-up of another core's ring, on the path of each message. Here
//! a connection changes its worker only when somebody waits for it.
//!
//! Rejected: a connection for each client connection, as a TCP proxy has. A hundred thousand slow clients
//! would then be a hundred thousand backend connections.

mod backend;
mod backends;
pub mod balance;
mod budget;
mod caller;
mod changes;
mod conn;
mod connect;
mod health;
mod lease;
mod lend;
mod pool;
mod pools;
mod probe;
mod proxy_header;
mod queue;
pub mod replies;
mod route;
mod security;
#[cfg(test)]
mod tests;
mod verify;
pub mod verify_cache;

pub use backend::{Backend, BackendId, BackendView, Identity};
pub use backends::{Backends, BuildError, PoolId};
pub use budget::{Budget, Permit};
pub use caller::Caller;
pub use changes::{Change, Changes};
pub use health::{Health, Rules, Trouble};
pub use lease::{Broken, Lease, LeaseError};
pub use lend::{TRIES_MAX, Wish};
pub use pool::{Pool, Waits};
pub use pools::Pools;
pub use route::{Route, RouteId, RouteTable};
pub use security::faults as tls_faults;
pub use verify::Verification;
