//! Recipients of one message that a delivery found refused, until the message comes again: see `super::refusals`.
//!
//! Strangers can have recipients refused at will. So these have a table of their own, which guesses at recipients don't fill, and
//! each client and network has a share of it. What a client has above its share is not remembered: what is there is told in its next tries and
//! makes room, while a list of many dead recipients that pushed out its own would find none of them at its next try. Of a network the oldest
//! goes, never another's. The shard is chosen by a
//! hash with a secret: else a sixteenth of the entries would do where sender, size and recipient are known.

use super::{recipient_key::RecipientKey, reply::BackendReply};
use crate::{client_key, smtp::Tick};
use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

const SHARDS: usize = 8;
/// Entries of one shard: 16,384 in all.
const KEPT_MAX: usize = 2048;
/// Entries of one client in a shard: 512 in all.
const CLIENT_MAX: usize = 64;
/// Entries of one network in a shard: 1,280 in all.
const NETWORK_MAX: usize = 160;

#[derive(Debug)]
struct Kept {
    said: BackendReply,
    until: Tick,
    /// The key of its client; `None` of one that is trusted.
    client: Option<u128>,
    /// Those that came before have less.
    order: u64,
}

#[derive(Debug, Default)]
struct Shard {
    kept: HashMap<Box<[u8]>, Kept, RandomState>,
    order: u64,
}

/// The table, for all workers.
#[derive(Debug, Default)]
pub struct RefusedPairs {
    shards: [Mutex<Shard>; SHARDS],
    secret: RandomState,
    /// Something was remembered: rare, so the look-up is mostly spared.
    is_used: AtomicBool,
}

