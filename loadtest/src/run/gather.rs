//! Puts together what the workers report: intervals as soon as they are whole, the sums, the steps.

use super::{
    knee::Search,
    plan::{Load, Plan},
    record::{ErrorKey, Part, Step, Steps},
};
use crate::{
    report::{
        histogram::{empty, latency},
        progress::Snapshot,
    },
    result::{Interval, Knee, Latency, Totals},
};
use gatepost::smtp::Tick;
use hdrhistogram::Histogram;
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// What is known of the run so far.
pub struct Gathered {
    length_s: f64,
    planned: Option<Duration>,
    shape: Load,
    /// For each worker: how many intervals it has reported, or all.
    reported: Vec<u64>,
    /// Intervals that some workers have not reported yet, the first of them being the number of `intervals`.
    open: VecDeque<Part>,
    intervals: Vec<Interval>,
    totals: Totals,
    latency: Histogram<u64>,
    errors: BTreeMap<String, u64>,
    steps: BTreeMap<&'static str, Histogram<u64>>,
    search: Option<Search>,
    numbers: u32,
    last: Tick,
}

/// All of it, when the workers are done.
pub struct Whole {
    /// Sums.
    pub totals: Totals,
    /// Of all acknowledged messages.
    pub latency: Latency,
    /// By name.
    pub steps: BTreeMap<String, Latency>,
    /// In order.
    pub intervals: Vec<Interval>,
    /// By name.
    pub errors: BTreeMap<String, u64>,
    /// Where it was looked for.
    pub knee: Option<Knee>,
    /// How many numbers were given to messages.
    pub numbers: u32,
}

impl Gathered {
    /// Before the first report.
    #[must_use]
    pub fn new(plan: &Plan) -> Gathered {
        Gathered {
            length_s: plan.interval().as_secs_f64(),
            planned: plan.duration,
            shape: plan.load.clone(),
            reported: vec![0; plan.workers as usize],
            open: VecDeque::new(),
            intervals: Vec::new(),
            totals: Totals::default(),
            latency: empty(),
            errors: BTreeMap::new(),
            steps: BTreeMap::new(),
            search: plan.knee.map(Search::new),
            numbers: 0,
            last: Tick::default(),
        }
    }

    /// Takes a worker's interval. What is to be shown comes back where an interval has become whole.
    pub fn part(&mut self, worker: u32, number: u64, part: &Part) -> Option<Snapshot> {
        self.reported[worker as usize] = number + 1;
        let at = (number as usize).checked_sub(self.intervals.len())?;
        while self.open.len() <= at {
            self.open.push_back(Part::default());
        }
        let whole = &mut self.open[at];
        add(&mut whole.totals, &part.totals);
        whole.sessions += part.sessions;
        merge(&mut whole.latency, &part.latency);
        for (key, count) in &part.errors {
            match whole.errors.iter_mut().find(|(known, _)| known == key) {
                Some((_, sum)) => *sum += count,
                None => whole.errors.push((*key, *count)),
            }
        }
        self.close_whole()
    }

    /// Takes a worker's last words: it will report no more intervals.
    pub fn done(&mut self, worker: u32, steps: Steps, numbers: u32, last: Tick) {
        self.reported[worker as usize] = u64::MAX;
        self.numbers = self.numbers.max(numbers);
        self.last = self.last.max(last);
        for (step, histogram) in steps {
            let sum = self.steps.entry(step.as_str()).or_insert_with(empty);
            merge(sum, &histogram);
        }
        self.close_whole();
    }

    /// When the last message ended, of the workers that are done.
    #[must_use]
    pub fn last(&self) -> Tick {
        self.last
    }

    /// Is the load beyond the knee that was looked for?
    #[must_use]
    pub fn is_beyond(&self) -> bool {
        self.search.as_ref().is_some_and(Search::is_over)
    }

    fn close_whole(&mut self) -> Option<Snapshot> {
        let mut shown = None;
        let known = self.reported.iter().copied().min().unwrap_or(0);
        while (self.intervals.len() as u64) < known {
            let Some(part) = self.open.pop_front() else {
                break;
            };
            shown = Some(self.close(part));
        }
        shown
    }

    fn close(&mut self, part: Part) -> Snapshot {
        let at_s = self.intervals.len() as f64 * self.length_s;
        let named = |(key, count): &(ErrorKey, u64)| (key.to_string(), *count);
        let errors: BTreeMap<String, u64> = part.errors.iter().map(named).collect();
        let totals = &part.totals;
        let interval = Interval {
            at_s,
            length_s: self.length_s,
            intended: totals.intended,
            acknowledged: totals.acknowledged,
            refused: totals.deferred + totals.rejected,
            failed: totals.failed + totals.uncertain + totals.aborted,
            octets: totals.octets,
            sessions: part.sessions,
            latency: latency(&part.latency),
            errors,
        };
        add(&mut self.totals, totals);
        merge(&mut self.latency, &part.latency);
        for (name, count) in &interval.errors {
            *self.errors.entry(name.clone()).or_default() += count;
        }
        if let Some(search) = &mut self.search {
            search.look(&interval);
        }
        let shown = self.snapshot(&interval);
        self.intervals.push(interval);
        shown
    }

