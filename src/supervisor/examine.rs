//! What can be wrong with a configuration that is right by itself: the files that it leads to.
//!
//! `gatepost check` looks at them as the start and a reload do, and each fault has its place in the configuration.

use crate::{
    config::{Loaded, Problem, Severity, Source},
    tls::Front,
};

/// Loads a configuration and looks at the certificates and keys that it names.
///
/// # Errors
/// Every problem that was found, warnings with them.
pub fn load(source: &Source) -> Result<Loaded, Vec<Problem>> {
    let mut loaded = source.load()?;
    let told = |severity, key: &str, message: String, advice: Option<String>| {
        loaded.problem(severity, key, message, advice)
    };
    match Front::build(&loaded.config, None) {
        Ok(front) => {
            let ending = front.ending().into_iter();
            let warnings: Vec<Problem> = ending
                .map(|line| told(Severity::Warning, "certificate", line, None))
                .collect();
            loaded.warnings.extend(warnings);
            Ok(loaded)
        }
        Err(faults) => {
            let errors = faults.into_iter().map(|fault| {
                told(
                    Severity::Error,
                    &fault.key,
                    fault.error.problem,
                    fault.error.advice,
                )
            });
            let errors: Vec<Problem> = errors.collect();
            Err(loaded.warnings.into_iter().chain(errors).collect())
        }
    }
}
