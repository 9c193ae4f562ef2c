//! A worker's hand: records latencies, events and levels without a lock.

use super::{
    counter::{Counter, Gauge},
    registry::Registry,
    scope::{Kind, Scope},
    sheet::Sheet,
    snapshot::Snapshot,
    stage::Stage,
    track::Track,
};
use std::{cell::RefCell, rc::Rc, sync::Arc};

/// Records for one worker. A clone records into the same place. It stays on its thread.
///
/// A record costs some 15 ns, a count 3; the first one of a stage in a scope allocates 8 KiB, and a histogram that
/// meets a longer latency than ever before grows (16 KiB up to 8 ms, 56 KiB up to 8 s, 92 KiB for an hour).
#[derive(Clone)]
pub struct Recorder(Rc<Inner>);

/// Histograms of one scope, one place a stage.
type Tracks = [Option<Box<Track>>; Stage::COUNT];

struct Inner {
    registry: Arc<Registry>,
    sheet: Arc<Sheet>,
    tracks: RefCell<Vec<Option<Box<Tracks>>>>,
    /// `who@phase` and phases seen: a handful of static strings, found by a short linear search.
    ends: RefCell<Vec<(&'static str, &'static str, Scope)>>,
}

impl Drop for Inner {
    /// A worker that ended has no sessions and no connections, however it ended. What it counted stays.
    fn drop(&mut self) {
        self.sheet.clear_gauges();
    }
}

impl Registry {
    /// A recorder for a worker. Call it on the worker's thread, once for each worker: the recorder stays
    /// there, its counters are read through this registry.
    pub fn worker(self: &Arc<Self>) -> Recorder {
        Recorder::new(Arc::clone(self), self.sheet())
    }
}

impl Recorder {
    fn new(registry: Arc<Registry>, sheet: Arc<Sheet>) -> Recorder {
        Recorder(Rc::new(Inner {
            registry,
            sheet,
            tracks: RefCell::default(),
            ends: RefCell::default(),
        }))
    }

    /// A recorder with a registry of its own, for tests and tools.
    #[must_use]
    pub fn alone() -> Recorder {
        Registry::new().worker()
    }

    /// The registry that this recorder belongs to.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.0.registry
    }

    /// One latency in microseconds; longer than an hour counts as an hour.
    #[inline]
    pub fn record(&self, stage: Stage, scope: Scope, micros: u64) {
        // Nothing in here calls out, so the borrow can't be met by another.
        let mut tracks = self.0.tracks.borrow_mut();
        if let Some(Some(tracks)) = tracks.get_mut(scope.index())
            && let Some(track) = &mut tracks[stage as usize]
        {
            track.record(micros);
        } else {
            first(&mut tracks, stage, scope).record(micros);
        }
    }

    /// Counts `n` events.
    #[inline]
    pub fn count(&self, counter: Counter, scope: Scope, n: u64) {
        self.0.sheet.count(counter, scope, n);
    }

    /// Raises or lowers a gauge.
    #[inline]
    pub fn add(&self, gauge: Gauge, scope: Scope, delta: i64) {
        self.0.sheet.add(gauge, scope, delta);
    }

    /// Sets a gauge of this worker; those of all workers are added up.
    #[inline]
    pub fn set(&self, gauge: Gauge, scope: Scope, value: i64) {
        self.0.sheet.set(gauge, scope, value);
    }

    /// Counts the end of a session, `who@phase`: `ended("client", "body")`.
    pub fn ended(&self, who: &'static str, phase: &'static str) {
        let scope = self.seen(who, phase, || {
            self.0.registry.scope(Kind::End, &format!("{who}@{phase}"))
        });
        self.count(Counter::Ended, scope, 1);
    }

    /// Counts a deadline that passed in a phase.
    pub fn timed_out(&self, phase: &'static str) {
        let scope = self.seen("", phase, || self.0.registry.scope(Kind::Phase, phase));
        self.count(Counter::Timeouts, scope, 1);
    }

    fn seen(&self, who: &'static str, phase: &'static str, make: impl FnOnce() -> Scope) -> Scope {
        let mut ends = self.0.ends.borrow_mut();
        if let Some((_, _, scope)) = ends.iter().find(|seen| seen.0 == who && seen.1 == phase) {
            return *scope;
        }
        let scope = make();
        ends.push((who, phase, scope));
        scope
    }

    /// A copy of this worker's histograms, to be sent to another thread. A plain copy of memory: some
    /// microseconds for each histogram.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let tracks = self.0.tracks.borrow();
        let mut entries = Vec::new();
        for (number, tracks) in (0u16..).zip(tracks.iter()) {
            let Some(tracks) = tracks else { continue };
            for (stage, track) in Stage::ALL.iter().zip(tracks.iter()) {
                if let Some(track) = track {
                    entries.push((*stage, Scope::numbered(number), (**track).clone()));
                }
            }
        }
        Snapshot::new(entries)
    }
}

/// Makes the histogram of a stage in a scope.
#[cold]
fn first(tracks: &mut Vec<Option<Box<Tracks>>>, stage: Stage, scope: Scope) -> &mut Track {
    if tracks.len() <= scope.index() {
        tracks.resize_with(scope.index() + 1, || None);
    }
    let tracks =
        tracks[scope.index()].get_or_insert_with(|| Box::new([const { None }; Stage::COUNT]));
    tracks[stage as usize].get_or_insert_with(Box::default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_timeouts_have_their_own_names() {
        let recorder = Recorder::alone();
        recorder.ended("client", "body");
        recorder.ended("client", "body");
        recorder.ended("gatepost", "body");
        recorder.timed_out("body");
        let registry = recorder.registry();
        let end = registry.scope(Kind::End, "client@body");
        assert_eq!(registry.counter(Counter::Ended, end), 2);
        let phase = registry.scope(Kind::Phase, "body");
        assert_eq!(registry.counter(Counter::Timeouts, phase), 1);
    }

    #[test]
    fn a_worker_that_ended_leaves_its_counts_but_no_level() {
        let registry = Registry::new();
        let worker = registry.worker();
        worker.count(Counter::Panics, Scope::NONE, 1);
        worker.add(Gauge::BodyMemory, Scope::NONE, 100);
        let clone = worker.clone();
        drop(worker);
        assert_eq!(registry.gauge(Gauge::BodyMemory, Scope::NONE), 100);
        drop(clone);
        assert_eq!(registry.gauge(Gauge::BodyMemory, Scope::NONE), 0);
        assert_eq!(registry.counter(Counter::Panics, Scope::NONE), 1);
    }
}
