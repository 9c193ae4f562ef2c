//! The bare engine: a loop that owns its thread, its tasks and its ring.
//!
//! One turn of the loop runs the tasks that are ready, fires the timers that are due, and enters the kernel once: to
//! hand over what the tasks queued and to wait for what has happened. Nothing of tokio is on this thread.
//!
//! - [`wake`] and [`executor`]: tasks, and wakers that cost nothing.
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
mod transport;
mod wake;

pub(super) use acceptor::Acceptor;
pub(super) use buffers::Loan;
pub(super) use probe::{try_ring, try_rings};
pub(super) use transport::Transport;

use super::{
    clock::now,
    worker::{Caught, Worker},
};
use crate::smtp::tick::Tick;
use executor::Executor;
use gather::Gather;
use io_uring::{opcode, types::Fd};
use reactor::{Done, Operation, Reactor};
use std::{cell::Cell, future::Future, io, os::fd::AsRawFd, panic::resume_unwind, rc::Rc};

/// Tasks that run between two looks at the kernel, at most: some tens of microseconds of work.
const BATCH: usize = 256;

/// This engine's part of a worker.
pub(super) struct Ring {
    tasks: Rc<Executor>,
    io: Rc<Reactor>,
    /// See [`Ring::gather_events`].
    gathers: Cell<bool>,
}

impl Ring {
    /// Builds the ring, on the worker's own thread: no other may submit to it.
    ///
    /// # Errors
    /// The kernel refuses it descriptors or memory.
    pub(super) fn new() -> io::Result<Ring> {
        let tasks = Executor::new()?;
        let io = Reactor::new()?;
        Bell(Rc::clone(&tasks)).listen(&io);
        Ok(Ring {
            tasks,
            io,
            gathers: Cell::new(false),
        })
    }

    /// Lets sleeps wait for several events.
    pub(super) fn gather_events(&self) {
        self.gathers.set(true);
    }

    /// Starts a task on this thread.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.spawn(task);
    }
}

/// Runs a worker's thread.
pub(super) fn run<F>(worker: &Rc<Worker>, main: impl FnOnce() -> F) -> io::Result<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let ring = worker.ring();
    let _here = executor::enter(&ring.tasks);
    let _end = End(worker);
    let output = Rc::new(Cell::new(None));
    let (place, main) = (Rc::clone(&output), Caught(main()));
    ring.spawn(async move { place.set(Some(main.await)) });
    let mut gather = Gather::new(now());
    loop {
        ring.tasks.run(BATCH);
        match output.take() {
            None => {}
            Some(Ok(output)) => return Ok(output),
            Some(Err(panic)) => resume_unwind(panic),
        }
        let now = now();
        worker.timers.fire(now);
        if worker.deadlines.next_sweep() <= now {
            worker.deadlines.sweep(now);
        }
        let mut due = Tick::default();
        let mut wanted = 1;
        if ring.tasks.is_idle() {
            due = worker.timers.earliest().min(worker.deadlines.next_sweep());
            if ring.gathers.get() {
                wanted = gather.wanted();
            }
        }
        let events = ring.io.turn(now, due, wanted)?;
        gather.note(now, wanted, events, || ring.tasks.take_moved());
    }
}

/// Hears of wakes from other threads.
struct Bell(Rc<Executor>);

impl Bell {
    fn listen(self, io: &Reactor) {
        let bell = Fd(self.0.bell().as_raw_fd());
        // Each ring is told, though nobody resets the bell.
        let entry = opcode::PollAdd::new(bell, libc::POLLIN as u32).multi(true);
        io.submit(Rc::new(self), entry.build());
    }
}

impl Operation for Bell {
    fn complete(&self, io: &Reactor, done: Done) {
        if done.is_last() && !io.is_ending() {
            Bell(Rc::clone(&self.0)).listen(io);
        }
        self.0.take_messages();
    }
}

/// Ends the tasks and the operations, in this order, also where the loop is left by a panic.
struct End<'a>(&'a Rc<Worker>);

impl Drop for End<'_> {
    fn drop(&mut self) {
        drop(self.0.ending());
        let ring = self.0.ring();
        ring.tasks.end();
        ring.io.end();
    }
}
