//! Where the passwords of account files are checked: threads and a queue for pairs of address and account that have worked lately, and
//! others for strangers. A hash takes long by intent, and a failure is counted only after it. So without these two, one address
//! that guesses could fill the queue before it is locked, and make all others wait for its guesses. A few addresses of one network could
//! do the same, so a network has a share too.
//!
//! Rejected: one queue with places kept for known pairs (they would get in, and still wait for all the guesses before them); a
//! queue for each address, served in turns (guessers have many addresses, and owners then wait for each of them).

use super::{asker::Asker, throttle::count_out};
use crate::threads::Threads;
use std::{
    collections::HashMap,
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
/// Passwords of the strangers of one network (IPv4 /24, IPv6 /48) under way at most.
const NETWORK_MAX: u32 = 48;
/// Threads of each kind at most.
const THREADS_MAX: usize = 4;

/// The passwords under way. There is no entry for zero.
#[derive(Debug, Default)]
struct Shares {
    /// By whose they are.
    askers: HashMap<Asker, u32>,
    /// Those of strangers, by their network.
    networks: HashMap<IpAddr, u32>,
}

impl Shares {
    /// Whether there was room for one more.
    fn take(&mut self, asker: &Asker) -> bool {
        let under_way = self.askers.get(asker).copied().unwrap_or(0);
        let network = asker.network();
        let of_network = network.and_then(|network| self.networks.get(&network).copied());
        if under_way >= SHARE_MAX || of_network.unwrap_or(0) >= NETWORK_MAX {
            return false;
        }
        *self.askers.entry(asker.clone()).or_insert(0) += 1;
        if let Some(network) = network {
            *self.networks.entry(network).or_insert(0) += 1;
        }
        true
    }

    fn give_back(&mut self, asker: Asker) {
        if let Some(network) = asker.network() {
            count_out(&mut self.networks, network);
        }
        count_out(&mut self.askers, asker);
    }
}

/// The threads and what is under way.
pub(super) struct Hashing {
    known: Threads,
    strangers: Threads,
    shares: Arc<Mutex<Shares>>,
}

/// A password under way; counted out when dropped.
struct Place {
    shares: Arc<Mutex<Shares>>,
    asker: Asker,
}

impl Drop for Place {
    fn drop(&mut self) {
        locked(&self.shares).give_back(self.asker.clone());
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
            shares: Arc::default(),
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
        let has_room = locked(&self.shares).take(&asker);
        has_room.then(|| Place {
            shares: Arc::clone(&self.shares),
            asker,
        })
    }
}

fn locked(shares: &Mutex<Shares>) -> MutexGuard<'_, Shares> {
    shares.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam::channel::bounded;

    fn stranger(network: u8, last: u8) -> Asker {
        Asker::Stranger([192, 0, network, last].into())
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
        let taken = (0..100).filter(|_| guess(stranger(2, 1))).count();
        assert_eq!(taken, SHARE_MAX as usize);
        assert!(
            guess(stranger(2, 2)),
            "another address has a share of its own"
        );
        // As many as take all threads for strangers, and fill their queue.
        let others = (3..=99).flat_map(|network| (0..SHARE_MAX).map(move |_| stranger(network, 1)));
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
        let all_ended = || {
            let shares = locked(&shares);
            shares.askers.is_empty() && shares.networks.is_empty()
        };
        while !all_ended() {
            thread::yield_now();
        }
    }

    #[test]
    // INV-LIMIT
    fn the_addresses_of_a_network_share_what_leaves_room_for_others() {
        let ip = |text: &str| Asker::Stranger(text.parse().expect("an address"));
        let v4 = |last| ip(&format!("198.51.100.{last}"));
        let v6 = |last| ip(&format!("2001:db8:7:{last:x}::"));
        let networks: [(&dyn Fn(u32) -> Asker, Asker); 2] =
            [(&v4, ip("198.51.101.1")), (&v6, ip("2001:db8:8::"))];
        let mut shares = Shares::default();
        for (address, other) in networks {
            let flood: Vec<_> = (0..200)
                .map(|number| address(number % 7))
                .filter(|asker| shares.take(asker))
                .collect();
            assert_eq!(flood.len(), NETWORK_MAX as usize);
            assert!(!shares.take(&address(99)), "its network has its share");
            assert!(shares.take(&other), "another network");
            let known = Asker::Known([198, 51, 100, 1].into(), "amy".into());
            assert!(shares.take(&known), "it has worked");
            shares.give_back(known);
            for asker in flood {
                shares.give_back(asker);
            }
            assert!(shares.take(&address(99)));
            for asker in [address(99), other] {
                shares.give_back(asker);
            }
        }
        assert!(shares.askers.is_empty() && shares.networks.is_empty());
    }
}
