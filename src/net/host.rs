//! What an engine's tasks run on. tokio-uring is a ring inside a tokio runtime, so it shares tokio's tasks and its timer
//! with epoll; the bare ring has its own, and waits for the earliest timer by itself.

use super::{engine::Engine, worker::Worker};
use std::{
    future::{Future, pending},
    panic::resume_unwind,
    rc::Rc,
    time::Duration,
};

/// In a tokio runtime: keeps the worker's time, and runs the future that `main` makes, as a task: what the runtime itself awaits is polled
/// at each turn of the loop, and each wake of it costs a turn.
pub(super) async fn run_main<F>(worker: &Rc<Worker>, main: impl FnOnce() -> F) -> F::Output
where
    F: Future + 'static,
    F::Output: 'static,
{
    spawn(Rc::clone(worker).keep_time());
    match tokio::task::spawn_local(main()).await {
        Ok(output) => output,
        Err(error) => resume_unwind(error.into_panic()),
    }
}

/// Starts a task on this thread.
pub(super) fn spawn(task: impl Future<Output = ()> + 'static) {
    let worker = Worker::current();
    match worker.engine {
        Engine::Ring => worker.ring().spawn(task),
        // tokio moves a task about, at its begin and at its end. What is moved is a pointer then.
        Engine::Epoll | Engine::Uring(_) => drop(tokio::task::spawn_local(Box::pin(task))),
    }
}

/// In a tokio runtime: waits for `wait`, or for ever.
pub(super) async fn sleep(wait: Duration, forever: bool) {
    if forever {
        pending::<()>().await;
    }
    tokio::time::sleep(wait).await;
}
