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
use tokio::{task::JoinSet, time::sleep};

/// How often addresses that are to be looked up are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// Rounds of questions about one address: more than its machine has.
const ROUNDS_MAX: usize = 4;

/// Looks up what is wanted, for ever: the domains at the same time, and the addresses of each one after the other.
pub(super) async fn keep(site: impl Fn() -> Arc<Site>) {
    loop {
        let site = site();
        if let Some(reports) = &site.reports {
            let mut under_way = JoinSet::new();
            for wanted in reports.wanted() {
                under_way.spawn(look_up(wanted, Arc::clone(&site.dns)));
            }
            while let Some(answered) = under_way.join_next().await {
                // One that panicked is told as unknown in time.
                if let Ok(answered) = answered {
                    reports.answer(answered);
                }
            }
        }
        drop(site);
        sleep(LOOK).await;
    }
}

async fn look_up(wanted: Wanted, dns: Arc<Dns>) -> Answered {
    let mut consents = Vec::with_capacity(wanted.uris.len());
    for uri in &wanted.uris {
        consents.push(ask(&wanted.domain, uri, &dns).await);
    }
    Answered {
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
