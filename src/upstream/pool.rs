//! One pool as all workers see it: its rules, its backends, and which of them is next.

use super::{
    health::Rules,
    ids::{BackendId, PoolId},
    names::Unresolved,
    pooling::{backend::Backend, queue::Queue, shares::Shares, streams::Streams},
    security::Security,
};
use crate::{
    config::{Balance, PoolIdentity},
    smtp::{Tick, backend_session::BackendSettings},
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
    /// The same for the same name for the life of the process.
    pub id: PoolId,
    /// As in the file, for logs and metrics.
    pub name: String,
    /// What all its connections have in common.
    pub session: Arc<BackendSettings>,
    /// When a backend is left out.
    pub rules: Rules,
    /// How the next backend is picked.
    pub balance: Balance,
    /// How long each step may take, from `[timeouts]` and `[[pool]]`.
    pub waits: Waits,
    /// Messages on one connection; 0: no limit.
    pub messages_max: u32,
    /// What connections that do without TLS where it's opportunistic have in common.
    pub clear: Arc<BackendSettings>,
    /// How connections are secured.
    pub(super) security: Security,
    /// How its backends are told the client's identity.
    pub identity: PoolIdentity,
    /// The sender that recipients are asked about with; empty: the null sender.
    pub verify_sender: String,
    /// Its backends, in the order of the file, those of a higher tier last.
    pub backends: Vec<Arc<Backend>>,
    /// The tier of each: a backend is used where none of a lower one can be. Empty: all are of one tier.
    pub tiers: Box<[u16]>,
    /// Those of the file whose names have no address yet.
    pub unresolved: Vec<Unresolved>,
    pub(super) queue: Arc<Queue>,
    pub(super) streams: Arc<Streams>,
    pub(super) shares: Arc<Shares>,
}

impl Pool {
    /// The place of a backend.
    #[must_use]
    pub fn place(&self, id: BackendId) -> Option<usize> {
        self.backends.iter().position(|b| b.id == id)
    }

    /// Whether each backend that could be asked about a recipient has refused to be, within this time.
    #[must_use]
    pub fn refuses_question(&self, now: Tick, time: Duration) -> bool {
        let usable = self.backends.iter().filter(|b| !b.health.is_ejected());
        let mut refused = usable.map(|b| b.question.refused_within(now, time));
        refused
            .next()
            .is_some_and(|first| first && refused.all(|r| r))
    }
}
