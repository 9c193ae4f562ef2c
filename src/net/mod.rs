//! The sockets: the only room that knows tokio, tokio-uring and the kernel.
//!
//! A worker is one thread with an engine ([`run_worker`]); on it live [`Listener`]s, [`Stream`]s, [`sleep`]s and tasks
//! ([`spawn`]), none of which can leave the thread. Threads talk through [`mailbox`]es. Three engines stand behind the
//! same types: a bare io_uring loop, io_uring through tokio-uring (with operations of our own), and epoll (tokio);
//! [`probe()`] finds out which this kernel allows.
//!
//! What it must not know: SMTP. It moves bytes and looks at none.
//!
//! The rules that the rest relies on:
//! - A read is never lost: `recv` goes on where a dropped `recv` left off. Deadlines shut the socket down.
//! - One read and at most one write in flight for each stream.
//! - A send is tried at once, without waiting, and waits only for what the peer doesn't take.
//! - A session whose input is always ready waits all the same after its budget of octets, and other tasks and events
//!   come first then.
//! - A waiting session owns no buffer, and what waits unread for a session has a limit.
//! - A descriptor is closed when the last operation on it is over, and the peer sees that at once.
//!
//! Which file imports which: an engine (`epoll`, `uring`, `ring/`) knows the `worker` that it runs on and each `socket` whose
//! bytes it moves; `stream` and `listener` put the engines behind one type; `run` starts them. No two files import each
//! other in a circle, except `ring/executor` and `ring/wake`: `ring/mod.rs` says why.
//!
//! Rejected: a trait for engines with generic sessions over it. It would make every session two types and name the
//! engine everywhere, to save a branch that is always predicted.

#![allow(unsafe_code)]

mod affinity;
mod budget;
mod buffer;
mod clock;
mod compute;
mod connect;
pub mod deadline;
mod engine;
mod epoll;
mod host;
mod inherit;
mod listener;
pub mod mailbox;
mod panics;
mod probe;
mod ring;
mod run;
mod secure;
mod socket;
mod stream;
pub mod sync;
mod sys;
mod timer;
mod timers;
mod tls;
mod uring;
mod worker;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use affinity::{allowed_cores, pin};
pub use buffer::{CHUNK_MAX, Chunk};
pub use clock::{calendar, calendar_from, calendar_is_set, now};
pub use compute::compute;
pub use engine::{Engine, Setup};
pub use inherit::{drop_capabilities, ignore_signals, inherited};
pub use listener::{BindOptions, Bound, Listener, Stopper};
pub use panics::panics;
pub use probe::{Choice, probe};
pub use run::{
    end_idle_waits, end_waits, gather_events, hasten_waits, lost_task, offload, run_worker, spawn,
    spawn_vital, waits_are_over,
};
pub use stream::{Ender, Stream};
pub use timer::{Sleep, sleep, sleep_until, timeout_at, yield_now};
