//! A list in use: whether it is in order is watched for the whole process.
//!
//! Until a probe has found it in order, what it says does not count either: it is as if it had not answered. A list that has been
//! given up may list the whole world, and the mail of the first moments after a start is worth as much as that of any other.
//!
//! Only a probe switches it off ([`super::probe`]): of its test entries, at the start and every hour, and at once, with samples,
//! where what it says raises a suspicion ([`super::runaway`]). While it is off it is not asked, and what it has said does not
//! count.

use super::{
    probe::{Health, Probe, Why},
    runaway::{Change, Guard, Limits, Said},
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
    /// It has an answer for each address, such as its country.
    may_list_all: bool,
    guard: Mutex<Guard>,
    off: AtomicBool,
    /// A probe has had its answer.
    probed: AtomicBool,
    /// When it was probed last, plus one; 0: never.
    probed_ms: AtomicU64,
}

impl Watched {
    /// In use, and not probed. `percent`: the share of yes at which it is suspected of listing everything; above 100: never, and
    /// it may list every sample.
    #[must_use]
    pub fn new(zone: Zone, percent: u32) -> Watched {
        let limits = Limits {
            percent: u8::try_from(percent).unwrap_or(u8::MAX),
            ..Limits::default()
        };
        Watched {
            zone: Arc::new(zone),
            may_list_all: percent > 100,
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
    pub fn count(&self, said: Said, now_ms: u64) {
        self.guard().count(said, now_ms);
    }

    /// The probe that is due, if one is. `random` gives numbers that clients can't foresee.
    #[must_use]
    pub fn due(&self, now_ms: u64, random: impl FnMut() -> u64) -> Option<Probe> {
        let last = self.probed_ms.load(Relaxed);
        let every = match self.is_probed() {
            true => PROBE_EVERY_MS,
            false => PROBE_AGAIN_MS,
        };
        let (suspicion, is_pause_over, off) = {
            let mut guard = self.guard();
            (guard.suspicion(now_ms), guard.is_due(now_ms), guard.off())
        };
        if let Some(why) = suspicion {
            let name = self.zone.name.label();
            say!(Debug, "dnsbl {name} is probed out of turn: {why}");
        }
        let is_due = last == 0
            || now_ms.saturating_sub(last - 1) >= every
            || suspicion.is_some()
            || is_pause_over;
        // One that had every sample listed comes back when it has not.
        let wants_samples = suspicion.is_some() || matches!(off, Some(Why::Samples(..)));
        is_due.then(|| {
            self.probed_ms.store(now_ms + 1, Relaxed);
            let probe = Probe::new(Arc::clone(&self.zone));
            match wants_samples && !self.may_list_all {
                true => probe.with_samples(random),
                false => probe,
            }
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
        dns::{Answer, Question, Record, Unknown},
        policy::dns::testing::{numbers, run, zone},
    };

    fn due(list: &Watched, now_ms: u64) -> Option<Probe> {
        list.due(now_ms, numbers(now_ms))
    }

    #[test]
    fn a_list_is_probed_at_the_start_and_every_hour() {
        let list = Watched::new(zone("bl.example", &[(&[], 1.0)]), 98);
        assert!(due(&list, 5).is_some());
        assert!(due(&list, 6).is_none(), "it is on its way");
        list.probed(Health::Healthy, 7);
        assert!(due(&list, 5 + PROBE_AGAIN_MS).is_none());
        assert!(due(&list, 5 + PROBE_EVERY_MS).is_some());
    }

    #[test]
    fn a_list_that_answers_to_no_probe_is_probed_again_soon() {
        let list = Watched::new(zone("bl.example", &[(&[], 1.0)]), 98);
        for round in 0..3 {
            assert!(due(&list, round * PROBE_AGAIN_MS).is_some());
            list.probed(Health::Unknown(Unknown::Timeout), 0);
            assert!(!list.is_probed());
        }
        assert!(due(&list, 3 * PROBE_AGAIN_MS).is_some());
        list.probed(Health::Healthy, 0);
        assert!(list.is_probed() && due(&list, 4 * PROBE_AGAIN_MS).is_none());
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
        assert!(due(&list, 0).is_some());
        assert!(due(&list, 11).is_none());
        assert!(due(&list, 10 + pause).is_some());
        list.probed(Health::Healthy, 10 + pause);
        assert!(!list.is_off());
    }

    #[test]
    fn a_reload_does_not_forget_that_a_list_is_off() {
        let list = |name: &str, percent| Watched::new(zone(name, &[(&[], 1.0)]), percent);
        let before = list("bl.example", 98);
        assert!(due(&before, 5).is_some());
        before.probed(Health::Broken(Why::Listed("127.0.0.1")), 10);
        for (name, is_off) in [("bl.example", true), ("other.example", false)] {
            let after = list(name, 50);
            after.follow(&before);
            assert_eq!(after.is_off(), is_off, "{name}");
            assert_eq!(due(&after, 11).is_none(), is_off, "{name}");
        }
    }

    /// Whether the list says yes to a name.
    type IsListed<'a> = &'a dyn Fn(&str) -> bool;

    /// What a probe finds where the list says yes to every question that `is_listed` picks.
    fn found(probe: &Probe, is_listed: impl Fn(&str) -> bool) -> Health {
        let answer = |question: &Question| match is_listed(&question.name) {
            true => Answer::Found([Record::A([127, 0, 0, 2].into())].into()),
            false => Answer::NoName,
        };
        run(|answers| probe.step(answers), answer).0
    }

    #[test]
    fn one_that_says_yes_to_all_is_off() {
        let is_test = |name: &str| name.starts_with("2.0.0.127.");
        let is_one =
            |name: &str| name.starts_with("1.0.0.127.") || name.starts_with("1.0.0.0.0.0.f.7");
        let lists: [(IsListed<'_>, bool); 3] = [
            (&|_| true, true),
            (&|name| !is_one(name), true),
            // All that its clients asked about, and no more: they chose it.
            (&is_test, false),
        ];
        for (place, (is_listed, is_off)) in lists.into_iter().enumerate() {
            let list = Watched::new(zone("bl.example", &[(&[], 1.0)]), 98);
            assert!(due(&list, 0).is_some());
            list.probed(Health::Healthy, 0);
            let mut now = 10;
            for _ in 0..1000 {
                list.count(Said::Yes, now);
            }
            assert!(!list.is_off(), "{place}: no answer alone does it");
            list.probed(found(&due(&list, now).expect("at once"), is_listed), now);
            assert_eq!(list.is_off(), is_off, "{place}");
            // It stays off as long as it is so, and comes back with the first good probe.
            now += 20 * 60_000;
            if let Some(probe) = due(&list, now) {
                list.probed(found(&probe, is_listed), now);
            }
            assert_eq!(list.is_off(), is_off, "{place}");
            now += 20 * 60_000;
            if let Some(probe) = due(&list, now) {
                list.probed(found(&probe, is_test), now);
            }
            assert!(!list.is_off(), "{place}");
        }
    }

    #[test]
    fn one_that_may_list_all_is_not_asked_for_samples() {
        let list = Watched::new(zone("bl.example", &[(&[], 1.0)]), 101);
        assert!(due(&list, 0).is_some());
        list.probed(Health::Healthy, 0);
        for _ in 0..1000 {
            list.count(Said::Yes, 10);
        }
        assert!(due(&list, 10).is_none());
        list.count(Said::Error, 10);
        let probe = due(&list, 10).expect("an error is never right");
        let is_one =
            |name: &str| name.starts_with("1.0.0.127.") || name.starts_with("1.0.0.0.0.0.f.7");
        assert_eq!(found(&probe, |name| !is_one(name)), Health::Healthy);
    }
}
