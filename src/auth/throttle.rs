//! Slows down clients that guess passwords: failures are counted for each address and each account, in bounded memory.
//!
//! A failure adds to a level, which falls to zero over the lockout time. The higher the level, the later the client is
//! told of its failure; above the limit the password isn't checked any more, and the client gets the same words as
//! late as before. So a client can't tell whether it was the address, the account or the password.
//!
//! Two kinds of innocents are kept out of it:
//!
//! - Any client can raise an account's level, so an address from which the account was used with success in the last 30
//!   days is not subject to it.
//! - Many users share an address (NAT), so a pair of address and account that worked in the last 30 days is not subject
//!   to the level of the address either. Its failures have a level of their own, the pair's: one program with an old
//!   password stops neither the others at that address nor the account elsewhere.
//!
//! A failure of an address that is locked doesn't count for the account: the password wasn't checked, so nothing was
//! learned, and otherwise one address could lock any number of accounts.
//!
//! Rejected: counting repeated tries of one and the same password once (SCRAM doesn't show the password, so it would
//! depend on the mechanism); lifting a lock of an address after a success (a client with one good account would guess at
//! the others for ever).

use super::levels::{Fine, Levels};
use crate::{
    smtp::Tick,
    state::{Moment, Section, Snapshot},
};
use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    net::IpAddr,
    time::Duration,
};

/// Addresses whose failures are counted at once.
const CLIENTS_MAX: usize = 64 * 1024;
/// Accounts, and names that are none, whose failures are counted at once.
const ACCOUNTS_MAX: usize = 64 * 1024;
/// Pairs of address and account whose failures are counted at once. Only pairs that have worked get here.
const PAIRS_MAX: usize = 16 * 1024;
/// Pairs that have worked that are remembered at once.
const KNOWN_MAX: usize = 64 * 1024;
/// The longest that a failure takes to be told.
const DELAY_MAX: Duration = Duration::from_secs(30);
/// How long a pair of address and account is known to have worked.
const KNOWN: Duration = Duration::from_secs(30 * 86_400);
/// Where there is no limit, the delay grows as if this were one.
const LIMIT_FOR_DELAYS: u32 = 20;

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

/// Levels of addresses, accounts and pairs. One for all workers.
///
/// Each kind has a table of its own: no flood of one kind can push out another, and the entries of `known`, which live
/// for a month, don't compete with locks, which live for minutes.
pub struct Throttle {
    clients: Levels<IpAddr>,
    accounts: Levels<str>,
    pairs: Levels<(IpAddr, String)>,
    known: Levels<(IpAddr, String)>,
}

impl Default for Throttle {
    fn default() -> Throttle {
        Throttle {
            clients: Levels::new(CLIENTS_MAX),
            accounts: Levels::new(ACCOUNTS_MAX),
            pairs: Levels::new(PAIRS_MAX),
            known: Levels::new(KNOWN_MAX),
        }
    }
}

/// An IPv6 client has all of its network: its first 64 bits count.
pub(super) fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

/// The network that it is of: an IPv4 /24, or a /48 of IPv6, the usual site (RFC 6177).
pub(super) fn site(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 80 << 80).into()),
        IpAddr::V4(address) => IpAddr::V4((address.to_bits() >> 8 << 8).into()),
    }
}

/// One fewer under a key. None is no entry.
pub(super) fn count_out<K: Eq + Hash>(shares: &mut HashMap<K, u32>, key: K) {
    if let Entry::Occupied(mut share) = shares.entry(key) {
        *share.get_mut() -= 1;
        if *share.get() == 0 {
            share.remove();
        }
    }
}

impl Throttle {
    /// Entries of what is to outlive a restart at most.
    pub const KEPT_MAX: usize = CLIENTS_MAX + ACCOUNTS_MAX + PAIRS_MAX + KNOWN_MAX;

