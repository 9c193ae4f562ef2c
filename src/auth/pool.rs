//! Threads that check passwords: a hash takes tens of milliseconds, and a worker's other sessions must not wait for it.
//!
//! Few threads and a bounded queue: whoever finds it full is told to come again. Each job holds the memory of one hash.

use crossbeam::channel::{Sender, TrySendError, bounded};
use std::{io, thread};

/// Passwords that wait for a thread.
const WAITING_MAX: usize = 256;
/// Threads at most.
const THREADS_MAX: usize = 4;

type Job = Box<dyn FnOnce() + Send>;

/// The threads. They end when this is dropped and the queue is empty.
pub struct Pool {
    jobs: Sender<Job>,
}

impl Pool {
    /// Starts the threads: half as many as there are cores, so that guessers can't have all of them. Call it on a thread that isn't
    /// pinned: they inherit that. Errors: no thread can be had.
    pub fn start() -> io::Result<Pool> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let (jobs, queue) = bounded::<Job>(WAITING_MAX);
        for number in 0..cores.div_ceil(2).min(THREADS_MAX) {
            let queue = queue.clone();
            thread::Builder::new()
                .name(format!("auth-{number}"))
                .spawn(move || {
                    for job in queue {
                        // One that panics has dropped its reply, which is an answer too.
                        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
                    }
                })?;
        }
        Ok(Pool { jobs })
    }

    /// Gives them a job. `false`: too many wait already, and it was dropped.
    #[must_use]
    pub fn run(&self, job: impl FnOnce() + Send + 'static) -> bool {
        match self.jobs.try_send(Box::new(job)) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam::channel::bounded;

    #[test]
    fn jobs_are_done_and_too_many_are_refused() {
        let pool = Pool::start().expect("threads");
        let (open, gate) = bounded::<()>(0);
        let (tell, told) = bounded(WAITING_MAX * 2);
        let mut taken = 0;
        for number in 0..WAITING_MAX * 2 {
            let (gate, tell) = (gate.clone(), tell.clone());
            let job = move || {
                let _ = gate.recv();
                tell.send(number).expect("there is room");
            };
            taken += usize::from(pool.run(job));
        }
        assert!((WAITING_MAX..=WAITING_MAX + THREADS_MAX).contains(&taken));
        drop((open, tell, pool));
        assert_eq!(told.iter().count(), taken);
    }

    #[test]
    fn a_job_that_panics_ends_no_thread() {
        let pool = Pool::start().expect("threads");
        let (tell, told) = bounded(64);
        for number in 0..64 {
            let tell = tell.clone();
            while !pool.run({
                let tell = tell.clone();
                move || {
                    assert!(number % 2 == 0, "a panic for the test");
                    tell.send(number).expect("there is room");
                }
            }) {}
        }
        drop((tell, pool));
        assert_eq!(told.iter().count(), 32);
    }
}
