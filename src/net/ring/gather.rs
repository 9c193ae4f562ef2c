//! How many events a sleep waits for.
//!
//! A thread that is neither idle nor busy falls asleep and is woken for each single event, and that costs it more than
//! a receive does. So where events come thick, a sleep waits for several of them, as a network card gathers frames
//! before it interrupts: for as many as [`WITHIN`] brings at the rate just seen. An idle worker waits for none, and a
//! busy one finds that many at once.
//!
//! An event that never comes must not hold up those that came. So a sleep waits for no more than one in [`SHARE`] of
//! the sessions that moved of late, and ends in any case with the kernel's next tick. A shorter limit would cost more
//! than is saved: a timer that is due before the tick must be set in hardware, twice a sleep.

use crate::smtp::tick::Tick;
use std::time::Duration;

/// The time in which the events come that a sleep waits for, on average; none waits longer for the others' sake, on
/// average.
const WITHIN: Duration = Duration::from_micros(100);

/// Of so many sessions that moved, one may be waited for.
const SHARE: usize = 2;

/// More are never waited for.
const EVENTS_MAX: u64 = 32;

/// What is seen in this time decides for the next.
const WINDOW: Duration = Duration::from_millis(1);

/// The decision of one worker.
pub(super) struct Gather {
    since: Tick,
    events: u64,
    wanted: usize,
}

impl Gather {
    pub(super) fn new(now: Tick) -> Gather {
        Gather {
            since: now,
            events: 0,
            wanted: 1,
        }
    }

    /// How many events the next sleep waits for.
    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    /// Tells of `events` that came until `now`; `moved`, asked once a window, says how many sessions moved in it.
    pub(super) fn note(&mut self, now: Tick, events: usize, moved: impl FnOnce() -> usize) {
        self.events += events as u64;
        let passed = now.since(self.since);
        if passed < WINDOW {
            return;
        }
        let expected = u128::from(self.events) * WITHIN.as_nanos() / passed.as_nanos();
        let expected = u64::try_from(expected).unwrap_or(u64::MAX).min(EVENTS_MAX);
        // The first one is there when the others are waited for.
        self.wanted = (1 + expected as usize).min(moved() / SHARE).max(1);
        self.since = now;
        self.events = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is decided after windows with `events` each.
    fn wanted(events: usize, moved: usize) -> usize {
        let mut gather = Gather::new(Tick(0));
        for window in 1..=3 {
            gather.note(Tick(window * 1000 - 500), events / 2, || unreachable!());
            gather.note(Tick(window * 1000), events - events / 2, || moved);
        }
        gather.wanted()
    }

    #[test]
    fn waits_for_one_where_events_are_rare() {
        assert_eq!(Gather::new(Tick(7)).wanted(), 1);
        assert_eq!(wanted(0, 0), 1);
        assert_eq!(wanted(9, 500), 1);
    }

    #[test]
    fn waits_for_what_comes_within_the_time() {
        assert_eq!(wanted(10, 500), 2);
        assert_eq!(wanted(45, 500), 5);
        assert_eq!(wanted(1_000_000, 500), 33);
    }

    #[test]
    fn waits_for_a_share_of_the_sessions_only() {
        assert_eq!(wanted(45, 0), 1);
        assert_eq!(wanted(45, 3), 1);
        assert_eq!(wanted(45, 4), 2);
        assert_eq!(wanted(45, 7), 3);
    }

    #[test]
    fn a_pause_ends_it() {
        let mut gather = Gather::new(Tick(0));
        gather.note(Tick(1000), 100, || 100);
        assert_eq!(gather.wanted(), 11);
        // A sleep that the tick ended.
        gather.note(Tick(5000), 3, || 2);
        assert_eq!(gather.wanted(), 1);
    }
}
