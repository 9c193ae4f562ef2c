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
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

/// So long after a backend has shown a limit one more is tried: it may have been for the moment, because the backend still
/// counted connections that had ended, or was busy with others.
const GROW_AFTER: Duration = Duration::from_millis(250);
/// The time doubles with each try that meets the limit again, up to this.
const GROW_AFTER_MAX: Duration = Duration::from_secs(60);
/// No limit was shown.
const UNKNOWN: u32 = u32::MAX;

/// How many connections there may be, and how many there are.
#[derive(Debug)]
pub struct Budget {
    /// By the configuration.
    limit: AtomicU32,
    /// By what the backend has shown: it greeted one more with 421 while so many of ours were open.
    learned: AtomicU32,
    /// So many it has taken since. What is above is a try.
    proven: AtomicU32,
    /// When the learned one grows, in ticks.
    grow_at: AtomicU64,
    /// How long it stays as it is, in milliseconds; 0: it was tried with success, or not at all.
    pause: AtomicU32,
    /// It has grown since the backend showed it.
    has_grown: AtomicBool,
    used: AtomicU32,
}

impl Budget {
    /// A budget of `limit` connections.
    #[must_use]
    pub fn new(limit: u32) -> Budget {
        Budget {
            limit: AtomicU32::new(limit),
            learned: AtomicU32::new(UNKNOWN),
            proven: AtomicU32::new(0),
            grow_at: AtomicU64::new(0),
            pause: AtomicU32::new(0),
            has_grown: AtomicBool::new(false),
            used: AtomicU32::new(0),
        }
    }

    /// Changes the limit (a reload). Connections above a lower one stay until they are done.
    pub fn set_limit(&self, limit: u32) {
        self.limit.store(limit, SeqCst);
    }

    /// The limit of the configuration.
    #[must_use]
    pub fn configured(&self) -> u32 {
        self.limit.load(SeqCst)
    }

    /// The limit: the configured one, or the lower one that the backend has shown.
    #[must_use]
    pub fn limit(&self) -> u32 {
        let learned = self.learned.load(SeqCst);
        self.limit.load(SeqCst).min(learned)
    }

    /// The backend takes no more than so many. True where no limit of its own was known. Several connections that it
    /// refuses at the same time show the limit once.
    pub fn learn(&self, limit: u32, now: Tick) -> bool {
        let limit = limit.max(1);
        let mut pause = self.pause.load(SeqCst);
        if self.has_grown.swap(false, SeqCst) || pause == 0 {
            let (least, most) = (GROW_AFTER.as_millis(), GROW_AFTER_MAX.as_millis());
            pause = pause.saturating_mul(2).clamp(least as u32, most as u32);
            self.pause.store(pause, SeqCst);
        }
        let until = now.after(Duration::from_millis(pause.into()));
        self.grow_at.store(until.0, SeqCst);
        let before = self.learned.fetch_min(limit, SeqCst);
        self.proven.store(limit.min(before), SeqCst);
        before == UNKNOWN
    }

    /// It has just taken a connection, and so has so many. More than it had shown to take: then it may take some more.
    pub fn has_taken(&self, connections: u32) {
        let learned = self.learned.load(SeqCst);
        if learned == UNKNOWN || self.proven.fetch_max(connections, SeqCst) >= connections {
            return;
        }
        self.pause.store(0, SeqCst);
        self.raise(learned, learned.max(more_than(connections)));
    }

    /// Lets a limit that the backend has shown grow, where that is due; whether it grew. Of all workers that ask, one
    /// does it.
    pub fn grow(&self, now: Tick) -> bool {
        let learned = self.learned.load(SeqCst);
        let due = self.grow_at.load(SeqCst);
        if learned == UNKNOWN || now.0 < due {
            return false;
        }
        let pause = self.pause.load(SeqCst).max(GROW_AFTER.as_millis() as u32);
        let next = now.after(Duration::from_millis(pause.into())).0;
        let claimed = self.grow_at.compare_exchange(due, next, SeqCst, SeqCst);
        claimed.is_ok() && self.raise(learned, more_than(learned))
    }

    /// A lower one that was shown meanwhile stands.
    fn raise(&self, from: u32, to: u32) -> bool {
        let to = match to < self.limit.load(SeqCst) {
            true => to,
            false => UNKNOWN,
        };
        self.has_grown.store(true, SeqCst);
        let raised = self.learned.compare_exchange(from, to, SeqCst, SeqCst);
        raised.is_ok()
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

/// The next limit: an eighth more, and at least one.
fn more_than(connections: u32) -> u32 {
    connections + (connections / 8).max(1)
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
        budget.has_taken(50);
        assert_eq!(budget.limit(), 50);
        let later = start.after(GROW_AFTER);
        assert!(
            budget.grow(later) && !budget.grow(later),
            "one worker does it"
        );
        assert_eq!(budget.limit(), 56);
        let mut now = later;
        for _ in 0..10 {
            now = now.after(GROW_AFTER);
            budget.grow(now);
        }
        assert_eq!(budget.limit(), 64);
        budget.learn(0, now);
        assert_eq!(budget.limit(), 1, "never none");
    }

    #[test]
    fn a_limit_that_is_met_again_is_tried_less_often() {
        let (budget, mut now) = (Budget::new(64), Tick(1));
        budget.learn(20, now);
        let mut waits = vec![];
        for _ in 0..10 {
            let since = now;
            while !budget.grow(now) {
                now = now.after(GROW_AFTER);
            }
            waits.push(now.since(since).as_millis() as u64 / 250);
            // Two that were opened at the same time, and both are refused.
            budget.learn(20, now);
            budget.learn(20, now);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 240, 240]);
        assert_eq!(budget.limit(), 20);
    }

    #[test]
    fn a_limit_that_was_for_the_moment_is_soon_forgotten() {
        let (budget, mut now) = (Budget::new(64), Tick(1));
        budget.learn(1, now);
        now = now.after(GROW_AFTER);
        assert!(budget.grow(now));
        // Each one that is taken above what was shown makes room for the next at once.
        for taken in 2..64 {
            assert!(budget.limit() >= taken, "{taken}");
            budget.has_taken(taken);
        }
        assert_eq!(budget.limit(), 64);
        budget.learn(30, now);
        assert!(budget.grow(now.after(GROW_AFTER)), "the pause starts anew");
    }
}
