//! How many of a pool's connections one client may have at a time, so that messages over which a backend hangs, or
//! questions about recipients that are only guessed, never take them all.
//!
//! A client may have a third as many as are free, and half of that for questions; but always one. So one client has a
//! quarter of a pool at most, and each that comes after it a quarter of what the others have left: however many they are,
//! the next one finds some. (Switches share the memory of their ports in this way: Choudhury and Hahne, *Dynamic queue
//! length thresholds*, 1998.) It must hold beforehand, for a connection whose message waits for the backend's final reply
//! can't be taken back.
//!
//! Counts are kept in a table of fixed size, in two rows of it with hashes of their own, and the lower one counts: no lock
//! and no allocation on the way of a message. Two clients that share a place in both rows share their count; the hash is
//! secret, so that none can be made to meet another.

use super::queue::WorkerWaker;
use std::{
    collections::{VecDeque, hash_map::RandomState},
    fmt,
    hash::BuildHasher,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU32,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

/// Places of a row; a power of two.
const ROW: usize = 1024;
/// Clients' messages that wait for their share, of one pool; the next one is told at once that the pool is busy.
// INV-LIMIT
const WAITERS_MAX: usize = 16 * 1024;
/// A client's messages may have this part of what is free, and its questions that one.
const MESSAGE_PART: u32 = 3;
const QUESTION_PART: u32 = 6;

/// What a connection is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Purpose {
    /// A message.
    Message,
    /// A question about a recipient.
    Question,
}

/// The shares of one pool, of all workers. A reload keeps it.
pub struct Shares {
    rows: Box<[[AtomicU32; ROW]; 2]>,
    secret: RandomState,
    /// Claims of all clients, also of those whose connection is still to come.
    claims: AtomicU32,
    waiting: AtomicU32,
    waiters: Mutex<VecDeque<(u128, Arc<WorkerWaker>)>>,
}

impl Default for Shares {
    fn default() -> Shares {
        Shares {
            rows: Box::new([const { [const { AtomicU32::new(0) }; ROW] }; 2]),
            secret: RandomState::new(),
            claims: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            waiters: Mutex::default(),
        }
    }
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shares")
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

impl Shares {
    /// One more connection for this client, where the pool has `connections`, and messages and questions of all clients
    /// have `leased` of them. `None`: it has its share.
    ///
    /// Those that are about to be leased count as well: else many that come at the same time would all find the same free.
    pub(in crate::upstream) fn enter(
        self: &Arc<Self>,
        client: u128,
        purpose: Purpose,
        connections: u32,
        leased: u32,
    ) -> Option<Share> {
        let taken = self.claims.fetch_add(1, SeqCst).max(leased);
        let free = connections.saturating_sub(taken);
        let allowed = match purpose {
            Purpose::Message => free / MESSAGE_PART,
            Purpose::Question => free / QUESTION_PART,
        };
        let hash = self.secret.hash_one(client);
        let places = [hash as usize % ROW, (hash >> 32) as usize % ROW];
        let counts = [0, 1].map(|row| self.rows[row][places[row]].fetch_add(1, Relaxed) + 1);
        if counts[0].min(counts[1]) > allowed.max(1) {
            // Nothing has come free, so none that waits is woken: it would try in vain as well, and wake the next.
            self.take_off(places);
            return None;
        }
        Some(Share {
            shares: Arc::clone(self),
            client,
            places,
        })
    }

