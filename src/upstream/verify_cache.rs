//! What backends said about recipients, remembered for all workers and over reloads.
//!
//! Bounded: each shard has two generations; when the young one is full it becomes the old one and the old
//! one is forgotten, while what is asked for again moves to the young. That is nearly "the least recently
//! used goes first", for the price of two maps. A shard's lock is held for one look-up.
//!
//! Recipients that were taken have generations of their own: a client that guesses names fills the cache with
//! refusals, and must not push out the recipients that mail really goes to.

use super::{recipient_key::RecipientKey, refused_pairs::RefusedPairs, reply::BackendReply};
use crate::smtp::Tick;
use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

const SHARDS: usize = 16;
/// Recipients of one generation of one shard; at most twice as many are remembered in it.
const GENERATION: usize = 2048;
/// What is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// The backend takes it.
    Good,
    /// It does not, and says this.
    Bad(BackendReply),
    /// It refuses the sender that we ask with, for a reason that may not hold for others: the question is asked with the
    /// message's own sender.
    BySender,
}

#[derive(Debug)]
struct Entry {
    known: Known,
    until: Tick,
}

// An attacker chooses the addresses: the hash has a secret.
type Generation = HashMap<Box<[u8]>, Entry, RandomState>;

#[derive(Debug, Default)]
struct Generations {
    young: Generation,
    old: Generation,
}

impl Generations {
    fn put(&mut self, key: Box<[u8]>, entry: Entry, most: usize) {
        if self.young.len() >= most {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, entry);
    }

    fn look(&mut self, key: &[u8], now: Tick, most: usize) -> Option<Known> {
        if let Some(entry) = self.young.get(key) {
            return (now < entry.until).then(|| entry.known.clone());
        }
        // To remove from a map hashes the key, also where the map is empty.
        if self.old.is_empty() {
            return None;
        }
        let (key, entry) = self.old.remove_entry(key)?;
        if now >= entry.until {
            return None;
        }
        let known = entry.known.clone();
        self.put(key, entry, most);
        Some(known)
    }

    fn learn(&mut self, key: &[u8], entry: Entry, most: usize) {
        if !self.old.is_empty() {
            self.old.remove(key);
        }
        match self.young.get_mut(key) {
            Some(before) => *before = entry,
            None => self.put(key.into(), entry, most),
        }
    }

    fn forget(&mut self, key: &[u8]) {
        for map in [&mut self.old, &mut self.young] {
            if !map.is_empty() {
                map.remove(key);
            }
        }
    }

    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[derive(Debug, Default)]
struct Shard {
    /// Recipients that were taken.
    good: Generations,
    /// Everything else.
    rest: Generations,
}

/// Remembered answers of backends, in shards with a lock each.
#[derive(Debug)]
pub struct Cache {
    shards: [Mutex<Shard>; SHARDS],
    generation: usize,
    /// Chooses the shard.
    secret: RandomState,
    /// Recipients of messages that were refused in part.
    refused: RefusedPairs,
}

impl Default for Cache {
    fn default() -> Cache {
        Cache::new(GENERATION)
    }
}

impl Cache {
    /// A cache with so many recipients a generation and shard.
    #[must_use]
    pub fn new(generation: usize) -> Cache {
        Cache {
            shards: Default::default(),
            generation,
            secret: RandomState::new(),
            refused: RefusedPairs::default(),
        }
    }

    /// What deliveries found out about the recipients of messages that were refused in part.
    #[must_use]
    pub fn refused(&self) -> &RefusedPairs {
        &self.refused
    }

    /// Remembers an answer for a key of a pair. Also one that is good stays with the refusals: a client chooses its
    /// senders, and pairs must not push out the recipients that are good for all of them.
    pub fn learn_pair(&self, key: &RecipientKey, known: Known, until: Tick) {
        let mut shard = self.shard(key);
        let entry = Entry { known, until };
        shard.rest.learn(key.as_bytes(), entry, self.generation);
    }

