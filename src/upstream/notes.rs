//! What backends do, noted: connections and messages, and what that changes.

use super::{
    error::Broken,
    health::Trouble,
    lease::Lease,
    outlier::{Counts, is_trouble},
    pooling::backend::Backend,
    pools::{Local, Pools},
};
use crate::{
    client_key,
    config::Balance,
    metrics::{Counter, Gauge},
    net::{now, waits_are_over},
    smtp::{Tick, backend_session::Event},
};
use std::{rc::Rc, sync::Arc, time::Duration};

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
        if trouble.counts() && !waits_are_over() && backend.health.fail(now(), &local.pool.rules) {
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
        if latest.stands_out_from(others) {
            let Counts { tried, failed } = latest;
            let detail = format!("{failed} of {tried}");
            self.hold(local, place, (Trouble::Outlier, Some(detail)), now);
        }
    }

    /// Takes note of a question that a backend has not answered in time, and holds it as one that fails its messages where
    /// questions of several networks hang and another backend answers. `client`: the key of the client that it was asked for.
    pub(super) fn unanswered(
        &self,
        local: &Rc<Local>,
        place: usize,
        waited: Duration,
        client: Option<u128>,
        now: Tick,
    ) {
        let pool = &local.pool;
        let backend = &pool.backends[place];
        let network = client.map(client_key::prefix_of);
        if !pool.is_hang(waited)
            || !backend.answers.hangs(network, now)
            || backend.health.is_ejected()
        {
            return;
        }
        let since = backend.answers.silence.since();
        let answers = |other: &Arc<Backend>| {
            other.id != backend.id && !other.health.is_ejected() && other.answers.heard_since(since)
        };
        if pool.backends.iter().any(answers) {
            backend.answers.forget();
            self.hold(local, place, (Trouble::Unanswered, None), now);
        }
    }

    /// Holds a backend: left out where `eject_max` allows, else with the least weight.
    fn hold(&self, local: &Rc<Local>, place: usize, why: (Trouble, Option<String>), now: Tick) {
        let pool = &local.pool;
        let backend = &pool.backends[place];
        if !backend.outcomes.hold(now, pool.rules.backoff_max) {
            return;
        }
        let until = backend.outcomes.held(now).unwrap_or(now);
        let ejected = pool.backends.iter().filter(|b| b.health.is_ejected());
        if ejected.count() < pool.ejectable() && backend.health.leave_out(now, until) {
            self.changed(local, place, Some(why));
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

impl Lease {
    /// Takes note of what an event of a message says about the backend.
    pub(super) fn note(&mut self, event: Event) {
        let now = self.now();
        if self.asks {
            // A refused MAIL is an answer as well; one that was taken is not told.
            if let Event::Verified(_) | Event::Sender(_) = event {
                self.backend().answers.heard(now, self.waited);
            }
            return;
        }
        self.backend().silence.hear(event, now, self.waited);
        let failed = match event {
            Event::Recipient(_, head) => {
                self.hear_recipient(head);
                return;
            }
            Event::Go | Event::Refused => {
                if let Some(limit) = self.tally.shown() {
                    self.backend().learned.learn(limit, now);
                }
                return;
            }
            Event::Sender(head) | Event::Final(head) | Event::FinalFor(_, head) => {
                let by_recipient = self.local.pool.balance == Balance::HashRecipient;
                let failed = is_trouble(head, by_recipient);
                // MAIL that was taken, or refused for good, says nothing yet.
                if !failed && (matches!(event, Event::Sender(_)) || head.is_transient()) {
                    return;
                }
                failed
            }
            _ => return,
        };
        self.pools
            .noted(&self.local, self.place, failed, self.network(), now);
    }

    /// The network of its client, where that may have chosen the backend, or where the backend was told of it.
    fn network(&self) -> Option<u128> {
        let by_recipient = self.local.pool.balance == Balance::HashRecipient;
        let is_its_own = by_recipient || self.conn().owner.is_some();
        let client = self.held.client.filter(|_| is_its_own);
        client.map(client_key::prefix_of)
    }

    pub(super) fn take_note(&self, broken: &Broken) {
        if broken.uncertain {
            self.pools
                .recorder
                .count(Counter::Uncertain, self.scope(), 1);
        }
        // It was we that went.
        if waits_are_over() {
            return;
        }
        let refused = self.conn().strain.has_refusals();
        // An idle connection that the backend was just closing says nothing about its health. Trouble over one message may
        // be about that message: a stranger's addresses can cause it (a filter that says 421 to a sender, a look-up that
        // hangs), and would eject the whole pool. So the backend is asked at once whether it works otherwise.
        let is_suspicious = match broken.trouble {
            Trouble::Timeout => true,
            // 421 to a client that it was told of may be about that client, and 421 after refusals is about those.
            Trouble::Unavailable => self.conn().owner.is_none() && !refused,
            _ => false,
        };
        if !broken.stale && is_suspicious {
            self.backend().health.suspect(self.now());
        }
        if !broken.stale && !self.asks && !refused && broken.trouble.counts() {
            self.pools
                .noted(&self.local, self.place, true, self.network(), self.now());
        }
    }
}
