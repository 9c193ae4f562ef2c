//! What is left to compute for one message, once its keys and the hashes of its body are there.

use super::crypto::{Job, Verified};

/// The mathematics of one message. It owns what it needs, so it may be done on another thread.
#[derive(Debug, Default)]
pub struct Work {
    /// DKIM: each signature has a result of its own.
    pub(super) signatures: Vec<Job>,
    /// ARC: one chain, in the order of RFC 8617 §5.2 (the newest message signature, then the seals, the newest first).
    pub(super) chain: Vec<Job>,
}

impl Work {
    /// How long it takes, microseconds: what its signatures cost if the whole chain holds.
    #[must_use]
    pub fn micros(&self) -> u32 {
        let jobs = self.signatures.iter().chain(&self.chain);
        jobs.map(Job::micros).sum()
    }

    /// Does it. One failure fails a chain (RFC 8617 §5.2 steps 4 and 6), so nothing after it is verified.
    #[must_use]
    pub fn run(&self) -> Vec<Verified> {
        let mut verified: Vec<Verified> = self.signatures.iter().map(Job::run).collect();
        for job in &self.chain {
            let result = job.run();
            verified.push(result);
            if !result.holds {
                break;
            }
        }
        verified
    }

    /// The signatures of DKIM, from the top, that together take no longer than this. Nothing of the chain: a part of it has no
    /// result.
    #[must_use]
    pub fn within(mut self, micros: u32) -> Work {
        let mut left = micros;
        let kept = self.signatures.iter().take_while(|job| {
            let rest = left.checked_sub(job.micros());
            left = rest.unwrap_or(0);
            rest.is_some()
        });
        let kept = kept.count();
        self.signatures.truncate(kept);
        self.chain.clear();
        self
    }

    /// Work with so many signatures and seals that don't hold, by RSA keys of this size.
    #[cfg(test)]
    pub(crate) fn of(signatures: usize, seals: usize, bits: u32) -> Work {
        let jobs = |count| (0..count).map(|place| Job::broken(place, bits)).collect();
        Work {
            signatures: jobs(signatures),
            chain: jobs(seals),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_computed_up_to_its_first_failure_and_signatures_all() {
        assert_eq!(Work::of(3, 51, 2048).run().len(), 3 + 1);
        assert_eq!(Work::of(8, 0, 2048).run().len(), 8);
        assert_eq!(Work::default().run().len(), 0);
    }

    #[test]
    fn a_part_has_the_signatures_that_fit_and_no_chain() {
        let one = Work::of(1, 0, 2048).micros();
        let part = |signatures, micros| Work::of(signatures, 4, 2048).within(micros).run().len();
        assert_eq!(part(8, 3 * one), 3);
        assert_eq!(part(2, 3 * one), 2);
        assert_eq!(part(8, 2 * one - 1), 1);
        assert_eq!(Work::of(8, 0, 4096).within(one).run().len(), 0);
    }

    #[test]
    fn it_costs_what_its_keys_cost() {
        let of = |bits| Work::of(1, 1, bits).micros();
        assert!(of(4096) == 4 * of(2048) && of(3072) > of(2048));
    }
}
