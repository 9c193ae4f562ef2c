//! A backend with its budget of connections and the queue for them: the one true knot of this room.
//!
//! Four things name each other in a circle, and no tie can be cut without losing what it is for:
//!
//! ```text
//! Backend ─ has its ─→ Queue ─ holds ─→ Waiter ─ names ─→ Backend        (which of them it would take)
//!    ▲ has its Budget                     ▲ is given
//!    └────── is for ────── Permit ◄─ has ─ Grant (Permit or Handover)
//! ```
//!
//! - A waiter waits for several backends at once, so it names them; each backend counts its waiters, so that giving
//!   a connection back looks at an atomic and not at a lock.
//! - A [`Permit`](budget::Permit) that is dropped goes to the backend's next waiter, so it reaches the queue.
//! - What a waiter gets is a permit, or a connection that carries one.
//!
//! The rules that make this exact over all workers stand in `budget` (a waiter counts itself before it looks for room)
//! and in `Pools::take_back` (an idle connection is counted before the queue is looked at).
//!
//! Rejected: a queue that knows numbers instead of backends. Each grant would then look the backend up in the
//! configuration of the moment, under a lock, and a permit of a backend that a reload took away would find none.

pub mod backend;
pub mod budget;
pub mod handover;
pub mod queue;
pub mod shares;
pub mod streams;