    fn shard(&self, key: &RecipientKey) -> MutexGuard<'_, Shard> {
        // With a secret, as in the maps: none aims at one shard, and has it forget sooner.
        let hash = self.secret.hash_one(key.as_bytes());
        let shard = &self.shards[hash as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a recipient at this moment.
    #[must_use]
    pub fn look(&self, key: &RecipientKey, now: Tick) -> Option<Known> {
        let (bytes, most) = (key.as_bytes(), self.generation);
        let mut shard = self.shard(key);
        let good = shard.good.look(bytes, now, most);
        good.or_else(|| shard.rest.look(bytes, now, most))
    }

    /// Remembers something until a moment.
    pub fn learn(&self, key: &RecipientKey, known: Known, until: Tick) {
        let mut shard = self.shard(key);
        let (good, rest) = {
            let Shard { good, rest } = &mut *shard;
            (good, rest)
        };
        let (to, from) = match known {
            Known::Good => (good, rest),
            Known::Bad(_) | Known::BySender => (rest, good),
        };
        from.forget(key.as_bytes());
        to.learn(key.as_bytes(), Entry { known, until }, self.generation);
    }

    /// Forgets a recipient.
    pub fn forget(&self, key: &RecipientKey) {
        let mut shard = self.shard(key);
        shard.good.forget(key.as_bytes());
        shard.rest.forget(key.as_bytes());
    }

    /// How many recipients are remembered, also those whose time is over and that were not asked for since.
    #[must_use]
    pub fn count(&self) -> usize {
        let lock = |s: &Mutex<Shard>| {
            let shard = s.lock().unwrap_or_else(PoisonError::into_inner);
            shard.good.len() + shard.rest.len()
        };
        self.shards.iter().map(lock).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        smtp::{Status, envelope::Path, reply_parse::ReplyHead},
        upstream::PoolId,
    };

    fn key(pool: u32, path: &[u8]) -> RecipientKey {
        RecipientKey::new(PoolId(pool), Path::split(path)).expect("short")
    }

    fn bad() -> Known {
        let head = ReplyHead {
            code: 550,
            status: Status(5, 1, 1),
        };
        Known::Bad(BackendReply::new(head, "no"))
    }

    #[test]
    fn the_local_part_has_case_and_the_pool_counts() {
        let cache = Cache::default();
        cache.learn(&key(1, b"Joe@Example.NET"), Known::Good, Tick(10));
        let look = |pool, path| cache.look(&key(pool, path), Tick(9));
        assert_eq!(look(1, b"Joe@example.net"), Some(Known::Good));
        assert_eq!(look(1, b"joe@example.net"), None);
        assert_eq!(look(2, b"Joe@example.net"), None);
        cache.learn(&key(1, b"POSTMASTER"), Known::Good, Tick(10));
        assert_eq!(look(1, b"Postmaster"), Some(Known::Good));
        assert!(RecipientKey::new(PoolId(1), Path::split(&[b'a'; 257])).is_none());
        let (letters, ascii) = ("a@Bücher.example", b"a@xn--bcher-KVA.example");
        let spelled = key(1, letters.as_bytes());
        assert_eq!(spelled.as_bytes(), key(1, ascii).as_bytes());
    }

    #[test]
    fn it_ends_is_replaced_and_forgotten() {
        let cache = Cache::default();
        let joe = key(1, b"joe@example.net");
        cache.learn(&joe, bad(), Tick(10));
        assert_eq!(cache.look(&joe, Tick(9)), Some(bad()));
        assert_eq!(cache.look(&joe, Tick(10)), None);
        cache.learn(&joe, Known::Good, Tick(20));
        assert_eq!(cache.look(&joe, Tick(10)), Some(Known::Good));
        cache.forget(&joe);
        assert_eq!(cache.look(&joe, Tick(10)), None);
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_asked_for() {
        let cache = Cache::new(8);
        let joe = key(1, b"joe@example.net");
        cache.learn(&joe, Known::Good, Tick(10));
        for n in 0..5000 {
            cache.learn(
                &key(1, format!("x{n}@example.net").as_bytes()),
                bad(),
                Tick(10),
            );
            assert_eq!(cache.look(&joe, Tick(1)), Some(Known::Good));
        }
        assert!(cache.count() <= SHARDS * 2 * 8 + 1, "{}", cache.count());
    }

    #[test]
    fn what_strangers_guess_pushes_out_no_recipient_that_is_good() {
        let cache = Cache::new(8);
        let joe = key(1, b"joe@example.net");
        cache.learn(&joe, Known::Good, Tick(10));
        for n in 0..5000 {
            let guess = format!("x{n}@example.net");
            cache.learn(&key(1, guess.as_bytes()), bad(), Tick(10));
            let path = Path::split(b"joe@example.net");
            let pair = RecipientKey::pair(PoolId(1), guess.as_bytes(), path).expect("short");
            cache.learn_pair(&pair, Known::Good, Tick(10));
        }
        assert_eq!(cache.look(&joe, Tick(1)), Some(Known::Good));
        assert!(cache.count() <= SHARDS * 2 * 8 + 1, "{}", cache.count());
        // What is learnt last is what holds.
        cache.learn(&joe, bad(), Tick(10));
        assert_eq!(cache.look(&joe, Tick(1)), Some(bad()));
        cache.learn(&joe, Known::Good, Tick(10));
        assert_eq!(cache.look(&joe, Tick(1)), Some(Known::Good));
    }
}
