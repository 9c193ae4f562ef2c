//! Memory that the clients of one worker share: what bodies, large envelopes and answers of the DNS take of it, and what each client
//! may hold.
//!
//! One address has an eighth of it, or the room of one window, and its network half; what small messages need doesn't count
//! towards that, so most mail looks nothing up.

use crate::client_key::prefix_of;
use rustc_hash::FxHashMap;
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

/// First allocation of a window, octets, and what counts towards no client's share. Most mail is smaller than two of them.
pub const FIRST: usize = 8 * 1024;
/// First allocations that a worker keeps for the next bodies, so that most need none.
const SPARE_MAX: usize = 16;

/// The memory of one worker.
#[derive(Debug)]
pub struct BodyMemory {
    used: Cell<u64>,
    max: Cell<u64>,
    /// What windows hold that were extended, so that their messages can be signed: half of all at most.
    extended: Cell<u64>,
    /// What one client may hold beyond its small messages.
    share: Cell<u64>,
    /// What all of one network may.
    network_share: Cell<u64>,
    /// What clients that are not trusted hold, by their keys.
    clients: RefCell<FxHashMap<u128, u64>>,
    /// The same of their networks (IPv4 /24, IPv6 /48): the holder of a /48 has 65,536 keys.
    networks: RefCell<FxHashMap<u128, u64>>,
    /// Empty, each of [`FIRST`] octets. Not counted: it is a fixed sum.
    spare: RefCell<Vec<Vec<u8>>>,
}

impl BodyMemory {
    /// A budget of `max` octets, for windows of up to `window`.
    #[must_use]
    pub fn new(max: u64, window: u64) -> Rc<BodyMemory> {
        let memory = BodyMemory {
            used: Cell::new(0),
            max: Cell::new(0),
            extended: Cell::new(0),
            share: Cell::new(0),
            network_share: Cell::new(0),
            clients: RefCell::default(),
            networks: RefCell::default(),
            spare: RefCell::default(),
        };
        memory.set_max(max, window);
        Rc::new(memory)
    }

    /// Changes the budget (a reload). What is in use above it stays until it is given back.
    pub fn set_max(&self, max: u64, window: u64) {
        self.max.set(max);
        self.share.set((max / 8).max(window));
        self.network_share.set((max / 2).max(window));
    }

    /// Octets in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.get()
    }

    /// What all windows that were extended may hold together.
    #[must_use]
    pub fn extended_max(&self) -> u64 {
        self.max.get() / 2
    }

    /// Whether a new body may begin.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.used.get() + FIRST as u64 <= self.max.get()
    }

    /// Whether nine tenths of the budget are in use.
    #[must_use]
    pub fn is_scarce(&self) -> bool {
        self.used.get() * 10 >= self.max.get() * 9
    }

    /// What all windows that were extended hold.
    #[cfg(test)]
    #[must_use]
    pub fn extended(&self) -> u64 {
        self.extended.get()
    }

    /// Clients and networks that hold some of it now.
    #[cfg(test)]
    #[must_use]
    pub fn holders(&self) -> usize {
        self.clients.borrow().len() + self.networks.borrow().len()
    }

    /// An empty buffer of [`FIRST`] octets, where one is kept.
    #[must_use]
    pub fn spare(&self) -> Option<Vec<u8>> {
        self.spare.borrow_mut().pop()
    }

    /// Keeps a buffer of [`FIRST`] octets for another.
    pub fn keep(&self, mut bytes: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if bytes.capacity() == FIRST && spare.len() < SPARE_MAX {
            bytes.clear();
            spare.push(bytes);
        }
    }

    fn take(&self, octets: u64) -> bool {
        let fits = self.used.get() + octets <= self.max.get();
        if fits {
            self.used.set(self.used.get() + octets);
        }
        fits
    }

    /// Takes so much of a client's share, and of its network's.
    fn take_share(&self, client: u128, octets: u64) -> bool {
        let network = prefix_of(client);
        let mut clients = self.clients.borrow_mut();
        let mut networks = self.networks.borrow_mut();
        let held = clients.get(&client).copied().unwrap_or(0) + octets;
        let all = networks.get(&network).copied().unwrap_or(0) + octets;
        let fits = held <= self.share.get() && all <= self.network_share.get();
        if fits {
            clients.insert(client, held);
            networks.insert(network, all);
        }
        fits
    }

    fn give_share(&self, client: u128, octets: u64) {
        give(&mut self.clients.borrow_mut(), client, octets);
        give(&mut self.networks.borrow_mut(), prefix_of(client), octets);
    }
}

fn give(held: &mut FxHashMap<u128, u64>, key: u128, octets: u64) {
    if let Some(of_key) = held.get_mut(&key) {
        *of_key -= octets;
        if *of_key == 0 {
            held.remove(&key);
        }
    }
}

/// What one body, one envelope or the answers of one session hold of the memory; given back when dropped.
#[derive(Debug)]
pub struct Held {
    memory: Rc<BodyMemory>,
    /// The key of a client that has a share; `None` of one that is trusted.
    client: Option<u128>,
    octets: u64,
    /// It counts towards what extended windows may hold, and not towards a client's share.
    extended: bool,
}

impl Held {
    /// Nothing yet.
    #[must_use]
    pub fn new(memory: &Rc<BodyMemory>, client: Option<u128>) -> Held {
        Held {
            memory: Rc::clone(memory),
            client,
            octets: 0,
            extended: false,
        }
    }

    /// Whose memory it is.
    #[must_use]
    pub fn memory(&self) -> &BodyMemory {
        &self.memory
    }

    /// Whether it counts towards what extended windows may hold.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        self.extended
    }

    /// Gives the client its share back: from here on what extended windows may hold is the limit.
    pub fn extend(&mut self) {
        if let Some(client) = self.client.take()
            && shared(self.octets) > 0
        {
            self.memory.give_share(client, shared(self.octets));
        }
        if !std::mem::replace(&mut self.extended, true) {
            let extended = &self.memory.extended;
            extended.set(extended.get() + self.octets);
        }
    }

    /// Holds so many octets in all, or what it held before where there is no room.
    #[must_use]
    pub fn grow_to(&mut self, octets: u64) -> bool {
        if octets <= self.octets {
            return true;
        }
        let share = shared(octets) - shared(self.octets);
        let extended = &self.memory.extended;
        let together = extended.get() + (octets - self.octets);
        if self.extended && together > self.memory.extended_max() {
            return false;
        }
        if !self.memory.take(octets - self.octets) {
            return false;
        }
        if self.extended {
            extended.set(together);
        }
        if let Some(client) = self.client.filter(|_| share > 0)
            && !self.memory.take_share(client, share)
        {
            let used = &self.memory.used;
            used.set(used.get() - (octets - self.octets));
            return false;
        }
        self.octets = octets;
        true
    }

    /// Gives all of it back.
    pub fn release(&mut self) {
        let octets = std::mem::take(&mut self.octets);
        let used = &self.memory.used;
        used.set(used.get() - octets);
        if self.extended {
            let extended = &self.memory.extended;
            extended.set(extended.get() - octets);
        }
        if let Some(client) = self.client.filter(|_| shared(octets) > 0) {
            self.memory.give_share(client, shared(octets));
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

/// What of so many octets counts towards a client's share.
fn shared(octets: u64) -> u64 {
    octets.saturating_sub(FIRST as u64)
}
