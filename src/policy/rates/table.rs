//! Rates of very many keys in bounded memory, without a lock.
//!
//! Each key's account is one number, the *theoretical arrival time* of GCRA: the moment at which all that
//! has been admitted would be paid for at the rate. A moment in the past is an untouched account, so an
//! account that is paid up needs no slot.
//!
//! The table is set-associative: a key's hash picks one line of four slots (one cache line), and only they
//! are looked at. A new key takes the slot with the *earliest* moment: a slot that says nothing any more, or
//! else the key that has the least on its account. So a flood of new keys pushes out its own kind and not
//! those that are over their limit, which is why it is not the least recently seen that goes. The hash has
//! a secret, so an attacker can't aim at a line; it is the same after a restart, and so are the accounts.
//!
//! What two workers can do to each other is bounded: a slot that is given to another key while a third
//! worker charges it puts one charge on the wrong account. No admission is counted twice, none is lost for
//! a key that keeps its slot.

use crate::{
    smtp::Tick,
    state::{Moment, Secret},
};
use std::{
    hash::BuildHasher,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

const WAYS: usize = 4;

/// Four accounts. Tag 0 is a free slot.
#[derive(Default)]
#[repr(align(64))]
struct Line {
    tags: [AtomicU64; WAYS],
    dues: [AtomicU64; WAYS],
}

/// So much in so long: at once, and then at that rate. In any window of length `w` at most
/// `limit · (1 + w / per)` is admitted (to the nanosecond a charge that prices are rounded to).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    limit: u64,
    per_ns: u64,
}

impl Limit {
    /// `None` where there is no limit (0).
    pub fn new(limit: u64, per: Duration) -> Option<Limit> {
        // A century is for ever, and leaves the sums room.
        let per_ns = per.as_nanos().clamp(1, 100 * 365 * 86_400 * 1_000_000_000) as u64;
        (limit > 0).then_some(Limit { limit, per_ns })
    }

    /// Nanoseconds that it takes to earn `cost`. Rounded down: up, three thirds would not fit into one whole.
    fn price(self, cost: u64) -> u64 {
        let price = match cost.checked_mul(self.per_ns) {
            Some(product) => product / self.limit,
            None => {
                let product = u128::from(cost) * u128::from(self.per_ns);
                u64::try_from(product / u128::from(self.limit)).unwrap_or(u64::MAX)
            }
        };
        price.min(u64::MAX / 4)
    }
}

/// Accounts of one kind of key.
pub struct Table {
    seed: Secret,
    lines: Box<[Line]>,
}

impl Table {
    /// Room for about so many accounts, 16 bytes each.
    pub fn new(slots: usize, seed: Secret) -> Table {
        Table {
            seed,
            lines: (0..Table::lines(slots)).map(|_| Line::default()).collect(),
        }
    }

    /// Whether a new table for so many accounts would be of the same size.
    pub fn fits(&self, slots: usize) -> bool {
        self.lines.len() == Table::lines(slots)
    }

    fn lines(slots: usize) -> usize {
        slots.div_ceil(WAYS).max(1)
    }

    /// Charges `cost` to the account of `key`, if it can bear it. Accounts of different limits need different
    /// keys. A refusal charges nothing. What costs more than the whole limit passes on an untouched account
    /// only, and leaves it in debt until it is paid for.
    pub fn admit(&self, key: impl std::hash::Hash, limit: Limit, cost: u64, now: Tick) -> bool {
        self.admit_hashed(self.seed.hash_one(key), limit, cost, now)
    }

    /// The same for a key that has been hashed, under a secret of this process and for all its calls.
    pub fn admit_hashed(&self, hash: u64, limit: Limit, cost: u64, now: Tick) -> bool {
        self.admit_up_to(hash, limit, limit.limit, cost, now)
    }

    /// The same for a key of which this caller may use `most` alone: the rest of `limit` is for others with the same key.
    pub fn admit_up_to(&self, hash: u64, limit: Limit, most: u64, cost: u64, now: Tick) -> bool {
        let hash = hash.max(1);
        let line = self.line(hash);
        let now = now.0.saturating_mul(1_000);
        let due = &line.dues[line.find(hash).unwrap_or_else(|| line.claim(hash))];
        let price = limit.price(cost);
        let room = limit.price(most).min(limit.per_ns);
        let charge = |was: u64| {
            let free = was <= now;
            let then = was.max(now).saturating_add(price);
            let fits = then - now <= room || (free && cost > limit.limit);
            fits.then_some(then)
        };
        due.fetch_update(Relaxed, Relaxed, charge).is_ok()
    }
}

