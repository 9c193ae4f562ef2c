//! The thread that makes requests durable: it takes what has come, commits it with one sync, and answers all.
//!
//! While the disk works, requests gather; so a batch grows with the load, and nothing waits for a timer. Workers never
//! wait: a full queue gives the request back. An answer comes by [`Answer::tell`], on this thread: it must not wait either
//! (a mailbox of a worker takes it).
//!
//! Between batches, and when nothing comes, the thread reclaims space, one step at a time. What takes longer is a chore
//! (`chores`) and goes to threads of its own; where a disk has failed, this thread tries it again without being asked.

use super::{
    chores::Finished, disk::Disk, log::Log, meter::Metrics, reclaim::Progress, refused::Refused,
    request::Request, shared::Shared,
};
use crate::threads::Threads;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How many requests wait at most, for the thread to take them.
pub const WAITING_MAX: usize = 4_096;
/// How many requests one batch takes at most.
pub const BATCH_MAX: usize = 256;
/// How many octets of requests one batch takes, before the one that exceeds it.
pub const BATCH_OCTETS_MAX: u64 = 8 << 20;
/// How often the thread looks for space to reclaim when nothing comes.
const IDLE: Duration = Duration::from_millis(50);
/// A reclaiming step comes after so many batches, even under load: so that the disk doesn't fill up.
const BATCHES_A_STEP: u32 = 16;
/// How many chores are under way at once: one spare file, and one of the others.
const CHORES_MAX: usize = 2;
/// How long a batch waits for a spare file that is being made, before it makes one itself.
const CHORE_WAIT: Duration = Duration::from_secs(5);

/// Where an answer goes. Called on the committer's thread: it must not wait.
pub trait Answer: Send + 'static {
    /// Takes the answer, and gets its request back, with the body.
    fn tell(self, answer: Result<(), Refused>, request: Request);
}

impl<F: FnOnce(Result<(), Refused>, Request) + Send + 'static> Answer for F {
    fn tell(self, answer: Result<(), Refused>, request: Request) {
        self(answer, request);
    }
}

type Item<A> = (Request, A);

/// Hands requests over, from any thread.
pub struct Submitter<D: Disk, A> {
    queue: Sender<Item<A>>,
    shared: Arc<Shared<D>>,
    metrics: Arc<Mutex<Metrics>>,
}

impl<D: Disk, A> Clone for Submitter<D, A> {
    fn clone(&self) -> Submitter<D, A> {
        Submitter {
            queue: self.queue.clone(),
            shared: Arc::clone(&self.shared),
            metrics: Arc::clone(&self.metrics),
        }
    }
}

/// A request that was not taken.
#[derive(Debug)]
pub enum NotTaken<A> {
    /// [`WAITING_MAX`] requests wait: 451 4.3.1.
    Full(Request, A),
    /// The committer has stopped.
    Stopped(Request, A),
}

