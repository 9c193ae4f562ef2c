//! Where a message comes from, for a backend that is to be told of the client.

use super::{message_id::MessageId, session::Session};
use crate::upstream::{Origin, PoolId};
use std::net::SocketAddr;

/// What of an [`Origin`] lies nowhere else.
pub(super) struct OriginParts {
    client: SocketAddr,
    listener: Option<SocketAddr>,
    message: [u8; 13],
}

impl Session {
    /// What there is to tell of the client; `None` where the pool's backends are told nothing.
    pub fn origin_parts(&self, pool: PoolId, message: MessageId) -> Option<OriginParts> {
        if !self.context.pools.tells(pool) {
            return None;
        }
        Some(OriginParts {
            client: SocketAddr::new(self.peer.address, self.peer.port),
            listener: self.io.stream.local().ok(),
            message: message.text(),
        })
    }

    /// The client as a backend is told of it.
    pub fn origin<'a>(&'a self, parts: &'a OriginParts) -> Origin<'a> {
        let hello = self.server.hello();
        Origin {
            client: parts.client,
            listener: parts.listener,
            hello: hello.as_ref().map_or(b"", |hello| hello.name),
            extended: hello.as_ref().is_some_and(|hello| hello.esmtp),
            login: self.account().map(|account| account.name.as_bytes()),
            message: &parts.message,
        }
    }
}
