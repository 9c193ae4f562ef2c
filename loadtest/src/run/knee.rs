//! The knee: the rate up to which the target holds what is asked of it. Looked for while the rate goes up.

use super::plan::KneeLimits;
use crate::result::{Interval, Knee};

/// So many intervals beyond the limits, one after the other, are the knee; a single one may be a hiccup.
const BEYOND: usize = 2;

/// The search.
#[derive(Clone, Debug)]
pub struct Search {
    limits: KneeLimits,
    /// Intervals beyond the limits, one after the other, up to now.
    beyond: usize,
    /// All intervals so far.
    seen: usize,
    why: String,
}

impl Search {
    /// A search that has seen nothing.
    #[must_use]
    pub fn new(limits: KneeLimits) -> Search {
        Search {
            limits,
            beyond: 0,
            seen: 0,
            why: String::new(),
        }
    }

    /// Looks at the next interval.
    pub fn look(&mut self, interval: &Interval) {
        if self.is_over() {
            return;
        }
        self.seen += 1;
        match self.judge(interval) {
            Some(why) => {
                if self.beyond == 0 {
                    self.why = why;
                }
                self.beyond += 1;
            }
            None => self.beyond = 0,
        }
    }

    /// Is the load beyond the knee?
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.beyond >= BEYOND
    }

    /// What was found.
    #[must_use]
    pub fn found(&self, intervals: &[Interval]) -> Knee {
        let held = self.seen - self.beyond;
        let last = held.checked_sub(1).and_then(|at| intervals.get(at));
        Knee {
            rate: last.map_or(0.0, |i| i.acknowledged as f64 / i.length_s),
            why: if self.is_over() {
                self.why.clone()
            } else {
                String::new()
            },
        }
    }

    fn judge(&self, interval: &Interval) -> Option<String> {
        let limit_us = u64::try_from(self.limits.p99.as_micros()).unwrap_or(u64::MAX);
        let p99_us = interval.latency.p99_us;
        if p99_us > limit_us {
            return Some(format!("p99 was {} ms", p99_us / 1000));
        }
        let bad = interval.refused + interval.failed;
        let ended = interval.acknowledged + bad;
        if ended > 0 && bad as f64 / ended as f64 > self.limits.errors {
            let share = bad as f64 * 100.0 / ended as f64;
            return Some(format!(
                "{share:.1} % of the messages were not acknowledged"
            ));
        }
        // Nothing comes back, or half of what should: no latency tells of what has not ended.
        (ended * 2 < interval.intended).then(|| {
            let intended = interval.intended;
            format!("of {intended} messages that were due only {ended} ended")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::Latency;
    use std::time::Duration;

    fn interval(intended: u64, acknowledged: u64, failed: u64, p99_ms: u64) -> Interval {
        Interval {
            length_s: 1.0,
            intended,
            acknowledged,
            failed,
            latency: Latency {
                p99_us: p99_ms * 1000,
                ..Latency::default()
            },
            ..Interval::default()
        }
    }

    fn found(intervals: &[Interval]) -> (Search, Knee) {
        let mut search = Search::new(KneeLimits {
            p99: Duration::from_millis(100),
            errors: 0.01,
        });
        for interval in intervals {
            search.look(interval);
        }
        let knee = search.found(intervals);
        (search, knee)
    }

    #[test]
    fn the_last_rate_that_held_is_the_knee() {
        let (search, knee) = found(&[
            interval(100, 100, 0, 5),
            interval(200, 200, 0, 500), // a hiccup
            interval(300, 300, 0, 9),
            interval(400, 350, 0, 300),
            interval(500, 350, 0, 900),
        ]);
        assert!(search.is_over());
        assert!((knee.rate - 300.0).abs() < 1e-9);
        assert_eq!(knee.why, "p99 was 300 ms");
    }

    #[test]
    fn errors_and_silence_count_too() {
        let (search, knee) = found(&[interval(100, 90, 10, 5), interval(100, 90, 10, 5)]);
        assert!(search.is_over() && knee.rate < 1e-9);
        assert!(knee.why.starts_with("10.0 %"), "{}", knee.why);
        let (search, _) = found(&[interval(100, 0, 0, 0), interval(100, 0, 0, 0)]);
        assert!(search.is_over());
        let (search, knee) = found(&[interval(100, 100, 0, 5)]);
        assert!(!search.is_over() && knee.why.is_empty());
    }
}
