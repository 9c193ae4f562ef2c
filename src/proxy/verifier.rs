//! Where signatures of strangers are verified: threads of their own, to which handshakes and workers go first, and a queue in
//! which each client and each network has a share.
//!
//! What is counted is what the signatures cost, and not how many messages there are: a message with 50 seals by long keys costs
//! a hundred times one of a mailing list. So the wait for a thread is bounded, and no honest sender comes near its share.

use crate::{
    client_key,
    net::{
        mailbox::{Receiver, mailbox},
        now, timeout_at,
    },
    policy::authentication::{Verified, Work},
    threads::Threads,
};
use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// What is verified on the worker, microseconds: up to three signatures by RSA keys of 2,048 bits, or one beside Ed25519. To wake
/// another thread and be woken by it took 8 to 60 µs (two threads and two queues, on a machine with other work).
pub(super) const HERE_MICROS_MAX: u32 = 60;
/// What one client (IPv6: a /64) has under way at most, microseconds: 150 messages with five seals each, by keys of 2,048 bits; five
/// of the dearest messages.
const CLIENT_MICROS_MAX: u32 = 20_000;
/// What the clients of one network (IPv4 /24, IPv6 /48) have.
const NETWORK_MICROS_MAX: u32 = 50_000;
/// What is under way in all for each thread: the longest wait, on a machine that has nothing else to do.
const THREAD_MICROS_MAX: u32 = 500_000;
/// Threads at most.
const THREADS_MAX: usize = 8;
/// How long a message waits for its results, where workers and handshakes leave these threads little.
const WAIT: Duration = Duration::from_secs(5);

/// Why signatures were not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unverified {
    /// The client, or its network, has its share under way.
    Share,
    /// As much is under way as may be.
    Full,
    /// The results did not come in time.
    Late,
}

impl Unverified {
    /// It in words, for the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Unverified::Share => "its address or its network has too many under way",
            Unverified::Full => "too many are under way",
            Unverified::Late => "their results did not come in time",
        }
    }
}

/// The threads, and what is under way on them.
#[derive(Debug)]
pub struct Verifier {
    threads: Threads,
    shares: Arc<Mutex<Shares>>,
}

/// What is under way, microseconds. There is no entry for zero.
#[derive(Debug, Default)]
struct Shares {
    all_max: u32,
    all: u32,
    clients: HashMap<u128, u32>,
    networks: HashMap<u128, u32>,
}

impl Shares {
    fn take(&mut self, client: u128, micros: u32) -> Result<(), Unverified> {
        let network = client_key::prefix_of(client);
        let under_way = |of: &HashMap<u128, u32>, key| of.get(&key).copied().unwrap_or(0);
        if under_way(&self.clients, client) + micros > CLIENT_MICROS_MAX
            || under_way(&self.networks, network) + micros > NETWORK_MICROS_MAX
        {
            return Err(Unverified::Share);
        }
        if self.all + micros > self.all_max {
            return Err(Unverified::Full);
        }
        self.all += micros;
        *self.clients.entry(client).or_insert(0) += micros;
        *self.networks.entry(network).or_insert(0) += micros;
        Ok(())
    }

    fn give_back(&mut self, client: u128, micros: u32) {
        self.all -= micros;
        let back = |of: &mut HashMap<u128, u32>, key| {
            if let Entry::Occupied(mut share) = of.entry(key) {
                *share.get_mut() -= micros;
                if *share.get() == 0 {
                    share.remove();
                }
            }
        };
        back(&mut self.clients, client);
        back(&mut self.networks, client_key::prefix_of(client));
    }
}

/// Work under way; counted out when dropped.
struct Place {
    shares: Arc<Mutex<Shares>>,
    client: u128,
    micros: u32,
}

impl Drop for Place {
    fn drop(&mut self) {
        locked(&self.shares).give_back(self.client, self.micros);
    }
}

impl Verifier {
    /// Half as many threads as there are cores.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start() -> io::Result<Verifier> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Verifier::with_threads(cores.div_ceil(2).min(THREADS_MAX))
    }

    fn with_threads(count: usize) -> io::Result<Verifier> {
        let all_max = u32::try_from(count).unwrap_or(1) * THREAD_MICROS_MAX;
        // No less is ever queued than what is too much for a worker.
        let waiting_max = (all_max / HERE_MICROS_MAX) as usize;
        Ok(Verifier {
            threads: Threads::start_last("signatures", count, waiting_max)?,
            shares: Arc::new(Mutex::new(Shares {
                all_max,
                ..Shares::default()
            })),
        })
    }

    /// Verifies a message of this client: here, where that takes no longer than the way to another thread. Where there is no room for
    /// it, what is cheap of it is verified; where its results come too late, nothing is. It is said why the rest was not.
    pub(super) async fn verify(
        &self,
        client: IpAddr,
        work: Work,
    ) -> (Vec<Verified>, Option<Unverified>) {
        if work.micros() <= HERE_MICROS_MAX {
            return (work.run(), None);
        }
        match self.begin(client, work) {
            Ok(mut results) => {
                let due = now().after(WAIT);
                match timeout_at(due, results.recv()).await.flatten() {
                    Some(verified) => (verified, None),
                    None => (Vec::new(), Some(Unverified::Late)),
                }
            }
            Err((work, why)) => (work.within(HERE_MICROS_MAX).run(), Some(why)),
        }
    }

    /// Has it verified on another thread.
    // INV-LIMIT
    fn begin(
        &self,
        client: IpAddr,
        work: Work,
    ) -> Result<Receiver<Vec<Verified>>, (Work, Unverified)> {
        let place = match self.place(client_key::address(client), work.micros()) {
            Ok(place) => place,
            Err(why) => return Err((work, why)),
        };
        let (reply, results) = mailbox(1);
        let job = move || {
            let _place = place;
            // The session has gone, or waits no longer.
            if !reply.is_closed() {
                let _ = reply.try_send(work.run());
            }
        };
        // The queue has room for all that the shares let in. A job that is dropped drops its reply.
        drop(self.threads.run(job));
        Ok(results)
    }

    fn place(&self, client: u128, micros: u32) -> Result<Place, Unverified> {
        locked(&self.shares).take(client, micros)?;
        Ok(Place {
            shares: Arc::clone(&self.shares),
            client,
            micros,
        })
    }
}

