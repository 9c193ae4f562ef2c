//! Waiting for other tasks of the same worker: a result ([`oneshot`]), a moment ([`Event`]), a turn ([`Queue`]).
//!
//! Single-threaded and independent of the engine: plain wakers in plain cells. Every future here may be dropped at any
//! time, so all of it may be given a limit with [`super::timeout_at`].

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

struct Slot<T> {
    value: Option<T>,
    waker: Option<Waker>,
    sender_gone: bool,
    receiver_gone: bool,
}

/// A place for one result: made by one task, awaited by another.
#[must_use]
pub fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let slot = Rc::new(RefCell::new(Slot {
        value: None,
        waker: None,
        sender_gone: false,
        receiver_gone: false,
    }));
    (Sender(Rc::clone(&slot)), Receiver(slot))
}

/// Gives the result.
pub struct Sender<T>(Rc<RefCell<Slot<T>>>);

impl<T> Sender<T> {
    /// Gives the result and wakes who waits for it.
    ///
    /// # Errors
    /// Nobody does any more; here it is back.
    pub fn send(self, value: T) -> Result<(), T> {
        let mut slot = self.0.borrow_mut();
        if slot.receiver_gone {
            return Err(value);
        }
        slot.value = Some(value);
        Ok(())
        // The drop of `self` wakes the receiver.
    }

    /// Has the receiver given up?
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.borrow().receiver_gone
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut slot = self.0.borrow_mut();
        slot.sender_gone = true;
        let waker = slot.waker.take();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

/// Awaits the result: `None` where the sender was dropped without one.
pub struct Receiver<T>(Rc<RefCell<Slot<T>>>);

impl<T> Receiver<T> {
    /// The result, if it is there. For the way out of a `timeout_at`: it may have come in the last moment.
    pub fn try_take(&mut self) -> Option<T> {
        self.0.borrow_mut().value.take()
    }
}

impl<T> Future for Receiver<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut slot = self.0.borrow_mut();
        if let Some(value) = slot.value.take() {
            return Poll::Ready(Some(value));
        }
        if slot.sender_gone {
            return Poll::Ready(None);
        }
        slot.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.borrow_mut().receiver_gone = true;
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}

/// Something that happens once, for any number of waiters: a drain, the end of a probe.
#[derive(Clone, Default)]
pub struct Event(Rc<EventState>);

#[derive(Default)]
struct EventState {
    set: Cell<bool>,
    waiting: Queue,
}

impl Event {
    /// One that has not happened.
    #[must_use]
    pub fn new() -> Event {
        Event::default()
    }

    /// It happens: everybody who waits goes on, and everybody who comes later does not wait.
    pub fn set(&self) {
        self.0.set.set(true);
        self.0.waiting.wake_all();
    }

    /// Has it happened?
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.set.get()
    }

    /// Waits until it happens.
    pub async fn wait(&self) {
        while !self.is_set() {
            self.0.waiting.wait().await;
        }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Event({})", self.is_set())
    }
}

/// Tasks that wait for their turn, first come, first served. What the turn is for, the caller counts.
///
/// A turn given to a waiter that is dropped before it runs goes to the next one: none is lost.
#[derive(Default)]
pub struct Queue {
    waiting: RefCell<VecDeque<Rc<Turn>>>,
}

struct Turn {
    state: Cell<TurnState>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TurnState {
    Waiting,
    Given,
    Taken,
}

impl Queue {
    /// An empty one.
    #[must_use]
    pub fn new() -> Queue {
        Queue::default()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// Does nobody wait?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// Gets in line, at once, and waits for the turn.
    pub fn wait(&self) -> Wait<'_> {
        let turn = Rc::new(Turn {
            state: Cell::new(TurnState::Waiting),
            waker: RefCell::default(),
        });
        self.waiting.borrow_mut().push_back(Rc::clone(&turn));
        Wait { queue: self, turn }
    }

    /// Gives the first in line its turn; false where nobody waits.
    pub fn wake_one(&self) -> bool {
        let Some(turn) = self.waiting.borrow_mut().pop_front() else {
            return false;
        };
        turn.state.set(TurnState::Given);
        if let Some(waker) = turn.waker.take() {
            waker.wake();
        }
        true
    }

    /// Gives everybody in line a turn.
    pub fn wake_all(&self) {
        while self.wake_one() {}
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Queue({} waiting)", self.len())
    }
}

/// A place in a [`Queue`].
pub struct Wait<'a> {
    queue: &'a Queue,
    turn: Rc<Turn>,
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.turn.state.get() == TurnState::Waiting {
            self.turn.waker.replace(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        self.turn.state.set(TurnState::Taken);
        Poll::Ready(())
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        match self.turn.state.get() {
            TurnState::Taken => {}
            TurnState::Given => {
                self.queue.wake_one();
            }
            TurnState::Waiting => self
                .queue
                .waiting
                .borrow_mut()
                .retain(|turn| !Rc::ptr_eq(turn, &self.turn)),
        }
    }
}

impl fmt::Debug for Wait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wait")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::{
        pin::pin,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        task::Wake,
    };

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll<F: Future + Unpin>(future: &mut F, count: &Arc<Count>) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(count));
        Pin::new(future).poll(&mut Context::from_waker(&waker))
    }

    #[test]
    fn a_oneshot_delivers_once_and_tells_either_side_that_the_other_is_gone() {
        let count = Arc::default();
        let (sender, mut receiver) = oneshot();
        assert!(poll(&mut receiver, &count).is_pending());
        sender.send(7).unwrap();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(&mut receiver, &count), Poll::Ready(Some(7)));

        let (sender, mut receiver) = oneshot::<u8>();
        assert!(poll(&mut receiver, &count).is_pending());
        drop(sender);
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
        assert_eq!(poll(&mut receiver, &count), Poll::Ready(None));

        let (sender, receiver) = oneshot();
        assert!(!sender.is_closed());
        drop(receiver);
        assert!(sender.is_closed());
        assert_eq!(sender.send(7), Err(7));

        let (sender, mut receiver) = oneshot();
        sender.send(8).unwrap();
        assert_eq!(receiver.try_take(), Some(8), "came in the last moment");
    }

    #[test]
    fn an_event_frees_who_waits_and_who_comes_later() {
        let (count, event) = (Arc::default(), Event::new());
        let mut first = pin!(event.wait());
        let mut second = pin!(event.wait());
        assert!(poll(&mut first, &count).is_pending());
        assert!(poll(&mut second, &count).is_pending());
        event.clone().set();
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
        assert!(poll(&mut first, &count).is_ready());
        assert!(poll(&mut second, &count).is_ready());
        assert!(poll(&mut pin!(event.wait()), &count).is_ready());
    }

    #[test]
    fn a_queue_serves_in_order_and_loses_no_turn() {
        let (count, queue) = (Arc::default(), Queue::new());
        assert!(
            !queue.wake_one(),
            "nobody waits, and nothing is kept for later"
        );
        let (mut a, b, mut c) = (queue.wait(), queue.wait(), queue.wait());
        assert!(poll(&mut a, &count).is_pending());
        assert!(poll(&mut c, &count).is_pending());
        assert_eq!(queue.len(), 3);
        assert!(queue.wake_one());
        assert!(poll(&mut a, &count).is_ready());
        assert!(
            queue.wake_one(),
            "to b, which has gone by the time it would run"
        );
        drop(b);
        assert!(poll(&mut c, &count).is_ready(), "so it is c's");
        let d = queue.wait();
        drop(d);
        assert!(queue.is_empty());
        drop((a, c));
        assert!(!queue.wake_one());
    }
}
