//! The messages that one worker is to begin in an open loop: their numbers and intended moments, one after the other.
//!
//! Each worker has its own share of the load: of evenly spaced messages every n-th, of Poisson arrivals an independent
//! stream at the n-th part of the rate (together they are Poisson arrivals again). A list is a few numbers that can be
//! copied, so the same messages are gone through by several readers: who begins them, who wakes him, who counts them.
//! However many are late, nothing queues up in memory.

use super::{shape::Shape, value::Spacing};
use gatepost::smtp::tick::Tick;
use rand::{SeedableRng, rngs::SmallRng};
use rand_distr::{Distribution, Exp1};
use std::{sync::Arc, time::Duration};

/// One message to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intended {
    /// Its number in the run.
    pub number: u32,
    /// When it should begin.
    pub at: Tick,
}

/// What a list of messages is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The rates of the whole run.
    pub shape: Arc<Shape>,
    /// How messages follow each other.
    pub spacing: Spacing,
    /// The first number that is too high.
    pub messages: u32,
    /// No message is meant to begin after this.
    pub duration: Option<Duration>,
    /// Workers in all.
    pub workers: u32,
    /// For what is drawn.
    pub seed: u64,
}

/// The messages of one worker to come. A copy goes through the same ones.
#[derive(Clone, Debug)]
pub struct Arrivals {
    setup: Setup,
    start: Tick,
    /// Messages of the whole run that are due when the next one of this worker is.
    due: f64,
    rng: SmallRng,
    next: Option<Intended>,
}

impl Arrivals {
    /// The list of one worker (from 0 on), for a run that starts at `start`.
    #[must_use]
    pub fn new(setup: Setup, worker: u32, start: Tick) -> Arrivals {
        let mut arrivals = Arrivals {
            rng: SmallRng::seed_from_u64(setup.seed ^ u64::from(worker).wrapping_mul(0x9e37)),
            due: f64::from(worker),
            start,
            next: None,
            setup,
        };
        if arrivals.setup.spacing == Spacing::Poisson {
            arrivals.due = arrivals.gap();
        }
        arrivals.next = arrivals.intended(worker);
        arrivals
    }

    /// The next message.
    #[must_use]
    pub fn peek(&self) -> Option<Intended> {
        self.next
    }

    /// Takes the next message if its moment has come.
    pub fn take_due(&mut self, now: Tick) -> Option<Intended> {
        let next = self.next.filter(|next| next.at <= now)?;
        self.due += self.gap();
        self.next = next
            .number
            .checked_add(self.setup.workers)
            .and_then(|number| self.intended(number));
        Some(next)
    }

    /// Goes past all messages whose moment has come, and says how many they were.
    pub fn skip_due(&mut self, now: Tick) -> u64 {
        let mut count = 0;
        while self.take_due(now).is_some() {
            count += 1;
        }
        count
    }

    fn gap(&mut self) -> f64 {
        let step: f64 = match self.setup.spacing {
            Spacing::Even => 1.0,
            Spacing::Poisson => Exp1.sample(&mut self.rng),
        };
        step * f64::from(self.setup.workers)
    }

