//! Whether the servers answer at all. While they don't, questions are answered at once with that: a session that waited for
//! each would be slow for nothing.
//!
//! What counts is silence: a server that says SERVFAIL to one name is well. After [`SILENT_MAX`] questions in a row without a
//! word from any server the breaker opens for [`OPEN`], twice as long each time up to [`OPEN_MAX`]; then one question goes
//! out, and its answer closes it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Questions in a row that no server answered.
pub(super) const SILENT_MAX: u32 = 16;
/// How long nothing is asked then.
const OPEN: Duration = Duration::from_secs(2);
/// And at most.
const OPEN_MAX: Duration = Duration::from_secs(30);
/// A probe of which nothing has been heard for this long is lost, and another goes out.
const PROBE_MAX: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
enum State {
    /// Questions go out; so many in a row came to nothing.
    Closed { silent: u32 },
    /// None goes out before this moment.
    Open { until: Instant, open: Duration },
    /// One is on its way since this moment.
    Probing { since: Instant, open: Duration },
}

/// The state of the servers, as the answers show it.
pub(super) struct Breaker(Mutex<State>);

/// A change that is worth telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The servers fell silent: nothing is asked for this long.
    Opened(Duration),
    /// They answer again.
    Closed,
}

impl Breaker {
    /// Closed.
    pub fn new() -> Breaker {
        Breaker(Mutex::new(State::Closed { silent: 0 }))
    }

    /// Whether a question may be asked now.
    pub fn admits(&self, now: Instant) -> bool {
        let mut state = self.state();
        match *state {
            State::Closed { .. } => true,
            State::Open { until, open } if now >= until => {
                *state = State::Probing { since: now, open };
                true
            }
            State::Probing { since, open } if now >= since + PROBE_MAX => {
                *state = State::Probing { since: now, open };
                true
            }
            State::Open { .. } | State::Probing { .. } => false,
        }
    }

    /// A server said something.
    pub fn heard(&self) -> Option<Change> {
        let mut state = self.state();
        let was_closed = matches!(*state, State::Closed { .. });
        *state = State::Closed { silent: 0 };
        (!was_closed).then_some(Change::Closed)
    }

    /// None did, in the time that it had.
    pub fn silent(&self, now: Instant) -> Option<Change> {
        let mut state = self.state();
        let (open, change) = match *state {
            State::Closed { silent } if silent + 1 < SILENT_MAX => {
                *state = State::Closed { silent: silent + 1 };
                return None;
            }
            State::Closed { .. } => (OPEN, Some(Change::Opened(OPEN))),
            State::Probing { open, .. } => ((open * 2).min(OPEN_MAX), None),
            // One of those that were on their way when it opened.
            State::Open { .. } => return None,
        };
        *state = State::Open {
            until: now + open,
            open,
        };
        change
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_silence_and_closes_at_the_first_word() {
        let (breaker, start) = (Breaker::new(), Instant::now());
        for _ in 1..SILENT_MAX {
            assert_eq!(breaker.silent(start), None);
        }
        assert!(breaker.admits(start));
        assert_eq!(breaker.silent(start), Some(Change::Opened(OPEN)));
        assert_eq!(breaker.silent(start), None, "one that was on its way");
        assert!(!breaker.admits(start + OPEN / 2));
        let probed = start + OPEN;
        assert!(breaker.admits(probed));
        assert!(!breaker.admits(probed), "one probe is enough");
        assert_eq!(breaker.silent(probed), None);
        assert!(!breaker.admits(probed + OPEN), "it waits twice as long");
        assert!(breaker.admits(probed + OPEN * 2));
        assert_eq!(breaker.heard(), Some(Change::Closed));
        assert!(breaker.admits(probed + OPEN * 2));
        assert_eq!(breaker.heard(), None);
    }

    #[test]
    fn a_word_now_and_then_keeps_it_closed() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        for _ in 0..100 {
            assert_eq!(breaker.silent(now), None);
            assert_eq!(breaker.heard(), None);
        }
    }

    #[test]
    fn a_probe_that_is_lost_is_followed_by_another() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        for _ in 0..SILENT_MAX {
            breaker.silent(now);
        }
        assert!(breaker.admits(now + OPEN));
        assert!(!breaker.admits(now + OPEN + PROBE_MAX / 2));
        assert!(breaker.admits(now + OPEN + PROBE_MAX));
    }
}
