//! When to order. Pure: the time is passed in, in seconds since 1970.
//!
//! Two things bound the orders: a wait that doubles with each failure, and a budget an hour. Both are remembered in the
//! store, so that a process that is started again and again orders no oftener than one that runs on.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Orders in any hour at most. Let's Encrypt takes five failed validations a name and hour.
pub const ORDERS_PER_HOUR: usize = 4;
const HOUR: u64 = 3600;
/// The wait after the first order that failed, and the longest. It doubles in between.
const REFUSED: (u64, u64) = (15 * 60, 12 * HOUR);
/// The same when the authority could not be reached: nothing was ordered, so nothing counts there.
const UNREACHED: (u64, u64) = (60, HOUR);
/// Failures after which the wait is the longest in any case.
const DOUBLINGS_MAX: u32 = 16;

/// What became of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// The authority said no, or what it gave was of no use.
    Refused,
    /// It can't be reached, or nothing could be stored here: no order was made.
    Unreached,
}

/// What is remembered of tries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When the last orders were made; [`ORDERS_PER_HOUR`] at most, oldest first.
    orders: Vec<u64>,
    /// Tries that failed since the last that didn't.
    failures: u32,
    /// The last failure.
    failed: Option<(u64, Fault)>,
}

/// From when to when a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First second.
    pub from: u64,
    /// Last second.
    pub until: u64,
}

impl Validity {
    /// When it wants to be replaced: `before` its end, or at two thirds of its life if that is later, so that a short
    /// life is no reason to order without end.
    #[must_use]
    pub fn due(self, before: Duration) -> u64 {
        let third = self.until.saturating_sub(self.from) / 3;
        self.until.saturating_sub(before.as_secs().min(third))
    }

    /// Is it good at this time?
    #[must_use]
    pub fn holds(self, now: u64) -> bool {
        (self.from..=self.until).contains(&now)
    }
}

impl History {
    /// When to order what is due at `due`.
    #[must_use]
    pub fn next(&self, due: u64, now: u64) -> u64 {
        // A clock that was set back must not keep us waiting for the time that was.
        let rested = self.failed.map_or(0, |(at, _)| at.min(now) + self.wait());
        // INV-ORDERS
        let full = self.orders.len() >= ORDERS_PER_HOUR;
        let allowed = match self.orders.first() {
            Some(oldest) if full => (*oldest).min(now) + HOUR,
            _ => 0,
        };
        due.max(rested).max(allowed)
    }

    /// Seconds to wait after the last failure.
    #[must_use]
    pub fn wait(&self) -> u64 {
        let (first, longest) = match self.failed {
            None => return 0,
            Some((_, Fault::Refused)) => REFUSED,
            Some((_, Fault::Unreached)) => UNREACHED,
        };
        let doublings = self.failures.saturating_sub(1).min(DOUBLINGS_MAX);
        (first << doublings).min(longest)
    }

    /// An order is about to be made.
    pub fn ordered(&mut self, now: u64) {
        self.orders.push(now);
        let surplus = self.orders.len().saturating_sub(ORDERS_PER_HOUR);
        self.orders.drain(..surplus);
    }

    /// It failed.
    pub fn failed(&mut self, now: u64, fault: Fault) {
        // One kind of failure says nothing of the other's chances.
        let same = self.failed.is_none_or(|(_, before)| before == fault);
        self.failures = if same {
            self.failures.saturating_add(1)
        } else {
            1
        };
        self.failed = Some((now, fault));
    }

    /// The authority asks for patience (`rateLimited`): as after many failures.
    pub fn slow_down(&mut self) {
        self.failures = self.failures.max(4);
    }

    /// It went well, or an operator changed something: failures are forgotten, orders are not.
    pub fn forget_failures(&mut self) {
        self.failures = 0;
        self.failed = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;
    const DAY: u64 = 24 * HOUR;

    #[test]
    fn a_certificate_is_due_before_its_end() {
        let life = |days: u64| Validity {
            from: NOW,
            until: NOW + days * DAY,
        };
        let month = Duration::from_secs(30 * DAY);
        assert_eq!(life(90).due(month), NOW + 60 * DAY);
        assert_eq!(life(365).due(month), NOW + 335 * DAY);
        // A life of six days would be due as soon as it begins.
        assert_eq!(life(6).due(month), NOW + 4 * DAY);
        assert!(life(6).holds(NOW) && life(6).holds(NOW + 6 * DAY));
        assert!(!life(6).holds(NOW - 1) && !life(6).holds(NOW + 6 * DAY + 1));
        let senseless = Validity {
            from: NOW,
            until: 5,
        };
        assert_eq!(senseless.due(month), 5);
    }

    #[test]
    fn failures_wait_longer_each_time() {
        let mut history = History::default();
        assert_eq!(history.next(NOW, NOW), NOW);
        let mut waits = Vec::new();
        for _ in 0..8 {
            history.failed(NOW, Fault::Refused);
            waits.push((history.next(0, NOW) - NOW) / 60);
        }
        assert_eq!(waits, [15, 30, 60, 120, 240, 480, 720, 720]);
        history.failed(NOW, Fault::Unreached);
        assert_eq!(history.next(0, NOW), NOW + 60);
        for _ in 0..100 {
            history.failed(NOW, Fault::Unreached);
        }
        assert_eq!(history.next(0, NOW), NOW + HOUR);
        history.forget_failures();
        assert_eq!(history.next(0, NOW), 0);
        history.failed(NOW, Fault::Refused);
        history.slow_down();
        assert_eq!(history.next(0, NOW), NOW + 2 * HOUR);
    }

    #[test]
    // INV-ORDERS
    fn an_hour_has_a_budget_whatever_happens() {
        let mut history = History::default();
        let mut now = NOW;
        let mut made = Vec::new();
        // An operator reloads every ten seconds, which forgets failures.
        for _ in 0..5000 {
            if history.next(0, now) <= now {
                history.ordered(now);
                history.failed(now, Fault::Refused);
                made.push(now);
            }
            history.forget_failures();
            now += 10;
        }
        assert!(made.len() > 40, "{}", made.len());
        for window in made.windows(ORDERS_PER_HOUR + 1) {
            assert!(window[ORDERS_PER_HOUR] - window[0] >= HOUR, "{window:?}");
        }
        assert!(history.orders.len() <= ORDERS_PER_HOUR);
    }

    #[test]
    fn a_clock_set_back_does_not_wait_for_the_future() {
        let mut history = History::default();
        for _ in 0..ORDERS_PER_HOUR {
            history.ordered(NOW + 365 * DAY);
        }
        history.failed(NOW + 365 * DAY, Fault::Refused);
        assert_eq!(history.next(0, NOW), NOW + HOUR);
    }
}
