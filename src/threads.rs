//! Threads beside the workers, for what computes longer than a worker's other sessions should wait: hashes of passwords,
//! handshakes, signatures.
//!
//! Few threads and a bounded queue: a caller that finds it full is told so. They share the cores with the workers, which go first:
//! a worker has many sessions, and is back at rest within microseconds.

use crossbeam::channel::{Sender, TrySendError, bounded};
use std::{io, thread};

/// Something to compute.
pub type Job = Box<dyn FnOnce() + Send>;

/// How nice these threads are: a worker has nine times their weight where both want a core.
const NICE: i32 = 10;
/// How nice those are to which handshakes and passwords go first: these have three times their weight.
const NICE_LAST: i32 = 15;

/// The threads. They end when this is dropped and the queue is empty.
#[derive(Debug)]
pub struct Threads {
    jobs: Sender<Job>,
}

impl Threads {
    /// Starts `count` threads, called `name` with a number, for which `waiting_max` jobs may wait. Call it on a thread
    /// that isn't pinned: they inherit that.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(name: &str, count: usize, waiting_max: usize) -> io::Result<Threads> {
        Threads::start_nice(name, count, waiting_max, NICE)
    }

    /// Starts threads to which those of [`Threads::start`] go first.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start_last(name: &str, count: usize, waiting_max: usize) -> io::Result<Threads> {
        Threads::start_nice(name, count, waiting_max, NICE_LAST)
    }

    fn start_nice(name: &str, count: usize, waiting_max: usize, nice: i32) -> io::Result<Threads> {
        let (jobs, queue) = bounded::<Job>(waiting_max);
        for number in 0..count {
            let queue = queue.clone();
            thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || {
                    // Without it they compute as well, only less politely.
                    let _ = rustix::process::setpriority_process(None, nice);
                    for job in queue {
                        // One that panics has dropped its reply, which is an answer too.
                        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
                        // A worker that woke up on this core meanwhile may have been told to wait for the end of our
                        // time slice, which is several jobs long.
                        thread::yield_now();
                    }
                })?;
        }
        Ok(Threads { jobs })
    }

    /// Gives them a job.
    ///
    /// # Errors
    /// Too many wait already; here it is back.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Job> {
        self.jobs
            .try_send(Box::new(job))
            .map_err(|(TrySendError::Full(job) | TrySendError::Disconnected(job))| job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam::channel::bounded;

    const THREADS: usize = 3;
    const WAITING_MAX: usize = 256;

    #[test]
    fn jobs_are_done_and_too_many_are_refused() {
        let threads = Threads::start("test", THREADS, WAITING_MAX).expect("threads");
        let (open, gate) = bounded::<()>(0);
        let (tell, told) = bounded(WAITING_MAX * 2);
        let mut taken = 0;
        for number in 0..WAITING_MAX * 2 {
            let (gate, tell) = (gate.clone(), tell.clone());
            let job = move || {
                let _ = gate.recv();
                tell.send(number).expect("there is room");
            };
            taken += usize::from(threads.run(job).is_ok());
        }
        assert!((WAITING_MAX..=WAITING_MAX + THREADS).contains(&taken));
        drop((open, tell, threads));
        assert_eq!(told.iter().count(), taken);
    }

    #[test]
    fn a_job_that_panics_ends_no_thread() {
        let threads = Threads::start("test", 1, 64).expect("threads");
        let (tell, told) = bounded(64);
        for number in 0..64 {
            let tell = tell.clone();
            while threads
                .run({
                    let tell = tell.clone();
                    move || {
                        assert!(number % 2 == 0, "a panic for the test");
                        tell.send(number).expect("there is room");
                    }
                })
                .is_err()
            {}
        }
        drop((tell, threads));
        assert_eq!(told.iter().count(), 32);
    }

    #[test]
    fn they_let_the_workers_go_first() {
        let threads = Threads::start("test", 1, 1).expect("threads");
        let (tell, told) = bounded(1);
        let taken = threads.run(move || {
            let nice = rustix::process::getpriority_process(None).expect("ours");
            tell.send(nice).expect("there is room");
        });
        assert!(taken.is_ok());
        assert_eq!(told.recv(), Ok(NICE));
    }
}
