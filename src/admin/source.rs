//! What the admin endpoint asks of the rest of the process.

use super::rules::Rules;
use crate::metrics::Snapshot;
use serde::Serialize;
use std::{pin::Pin, sync::Arc};

/// An answer that may take a while.
pub type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The process, seen from the admin endpoint. The supervisor implements it, with mailboxes. A future that is dropped (its
/// worker took too long) must do no harm.
pub trait AdminSource: Send + Sync + 'static {
    /// How many workers there are; they are numbered from 0.
    fn workers(&self) -> usize;

    /// The histograms of a worker, copied on its thread. `None`: it can't be asked (gone, mailbox full).
    fn snapshot(&self, worker: usize) -> Answer<Option<Snapshot>>;

    /// Whether a worker's loop runs: answers from its thread.
    fn ping(&self, worker: usize) -> Answer<bool> {
        let snapshot = self.snapshot(worker);
        Box::pin(async move { snapshot.await.is_some() })
    }

    /// What a worker keeps of its latest judgements. `None`: it can't be asked.
    fn judgements(&self, worker: usize, wanted: &Wanted) -> Answer<Option<Judgements>>;

    /// What the process can do at this moment. Must not wait.
    fn status(&self) -> Status;

    /// Which requests the configuration in force lets in. Must not wait.
    fn rules(&self) -> Arc<Rules>;

    /// Reads the configuration again and applies it. Says what happened, or why nothing did.
    fn reload(&self) -> Answer<Result<String, String>>;

    /// Begins to go down. Answers when it has begun, not when it is done.
    fn drain(&self) -> Answer<Result<String, String>>;
}

/// Which judgements are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// That of this id.
    Id(String),
    /// So many of the latest.
    Latest(usize),
    /// So many of the latest that a candidate's policy would have treated otherwise.
    Differences(usize),
}

/// Judgements, and how many there are to ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgements {
    /// Those that were asked for, each as JSON.
    pub texts: Vec<Vec<u8>>,
    /// How many are kept.
    pub count: usize,
    /// How many may be.
    pub max: usize,
    /// When the oldest was kept, in microseconds since 1970.
    pub since: Option<u64>,
    /// Workers that gave no answer.
    pub missing: usize,
}

impl Judgements {
    /// Adds what another worker has.
    pub fn add(&mut self, other: Judgements) {
        self.texts.extend(other.texts);
        self.count += other.count;
        self.max += other.max;
        self.since = match (self.since, other.since) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.missing += other.missing;
    }
}

/// What the process can do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// It takes no new sessions and ends when the running ones have.
    pub draining: bool,
    /// The listeners are not open yet.
    pub starting: bool,
    /// All pools.
    pub pools: Vec<PoolStatus>,
}

/// A pool and its backends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PoolStatus {
    /// As in the file.
    pub name: String,
    /// In the file's order.
    pub backends: Vec<BackendStatus>,
}

/// A backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BackendStatus {
    /// `host:port`, as it is connected to.
    pub address: String,
    /// Whether messages may go to it.
    pub usable: bool,
    /// Its share of the traffic.
    pub weight: u32,
    /// Why it is not usable; empty when it is.
    pub why: String,
    /// Its refusal of the sender that recipients are verified with (`verify_sender`), in its own words; empty where it
    /// takes questions. It takes mail all the same.
    pub question_refused: String,
}

impl PoolStatus {
    /// How many of its backends messages may go to.
    #[must_use]
    pub fn usable(&self) -> usize {
        self.backends
            .iter()
            .filter(|backend| backend.usable)
            .count()
    }

    /// Its name, and why each backend is left out.
    fn causes(&self) -> String {
        let causes = self.backends.iter().map(|backend| {
            let why = match &*backend.why {
                "" => "not usable",
                why => why,
            };
            format!("{}: {why}", backend.address)
        });
        match causes.collect::<Vec<_>>().join("; ") {
            causes if causes.is_empty() => format!("{} (it has no backends)", self.name),
            causes => format!("{} ({causes})", self.name),
        }
    }
}

impl Status {
    /// Why no traffic should come here; `None` when it may.
    #[must_use]
    pub fn unready(&self) -> Option<String> {
        if self.draining {
            return Some("draining".to_owned());
        }
        if self.starting {
            return Some("starting".to_owned());
        }
        let down: Vec<_> = self
            .pools
            .iter()
            .filter(|pool| pool.usable() == 0)
            .map(PoolStatus::causes)
            .collect();
        match down.as_slice() {
            [] if self.pools.is_empty() => Some("no pool is configured".to_owned()),
            [] => None,
            down => Some(format!("no usable backend in pool {}", down.join(", "))),
        }
    }
}
