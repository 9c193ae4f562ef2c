//! The latencies of one stage in one scope, on a worker: the buckets of an HdrHistogram, filled without its generality.
//!
//! A message leaves some thirty latencies. The crate's `record` asks for each whether the histogram may grow, wants
//! checked sums, and keeps extremes that are kept here as well; with the number of digits settled, a bucket's place
//! is a shift. To be read, the buckets become a histogram of the crate ([`Track::pour_into`]).

use hdrhistogram::Histogram;

/// The longest latency that is told apart, in microseconds: one hour.
pub const MICROS_MAX: u64 = 3_600_000_000;

/// Values below 2048 have a bucket each; above, an octave has 1024, which is three significant digits.
const HALF: usize = 1024;
const EXACT_BITS: u32 = 11;

/// A bucket of 32 bits halves the memory; long before one can be full it is poured into one of 64.
const POUR_AT: u32 = 1 << 31;

/// See the room's head. Begins with 8 KiB and grows with the longest latency.
#[derive(Clone)]
pub struct Track {
    counts: Vec<u32>,
    /// Samples in `counts`.
    recent: u32,
    poured: Option<Box<Histogram<u64>>>,
    pub(super) sum: u64,
    pub(super) min: u64,
    pub(super) max: u64,
}

impl Default for Track {
    fn default() -> Self {
        Track {
            counts: vec![0; 2 * HALF],
            recent: 0,
            poured: None,
            sum: 0,
            min: u64::MAX,
            max: 0,
        }
    }
}

/// The octave of a value above the exact ones, and the place of its bucket.
#[inline]
fn place(micros: u64) -> (usize, usize) {
    let bits = u64::BITS - (micros | 1).leading_zeros();
    let octave = bits.saturating_sub(EXACT_BITS) as usize;
    (octave, octave * HALF + (micros >> octave) as usize)
}

/// The value in the middle of a bucket, as HdrHistogram has it.
fn middle(place: usize) -> u64 {
    let octave = (place / HALF).saturating_sub(1);
    let low = ((place - octave * HALF) as u64) << octave;
    low + (1 << octave >> 1)
}

impl Track {
    #[inline]
    pub(super) fn record(&mut self, micros: u64) {
        let micros = micros.min(MICROS_MAX);
        self.sum = self.sum.wrapping_add(micros);
        self.min = self.min.min(micros);
        self.max = self.max.max(micros);
        let (octave, place) = place(micros);
        match self.counts.get_mut(place) {
            Some(count) => *count += 1,
            None => self.grow(octave, place),
        }
        self.recent += 1;
        if self.recent >= POUR_AT {
            self.pour();
        }
    }

    #[cold]
    fn grow(&mut self, octave: usize, place: usize) {
        self.counts.resize((octave + 2) * HALF, 0);
        self.counts[place] = 1;
    }

    #[cold]
    pub(super) fn pour(&mut self) {
        let mut poured = self.poured.take().unwrap_or_else(|| {
            Box::new(Histogram::new(3).expect("3 significant digits are within 0..=5"))
        });
        self.pour_into(&mut poured);
        self.poured = Some(poured);
        self.counts.fill(0);
        self.recent = 0;
    }

    /// Adds all samples to a histogram.
    pub(super) fn pour_into(&self, into: &mut Histogram<u64>) {
        for (place, count) in self.counts.iter().enumerate() {
            if *count > 0 {
                // It grows by itself; an error would mean no memory address is large enough.
                let _ = into.record_n(middle(place), u64::from(*count));
            }
        }
        if let Some(poured) = &self.poured {
            for step in poured.iter_recorded() {
                let value = poured.median_equivalent(step.value_iterated_to());
                let _ = into.record_n(value, step.count_at_value());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_the_crate() {
        let crates = Histogram::<u64>::new(3).expect("three digits");
        let mut near = 0u64;
        while near <= MICROS_MAX {
            for micros in [near.saturating_sub(1), near, near + 1] {
                let (_, place) = place(micros);
                assert_eq!(middle(place), crates.median_equivalent(micros), "{micros}");
            }
            near = (near * 3).div_ceil(2) + 1;
        }
        let mut track = Track::default();
        let mut all = Histogram::<u64>::new(3).expect("three digits");
        for micros in (0..5_000).chain([70_000, 70_001, 8_000_000, MICROS_MAX]) {
            track.record(micros);
            all.record(micros).expect("it grows");
        }
        let mut poured = Histogram::<u64>::new(3).expect("three digits");
        track.pour_into(&mut poured);
        let counts = |histogram: &Histogram<u64>| -> Vec<(u64, u64)> {
            histogram
                .iter_recorded()
                .map(|step| (step.value_iterated_to(), step.count_at_value()))
                .collect()
        };
        assert_eq!(counts(&poured), counts(&all));
    }
}
