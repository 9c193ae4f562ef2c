//! What the sink counts while it runs. Each worker has its own counters, in cache lines of its own; whoever wants the
//! sums reads them all.

use super::point::{Cut, Fault, Point};
use gatepost::smtp::{Tick, Verb};
use hdrhistogram::Histogram;
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// A count.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn one(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// How many.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn clear(&self) {
        self.0.store(0, Relaxed);
    }
}

/// The counters of one worker.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters {
    /// Connections accepted.
    pub connections: Count,
    /// Transactions: MAIL accepted.
    pub transactions: Count,
    /// Messages taken.
    pub messages: Count,
    /// Recipients of them.
    pub recipients: Count,
    /// Octets of them, unstuffed.
    pub octets: Count,
    /// Messages that came before.
    pub duplicates: Count,
    /// Messages whose checksum or length is wrong.
    pub damaged: Count,
    /// Messages without a stamp.
    pub unstamped: Count,
    /// Messages written to a folder.
    pub saved: Count,
    /// Sessions that AUTH let in.
    pub authenticated: Count,
    /// TLS handshakes that succeeded.
    pub handshakes: Count,
    /// Those of them that resumed a session.
    pub handshakes_resumed: Count,
    /// Those that failed.
    pub handshakes_failed: Count,
    /// Commands by verb.
    pub commands: [Count; Verb::COUNT],
    /// Refusals that were asked for, by point; limits and unknown users among them.
    pub refused: [Count; Point::COUNT],
    /// Replies that were none.
    pub garbled: [Count; Point::COUNT],
    /// Connections dropped on purpose.
    pub dropped: [Count; Cut::COUNT],
    /// What clients did wrong.
    pub faults: [Count; Fault::COUNT],
    /// Messages by second: the second, and how many. The last whole one is what is shown.
    seconds: [(AtomicU64, AtomicU64); SECONDS],
    latency: Mutex<Histogram<u64>>,
    /// When the first and the last message came; 0: none did.
    first: AtomicU64,
    last: AtomicU64,
}

/// Seconds that are kept: the one under way, the one before it, and one of slack for a reader in between.
const SECONDS: usize = 4;

impl Default for Counters {
    fn default() -> Counters {
        let histogram = Histogram::new_with_max(3_600_000_000, 3);
        Counters {
            connections: Count::default(),
            transactions: Count::default(),
            messages: Count::default(),
            recipients: Count::default(),
            octets: Count::default(),
            duplicates: Count::default(),
            damaged: Count::default(),
            unstamped: Count::default(),
            saved: Count::default(),
            authenticated: Count::default(),
            handshakes: Count::default(),
            handshakes_resumed: Count::default(),
            handshakes_failed: Count::default(),
            commands: Default::default(),
            refused: Default::default(),
            garbled: Default::default(),
            dropped: Default::default(),
            faults: Default::default(),
            seconds: Default::default(),
            latency: Mutex::new(histogram.expect("an hour at three digits is in its range")),
            first: AtomicU64::default(),
            last: AtomicU64::default(),
        }
    }
}

impl Counters {
    /// A message was taken: `octets` for `recipients`, whose MAIL came at `begun`.
    pub fn message(&self, now: Tick, begun: Tick, octets: u64, recipients: u64) {
        self.messages.one();
        self.recipients.add(recipients);
        self.octets.add(octets);
        if self.first.load(Relaxed) == 0 {
            self.first.store(begun.0.max(1), Relaxed);
        }
        self.last.store(now.0, Relaxed);
        let second = now.0 / 1_000_000;
        let (at, count) = &self.seconds[second as usize % SECONDS];
        if at.swap(second, Relaxed) != second {
            count.store(0, Relaxed);
        }
        count.fetch_add(1, Relaxed);
        self.latency_locked()
            .saturating_record(now.micros_since(begun).max(1));
    }

    /// When the first message began.
    #[must_use]
    pub fn first(&self) -> Option<Tick> {
        Some(Tick(self.first.load(Relaxed))).filter(|tick| tick.0 > 0)
    }

    /// When the last message ended.
    #[must_use]
    pub fn last(&self) -> Option<Tick> {
        Some(Tick(self.last.load(Relaxed))).filter(|tick| tick.0 > 0)
    }

    /// Messages of a second; 0 where it is too long ago.
    #[must_use]
    pub fn in_second(&self, second: u64) -> u64 {
        let (at, count) = &self.seconds[second as usize % SECONDS];
        if at.load(Relaxed) == second {
            count.load(Relaxed)
        } else {
            0
        }
    }

    /// From the arrival of MAIL to the reply after the message, in microseconds.
    pub fn latency_locked(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.latency.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all.
    pub fn reset(&self) {
        for count in [
            &self.connections,
            &self.transactions,
            &self.messages,
            &self.recipients,
            &self.octets,
            &self.duplicates,
            &self.damaged,
            &self.unstamped,
            &self.saved,
            &self.authenticated,
            &self.handshakes,
            &self.handshakes_resumed,
            &self.handshakes_failed,
        ] {
            count.clear();
        }
        let lists: [&[Count]; 5] = [
            &self.commands,
            &self.refused,
            &self.garbled,
            &self.dropped,
            &self.faults,
        ];
        lists.into_iter().flatten().for_each(Count::clear);
        self.latency_locked().reset();
        self.first.store(0, Relaxed);
        self.last.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_forgotten_in_time() {
        let counters = Counters::default();
        for at in [5_100_000, 5_900_000, 6_000_000] {
            counters.message(Tick(at), Tick(at - 40_000), 10, 2);
        }
        assert_eq!((counters.in_second(5), counters.in_second(6)), (2, 1));
        counters.message(Tick(9_000_000), Tick(8_000_000), 10, 2);
        assert_eq!((counters.in_second(5), counters.in_second(9)), (0, 1));
        assert_eq!((counters.messages.get(), counters.recipients.get()), (4, 8));
        assert_eq!(counters.latency_locked().len(), 4);
        counters.reset();
        assert_eq!(counters.messages.get() + counters.latency_locked().len(), 0);
    }
}
