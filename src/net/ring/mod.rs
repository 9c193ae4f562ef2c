//! The bare engine: a loop that owns its thread, its tasks and its ring.
//!
//! One turn of the loop runs the tasks that are ready, fires the timers that are due, and enters the kernel once: to
//! hand over what the tasks queued and to wait for what has happened. Nothing of tokio is on this thread.
//!
//! - [`state`] and [`run`]: what a worker holds of it, and the loop.
//! - [`wake`] and [`executor`]: tasks, and wakers that cost nothing. The two name each other: an executor makes the wakers of
//!   its tasks, and a waker is a number that finds its executor again.
//! - [`reactor`]: operations, from their submission to their last completion.
//! - [`gather`]: for how many of them a sleep waits.
//! - [`buffers`]: the memory that the kernel receives into, lent to sessions.
//! - [`transport`], [`acceptor`]: a stream and a listener on top of them.
//!
//! What pays (see docs/decisions/0010-the-bare-ring.md): a receive that stays armed, so that bytes come without being
//! asked for; completions that are made on this thread when it asks for them (`DEFER_TASKRUN`); descriptors that are
//! closed by the same entry into the kernel. Sends are plain calls, as on every engine.

mod acceptor;
mod buffers;
mod executor;
mod gather;
mod probe;
mod reactor;
mod run;
mod state;
mod transport;
mod wake;

pub(super) use acceptor::Acceptor;
pub(super) use buffers::Loan;
pub(super) use probe::{try_ring, try_rings};
pub(super) use run::run;
pub(super) use state::Ring;
pub(super) use transport::Transport;
