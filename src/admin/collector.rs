//! Asks all workers at once and makes one view of their answers.

use super::{
    pages::Page,
    source::{AdminSource, Judgements, Wanted},
};
use crate::metrics::{Process, Registry, Snapshot, View, export};
use axum::body::Bytes;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{task::JoinSet, time::timeout};

/// How long a worker may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// What is made of a view, at a cost of milliseconds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Prometheus' text.
    Metrics,
    /// The stages as JSON.
    Stages,
    /// The same with the whole histograms.
    Histograms,
}

/// Asks the workers of a source. Share it: a stalled worker is shown with its last answer to any request.
pub struct Collector {
    source: Arc<dyn AdminSource>,
    registry: Arc<Registry>,
    last: Mutex<Vec<Arc<Snapshot>>>,
    /// A page of each [`Kind`].
    pages: [Page; 3],
}

impl Collector {
    /// A collector of what the workers of `source` record in `registry`.
    #[must_use]
    pub fn new(source: Arc<dyn AdminSource>, registry: Arc<Registry>) -> Arc<Collector> {
        Arc::new(Collector {
            source,
            registry,
            last: Mutex::default(),
            pages: Default::default(),
        })
    }

    /// The process that is asked.
    #[must_use]
    pub fn source(&self) -> &Arc<dyn AdminSource> {
        &self.source
    }

    /// How long the process has been running.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.registry.uptime()
    }

    /// Everything there is to tell. Takes [`PATIENCE`] at most.
    pub async fn view(&self) -> View {
        let mut asked = JoinSet::new();
        for worker in 0..self.source.workers() {
            let answer = self.source.snapshot(worker);
            asked.spawn(async move { (worker, timeout(PATIENCE, answer).await.ok().flatten()) });
        }
        let mut stalled = vec![true; self.source.workers()];
        while let Some(answer) = asked.join_next().await {
            if let Ok((worker, Some(snapshot))) = answer {
                stalled[worker] = false;
                let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
                if last.len() <= worker {
                    last.resize(worker + 1, Arc::default());
                }
                last[worker] = Arc::new(snapshot);
            }
        }
        // A counter that fell and rose again with a stalled worker would look like a restart to a monitor that draws
        // rates, so the last answer stands in for it.
        let last = self
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut view = self.registry.view(last.iter().map(|snapshot| &**snapshot));
        view.stalled = stalled;
        view
    }

    /// A page of a view; several that ask get the same, as [`Page`] says. Takes [`PATIENCE`] at most. `None`: making it
    /// panicked.
    pub async fn page(self: &Arc<Self>, kind: Kind) -> Option<Bytes> {
        let collector = Arc::clone(self);
        // A task, so that a client that goes away doesn't stop it: the next one would begin it anew.
        let made = tokio::spawn(async move {
            let page = &collector.pages[kind as usize];
            page.get(collector.made(kind)).await
        });
        made.await.ok()
    }

    async fn made(&self, kind: Kind) -> String {
        let view = self.view().await;
        match kind {
            Kind::Metrics => export::prometheus(&view, &Process::read()),
            Kind::Stages => export::stages_json(&view, false).to_string(),
            Kind::Histograms => export::stages_json(&view, true).to_string(),
        }
    }

    /// What all workers keep of their judgements. Takes [`PATIENCE`] at most.
    pub async fn judgements(&self, wanted: &Wanted) -> Judgements {
        let mut asked = JoinSet::new();
        for worker in 0..self.source.workers() {
            let answer = self.source.judgements(worker, wanted);
            asked.spawn(async move { timeout(PATIENCE, answer).await.ok().flatten() });
        }
        let mut all = Judgements::default();
        while let Some(answer) = asked.join_next().await {
            let missing = Judgements {
                missing: 1,
                ..Judgements::default()
            };
            all.add(answer.ok().flatten().unwrap_or(missing));
        }
        all
    }

    /// The workers that do not answer. Takes [`PATIENCE`] at most.
    pub async fn stalled(&self) -> Vec<usize> {
        let mut asked = JoinSet::new();
        for worker in 0..self.source.workers() {
            let answer = self.source.ping(worker);
            asked.spawn(async move { (worker, timeout(PATIENCE, answer).await == Ok(true)) });
        }
        let mut stalled: Vec<usize> = (0..self.source.workers()).collect();
        while let Some(answer) = asked.join_next().await {
            if let Ok((worker, true)) = answer {
                stalled.retain(|other| *other != worker);
            }
        }
        stalled
    }
}
