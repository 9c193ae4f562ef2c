//! Writes the histogram log (`[admin] histogram_log`) at its interval.

use super::collector::Collector;
use crate::metrics::IntervalLog;
use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, TryLockError},
    time::{Duration, SystemTime},
};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How long a write may take before it counts as stuck: a disk on the network, a pipe without a reader. The end of the
/// process waits no longer for the last interval.
const STUCK: Duration = Duration::from_secs(2);

/// The histogram log, open. Files may block, so it is touched on tokio's blocking threads alone, by one of them at a time.
#[derive(Clone)]
pub struct Histograms(Arc<Mutex<IntervalLog>>);

impl Histograms {
    /// Opens the log, at start, so that a wrong path is told at once.
    ///
    /// # Errors
    /// Those of opening, with the path.
    pub fn open(path: &Path) -> io::Result<Histograms> {
        let log = IntervalLog::open(path, SystemTime::now())?;
        Ok(Histograms(Arc::new(Mutex::new(log))))
    }

    /// Opens the file again by its name, for rotation; at a reload.
    ///
    /// # Errors
    /// Those of opening, with the path; the old file stays in use.
    pub async fn reopen(&self) -> io::Result<()> {
        self.touch(|log| log.reopen(SystemTime::now())).await
    }

    /// Appends an interval now.
    ///
    /// # Errors
    /// Those of writing, with the path.
    pub async fn write(&self, collector: &Collector) -> io::Result<()> {
        let view = collector.view().await;
        self.touch(move |log| log.write(&view, SystemTime::now()).map(|_| ()))
            .await
    }

    /// Appends every `every` until `stop` is ready, and once more then. `failed` is told of each failure.
    pub async fn run(
        self,
        collector: Arc<Collector>,
        every: Duration,
        stop: impl Future<Output = ()>,
        failed: impl Fn(io::Error),
    ) {
        let mut ticks = interval(every.max(Duration::from_millis(100)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        ticks.tick().await; // The first one is at once.
        let mut stop = std::pin::pin!(stop);
        loop {
            let last = tokio::select! {
                _ = ticks.tick() => false,
                () = &mut stop => true,
            };
            if let Err(error) = self.write(&collector).await {
                failed(error);
            }
            if last {
                return;
            }
        }
    }

    async fn touch(
        &self,
        work: impl FnOnce(&mut IntervalLog) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let log = self.0.clone();
        let task = move || match log.try_lock() {
            Ok(mut log) => work(&mut log),
            Err(TryLockError::Poisoned(log)) => work(&mut log.into_inner()),
            // Waiting for it would hold one more thread.
            Err(TryLockError::WouldBlock) => {
                Err(io::Error::other("the write before this one is still stuck"))
            }
        };
        match timeout(STUCK, tokio::task::spawn_blocking(task)).await {
            Ok(done) => done.map_err(io::Error::other)?,
            Err(_) => Err(io::Error::other("its disk or reader takes nothing")),
        }
    }
}
