//! Aggregate reports for the domains that ask for them by `rua=` in their DMARC records (RFC 9990), collected to files.
//!
//! A worker gives what a message showed ([`Seen`]) to the [`Inbox`], a bounded queue, and goes on. A thread adds it up in
//! bounded memory ([`table`]), keeps it on disk each minute ([`journal`]), and at the end of an interval writes one file for
//! each domain, and beside it one with the addresses that should get it ([`outgoing`]). Whether an address elsewhere has agreed to
//! that is asked by the control thread, which looks here for what is [`Wanted`].
//!
//! Nothing here sends a report.
//!
//! *Must not know* sessions, streams, the DNS's servers.
//!
//! # Rejected
//! - *A file for each message, added up later*: a spam wave fills the disk with what is one row.
//! - *A database*: the journal is read once a start and written once a minute.
//! - *Waking the thread for each message*: a wake is a system call on the path of the message. The thread looks a few times a
//!   second instead.

mod closing;
mod collector;
mod journal;
mod outgoing;
pub mod seen;
mod table;
#[cfg(test)]
mod tests;
mod xml;

pub use seen::{Found, Seen};

use crate::{
    config::Config,
    metrics::{Counter, Registry, Scope},
    net::{calendar, now},
    policy::authentication::dmarc::Consent,
};
use collector::Collector;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use journal::Interval;
use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, UNIX_EPOCH},
};

/// Messages that wait for the thread at most.
pub const QUEUE_MAX: usize = 16 * 1024;
/// How often the thread looks for them.
const LOOK: Duration = Duration::from_millis(250);
/// How long the end of the process waits for the thread.
const END_WAIT: Duration = Duration::from_secs(2);

/// How reports are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The folder.
    pub directory: PathBuf,
    /// Our host name.
    pub receiver: String,
    /// The name of the organization that reports.
    pub organization: String,
    /// The address for questions about a report.
    pub email: String,
    /// Seconds that a report is about.
    pub interval: u64,
}

impl Settings {
    /// As configured. `None`: no reports are made.
    fn of(config: &Config) -> Option<Settings> {
        let reports = &config.policy.dmarc.reports;
        let named = |text: &str| match text.is_empty() {
            true => config.hostname.clone(),
            false => text.into(),
        };
        (!reports.directory.as_os_str().is_empty()).then(|| Settings {
            directory: reports.directory.clone(),
            receiver: config.hostname.to_ascii_lowercase(),
            organization: named(&reports.org_name),
            email: reports.email.clone(),
            interval: reports.interval.0.as_secs().max(1),
        })
    }

    /// The interval that a moment lies in. Days begin at midnight UTC, as readers of reports expect.
    fn interval_at(&self, now: u64) -> Interval {
        let begin = now - now % self.interval;
        let random = rand_id();
        Interval {
            begin,
            end: begin + self.interval - 1,
            id: format!("{random:016x}"),
        }
    }
}

/// An id that no other process has: several edges may have one name.
fn rand_id() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // Keyed from the system's random numbers.
    RandomState::new().hash_one(UNIX_EPOCH)
}

/// Addresses whose consent is to be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The id of the report.
    pub report: Box<str>,
    /// The domain that names them.
    pub domain: Box<str>,
    /// The addresses.
    pub uris: Vec<Box<str>>,
}

/// What was found of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The id of the report.
    pub report: Box<str>,
    /// The domain.
    pub domain: Box<str>,
    /// One for each address.
    pub consents: Vec<Consent>,
}

/// The way to the thread.
pub struct Inbox {
    settings: Settings,
    queue: Sender<Option<Box<Seen>>>,
    waiting: Mutex<Option<Receiver<Option<Box<Seen>>>>>,
    wanted: Mutex<Vec<Wanted>>,
    answered: Mutex<Vec<Answered>>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Inbox {
    /// For a configuration that wants reports.
    #[must_use]
    pub fn of(config: &Config) -> Option<Arc<Inbox>> {
        Settings::of(config).map(Inbox::new)
    }

    fn new(settings: Settings) -> Arc<Inbox> {
        let (queue, waiting) = bounded(QUEUE_MAX);
        Arc::new(Inbox {
            settings,
            queue,
            waiting: Mutex::new(Some(waiting)),
            wanted: Mutex::default(),
            answered: Mutex::default(),
            thread: Mutex::default(),
        })
    }

    /// Gives a message. False: the queue is full, or the thread has ended, so that no report will tell of the message.
    // INV-LIMIT
    pub fn give(&self, seen: Seen) -> bool {
        self.queue.try_send(Some(Box::new(seen))).is_ok()
    }

    /// Starts the thread, once.
    ///
    /// # Errors
    /// There can't be another thread.
    pub fn attend(self: &Arc<Inbox>, registry: &Arc<Registry>) -> io::Result<()> {
        let Some(waiting) = lock(&self.waiting).take() else {
            return Ok(());
        };
        let (inbox, registry) = (Arc::clone(self), Arc::clone(registry));
        let work = move || inbox.collect(&waiting, &registry);
        let thread = thread::Builder::new().name("reports".into()).spawn(work)?;
        *lock(&self.thread) = Some(thread);
        Ok(())
    }

    /// Has what was seen put on disk; waits for that, for [`END_WAIT`] at most.
    pub fn finish(&self) {
        let Some(thread) = lock(&self.thread).take() else {
            return;
        };
        // The workers have ended, so there is room soon.
        if self.queue.send_timeout(None, END_WAIT).is_err() {
            return;
        }
        let due = std::time::Instant::now() + END_WAIT;
        while !thread.is_finished() && std::time::Instant::now() < due {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Takes what is to be looked up.
    #[must_use]
    pub fn wanted(&self) -> Vec<Wanted> {
        std::mem::take(&mut lock(&self.wanted))
    }

    /// Gives what was found.
    pub fn answer(&self, answered: Answered) {
        lock(&self.answered).push(answered);
    }

    fn collect(&self, waiting: &Receiver<Option<Box<Seen>>>, registry: &Registry) {
        let mut collector = Collector::new(self.settings.clone(), unix_now());
        loop {
            // Not a wait for the queue: to be woken from that costs the worker a system call.
            thread::sleep(LOOK);
            let now = unix_now();
            for answered in std::mem::take(&mut *lock(&self.answered)) {
                collector.answered(answered);
            }
            let mut ends = false;
            loop {
                match waiting.recv_timeout(Duration::ZERO) {
                    Ok(Some(seen)) => collector.take(*seen, now),
                    Ok(None) | Err(RecvTimeoutError::Disconnected) => {
                        ends = true;
                        break;
                    }
                    Err(RecvTimeoutError::Timeout) => break,
                }
            }
            if ends {
                return collector.write(now);
            }
            // The control thread takes this lock each second, so it must not be held while the disk is written.
            let mut wanted = Vec::new();
            let told = collector.look(now, &mut wanted);
            lock(&self.wanted).append(&mut wanted);
            registry.count(Counter::ReportsWritten, Scope::NONE, told.reports);
            registry.count(Counter::ReportRoom, Scope::NONE, told.lost);
        }
    }
}

fn unix_now() -> u64 {
    calendar(now()) / 1_000_000
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
