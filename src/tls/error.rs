//! What is wrong with a certificate, a key or a file of them, in an operator's words.

use std::{fmt, path::Path};

/// Why no TLS configuration can be made of what was given: which file, what is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What is wrong, with the file's name.
    pub problem: String,
    /// What to do about it.
    pub advice: Option<String>,
}

impl Error {
    pub(super) fn new(problem: impl Into<String>) -> Error {
        Error {
            problem: problem.into(),
            advice: None,
        }
    }

    pub(super) fn at(path: &Path, problem: impl fmt::Display) -> Error {
        Error::new(format!("{}: {problem}", path.display()))
    }

    pub(super) fn in_file(mut self, path: &Path) -> Error {
        self.problem = format!("{}: {}", path.display(), self.problem);
        self
    }

    pub(super) fn advise(mut self, advice: impl Into<String>) -> Error {
        self.advice = Some(advice.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)?;
        match &self.advice {
            Some(advice) => write!(f, " ({advice})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
