//! Questions that wait for an answer from elsewhere: the DNS. They are asked on a thread of their own ([`Thread`]); a worker never
//! waits for one, only a session does.
//!
//! - [`Dns`]: what the checks of a policy ask. Equal questions share one flight, answers fill one bounded cache of the whole
//!   process, and an answer comes back to the worker that asked through one mailbox.
//! - [`Dns::addresses`], [`Dns::service`]: where a host is, which hosts serve, and how long that holds, for the backends' names.
//! - [`Desk`]: that mailbox's end on a worker. A session has a [`Docket`] from the desk, with the questions of its checks and
//!   the answers that are there.
//! - [`Recorded`]: answers from a file, for a trial.
//!
//! An answer from the cache never leaves the worker. A question that can't be asked (too many are on their way, the servers
//! are known to be broken) is answered at once with why: nothing queues.
//!
//! It must not know what a check is, nor what an answer means.
//!
//! Rejected:
//! - *A resolver in each worker*: each would have a cache of its own, and the engines' timers and sockets would have to serve
//!   a library that is written for tokio.
//! - *The library's own cache*: it tells neither whether an answer came from it nor how old it is, so it can't be refreshed
//!   ahead, and its answers would be awaited on another thread all the same.
//! - *Cancelling what nothing waits for any more*: the answer is asked for again soon, and then it is there.

mod addresses;
mod breaker;
mod cache;
mod desk;
mod dns;
mod flights;
mod recorded;
mod records;
mod shares;
mod size;
mod system;
#[cfg(test)]
mod tests;
mod thread;
mod transport;
mod validation;
mod waiter;

pub use addresses::{
    ADDRESSES_MAX, Answer as HostAnswer, Family, Service, TTL_MAX, TTL_MIN, Target,
};
pub use desk::{Desk, Docket};
pub use dns::{Asked, Dns};
pub use recorded::Recorded;
pub use thread::Thread;
