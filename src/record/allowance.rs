//! A bound on the lines of one client whose mail goes nowhere. The limits on its rate keep sessions and messages few; each that they
//! refuse would still be a line, and a client may come some thousand times a second, or say MAIL so often in one session.
//!
//! What gets somewhere has all its lines: a message with an accepted recipient is counted by the rates.

use crate::smtp::Tick;
use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    time::Duration,
};

/// How long a window is.
pub const WINDOW: Duration = Duration::from_secs(60);

/// How much is allowed in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Lines of a client.
    pub lines: u32,
    /// Clients that are counted apart. All others have the lines of one together.
    pub clients: usize,
}

/// Sessions of a client that was refused at the greeting: all of them say the same.
pub const AT_GREETING: Bounds = Bounds {
    lines: 20,
    clients: 4_096,
};
/// Transactions in which no recipient was accepted, and sessions without an accepted one. A server that is honest has no five such
/// messages a second, and of each kind of refusal there is a line long before so many are reached. As many clients are counted
/// apart as a busy worker may refuse in a window.
pub const FRUITLESS: Bounds = Bounds {
    lines: 300,
    clients: 16_384,
};

/// How many lines the clients of a worker have had.
#[derive(Debug)]
pub struct Allowance {
    bounds: Bounds,
    /// When the window ends; of no meaning while there are no clients.
    due: Tick,
    clients: HashMap<Option<u128>, Lines>,
}

/// Lines that had no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBack {
    /// The address that came last (of IPv6 its /64 is counted); `None`: of clients that were not counted apart.
    pub client: Option<IpAddr>,
    /// How many.
    pub lines: u32,
}

#[derive(Debug)]
struct Lines {
    address: Option<IpAddr>,
    count: u32,
}

impl Allowance {
    /// No client has had a line yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Allowance {
        Allowance {
            bounds,
            due: Tick::default(),
            clients: HashMap::new(),
        }
    }

    /// Whether a client may have one more line. `key`: what counts as one client.
    // INV-LIMIT
    pub fn admits(&mut self, key: u128, address: IpAddr, now: Tick) -> bool {
        if self.clients.is_empty() {
            self.due = now.after(WINDOW);
        }
        let has_room =
            self.clients.len() < self.bounds.clients || self.clients.contains_key(&Some(key));
        let (key, address) = match has_room {
            true => (Some(key), Some(address)),
            false => (None, None),
        };
        let lines = match self.clients.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Lines { address, count: 0 }),
        };
        lines.address = address;
        lines.count = lines.count.saturating_add(1);
        lines.count <= self.bounds.lines
    }

    /// What was held back in a window that is over by now.
    pub fn sum_up(&mut self, now: Tick) -> Vec<HeldBack> {
        match now >= self.due {
            true => self.close(),
            false => Vec::new(),
        }
    }

    /// Ends the window. What was held back in it.
    pub fn close(&mut self) -> Vec<HeldBack> {
        let over = std::mem::take(&mut self.clients).into_values();
        let max = self.bounds.lines;
        let held = over.filter(|lines| lines.count > max);
        let held = held.map(|lines| HeldBack {
            client: lines.address,
            lines: lines.count - max,
        });
        held.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    #[test]
    // INV-LIMIT
    fn a_flood_has_some_lines_a_window_and_one_that_sums_up() {
        let mut allowance = Allowance::new(AT_GREETING);
        let end = Tick(5).after(WINDOW);
        let mut admits = |key: u32, now| allowance.admits(key.into(), address(key), now);
        let written = (0..1000).filter(|_| admits(1, Tick(5))).count();
        assert_eq!(written, AT_GREETING.lines as usize);
        assert!(admits(2, Tick(6)), "another client");
        assert_eq!(allowance.sum_up(Tick(end.0 - 1)), []);
        let held = HeldBack {
            client: Some(address(1)),
            lines: 1000 - AT_GREETING.lines,
        };
        assert_eq!(allowance.sum_up(end), [held]);
        assert!(allowance.admits(1, address(1), end), "a new window");
        assert_eq!(allowance.sum_up(end.after(WINDOW)), []);
    }

    #[test]
    fn clients_without_end_take_a_bounded_room_and_have_bounded_lines() {
        let mut allowance = Allowance::new(AT_GREETING);
        let many = AT_GREETING.clients as u32 + 500;
        let written = (0..many)
            .filter(|key| allowance.admits((*key).into(), address(*key), Tick(0)))
            .count();
        assert_eq!(written, AT_GREETING.clients + AT_GREETING.lines as usize);
        assert_eq!(allowance.clients.len(), AT_GREETING.clients + 1);
        assert!(allowance.admits(0, address(0), Tick(1)), "it is known");
        let held = HeldBack {
            client: None,
            lines: 500 - AT_GREETING.lines,
        };
        assert_eq!(allowance.close(), [held]);
    }
}
