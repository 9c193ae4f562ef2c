//! What the committer did, as numbers for metrics.

use super::{options::Counters, refused::Refused};
use std::time::Duration;

/// How long something took: a count for each power of two of microseconds, and the sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Durations {
    /// `counts[n]`: below 2ⁿ µs and not below half of that. The last has all that were longer.
    pub counts: [u64; 24],
    /// Microseconds in all.
    pub sum_us: u64,
}

impl Durations {
    fn add(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        count(&mut self.counts, us);
        self.sum_us = self.sum_us.saturating_add(us);
    }
}

/// Counts a number in the bucket of its power of two.
fn count(counts: &mut [u64], number: u64) {
    let bucket = (u64::BITS - number.leading_zeros()) as usize;
    let last = counts.len().saturating_sub(1);
    if let Some(count) = counts.get_mut(bucket.min(last)) {
        *count += 1;
    }
}

/// What the committer did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Metrics {
    /// What the log did.
    pub log: Counters,
    /// How long commits took: write and sync of all that was taken at once.
    pub commits: Durations,
    /// `batches[n]`: commits of less than 2ⁿ requests, and of no less than half of that.
    pub batches: [u64; 10],
    /// Requests answered.
    pub answered: u64,
    /// Of these, refused because the disk is full or a limit is reached.
    pub refused: u64,
    /// Of these, refused because the disk failed.
    pub failed: u64,
}

impl Metrics {
    pub(super) fn committed(&mut self, results: &[Result<(), Refused>], took: Duration) {
        self.commits.add(took);
        count(&mut self.batches, results.len() as u64);
        self.answered += results.len() as u64;
        for refused in results.iter().filter_map(|result| result.err()) {
            match refused {
                Refused::Failed(_) => self.failed += 1,
                _ => self.refused += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_its_bucket() {
        let mut metrics = Metrics::default();
        for requests in [1, 2, 3, 256, 100_000] {
            metrics.committed(&vec![Ok(()); requests], Duration::from_micros(5));
        }
        assert_eq!(metrics.batches, [0, 1, 2, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!((metrics.commits.counts[3], metrics.commits.sum_us), (5, 25));
        metrics.committed(
            &[
                Err(Refused::Full),
                Err(Refused::Failed(std::io::ErrorKind::Other)),
            ],
            Duration::ZERO,
        );
        assert_eq!((metrics.refused, metrics.failed), (1, 1));
    }
}
