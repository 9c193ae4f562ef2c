//! A backend's connection budget, exact over all workers.
//!
//! A [`Permit`] is one connection, open or being opened. Taking and dropping one is an atomic step, and a
//! worker whose pooled connection is at hand does not even come here. A lease that finds the budget spent goes to
//! the [`queue`](super::queue).

use super::{
    backend::Backend,
    queue::{Grant, Waiter},
};
use crate::smtp::Tick;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

/// A limit that a backend has shown grows again this often, by an eighth: it may have been for the moment.
const GROW_EVERY: Duration = Duration::from_secs(15);
/// No limit was shown.
const UNKNOWN: u32 = u32::MAX;

/// How many connections there may be, and how many there are.
#[derive(Debug)]
pub struct Budget {
    /// By the configuration.
    limit: AtomicU32,
    /// By what the backend has shown: it greeted one more with 421 while so many of ours were open.
    learned: AtomicU32,
    /// When that grows, in ticks.
    grow_at: AtomicU64,
    used: AtomicU32,
}

impl Budget {
    /// A budget of `limit` connections.
    #[must_use]
    pub fn new(limit: u32) -> Budget {
        Budget {
            limit: AtomicU32::new(limit),
            learned: AtomicU32::new(UNKNOWN),
            grow_at: AtomicU64::new(0),
            used: AtomicU32::new(0),
        }
    }

    /// Changes the limit (a reload). Connections above a lower one stay until they are done.
    pub fn set_limit(&self, limit: u32) {
        self.limit.store(limit, SeqCst);
    }

    /// The limit: the configured one, or the lower one that the backend has shown.
    #[must_use]
    pub fn limit(&self) -> u32 {
        let learned = self.learned.load(SeqCst);
        self.limit.load(SeqCst).min(learned)
    }

    /// The backend takes no more than so many. True where no limit of its own was known.
    pub fn learn(&self, limit: u32, now: Tick) -> bool {
        self.grow_at.store(now.after(GROW_EVERY).0, SeqCst);
        self.learned.fetch_min(limit.max(1), SeqCst) == UNKNOWN
    }

    /// It has just taken a connection, and so has so many.
    pub fn has_taken(&self, connections: u32) {
        // Where no limit was shown this changes nothing.
        if self.learned.load(SeqCst) < connections {
            self.learned.fetch_max(connections, SeqCst);
        }
    }

    /// Lets a limit that the backend has shown grow, where that is due; whether it grew. Of all workers that ask, one
    /// does it.
    pub fn grow(&self, now: Tick) -> bool {
        let learned = self.learned.load(SeqCst);
        let due = self.grow_at.load(SeqCst);
        if learned == UNKNOWN || now.0 < due {
            return false;
        }
        let next = now.after(GROW_EVERY).0;
        let claimed = self.grow_at.compare_exchange(due, next, SeqCst, SeqCst);
        if claimed.is_err() {
            return false;
        }
        let grown = learned + (learned / 8).max(1);
        let grown = match grown < self.limit.load(SeqCst) {
            true => grown,
            false => UNKNOWN,
        };
        // A lower one that was shown meanwhile stands.
        let grew = self
            .learned
            .compare_exchange(learned, grown, SeqCst, SeqCst);
        grew.is_ok()
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
    // INV-BUDGET
    pub fn try_take(backend: &Arc<Backend>) -> Option<Permit> {
        let free = !backend.has_waiters() && backend.budget.try_take();
        free.then(|| Permit {
            backend: Arc::clone(backend),
        })
    }

    /// Gives the backend's free places to the messages that wait for them.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_was_shown_holds_and_grows_back() {
        let (budget, start) = (Budget::new(64), Tick(1));
        assert!(budget.learn(50, start));
        assert!(!budget.learn(60, start), "a lower one is known");
        assert_eq!(budget.limit(), 50);
        assert!(!budget.grow(start));
        budget.has_taken(49);
        assert_eq!(budget.limit(), 50);
        let later = start.after(GROW_EVERY);
        assert!(
            budget.grow(later) && !budget.grow(later),
            "one worker does it"
        );
        assert_eq!(budget.limit(), 56);
        budget.learn(50, later);
        let mut now = later;
        for _ in 0..10 {
            now = now.after(GROW_EVERY);
            budget.grow(now);
        }
        assert_eq!(budget.limit(), 64);
        budget.learn(0, now);
        assert_eq!(budget.limit(), 1, "never none");
    }
}
