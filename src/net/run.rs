//! A worker from its begin to its end, and its tasks.

use super::{
    affinity,
    engine::{Engine, is_memory, patiently},
    epoll, host,
    panics::{Caught, Counted, count_panic},
    ring, uring,
    worker::{Enter, Worker},
};
use crate::{smtp::tick::Tick, threads::Threads};
use std::{
    future::Future,
    io,
    sync::{Arc, OnceLock},
};

static LOST: OnceLock<&'static str> = OnceLock::new();

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
    worker.empty_grave();
    output
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
    if let Some(ring) = Worker::current().ring_if_any() {
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

/// Ends the reads of this worker's streams at `by`, where they don't end before, whether the peer has something under way
/// ([`Stream::set_busy_deadline`]) or nothing ([`Stream::set_idle_deadline`]).
///
/// [`Stream::set_busy_deadline`]: super::Stream::set_busy_deadline
/// [`Stream::set_idle_deadline`]: super::Stream::set_idle_deadline
///
/// # Panics
/// Outside [`run_worker`].
pub fn hasten_waits(by: Tick) {
    let worker = Worker::current();
    worker.deadlines.hasten(by);
    worker.alarm(worker.deadlines.next_sweep());
}

/// Ends all reads of this worker's streams at `by`, and those that begin later: the process ends. They fail with `TimedOut`,
/// and a last reply may be sent.
///
/// # Panics
/// Outside [`run_worker`].
pub fn end_waits(by: Tick) {
    let worker = Worker::current();
    worker.deadlines.end_all(by);
    worker.alarm(worker.deadlines.next_sweep());
}

/// Whether [`end_waits`] was called on this worker: nothing new is to be begun.
///
/// # Panics
/// Outside [`run_worker`].
#[must_use]
pub fn waits_are_over() -> bool {
    Worker::current().deadlines.are_over()
}
