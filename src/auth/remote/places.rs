//! The places at a source that is asked over a wire, and the questions that wait for one.
//!
//! A source may take its time over a no (Dovecot: two seconds), and a failure is counted only after it. So without shares a few
//! addresses that guess would hold all places, and everybody's login would wait for their guesses. An address may have a third as many
//! places as are free for strangers, and its network as many as are free: the more addresses guess, the fewer each of them has, and some
//! stay free for the next address. Pairs of address and account that have worked lately have shares of their own: a quarter of all places is
//! theirs, and a quarter is left to strangers, since one account that logs in from many networks makes many such pairs. The rest waits, in turns:
//! each address one question. Those that wait have the same shares of a list, and what is above these isn't asked.
//!
//! Rejected: a fixed share, as account files have (`auth/hashing`). A hash takes as long for a yes as for a no, so threads are free again at
//! once; 64 places of two seconds are not, and ten addresses with a small share each would hold all of them.

use crate::auth::{asker::Asker, throttle::count_out};
use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// Questions that wait for a place at one source at most.
const WAITING_MAX: u32 = 1024;
/// One part in so many is left to pairs that have worked, and as much to strangers.
const OF_OTHERS: u32 = 4;
/// A share is one part in so many of what is free.
const OF_FREE: u32 = 3;

/// What is taken of so many, by whose it is. There is no entry for zero.
#[derive(Debug)]
struct Shares {
    max: u32,
    taken: u32,
    /// Of that, by strangers and by known pairs.
    of_class: [u32; 2],
    askers: HashMap<Asker, u32>,
    networks: HashMap<(usize, IpAddr), u32>,
}

/// The class of an asker, and its network.
fn place_of(asker: &Asker) -> (usize, IpAddr) {
    (usize::from(asker.is_known()), asker.site())
}

impl Shares {
    fn new(max: u32) -> Shares {
        Shares {
            max,
            taken: 0,
            of_class: [0; 2],
            askers: HashMap::new(),
            networks: HashMap::new(),
        }
    }

    /// Whether this asker may have one more.
    fn has_room(&self, asker: &Asker) -> bool {
        let network = place_of(asker);
        let max = self.max - self.max / OF_OTHERS;
        let of_class = max.saturating_sub(self.of_class[network.0]);
        let free = of_class.min(self.max.saturating_sub(self.taken));
        if free == 0 {
            return false;
        }
        let own = self.askers.get(asker).copied().unwrap_or(0);
        let of_network = self.networks.get(&network);
        (own == 0 || own < free / OF_FREE) && of_network.is_none_or(|taken| *taken < free)
    }

    fn take(&mut self, asker: &Asker) {
        self.taken += 1;
        *self.askers.entry(asker.clone()).or_insert(0) += 1;
        let network = place_of(asker);
        self.of_class[network.0] += 1;
        *self.networks.entry(network).or_insert(0) += 1;
    }

    fn give_back(&mut self, asker: &Asker) {
        self.taken -= 1;
        let network = place_of(asker);
        self.of_class[network.0] -= 1;
        count_out(&mut self.networks, network);
        count_out(&mut self.askers, asker.clone());
    }
}

#[derive(Debug)]
struct State {
    under_way: Shares,
    waiting: Shares,
    /// Those that wait, by whose they are. None is empty.
    queues: HashMap<Asker, VecDeque<oneshot::Sender<Place>>>,
    /// The askers of the queues, each once.
    turns: VecDeque<Asker>,
}

/// All places of one source.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Mutex<State>>);

/// A place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    asker: Option<Asker>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(asker) = self.asker.take() {
            let mut state = self.places.locked();
            state.under_way.give_back(&asker);
            self.places.serve(&mut state);
        }
    }
}

/// A question that waits; it no longer does when dropped.
struct Waiter<'a> {
    places: &'a Places,
    asker: Asker,
    place: oneshot::Receiver<Place>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.place.close();
        // One that came at the same moment goes to the next; not under the lock, which it takes itself.
        drop(self.place.try_recv());
        self.places.locked().forget(&self.asker);
    }
}

