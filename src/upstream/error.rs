//! Why no connection could be had, and what broke one that was.

use super::{health::Trouble, ids::BackendId, reply::BackendReply};
use std::fmt;

/// Why no connection could be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseError {
    /// A reload has taken the pool away.
    NoPool,
    /// This backend failed, and `Tried` has taken note of it: ask again for another one.
    Failed(BackendId, Trouble),
    /// No backend is left to try, or as many were tried as may be. What the last one did; `None` where there was none.
    Down(Option<Trouble>),
    /// No connection came free, or none was opened, in time.
    Timeout,
    /// Too many wait already.
    Busy,
    /// A backend refuses the client that it was told of: 554, in the backend's own words.
    Refused(BackendReply),
}

impl fmt::Display for LeaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LeaseError::NoPool => f.write_str("the pool is gone"),
            LeaseError::Failed(_, trouble) => write!(f, "a backend failed: {trouble}"),
            LeaseError::Down(Some(trouble)) => write!(f, "no backend can be used: {trouble}"),
            LeaseError::Down(None) => f.write_str("no backend is left to try"),
            LeaseError::Timeout => f.write_str("no connection came free in time"),
            LeaseError::Busy => f.write_str("too many wait for a connection"),
            LeaseError::Refused(said) => write!(f, "the client is refused: {said}"),
        }
    }
}

impl std::error::Error for LeaseError {}

/// A lease failed under way. The connection will be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// What happened.
    pub trouble: Trouble,
    /// The backend that it happened to.
    pub backend: BackendId,
    /// It was a pooled connection, and either nothing has been heard since, or what was heard answers none of this message's
    /// commands: try a fresh one, unseen by the client, if the body is still at hand. Never set together with `uncertain`.
    pub stale: bool,
    /// The backend may have taken the message: never send it again by itself (INV-ONCE).
    pub uncertain: bool,
}

impl Broken {
    /// The connection can't carry what another one to the same backend may.
    pub(super) fn stale(backend: BackendId) -> Broken {
        Broken {
            trouble: Trouble::Lost,
            backend,
            stale: true,
            uncertain: false,
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.trouble.fmt(f)
    }
}

impl std::error::Error for Broken {}
