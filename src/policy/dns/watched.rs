//! A list in use: whether it is in order is watched for the whole process.
//!
//! Until a probe has found it in order, what it says does not count either: it is as if it had not answered. A list that has been
//! given up may list the whole world, and the mail of the first moments after a start is worth as much as that of any other.
//!
//! Two things switch it off: a probe of its test entries ([`super::probe`]), at the start and every hour, and the share of its
//! answers that say yes ([`super::runaway`]). While it is off it is not asked, and what it has said does not count.

use super::{
    probe::{Health, Probe},
    runaway::{Change, Guard, Limits},
    zone::Zone,
};
use crate::log::say;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

/// From one probe of a list that is in use to the next, in milliseconds.
pub const PROBE_EVERY_MS: u64 = 3_600_000;
/// From one probe of a list that has not answered to any so far to the next, in milliseconds.
pub const PROBE_AGAIN_MS: u64 = 5_000;

/// A list and how it does.
pub struct Watched {
    zone: Arc<Zone>,
    guard: Mutex<Guard>,
    off: AtomicBool,
    /// A probe has had its answer.
    probed: AtomicBool,
    /// When it was probed last, plus one; 0: never.
    probed_ms: AtomicU64,
}

impl Watched {
    /// In use, and not probed. `percent`: the share of yes at which it is switched off; above 100 never.
    #[must_use]
    pub fn new(zone: Zone, percent: u32) -> Watched {
        let limits = Limits {
            percent: u8::try_from(percent).unwrap_or(u8::MAX),
            ..Limits::default()
        };
        Watched {
            zone: Arc::new(zone),
            guard: Mutex::new(Guard::new(limits)),
            off: AtomicBool::new(false),
            probed: AtomicBool::new(false),
            probed_ms: AtomicU64::new(0),
        }
    }

    /// Takes over how the same list did under the configuration before, where `before` is that.
    pub fn follow(&self, before: &Watched) {
        if *self.zone != *before.zone {
            return;
        }
        self.guard().follow(&before.guard());
        self.off.store(self.guard().off().is_some(), Relaxed);
        self.probed.store(before.is_probed(), Relaxed);
        self.probed_ms
            .store(before.probed_ms.load(Relaxed), Relaxed);
    }

    /// The list.
    #[must_use]
    pub fn zone(&self) -> &Arc<Zone> {
        &self.zone
    }

    /// Whether it is not used now.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.off.load(Relaxed)
    }

    /// Whether it is known how it does: before that nothing counts that it says.
    #[must_use]
    pub fn is_probed(&self) -> bool {
        self.probed.load(Relaxed)
    }

    /// Takes it for a list that is in order, without a probe: for trials, and answers from a file.
    pub fn take_for_probed(&self) {
        self.probed.store(true, Relaxed);
    }

    /// Counts an answer that came from a server, not from the cache.
    pub fn count(&self, listed: bool, now_ms: u64) {
        let change = self.guard().count(listed, now_ms);
        self.changed(change);
    }

    /// The probe that is due, if one is.
    #[must_use]
    pub fn due(&self, now_ms: u64) -> Option<Probe> {
        let last = self.probed_ms.load(Relaxed);
        let every = match self.is_probed() {
            true => PROBE_EVERY_MS,
            false => PROBE_AGAIN_MS,
        };
        let is_due =
            last == 0 || now_ms.saturating_sub(last - 1) >= every || self.guard().is_due(now_ms);
        is_due.then(|| {
            self.probed_ms.store(now_ms + 1, Relaxed);
            Probe::new(Arc::clone(&self.zone))
        })
    }

    /// What the probe found.
    pub fn probed(&self, health: Health, now_ms: u64) {
        let change = self.guard().probed(health, now_ms);
        self.changed(change);
        if !matches!(health, Health::Unknown(_)) {
            self.probed.store(true, Relaxed);
        }
    }

    fn changed(&self, change: Option<Change>) {
        let name = self.zone.name.label();
        match change {
            Some(Change::Off(why)) => say!(Warn, "dnsbl {name} is not used for now: {why}"),
            Some(Change::On) => say!(Info, "dnsbl {name} is used again"),
            None => return,
        }
        self.off
            .store(matches!(change, Some(Change::Off(_))), Relaxed);
    }

    fn guard(&self) -> MutexGuard<'_, Guard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dns::Unknown,
        policy::dns::{probe::Why, testing::zone},
    };

    #[test]
    fn a_list_is_probed_at_the_start_and_every_hour() {
        let list = Watched::new(zone("bl.example", &[(&[], 1.0)]), 98);
        assert!(list.due(5).is_some());
        assert!(list.due(6).is_none(), "it is on its way");
        list.probed(Health::Healthy, 7);
        assert!(list.due(5 + PROBE_AGAIN_MS).is_none());
        assert!(list.due(5 + PROBE_EVERY_MS).is_some());
    }

    #[test]
    fn a_list_that_answers_to_no_probe_is_probed_again_soon() {
        let list = Watched::new(zone("bl.example", &[(&[], 1.0)]), 98);
        for round in 0..3 {
            assert!(list.due(round * PROBE_AGAIN_MS).is_some());
            list.probed(Health::Unknown(Unknown::Timeout), 0);
            assert!(!list.is_probed());
        }
        assert!(list.due(3 * PROBE_AGAIN_MS).is_some());
        list.probed(Health::Healthy, 0);
        assert!(list.is_probed() && list.due(4 * PROBE_AGAIN_MS).is_none());
        // What was known once holds.
        list.probed(Health::Unknown(Unknown::Timeout), 0);
        assert!(list.is_probed());
    }

    #[test]
    fn a_list_that_is_broken_is_off_until_it_is_well() {
        let list = Watched::new(zone("bl.example", &[(&[], 1.0)]), 98);
        let broken = Health::Broken(Why::Listed("127.0.0.1"));
        list.probed(broken, 10);
        assert!(list.is_off());
        let pause = Limits::default().pause_ms;
        assert!(list.due(0).is_some());
        assert!(list.due(11).is_none());
        assert!(list.due(10 + pause).is_some());
        list.probed(Health::Healthy, 10 + pause);
        assert!(!list.is_off());
    }

    #[test]
    fn a_reload_does_not_forget_that_a_list_is_off() {
        let list = |name: &str, percent| Watched::new(zone(name, &[(&[], 1.0)]), percent);
        let before = list("bl.example", 98);
        assert!(before.due(5).is_some());
        before.probed(Health::Broken(Why::Listed("127.0.0.1")), 10);
        for (name, is_off) in [("bl.example", true), ("other.example", false)] {
            let after = list(name, 50);
            after.follow(&before);
            assert_eq!(after.is_off(), is_off, "{name}");
            assert_eq!(after.due(11).is_none(), is_off, "{name}");
        }
    }

    #[test]
    fn one_that_says_yes_to_all_is_off() {
        let list = Watched::new(zone("bl.example", &[(&[], 1.0)]), 98);
        for _ in 0..1000 {
            list.count(true, 0);
        }
        assert!(list.is_off());
    }
}
