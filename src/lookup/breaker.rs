//! Whether the servers answer at all. While they don't, questions are answered at once with that: a session that waited for
//! each would be slow for nothing.
//!
//! What counts is silence: a server that says SERVFAIL to one name is well. After [`SILENT_MAX`] questions in a row without a
//! word from any server a neutral one is asked, for the names of all others were chosen by strangers, whose own servers may
//! be what is silent. Without an answer to that the breaker opens for [`OPEN`], twice as long each time up to [`OPEN_MAX`];
//! then one question goes out, and its answer, or that to the neutral one, closes it.

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

    /// None did, in the time that it had. Whether the neutral question is due.
    #[must_use]
    pub fn silent(&self) -> bool {
        let mut state = self.state();
        match &mut *state {
            State::Closed { silent } => {
                *silent += 1;
                let is_due = *silent >= SILENT_MAX;
                if is_due {
                    *silent = 0;
                }
                is_due
            }
            State::Probing { .. } => true,
            // One of those that were on their way when it opened.
            State::Open { .. } => false,
        }
    }

    /// The neutral question was not answered either.
    pub fn open(&self, now: Instant) -> Option<Change> {
        let mut state = self.state();
        let (open, change) = match *state {
            State::Closed { .. } => (OPEN, Some(Change::Opened(OPEN))),
            State::Probing { open, .. } => ((open * 2).min(OPEN_MAX), None),
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

    /// As many silent questions as it takes.
    fn silence(breaker: &Breaker) -> bool {
        (1..SILENT_MAX).for_each(|_| assert!(!breaker.silent()));
        breaker.silent()
    }

    #[test]
    fn it_opens_after_silence_and_closes_at_the_first_word() {
        let (breaker, start) = (Breaker::new(), Instant::now());
        assert!(silence(&breaker));
        assert!(breaker.admits(start), "the neutral question is on its way");
        assert_eq!(breaker.open(start), Some(Change::Opened(OPEN)));
        assert!(!breaker.silent(), "one that was on its way");
        assert!(!breaker.admits(start + OPEN / 2));
        let probed = start + OPEN;
        assert!(breaker.admits(probed));
        assert!(!breaker.admits(probed), "one probe is enough");
        assert!(breaker.silent());
        assert_eq!(breaker.open(probed), None);
        assert!(!breaker.admits(probed + OPEN), "it waits twice as long");
        assert!(breaker.admits(probed + OPEN * 2));
        assert_eq!(breaker.heard(), Some(Change::Closed));
        assert!(breaker.admits(probed + OPEN * 2));
        assert_eq!(breaker.heard(), None);
    }

    #[test]
    fn silent_servers_of_strangers_do_not_open_it() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        for _ in 0..10 {
            assert!(silence(&breaker));
            // The neutral question has its answer.
            assert_eq!(breaker.heard(), None);
            assert!(breaker.admits(now));
        }
    }

    #[test]
    fn a_word_now_and_then_keeps_it_closed() {
        let breaker = Breaker::new();
        for _ in 0..100 {
            assert!(!breaker.silent());
            assert_eq!(breaker.heard(), None);
        }
    }

    #[test]
    fn a_probe_that_is_lost_is_followed_by_another() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        assert!(breaker.open(now).is_some());
        assert!(breaker.admits(now + OPEN));
        assert!(!breaker.admits(now + OPEN + PROBE_MAX / 2));
        assert!(breaker.admits(now + OPEN + PROBE_MAX));
    }
}
