//! This engine's part of a worker: its tasks, its operations, and the wakes that come from other threads.

use super::{
    executor::Executor,
    reactor::{Done, Operation, Reactor},
};
use io_uring::{opcode, types::Fd};
use std::{cell::Cell, future::Future, io, os::fd::AsRawFd, rc::Rc};

/// This engine's part of a worker.
pub(in crate::net) struct Ring {
    pub(super) tasks: Rc<Executor>,
    pub(super) io: Rc<Reactor>,
    /// See [`Ring::gather_events`].
    pub(super) gathers: Cell<bool>,
}

impl Ring {
    /// Builds the ring, on the worker's own thread: no other may submit to it.
    ///
    /// # Errors
    /// The kernel refuses it descriptors or memory.
    pub(in crate::net) fn new() -> io::Result<Ring> {
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
    pub(in crate::net) fn gather_events(&self) {
        self.gathers.set(true);
    }

    /// Starts a task on this thread.
    pub(in crate::net) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.spawn(task);
    }
}

/// Hears of wakes from other threads.
struct Bell(Rc<Executor>);

impl Bell {
    fn listen(self, io: &Reactor) {
        let bell = Fd(self.0.bell().as_raw_fd());
        // Each ring is told, though the bell is never reset.
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
