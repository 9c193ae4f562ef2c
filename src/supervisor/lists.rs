//! Probes the lists in the DNS that the policy uses: before the start, before a reload that brings new ones, every hour, when what
//! one says raises a suspicion, and when one that was switched off may come back. The control thread drives them; what they ask runs on the
//! DNS thread.
//!
//! Nothing that a list says counts before a probe has found it in order. A start waits for that, for as long as a session would
//! wait for an answer: longer, and a DNS that is down would keep the mail out that needs none.

use crate::{
    dns::{Answer, Answers, Question, Step},
    lookup::Dns,
    net::now,
    policy::dns::probe::{Health, Probe},
    proxy::Site,
};
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

/// How often lists that are due are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// Rounds of questions of one probe: more than its machine has.
const ROUNDS_MAX: usize = 4;

/// What has been answered.
#[derive(Default)]
pub(super) struct Told(HashMap<Question, Answer>);

impl Told {
    /// Asks all at once, and keeps the answers.
    pub async fn ask(&mut self, questions: Vec<Question>, dns: &Arc<Dns>) {
        let mut flights = JoinSet::new();
        for question in questions {
            let dns = Arc::clone(dns);
            flights.spawn(async move {
                let answer = dns.resolve(&question).await;
                (question, answer)
            });
        }
        while let Some(landed) = flights.join_next().await {
            self.0.extend(landed);
        }
    }
}

impl Answers for Told {
    fn answer(&self, question: &Question) -> Option<&Answer> {
        self.0.get(question)
    }
}

/// Probes what is due, for ever.
pub(super) async fn keep(site: impl Fn() -> Arc<Site>) {
    loop {
        let site = site();
        probe(&site).await;
        drop(site);
        sleep(LOOK).await;
    }
}

/// Probes the lists that are due, and waits for it as long as a session would wait for an answer. What has not come by then is
/// asked for again by [`keep`].
pub(super) async fn probe_in_time(site: &Site) {
    let _ = timeout(site.config.timeouts.lookups.0, probe(site)).await;
}

/// Probes the lists that are due, all at once: one that does not answer keeps no other waiting.
pub(super) async fn probe(site: &Site) {
    let mut probes = JoinSet::new();
    for list in site.lists() {
        if let Some(probe) = list.due(now_ms(), random) {
            let (list, dns) = (Arc::clone(list), Arc::clone(&site.dns));
            probes.spawn(async move { list.probed(run(&probe, &dns).await, now_ms()) });
        }
    }
    while probes.join_next().await.is_some() {}
}

async fn run(probe: &Probe, dns: &Arc<Dns>) -> Health {
    let mut told = Told::default();
    for _ in 0..ROUNDS_MAX {
        match probe.step(&told) {
            Step::Done(health) => return health,
            Step::Need(questions) => told.ask(questions, dns).await,
        }
    }
    Health::Unknown(crate::dns::Unknown::Broken)
}

/// A number that nothing outside of the process can foresee: the keys of the hash are the system's random octets.
fn random() -> u64 {
    RandomState::new().hash_one(())
}

fn now_ms() -> u64 {
    now().0 / 1000
}
