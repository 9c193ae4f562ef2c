//! What happened to backends: told to the watcher (the log), and the latest kept for questions that come later.

use super::{health::Trouble, pooling::backend::Backend};
use crate::smtp::Tick;
use std::{
    collections::VecDeque,
    fmt,
    net::SocketAddr,
    sync::{Mutex, OnceLock, PoisonError},
};

/// Changes kept.
const KEPT: usize = 64;

/// A change of a backend's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The moment of the change.
    pub at: Tick,
    /// The pool's name.
    pub pool: String,
    /// The backend's address.
    pub address: SocketAddr,
    /// Why it was ejected; `None` where it came back.
    pub ejected: Option<Trouble>,
    /// What the system or the backend said of that.
    pub detail: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { pool, address, .. } = self;
        match self.ejected {
            Some(why) => {
                write!(f, "backend {address} of pool {pool} is left out: {why}")?;
                match &self.detail {
                    Some(detail) => write!(f, " ({detail})"),
                    None => Ok(()),
                }
            }
            None => write!(f, "backend {address} of pool {pool} is back"),
        }
    }
}

type Watcher = Box<dyn Fn(&Change) + Send + Sync>;

/// The latest changes. Locked only when one happens or is asked for.
#[derive(Default)]
pub struct Changes {
    latest: Mutex<VecDeque<Change>>,
    watcher: OnceLock<Watcher>,
}

impl Changes {
    /// Calls `watcher` at each change from now on, on the worker that saw it. There is one watcher; a second
    /// one is refused.
    pub fn watch(&self, watcher: Watcher) -> bool {
        self.watcher.set(watcher).is_ok()
    }

    /// The latest ones, oldest first.
    #[must_use]
    pub fn latest(&self) -> Vec<Change> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.iter().cloned().collect()
    }

    pub(super) fn tell(
        &self,
        at: Tick,
        backend: &Backend,
        ejected: Option<(Trouble, Option<String>)>,
    ) {
        let (ejected, detail) = match ejected {
            Some((trouble, detail)) => (Some(trouble), detail),
            None => (None, None),
        };
        let change = Change {
            at,
            pool: backend.identity.pool.clone(),
            address: backend.address(),
            ejected,
            detail,
        };
        if let Some(watcher) = self.watcher.get() {
            watcher(&change);
        }
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.len() == KEPT {
            latest.pop_front();
        }
        latest.push_back(change);
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.latest()).finish()
    }
}
