//! The leases that wait for a connection of a pool whose budgets are spent, first come first served over all workers.
//!
//! Three things bring a waiter its [`Grant`]: a permit that is dropped, a connection that is given back (on
//! any worker), and an idle connection that another worker parts with once its [`WorkerWaker`] was called. A change
//! of a backend's health or of the configuration tells every waiter to choose again.
//!
//! The queue has a lock; it is taken only to wait, and to give something to a waiter. Rejected: a channel for each
//! worker that carries the grants. It is bounded, so a grant could be lost in a full one, and a lost permit
//! is lost for good.

use super::{super::ids::BackendId, backend::Backend, budget::Permit, handover::Handover};
use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

/// Waiters of one pool at most; the next one is told at once that the pool is busy.
// INV-LIMIT
pub const WAITERS_MAX: usize = 16 * 1024;

/// What a waiter gets.
#[derive(Debug)]
pub enum Grant {
    /// The right to open a connection.
    Permit(Permit),
    /// An open connection that another transaction has done with.
    Handover(Box<Handover>),
    /// Nothing yet, but the choice of backends has changed: look again.
    Again,
}

#[derive(Debug, Default)]
struct Slot {
    grant: Option<Grant>,
    gone: bool,
    waker: Option<Waker>,
}

/// A place in the queue.
#[derive(Debug)]
pub struct Waiter {
    wants: Vec<Arc<Backend>>,
    slot: Mutex<Slot>,
}

/// A panic elsewhere does not make these few words of state wrong.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Waiter {
    fn new(wants: Vec<Arc<Backend>>) -> Arc<Waiter> {
        Arc::new(Waiter {
            wants,
            slot: Mutex::default(),
        })
    }

    /// Gives it something. What it gets is handed back where it has gone, or has something already.
    pub fn grant(&self, grant: Grant) -> Result<(), Grant> {
        let waker = {
            let mut slot = lock(&self.slot);
            if slot.gone || slot.grant.is_some() {
                return Err(grant);
            }
            slot.grant = Some(grant);
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    fn wants(&self, id: BackendId) -> bool {
        self.wants.iter().any(|backend| backend.id == id)
    }

    fn count(&self, step: impl Fn(&Backend)) {
        self.wants.iter().for_each(|backend| step(backend));
    }
}

/// The queue of one pool.
#[derive(Debug, Default)]
pub struct Queue {
    waiters: Mutex<VecDeque<Arc<Waiter>>>,
}

impl Queue {
    /// Takes a place for whichever of `wants` is free first; `None` where the queue is full.
    #[must_use]
    pub fn join(self: &Arc<Queue>, wants: Vec<Arc<Backend>>) -> Option<Wait> {
        let waiter = Waiter::new(wants);
        let mut waiters = lock(&self.waiters);
        if waiters.len() >= WAITERS_MAX {
            return None;
        }
        waiter.count(Backend::waiter_came);
        waiters.push_back(Arc::clone(&waiter));
        drop(waiters);
        Some(Wait {
            queue: Arc::clone(self),
            waiter,
        })
    }

    /// Takes the first place for a backend: for the probe that decides whether messages should wait for it at all. There is
    /// one a backend at most, so it is not counted against the limit.
    #[must_use]
    pub fn join_first(self: &Arc<Queue>, wants: Arc<Backend>) -> Wait {
        let waiter = Waiter::new(vec![wants]);
        let mut waiters = lock(&self.waiters);
        waiter.count(Backend::waiter_came);
        waiters.push_front(Arc::clone(&waiter));
        drop(waiters);
        Wait {
            queue: Arc::clone(self),
            waiter,
        }
    }

    /// The one that has waited longest for this backend; it leaves the queue.
    pub fn next_for(&self, backend: &Backend) -> Option<Arc<Waiter>> {
        let mut waiters = lock(&self.waiters);
        let at = waiters.iter().position(|w| w.wants(backend.id))?;
        let waiter = waiters.remove(at)?;
        waiter.count(Backend::waiter_went);
        Some(waiter)
    }

    /// Tells every waiter to choose again.
    pub fn retry_all(&self) {
        let all: Vec<_> = {
            let mut waiters = lock(&self.waiters);
            let all = waiters.drain(..).collect::<Vec<_>>();
            all.iter().for_each(|w| w.count(Backend::waiter_went));
            all
        };
        for waiter in all {
            drop(waiter.grant(Grant::Again));
        }
    }

    fn leave(&self, waiter: &Arc<Waiter>) {
        let mut waiters = lock(&self.waiters);
        if let Some(at) = waiters.iter().position(|w| Arc::ptr_eq(w, waiter)) {
            waiters.remove(at);
            waiter.count(Backend::waiter_went);
        }
    }
}

/// The future of a grant. Dropping it leaves the queue; a grant that came too late goes to the next one.
#[derive(Debug)]
pub struct Wait {
    queue: Arc<Queue>,
    waiter: Arc<Waiter>,
}

impl Wait {
    /// Whether a worker holds an idle connection that would do.
    #[must_use]
    pub fn has_idle(&self) -> bool {
        self.waiter.wants.iter().any(|backend| backend.idle() > 0)
    }

    /// Takes what room there is: it may have been made just before this one could be seen to wait.
    pub fn look_again(&self) {
        for backend in &self.waiter.wants {
            Permit::offer(backend);
        }
    }
}

impl Future for Wait {
    type Output = Grant;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Grant> {
        let mut slot = lock(&self.waiter.slot);
        match slot.grant.take() {
            Some(grant) => {
                slot.gone = true;
                Poll::Ready(grant)
            }
            None => {
                slot.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.queue.leave(&self.waiter);
        let late = {
            let mut slot = lock(&self.waiter.slot);
            slot.gone = true;
            slot.grant.take()
        };
        // Outside the lock: a handover or a permit that is dropped looks for the next waiter.
        if let Some(Grant::Handover(handover)) = late {
            handover.pass_on();
        }
    }
}

/// Wakes a worker from any thread, to look through its idle connections: a waiter of another worker could use one.
#[derive(Debug, Default)]
pub struct WorkerWaker {
    woken: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl WorkerWaker {
    /// Wakes it; many calls before it looks are one.
    pub fn wake(&self) {
        if !self.woken.swap(true, SeqCst)
            && let Some(waker) = lock(&self.waker).take()
        {
            waker.wake();
        }
    }

    /// Waits for the next call.
    pub async fn woken(&self) {
        std::future::poll_fn(|cx| {
            *lock(&self.waker) = Some(cx.waker().clone());
            if self.woken.swap(false, SeqCst) {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }
}

/// The wakers of all workers.
#[derive(Debug, Default)]
pub struct WorkerWakers {
    wakers: Mutex<Vec<Arc<WorkerWaker>>>,
}

impl WorkerWakers {
    /// A waker for another worker. Those of workers that have gone are dropped on the way.
    pub fn add(&self) -> Arc<WorkerWaker> {
        let waker = Arc::<WorkerWaker>::default();
        let mut wakers = lock(&self.wakers);
        wakers.retain(|waker| Arc::strong_count(waker) > 1);
        wakers.push(Arc::clone(&waker));
        waker
    }

    /// Wakes all of them.
    pub fn wake_all(&self) {
        lock(&self.wakers).iter().for_each(|waker| waker.wake());
    }
}
