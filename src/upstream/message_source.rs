//! By what messages of one kind are known again: see `super::learned`.

use crate::client_key;
use std::{collections::hash_map::RandomState, hash::BuildHasher, sync::LazyLock};

/// Where a message comes from: the network of its client, and its sender, which is not the null sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageSource {
    pub(super) network: u128,
    sender: u64,
}

impl MessageSource {
    /// `client` is the client's key, `None` of all that are trusted. `None` for the null sender.
    #[must_use]
    pub fn new(client: Option<u128>, sender: &[u8]) -> Option<MessageSource> {
        if sender.is_empty() {
            return None;
        }
        // With a secret: a sender that has the hash of another one would otherwise be found.
        static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Some(MessageSource {
            network: client.map_or(0, client_key::prefix_of),
            sender: SECRET.hash_one(sender),
        })
    }

    /// Whether its client is trusted.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.network == 0
    }
}
