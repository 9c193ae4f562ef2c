//! What both of today's engines stand on: tokio's tasks and its timer. tokio-uring is a ring inside a tokio runtime, so
//! they are the same for both; a loop that owns its ring will bring its own.

use super::worker::Worker;
use std::{
    future::{Future, pending},
    panic::resume_unwind,
    rc::Rc,
    time::Duration,
};

/// Keeps the worker's time, and runs the future that `main` makes, as a task: what the runtime itself awaits is polled
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
    drop(tokio::task::spawn_local(task));
}

/// Waits for `wait`, or for ever.
pub(super) async fn sleep(wait: Duration, forever: bool) {
    if forever {
        pending::<()>().await;
    }
    tokio::time::sleep(wait).await;
}