impl Table {
    fn line(&self, hash: u64) -> &Line {
        &self.lines[((u128::from(hash) * self.lines.len() as u128) >> 64) as usize]
    }

    /// All accounts that are not paid up, with the time of the calendar, in microseconds, at which they are.
    pub fn each(&self, now: Moment, mut visit: impl FnMut([u64; 2])) {
        for line in &self.lines {
            for (tag, due) in line.tags.iter().zip(&line.dues) {
                let (tag, due) = (tag.load(Relaxed), due.load(Relaxed) / 1_000);
                if let (true, Some(due)) = (tag != 0, now.unix_of(due)) {
                    visit([tag, due]);
                }
            }
        }
    }

    /// Takes in an account that [`Table::each`] has told of.
    pub fn take_in(&self, [tag, due]: [u64; 2], now: Moment) {
        let Some(due) = now.tick_of(due).filter(|_| tag != 0) else {
            return;
        };
        let line = self.line(tag);
        let at = line.find(tag).unwrap_or_else(|| line.claim(tag));
        let due = due.saturating_mul(1_000);
        line.dues[at].fetch_max(due, Relaxed);
    }
}

impl Line {
    /// The first slot with this tag: should two workers have made two, all use the same.
    fn find(&self, tag: u64) -> Option<usize> {
        self.tags.iter().position(|t| t.load(Relaxed) == tag)
    }

