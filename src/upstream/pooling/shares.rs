//! How many of a pool's connections one client may have at a time, so that messages over which a backend hangs, or
//! questions about recipients that are only guessed, never take them all.
//!
//! A client may have a third as many as are free, and half of that for questions; but always one. So one client has a
//! quarter of a pool at most, and each that comes after it a quarter of what the others have left: however many they are,
//! the next one finds some. (A pool of few connections passes for a larger one, see [`crate::upstream`]'s `sharing`: a client
//! may have all of it. Switches share the memory of their ports in this way: Choudhury and Hahne, *Dynamic queue
//! length thresholds*, 1998.) It must hold beforehand, for a connection whose message waits for the backend's final reply
//! can't be taken back.
//!
//! Counts are kept in a table of fixed size, in two rows of it with hashes of their own, and the lower one counts: no lock
//! and no allocation on the way of a message. Two clients that share a place in both rows share their count; the hash is
//! secret, so that none can be made to meet another.
//!
//! What waits for its share stands in its client's line, and whatever the client gives back calls the first one out of it.
//! The lines have a lock, which is taken to wait, and to give back where something of this client (or of another one at
//! the same place of a row) waits: the others pay nothing for a client that has its share. No call is lost: one that waits
//! stands in the line before it looks for room, and room is made before the line is looked at. One that was called and
//! leaves, with a connection or without, calls the next one; one that was called in vain stands in its old place again.

use super::queue::WorkerWaker;
use std::{
    collections::{BTreeMap, HashMap, hash_map::RandomState},
    fmt,
    hash::BuildHasher,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::SeqCst},
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// So many stand in the lines of the clients at each place of the first row.
    waiting: Box<[AtomicU32; ROW]>,
    // INV-LOCK
    lines: Mutex<Lines>,
}

/// What waits.
#[derive(Default)]
struct Lines {
    /// By the order in which they came. A question gets less than a message: the first of each is called.
    by_client: HashMap<(u128, Purpose), BTreeMap<u64, Arc<WorkerWaker>>>,
    next: u64,
    /// All that wait, also those that were called and have not looked yet.
    count: usize,
}

impl Default for Shares {
    fn default() -> Shares {
        Shares {
            rows: Box::new([const { [const { AtomicU32::new(0) }; ROW] }; 2]),
            secret: RandomState::new(),
            claims: AtomicU32::new(0),
            waiting: Box::new([const { AtomicU32::new(0) }; ROW]),
            lines: Mutex::default(),
        }
    }
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shares")
            .field("claims", &self.claims)
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
        let places = self.places(client);
        let allowed = |taken: u32| {
            let free = connections.saturating_sub(taken.max(leased));
            let part = match purpose {
                Purpose::Message => free / MESSAGE_PART,
                Purpose::Question => free / QUESTION_PART,
            };
            part.max(1)
        };
        loop {
            // A look first, which leaves no trace: what is turned away must not be in the way of others meanwhile.
            let counts = [0, 1].map(|row| self.rows[row][places[row]].load(SeqCst));
            if counts[0].min(counts[1]) >= allowed(self.claims.load(SeqCst)) {
                return None;
            }
            let taken = self.claims.fetch_add(1, SeqCst);
            let counts = [0, 1].map(|row| self.rows[row][places[row]].fetch_add(1, SeqCst) + 1);
            let share = Share {
                shares: Arc::clone(self),
                client,
                places,
            };
            if counts[0].min(counts[1]) <= allowed(taken) {
                return Some(share);
            }
            // Others came since that look. It is given back as any: something may have looked meanwhile, and counted it.
            drop(share);
        }
    }

    fn places(&self, client: u128) -> [usize; 2] {
        let hash = self.secret.hash_one(client);
        [hash as usize % ROW, (hash >> 32) as usize % ROW]
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        // Entries are whole: a panic elsewhere can't have torn one.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place in the line of a client; `None`: too many wait. Look for room after this, and after each call.
    pub(in crate::upstream) fn wait(
        self: &Arc<Self>,
        client: u128,
        purpose: Purpose,
    ) -> Option<Waiting> {
        let mut lines = self.lock();
        if lines.count >= WAITERS_MAX {
            return None;
        }
        lines.count += 1;
        let number = lines.next;
        lines.next += 1;
        drop(lines);
        let waiting = Waiting {
            shares: Arc::clone(self),
            client,
            purpose,
            place: self.places(client)[0],
            number,
            waker: Arc::default(),
        };
        waiting.stand();
        Some(waiting)
    }

    /// Calls the ones of this client that have waited longest.
    fn call(&self, client: u128, place: usize) {
        if self.waiting[place].load(SeqCst) == 0 {
            return;
        }
        let mut lines = self.lock();
        let called = [Purpose::Message, Purpose::Question].map(|purpose| {
            let line = lines.by_client.get_mut(&(client, purpose))?;
            let (_, waker) = line.pop_first()?;
            if line.is_empty() {
                lines.by_client.remove(&(client, purpose));
            }
            self.waiting[place].fetch_sub(1, SeqCst);
            Some(waker)
        });
        drop(lines);
        called.iter().flatten().for_each(|waker| waker.wake());
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
        let shares = &self.shares;
        shares.claims.fetch_sub(1, SeqCst);
        for (row, place) in shares.rows.iter().zip(self.places) {
            row[place].fetch_sub(1, SeqCst);
        }
        shares.call(self.client, self.places[0]);
    }
}

