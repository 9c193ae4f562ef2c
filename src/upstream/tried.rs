//! What one message has met at the backends so far: the one list of those that it avoids, and the one bound of its
//! tries, whether a backend failed to give a connection, lost it, or refused for a reason that another may not have.

use super::{health::Trouble, ids::BackendId};

/// Backends that one message, or one question of ours, tries at most. A pool may be larger; what four backends refuse
/// to take has found something else than a broken machine.
pub const TRIES_MAX: usize = 4;

/// The tries of one message.
#[derive(Clone, Copy, Debug)]
pub struct Tried {
    backends: [BackendId; TRIES_MAX],
    count: usize,
    fresh: bool,
    last: Option<Trouble>,
}

impl Default for Tried {
    fn default() -> Tried {
        Tried {
            backends: [BackendId(u32::MAX); TRIES_MAX],
            count: 0,
            fresh: false,
            last: None,
        }
    }
}

impl Tried {
    /// This backend is not tried again: it failed, and like this.
    pub fn failed(&mut self, backend: BackendId, trouble: Trouble) {
        self.last = Some(trouble);
        self.refused(backend);
    }

    /// This backend is not tried again: it works, and won't or can't take the message.
    pub fn refused(&mut self, backend: BackendId) {
        if let Some(place) = self.backends.get_mut(self.count) {
            *place = backend;
            self.count += 1;
        }
    }

    /// A pooled connection turned out to be stale. That says nothing about its backend and counts for no try; the next
    /// connection is one that has carried nothing, so it happens once.
    pub fn stale(&mut self) {
        self.fresh = true;
    }

    /// The backends that are avoided.
    #[must_use]
    pub fn backends(&self) -> &[BackendId] {
        &self.backends[..self.count]
    }

    /// Whether the next connection must be a fresh one.
    #[must_use]
    pub fn wants_fresh(&self) -> bool {
        self.fresh
    }

    /// Whether as many were tried as may be.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.count == TRIES_MAX
    }

    /// What the last one that failed did.
    #[must_use]
    pub fn last(&self) -> Option<Trouble> {
        self.last
    }
}
