//! What slows down those who guess: failures counted for each address and each account, in bounded memory.
//!
//! A failure adds to a level that runs off over the lockout time. The higher the level, the later the client hears of its failure;
//! above the limit nothing is checked any more, and the client hears the same words as late as before. So nobody learns
//! whether it was the address, the account or the password.
//!
//! Anybody can fill up an account's level, and the account's owner must not suffer from it: an address from which the account was
//! used with success lately is not locked out of it.
//!
//! The table is like that of the policy's rates: four slots a line, and a new key takes the slot with the least on it, so that a flood of
//! new keys pushes out its own kind.

use crate::smtp::Tick;
use std::{
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Keys that are remembered at once.
const SLOTS: usize = 32 * 1024;
const WAYS: usize = 4;
/// The longest that a failure takes to be told.
const DELAY_MAX: Duration = Duration::from_secs(30);
/// How long an address is known as one that its account uses.
const KNOWN: Duration = Duration::from_secs(30 * 86_400);

/// What is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Failures of an address within `lockout`; 0: no limit.
    pub client: u32,
    /// Failures at an account within `lockout`; 0: no limit.
    pub account: u32,
    /// How long all of them take to be forgotten.
    pub lockout: Duration,
    /// When the first failure is told.
    pub delay: Duration,
}

/// `due` is the moment at which nothing is left of what was charged.
#[derive(Clone, Copy, Default)]
struct Slot {
    tag: u64,
    due: u64,
}

/// Levels of addresses and accounts. One for all workers.
pub struct Throttle {
    seed: RandomState,
    lines: Mutex<Box<[[Slot; WAYS]]>>,
}

#[derive(Hash)]
enum Key<'a> {
    Client(IpAddr),
    Account(&'a str),
    Known(IpAddr, &'a str),
}

impl Default for Throttle {
    fn default() -> Throttle {
        Throttle {
            seed: RandomState::new(),
            lines: Mutex::new(vec![[Slot::default(); WAYS]; SLOTS / WAYS].into()),
        }
    }
}

/// An IPv6 client has all of its network: its first 64 bits count.
fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
    }
}

impl Throttle {
    /// The slot of a key, made for it if `make`.
    fn with<T>(&self, key: Key<'_>, make: bool, use_it: impl FnOnce(&mut Slot) -> T) -> Option<T> {
        let tag = self.seed.hash_one(key).max(1);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (u128::from(tag) * lines.len() as u128) >> 64;
        let line = lines.get_mut(place as usize)?;
        let known = line.iter().position(|slot| slot.tag == tag);
        let place = match known {
            Some(place) => place,
            None if make => {
                let (place, _) = line.iter().enumerate().min_by_key(|(_, slot)| slot.due)?;
                line[place] = Slot { tag, due: 0 };
                place
            }
            None => return None,
        };
        Some(use_it(&mut line[place]))
    }

    fn level(&self, key: Key<'_>, now: Tick) -> u64 {
        let left = self.with(key, false, |slot| slot.due.saturating_sub(now.0));
        left.unwrap_or(0)
    }

    fn knows(&self, client: IpAddr, account: &str, now: Tick) -> bool {
        self.level(Key::Known(client, account), now) > 0
    }

    /// Whether nothing is checked for this address, or this account from this address, any more.
    #[must_use]
    pub fn is_locked(
        &self,
        client: IpAddr,
        account: Option<&str>,
        now: Tick,
        limits: &Limits,
    ) -> bool {
        let client = network(client);
        let full = |level: u64, limit: u32| {
            let last = limits.lockout.as_micros() as u64 - price(limits, limit) / 2;
            limit > 0 && level >= last
        };
        full(self.level(Key::Client(client), now), limits.client)
            || account.is_some_and(|account| {
                full(self.level(Key::Account(account), now), limits.account)
                    && !self.knows(client, account, now)
            })
    }