/// A place in the line.
pub(in crate::upstream) struct Waiting {
    shares: Arc<Shares>,
    client: u128,
    purpose: Purpose,
    place: usize,
    /// It stays the same: one that was called in vain has its old place.
    number: u64,
    waker: Arc<WorkerWaker>,
}

impl Waiting {
    /// Waits until the client has given a connection back. It stands in the line again when this is ready.
    pub(in crate::upstream) async fn called(&self) {
        self.waker.woken().await;
        self.stand();
    }

    fn stand(&self) {
        let mut lines = self.shares.lock();
        let line = lines.by_client.entry((self.client, self.purpose));
        let before = line
            .or_default()
            .insert(self.number, Arc::clone(&self.waker));
        if before.is_none() {
            self.shares.waiting[self.place].fetch_add(1, SeqCst);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let key = (self.client, self.purpose);
        let mut lines = self.shares.lock();
        lines.count -= 1;
        if let Some(line) = lines.by_client.get_mut(&key) {
            if line.remove(&self.number).is_some() {
                self.shares.waiting[self.place].fetch_sub(1, SeqCst);
            }
            if line.is_empty() {
                lines.by_client.remove(&key);
            }
        }
        drop(lines);
        // It may have been called and have made no use of that, or there may be room for one more.
        self.shares.call(self.client, self.place);
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
        assert!(counts.map(|count| count.load(SeqCst)).all(|n| n == 0));
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
        let wait = |client| shares.wait(client, Purpose::Message).expect("room");
        let (other, mine) = (wait(2), wait(1));
        drop(one);
        assert!(is_called(&mine) && !is_called(&other));
        let held = enter().expect("always one");
        assert!(enter().is_none());
        assert!(!is_called(&mine), "nothing came free");
        drop((mine, other, held));
        assert!(nothing_waits(&shares));
    }

    fn is_called(waiting: &Waiting) -> bool {
        let called = std::pin::pin!(waiting.called());
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        called.poll(&mut cx).is_ready()
    }

    fn nothing_waits(shares: &Shares) -> bool {
        let lines = shares.lock();
        let none = lines.by_client.is_empty() && lines.count == 0;
        none && shares.waiting.iter().all(|count| count.load(SeqCst) == 0)
    }

    #[test]
    fn two_that_are_given_back_call_two_and_one_that_leaves_passes_its_call_on() {
        let shares = Arc::new(Shares::default());
        let mut held = vec![];
        fill(&shares, 1, Purpose::Message, 12, &mut held);
        let wait = |purpose| shares.wait(1, purpose).expect("room");
        let waiting = [(); 4].map(|()| wait(Purpose::Message));
        let question = wait(Purpose::Question);
        drop((held.pop(), held.pop()));
        // Without a look between the two.
        let called = waiting.each_ref().map(is_called);
        assert_eq!(called, [true, true, false, false]);
        assert!(is_called(&question), "it has a line of its own");
        // They stand in their old places again.
        drop(held.pop());
        let [first, second, third, fourth] = waiting;
        drop(first);
        assert!(is_called(&second) && !is_called(&third) && !is_called(&fourth));
        drop((second, third, fourth, question, held));
        assert!(nothing_waits(&shares));
    }

    #[test]
    fn other_clients_take_no_lock_when_they_give_back() {
        let shares = Arc::new(Shares::default());
        let waiting = shares.wait(1, Purpose::Message).expect("room");
        let other = (2..).find(|client| shares.places(*client)[0] != waiting.place);
        let share = shares.enter(other.expect("there are many"), Purpose::Message, 9, 0);
        let lock = shares.lock();
        // It would never return.
        drop(share);
        drop(lock);
    }

    struct Unpark(std::thread::Thread);

    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    /// Waits as a session does, but looks at nothing unless it is called.
    fn enter_when_called(shares: &Arc<Shares>, connections: u32) -> Share {
        let enter = || shares.enter(1, Purpose::Message, connections, 0);
        if let Some(share) = enter() {
            return share;
        }
        let waker = Arc::new(Unpark(std::thread::current())).into();
        let mut cx = std::task::Context::from_waker(&waker);
        let waiting = shares.wait(1, Purpose::Message).expect("room");
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            if let Some(share) = enter() {
                return share;
            }
            let mut called = std::pin::pin!(waiting.called());
            while called.as_mut().poll(&mut cx).is_pending() {
                let left = until.saturating_duration_since(std::time::Instant::now());
                assert!(!left.is_zero(), "a call was lost");
                std::thread::park_timeout(left);
            }
        }
    }

    #[test]
    fn no_call_is_lost() {
        for connections in [1, 9] {
            let shares = Arc::new(Shares::default());
            std::thread::scope(|scope| {
                for _ in 0..6 {
                    scope.spawn(|| {
                        for _ in 0..2000 {
                            let share = enter_when_called(&shares, connections);
                            std::thread::yield_now();
                            drop(share);
                        }
                    });
                }
            });
            assert!(nothing_waits(&shares));
            assert_eq!(shares.claims.load(SeqCst), 0);
        }
    }
}
