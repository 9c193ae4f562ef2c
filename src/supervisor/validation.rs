//! Watches over `dns.dnssec = "resolver"`: whether the servers validate, and what they found forged.

use crate::{
    config::{self, Dnssec},
    log::say,
    lookup::Dns,
    metrics::{Counter, Gauge, Registry, Scope},
    proxy::Site,
};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How often what was bogus is counted.
const LOOK: Duration = Duration::from_secs(1);
/// How often the servers are asked whether they validate.
const PROBE: Duration = Duration::from_secs(600);
/// The same while one of them has not answered.
const PROBE_AGAIN: Duration = Duration::from_secs(10);
/// How often the service log speaks of bogus answers at most: strangers choose the names.
const SILENCE: Duration = Duration::from_secs(60);

/// Watches, for ever.
pub(super) async fn keep(site: impl Fn() -> Arc<Site>, registry: &Registry) {
    let mut watch = Watch::default();
    loop {
        let dns = Arc::clone(&site().dns);
        watch.probe(&dns, registry).await;
        watch.count(dns.take_bogus(), registry);
        drop(dns);
        sleep(LOOK).await;
    }
}

#[derive(Default)]
struct Watch {
    /// What the servers were probed for.
    settings: config::Dns,
    /// Those that have answered.
    validates: HashMap<SocketAddr, bool>,
    /// When they are probed next.
    due: Option<Instant>,
    /// Bogus answers of which the log has not told.
    untold: u64,
    /// When it has told of some.
    told: Option<Instant>,
}

impl Watch {
    async fn probe(&mut self, dns: &Dns, registry: &Registry) {
        let settings = dns.settings();
        if self.settings != *settings {
            self.settings = settings.clone();
            self.due = None;
            self.validates
                .retain(|server, _| settings.servers.contains(server));
        }
        if settings.dnssec == Dnssec::Off {
            self.validates.clear();
        } else if self.due.is_none_or(|due| Instant::now() >= due) {
            let mut pause = PROBE;
            for server in &settings.servers {
                match dns.validates(*server).await {
                    Some(validates) => self.tell(*server, validates),
                    None => pause = PROBE_AGAIN,
                }
            }
            self.due = Some(Instant::now() + pause);
        }
        let not = self.validates.values().filter(|validates| !**validates);
        let not = i64::try_from(not.count()).unwrap_or(i64::MAX);
        registry.set(Gauge::NotValidating, Scope::NONE, not);
    }

    fn tell(&mut self, server: SocketAddr, validates: bool) {
        match (self.validates.insert(server, validates), validates) {
            (None | Some(true), false) => say!(
                Warn,
                "dns: {server} does not validate (DNSSEC), so forged answers are believed: have it validate, or name \
                 another one in dns.servers"
            ),
            (Some(false), true) => say!(Info, "dns: {server} validates now"),
            _ => {}
        }
    }

    fn count(&mut self, bogus: u64, registry: &Registry) {
        if bogus > 0 {
            registry.count(Counter::LookupBogus, Scope::NONE, bogus);
            self.untold += bogus;
        }
        if self.untold > 0 && self.told.is_none_or(|told| told.elapsed() >= SILENCE) {
            say!(
                Warn,
                "dns: {} answers were bogus (DNSSEC validation failed) and count as no answer: `gatepost explain` shows of \
                 which names",
                self.untold
            );
            (self.untold, self.told) = (0, Some(Instant::now()));
        }
    }
}
