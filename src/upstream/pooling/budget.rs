//! A backend's connection budget, exact over all workers.
//!
//! A [`Permit`] is one connection, open or being opened. Taking and dropping one is an atomic step, and a
//! worker whose pooled connection is at hand does not even come here. A lease that finds the budget spent goes to
//! the [`queue`](super::queue).

use super::{
    backend::Backend,
    queue::{Grant, Waiter},
};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

/// How many connections there may be, and how many there are.
#[derive(Debug)]
pub struct Budget {
    limit: AtomicU32,
    used: AtomicU32,
}

impl Budget {
    /// A budget of `limit` connections.
    #[must_use]
    pub fn new(limit: u32) -> Budget {
        Budget {
            limit: AtomicU32::new(limit),
            used: AtomicU32::new(0),
        }
    }

    /// Changes the limit (a reload). Connections above a lower one stay until they are done.
    pub fn set_limit(&self, limit: u32) {
        self.limit.store(limit, SeqCst);
    }

    /// The limit.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit.load(SeqCst)
    }

    /// Connections that are open or being opened.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.used.load(SeqCst)
    }

    /// Whether another connection is allowed at this moment.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.used() < self.limit()
    }

    fn try_take(&self) -> bool {
        let limit = self.limit();
        self.used
            .fetch_update(SeqCst, SeqCst, |used| (used < limit).then_some(used + 1))
            .is_ok()
    }

    fn put_back(&self) {
        self.used.fetch_sub(1, SeqCst);
    }
}

/// The right to one connection to a backend. Dropping it gives it to the lease that has waited longest.
pub struct Permit {
    backend: Arc<Backend>,
}

impl Permit {
    /// Takes a permit where the budget has room and no lease waits for it already.
    #[must_use]
    pub fn try_take(backend: &Arc<Backend>) -> Option<Permit> {
        let free = !backend.has_waiters() && backend.budget.try_take();
        free.then(|| Permit {
            backend: Arc::clone(backend),
        })
    }

    /// Gives what room the backend has to those who wait for it.
    ///
    /// A waiter counts itself before it looks for room, and room is made before waiters are looked for:
    /// one of the two sees the other, because all of it is sequentially consistent.
    pub(in crate::upstream) fn offer(backend: &Arc<Backend>) {
        while backend.has_waiters() && backend.budget.try_take() {
            match backend.queue.next_for(backend) {
                Some(waiter) => Permit::hand_to(backend, &waiter),
                // It has gone, or another gave it something. A waiter that comes meanwhile is seen by the loop.
                None => backend.budget.put_back(),
            }
        }
    }

    fn hand_to(backend: &Arc<Backend>, waiter: &Waiter) {
        let permit = Permit {
            backend: Arc::clone(backend),
        };
        // A waiter that has gone gives it back, and dropping it asks for the next one.
        drop(waiter.grant(Grant::Permit(permit)));
    }

    /// The backend that it is for.
    #[must_use]
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.backend.budget.put_back();
        Permit::offer(&self.backend);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.backend.id).finish()
    }
}
