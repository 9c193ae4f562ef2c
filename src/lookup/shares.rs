//! What one client may have asked at once, and what it may have decoded in a short time, so that the mail of others does not
//! wait for its answers.
//!
//! A client is an address (IPv6: a /64); what its network (IPv4 /24, IPv6 /48) takes is limited as well. Each answer costs the
//! octets that were decoded, and each question [`QUESTION_OCTETS`] beside. What has been taken is forgotten at a fixed rate; as
//! long as it is above the limit, or would be if what is on its way cost what the latest answers did, nothing more is asked.

use crate::client_key::prefix_of;
use rustc_hash::FxHashMap;
use std::time::{Duration, Instant};

/// Questions on their way at once, of all clients.
pub const ASKED_MAX: usize = 4096;
/// What a question costs beside its answer: sockets, timers and system calls take the time of so many octets that are decoded.
const QUESTION_OCTETS: u64 = 2048;
/// What a question is taken to cost as long as nothing is known of its client's answers.
const UNKNOWN_OCTETS: u64 = 16 * 1024;
/// Clients, or networks, that are known at once; beyond that those without a question on its way are forgotten.
const KEYS_MAX: usize = 65_536;
/// The table is swept when it has so many, and then at twice what was left.
const SWEPT_MIN: usize = 1024;

/// What one of them may take.
#[derive(Clone, Copy)]
struct Limits {
    /// Questions on their way.
    asked: u32,
    /// Octets of answers at once.
    octets: u64,
    /// Octets that are forgotten in a second.
    rate: u64,
}

/// Of a client. It decodes so much in some 80 ms.
const CLIENT: Limits = Limits {
    asked: SHARE_MAX,
    octets: 8 << 20,
    rate: 8 << 20,
};
/// Of a network.
const NETWORK: Limits = Limits {
    asked: SHARE_MAX * 2,
    octets: 16 << 20,
    rate: 16 << 20,
};

/// Questions of one client that may be on their way, so that one that names domains with silent servers can't take all.
pub const SHARE_MAX: u32 = ASKED_MAX as u32 / 8;

/// What one client, or network, has taken.
#[derive(Clone, Copy)]
struct Taken {
    asked: u32,
    /// Octets that were not forgotten yet, at this moment.
    octets: u64,
    at: Instant,
    /// What one of its questions has cost of late.
    typical: u64,
}

impl Taken {
    fn new(now: Instant) -> Taken {
        Taken {
            asked: 0,
            octets: 0,
            at: now,
            typical: UNKNOWN_OCTETS,
        }
    }

    fn octets(&self, rate: u64, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.at);
        let since = u64::try_from(since.min(Duration::from_secs(60)).as_micros());
        let forgotten = since.unwrap_or(u64::MAX).saturating_mul(rate) / 1_000_000;
        self.octets.saturating_sub(forgotten)
    }
}

/// Those of one kind.
struct Table {
    limits: Limits,
    taken: FxHashMap<u128, Taken>,
    sweep_at: usize,
}

impl Table {
    fn new(limits: Limits) -> Table {
        Table {
            limits,
            taken: FxHashMap::default(),
            sweep_at: SWEPT_MIN,
        }
    }

    fn has_room(&self, key: u128, now: Instant) -> bool {
        self.taken.get(&key).is_none_or(|taken| {
            let expected = u64::from(taken.asked) * taken.typical;
            taken.asked < self.limits.asked
                && taken.octets(self.limits.rate, now) + expected <= self.limits.octets
        })
    }

    fn begin(&mut self, key: u128, now: Instant) {
        if self.taken.len() >= self.sweep_at {
            let rate = self.limits.rate;
            self.taken
                .retain(|_, taken| taken.asked > 0 || taken.octets(rate, now) > 0);
            if self.taken.len() >= KEYS_MAX {
                self.taken.retain(|_, taken| taken.asked > 0);
            }
            self.sweep_at = (self.taken.len() * 2).clamp(SWEPT_MIN, KEYS_MAX);
        }
        self.taken
            .entry(key)
            .or_insert_with(|| Taken::new(now))
            .asked += 1;
    }

    fn end(&mut self, key: u128, cost: u64, now: Instant) {
        let Some(taken) = self.taken.get_mut(&key) else {
            return;
        };
        taken.asked = taken.asked.saturating_sub(1);
        // A debt is never larger than what is paid back in a few seconds.
        let octets = taken.octets(self.limits.rate, now) + cost;
        taken.octets = octets.min(self.limits.octets * 4);
        taken.at = now;
        taken.typical = (taken.typical * 7 + cost) / 8;
    }
}