    fn take_off(&self, places: [usize; 2]) {
        self.claims.fetch_sub(1, SeqCst);
        for (row, place) in self.rows.iter().zip(places) {
            row[place].fetch_sub(1, Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(u128, Arc<WorkerWaker>)>> {
        // Entries are whole: a panic elsewhere can't have torn one.
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place in the line of a client; `None`: too many wait.
    pub(in crate::upstream) fn wait(self: &Arc<Self>, client: u128) -> Option<Waiting> {
        let waker = Arc::<WorkerWaker>::default();
        let mut waiters = self.lock();
        if waiters.len() >= WAITERS_MAX {
            return None;
        }
        waiters.push_back((client, Arc::clone(&waker)));
        self.waiting.store(waiters.len() as u32, SeqCst);
        drop(waiters);
        Some(Waiting {
            shares: Arc::clone(self),
            waker,
        })
    }

    /// Wakes the one that has waited longest of this client.
    fn wake(&self, client: u128) {
        let waiters = self.lock();
        if let Some((_, waker)) = waiters.iter().find(|(of, _)| *of == client) {
            waker.wake();
        }
    }
}

/// A client's claim to one connection; dropping it gives it back.
#[derive(Debug)]
pub(in crate::upstream) struct Share {
    shares: Arc<Shares>,
    client: u128,
    places: [usize; 2],
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shares.take_off(self.places);
        if self.shares.waiting.load(SeqCst) > 0 {
            self.shares.wake(self.client);
        }
    }
}

/// A place in the line.
pub(in crate::upstream) struct Waiting {
    shares: Arc<Shares>,
    /// Called when the client has given a connection back.
    pub(in crate::upstream) waker: Arc<WorkerWaker>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiters = self.shares.lock();
        waiters.retain(|(_, waker)| !Arc::ptr_eq(waker, &self.waker));
        self.shares.waiting.store(waiters.len() as u32, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;

    /// Takes what a client gets of `total` connections, all at once: none of them is leased yet.
    fn fill(
        shares: &Arc<Shares>,
        client: u128,
        purpose: Purpose,
        total: u32,
        taken: &mut Vec<Share>,
    ) {
        while let Some(share) = shares.enter(client, purpose, total, 0) {
            taken.push(share);
        }
    }

    #[test]
    fn one_client_has_a_quarter_and_five_leave_a_quarter() {
        let (shares, mut taken) = (Arc::new(Shares::default()), vec![]);
        let mut left = vec![];
        for client in 1..=5 {
            fill(&shares, client, Purpose::Message, 64, &mut taken);
            left.push(64 - taken.len());
        }
        assert_eq!(left, [48, 36, 27, 20, 15]);
        assert!(shares.enter(6, Purpose::Message, 64, 64 - 15).is_some());
        drop(taken);
        let counts = shares.rows.iter().flatten();
        assert!(counts.map(|count| count.load(Relaxed)).all(|n| n == 0));
        assert_eq!(shares.claims.load(SeqCst), 0);
    }

    #[test]
    fn questions_get_less_and_there_is_always_one() {
        let (shares, mut taken) = (Arc::new(Shares::default()), vec![]);
        fill(&shares, 1, Purpose::Question, 20, &mut taken);
        assert_eq!(taken.len(), 3);
        assert!(shares.enter(1, Purpose::Message, 20, 3).is_some());
        let one = shares
            .enter(2, Purpose::Question, 20, 20)
            .expect("always one");
        assert!(shares.enter(2, Purpose::Question, 20, 20).is_none());
        drop(one);
    }

    #[test]
    fn one_that_gives_back_wakes_the_next_of_the_same_client() {
        let shares = Arc::new(Shares::default());
        let enter = || shares.enter(1, Purpose::Message, 1, 1);
        let one = enter().expect("always one");
        let (other, mine) = (shares.wait(2).expect("room"), shares.wait(1).expect("room"));
        drop(one);
        let is_woken = |waiting: &Waiting| {
            let woken = std::pin::pin!(waiting.waker.woken());
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            woken.poll(&mut cx).is_ready()
        };
        assert!(is_woken(&mine) && !is_woken(&other));
        let held = enter().expect("always one");
        assert!(enter().is_none());
        assert!(!is_woken(&mine), "nothing came free");
        drop((mine, other, held));
        assert_eq!(shares.waiting.load(SeqCst), 0);
    }
}
