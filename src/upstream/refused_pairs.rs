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
    hash::{BuildHasher, Hash},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

const SHARDS: usize = 8;
/// Entries of one shard: 16,384 in all.
const KEPT_MAX: usize = 2048;
/// Entries of one client in a shard: 512 in all.
const CLIENT_MAX: usize = 64;
/// Entries of one network in a shard: 1,280 in all.
const NETWORK_MAX: usize = 160;
/// How often those that are over are looked for at most.
const SWEPT: Duration = Duration::from_secs(1);

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
    /// How many of them each client has, and each network; those of clients that are trusted are the network `None`.
    clients: HashMap<u128, usize, RandomState>,
    networks: HashMap<Option<u128>, usize, RandomState>,
    order: u64,
    /// When those that are over are looked for again.
    swept: Tick,
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
        shard.remove(key.as_bytes());
        if !shard.make_room(client, now) {
            return;
        }
        shard.order += 1;
        let kept = Kept {
            said,
            until,
            client,
            order: shard.order,
        };
        shard.put(key.as_bytes().into(), kept);
        drop(shard);
        self.is_used.store(true, Relaxed);
    }

    /// What was said of it; it is forgotten with that.
    #[must_use]
    pub fn take(&self, key: &RecipientKey, now: Tick) -> Option<BackendReply> {
        let kept = self.shard(key).remove(key.as_bytes())?;
        (now < kept.until).then_some(kept.said)
    }

    fn shard(&self, key: &RecipientKey) -> MutexGuard<'_, Shard> {
        let hash = self.secret.hash_one(key.as_bytes());
        let shard = &self.shards[hash as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn put(&mut self, key: Box<[u8]>, kept: Kept) {
        if let Some(client) = kept.client {
            *self.clients.entry(client).or_default() += 1;
        }
        *self.networks.entry(kept.network()).or_default() += 1;
        self.kept.insert(key, kept);
    }

    fn remove(&mut self, key: &[u8]) -> Option<Kept> {
        let kept = self.kept.remove(key)?;
        if let Some(client) = kept.client {
            count_down(&mut self.clients, &client);
        }
        count_down(&mut self.networks, &kept.network());
        Some(kept)
    }

    /// Makes room for one more of this client: within its network's share by what is theirs, else by what belongs to the network
    /// that has most. False: the client has its share.
    fn make_room(&mut self, client: Option<u128>, now: Tick) -> bool {
        if !self.has_share(client) || self.kept.len() >= KEPT_MAX {
            self.sweep(now);
        }
        if !self.has_share(client) {
            return false;
        }
        let network = client.map(client_key::prefix_of);
        let of_network = self.networks.get(&network).copied().unwrap_or_default();
        if client.is_some() && of_network >= NETWORK_MAX {
            self.remove_oldest(network);
        } else if self.kept.len() >= KEPT_MAX {
            let most = self.networks.iter().max_by_key(|(_, count)| **count);
            let largest = most.and_then(|(network, _)| *network);
            self.remove_oldest(largest);
        }
        true
    }

    /// Whether a client may have one more.
    fn has_share(&self, client: Option<u128>) -> bool {
        let own = client.and_then(|client| self.clients.get(&client));
        own.is_none_or(|own| *own < CLIENT_MAX)
    }

    /// Removes those that are over, not each time that room is wanted: a message may have a thousand recipients refused.
    fn sweep(&mut self, now: Tick) {
        if now < self.swept {
            return;
        }
        self.swept = now.after(SWEPT);
        let over = self.kept.iter().filter(|(_, kept)| now >= kept.until);
        let over: Vec<_> = over.map(|(key, _)| key.clone()).collect();
        for key in over {
            self.remove(&key);
        }
    }

    fn remove_oldest(&mut self, network: Option<u128>) {
        let those = self
            .kept
            .iter()
            .filter(|(_, kept)| kept.network() == network);
        let oldest = those.min_by_key(|(_, kept)| kept.order);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.remove(&key);
        }
    }
}

impl Kept {
    fn network(&self) -> Option<u128> {
        self.client.map(client_key::prefix_of)
    }
}

/// One less; none is no entry.
fn count_down<K: Hash + Eq>(counts: &mut HashMap<K, usize, RandomState>, of: &K) {
    if let Some(count) = counts.get_mut(of) {
        *count -= 1;
        if *count == 0 {
            counts.remove(of);
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
        let count = |shard: &Mutex<Shard>| {
            let shard = shard.lock().expect("sound");
            let all = shard.kept.len();
            assert_eq!(shard.networks.values().sum::<usize>(), all);
            let of_clients = shard.kept.values().filter(|kept| kept.client.is_some());
            assert_eq!(shard.clients.values().sum::<usize>(), of_clients.count());
            all
        };
        table.shards.iter().map(count).sum()
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
        assert_eq!(count(&table), 0);
    }

    #[test]
    fn what_is_over_leaves_its_share() {
        let table = RefusedPairs::default();
        fill(&table, client(1, 1), 2_000);
        assert_eq!(count(&table), SHARDS * CLIENT_MAX);
        let joe = key("joe@example.net");
        table.learn(&joe, said(), client(1, 1), NOW, LATER);
        assert_eq!(table.take(&joe, NOW), None, "it has its share");
        let later = LATER.after(SWEPT);
        table.learn(&joe, said(), client(1, 1), later, Tick::FAR);
        assert!(table.take(&joe, later).is_some());
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
