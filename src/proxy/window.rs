//! The window: where a body waits to be judged.
//!
//! A body that fits is read whole before a backend is asked, so that a slow client holds no connection. The
//! budget counts capacity, not length: what was taken from the machine is what must stay bounded.

use crate::memory::{BodyMemory, FIRST, Held};
use std::rc::Rc;

/// What a window grows by where the budget has no room for twice its size.
const STEP: usize = 4 * 1024;

/// One body's window.
#[derive(Debug)]
pub struct Window {
    held: Held,
    bytes: Vec<u8>,
    max: usize,
    expected: usize,
}

impl Window {
    /// An empty window that may grow to `max` octets. `expected` is the size that the client declared (RFC 1870), 0
    /// where it declared none. It costs nothing to declare a size, so no memory is charged for it: the window grows as
    /// octets come, and only its last step goes by the size, so as not to take more than the message needs. `client` is the
    /// key of a client that has a share of the memory.
    #[must_use]
    pub fn open(
        memory: &Rc<BodyMemory>,
        client: Option<u128>,
        max: usize,
        expected: u64,
    ) -> Window {
        Window {
            held: Held::new(memory, client),
            bytes: Vec::new(),
            max,
            expected: usize::try_from(expected).unwrap_or(usize::MAX),
        }
    }