    /// Gives the cheapest slot to `tag`. Relaxed is enough: no slot guards other memory, and what another
    /// worker sees half done is an account of either the old or the new key.
    fn claim(&self, tag: u64) -> usize {
        for _ in 0..WAYS {
            let dues = self.dues.iter().map(|due| due.load(Relaxed));
            let (at, _) = dues
                .enumerate()
                .min_by_key(|(_, due)| *due)
                .unwrap_or((0, 0));
            let (was, due) = (self.tags[at].load(Relaxed), self.dues[at].load(Relaxed));
            if was == tag {
                // Another worker was faster, and may have charged it.
                return self.find(tag).unwrap_or(at);
            }
            if self.tags[at]
                .compare_exchange(was, tag, Relaxed, Relaxed)
                .is_ok()
            {
                // The debt of the key before, and no other: another worker may have charged the new key already.
                let _ = self.dues[at].compare_exchange(due, 0, Relaxed, Relaxed);
                return self.find(tag).unwrap_or(at);
            }
            if let Some(at) = self.find(tag) {
                return at;
            }
        }
        0 // other keys took every slot meanwhile: the key in the first one is charged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000;

    fn limit(limit: u64, secs: u64) -> Limit {
        Limit::new(limit, Duration::from_secs(secs)).expect("a limit")
    }

    #[test]
    fn a_burst_then_the_rate() {
        let table = Table::new(1_000, Secret::random());
        let (ten, key) = (limit(10, 10), 7u128);
        let admitted = |from: u64| {
            (0..100)
                .filter(|_| table.admit((0, key), ten, 1, Tick(from)))
                .count()
        };
        assert_eq!(admitted(0), 10);
        assert_eq!(admitted(SECOND), 1);
        assert_eq!(admitted(3 * SECOND + SECOND / 2), 2);
        assert_eq!(admitted(500 * SECOND), 10);
        assert!(
            table.admit((1, key), ten, 1, Tick(500 * SECOND)),
            "another account of the key"
        );
        assert!(
            table.admit((0, 8u128), ten, 1, Tick(500 * SECOND)),
            "another key"
        );
    }

    #[test]
    fn what_one_may_use_leaves_the_rest_to_others() {
        let table = Table::new(1_000, Secret::random());
        let (hundred, key) = (limit(100, 100), 7);
        let admitted = |most: u64, from: u64| {
            (0..200)
                .filter(|_| table.admit_up_to(key, hundred, most, 1, Tick(from)))
                .count()
        };
        assert_eq!([admitted(30, 0), admitted(30, 0)], [30, 0]);
        assert_eq!([admitted(100, 0), admitted(30, 0)], [70, 0]);
        assert_eq!(admitted(30, 71 * SECOND), 1, "the account is one");
        assert_eq!(
            admitted(1_000, 500 * SECOND),
            100,
            "never more than the limit"
        );
    }

    #[test]
    fn what_is_larger_than_the_limit_passes_once_and_is_paid_for() {
        let table = Table::new(10, Secret::random());
        let limit = limit(100, 100);
        assert!(table.admit((0, 1u8), limit, 300, Tick(0)));
        assert!(!table.admit((0, 1u8), limit, 1, Tick(200 * SECOND)));
        assert!(table.admit((0, 1u8), limit, 1, Tick(201 * SECOND)));
        assert!(
            !table.admit((0, 1u8), limit, 300, Tick(202 * SECOND)),
            "not on a touched account"
        );
        assert!(Limit::new(0, Duration::from_secs(1)).is_none());
        let huge = Limit::new(1, Duration::MAX).expect("a limit");
        assert!(table.admit((0, 2u8), huge, u64::MAX, Tick(u64::MAX)));
    }

    #[test]
    fn a_flood_of_keys_neither_grows_the_table_nor_frees_an_abuser() {
        let table = Table::new(4_096, Secret::random());
        let lines = table.lines.len();
        let limit = limit(100, 100);
        while table.admit((0, u128::MAX), limit, 1, Tick(0)) {}
        for key in 0..1_000_000u128 {
            table.admit((0, key), limit, 1, Tick(0));
        }
        assert_eq!(table.lines.len(), lines);
        assert!(
            !table.admit((0, u128::MAX), limit, 1, Tick(0)),
            "still over its limit"
        );
    }

    #[test]
    // INV-LOCK
    fn workers_together_admit_no_more_than_one() {
        let table = Table::new(1_000, Secret::random());
        let limit = limit(1_000, 1_000);
        let admitted = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mine = (0..1_000)
                        .filter(|_| table.admit((0, 1u8), limit, 1, Tick(0)))
                        .count();
                    admitted.fetch_add(mine as u64, Relaxed);
                });
            }
        });
        assert_eq!(admitted.into_inner(), 1_000);
    }

    #[test]
    fn a_worker_that_comes_second_forgives_nothing() {
        let line = Line::default();
        let (first, second) = (line.claim(7), line.claim(7));
        assert_eq!(line.find(7), Some(first));
        // The first one has charged, and the second one, which had not found the key before, takes the same slot.
        for (at, due) in line.dues.iter().enumerate() {
            due.store(if at == first { 5 } else { 9 }, Relaxed);
        }
        assert_eq!((second, line.claim(7)), (first, first));
        assert_eq!(line.dues[first].load(Relaxed), 5);
        assert_eq!(line.claim(8), first, "another key takes the cheapest slot");
        assert_eq!(line.dues[first].load(Relaxed), 0, "and no debt with it");
    }

    #[test]
    fn accounts_outlive_a_restart() {
        let secret = Secret::random();
        let (before, after) = (Table::new(1_000, secret), Table::new(2_000, secret));
        let limit = limit(10, 100);
        while before.admit((0, "key"), limit, 1, Tick(50 * SECOND)) {}
        assert!(before.admit((0, "other"), limit, 1, Tick(50 * SECOND)));
        let moment = |tick: u64, unix: u64| Moment {
            tick: tick * SECOND,
            unix: unix * SECOND,
        };
        let mut kept = Vec::new();
        before.each(moment(50, 1_000), |entry| kept.push(entry));
        assert_eq!(kept.len(), 2);
        // The machine has started anew 20 seconds ago, and 15 seconds have passed.
        for entry in kept {
            after.take_in(entry, moment(20, 1_015));
        }
        let admitted = (0..20).filter(|_| after.admit((0, "key"), limit, 1, Tick(20 * SECOND)));
        assert_eq!(admitted.count(), 1);
    }

    proptest! {
        #[test]
        fn no_window_sees_more_than_burst_and_rate(
            max in 1u64..50,
            secs in 1u64..60,
            steps in proptest::collection::vec((0u64..5_000_000, 1u64..5), 1..200),
        ) {
            let table = Table::new(64, Secret::random());
            let limit = limit(max, secs);
            let (mut now, mut admitted) = (0u64, Vec::new());
            for (wait, cost) in steps {
                now += wait;
                if cost <= max && table.admit((0, 1u8), limit, cost, Tick(now)) {
                    admitted.push((now, cost));
                }
            }
            for (i, (from, _)) in admitted.iter().enumerate() {
                let mut sum = 0;
                for (to, cost) in &admitted[i..] {
                    sum += cost;
                    let window = (to - from) as f64 / SECOND as f64;
                    let most = max as f64 * (1.0 + window / secs as f64);
                    prop_assert!(sum as f64 <= most * (1.0 + 1e-6), "{sum} in {window} s, at most {most}");
                }
            }
        }
    }
}
