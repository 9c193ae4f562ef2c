//! Writes the histogram log (`[admin] histogram_log`) at its interval.

use super::collector::Collector;
use crate::metrics::IntervalLog;
use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, TryLockError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How long a write may take before it counts as stuck: a disk on the network, a pipe without a reader. The end of the
/// process waits no longer for the last interval.
const STUCK: Duration = Duration::from_secs(2);

/// The histogram log. Files may block, also where they are opened, so it is touched on tokio's blocking threads alone, by one of
/// them at a time.
#[derive(Clone)]
pub struct Histograms(Arc<Inner>);

struct Inner {
    path: PathBuf,
    /// `None` where it could not be opened yet.
    log: Mutex<Option<IntervalLog>>,
    /// It is to be opened again before the next interval is written.
    reopen: AtomicBool,
}

impl Inner {
    /// Opens the file where that is due, then does the work. Where it can't be opened again, the old file stays in use.
    fn touch(
        &self,
        log: &mut Option<IntervalLog>,
        work: impl FnOnce(&mut IntervalLog) -> io::Result<()>,
    ) -> io::Result<()> {
        let is_due = self.reopen.swap(false, Relaxed);
        let now = SystemTime::now();
        let (log, opened) = match log {
            Some(log) if is_due => {
                let opened = log.reopen(now);
                (log, opened)
            }
            Some(log) => (log, Ok(())),
            None => (log.insert(IntervalLog::open(&self.path, now)?), Ok(())),
        };
        work(log).and(opened)
    }
}

impl Histograms {
    /// Of this file, which is opened when [`Histograms::run`] begins.
    #[must_use]
    pub fn new(path: &Path) -> Histograms {
        Histograms(Arc::new(Inner {
            path: path.to_owned(),
            log: Mutex::new(None),
            reopen: AtomicBool::new(false),
        }))
    }

    /// Has the file opened again by its name before the next interval is written: a rotation moved it away.
    pub fn reopen(&self) {
        self.0.reopen.store(true, Relaxed);
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

    /// Opens the file at once, and again at each interval where that failed; appends every `every` until `stop` is ready, and once
    /// more then. `failed` is told of each failure.
    pub async fn run(
        self,
        collector: Arc<Collector>,
        every: Duration,
        stop: impl Future<Output = ()>,
        failed: impl Fn(io::Error),
    ) {
        if let Err(error) = self.touch(|_| Ok(())).await {
            failed(error);
        }
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
        let inner = Arc::clone(&self.0);
        let task = move || match inner.log.try_lock() {
            Ok(mut log) => inner.touch(&mut log, work),
            Err(TryLockError::Poisoned(log)) => inner.touch(&mut log.into_inner(), work),
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