    fn intended(&self, number: u32) -> Option<Intended> {
        let at_s = self.setup.shape.when(self.due);
        if number >= self.setup.messages || !at_s.is_finite() || at_s > 1e9 {
            return None;
        }
        let after = Duration::from_secs_f64(at_s);
        if self.setup.duration.is_some_and(|end| after >= end) {
            return None;
        }
        Some(Intended {
            number,
            at: self.start.after(after),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::run::shape::{Burst, Ramp, Steps};

    fn setup(shape: Shape, workers: u32) -> Setup {
        Setup {
            shape: Arc::new(shape),
            spacing: Spacing::Even,
            messages: u32::MAX,
            duration: Some(Duration::from_secs(10)),
            workers,
            seed: 1,
        }
    }

    const START: Tick = Tick(1_000_000);

    /// All messages of all workers, by number: microseconds since the start.
    fn all(setup: &Setup) -> Vec<u64> {
        let mut found = Vec::new();
        for worker in 0..setup.workers {
            let mut arrivals = Arrivals::new(setup.clone(), worker, START);
            while let Some(next) = arrivals.take_due(Tick::FAR) {
                found.push((next.number, next.at.micros_since(START)));
            }
        }
        found.sort_unstable();
        found.into_iter().map(|(_, at)| at).collect()
    }

    #[test]
    fn an_even_rate_is_exact_with_any_number_of_workers() {
        for workers in [1, 2, 7] {
            let at = all(&setup(Shape::constant(3.0), workers));
            assert_eq!(at.len(), 30, "{workers} workers");
            for (n, at) in at.iter().enumerate() {
                let exact = n as f64 * 1e6 / 3.0;
                assert!((*at as f64 - exact).abs() <= 1.0, "{n}: {at}");
            }
        }
    }

    #[test]
    fn numbers_are_dense_and_messages_end_the_list() {
        let mut setup = setup(Shape::constant(1000.0), 3);
        setup.messages = 100;
        assert_eq!(all(&setup).len(), 100);
    }

    #[test]
    fn a_ramp_has_the_rate_of_each_moment() {
        let ramp: Ramp = "0..1000:10s".parse().unwrap();
        let at = all(&setup(ramp.shape(), 2));
        // ½·100·t² messages by t.
        assert!(at.len().abs_diff(5000) <= 1, "{}", at.len());
        for second in 1..=9u64 {
            let by = at.iter().filter(|at| **at < second * 1_000_000).count() as u64;
            assert!(by.abs_diff(50 * second * second) <= 1, "{second} s: {by}");
        }
        assert!(at.is_sorted());
        let down: Ramp = "1000..0:10s".parse().unwrap();
        let at = all(&setup(down.shape(), 2));
        assert!(at.len().abs_diff(5000) <= 1 && at.is_sorted());
    }

    #[test]
    fn steps_hold_each_rate_and_pauses_are_jumped_over() {
        let steps: Steps = "10,0,100:2s".parse().unwrap();
        let at = all(&setup(steps.shape(), 1));
        let between = |from: u64, to: u64| {
            let span = from * 1_000_000..to * 1_000_000;
            at.iter().filter(|at| span.contains(at)).count()
        };
        // The last rate stays.
        assert_eq!((between(0, 2), between(2, 4), between(4, 10)), (20, 0, 600));
        let range: Steps = "1000..3000+1000:5s".parse().unwrap();
        assert_eq!(range.rates, [1000.0, 2000.0, 3000.0]);
        assert_eq!(range.to_string(), "1000,2000,3000:5s");
    }

    #[test]
    fn bursts_come_again() {
        let burst: Burst = "100:1s/5s".parse().unwrap();
        let shape = burst.shape(10.0);
        let at = all(&setup(shape.clone(), 2));
        let during = |from: u64| {
            let span = from * 1_000_000..(from + 1) * 1_000_000;
            at.iter().filter(|at| span.contains(at)).count()
        };
        assert_eq!(
            (during(0), during(4), during(5), during(9)),
            (10, 100, 10, 100)
        );
        assert_eq!(
            (shape.rate(3.9), shape.rate(4.1), shape.rate(9.5)),
            (10.0, 100.0, 100.0)
        );
        assert_eq!(all(&setup(burst.shape(0.0), 1)).len(), 200);
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_its_spread() {
        let mut setup = setup(Shape::constant(1000.0), 3);
        setup.spacing = Spacing::Poisson;
        let mut at = all(&setup);
        at.sort_unstable();
        // 10,000 with a deviation of 100.
        assert!(at.len().abs_diff(10_000) < 500, "{}", at.len());
        let gaps: Vec<f64> = at.windows(2).map(|w| (w[1] - w[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let spread = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        let ratio = spread.sqrt() / mean;
        assert!((0.9..1.1).contains(&ratio), "exponential gaps: {ratio}");
        assert_eq!(at, {
            let mut again = all(&setup);
            again.sort_unstable();
            again
        });
    }

    #[test]
    fn a_list_that_was_late_has_lost_nothing() {
        let mut arrivals = Arrivals::new(setup(Shape::constant(500.0), 1), 0, START);
        assert_eq!(arrivals.take_due(START).unwrap().number, 0);
        assert_eq!(arrivals.take_due(START), None, "the next is due in 2 ms");
        let mut counter = arrivals.clone();
        let late = START.after(Duration::from_secs(1));
        let next = arrivals.take_due(late).unwrap();
        assert_eq!(
            (next.number, next.at),
            (1, START.after(Duration::from_millis(2)))
        );
        assert_eq!(counter.skip_due(late), 500);
        assert_eq!(counter.peek().unwrap().number, 501);
    }

    #[test]
    fn shapes_that_make_no_sense_are_told() {
        assert!("1000:60s".parse::<Ramp>().is_err());
        assert!("1..2:0s".parse::<Ramp>().is_err());
        assert!("10..1+1:5s".parse::<Steps>().is_err());
        assert!("5:2s/1s".parse::<Burst>().is_err());
        assert!("-5:1s/2s".parse::<Burst>().is_err());
    }
}