    /// What is to outlive a restart.
    pub fn sections(&self, now: Moment) -> Vec<Section> {
        vec![
            self.clients.section("auth.clients", now),
            self.accounts.section("auth.accounts", now),
            self.pairs.section("auth.pairs", now),
            self.known.section("auth.known", now),
        ]
    }

    /// Takes in what was kept. Before the first question.
    pub fn restore(&self, kept: &Snapshot, now: Moment) {
        let section = |name| kept.section(name, 0);
        let secret = kept.secret;
        self.clients.restore(secret, section("auth.clients"), now);
        self.accounts.restore(secret, section("auth.accounts"), now);
        self.pairs.restore(secret, section("auth.pairs"), now);
        self.known.restore(secret, section("auth.known"), now);
    }

    /// The client's network and the account, where the two have worked together lately.
    pub fn known_pair(
        &self,
        client: IpAddr,
        account: Option<&str>,
        now: Tick,
    ) -> Option<(IpAddr, String)> {
        self.known(network(client), account, now)
    }

    /// The pair, where it has worked lately.
    fn known(&self, client: IpAddr, account: Option<&str>, now: Tick) -> Option<(IpAddr, String)> {
        let pair = (client, account?.to_string());
        (self.known.level(&pair, now) > 0).then_some(pair)
    }

    /// Whether no password is checked any more for this address, or for this account from this address.
    #[must_use]
    pub fn is_locked(
        &self,
        client: IpAddr,
        account: Option<&str>,
        now: Tick,
        limits: &Limits,
    ) -> bool {
        let client = network(client);
        if let Some(pair) = self.known(client, account, now) {
            return self.pairs.is_full(&pair, now, limits.lock(limits.pair()));
        }
        self.is_client_locked(client, now, limits)
            || account.is_some_and(|account| {
                self.accounts
                    .is_full(account, now, limits.lock(limits.account))
            })
    }

    fn is_client_locked(&self, client: IpAddr, now: Tick, limits: &Limits) -> bool {
        self.clients
            .is_full(&client, now, limits.lock(limits.client))
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
        if let Some(pair) = self.known(client, account, now) {
            let limit = limits.pair();
            let level = self.pairs.charge(&pair, now, limits.fine(limit));
            return limits.wait(level, limit);
        }
        let was_locked = self.is_client_locked(client, now, limits);
        let level = self
            .clients
            .charge(&client, now, limits.fine(limits.client));
        let mut wait = limits.wait(level, limits.client);
        if let Some(account) = account.filter(|_| !was_locked) {
            let level = self
                .accounts
                .charge(account, now, limits.fine(limits.account));
            wait = wait.max(limits.wait(level, limits.account));
        }
        wait
    }

    /// Remembers that this address uses this account.
    pub fn granted(&self, client: IpAddr, account: &str, now: Tick) {
        let pair = (network(client), account.to_string());
        self.known.set(&pair, now, KNOWN.as_micros() as u64);
    }
}

impl Limits {
    /// The limit of a pair that has worked: that of an account, since it is the account that is guessed at. Where
    /// accounts have no limit, the address's holds, so that a known pair is never without one alone.
    fn pair(&self) -> u32 {
        match self.account {
            0 => self.client,
            limit => limit,
        }
    }

    fn lockout(&self) -> u64 {
        self.lockout.as_micros() as u64
    }

    fn price(&self, limit: u32) -> u64 {
        let limit = if limit == 0 { LIMIT_FOR_DELAYS } else { limit };
        self.lockout() / u64::from(limit)
    }

    /// The level from which on `limit` failures are reached; the half price makes up for what has fallen meanwhile.
    fn lock(&self, limit: u32) -> Option<u64> {
        (limit > 0).then(|| self.lockout() - self.price(limit) / 2)
    }

    fn fine(&self, limit: u32) -> Fine {
        Fine {
            price: self.price(limit),
            most: self.lockout(),
            lock: self.lock(limit),
        }
    }