    /// Keeps `bytes`. `false`, and nothing kept, where the window or the worker's budget is full.
    #[must_use]
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        let needed = self.bytes.len() + bytes.len();
        if needed > self.max {
            return false;
        }
        if needed > self.bytes.capacity() {
            // Where the budget is nearly spent, smaller steps: no copy of the whole for each octet of a slow sender.
            let steps = [
                self.next_capacity(needed),
                needed.next_multiple_of(STEP).min(self.max),
                needed,
            ];
            if !steps.into_iter().any(|capacity| self.grow(capacity)) {
                return false;
            }
        }
        self.bytes.extend_from_slice(bytes);
        true
    }

    /// Lets it grow to `max` octets, for a message that has to be there as a whole before it goes on. It leaves its client's
    /// share: all windows like it have half of the memory together.
    pub fn extend(&mut self, max: usize) {
        self.max = self.max.max(max);
        self.held.extend();
    }

    /// Whether it was extended.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        self.held.is_extended()
    }

    /// Hands out what has come. The memory stays counted until the window is dropped.
    #[must_use]
    pub fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// What has come so far.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Gives all memory back.
    pub fn release(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.held.memory().keep(bytes);
        self.held.release();
    }

    /// Twice what there is, so that all the copies together cost less than one more copy of the body.
    fn next_capacity(&self, needed: usize) -> usize {
        let doubled = needed.max(self.bytes.capacity() * 2);
        let wanted = match self.expected >= needed {
            true => doubled.min(self.expected),
            false => doubled,
        };
        wanted.clamp(FIRST, self.max.max(FIRST))
    }

    fn grow(&mut self, capacity: usize) -> bool {
        if !self.held.grow_to(capacity as u64) {
            return false;
        }
        if capacity == FIRST
            && self.bytes.capacity() == 0
            && let Some(spare) = self.held.memory().spare()
        {
            self.bytes = spare;
        }
        self.bytes.reserve_exact(capacity - self.bytes.len());
        true
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(max: u64, window: u64) -> Rc<BodyMemory> {
        BodyMemory::new(max, window)
    }

    #[test]
    // INV-LIMIT
    fn grows_to_its_bound_and_gives_back() {
        let memory = memory(1 << 20, 50_000);
        let mut window = Window::open(&memory, None, 100_000, 0);
        assert_eq!(memory.used(), 0);
        for _ in 0..100 {
            assert!(window.push(&[7; 1000]));
        }
        assert!(!window.push(&[7]));
        assert_eq!(window.bytes().len(), 100_000);
        assert_eq!(memory.used(), 100_000);
        drop(window);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn the_budget_is_shared() {
        let memory = memory(20_000, 50_000);
        let mut one = Window::open(&memory, None, 50_000, 15_000);
        assert!(one.push(&[1; 15_000]));
        assert_eq!(memory.used(), 15_000);
        assert!(!memory.has_room());
        let mut two = Window::open(&memory, None, 50_000, 0);
        assert!(two.push(&[1; 4000]), "exactly what is needed still fits");
        assert!(!two.push(&[1; 4000]));
        assert!(!one.push(&[1; 5000]));
        one.release();
        assert!(two.push(&[1; 4000]));
        assert_eq!(two.bytes().len(), 8000);
    }

    #[test]
    fn a_declared_size_costs_nothing_until_octets_come() {
        let memory = memory(1 << 20, 50_000);
        let mut windows: Vec<_> = (0..100)
            .map(|_| Window::open(&memory, None, 256 << 10, 256 << 10))
            .collect();
        assert_eq!(memory.used(), 0);
        for window in &mut windows {
            assert!(window.push(&[7]));
        }
        assert_eq!(memory.used(), 100 * FIRST as u64);
    }

    #[test]
    fn what_is_charged_follows_what_came_and_ends_at_the_declared_size() {
        let memory = memory(1 << 20, 50_000);
        let mut window = Window::open(&memory, None, 256 << 10, 100_000);
        for came in (1000..=100_000).step_by(1000) {
            assert!(window.push(&[7; 1000]));
            let used = memory.used();
            let most = (2 * came).max(FIRST as u64);
            assert!((came..=most).contains(&used), "{used} for {came}");
        }
        assert_eq!(memory.used(), 100_000, "no more than was declared");
        // A size that was too small is no limit.
        assert!(window.push(&[7; 1000]));
        assert_eq!(window.bytes().len(), 101_000);
    }

    #[test]
    fn one_address_has_an_eighth() {
        let memory = memory(800_000, 50_000);
        let open = |client| Window::open(&memory, Some(client), 90_000, 0);
        let mut one = open(1);
        assert!(one.push(&[7; 90_000]));
        let mut more = open(1);
        assert!(more.push(&[7; FIRST]), "small messages always pass");
        assert!(!more.push(&[7; 40_000]), "its share is spent");
        assert_eq!(more.bytes().len(), FIRST);
        assert!(open(2).push(&[7; 90_000]), "others are not concerned");
        let mut trusted = Window::open(&memory, None, 400_000, 0);
        assert!(trusted.push(&[7; 400_000]));
        drop(one);
        assert!(more.push(&[7; 40_000]));
        drop((more, trusted));
        assert_eq!(memory.used(), 0);
        assert!(memory.holders() == 0, "those that have gone are forgotten");
    }

    #[test]
    fn one_network_has_half_however_many_addresses_it_has() {
        let memory = memory(800_000, 64 * 1024);
        // The /64s of one /48, then one of another.
        let key = |site: u128, network: u128| 0x2001_0db8 << 96 | site << 80 | network << 64;
        let mut windows: Vec<Window> = Vec::new();
        let held = |memory: &BodyMemory| memory.used();
        for network in 0..16 {
            let mut window = Window::open(&memory, Some(key(1, network)), 64 * 1024, 0);
            let _ = window.push(&[7; 60_000]);
            windows.push(window);
        }
        assert!(held(&memory) < 400_000 + 16 * FIRST as u64 + 1);
        let mut other = Window::open(&memory, Some(key(2, 0)), 64 * 1024, 0);
        assert!(other.push(&[7; 60_000]));
        windows.clear();
        drop(other);
        assert_eq!(held(&memory), 0);
        assert_eq!(memory.holders(), 0);
    }

    #[test]
    // INV-LIMIT
    fn extended_windows_have_half_of_the_memory_together() {
        let memory = memory(800_000, 50_000);
        let mut one = Window::open(&memory, Some(1), 50_000, 0);
        assert!(one.push(&[7; 50_000]) && !one.push(&[7; 50_000]));
        one.extend(300_000);
        assert!(one.push(&[7; 200_000]) && one.is_extended());
        assert!(memory.holders() == 0, "no share is its limit");
        assert!(!one.push(&[7; 60_000]), "its own end");
        let mut two = Window::open(&memory, Some(1), 50_000, 0);
        assert!(two.push(&[7; 50_000]), "the client's share is free");
        two.extend(300_000);
        assert!(two.push(&[7; 50_000]) && !two.push(&[7; 60_000]));
        assert_eq!(memory.used(), memory.extended());
        let mut other = Window::open(&memory, Some(2), 90_000, 0);
        assert!(other.push(&[7; 90_000]), "the other half is for others");
        assert_eq!(one.take_bytes().len(), 250_000);
        drop((one, two, other));
        assert_eq!((memory.used(), memory.extended()), (0, 0));
    }

    #[test]
    fn what_does_not_fit_is_not_held() {
        let memory = memory(100_000, 10_000);
        let mut held = Held::new(&memory, Some(1));
        assert!(held.grow_to(20_000));
        assert!(!held.grow_to(30_000), "above an eighth");
        assert_eq!(memory.used(), 20_000);
        assert!(held.grow_to(10_000), "it holds more than that");
        held.release();
        assert_eq!(memory.used(), 0);
    }
}
