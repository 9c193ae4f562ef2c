//! Probes the lists in the DNS that the policy uses: at the start, every hour, and when one that was switched off may come
//! back. All of it runs on the control thread.

use crate::{
    dns::{Answer, Answers, Question, Step},
    lookup::Dns,
    net::now,
    policy::dns::probe::{Health, Probe},
    proxy::Site,
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::sleep};

/// How often lists that are due are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// Rounds of questions of one probe: more than its machine has.
const ROUNDS_MAX: usize = 4;

/// What has been answered.
#[derive(Default)]
struct Told(HashMap<Question, Answer>);

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

/// Probes the lists that are due, all at once: one that does not answer keeps no other waiting.
pub(super) async fn probe(site: &Site) {
    let mut probes = JoinSet::new();
    for list in site.policy.lists() {
        if let Some(probe) = list.due(now_ms()) {
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
            Step::Need(questions) => {
                for question in questions {
                    let answer = dns.resolve(&question).await;
                    told.0.insert(question, answer);
                }
            }
        }
    }
    Health::Unknown(crate::dns::Unknown::Broken)
}

fn now_ms() -> u64 {
    now().0 / 1000
}
