//! The thread of a worker: pinned, with its engine's runtime, its timers and its deadlines.
//!
//! Everything in `net` that needs the worker finds it in a thread-local, so that sessions carry no handle around.
//! A stream keeps its own reference, so the path of a byte looks nothing up.

use super::{
    affinity,
    buffer::Pool,
    clock::now,
    deadline::Deadlines,
    engine::{Engine, is_memory, patiently},
    epoll, host,
    ring::{self, Ring},
    timer::Timers,
    uring,
};
use crate::{smtp::tick::Tick, threads::Threads};
use std::{
    any::Any,
    cell::{Cell, OnceCell, RefCell},
    future::{Future, poll_fn},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
};

thread_local! {
    static CURRENT: RefCell<Option<Rc<Worker>>> = const { RefCell::new(None) };
}

static LOST: OnceLock<&'static str> = OnceLock::new();
static PANICS: AtomicU64 = AtomicU64::new(0);

/// What the streams, timers and tasks of one worker share. Not to be seen outside `net`.
pub(super) struct Worker {
    pub(super) engine: Engine,
    pub(super) timers: Timers,
    pub(super) deadlines: Deadlines,
    pub(super) pool: Rc<Pool>,
    /// Who computes handshakes; where there is nobody, the worker itself.
    pub(super) helpers: OnceCell<Arc<Threads>>,
    /// There where it is the engine.
    ring: Option<Ring>,
    /// When the alarm will ring next, and whom it wakes to set it anew.
    armed: Cell<Tick>,
    alarm: RefCell<Option<Waker>>,
    /// Memory that an operation in flight may still refer to while the runtime is torn down.
    grave: RefCell<Vec<Box<dyn Any>>>,
    ending: Cell<bool>,
}

impl Worker {
    fn new(engine: Engine) -> io::Result<Rc<Worker>> {
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
    /// Outside [`run_worker`].
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

    /// Fires timers and sweeps deadlines, for ever, waiting with the engine's `sleep` for the earliest of them.
    pub(super) async fn keep_time(self: Rc<Self>) {
        loop {
            let now = now();
            self.timers.fire(now);
            if self.deadlines.next_sweep() <= now {
                self.deadlines.sweep(now);
            }
            let due = self.timers.earliest().min(self.deadlines.next_sweep());
            self.armed.set(due);
            let mut wait = pin!(host::sleep(due.since(now), due == Tick::FAR));
            let mut first = true;
            poll_fn(|cx| {
                if wait.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                // Woken before the time: somebody has an earlier one.
                if !first && self.alarm.borrow().is_none() {
                    return Poll::Ready(());
                }
                first = false;
                self.alarm.replace(Some(cx.waker().clone()));
                Poll::Pending
            })
            .await;
        }
    }
}

/// See [`Worker::ending`].
pub(super) struct Ending(Rc<Worker>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.ending.set(true);
    }
}

/// Runs a worker on this thread until the future that `main` makes is done: pins the thread to `core`, builds the
/// engine's runtime, and keeps timers and deadlines. Tasks still running at that time are dropped.
///
/// # Errors
/// The core is not ours, or the kernel refuses the engine's descriptors or memory; `main` has not been called then.
pub fn run_worker<F>(
    engine: Engine,
    core: Option<usize>,
    main: impl FnOnce() -> F,
) -> io::Result<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    if let Some(core) = core {
        affinity::pin(core)?;
    }
    let worker = patiently(|| Worker::new(engine), is_memory)?;
    let _current = Enter::new(&worker);
    let output = match engine {
        Engine::Epoll => epoll::run(&worker, main),
        Engine::Uring(setup) => uring::run(&worker, setup, main),
        Engine::Ring => ring::run(&worker, main),
    };
    // The runtime is gone, and with it every operation that might touch this.
    worker.grave.take();
    output
}

/// Holds the thread-local for as long as the worker runs.
struct Enter;

impl Enter {
    fn new(worker: &Rc<Worker>) -> Enter {
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

/// Lets these threads compute the handshakes of this worker, so that its other sessions don't wait for them. Once.
///
/// # Panics
/// Outside [`run_worker`].
pub fn offload(helpers: Arc<Threads>) {
    // A second time changes nothing.
    let _ = Worker::current().helpers.set(helpers);
}

/// Lets this worker's sleeps wait for several events where they come thick, on the engine that can (`io = "ring"`):
/// less CPU for each, for up to some 100 µs of latency, and rarely a tick of the kernel. For what serves many; who measures
/// latencies must hear of each event at once, which is the default.
///
/// # Panics
/// Outside [`run_worker`].
pub fn gather_events() {
    if let Some(ring) = &Worker::current().ring {
        ring.gather_events();
    }
}

/// Starts a task on this worker. A panic ends that task alone; it is counted in [`panics`].
///
/// # Panics
/// Outside [`run_worker`].
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    host::spawn(Counted(Caught(task)));
}

/// Starts a task that the worker can't do without. A panic in it is counted like any other, and [`lost_task`] tells the
/// supervisor, which ends the process: a worker that no longer accepts looks well from outside.
///
/// # Panics
/// Outside [`run_worker`].
pub fn spawn_vital(name: &'static str, task: impl Future<Output = ()> + 'static) {
    host::spawn(async move {
        if Caught(task).await.is_err() {
            count_panic();
            // The first one is told.
            let _ = LOST.set(name);
        }
    });
}

/// The first of the tasks of [`spawn_vital`] that panicked.
#[must_use]
pub fn lost_task() -> Option<&'static str> {
    LOST.get().copied()
}

/// Ends the reads of this worker's streams in which the peer has nothing under way ([`Stream::set_idle_deadline`]) at `by`,
/// where they don't end before: they fail with `TimedOut`, and a last reply may be sent.
///
/// [`Stream::set_idle_deadline`]: super::Stream::set_idle_deadline
///
/// # Panics
/// Outside [`run_worker`].
pub fn end_idle_waits(by: Tick) {
    let worker = Worker::current();
    worker.deadlines.end_idle(by);
    worker.alarm(worker.deadlines.next_sweep());
}

/// A future that ends where the one in it panics. Not an async block: that would hold the future twice, once as what it
/// captured and once as what it awaits, and sessions are large.
// INV-PANIC
pub(super) struct Caught<F>(pub(super) F);

impl<F: Future> Future for Caught<F> {
    type Output = thread::Result<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: the field is pinned where we are: it is never moved out, and there is no drop of ours to move it.
        let future = unsafe { self.map_unchecked_mut(|caught| &mut caught.0) };
        // It is not polled again after a panic, and what it shared with others is cells and counters that each step
        // leaves whole.
        match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

/// A task whose panic is counted.
struct Counted<F>(Caught<F>);

impl<F: Future<Output = ()>> Future for Counted<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: as in `Caught`.
        let task = unsafe { self.map_unchecked_mut(|counted| &mut counted.0) };
        task.poll(cx).map(|result| {
            if result.is_err() {
                count_panic();
            }
        })
    }
}

pub(super) fn count_panic() {
    PANICS.fetch_add(1, Ordering::Relaxed);
}

/// How many tasks of this process have ended in a panic: a bug each. The panic hook has logged where.
#[must_use]
pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}
