//! One pool as all workers see it: its rules, its backends, and which of them is next.

use super::{
    balance::{self, Candidate},
    health::Rules,
    ids::{BackendId, PoolId},
    pooling::{backend::Backend, queue::Queue},
    security::Security,
};
use crate::{
    config::{Balance, PoolIdentity},
    smtp::{Capabilities, Tick, client::ClientSettings, domain::address_to_ascii},
};
use std::{sync::Arc, time::Duration};

/// The durations of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// For a connection, where all are in use.
    pub lease: Duration,
    /// An idle connection stays open this long; zero: for as long as its lifetime.
    pub idle: Duration,
    /// A connection lives this long; zero: for ever.
    pub lifetime: Duration,
    /// For connection and greeting.
    pub connect: Duration,
    /// For a reply.
    pub reply: Duration,
    /// For the reply to the end of data.
    pub commit: Duration,
    /// A recipient that was taken is remembered.
    pub verify_good: Duration,
    /// A recipient that was refused is remembered.
    pub verify_bad: Duration,
}

/// One pool. Made anew by each reload; its backends and its queue are kept.
#[derive(Debug)]
pub struct Pool {
    /// Its number.
    pub id: PoolId,
    /// Its name.
    pub name: String,
    /// What all its connections have in common.
    pub client: Arc<ClientSettings>,
    /// When a backend is left out.
    pub rules: Rules,
    /// How the next backend is picked.
    pub balance: Balance,
    /// Its durations.
    pub waits: Waits,
    /// Messages on one connection; 0: no limit.
    pub messages_max: u32,
    /// What connections that do without TLS where it's opportunistic have in common.
    pub clear: Arc<ClientSettings>,
    /// How connections are secured.
    pub(super) security: Security,
    /// How its backends are told who the client is.
    pub identity: PoolIdentity,
    /// Its backends, in the order of the file.
    pub backends: Vec<Arc<Backend>>,
    pub(super) queue: Arc<Queue>,
}

/// What [`Pool::choose`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This one, by its place in the list: a connection to it can be had.
    This(usize),
    /// Those that may be used have none to spare.
    Wait,
    /// There is none that may be used.
    None,
}

/// Which backends may be used for one lease.
pub struct Eligible<'a> {
    pool: &'a Pool,
    avoid: &'a [BackendId],
    /// The ejected one that is used all the same.
    last_resort: Option<usize>,
}

impl Eligible<'_> {
    /// Whether the backend at this place may be used.
    #[must_use]
    pub fn has(&self, i: usize) -> bool {
        let backend = &self.pool.backends[i];
        !self.avoids(backend.id) && (!backend.health.is_ejected() || self.last_resort == Some(i))
    }

    fn avoids(&self, id: BackendId) -> bool {
        self.avoid.contains(&id)
    }

    /// All that may be used.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Backend>> {
        let places = (0..self.pool.backends.len()).filter(|i| self.has(*i));
        places.map(|i| Arc::clone(&self.pool.backends[i])).collect()
    }
}

impl Pool {
    /// Which backends may be used by a lease that avoids these. The ejected are left out, but
    /// for the least bad one where all are, or more than `eject_max` percent: a pool is never a black hole.
    #[must_use]
    pub fn eligible<'a>(&'a self, avoid: &'a [BackendId]) -> Eligible<'a> {
        let mut eligible = Eligible {
            pool: self,
            avoid,
            last_resort: None,
        };
        let (mut ejected, mut well) = (0, 0);
        let mut least_bad: Option<(usize, (u32, u64))> = None;
        for (i, backend) in self.backends.iter().enumerate() {
            if !backend.health.is_ejected() {
                well += usize::from(!eligible.avoids(backend.id));
                continue;
            }
            ejected += 1;
            let badness = backend.health.badness();
            if !eligible.avoids(backend.id) && least_bad.is_none_or(|(_, bad)| badness < bad) {
                least_bad = Some((i, badness));
            }
        }
        let allowed = self.backends.len() * self.rules.eject_max as usize / 100;
        if well == 0 || ejected > allowed {
            eligible.last_resort = least_bad.map(|(i, _)| i);
        }
        eligible
    }

    /// Picks one of the eligible. `ready` says whether a connection to the backend can be had at once.
    ///
    /// A hash waits for its backend where that one is only busy; the others take any that has room, so
    /// `first-available` spills over to the next when the first is full.
    pub fn choose(
        &self,
        eligible: &Eligible<'_>,
        key: &[u8],
        now: Tick,
        random: impl FnMut() -> u64,
        ready: impl Fn(&Arc<Backend>) -> bool,
    ) -> Choice {
        let count = self.backends.len();
        let able = |i: usize| eligible.has(i).then(|| self.candidate(i, now));
        let free = |i: usize| able(i).filter(|_| ready(&self.backends[i]));
        let picked = match self.balance {
            Balance::LeastLoaded => balance::least_loaded(count, free, random),
            Balance::FirstAvailable => balance::first_available(count, free),
            Balance::HashRecipient => {
                return match self.hashed(eligible, key, now) {
                    Some(i) if ready(&self.backends[i]) => Choice::This(i),
                    Some(_) => Choice::Wait,
                    None => Choice::None,
                };
            }
        };
        match picked {
            Some(i) => Choice::This(i),
            None if (0..count).any(|i| eligible.has(i)) => Choice::Wait,
            None => Choice::None,
        }
    }

    /// The eligible backend of this recipient.
    #[must_use]
    pub fn hashed(&self, eligible: &Eligible<'_>, key: &[u8], now: Tick) -> Option<usize> {
        let able = |i: usize| eligible.has(i).then(|| self.candidate(i, now));
        // Either spelling of a domain goes to the same backend.
        let key = address_to_ascii(key);
        balance::rendezvous(self.backends.len(), able, balance::hash(&key))
    }

    fn candidate(&self, i: usize, now: Tick) -> Candidate {
        let backend = &self.backends[i];
        let share = backend.health.share(now, self.rules.slow_start);
        Candidate {
            weight: u64::from(backend.weight()) * u64::from(share),
            load: backend.leases(),
            seed: backend.seed,
        }
    }

    /// The place of a backend.
    #[must_use]
    pub fn place(&self, id: BackendId) -> Option<usize> {
        self.backends.iter().position(|b| b.id == id)
    }

    /// What its usable backends all offer; where none is usable, what they offered last. `None` until one
    /// has been reached.
    #[must_use]
    pub fn common_capabilities(&self) -> Option<Capabilities> {
        let known = |usable: bool| {
            let some = self.backends.iter();
            some.filter(move |b| !(usable && b.health.is_ejected()))
                .filter_map(|b| b.seen.get())
                .reduce(|a, b| a.common(&b))
        };
        known(true).or_else(|| known(false))
    }
}