    /// Charges a failure. How long after the question the client may be told of it.
    #[must_use]
    pub fn failed(
        &self,
        client: IpAddr,
        account: Option<&str>,
        now: Tick,
        limits: &Limits,
    ) -> Duration {
        let client = network(client);
        let charge = |key: Key<'_>, limit: u32| {
            let price = price(limits, limit);
            let most = now.0.saturating_add(limits.lockout.as_micros() as u64);
            let due = self.with(key, true, |slot| {
                slot.due = slot.due.max(now.0).saturating_add(price).min(most);
                slot.due
            });
            // How many failures that is.
            due.unwrap_or(0)
                .saturating_sub(now.0)
                .div_ceil(price.max(1))
        };
        let mut failures = charge(Key::Client(client), limits.client);
        if let Some(account) = account {
            failures = failures.max(charge(Key::Account(account), limits.account));
        }
        let doubled = u32::try_from(failures.saturating_sub(1))
            .unwrap_or(u32::MAX)
            .min(16);
        limits
            .delay
            .saturating_mul(1 << doubled)
            .min(DELAY_MAX.max(limits.delay))
    }

    /// Remembers that this address uses this account.
    pub fn granted(&self, client: IpAddr, account: &str, now: Tick) {
        let due = now.after(KNOWN).0;
        self.with(Key::Known(network(client), account), true, |slot| {
            slot.due = due
        });
    }
}

/// What a failure adds, in microseconds of running off.
fn price(limits: &Limits, limit: u32) -> u64 {
    // Without a limit the delay grows as if there were one.
    let limit = if limit == 0 { 20 } else { limit };
    limits.lockout.as_micros() as u64 / u64::from(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        client: 4,
        account: 3,
        lockout: Duration::from_secs(60),
        delay: Duration::from_secs(1),
    };

    fn client(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn at(secs: u64) -> Tick {
        Tick(1_000_000_000).after(Duration::from_secs(secs))
    }

    #[test]
    fn failures_are_told_later_and_later_and_then_nothing_is_checked() {
        let throttle = Throttle::default();
        let mut delays = Vec::new();
        for _ in 0..4 {
            assert!(!throttle.is_locked(client(1), None, at(0), &LIMITS));
            delays.push(throttle.failed(client(1), None, at(0), &LIMITS).as_secs());
        }
        assert_eq!(delays, [1, 2, 4, 8]);
        assert!(throttle.is_locked(client(1), None, at(0), &LIMITS));
        assert!(!throttle.is_locked(client(2), None, at(0), &LIMITS));
        // Locked out, it hears the same as late as before.
        assert_eq!(
            throttle.failed(client(1), None, at(0), &LIMITS).as_secs(),
            8
        );
        // A quarter of a minute forgets one failure of four.
        assert!(!throttle.is_locked(client(1), None, at(16), &LIMITS));
        assert_eq!(
            throttle.failed(client(1), None, at(90), &LIMITS).as_secs(),
            1
        );
    }

    #[test]
    fn an_account_is_locked_for_strangers_and_not_for_its_owner() {
        let throttle = Throttle::default();
        throttle.granted(client(9), "amy", at(0));
        for stranger in 1..=3 {
            let _ = throttle.failed(client(stranger), Some("amy"), at(1), &LIMITS);
        }
        assert!(throttle.is_locked(client(4), Some("amy"), at(1), &LIMITS));
        assert!(!throttle.is_locked(client(4), Some("ben"), at(1), &LIMITS));
        assert!(!throttle.is_locked(client(9), Some("amy"), at(1), &LIMITS));
        assert!(!throttle.is_locked(client(4), Some("amy"), at(62), &LIMITS));
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let throttle = Throttle::default();
        for last in 0..4u128 {
            let host = IpAddr::V6((0x2001_0db8_u128 << 96 | last).into());
            let _ = throttle.failed(host, None, at(0), &LIMITS);
        }
        let other = |net: u128| IpAddr::V6((0x2001_0db8_u128 << 96 | net << 64 | 77).into());
        assert!(throttle.is_locked(other(0), None, at(0), &LIMITS));
        assert!(!throttle.is_locked(other(1), None, at(0), &LIMITS));
    }

    #[test]
    fn no_limit_locks_nobody_out_and_still_slows() {
        let limits = Limits {
            client: 0,
            account: 0,
            ..LIMITS
        };
        let throttle = Throttle::default();
        let told = |_| throttle.failed(client(1), Some("amy"), at(0), &limits);
        let last = (0..100).map(told).last();
        assert_eq!(last, Some(DELAY_MAX));
        assert!(!throttle.is_locked(client(1), Some("amy"), at(0), &limits));
    }

    #[test]
    fn a_flood_of_names_neither_grows_it_nor_frees_a_guesser() {
        let throttle = Throttle::default();
        for _ in 0..4 {
            let _ = throttle.failed(client(1), None, at(0), &LIMITS);
        }
        for n in 0..200_000 {
            let name = n.to_string();
            let _ = throttle.with(Key::Account(&name), true, |slot| slot.due = at(1).0);
        }
        assert!(throttle.is_locked(client(1), None, at(0), &LIMITS));
    }
}
