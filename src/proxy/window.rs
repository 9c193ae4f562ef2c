//! The window: where a body waits to be judged, and the memory that all windows of a worker share.
//!
//! A body that fits is read whole before a backend is asked, so that a slow client holds no connection. The
//! budget counts capacity, not length: what was taken from the machine is what must stay bounded.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

/// First allocation of a window, octets. Most mail is smaller than two of them.
const FIRST: usize = 8 * 1024;
/// What a window grows by where the budget has no room for twice its size.
const STEP: usize = 4 * 1024;
/// First allocations that a worker keeps for the next bodies, so that most need none.
const SPARE_MAX: usize = 16;

/// The memory of one worker's windows.
#[derive(Debug)]
pub struct BodyMemory {
    used: Cell<u64>,
    max: Cell<u64>,
    /// Empty, each of [`FIRST`] octets. Not counted: it is a fixed sum.
    spare: RefCell<Vec<Vec<u8>>>,
}

impl BodyMemory {
    /// A budget of `max` octets.
    #[must_use]
    pub fn new(max: u64) -> Rc<BodyMemory> {
        Rc::new(BodyMemory {
            used: Cell::new(0),
            max: Cell::new(max),
            spare: RefCell::default(),
        })
    }

    /// Changes the budget (a reload). What is in use above it stays until it is given back.
    pub fn set_max(&self, max: u64) {
        self.max.set(max);
    }

    /// Octets in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.get()
    }

    /// Whether a new body may begin.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.used.get() + FIRST as u64 <= self.max.get()
    }

    fn take(&self, octets: u64) -> bool {
        let fits = self.used.get() + octets <= self.max.get();
        if fits {
            self.used.set(self.used.get() + octets);
        }
        fits
    }
}

/// One body's window.
#[derive(Debug)]
pub struct Window {
    memory: Rc<BodyMemory>,
    bytes: Vec<u8>,
    charged: u64,
    max: usize,
    expected: usize,
}

impl Window {
    /// An empty window that may grow to `max` octets. `expected` is the size that the client declared (RFC 1870), 0
    /// where it declared none. It costs nothing to declare a size, so no memory is charged for it: the window grows as
    /// octets come, and only its last step goes by the size, so as not to take more than the message needs.
    #[must_use]
    pub fn open(memory: &Rc<BodyMemory>, max: usize, expected: u64) -> Window {
        Window {
            memory: Rc::clone(memory),
            bytes: Vec::new(),
            charged: 0,
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

    /// What has come so far.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Gives all memory back.
    pub fn release(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        let mut spare = self.memory.spare.borrow_mut();
        if bytes.capacity() == FIRST && spare.len() < SPARE_MAX {
            bytes.clear();
            spare.push(bytes);
        }
        self.memory.used.set(self.memory.used.get() - self.charged);
        self.charged = 0;
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
        let more = (capacity as u64).saturating_sub(self.charged);
        if !self.memory.take(more) {
            return false;
        }
        self.charged += more;
        if capacity == FIRST
            && self.bytes.capacity() == 0
            && let Some(spare) = self.memory.spare.borrow_mut().pop()
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

    #[test]
    fn grows_to_its_bound_and_gives_back() {
        let memory = BodyMemory::new(1 << 20);
        let mut window = Window::open(&memory, 100_000, 0);
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
        let memory = BodyMemory::new(20_000);
        let mut one = Window::open(&memory, 50_000, 15_000);
        assert!(one.push(&[1; 15_000]));
        assert_eq!(memory.used(), 15_000);
        assert!(!memory.has_room());
        let mut two = Window::open(&memory, 50_000, 0);
        assert!(two.push(&[1; 4000]), "exactly what is needed still fits");
        assert!(!two.push(&[1; 4000]));
        assert!(!one.push(&[1; 5000]));
        one.release();
        assert!(two.push(&[1; 4000]));
        assert_eq!(two.bytes().len(), 8000);
    }

    #[test]
    fn a_declared_size_costs_nothing_until_octets_come() {
        let memory = BodyMemory::new(1 << 20);
        let mut windows: Vec<_> = (0..100)
            .map(|_| Window::open(&memory, 256 << 10, 256 << 10))
            .collect();
        assert_eq!(memory.used(), 0);
        for window in &mut windows {
            assert!(window.push(&[7]));
        }
        assert_eq!(memory.used(), 100 * FIRST as u64);
    }

    #[test]
    fn what_is_charged_follows_what_came_and_ends_at_the_declared_size() {
        let memory = BodyMemory::new(1 << 20);
        let mut window = Window::open(&memory, 256 << 10, 100_000);
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
}
