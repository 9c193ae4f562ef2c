//! Waiting for a moment: `sleep`, `sleep_until`, and a limit on how long something that is not I/O may take.

use super::{clock::now, worker::Worker};
use crate::smtp::tick::Tick;
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

/// A sleep; ready when its moment has come. Dropping it frees its timer.
pub struct Sleep {
    due: Tick,
    timer: Option<(Rc<Worker>, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if now() >= self.due {
            return Poll::Ready(());
        }
        let due = self.due;
        if due == Tick::FAR {
            return Poll::Pending;
        }
        let (worker, id) = self.timer.get_or_insert_with(|| {
            let worker = Worker::current();
            let id = worker.timers.number();
            (worker, id)
        });
        worker.timers.wait(due, *id, cx.waker());
        worker.alarm(due);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some((worker, id)) = &self.timer {
            worker.timers.forget(self.due, *id);
        }
    }
}

/// Waits for `wait`, up to some 2 ms longer.
///
/// # Panics
/// Where it is polled outside a worker.
pub fn sleep(wait: Duration) -> Sleep {
    sleep_until(now().after(wait))
}

/// Waits for the moment `due`, up to some 2 ms longer; [`Tick::FAR`] never comes.
///
/// # Panics
/// Where it is polled outside a worker.
pub fn sleep_until(due: Tick) -> Sleep {
    Sleep { due, timer: None }
}

/// What `future` yields, or `None` once `due` has come, with the future dropped.
///
/// Not for I/O: give the stream a deadline instead (`Stream::set_deadline`). For permits, events, mailboxes.
pub async fn timeout_at<F: Future>(due: Tick, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut sleep = pin!(sleep_until(due));
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        sleep.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// Lets every other task that is ready run first.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