    /// When a failure is told at this level: twice as late with each further one.
    fn wait(&self, level: u64, limit: u32) -> Duration {
        let failures = level.div_ceil(self.price(limit).max(1));
        let doubled = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        self.delay
            .saturating_mul(1 << doubled.min(16))
            .min(DELAY_MAX.max(self.delay))
    }
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
    fn a_pair_that_has_worked_is_not_locked_with_its_address() {
        let throttle = Throttle::default();
        throttle.granted(client(1), "ben", at(0));
        for _ in 0..4 {
            let _ = throttle.failed(client(1), Some("amy"), at(1), &LIMITS);
        }
        assert!(throttle.is_locked(client(1), Some("amy"), at(1), &LIMITS));
        assert!(throttle.is_locked(client(1), Some("cid"), at(1), &LIMITS));
        assert!(throttle.is_locked(client(1), None, at(1), &LIMITS));
        assert!(!throttle.is_locked(client(1), Some("ben"), at(1), &LIMITS));
        assert!(!throttle.is_locked(client(2), Some("cid"), at(1), &LIMITS));
        // A month later it is as any other.
        let later = at(31 * 86_400);
        for _ in 0..4 {
            let _ = throttle.failed(client(1), None, later, &LIMITS);
        }
        assert!(throttle.is_locked(client(1), Some("ben"), later, &LIMITS));
    }

    #[test]
    fn a_known_pair_that_fails_is_locked_alone() {
        let throttle = Throttle::default();
        throttle.granted(client(1), "amy", at(0));
        let delays: Vec<u64> = (0..3)
            .map(|_| {
                throttle
                    .failed(client(1), Some("amy"), at(1), &LIMITS)
                    .as_secs()
            })
            .collect();
        assert_eq!(delays, [1, 2, 4]);
        assert!(throttle.is_locked(client(1), Some("amy"), at(1), &LIMITS));
        for other in [None, Some("cid")] {
            assert!(!throttle.is_locked(client(1), other, at(1), &LIMITS));
        }
        assert!(!throttle.is_locked(client(2), Some("amy"), at(1), &LIMITS));
        // Without a limit of accounts, the address's holds.
        let limits = Limits {
            account: 0,
            ..LIMITS
        };
        let throttle = Throttle::default();
        throttle.granted(client(1), "amy", at(0));
        for _ in 0..4 {
            assert!(!throttle.is_locked(client(1), Some("amy"), at(1), &limits));
            let _ = throttle.failed(client(1), Some("amy"), at(1), &limits);
        }
        assert!(throttle.is_locked(client(1), Some("amy"), at(1), &limits));
    }

    #[test]
    fn a_locked_address_locks_no_accounts() {
        let throttle = Throttle::default();
        for _ in 0..4 {
            let _ = throttle.failed(client(1), None, at(0), &LIMITS);
        }
        for _ in 0..10 {
            let _ = throttle.failed(client(1), Some("amy"), at(0), &LIMITS);
        }
        assert!(!throttle.is_locked(client(2), Some("amy"), at(0), &LIMITS));
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
    fn a_flood_neither_frees_a_guesser_nor_forgets_an_owner() {
        let throttle = Throttle::default();
        throttle.granted(client(9), "amy", at(0));
        for _ in 0..4 {
            let _ = throttle.failed(client(1), Some("amy"), at(0), &LIMITS);
        }
        // More networks of IPv6 than the table has slots, each locked later than the guesser; and as many names.
        for net in 0..100_000u128 {
            let host = IpAddr::V6((0x2001_0db8_u128 << 96 | net << 64).into());
            for _ in 0..4 {
                let _ = throttle.failed(host, None, at(1), &LIMITS);
            }
            let name = net.to_string();
            for _ in 0..3 {
                let _ = throttle.accounts.charge(&name, at(1), LIMITS.fine(3));
            }
        }
        assert!(throttle.is_locked(client(1), None, at(1), &LIMITS));
        assert!(throttle.is_locked(client(2), Some("amy"), at(1), &LIMITS));
        assert!(!throttle.is_locked(client(9), Some("amy"), at(1), &LIMITS));
    }
}
