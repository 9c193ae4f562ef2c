//! Tasks that panic: each ends alone, and is counted.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
    thread,
};

static PANICS: AtomicU64 = AtomicU64::new(0);

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
pub(super) struct Counted<F>(pub(super) Caught<F>);

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
