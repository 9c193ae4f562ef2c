//! What can be wrong with a configuration that is right by itself: the files that it leads to.
//!
//! `gatepost check` looks at them as the start and a reload do, and each fault has its place in the configuration.

use super::exposed::exposed;
use crate::{
    auth,
    config::{ConfigSource, Loaded, Problem, Severity},
    process::user,
    tls::{Front, TlsFault},
    upstream,
};

/// Loads a configuration and looks at the certificates and keys that its listeners and pools name, and at its accounts.
///
/// # Errors
/// Every problem that was found, warnings with them.
pub fn load(source: &ConfigSource) -> Result<Loaded, Vec<Problem>> {
    let mut loaded = source.load()?;
    let (ending, mut faults) = match Front::build(&loaded.config, None) {
        Ok(front) => (front.ending(), Vec::new()),
        Err(faults) => (Vec::new(), faults),
    };
    faults.extend(upstream::tls_faults(&loaded.config));
    let mut warnings: Vec<Problem> = ending
        .into_iter()
        .map(|line| loaded.problem(Severity::Warning, "certificate", line, None))
        .collect();
    let mut errors: Vec<Problem> = faults
        .into_iter()
        .map(|TlsFault { key, error }| {
            loaded.problem(Severity::Error, &key, error.problem, error.advice)
        })
        .collect();
    if let Err(why) = user::wanted(&loaded.config.process) {
        let (key, why) = why.split_once(':').unwrap_or(("process.user", &*why));
        let key = key.split(' ').next().unwrap_or(key);
        let problem = |severity| loaded.problem(severity, key, why.trim().to_string(), None);
        // The file may be checked by another user than the one that starts the service.
        match user::is_root() {
            true => errors.push(problem(Severity::Error)),
            false => warnings.push(problem(Severity::Warning)),
        }
    }
    for (key, problem, hint) in exposed(&loaded.config) {
        warnings.push(loaded.problem(Severity::Warning, &key, problem, Some(hint)));
    }
    loaded.warnings.extend(warnings);
    let sources = auth::faults(&loaded.config).into_iter();
    let errors: Vec<Problem> = errors
        .into_iter()
        .chain(sources.map(|(key, why)| loaded.problem(Severity::Error, &key, why, None)))
        .collect();
    match errors.is_empty() {
        true => Ok(loaded),
        false => Err(loaded.warnings.into_iter().chain(errors).collect()),
    }
}