    fn snapshot(&self, interval: &Interval) -> Snapshot {
        let end_s = interval.at_s + interval.length_s;
        let totals = &self.totals;
        Snapshot {
            elapsed: Duration::from_secs_f64(end_s),
            planned: self.planned,
            rate: interval.acknowledged as f64 / interval.length_s,
            intended_rate: match &self.shape {
                Load::Closed { .. } => None,
                Load::Open { shape, .. } => Some(shape.rate(interval.at_s)),
            },
            acknowledged: totals.acknowledged,
            errors: totals.deferred + totals.rejected + totals.failed + totals.uncertain,
            sessions: interval.sessions,
            p50_us: interval.latency.p50_us,
            p99_us: interval.latency.p99_us,
            p999_us: interval.latency.p999_us,
        }
    }

    /// All that was gathered. The last interval may be shorter than the others; `took_s` says how long the run was.
    #[must_use]
    pub fn finish(mut self, took_s: f64) -> Whole {
        self.reported.fill(u64::MAX);
        self.close_whole();
        // Messages that were due and found no session.
        let missing = self.totals.intended.saturating_sub(self.totals.begun);
        if missing > 0 {
            let name = format!("{} no session was free", Step::Start.as_str());
            self.errors.insert(name, missing);
        }
        if let Some(last) = self.intervals.last_mut() {
            last.length_s = (took_s - last.at_s).clamp(0.001, last.length_s);
        }
        let steps = self.steps.iter();
        Whole {
            totals: self.totals,
            latency: latency(&self.latency),
            steps: steps
                .map(|(name, h)| ((*name).to_owned(), latency(h)))
                .collect(),
            knee: self.search.map(|search| search.found(&self.intervals)),
            intervals: self.intervals,
            errors: self.errors,
            numbers: self.numbers,
        }
    }
}

fn merge(sum: &mut Histogram<u64>, part: &Histogram<u64>) {
    sum.add(part).expect("histograms that grow take any other");
}

/// Adds counts.
fn add(sum: &mut Totals, part: &Totals) {
    let Totals {
        intended,
        begun,
        acknowledged,
        deferred,
        rejected,
        uncertain,
        aborted,
        failed,
        recipients,
        recipients_refused,
        connections,
        handshakes,
        resumed,
        authenticated,
        octets,
    } = *part;
    sum.intended += intended;
    sum.begun += begun;
    sum.acknowledged += acknowledged;
    sum.deferred += deferred;
    sum.rejected += rejected;
    sum.uncertain += uncertain;
    sum.aborted += aborted;
    sum.failed += failed;
    sum.recipients += recipients;
    sum.recipients_refused += recipients_refused;
    sum.connections += connections;
    sum.handshakes += handshakes;
    sum.resumed += resumed;
    sum.authenticated += authenticated;
    sum.octets += octets;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn part(acknowledged: u64, micros: u64) -> Part {
        let mut part = Part::default();
        part.totals.acknowledged = acknowledged;
        part.latency.record_n(micros, acknowledged).unwrap();
        part.sessions = 1;
        part
    }

    #[test]
    fn an_interval_is_shown_when_all_workers_have_told_of_it() {
        let plan = Plan::new(toml::from_str("workers = 2\nrate = 10").unwrap()).unwrap();
        let mut gathered = Gathered::new(&plan);
        assert!(gathered.part(0, 0, &part(1, 100)).is_none());
        assert!(gathered.part(0, 1, &part(2, 100)).is_none());
        let shown = gathered.part(1, 0, &part(10, 300)).unwrap();
        assert_eq!((shown.acknowledged, shown.sessions), (11, 2));
        assert!(shown.p50_us.abs_diff(300) < 2);
        // One ends early: the other one is not waited for any more.
        gathered.done(1, Vec::new(), 7, Tick(5));
        gathered.part(0, 2, &part(4, 100));
        gathered.done(0, Vec::new(), 9, Tick(3));
        assert_eq!(gathered.last(), Tick(5));
        let whole = gathered.finish(2.5);
        let each: Vec<u64> = whole.intervals.iter().map(|i| i.acknowledged).collect();
        assert_eq!(each, [11, 2, 4]);
        assert_eq!((whole.totals.acknowledged, whole.latency.count), (17, 17));
        assert_eq!(whole.numbers, 9);
        assert!((whole.intervals[2].length_s - 0.5).abs() < 1e-9);
    }
}
