//! From a configuration to what the workers use. Whatever is wrong is found here, before any worker hears of
//! it.

use crate::{
    auth::Service,
    config::{Config, LogLevel},
    log::Level,
    metrics::Registry,
    policy::Policy,
    proxy::Site,
    tls::{Fault, Front},
    upstream::Backends,
};
use std::sync::{Arc, atomic::AtomicU32};

/// Builds it. `before` lends what outlives a reload: session counts, backends' health and budgets.
///
/// # Errors
/// Every problem, in words for the operator.
pub fn build_site(
    config: Config,
    before: Option<&Site>,
    registry: &Registry,
) -> Result<Site, Vec<String>> {
    let policy = Policy::build_all(&config.policies(), &config.hostname);
    let backends = Backends::build(&config, before.map(|site| &*site.backends));
    let front = Front::build(&config, before.map(|site| &site.front));
    let auth = Service::build(&config, before.map(|site| &*site.auth));
    let (policy, backends, front, auth) = match (policy, backends, front, auth) {
        (Ok(policy), Ok(backends), Ok(front), Ok(auth)) => (policy, backends, front, auth),
        (policy, backends, front, auth) => {
            let faults = policy.err().unwrap_or_default();
            let mut problems: Vec<String> = faults
                .iter()
                .map(|fault| format!("policy.{fault}"))
                .collect();
            problems.extend(
                backends
                    .err()
                    .unwrap_or_default()
                    .iter()
                    .map(ToString::to_string),
            );
            let faults = front.err().unwrap_or_default();
            problems.extend(
                faults
                    .iter()
                    .map(|Fault { key, error }| format!("{key}: {error}")),
            );
            problems.extend(auth.err().unwrap_or_default());
            return Err(problems);
        }
    };
    let sessions = |name: &str| -> Arc<AtomicU32> {
        let known = before.and_then(|site| site.listeners.iter().find(|l| l.name == name));
        known
            .map(|listener| Arc::clone(&listener.sessions))
            .unwrap_or_default()
    };
    Ok(Site::new(
        config,
        policy,
        Arc::new(backends),
        front,
        Arc::new(auth),
        registry,
        &sessions,
    ))
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