fn locked(shares: &Mutex<Shares>) -> MutexGuard<'_, Shares> {
    shares.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Engine, run_worker};
    use crossbeam::channel::{Sender, bounded};
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    /// With one thread, which waits for the end of what comes back.
    fn held() -> (Verifier, Sender<()>) {
        let verifier = Verifier::with_threads(1).expect("a thread");
        let (open, gate) = bounded::<()>(0);
        let taken = verifier.threads.run(move || {
            let _ = gate.recv();
        });
        assert!(taken.is_ok());
        (verifier, open)
    }

    /// 50 seals and eight signatures by keys of 4,096 bits.
    fn dear() -> Work {
        Work::of(8, 51, 4096)
    }

    fn client(network: u8, last: u8) -> IpAddr {
        [192, 0, network, last].into()
    }

    /// How many of two hundred dear messages are let in, and why no more are.
    fn admitted(verifier: &Verifier, from: impl Fn(u8) -> IpAddr) -> (u32, Option<Unverified>) {
        let (mut count, mut why) = (0, None);
        for number in 0..200 {
            match verifier.begin(from(number), dear()) {
                Ok(_) => count += 1,
                Err((_, refusal)) => why = Some(refusal),
            }
        }
        (count, why)
    }

    #[test]
    // INV-LIMIT
    fn a_client_and_its_network_have_shares_of_what_waits() {
        let (verifier, open) = held();
        let cost = dear().micros();
        let flood = admitted(&verifier, |_| client(2, 1));
        assert_eq!(flood, (CLIENT_MICROS_MAX / cost, Some(Unverified::Share)));
        let network = admitted(&verifier, |number| client(2, number));
        let all = flood.0 + network.0;
        assert!(all * cost <= NETWORK_MICROS_MAX && (all + 1) * cost > NETWORK_MICROS_MAX);
        assert_eq!(network.1, Some(Unverified::Share));
        // Another network is none the worse for it, and as many as there may be fill the queue.
        assert!(verifier.begin(client(3, 1), dear()).is_ok());
        let others = admitted(&verifier, |number| client(50 + number, 1));
        assert_eq!(others.1, Some(Unverified::Full));
        let waiting = locked(&verifier.shares).all;
        assert!(waiting <= THREAD_MICROS_MAX && waiting + cost > THREAD_MICROS_MAX);
        let shares = Arc::clone(&verifier.shares);
        drop((open, verifier));
        while locked(&shares).all > 0 {
            thread::yield_now();
        }
        let shares = locked(&shares);
        assert!(shares.clients.is_empty() && shares.networks.is_empty());
    }

    #[test]
    fn cheap_work_never_fills_the_queue_before_the_shares_do() {
        let (verifier, _open) = held();
        let cheap = || Work::of(4, 0, 2048);
        assert!(cheap().micros() > HERE_MICROS_MAX);
        let clients =
            (0..=255).flat_map(|network| (0..=255).map(move |last| client(network, last)));
        let mut kept = Vec::new();
        for client in clients {
            match verifier.begin(client, cheap()) {
                Ok(results) => kept.push(results),
                Err((_, why)) => {
                    assert_eq!(why, Unverified::Full);
                    break;
                }
            }
        }
        assert_eq!(kept.len() as u32, THREAD_MICROS_MAX / cheap().micros());
        let waiting = locked(&verifier.shares).all;
        assert!(
            waiting + cheap().micros() > THREAD_MICROS_MAX,
            "none was dropped"
        );
    }

    #[test]
    fn what_finds_no_room_is_not_computed_on_the_worker_but_what_is_cheap() {
        let (verifier, _open) = held();
        let told = |work| {
            let told = pin!(verifier.verify(client(2, 1), work));
            match told.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready((verified, why)) => (verified.len(), why),
                Poll::Pending => panic!("it waits"),
            }
        };
        while verifier.begin(client(2, 1), dear()).is_ok() {}
        assert_eq!(told(dear()), (0, Some(Unverified::Share)));
        // The author's signature of a forwarded message is verified all the same.
        assert_eq!(told(Work::of(1, 100, 2048)), (1, Some(Unverified::Share)));
        assert_eq!(told(Work::of(3, 0, 2048)), (3, None));
    }

    #[test]
    fn results_come_from_a_thread_that_lets_others_go_first() {
        let verifier = Verifier::with_threads(1).expect("a thread");
        let (tell, told) = bounded(1);
        let taken = verifier.threads.run(move || {
            let nice = rustix::process::getpriority_process(None).expect("ours");
            let name = thread::current().name().map(str::to_string);
            tell.send((nice, name)).expect("there is room");
        });
        assert!(taken.is_ok());
        let (nice, name) = told.recv().expect("it runs");
        assert!(nice > 10, "handshakes have 10");
        assert_eq!(name.as_deref(), Some("signatures-0"));
        let done = run_worker(Engine::Epoll, None, || async move {
            let (verified, why) = verifier.verify(client(2, 1), dear()).await;
            assert_eq!((verified.len(), why), (8 + 1, None));
        });
        done.expect("a worker");
    }
}
