//! A moment that other tasks of the same worker wait for ([`Latch`]).
//!
//! Single-threaded and independent of the engine: plain wakers in plain cells. The future may be dropped at any time, so
//! it may be given a limit with [`super::timeout_at`].

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

/// Something that happens once, for any number of tasks that wait for it: the end of a run.
#[derive(Clone, Default)]
pub struct Latch(Rc<State>);

#[derive(Default)]
struct State {
    set: Cell<bool>,
    /// One for each task that waits, until the event: a task that is polled twice is here once.
    waiting: RefCell<Vec<Waker>>,
}

impl Latch {
    /// One that has not happened.
    #[must_use]
    pub fn new() -> Latch {
        Latch::default()
    }

    /// It happens: the tasks that wait go on, and those that come later do not wait.
    pub fn set(&self) {
        self.0.set.set(true);
        // Taken out first: a waker may run its task, which may look at this event.
        for waker in self.0.waiting.take() {
            waker.wake();
        }
    }

    /// Waits until it happens.
    pub async fn wait(&self) {
        poll_fn(|cx| {
            if self.0.set.get() {
                return Poll::Ready(());
            }
            let mut waiting = self.0.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

impl fmt::Debug for Latch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Latch({})", self.0.set.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        pin::{Pin, pin},
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        task::{Context, Wake},
    };

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll<F: Future>(future: Pin<&mut F>, count: &Arc<Count>) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(count));
        future.poll(&mut Context::from_waker(&waker))
    }

    #[test]
    fn an_event_wakes_each_waiting_task_once_and_later_tasks_do_not_wait() {
        let (one, other, event) = (Arc::default(), Arc::default(), Latch::new());
        let mut first = pin!(event.wait());
        let mut second = pin!(event.wait());
        assert!(poll(first.as_mut(), &one).is_pending());
        assert!(poll(first.as_mut(), &one).is_pending());
        assert!(poll(second.as_mut(), &other).is_pending());
        event.clone().set();
        assert_eq!(one.0.load(Ordering::Relaxed), 1);
        assert_eq!(other.0.load(Ordering::Relaxed), 1);
        assert!(poll(first, &one).is_ready());
        assert!(poll(second, &other).is_ready());
        assert!(poll(pin!(event.wait()), &one).is_ready());
    }
}
