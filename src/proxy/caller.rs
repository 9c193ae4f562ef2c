//! Who the client is, for a backend that is to be told.

use super::{connection::Session, message_id::MessageId};
use crate::upstream::{Caller, PoolId};
use std::net::SocketAddr;

/// What of a caller lies nowhere else.
pub(super) struct Arrival {
    client: SocketAddr,
    listener: Option<SocketAddr>,
    message: [u8; 13],
}

impl Session {
    /// What there is to tell of the client; `None`, and nobody is asked, where the pool's backends are told nothing.
    pub fn arrival(&self, pool: PoolId, message: MessageId) -> Option<Arrival> {
        if !self.context.pools.tells(pool) {
            return None;
        }
        Some(Arrival {
            client: SocketAddr::new(self.client, self.port),
            listener: self.stream.local().ok(),
            message: message.text(),
        })
    }

    /// The client as a backend is told of it.
    pub fn caller<'a>(&'a self, arrival: &'a Arrival) -> Caller<'a> {
        let hello = self.server.hello();
        Caller {
            client: arrival.client,
            listener: arrival.listener,
            hello: hello.as_ref().map_or(b"", |hello| hello.name),
            extended: hello.as_ref().is_some_and(|hello| hello.esmtp),
            login: self.account().map(|account| account.name.as_bytes()),
            message: &arrival.message,
        }
    }
}
