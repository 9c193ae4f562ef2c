//! What the streams, timers and tasks of one worker share.
//!
//! Everything in `net` that needs the worker finds it in a thread-local, so that sessions carry no handle around.
//! A stream keeps its own reference, so the path of a byte looks nothing up.

use super::{buffer::Pool, deadline::Deadlines, engine::Engine, ring::Ring, timers::Timers};
use crate::{smtp::tick::Tick, threads::Threads};
use std::{
    any::Any,
    cell::{Cell, OnceCell, RefCell},
    io,
    rc::Rc,
    sync::Arc,
    task::Waker,
};

thread_local! {
    static CURRENT: RefCell<Option<Rc<Worker>>> = const { RefCell::new(None) };
}

/// What the streams, timers and tasks of one worker share. Not to be seen outside `net`.
pub(super) struct Worker {
    pub(super) engine: Engine,
    pub(super) timers: Timers,
    pub(super) deadlines: Deadlines,
    pub(super) pool: Rc<Pool>,
    /// The threads that compute handshakes; without them the worker does it itself.
    pub(super) helpers: OnceCell<Arc<Threads>>,
    /// There where it is the engine.
    ring: Option<Ring>,
    /// When the alarm will ring next, and whom it wakes to set it anew.
    pub(super) armed: Cell<Tick>,
    pub(super) alarm: RefCell<Option<Waker>>,
    /// Memory that an operation in flight may still refer to while the runtime is torn down.
    grave: RefCell<Vec<Box<dyn Any>>>,
    ending: Cell<bool>,
}

impl Worker {
    pub(super) fn new(engine: Engine) -> io::Result<Rc<Worker>> {
        Ok(Rc::new(Worker {
            ring: match engine {
                Engine::Ring => Some(Ring::new()?),
                Engine::Epoll | Engine::Uring(_) => None,
            },
            engine,
            timers: Timers::default(),
            deadlines: Deadlines::default(),
            pool: Pool::new(),
            helpers: OnceCell::new(),
            armed: Cell::new(Tick::FAR),
            alarm: RefCell::default(),
            grave: RefCell::default(),
            ending: Cell::default(),
        }))
    }

    /// The worker of this thread.
    ///
    /// # Panics
    /// Outside [`super::run_worker`].
    pub(super) fn current() -> Rc<Worker> {
        CURRENT.with_borrow(|current| {
            current
                .clone()
                .expect("streams, timers and tasks live inside net::run_worker")
        })
    }

    /// The bare ring's part. For what belongs to that engine.
    pub(super) fn ring(&self) -> &Ring {
        self.ring.as_ref().expect("it is this worker's engine")
    }

    /// The same, where that engine may not run.
    pub(super) fn ring_if_any(&self) -> Option<&Ring> {
        self.ring.as_ref()
    }

    /// Makes sure that the alarm rings at `due` or before.
    pub(super) fn alarm(&self, due: Tick) {
        if due < self.armed.get()
            && let Some(waker) = self.alarm.take()
        {
            waker.wake();
        }
    }

    /// Is the runtime being torn down? Then nothing may be spawned or submitted.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.get()
    }

    /// Says, when it is dropped, that the runtime comes down next. To be made after the runtime, so that it also goes
    /// first where `main` panics.
    pub(super) fn ending(self: &Rc<Self>) -> Ending {
        Ending(Rc::clone(self))
    }

    /// Keeps `memory` until the runtime, and with it every operation, is gone.
    pub(super) fn bury(&self, memory: Box<dyn Any>) {
        self.grave.borrow_mut().push(memory);
    }

    /// Frees what was kept: the runtime is gone.
    pub(super) fn empty_grave(&self) {
        self.grave.take();
    }
}

/// See [`Worker::ending`].
pub(super) struct Ending(Rc<Worker>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.ending.set(true);
    }
}

/// Holds the thread-local for as long as the worker runs.
pub(super) struct Enter;

impl Enter {
    pub(super) fn new(worker: &Rc<Worker>) -> Enter {
        let before = CURRENT.replace(Some(Rc::clone(worker)));
        assert!(before.is_none(), "one worker a thread");
        Enter
    }
}

impl Drop for Enter {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}
