//! From a configuration to what the workers use. Whatever is wrong is found here, before any worker hears of
//! it.

use super::candidate;
use crate::{
    auth::Service,
    config::{Config, LogFormat, LogLevel},
    log::Level,
    lookup::Dns,
    metrics::Registry,
    policy::{Policy, PolicyFault, authentication::dkim::Signers},
    proxy::{Parts, Site},
    reports::Inbox,
    tls::{Front, TlsFault},
    upstream::{Backends, Names},
};
use std::sync::{Arc, atomic::AtomicU32};

/// Builds it. `names` are what is known of the backends' names, and `dns` is what told that. `before` lends what outlives a reload: session counts, backends' health and budgets. Nothing of `before`
/// changes: what the new configuration changes in what it shares with the old one waits for [`put_in_force`].
///
/// # Errors
/// Every problem, in words for the operator.
// INV-RELOAD
pub fn build_site(
    config: Config,
    before: Option<&Site>,
    registry: &Registry,
    names: &Names,
    dns: Option<&Arc<Dns>>,
) -> Result<Site, Vec<String>> {
    let policy = policy_of(&config);
    let shadow = candidate::build(&config, before.and_then(|site| site.shadow.as_deref()));
    let backends = Backends::build(&config, before.map(|site| &*site.backends), names);
    let front = Front::build(&config, before.map(|site| &*site.front));
    let auth = Service::build(&config, before.map(|site| &*site.auth));
    let signers = Signers::build(&config.dkim);
    let built = (policy, shadow, backends, front, auth, signers);
    let (policy, shadow, backends, front, auth, signers) = match built {
        (Ok(policy), Ok(shadow), Ok(backends), Ok(front), Ok(auth), Ok(signers)) => {
            (policy, shadow, backends, front, auth, signers)
        }
        (policy, shadow, backends, front, auth, signers) => {
            let faults = policy.err().unwrap_or_default();
            let mut problems: Vec<String> = faults
                .iter()
                .map(|fault| format!("policy.{fault}"))
                .collect();
            let faults = backends.err().unwrap_or_default();
            problems.extend(faults.iter().map(ToString::to_string));
            let faults = front.err().unwrap_or_default();
            problems.extend(
                faults
                    .iter()
                    .map(|TlsFault { key, error }| format!("{key}: {error}")),
            );
            problems.extend(auth.err().unwrap_or_default());
            let faults = signers.err().unwrap_or_default();
            problems.extend(faults.iter().map(ToString::to_string));
            problems.extend(shadow.err().unwrap_or_default());
            return Err(problems);
        }
    };
    if before.is_some() && front.lacks_certificate() {
        return Err(vec![
            "listener: no certificate for TLS: `[acme]` brings one only after a restart".into(),
        ]);
    }
    let sessions = |name: &str| -> Arc<AtomicU32> {
        let known = before.and_then(|site| site.listeners.iter().find(|l| l.name == name));
        known
            .map(|listener| Arc::clone(&listener.sessions))
            .unwrap_or_default()
    };
    if let Some(before) = before {
        policy.follow(&before.policy);
    }
    let (dns, reports) = beside_sessions(&config, before, dns);
    Ok(Site::new(
        config,
        Parts {
            policy,
            shadow,
            backends: Arc::new(backends),
            front,
            auth: Arc::new(auth),
            dns,
            signers,
            reports,
        },
        registry,
        &sessions,
    ))
}

/// What works for the sessions on threads of its own.
fn beside_sessions(
    config: &Config,
    before: Option<&Site>,
    dns: Option<&Arc<Dns>>,
) -> (Arc<Dns>, Option<Arc<Inbox>>) {
    let dns = Dns::new(&config.dns, dns.or(before.map(|site| &site.dns)));
    // A folder can't be had later: the process has given its rights up.
    let reports = match before {
        None => Inbox::of(config),
        Some(before) => before.reports.clone(),
    };
    (dns, reports)
}

/// Its checks, for each listener, class of clients and route.
fn policy_of(config: &Config) -> Result<Policy, Vec<PolicyFault>> {
    let per_class = config.policies_per_class();
    Policy::build_all(&config.policies(), per_class, &config.hostname)
}

/// Changes what the accepted configuration shares with the one before it. Call it before the workers get it.
pub(super) fn put_in_force(site: &Site) {
    site.backends.put_in_force();
    crate::log::set_level(level(&site.config));
    crate::log::set_json(site.config.log.format == LogFormat::Json);
}

/// `log.level` as the log's own.
pub(super) fn level(config: &Config) -> Level {
    match config.log.level {
        LogLevel::Error => Level::Error,
        LogLevel::Warn => Level::Warn,
        LogLevel::Info => Level::Info,
        LogLevel::Debug => Level::Debug,
    }
}

#[cfg(test)]
mod tests {
    use super::{put_in_force, *};
    use crate::config;

    fn build_site(
        config: Config,
        before: Option<&Site>,
        registry: &Registry,
    ) -> Result<Site, Vec<String>> {
        super::build_site(config, before, registry, &Names::new(), None)
    }

    #[test]
    // INV-RELOAD
    fn a_refused_configuration_leaves_budgets_alone() {
        let text = |connections: u32, rest: &str| {
            format!(
                "hostname = \"mx.example\"\n[[listener]]\nname = \"mx\"\naddress = [\"127.0.0.1:25\"]\n\
                 [[pool]]\nname = \"mta\"\nbackends = [\"127.0.0.2:25\"]\nconnections = {connections}\n\
                 [[route]]\ndomains = [\"example.net\"]\npool = \"mta\"\n{rest}"
            )
        };
        let load = |text: &str| config::parse("test", text).expect("it is sound").config;
        let registry = Registry::new();
        let before = build_site(load(&text(4, "")), None, &registry).expect("it is sound");
        let limit = |site: &Site| site.backends.view(crate::net::now())[0].connections_max;
        let mut refused = load(&text(1, ""));
        refused.credentials.push(config::Credentials {
            name: "gone".into(),
            file: "/no/such/file".into(),
            ..config::Credentials::default()
        });
        assert!(build_site(refused, Some(&before), &registry).is_err());
        assert_eq!(limit(&before), 4);
        let after = build_site(load(&text(1, "")), Some(&before), &registry).expect("it is sound");
        assert_eq!(limit(&after), 4, "it is not in force yet");
        put_in_force(&after);
        assert_eq!(limit(&after), 1);
    }
}
