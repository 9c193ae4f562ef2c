//! What ACME brings is put in force here. Certificates that end: told in the log at the start, at a reload and once a
//! day, and shown as a metric.

use crate::{
    acme::{Acme, Certificate, Install},
    log::say,
    metrics::{Gauge, Registry, Scope},
    proxy::Site,
    tls::{self, Identity},
};
use std::{future::Future, sync::Arc, time::Duration};

/// How often certificates that end soon are spoken of.
const DAY: Duration = Duration::from_secs(86_400);

/// Puts the certificate that ACME begins with in force, if there is ACME, and makes the way for those that follow.
///
/// # Errors
/// The first is of no use.
pub(super) fn plug_in(
    acme: Option<(Acme, Certificate)>,
    site: &Site,
    registry: &Arc<Registry>,
) -> Result<Option<(Acme, Install)>, String> {
    let Some((acme, first)) = acme else {
        return Ok(None);
    };
    let (slot, registry) = (site.front.store().slot().clone(), Arc::clone(registry));
    let install: Install = Box::new(move |certificate| {
        let (chain, key) = (certificate.chain().to_vec(), certificate.key().clone_key());
        let identity = Identity::of(chain, key).map_err(|why| why.to_string())?;
        let scope = registry.certificate(identity.name());
        registry.set(Gauge::CertificateEnds, scope, identity.ends());
        slot.put(identity);
        Ok(())
    });
    install(&first)?;
    Ok(Some((acme, install)))
}

/// Speaks of those that have ended, end soon or are not good yet.
pub(super) fn warn(site: &Site) {
    let shown = site.front.store().all();
    for line in tls::warnings(shown.iter().chain(site.backends.shown())) {
        say!(Warn, "{line}");
    }
}

/// Sets the metric of each: their scopes.
pub(super) fn show(site: &Site, registry: &Registry) -> Vec<Scope> {
    let shown = site.front.store().all();
    let ends = tls::ends(shown.iter().chain(site.backends.shown())).into_iter();
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