/// Of all clients.
pub(super) struct Shares {
    clients: Table,
    networks: Table,
}

impl Default for Shares {
    fn default() -> Shares {
        Shares {
            clients: Table::new(CLIENT),
            networks: Table::new(NETWORK),
        }
    }
}

impl Shares {
    /// Whether a client (`client_key::address`) may ask one more.
    pub fn has_room(&self, client: u128, now: Instant) -> bool {
        self.clients.has_room(client, now) && self.networks.has_room(prefix_of(client), now)
    }

    /// A question of it is on its way.
    pub fn begin(&mut self, client: u128, now: Instant) {
        self.clients.begin(client, now);
        self.networks.begin(prefix_of(client), now);
    }

    /// No more: so many octets were decoded for it.
    pub fn end(&mut self, client: u128, decoded: usize, now: Instant) {
        let cost = QUESTION_OCTETS + decoded as u64;
        self.clients.end(client, cost, now);
        self.networks.end(prefix_of(client), cost, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv6Addr};

    fn v4(text: &str) -> u128 {
        let IpAddr::V4(v4) = text.parse().expect("an address") else {
            panic!("{text}");
        };
        v4.to_ipv6_mapped().to_bits()
    }

    fn v6(text: &str) -> u128 {
        let address: Ipv6Addr = text.parse().expect("an address");
        address.to_bits()
    }

    /// How many questions it may ask at once.
    fn asks(shares: &mut Shares, client: u128, now: Instant) -> u32 {
        let mut asked = 0;
        while shares.has_room(client, now) {
            shares.begin(client, now);
            asked += 1;
            assert!(asked <= ASKED_MAX as u32);
        }
        asked
    }

    #[test]
    fn a_network_has_a_share_as_an_address_has() {
        let now = Instant::now();
        for (one, two, three, other) in [
            (
                v4("192.0.2.1"),
                v4("192.0.2.2"),
                v4("192.0.2.255"),
                v4("192.0.3.1"),
            ),
            (
                v6("2001:db8:1:1::"),
                v6("2001:db8:1:2::"),
                v6("2001:db8:1:ffff::"),
                v6("2001:db8:2:1::"),
            ),
        ] {
            let mut shares = Shares::default();
            assert_eq!(asks(&mut shares, one, now), SHARE_MAX);
            assert_eq!(asks(&mut shares, two, now), SHARE_MAX);
            assert_eq!(asks(&mut shares, three, now), 0);
            assert_eq!(asks(&mut shares, other, now), SHARE_MAX);
            shares.end(one, 100, now);
            assert!(shares.has_room(three, now));
        }
    }

    #[test]
    fn large_answers_cost_more_of_a_share() {
        let (client, start) = (v4("192.0.2.1"), Instant::now());
        // How many answers of a size it has in a second, one after another.
        let answers = |decoded: usize| {
            let mut shares = Shares::default();
            let mut count = 0;
            for step in 0..100_000 {
                let now = start + Duration::from_micros(10 * step);
                if shares.has_room(client, now) {
                    shares.begin(client, now);
                    shares.end(client, decoded, now);
                    count += 1;
                }
            }
            count
        };
        let (small, large) = (answers(100), answers(100_000));
        assert!((7_000..9_000).contains(&small), "{small}");
        assert!((130..200).contains(&large), "{large}");
    }

    #[test]
    fn after_large_answers_fewer_are_asked_for_at_once() {
        let (client, neighbour) = (v4("192.0.2.1"), v4("192.0.2.2"));
        let (stranger, start) = (v4("192.0.3.1"), Instant::now());
        let mut shares = Shares::default();
        for _ in 0..asks(&mut shares, client, start) {
            shares.end(client, 100_000, start);
        }
        assert!(!shares.has_room(client, start));
        assert!(!shares.has_room(neighbour, start), "its network has none");
        assert!(shares.has_room(stranger, start));
        let later = start + Duration::from_secs(5);
        let again = asks(&mut shares, client, later);
        assert!((1..=100).contains(&again), "{again}");
    }

    #[test]
    fn what_is_forgotten_takes_no_memory() {
        let start = Instant::now();
        let mut shares = Shares::default();
        for number in 0..KEYS_MAX as u128 * 4 {
            let now = start + Duration::from_micros(u64::try_from(number).expect("small"));
            let client = v6("2001:db8::") + (number << 80);
            shares.begin(client, now);
            shares.end(client, 100_000, now);
            assert!(shares.clients.taken.len() <= KEYS_MAX);
            assert!(shares.networks.taken.len() <= KEYS_MAX);
        }
    }
}
