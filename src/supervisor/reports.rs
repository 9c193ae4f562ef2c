//! Asks the DNS whether the addresses that DMARC reports should go to have agreed to that, on the control thread.

use super::lists::Told;
use crate::{
    dns::Step,
    lookup::Dns,
    policy::authentication::dmarc::{Consent, consent},
    proxy::Site,
    reports::{Answered, Wanted},
};
use std::{sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

/// How often addresses that are to be looked up are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// How long the addresses of one report are looked up; the rest is unknown. Less than the collector waits.
const LOOK_UP_MAX: Duration = Duration::from_secs(30);
/// Rounds of questions about one address: more than its machine has.
const ROUNDS_MAX: usize = 4;

/// Looks up what is wanted, for ever: the domains at the same time, and the addresses of each one after the other. The
/// collector wants no more at a time than it may, and none of them waits for another.
pub(super) async fn keep(site: impl Fn() -> Arc<Site>) {
    let mut under_way = JoinSet::new();
    loop {
        while under_way.try_join_next().is_some() {}
        let site = site();
        if let Some(reports) = &site.reports {
            for wanted in reports.wanted() {
                let (reports, dns) = (Arc::clone(reports), Arc::clone(&site.dns));
                // One that panics is told as unknown in time.
                under_way.spawn(async move { reports.answer(look_up(wanted, dns).await) });
            }
        }
        drop(site);
        sleep(LOOK).await;
    }
}

async fn look_up(wanted: Wanted, dns: Arc<Dns>) -> Answered {
    let due = Instant::now() + LOOK_UP_MAX;
    let mut consents = Vec::with_capacity(wanted.uris.len());
    for uri in &wanted.uris {
        let found = timeout_at(due, ask(&wanted.domain, uri, &dns)).await;
        consents.push(found.unwrap_or(Consent::Unknown));
    }
    Answered {
        report: wanted.report,
        domain: wanted.domain,
        consents,
    }
}

async fn ask(domain: &str, uri: &str, dns: &Arc<Dns>) -> Consent {
    let mut told = Told::default();
    for _ in 0..ROUNDS_MAX {
        match consent(domain, uri, &told) {
            Step::Done(consent) => return consent,
            Step::Need(questions) => told.ask(questions, dns).await,
        }
    }
    Consent::Unknown
}
