//! How many events a sleep waits for.
//!
//! A thread that is neither idle nor busy falls asleep and is woken for each single event, and that costs it more than
//! a receive does. So where events come thick, a sleep waits for several of them, as a network card gathers frames
//! before it interrupts: for one, and as many more as [`WITHIN`] brings at the rate just seen. An idle worker waits for one
//! alone, and a busy one finds that many at once.
//!
//! An event that never comes must not hold up those that came. So a sleep waits for no more than one in [`SHARE`] of
//! the sessions that moved of late, and ends in any case with the kernel's next tick. A shorter limit would cost more
//! than is saved: a timer that is due before the tick must be set in hardware, twice a sleep. And where the tick had to
//! end it (one client that goes round its many sessions waits for each answer), no sleep waits for more than one for a
//! while, which doubles each time: two seconds at most.

use crate::smtp::tick::Tick;
use std::time::Duration;

/// The time in which the events come that a sleep waits for after the first, if the rate holds.
const WITHIN: Duration = Duration::from_micros(150);

/// Of so many sessions that moved, one may be waited for.
const SHARE: usize = 2;

/// More than these are never waited for after the first.
const EVENTS_MAX: u64 = 32;

/// What is seen in this time decides for the next.
const WINDOW: Duration = Duration::from_millis(1);

/// How long nothing is gathered after a sleep that held events up: at first, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(16);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Each window that goes well takes this share off the next pause.
const PAUSE_DECAY: u32 = 64;

/// The decision of one worker.
pub(super) struct Gather {
    since: Tick,
    events: u64,
    wanted: usize,
    /// Until then one event is enough.
    paused: Tick,
    /// The next pause.
    pause: Duration,
}

impl Gather {
    pub(super) fn new(now: Tick) -> Gather {
        Gather {
            since: now,
            events: 0,
            wanted: 1,
            paused: now,
            pause: PAUSE_MIN,
        }
    }

    /// How many events the next sleep waits for.
    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    /// Tells of a turn that began at `now`, waited for so many events, and got `events`. `moved`, asked once a window,
    /// says how many sessions moved in it.
    pub(super) fn note(
        &mut self,
        now: Tick,
        waited_for: usize,
        events: usize,
        moved: impl FnOnce() -> usize,
    ) {
        self.events += events as u64;
        if (1..waited_for).contains(&events) {
            // The others did not come.
            self.wanted = 1;
            self.paused = now.after(self.pause);
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
        let passed = now.since(self.since);
        if passed < WINDOW {
            return;
        }
        let moved = moved();
        if now >= self.paused {
            let expected = u128::from(self.events) * WITHIN.as_nanos() / passed.as_nanos();
            let expected = u64::try_from(expected).unwrap_or(u64::MAX).min(EVENTS_MAX);
            // The first one is there when the others are waited for.
            self.wanted = (1 + expected as usize).min(moved / SHARE).max(1);
            self.pause = (self.pause - self.pause / PAUSE_DECAY).max(PAUSE_MIN);
        }
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
            gather.note(Tick(window * 1000 - 500), 1, events / 2, || unreachable!());
            gather.note(Tick(window * 1000), 1, events - events / 2, || moved);
        }
        gather.wanted()
    }

    #[test]
    fn waits_for_one_where_events_are_rare() {
        assert_eq!(Gather::new(Tick(7)).wanted(), 1);
        assert_eq!(wanted(0, 0), 1);
        assert_eq!(wanted(6, 500), 1);
    }

    #[test]
    fn waits_for_what_comes_within_the_time() {
        assert_eq!(wanted(10, 500), 2);
        assert_eq!(wanted(45, 500), 7);
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
    fn silence_ends_it() {
        let mut gather = Gather::new(Tick(0));
        gather.note(Tick(1000), 1, 100, || 100);
        assert_eq!(gather.wanted(), 16);
        // A sleep that the tick ended, with nothing to hold up.
        gather.note(Tick(1001), 16, 0, || unreachable!());
        gather.note(Tick(5000), 16, 16, || 2);
        assert_eq!(gather.wanted(), 1);
    }

    #[test]
    fn events_that_were_held_up_end_it_for_longer_each_time() {
        let mut gather = Gather::new(Tick(0));
        let (mut now, mut pauses) = (1000, Vec::new());
        for _ in 0..10 {
            let from = now;
            while gather.wanted() == 1 {
                gather.note(Tick(now), 1, 100, || 100);
                now += 1000;
            }
            pauses.push((now - from) / 1000);
            gather.note(Tick(now), 16, 3, || 100);
            assert_eq!(gather.wanted(), 1);
        }
        assert!(pauses.is_sorted(), "{pauses:?}");
        assert!(pauses[1] >= 15 && pauses[2] >= 30, "{pauses:?}");
        assert!(pauses[9] >= 1900 && pauses[9] <= 2001, "{pauses:?}");
    }
}
