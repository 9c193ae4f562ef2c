//! Histograms: how a worker keeps one, how it is copied, and how those of all workers become one.

use super::{
    counter::{Counter, Gauge, Info},
    scope::{Kind, Scope},
    stage::Stage,
    track::Track,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use hdrhistogram::{
    Histogram,
    serialization::{Serializer, V2DeflateSerializer},
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Significant digits: a value is known to a thousandth.
const DIGITS: u8 = 3;

fn empty() -> Histogram<u64> {
    Histogram::new(DIGITS).expect("3 significant digits are within 0..=5")
}

fn pour(from: &Histogram<u64>, into: &mut Histogram<u64>) {
    for step in from.iter_recorded() {
        let value = from.median_equivalent(step.value_iterated_to());
        // It grows by itself; an error would mean no memory address is large enough.
        let _ = into.record_n(value, step.count_at_value());
    }
}

/// A copy of a worker's histograms, made on its thread and sent to another.
#[derive(Clone, Default)]
pub struct Snapshot {
    entries: Vec<(Stage, Scope, Track)>,
}

impl Snapshot {
    pub(super) fn new(entries: Vec<(Stage, Scope, Track)>) -> Snapshot {
        Snapshot { entries }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &(Stage, Scope, Track)> {
        self.entries.iter()
    }

    /// Adds what another worker has recorded. Both must come from the same registry.
    pub fn merge(&mut self, other: Snapshot) {
        self.entries.extend(other.entries);
    }

    /// The latencies of one stage in one scope, or in all of them.
    #[must_use]
    pub fn distribution(&self, stage: Stage, scope: Option<Scope>) -> Distribution {
        let mut all = Distribution::default();
        for (its_stage, its_scope, track) in &self.entries {
            if *its_stage == stage && scope.is_none_or(|scope| scope == *its_scope) {
                all.absorb(track);
            }
        }
        all
    }
}

/// Latencies of one stage in one scope, of all workers. Count, sum, least and greatest are exact; a
/// percentile is right to a thousandth.
#[derive(Clone)]
pub struct Distribution {
    histogram: Histogram<u64>,
    sum: u64,
    min: u64,
    max: u64,
}

impl Default for Distribution {
    fn default() -> Self {
        Distribution {
            histogram: empty(),
            sum: 0,
            min: u64::MAX,
            max: 0,
        }
    }
}

impl Distribution {
    pub(super) fn absorb(&mut self, track: &Track) {
        track.pour_into(&mut self.histogram);
        self.sum = self.sum.wrapping_add(track.sum);
        self.min = self.min.min(track.min);
        self.max = self.max.max(track.max);
    }

    /// Adds the samples of another.
    pub fn merge(&mut self, other: &Distribution) {
        pour(&other.histogram, &mut self.histogram);
        self.sum = self.sum.wrapping_add(other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Number of samples.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Sum of all samples in microseconds.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The least sample in microseconds; 0 where there is none.
    #[must_use]
    pub fn min(&self) -> u64 {
        if self.count() == 0 { 0 } else { self.min }
    }

    /// The greatest sample in microseconds.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The mean in microseconds; 0 where there is no sample.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a mean of so many is not exact anyhow"
    )]
    pub fn mean(&self) -> f64 {
        if self.count() == 0 {
            0.0
        } else {
            self.sum as f64 / self.count() as f64
        }
    }

    /// The latency in microseconds that this share of the samples (0.0 to 1.0) does not exceed.
    #[must_use]
    pub fn quantile(&self, share: f64) -> u64 {
        self.histogram
            .value_at_quantile(share)
            .clamp(self.min(), self.max)
    }

    /// Samples not above each of these bounds, which must ascend.
    #[must_use]
    pub fn not_above(&self, bounds: &[u64]) -> Vec<u64> {
        let mut counts = vec![0; bounds.len()];
        for step in self.histogram.iter_recorded() {
            let value = self.histogram.median_equivalent(step.value_iterated_to());
            if let Some(count) = counts.get_mut(bounds.partition_point(|bound| *bound < value)) {
                *count += step.count_at_value();
            }
        }
        let mut sum = 0;
        for count in &mut counts {
            sum += *count;
            *count = sum;
        }
        counts
    }

    /// The whole histogram as text: HdrHistogram V2, deflated, in base64, as in HdrHistogram logs.
    #[must_use]
    pub fn encoded(&self) -> String {
        let mut octets = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.histogram, &mut octets)
            .expect("a Vec takes all that is written to it");
        STANDARD.encode(octets)
    }

    /// What came since an earlier state of the same distribution.
    #[must_use]
    pub fn since(&self, earlier: Option<&Distribution>) -> Histogram<u64> {
        let mut recent = self.histogram.clone();
        if let Some(earlier) = earlier
            && recent.subtract(&earlier.histogram).is_err()
        {
            // Not a later state of it: a worker began anew. Better the whole than a wrong difference.
            recent = self.histogram.clone();
        }
        recent
    }
}

/// All there is to tell at one moment.
pub struct View {
    /// Latencies by stage and scope.
    pub distributions: BTreeMap<(Stage, Scope), Distribution>,
    /// Counters by scope, families together.
    pub counters: Vec<(Counter, Scope, u64)>,
    /// Gauges by scope, families together.
    pub gauges: Vec<(Gauge, Scope, i64)>,
    /// Kind and name of each scope, by its number.
    pub scopes: Vec<(Kind, Arc<str>)>,
    /// Facts.
    pub infos: BTreeMap<Info, Vec<(String, String)>>,
    /// By worker: whether it did not answer in time; its histograms are those of its last answer then.
    /// Empty as [`super::Registry::view`] gives it; the asker of the workers fills it.
    pub stalled: Vec<bool>,
    /// Time since the registry was made.
    pub uptime: Duration,
    /// When the registry was made.
    pub started_at: SystemTime,
}

impl View {
    /// Kind and name of a scope.
    #[must_use]
    pub fn scope(&self, scope: Scope) -> (Kind, &str) {
        self.scopes
            .get(scope.index())
            .map_or((Kind::None, ""), |(kind, name)| (*kind, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::track::MICROS_MAX;

    #[test]
    fn a_full_track_is_poured_and_nothing_is_lost() {
        let mut track = Track::default();
        for micros in [3, 70_000, MICROS_MAX + 1] {
            track.record(micros);
            track.pour();
        }
        track.record(70_000);
        let mut all = Distribution::default();
        all.absorb(&track);
        assert_eq!((all.count(), all.min(), all.max()), (4, 3, MICROS_MAX));
        assert_eq!(
            all.quantile(0.75),
            70_015,
            "the end of the bucket that 70,000 lies in"
        );
    }

    #[test]
    fn nothing_recorded_is_zeros() {
        let none = Distribution::default();
        assert_eq!(
            (none.count(), none.min(), none.max(), none.quantile(0.5)),
            (0, 0, 0, 0)
        );
        assert!(none.mean().abs() < f64::EPSILON);
    }
}
