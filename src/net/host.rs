//! What an engine's tasks run on. tokio-uring is a ring inside a tokio runtime, so it shares tokio's tasks and its timer
//! with epoll; the bare ring has its own, and waits for the earliest timer by itself.

use super::{clock::now, engine::Engine, worker::Worker};
use crate::smtp::tick::Tick;
use std::{
    future::{Future, pending, poll_fn},
    panic::resume_unwind,
    pin::pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

/// In a tokio runtime: keeps the worker's time, and runs the future that `main` makes, as a task: what the runtime itself awaits is polled
/// at each turn of the loop, and each wake of it costs a turn.
pub(super) async fn run_main<F>(worker: &Rc<Worker>, main: impl FnOnce() -> F) -> F::Output
where
    F: Future + 'static,
    F::Output: 'static,
{
    spawn(keep_time(Rc::clone(worker)));
    match tokio::task::spawn_local(main()).await {
        Ok(output) => output,
        Err(error) => resume_unwind(error.into_panic()),
    }
}

/// Fires timers and sweeps deadlines, for ever, waiting with the engine's `sleep` for the earliest of them.
async fn keep_time(worker: Rc<Worker>) {
    loop {
        let now = now();
        worker.timers.fire(now);
        if worker.deadlines.next_sweep() <= now {
            worker.deadlines.sweep(now);
        }
        let due = worker.timers.earliest().min(worker.deadlines.next_sweep());
        worker.armed.set(due);
        let mut wait = pin!(sleep(due.since(now), due == Tick::FAR));
        let mut first = true;
        poll_fn(|cx| {
            if wait.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            // Woken before the time: there is an earlier one now.
            if !first && worker.alarm.borrow().is_none() {
                return Poll::Ready(());
            }
            first = false;
            worker.alarm.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
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
async fn sleep(wait: Duration, forever: bool) {
    if forever {
        pending::<()>().await;
    }
    tokio::time::sleep(wait).await;
}
