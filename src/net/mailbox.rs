//! Messages from any thread to a task of a worker: a bounded queue and a waker.
//!
//! For what is rare: reloads, answers of the resolver, idle connections handed over, requests for a snapshot. The queue
//! itself takes no lock; the lock around the waker is touched only when the receiver sleeps.

use crossbeam::{queue::ArrayQueue, utils::CachePadded};
use std::{
    fmt,
    future::poll_fn,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering, fence},
    },
    task::{Context, Poll, Waker},
};

struct Shared<T> {
    queue: ArrayQueue<T>,
    /// Does the receiver sleep, with its waker below?
    asleep: CachePadded<AtomicBool>,
    waker: Mutex<Option<Waker>>,
    senders: AtomicUsize,
    receiver_gone: AtomicBool,
}

impl<T> Shared<T> {
    fn wake(&self) {
        // The push (or the change of a counter) must be seen by a receiver whose sleep we don't see.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            let waker = self
                .waker
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// A mailbox for `capacity` messages.
///
/// # Panics
/// Where `capacity` is zero.
#[must_use]
pub fn mailbox<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        queue: ArrayQueue::new(capacity),
        asleep: CachePadded::default(),
        waker: Mutex::default(),
        senders: AtomicUsize::new(1),
        receiver_gone: AtomicBool::new(false),
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

/// Why a message was not taken; here it is back.
#[derive(Debug, PartialEq, Eq)]
pub enum SendError<T> {
    /// The mailbox holds as many as it may.
    Full(T),
    /// The receiver is gone.
    Closed(T),
}

/// Puts messages in, from any thread.
pub struct Sender<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    /// Puts a message in and wakes the receiver. Never waits.
    ///
    /// # Errors
    /// The mailbox is full, or its receiver gone.
    pub fn try_send(&self, message: T) -> Result<(), SendError<T>> {
        if self.0.receiver_gone.load(Ordering::Acquire) {
            return Err(SendError::Closed(message));
        }
        self.0.queue.push(message).map_err(SendError::Full)?;
        self.0.wake();
        Ok(())
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.0.receiver_gone.load(Ordering::Acquire)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.0.senders.fetch_add(1, Ordering::Relaxed);
        Sender(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.wake();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender({} waiting)", self.0.queue.len())
    }
}

/// Takes messages out, in the order in which they were put in.
pub struct Receiver<T>(Arc<Shared<T>>);

impl<T> Receiver<T> {
    /// The next message; `None` when every sender is gone and the mailbox is empty. May be dropped and called again.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next message, if there is one.
    #[cfg(test)]
    fn try_recv(&mut self) -> Option<T> {
        self.0.queue.pop()
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let shared = &self.0;
        if let Some(message) = shared.queue.pop() {
            return Poll::Ready(Some(message));
        }
        shared
            .waker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(cx.waker().clone());
        shared.asleep.store(true, Ordering::Relaxed);
        // A sender that did not see us asleep pushed before this: then the queue shows it.
        fence(Ordering::SeqCst);
        let alone = shared.senders.load(Ordering::Acquire) == 0;
        match shared.queue.pop() {
            Some(message) => Poll::Ready(Some(message)),
            None if alone => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.receiver_gone.store(true, Ordering::Release);
        // What is still in the queue goes now, not when the last sender goes.
        while self.0.queue.pop().is_some() {}
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receiver({} waiting)", self.0.queue.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_is_bounded_and_keeps_the_order() {
        let (sender, mut receiver) = mailbox(2);
        assert_eq!(sender.try_send(1), Ok(()));
        assert_eq!(sender.clone().try_send(2), Ok(()));
        assert_eq!(sender.try_send(3), Err(SendError::Full(3)));
        assert_eq!(receiver.try_recv(), Some(1));
        assert_eq!(sender.try_send(4), Ok(()));
        assert_eq!(receiver.try_recv(), Some(2));
        assert_eq!(receiver.try_recv(), Some(4));
        assert_eq!(receiver.try_recv(), None);
    }

    #[test]
    fn what_nobody_will_read_is_dropped_at_once() {
        let (sender, receiver) = mailbox(2);
        let message = Arc::new(());
        assert_eq!(sender.try_send(Arc::clone(&message)), Ok(()));
        drop(receiver);
        assert_eq!(Arc::strong_count(&message), 1);
        assert!(matches!(
            sender.try_send(message),
            Err(SendError::Closed(_))
        ));
    }
}