impl State {
    fn wait(&mut self, asker: &Asker) -> oneshot::Receiver<Place> {
        let (give, place) = oneshot::channel();
        self.waiting.take(asker);
        let queue = self.queues.entry(asker.clone()).or_default();
        if queue.is_empty() {
            self.turns.push_back(asker.clone());
        }
        queue.push_back(give);
        place
    }

    /// Takes those of an asker out that wait no longer.
    fn forget(&mut self, asker: &Asker) {
        let Some(queue) = self.queues.get_mut(asker) else {
            return;
        };
        let before = queue.len();
        queue.retain(|give| !give.is_closed());
        for _ in queue.len()..before {
            self.waiting.give_back(asker);
        }
        if queue.is_empty() {
            self.queues.remove(asker);
            self.turns.retain(|other| other != asker);
        }
    }

    /// The next asker in turn that may have a place, and its question that has waited longest.
    fn next(&mut self) -> Option<(Asker, oneshot::Sender<Place>)> {
        let ready = |asker: &Asker| self.under_way.has_room(asker);
        let at = self.turns.iter().position(ready)?;
        self.turns.rotate_left(at);
        let asker = self.turns.pop_front()?;
        let queue = self.queues.get_mut(&asker)?;
        let give = queue.pop_front()?;
        self.waiting.give_back(&asker);
        match queue.is_empty() {
            true => drop(self.queues.remove(&asker)),
            false => self.turns.push_back(asker.clone()),
        }
        Some((asker, give))
    }
}

impl Places {
    pub fn new(max: u32) -> Places {
        Places(Arc::new(Mutex::new(State {
            under_way: Shares::new(max),
            waiting: Shares::new(WAITING_MAX),
            queues: HashMap::new(),
            turns: VecDeque::new(),
        })))
    }

    /// Waits for a place. `None`: too many of this asker wait, or too many in all.
    // INV-LIMIT
    pub async fn take(&self, asker: Asker) -> Option<Place> {
        let mut waiter = {
            let mut state = self.locked();
            if state.under_way.has_room(&asker) {
                state.under_way.take(&asker);
                return Some(self.place(asker));
            }
            if !state.waiting.has_room(&asker) {
                return None;
            }
            Waiter {
                place: state.wait(&asker),
                places: self,
                asker,
            }
        };
        (&mut waiter.place).await.ok()
    }

    fn place(&self, asker: Asker) -> Place {
        Place {
            places: self.clone(),
            asker: Some(asker),
        }
    }

