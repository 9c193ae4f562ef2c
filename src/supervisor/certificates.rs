//! Certificates that end: told in the log at the start, at a reload and once a day, and shown as a metric.

use crate::{
    log::say,
    metrics::{Gauge, Registry, Scope},
    proxy::Site,
};
use std::{future::Future, sync::Arc, time::Duration};

/// How often certificates that end soon are spoken of.
const DAY: Duration = Duration::from_secs(86_400);

/// Speaks of those that end soon.
pub(super) fn warn(site: &Site) {
    for line in site.front.ending() {
        say!(Warn, "{line}");
    }
}

/// Sets the metric of each: their scopes.
pub(super) fn show(site: &Site, registry: &Registry) -> Vec<Scope> {
    let ends = site.front.ends().into_iter();
    ends.map(|(name, end)| {
        let scope = registry.certificate(&name);
        registry.set(Gauge::CertificateEnds, scope, end);
        scope
    })
    .collect()
}

/// Speaks of them every day, until `ended`.
pub(super) async fn watch(site: impl Fn() -> Arc<Site>, ended: impl Future<Output = ()>) {
    tokio::pin!(ended);
    loop {
        tokio::select! {
            () = &mut ended => return,
            () = tokio::time::sleep(DAY) => warn(&site()),
        }
    }
}
