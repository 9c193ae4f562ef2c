//! Where the passwords of account files are checked: threads and a queue for pairs of address and account that have worked lately, and
//! others for strangers. A hash takes long by intent, and a failure is counted only after it. So without these two, one address
//! that guesses could fill the queue before it is locked, and make all others wait for its guesses.
//!
//! Rejected: one queue with places kept for known pairs (they would get in, and still wait for all the guesses before them); a
//! queue for each address, served in turns (guessers have many addresses, and owners then wait for each of them).

use crate::threads::Threads;
use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

/// Passwords of known pairs that wait for a thread at most.
const KNOWN_WAITING_MAX: usize = 256;
/// Passwords of strangers that wait for a thread at most.
const STRANGERS_WAITING_MAX: usize = 128;
/// Passwords of one address, or of one known pair, under way at most.
const SHARE_MAX: u32 = 16;
/// Threads of each kind at most.
const THREADS_MAX: usize = 4;

/// Whose password is checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Asker {
    /// Any account from this address.
    Stranger(IpAddr),
    /// An account that was used from this address with success.
    Known(IpAddr, String),
}

/// The passwords under way, by whose they are. There is no entry for zero.
type Shares = Arc<Mutex<HashMap<Asker, u32>>>;

/// The threads and what is under way.
pub(super) struct Hashing {
    known: Threads,
    strangers: Threads,
    shares: Shares,
}

/// A password under way; counted out when dropped.
struct Place {
    shares: Shares,
    asker: Asker,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Entry::Occupied(mut share) = locked(&self.shares).entry(self.asker.clone()) {
            *share.get_mut() -= 1;
            if *share.get() == 0 {
                share.remove();
            }
        }
    }
}

impl Hashing {
    /// Half as many threads of each kind as there are cores, so that guessers can't have all of them.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start() -> io::Result<Hashing> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let count = cores.div_ceil(2).min(THREADS_MAX);
        Ok(Hashing {
            known: Threads::start("auth", count, KNOWN_WAITING_MAX)?,
            strangers: Threads::start("auth-new", count, STRANGERS_WAITING_MAX)?,
            shares: Shares::default(),
        })
    }

    /// Checks a password on one of the threads. A job for which there is no room is dropped: `false`.
    // INV-LIMIT
    pub fn run(&self, asker: Asker, job: impl FnOnce() + Send + 'static) -> bool {
        let threads = match asker {
            Asker::Known(..) => &self.known,
            Asker::Stranger(_) => &self.strangers,
        };
        let Some(place) = self.place(asker) else {
            return false;
        };
        let job = move || {
            let _place = place;
            job();
        };
        threads.run(job).is_ok()
    }

    fn place(&self, asker: Asker) -> Option<Place> {
        let mut shares = locked(&self.shares);
        let share = shares.entry(asker.clone()).or_insert(0);
        if *share >= SHARE_MAX {
            return None;
        }
        *share += 1;
        drop(shares);
        Some(Place {
            shares: Arc::clone(&self.shares),
            asker,
        })
    }
}

fn locked(shares: &Shares) -> MutexGuard<'_, HashMap<Asker, u32>> {
    shares.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam::channel::bounded;

    fn stranger(last: u8) -> Asker {
        Asker::Stranger([192, 0, 2, last].into())
    }

    fn known(account: &str) -> Asker {
        Asker::Known([192, 0, 2, 1].into(), account.to_string())
    }

    #[test]
    // INV-LIMIT
    fn a_guesser_has_a_share_and_a_known_pair_does_not_wait_for_it() {
        let hashing = Hashing::start().expect("threads");
        let (open, gate) = bounded::<()>(0);
        let guess = |asker: Asker| {
            let gate = gate.clone();
            hashing.run(asker, move || {
                let _ = gate.recv();
            })
        };
        let taken = (0..100).filter(|_| guess(stranger(1))).count();
        assert_eq!(taken, SHARE_MAX as usize);
        assert!(guess(stranger(2)), "another address has a share of its own");
        // As many as take all threads for strangers, and fill their queue.
        let others = (3..=99).flat_map(|last| (0..SHARE_MAX).map(move |_| stranger(last)));
        let taken = others.filter(|asker| guess(asker.clone())).count();
        assert!(taken <= STRANGERS_WAITING_MAX + THREADS_MAX);
        let (tell, told) = bounded(1);
        let told_of = move || tell.send(()).expect("there is room");
        assert!(hashing.run(known("amy"), told_of));
        assert_eq!(told.recv(), Ok(()));
        // A known pair that guesses has no more, and leaves room for others at its address.
        let taken = (0..100).filter(|_| guess(known("ben"))).count();
        assert_eq!(taken, SHARE_MAX as usize);
        assert!(guess(known("cid")));
        drop(open);
        let Hashing {
            shares,
            known,
            strangers,
        } = hashing;
        drop((known, strangers));
        while !locked(&shares).is_empty() {
            thread::yield_now();
        }
    }
}