impl RefusedPairs {
    /// Whether anything may be in it.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.is_used.load(Relaxed)
    }

    /// Remembers what was said of a recipient, for a message of this client (its key, `None` of one that is trusted).
    pub fn learn(
        &self,
        key: &RecipientKey,
        said: BackendReply,
        client: Option<u128>,
        now: Tick,
        until: Tick,
    ) {
        let mut shard = self.shard(key);
        shard.order += 1;
        let kept = Kept {
            said,
            until,
            client,
            order: shard.order,
        };
        if let Some(before) = shard.kept.get_mut(key.as_bytes()) {
            *before = kept;
            return;
        }
        if !shard.make_room(client, now) {
            return;
        }
        shard.kept.insert(key.as_bytes().into(), kept);
        drop(shard);
        self.is_used.store(true, Relaxed);
    }

    /// What was said of it; it is forgotten with that.
    #[must_use]
    pub fn take(&self, key: &RecipientKey, now: Tick) -> Option<BackendReply> {
        let kept = self.shard(key).kept.remove(key.as_bytes())?;
        (now < kept.until).then_some(kept.said)
    }

    fn shard(&self, key: &RecipientKey) -> MutexGuard<'_, Shard> {
        let hash = self.secret.hash_one(key.as_bytes());
        let shard = &self.shards[hash as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// Makes room for one more of this client: within its network's share by what is theirs, else by what belongs to the network
    /// that has most. False: the client has its share.
    fn make_room(&mut self, client: Option<u128>, now: Tick) -> bool {
        let network = client.map(client_key::prefix_of);
        let of_client = |kept: &Kept| client.is_some() && kept.client == client;
        let of_network =
            |kept: &Kept| client.is_some() && kept.client.map(client_key::prefix_of) == network;
        let count = |of: &dyn Fn(&Kept) -> bool| self.kept.values().filter(|kept| of(kept)).count();
        if count(&of_client) >= CLIENT_MAX {
            self.kept.retain(|_, kept| now < kept.until);
            let those = self.kept.values().filter(|kept| of_client(kept));
            return those.count() < CLIENT_MAX;
        }
        if count(&of_network) >= NETWORK_MAX {
            self.remove_oldest(of_network);
            return true;
        }
        if self.kept.len() < KEPT_MAX {
            return true;
        }
        self.kept.retain(|_, kept| now < kept.until);
        if self.kept.len() < KEPT_MAX {
            return true;
        }
        let mut counts: HashMap<Option<u128>, u32> = HashMap::new();
        for kept in self.kept.values() {
            *counts
                .entry(kept.client.map(client_key::prefix_of))
                .or_default() += 1;
        }
        let largest = counts.into_iter().max_by_key(|(_, count)| *count);
        let largest = largest.and_then(|(network, _)| network);
        self.remove_oldest(|kept| kept.client.map(client_key::prefix_of) == largest);
        true
    }

    fn remove_oldest(&mut self, of: impl Fn(&Kept) -> bool) {
        let those = self.kept.iter().filter(|(_, kept)| of(kept));
        let oldest = those.min_by_key(|(_, kept)| kept.order);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.kept.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        smtp::{Status, envelope::Path, reply_parse::ReplyHead},
        upstream::PoolId,
    };

    const NOW: Tick = Tick(1);
    const LATER: Tick = Tick(10);

    fn key(recipient: &str) -> RecipientKey {
        let path = Path::split(recipient.as_bytes());
        RecipientKey::again(PoolId(1), (b"a@a.example", 0, 7), path).expect("short")
    }

    fn said() -> BackendReply {
        let head = ReplyHead {
            code: 550,
            status: Status(5, 1, 1),
        };
        BackendReply::new(head, "no")
    }

    /// The key of 10.NETWORK.NETWORK.HOST.
    fn client(network: u128, host: u128) -> Option<u128> {
        Some(0xffff_0a00_0000 | network << 8 | host)
    }

    fn fill(table: &RefusedPairs, client: Option<u128>, count: usize) {
        for n in 0..count {
            let guess = format!("{n}.{client:?}@example.net");
            table.learn(&key(&guess), said(), client, NOW, LATER);
        }
    }

    fn count(table: &RefusedPairs) -> usize {
        let shards = table.shards.iter();
        shards
            .map(|shard| shard.lock().expect("sound").kept.len())
            .sum()
    }

    #[test]
    fn it_is_told_once_and_ends() {
        let table = RefusedPairs::default();
        assert!(!table.is_used());
        let (joe, amy) = (key("joe@example.net"), key("amy@example.net"));
        table.learn(&joe, said(), None, NOW, LATER);
        table.learn(&amy, said(), None, NOW, LATER);
        assert!(table.is_used());
        assert_eq!(table.take(&joe, NOW), Some(said()));
        assert_eq!(table.take(&joe, NOW), None);
        assert_eq!(table.take(&amy, LATER), None);
    }

    #[test]
    fn one_client_or_network_pushes_out_nothing_but_its_own() {
        let table = RefusedPairs::default();
        let honest = |n: u32| key(&format!("{n}@honest.example"));
        for n in 0..40 {
            table.learn(&honest(n), said(), client(1, 1), NOW, LATER);
        }
        fill(&table, client(2, 1), 20_000);
        assert!(count(&table) <= SHARDS * CLIENT_MAX + 40);
        for host in 2..20 {
            fill(&table, client(2, host), 2_000);
        }
        assert!(count(&table) <= SHARDS * NETWORK_MAX + 40);
        assert!((0..40).all(|n| table.take(&honest(n), NOW).is_some()));
    }

    #[test]
    fn a_list_with_more_dead_recipients_than_a_share_gets_through() {
        let table = RefusedPairs::default();
        let mut left: Vec<RecipientKey> = (0..2_000)
            .map(|n| key(&format!("{n}@dead.example")))
            .collect();
        for _ in 0..12 {
            // Each try tells what is remembered, and learns what it meets anew.
            left.retain(|dead| table.take(dead, NOW).is_none());
            for dead in &left {
                table.learn(dead, said(), client(1, 1), NOW, LATER);
            }
        }
        assert!(left.is_empty(), "{} are left", left.len());
    }

    #[test]
    fn where_it_is_full_the_largest_network_loses() {
        let table = RefusedPairs::default();
        let joe = key("joe@honest.example");
        table.learn(&joe, said(), client(1, 1), NOW, LATER);
        for network in 2..60 {
            fill(&table, client(network, 1), 600);
        }
        assert!(count(&table) <= SHARDS * KEPT_MAX);
        assert!(table.take(&joe, NOW).is_some());
    }
}
