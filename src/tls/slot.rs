//! The place of a certificate that comes while the service runs.

use super::Identity;
use std::sync::{Arc, PoisonError, RwLock};

/// A place for one certificate, shared by the stores of all configurations: a reload brings a new store and the same
/// slot, so that what comes meanwhile is in force in both.
///
/// The lock is held for a copy of two pointers, once a handshake.
#[derive(Clone, Debug, Default)]
pub struct Slot(Arc<RwLock<Option<Identity>>>);

impl Slot {
    /// Puts one in, in the place of what is there: handshakes from now on get it.
    pub fn put(&self, identity: Identity) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(identity);
    }

    /// What is there.
    #[must_use]
    pub fn get(&self) -> Option<Identity> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
