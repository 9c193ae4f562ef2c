//! What the workers, the control port and the handle of one sink share.

use super::{
    behaviour::{Behaviour, Changes},
    counters::Counters,
    plan::{Fixed, Plan},
    save::Saver,
    tallies::Tallies,
};
use gatepost::{
    net::{Bound, now},
    smtp::Tick,
};
use socket2::SockRef;
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

/// The receive buffer of slow readers: with a large one the kernel would take a message in for us.
const SLOW_BUFFER: usize = 16 * 1024;

/// See above.
pub(super) struct Shared {
    fixed: Fixed,
    /// What the dice of all connections are made of.
    pub seed: u64,
    behaviour: Mutex<(Behaviour, Arc<Plan>)>,
    /// Raised with each change of the behaviour.
    version: AtomicU64,
    tallies: Mutex<Tallies>,
    /// One for each worker.
    pub counters: Vec<Counters>,
    /// Connections that are open.
    pub open: AtomicU64,
    /// The most that were open at once.
    pub open_max: AtomicU64,
    /// Connections so far: the number of the next.
    next: AtomicU64,
    /// No worker reads or speaks before this tick.
    stall_until: AtomicU64,
    /// When the counts began.
    counting_since: AtomicU64,
    pub saver: Option<Saver>,
    /// Copies of the listening sockets, to change what new connections inherit.
    listeners: Vec<Bound>,
}

impl Shared {
    pub fn new(
        fixed: Fixed,
        seed: u64,
        behaviour: Behaviour,
        workers: usize,
        saver: Option<Saver>,
        listeners: Vec<Bound>,
    ) -> Shared {
        let plan = Arc::new(Plan::new(fixed.clone(), &behaviour));
        let shared = Shared {
            counting_since: AtomicU64::new(fixed.started.0),
            fixed,
            seed,
            behaviour: Mutex::new((behaviour, plan)),
            version: AtomicU64::new(1),
            tallies: Mutex::default(),
            counters: (0..workers).map(|_| Counters::default()).collect(),
            open: AtomicU64::new(0),
            open_max: AtomicU64::new(0),
            next: AtomicU64::new(0),
            stall_until: AtomicU64::new(0),
            saver,
            listeners,
        };
        if shared.plan().1.read_rate > 0 {
            shared.shrink_buffers();
        }
        shared
    }

    fn behaviour_locked(&self) -> MutexGuard<'_, (Behaviour, Arc<Plan>)> {
        // The pair is replaced whole, so it is sound after a panic.
        self.behaviour
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// How the sink behaves now.
    pub fn behaviour(&self) -> Behaviour {
        self.behaviour_locked().0.clone()
    }

    /// Changes it, for open connections too.
    pub fn change(&self, changes: Changes) -> Behaviour {
        let mut both = self.behaviour_locked();
        let behaviour = both.0.clone().with(changes);
        self.put(&mut both, behaviour.clone());
        behaviour
    }

    fn put(&self, both: &mut (Behaviour, Arc<Plan>), behaviour: Behaviour) {
        let plan = Arc::new(Plan::new(self.fixed.clone(), &behaviour));
        *both = (behaviour, plan);
        self.version.fetch_add(1, Release);
        if both.0.read_rate.0 > 0 {
            self.shrink_buffers();
        }
    }

    /// Makes slow reading felt by the senders: for connections from now on.
    fn shrink_buffers(&self) {
        for bound in &self.listeners {
            // A kernel that refuses leaves its own size, and the reading is as slow.
            let _ = SockRef::from(bound).set_recv_buffer_size(SLOW_BUFFER);
        }
    }

    /// The plan in force.
    pub fn plan(&self) -> (u64, Arc<Plan>) {
        let both = self.behaviour_locked();
        (self.version.load(Acquire), Arc::clone(&both.1))
    }

    /// Which plan is in force.
    pub fn version(&self) -> u64 {
        self.version.load(Relaxed)
    }

    /// The tallies.
    pub fn tallies(&self) -> MutexGuard<'_, Tallies> {
        // Each entry leaves them whole.
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection begins: its number, and how many are open with it.
    pub fn enter(&self) -> (u64, u64) {
        let open = self.open.fetch_add(1, Relaxed) + 1;
        self.open_max.fetch_max(open, Relaxed);
        (self.next.fetch_add(1, Relaxed), open)
    }

    /// A connection is over.
    pub fn leave(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    /// Stops everything for a while, from now on.
    pub fn stall(&self, wait: Duration) {
        self.stall_until.store(now().after(wait).0, Relaxed);
    }

    /// Until when everything stands still; 0 where nothing was said.
    pub fn stalled_until(&self) -> Tick {
        Tick(self.stall_until.load(Relaxed))
    }

    /// Since when is counted.
    pub fn counting_since(&self) -> Tick {
        Tick(self.counting_since.load(Relaxed))
    }

    /// Begins to count anew and forgets all runs. The behaviour and the numbers of connections stay.
    pub fn reset(&self) {
        let mut tallies = self.tallies();
        *tallies = Tallies::default();
        self.counters.iter().for_each(Counters::reset);
        self.open_max.store(self.open.load(Relaxed), Relaxed);
        self.counting_since.store(now().0, Relaxed);
    }
}
