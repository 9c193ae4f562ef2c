//! Why a configuration's pools and routes can't be used.

use crate::tls::TlsFault;
use std::fmt;

/// Why the pools and routes of a configuration can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError {
    /// The key, as `pool[0].backends[1]` (counted from 0).
    pub key: String,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.problem)
    }
}

impl std::error::Error for BuildError {}

impl From<TlsFault> for BuildError {
    fn from(TlsFault { key, error }: TlsFault) -> BuildError {
        let problem = error.to_string();
        BuildError { key, problem }
    }
}
