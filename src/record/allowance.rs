//! A bound on the lines of one client that is refused at the greeting. The limits on its rate keep other sessions few; each that
//! they refuse would still be a line, and a client may come some thousand times a second.

use crate::smtp::Tick;
use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    time::Duration,
};

/// Lines that a client has in a window.
pub const LINES_MAX: u32 = 20;
/// How long a window is.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Clients that are counted apart in a window. All others have the lines of one together.
pub const CLIENTS_MAX: usize = 4096;

/// How many lines the clients of a worker have had.
#[derive(Debug, Default)]
pub struct Allowance {
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
    /// Whether a client may have one more line. `key`: what counts as one client.
    // INV-LIMIT
    pub fn admits(&mut self, key: u128, address: IpAddr, now: Tick) -> bool {
        if self.clients.is_empty() {
            self.due = now.after(WINDOW);
        }
        let has_room = self.clients.len() < CLIENTS_MAX || self.clients.contains_key(&Some(key));
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
        lines.count <= LINES_MAX
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
        let held = over.filter(|lines| lines.count > LINES_MAX);
        let held = held.map(|lines| HeldBack {
            client: lines.address,
            lines: lines.count - LINES_MAX,
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
        let mut allowance = Allowance::default();
        let end = Tick(5).after(WINDOW);
        let mut admits = |key: u32, now| allowance.admits(key.into(), address(key), now);
        let written = (0..1000).filter(|_| admits(1, Tick(5))).count();
        assert_eq!(written, LINES_MAX as usize);
        assert!(admits(2, Tick(6)), "another client");
        assert_eq!(allowance.sum_up(Tick(end.0 - 1)), []);
        let held = HeldBack {
            client: Some(address(1)),
            lines: 1000 - LINES_MAX,
        };
        assert_eq!(allowance.sum_up(end), [held]);
        assert!(allowance.admits(1, address(1), end), "a new window");
        assert_eq!(allowance.sum_up(end.after(WINDOW)), []);
    }

    #[test]
    fn clients_without_end_take_a_bounded_room_and_have_bounded_lines() {
        let mut allowance = Allowance::default();
        let many = CLIENTS_MAX as u32 + 500;
        let written = (0..many)
            .filter(|key| allowance.admits((*key).into(), address(*key), Tick(0)))
            .count();
        assert_eq!(written, CLIENTS_MAX + LINES_MAX as usize);
        assert_eq!(allowance.clients.len(), CLIENTS_MAX + 1);
        assert!(allowance.admits(0, address(0), Tick(1)), "it is known");
        let held = HeldBack {
            client: None,
            lines: 500 - LINES_MAX,
        };
        assert_eq!(allowance.close(), [held]);
    }
}