    /// Gives the free places to those that wait.
    fn serve(&self, state: &mut State) {
        while let Some((asker, give)) = state.next() {
            state.under_way.take(&asker);
            if let Err(mut place) = give.send(self.place(asker)) {
                // It waits no longer. Not by dropping the place: the lock is taken.
                if let Some(asker) = place.asker.take() {
                    state.under_way.give_back(&asker);
                }
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        pin::{Pin, pin},
        task::{Context, Poll, Waker},
    };

    type Taking<'a> = Pin<Box<dyn Future<Output = Option<Place>> + 'a>>;

    fn stranger(network: u8, last: u8) -> Asker {
        Asker::Stranger([192, 0, network, last].into())
    }

    fn known(account: &str) -> Asker {
        Asker::Known([192, 0, 2, 1].into(), account.to_string())
    }

    fn poll(
        taking: Pin<&mut (impl Future<Output = Option<Place>> + ?Sized)>,
    ) -> Poll<Option<Place>> {
        taking.poll(&mut Context::from_waker(Waker::noop()))
    }

    /// A place that is to be had at once.
    fn at_once(places: &Places, asker: Asker) -> Option<Place> {
        match poll(pin!(places.take(asker))) {
            Poll::Ready(place) => place,
            Poll::Pending => None,
        }
    }

    /// One that asks until it has to wait.
    fn flood(places: &Places, asker: impl Fn(u8) -> Asker) -> Vec<Place> {
        (0..100).filter_map(|i| at_once(places, asker(i))).collect()
    }

    fn waiting(places: &Places, asker: Asker) -> Taking<'_> {
        let mut taking: Taking<'_> = Box::pin(places.take(asker));
        assert!(poll(taking.as_mut()).is_pending());
        taking
    }

    #[test]
    // INV-LIMIT
    fn guessers_leave_places_to_the_next_address_and_to_known_pairs() {
        let places = Places::new(64);
        let mut guessers = vec![flood(&places, |_| stranger(2, 1))];
        assert_eq!(guessers[0].len(), 12, "alone");
        // All of one network have half.
        guessers.push(flood(&places, |i| stranger(2, i)));
        assert_eq!(guessers.iter().flatten().count(), 24);
        drop(guessers);
        // Twenty addresses that guess again and again leave places to the next.
        let mut guessers: Vec<(u8, Vec<Place>)> = (3..23).map(|net| (net, Vec::new())).collect();
        for _ in 0..20 {
            for (network, held) in &mut guessers {
                held.pop();
                held.extend(flood(&places, |_| stranger(*network, 1)));
            }
        }
        assert!(
            guessers
                .iter()
                .all(|(_, held)| (1..=3).contains(&held.len()))
        );
        let next = flood(&places, |_| stranger(200, 1));
        assert!(!next.is_empty());
        drop(next);
        // More addresses than there are places.
        for network in 23..99 {
            guessers.push((network, flood(&places, |_| stranger(network, 1))));
        }
        let all = guessers.iter().map(|(_, held)| held.len());
        assert_eq!(all.sum::<usize>(), 48);
        assert!(at_once(&places, stranger(200, 1)).is_none());
        let amy = flood(&places, |_| known("amy"));
        assert_eq!(amy.len(), 4);
        assert!(at_once(&places, known("ben")).is_some());
        drop((guessers, amy));
        let state = places.locked();
        assert!(state.under_way.askers.is_empty() && state.under_way.networks.is_empty());
        assert_eq!(
            (state.under_way.taken, state.under_way.of_class),
            (0, [0, 0])
        );
    }

    #[test]
    fn those_that_wait_have_turns() {
        let places = Places::new(1);
        let first = at_once(&places, stranger(2, 1)).expect("the only one");
        let mut guesses: Vec<_> = (0..3).map(|_| waiting(&places, stranger(2, 1))).collect();
        let mut other = waiting(&places, stranger(3, 1));
        drop(first);
        let Poll::Ready(Some(place)) = poll(guesses[0].as_mut()) else {
            panic!("its turn");
        };
        // One that waits no longer has no turn; the other address comes before the third guess.
        drop(guesses.remove(1));
        drop(place);
        assert!(poll(guesses[1].as_mut()).is_pending());
        assert!(matches!(poll(other.as_mut()), Poll::Ready(Some(_))));
        // That one was dropped at once.
        let Poll::Ready(Some(last)) = poll(guesses[1].as_mut()) else {
            panic!("its turn");
        };
        // A place that is given to one that never looks again goes on to the next.
        let unheard = waiting(&places, stranger(4, 1));
        let mut next = waiting(&places, stranger(5, 1));
        drop(last);
        drop(unheard);
        assert!(matches!(poll(next.as_mut()), Poll::Ready(Some(_))));
        drop((guesses, other, next));
        let state = places.locked();
        assert!(state.queues.is_empty() && state.turns.is_empty());
        assert_eq!((state.waiting.taken, state.under_way.taken), (0, 0));
    }

    #[test]
    // INV-LIMIT
    fn those_that_wait_have_shares() {
        let places = Places::new(1);
        let _first = at_once(&places, stranger(2, 1)).expect("the only one");
        let mut all = Vec::new();
        let mut flood = |asker: Asker| {
            let before = all.len();
            for _ in 0..2 * WAITING_MAX {
                let mut taking: Taking<'_> = Box::pin(places.take(asker.clone()));
                if poll(taking.as_mut()).is_pending() {
                    all.push(taking);
                }
            }
            all.len() - before
        };
        assert_eq!(flood(stranger(2, 1)), 192);
        for network in 3..20 {
            assert!(flood(stranger(network, 1)) > 0, "{network}");
        }
        assert!(flood(known("amy")) > 0);
        assert!(all.len() <= WAITING_MAX as usize);
        drop(all);
        assert_eq!(places.locked().waiting.taken, 0);
    }
}
