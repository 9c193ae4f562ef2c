//! Which user of this machine sends a request.
//!
//! The kernel has to write out its list of sockets for it ([`Ends::user`]), which takes long where there are many sockets. So it is
//! done once for a connection, one connection at a time, and few may wait for it: those that wait hold a place of the endpoint, and
//! any user of the machine can open connections.

use super::rules;
use crate::http::Ends;
use std::sync::Arc;
use tokio::{sync::Semaphore, task::spawn_blocking};

/// Connections whose user is being looked up at once, which could make a machine busy if they were many.
const LOOKED_UP_MAX: usize = 1;
/// Connections that wait for that at most. With the above, so many of the endpoint's places can be taken by those that turn out to
/// be of other users.
const WAITING_MAX: usize = 4;

/// The users of the connections of one endpoint.
#[derive(Debug)]
pub(super) struct Users {
    /// For those that wait, and those that are looked up.
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

/// Whether a request may be the operator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    Operator,
    /// Another user of this machine, or one that is not known.
    Other,
    /// Too many wait to be looked up.
    Busy,
}

impl Users {
    pub fn new() -> Users {
        Users {
            places: Arc::new(Semaphore::new(LOOKED_UP_MAX + WAITING_MAX)),
            turns: Arc::new(Semaphore::new(LOOKED_UP_MAX)),
        }
    }

    /// The sender of a request without a token. From other machines any may come where the address can be reached, which the start
    /// warns of ([`super::exposure`]).
    // INV-LIMIT
    pub async fn asker(&self, ends: Option<Arc<Ends>>) -> Asker {
        let Some(ends) = ends else {
            return Asker::Other;
        };
        if !ends.is_local() {
            return Asker::Operator;
        }
        if let Some(user) = ends.known_user() {
            return judged(user);
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return Asker::Busy;
        };
        let Ok(turn) = Arc::clone(&self.turns).acquire_owned().await else {
            return Asker::Busy;
        };
        // The look-up goes on where the client closes meanwhile, so it keeps its turn.
        let looked_up = spawn_blocking(move || {
            let _held = (place, turn);
            ends.user()
        });
        judged(looked_up.await.ok().flatten())
    }
}

fn judged(user: Option<u32>) -> Asker {
    match user.is_some_and(rules::may_change) {
        true => Asker::Operator,
        false => Asker::Other,
    }
}

#[cfg(test)]
impl Users {
    /// Has every look-up wait until what comes back is dropped.
    pub fn hold(&self) -> tokio::sync::OwnedSemaphorePermit {
        let turns = Arc::clone(&self.turns);
        turns.try_acquire_owned().expect("nothing is looked up yet")
    }

    /// How many connections wait or are looked up.
    pub fn under_way(&self) -> usize {
        LOOKED_UP_MAX + WAITING_MAX - self.places.available_permits()
    }
}
