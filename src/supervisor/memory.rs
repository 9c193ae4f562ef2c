//! What is to outlive a restart (`[state]`): read before the first worker starts, written now and then while they run, and
//! once more when they have ended. Mail never waits for it: a write that fails is told, and the next one tries again.
//!
//! While the system's clock is not set, the calendar goes on from the time at which the file was written, so that nothing in it
//! is over; and the file stays as it is, for the times in a new one would be guesses.

use crate::{
    auth::Service,
    config::Config,
    log::say,
    metrics::{Counter, Gauge, Registry, Scope},
    net::{calendar, calendar_from, calendar_is_set, now},
    policy::Shared,
    state::{Loaded, Moment, Secret, Snapshot, Store},
};
use std::sync::{Mutex, PoisonError};

/// Where it is kept.
pub(super) struct Memory {
    store: Option<Store>,
    /// What keys are hashed with.
    pub secret: Secret,
    /// Why the last write failed: told when it changes, and not each time.
    failing: Mutex<Option<String>>,
}

impl Memory {
    /// Reads what was kept; says what it found.
    pub fn load(config: &Config) -> (Memory, Option<Box<Snapshot>>) {
        let store = config.state.directory.as_deref().map(Store::new);
        let entries = Shared::kept_max(&config.policies()) + Service::KEPT_MAX;
        let kept = store
            .as_ref()
            .and_then(|store| found(store, store.load(entries)));
        if let Some(kept) = &kept {
            calendar_from(kept.made);
        }
        let memory = Memory {
            store,
            secret: kept
                .as_ref()
                .map_or_else(Secret::random, |kept| kept.secret),
            failing: Mutex::default(),
        };
        (memory, kept)
    }

    /// Writes what is known now. Blocks for as long as the disk takes.
    pub fn save(&self, shared: &Shared, auth: &Service, registry: &Registry) {
        let Some(store) = &self.store else {
            return;
        };
        // Held over the write: two at once would write the same file.
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let moment = moment();
        let mut sections = shared.sections(moment);
        sections.extend(auth.sections(moment));
        let snapshot = Snapshot {
            secret: self.secret,
            made: moment.unix,
            sections,
        };
        match write(store, &snapshot, calendar_is_set()) {
            Ok(()) => {
                registry.count(Counter::StateWritten, Scope::NONE, 1);
                registry.set(Gauge::StateWrittenAt, Scope::NONE, moment.seconds() as i64);
                if failing.take().is_some() {
                    say!(Info, "state: {} is written again", store.file().display());
                }
            }
            Err(why) => {
                registry.count(Counter::StateFailed, Scope::NONE, 1);
                if failing.as_ref() != Some(&why) {
                    say!(
                        Warn,
                        "state: {} can't be written: {why}; mail goes on, and a restart would lose what was counted since",
                        store.file().display()
                    );
                    *failing = Some(why);
                }
            }
        }
    }
}

/// Writes a snapshot whose times are right.
fn write(store: &Store, snapshot: &Snapshot, times_are_right: bool) -> Result<(), String> {
    match times_are_right {
        true => store.save(snapshot).map_err(|why| why.to_string()),
        false => Err("the system's clock is not set".into()),
    }
}

/// The snapshot among what a store had; says what it was.
fn found(store: &Store, loaded: Loaded) -> Option<Box<Snapshot>> {
    let file = store.file();
    let file = file.display();
    match loaded {
        Loaded::Nothing => say!(
            Info,
            "state: {file} is not there yet: nothing is remembered"
        ),
        Loaded::Snapshot(snapshot) => {
            let entries = snapshot.entries();
            match written(snapshot.made, moment().unix) {
                Ok(when) => say!(Info, "state: {entries} entries read from {file}, {when}"),
                Err(when) => say!(Warn, "state: {entries} entries read from {file}, {when}"),
            }
            return Some(snapshot);
        }
        Loaded::SetAside(why, Ok(aside)) => say!(
            Warn,
            "state: {file} can't be used: {why}; moved to {}, and nothing is remembered",
            aside.display()
        ),
        Loaded::SetAside(why, Err(error)) => say!(
            Warn,
            "state: {file} can't be used: {why}; it can't be moved away either ({error}), and nothing is remembered"
        ),
        Loaded::Unreadable(why) => say!(
            Warn,
            "state: {file} can't be read: {why}; nothing is remembered"
        ),
    }
    None
}

/// When it was written, in words. `Err`: at a time that is still to come.
fn written(made: u64, now: u64) -> Result<String, String> {
    match made.saturating_sub(now) / 1_000_000 {
        0 => {
            let age = now.saturating_sub(made) / 1_000_000;
            Ok(format!("written {age} s ago"))
        }
        ahead => Err(format!(
            "written by a clock that was {ahead} s ahead of this one: is the time right?"
        )),
    }
}

/// Gives the tables what was kept, or at least the secret that it will be kept under.
pub(super) fn restore(
    memory: &Memory,
    kept: Option<Box<Snapshot>>,
    shared: &Shared,
    auth: &Service,
) {
    let kept = kept.map_or_else(
        || Snapshot {
            secret: memory.secret,
            made: 0,
            sections: Vec::new(),
        },
        |kept| *kept,
    );
    let mut moment = moment();
    // The clock was set back since: no time has passed.
    moment.unix = moment.unix.max(kept.made);
    shared.restore(&kept, moment);
    auth.restore(&kept, moment);
}

fn moment() -> Moment {
    let now = now();
    Moment {
        tick: now.0,
        unix: calendar(now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_ahead_is_told() {
        let now = 50_000_000;
        for (made, age) in [(0, 50), (49_000_001, 0), (now, 0), (now + 999_999, 0)] {
            assert_eq!(written(made, now), Ok(format!("written {age} s ago")));
        }
        let why = written(now + 3_600_000_000, now).expect_err("an hour ahead");
        assert!(why.contains("a clock that was 3600 s ahead"), "{why}");
    }

    #[test]
    fn what_was_kept_stays_while_the_clock_is_not_set() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path());
        let made = |made| Snapshot {
            secret: Secret::random(),
            made,
            sections: Vec::new(),
        };
        let kept = || match store.load(0) {
            Loaded::Snapshot(snapshot) => *snapshot,
            other => panic!("{other:?}"),
        };
        let (first, second) = (made(1), made(2));
        assert_eq!(write(&store, &first, true), Ok(()));
        let why = write(&store, &second, false).expect_err("the clock is not set");
        assert_eq!(why, "the system's clock is not set");
        assert_eq!(kept(), first);
        assert_eq!(write(&store, &second, true), Ok(()));
        assert_eq!(kept(), second);
    }
}
