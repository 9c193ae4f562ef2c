//! What backends do, noted: connections and messages, and what that changes.

use super::{
    health::Trouble,
    outlier::Counts,
    pools::{Local, Pools},
};
use crate::{
    metrics::{Counter, Gauge},
    net::now,
    smtp::Tick,
};
use std::rc::Rc;

impl Pools {
    /// Takes note that a backend failed; `detail` is what the system or the backend said of it.
    pub(super) fn failed(
        &self,
        local: &Rc<Local>,
        place: usize,
        trouble: Trouble,
        detail: Option<String>,
    ) {
        let backend = &local.pool.backends[place];
        if trouble.counts() && backend.health.fail(now(), &local.pool.rules) {
            self.changed(local, place, Some((trouble, detail)));
        }
    }

    /// Takes note that a backend took a connection, greeted and said what it can do. One that is held for what became of
    /// its messages does that too: its time must be over.
    pub(super) fn succeeded(&self, local: &Rc<Local>, place: usize) {
        let (backend, now) = (&local.pool.backends[place], now());
        if backend.outcomes.held(now).is_none() && backend.health.succeed(now, &local.pool.rules) {
            self.changed(local, place, None);
        }
    }

    /// Takes note of what became of a message at a backend. One that fails most of its messages while the others take
    /// theirs is held: left out where `eject_max` allows, else with the least weight. `network` is that of a client whose
    /// failures count once ([`Outcomes::is_first_of`](super::outlier::Outcomes::is_first_of)).
    pub(super) fn noted(
        &self,
        local: &Rc<Local>,
        place: usize,
        failed: bool,
        network: Option<u128>,
        now: Tick,
    ) {
        let pool = &local.pool;
        let backend = &pool.backends[place];
        if failed && network.is_some_and(|network| !backend.outcomes.is_first_of(network, now)) {
            return;
        }
        backend.outcomes.note(failed, now);
        if !failed || backend.health.is_ejected() {
            return;
        }
        let others = pool.backends.iter().filter(|other| other.id != backend.id);
        let others = others
            .map(|other| other.outcomes.latest(now))
            .fold(Counts::default(), Counts::plus);
        let latest = backend.outcomes.latest(now);
        if !latest.stands_out_from(others) || !backend.outcomes.hold(now, pool.rules.backoff_max) {
            return;
        }
        let until = backend.outcomes.held(now).unwrap_or(now);
        let ejected = pool.backends.iter().filter(|b| b.health.is_ejected());
        if ejected.count() < pool.ejectable() && backend.health.leave_out(now, until) {
            let Counts { tried, failed } = latest;
            let detail = format!("{failed} of {tried}");
            self.changed(local, place, Some((Trouble::Outlier, Some(detail))));
        }
    }

    /// Tells of a change of health, and lets all leases that wait choose again.
    pub(super) fn changed(
        &self,
        local: &Rc<Local>,
        place: usize,
        ejected: Option<(Trouble, Option<String>)>,
    ) {
        let backend = &local.pool.backends[place];
        let (counter, up) = match ejected {
            Some(_) => (Counter::HealthDown, 0),
            None => (Counter::HealthUp, 1),
        };
        let scope = local.scopes[place];
        self.recorder.count(counter, scope, 1);
        self.recorder.registry().set(Gauge::BackendUp, scope, up);
        self.backends().changes().tell(now(), backend, ejected);
        local.pool.queue.retry_all();
    }
}
