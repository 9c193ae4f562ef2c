//! How many sessions an address and its prefix have open: exact, because a count that drifts refuses a
//! client for ever.
//!
//! An entry lives as long as a session holds it, so memory is bounded by the number of sessions. Touched
//! twice a connection, hence locks (many, each held for one look-up) instead of something clever.

use super::key::{Keys, RateKey, Taken};
use crate::state::Secret;
use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    hash::BuildHasherDefault,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

const SHARDS: usize = 64;

/// Sessions open at the moment a ticket was taken, it included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// From the client's address (IPv6: its /64).
    pub client: u32,
    /// From its prefix (IPv4 /24, IPv6 /48).
    pub prefix: u32,
}

/// One kind of key. Keys come from strangers, so their hash is a keyed one.
struct Counts {
    // INV-LOCK
    shards: Vec<Mutex<HashMap<RateKey, u32, BuildHasherDefault<Taken>>>>,
}

impl Default for Counts {
    fn default() -> Counts {
        Counts {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }
}

impl Counts {
    fn shard(
        &self,
        key: RateKey,
    ) -> MutexGuard<'_, HashMap<RateKey, u32, BuildHasherDefault<Taken>>> {
        // The maps take bits from either end.
        let at = (key.hash() >> 32) as usize % SHARDS;
        // A count is a plain number: a panic elsewhere while the lock was held can't have torn it.
        self.shards[at]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn up(&self, key: RateKey) -> u32 {
        let mut shard = self.shard(key);
        let count = shard.entry(key).or_insert(0);
        *count = count.saturating_add(1);
        *count
    }

    fn down(&self, key: RateKey) {
        let mut shard = self.shard(key);
        if let Entry::Occupied(mut entry) = shard.entry(key) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// All open sessions.
pub struct Sessions {
    secret: Secret,
    clients: Counts,
    prefixes: Counts,
}

impl Sessions {
    /// None is open.
    pub fn new(secret: Secret) -> Sessions {
        Sessions {
            secret,
            clients: Counts::default(),
            prefixes: Counts::default(),
        }
    }

    /// The keys of an address in a group of listeners.
    pub fn keys(&self, ip: IpAddr, group: u8) -> Keys {
        Keys::of(ip, group, &self.secret)
    }

    /// Counts one session.
    pub fn open(self: &Arc<Sessions>, ip: IpAddr, group: u8) -> SessionTicket {
        let keys = self.keys(ip, group);
        SessionTicket {
            counts: SessionCounts {
                client: self.clients.up(keys.client),
                prefix: self.prefixes.up(keys.prefix),
            },
            keys,
            sessions: Arc::clone(self),
        }
    }
}

/// One counted session; dropping it gives the place back.
#[must_use = "the session is counted only as long as its ticket lives"]
pub struct SessionTicket {
    sessions: Arc<Sessions>,
    keys: Keys,
    counts: SessionCounts,
}

impl SessionTicket {
    /// How many sessions there were when this one was opened, for [`super::super::Facts::sessions`].
    #[must_use]
    pub fn counts(&self) -> SessionCounts {
        self.counts
    }

    /// The keys of its address, for [`super::super::Facts::keys`].
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }
}

impl fmt::Debug for SessionTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SessionTicket").field(&self.counts).finish()
    }
}

impl Drop for SessionTicket {
    fn drop(&mut self) {
        self.sessions.clients.down(self.keys.client);
        self.sessions.prefixes.down(self.keys.prefix);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_exact_and_given_back() {
        let sessions = Arc::new(Sessions::new(Secret::random()));
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let one = sessions.open(ip("192.0.2.1"), 0);
        let two = sessions.open(ip("192.0.2.1"), 0);
        let near = sessions.open(ip("192.0.2.9"), 0);
        assert_eq!(
            one.counts(),
            SessionCounts {
                client: 1,
                prefix: 1
            }
        );
        assert_eq!(
            two.counts(),
            SessionCounts {
                client: 2,
                prefix: 2
            }
        );
        assert_eq!(
            near.counts(),
            SessionCounts {
                client: 1,
                prefix: 3
            }
        );
        drop((one, near));
        let again = sessions.open(ip("192.0.2.1"), 0);
        assert_eq!(
            again.counts(),
            SessionCounts {
                client: 2,
                prefix: 2
            }
        );
        drop((two, again));
        let kept = |counts: &Counts| {
            counts
                .shards
                .iter()
                .map(|s| s.lock().map_or(9, |s| s.len()))
                .sum()
        };
        let (clients, prefixes): (usize, usize) =
            (kept(&sessions.clients), kept(&sessions.prefixes));
        assert_eq!(
            (clients, prefixes),
            (0, 0),
            "nothing is remembered of sessions that are gone"
        );
    }

    #[test]
    // INV-LOCK
    fn threads_leave_no_count_behind() {
        let sessions = Arc::new(Sessions::new(Secret::random()));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for i in 0..2_000u32 {
                        drop(sessions.open(IpAddr::from((i % 7).to_be_bytes()), 0));
                    }
                });
            }
        });
        let ticket = sessions.open(IpAddr::from([0, 0, 0, 1]), 0);
        assert_eq!(
            ticket.counts(),
            SessionCounts {
                client: 1,
                prefix: 1
            }
        );
    }
}