impl<D: Disk, A: Answer> Submitter<D, A> {
    /// Hands a request over. Never waits. Its answer comes once; where the committer stops meanwhile, it may be dropped
    /// untold: the request counts as failed then.
    ///
    /// # Errors
    /// The queue is full or the committer has stopped: no answer will come, and nothing was done.
    #[expect(
        clippy::result_large_err,
        reason = "the request goes back to its owner"
    )]
    pub fn submit(&self, request: Request, answer: A) -> Result<(), NotTaken<A>> {
        self.queue
            .try_send((request, answer))
            .map_err(|why| match why {
                TrySendError::Full((request, answer)) => NotTaken::Full(request, answer),
                TrySendError::Disconnected((request, answer)) => NotTaken::Stopped(request, answer),
            })
    }

    /// Hands a request over, and waits for a place in the queue: not for a worker's thread.
    ///
    /// # Errors
    /// The committer has stopped.
    #[expect(
        clippy::result_large_err,
        reason = "the request goes back to its owner"
    )]
    pub(super) fn submit_and_wait(&self, request: Request, answer: A) -> Result<(), Item<A>> {
        self.queue.send((request, answer)).map_err(|back| back.0)
    }

    /// Sequences, the index, and messages to read.
    pub fn shared(&self) -> &Arc<Shared<D>> {
        &self.shared
    }

    /// What was done so far.
    pub fn metrics(&self) -> Metrics {
        *self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The committer's thread. Dropped, it takes what waits, answers it, and ends.
pub struct Committer {
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Committer {
    /// Starts the thread, and those that do its chores. `now_ms` gives milliseconds since 1970.
    ///
    /// # Errors
    /// The system allows no more threads.
    pub fn start<D: Disk, A: Answer>(
        log: Log<D>,
        now_ms: impl Fn() -> u64 + Send + 'static,
    ) -> io::Result<(Committer, Submitter<D, A>)> {
        let (queue, waiting) = bounded(WAITING_MAX);
        let (done, finished) = bounded(CHORES_MAX);
        let shared = Arc::clone(log.shared());
        let metrics = Arc::new(Mutex::new(Metrics::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let work = Work {
            log,
            waiting,
            helpers: Threads::start("spool-chore", CHORES_MAX, CHORES_MAX)?,
            done,
            finished,
            under_way: 0,
            is_other_under_way: false,
            metrics: Arc::clone(&metrics),
            now_ms,
            stop: Arc::clone(&stop),
            is_idle: false,
        };
        let thread = thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || work.run())?;
        let submitter = Submitter {
            queue,
            shared,
            metrics,
        };
        let thread = Some(thread);
        Ok((Committer { thread, stop }, submitter))
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was told by it already.
            drop(thread.join());
        }
    }
}

struct Work<D: Disk, A, C> {
    log: Log<D>,
    waiting: Receiver<Item<A>>,
    helpers: Threads,
    done: Sender<Finished>,
    finished: Receiver<Finished>,
    /// Chores that were given away and have not come back.
    under_way: usize,
    /// One of them makes no spare file.
    is_other_under_way: bool,
    metrics: Arc<Mutex<Metrics>>,
    now_ms: C,
    stop: Arc<AtomicBool>,
    /// There was nothing to reclaim when it was last looked.
    is_idle: bool,
}

impl<D: Disk, A: Answer, C: Fn() -> u64> Work<D, A, C> {
    fn run(mut self) {
        let (mut requests, mut answers) = (Vec::new(), Vec::new());
        let mut batches = 0_u32;
        loop {
            let now_ms = (self.now_ms)();
            self.log.look(now_ms);
            self.log.probe(now_ms);
            self.chores(now_ms);
            match self.gather(&mut requests, &mut answers) {
                Ok(()) => self.commit(&mut requests, &mut answers),
                Err(RecvTimeoutError::Timeout) if !self.stop.load(Ordering::Acquire) => {
                    self.step();
                    continue;
                }
                Err(_) => break,
            }
            batches = batches.wrapping_add(1);
            if batches.is_multiple_of(BATCHES_A_STEP) {
                self.step();
            }
        }
        // The next owner of the directory must find nothing at work in it.
        while self.under_way > 0 && self.hear((self.now_ms)()) {}
    }

    /// Hears of chores that are done, and gives away the next.
    fn chores(&mut self, now_ms: u64) {
        while let Ok(finished) = self.finished.try_recv() {
            self.heard(finished, now_ms);
        }
        let spare = self.log.next_spare(now_ms);
        let other = (!self.is_other_under_way)
            .then(|| self.log.next_chore())
            .flatten();
        self.is_other_under_way |= other.is_some();
        for chore in spare.into_iter().chain(other) {
            let (shared, done) = (Arc::clone(self.log.shared()), self.done.clone());
            let job = move || {
                let finished = shared.carry_out(chore);
                // Before the answer: after it, nothing of this must own the directory.
                drop(shared);
                drop(done.send(finished));
            };
            // There are as many places as chores under way.
            if self.helpers.run(job).is_ok() {
                self.under_way += 1;
            }
        }
    }

    /// Waits for the end of a chore. Whether one came.
    fn hear(&mut self, now_ms: u64) -> bool {
        let finished = self.finished.recv_timeout(CHORE_WAIT);
        let came = finished.is_ok();
        if let Ok(finished) = finished {
            self.heard(finished, now_ms);
        }
        came
    }

    fn heard(&mut self, finished: Finished, now_ms: u64) {
        self.under_way -= 1;
        self.is_other_under_way &= matches!(finished, Finished::Spare { .. });
        self.log.finished(finished, now_ms);
    }

    /// Takes what waits, up to a batch; waits for the first where there is nothing else to do.
    fn gather(
        &mut self,
        requests: &mut Vec<Request>,
        answers: &mut Vec<A>,
    ) -> Result<(), RecvTimeoutError> {
        // The end must not wait long, nor space that can be reclaimed.
        let wait = match (self.stop.load(Ordering::Acquire), self.is_idle) {
            (true, _) => Duration::ZERO,
            (_, true) => IDLE,
            (_, false) => Duration::from_millis(1),
        };
        let (first, answer) = self.waiting.recv_timeout(wait)?;
        let mut octets = first.octets();
        requests.push(first);
        answers.push(answer);
        while requests.len() < BATCH_MAX && octets < BATCH_OCTETS_MAX {
            let Ok((request, answer)) = self.waiting.try_recv() else {
                break;
            };
            octets += request.octets();
            requests.push(request);
            answers.push(answer);
        }
        Ok(())
    }

    fn commit(&mut self, requests: &mut Vec<Request>, answers: &mut Vec<A>) {
        let begun = Instant::now();
        let now_ms = (self.now_ms)();
        let octets = requests.iter().map(Request::octets).sum();
        while self.log.awaits_spare(octets) && self.hear(now_ms) {
            // The file that came may be the one that is kept for a full disk: the next is to be made.
            self.chores(now_ms);
        }
        let results = self.log.commit(requests, now_ms);
        {
            let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
            metrics.committed(&results, begun.elapsed());
            metrics.log = self.log.counters();
        }
        self.is_idle = false;
        let told = requests.drain(..).zip(answers.drain(..)).zip(results);
        for ((request, answer), result) in told {
            answer.tell(result, request);
        }
    }

    fn step(&mut self) {
        self.is_idle = self.log.reclaim((self.now_ms)()) != Progress::More;
        let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        metrics.log = self.log.counters();
    }
}
