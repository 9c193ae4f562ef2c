//! Which recipients of a message have had their turn, where a message is cut to some of its recipients.
//!
//! A transaction may end before all its recipients are asked: an LMTP pool takes one of them, the next one goes to another pool, a backend
//! takes so many and no more. The rest hear 452 4.5.3 and come in the sender's next try, together with those that were put off, in the
//! same order: Postfix sorts them. So a first recipient that is put off each time (a full mailbox, a pool that is down) would hold up the
//! others for as long as that lasts, and they would come back to their sender in the end.
//!
//! What is kept here prevents that. Where a transaction was cut and its end is a 4xx, whatever the cause, its recipients have had their
//! turn: in the next tries they are told that 4xx at RCPT, at once, so that others are first. A try that is not cut has come to the
//! last recipient: those that were told in it may be asked again ([`Turn`], when it is dropped). So each of N recipients is asked within
//! N tries, and within one more where none of them is broken.
//!
//! A message is known again by its sender and its declared size (without one, also by its client), as in
//! [`refusals`](super::refusals). Two messages that look alike share what is kept: one that has only the broken recipient left would give
//! it its turn again before each try of the other. So where that has happened, the next time is told twice, then four times, up to
//! [`TIMES_MAX`].
//!
//! What is told wrongly is told for now, and costs a try; to tries from another network than the one that was put off it is told once. Bounded in all and for a network; where there is no room, the network that has
//! the most loses its oldest messages.

use crate::smtp::{Reply, Tick};
use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    iter,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
    time::Duration,
};

/// Recipients that are kept at most.
const RECIPIENTS_MAX: usize = 16_384;
/// Those of one network at most: a message has up to `limits.recipients`.
const NETWORK_MAX: usize = 2_048;
/// How long a message is kept after its last try: longer than senders wait between two.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// The same where it declared no size: whatever its client sends under this name looks alike.
const UNSIZED_KEPT: Duration = Duration::from_secs(4 * 3600);
/// How often a recipient is told at most before it is asked again.
const TIMES_MAX: u8 = 16;
/// How often messages are looked for that have had no try for too long.
const SWEPT: Duration = Duration::from_secs(3600);
/// Messages are counted in so many classes, so that most others are known by their class alone not to be there.
const CLASSES: usize = 4096;

/// What a message is known again by.
#[derive(Clone, Copy, Debug)]
pub struct MessageKey<'a> {
    /// Its sender.
    pub sender: &'a [u8],
    /// The size that it declared; 0: none.
    pub size: u64,
    /// The key of its client's address.
    pub client: u128,
    /// That of its client's network, whose share it counts for.
    pub network: u128,
}

/// A recipient that has had its turn.
#[derive(Debug)]
struct Waiting {
    recipient: u64,
    said: Arc<Reply>,
    /// The network of the client whose try put it off.
    by: u128,
    /// A try from another network was told it.
    is_told_elsewhere: bool,
    /// So often it is told this before it is asked again.
    times: u8,
    /// So often it was to be told.
    of: u8,
    /// The recipients of the try by which it may be asked again.
    freed_by: u64,
}

#[derive(Debug)]
struct Message {
    network: u128,
    until: Tick,
    waiting: Vec<Waiting>,
}

#[derive(Debug, Default)]
struct Table {
    messages: HashMap<u64, Message, RandomState>,
    /// How many recipients are kept of each network.
    shares: HashMap<u128, usize, RandomState>,
    /// And of all.
    count: usize,
    /// When messages that are over are looked for.
    swept: Tick,
}

/// The recipients that have had their turn, of all messages.
#[derive(Debug)]
pub struct Turns {
    table: Mutex<Table>,
    /// How many messages of each class there are. The lock is taken only where there is one.
    classes: Box<[AtomicU16]>,
    /// An attacker chooses the addresses: the hash has a secret.
    hasher: RandomState,
}

impl Default for Turns {
    fn default() -> Turns {
        Turns {
            table: Mutex::default(),
            classes: iter::repeat_with(AtomicU16::default)
                .take(CLASSES)
                .collect(),
            hasher: RandomState::new(),
        }
    }
}

/// One try of a message. When it is dropped, the recipients that were told may be asked again, unless others are to come in the next
/// try anyhow.
#[derive(Debug)]
pub struct Turn {
    turns: Arc<Turns>,
    message: u64,
    network: u128,
    kept: Duration,
    /// The recipients that were told that they have had their turn.
    told: Vec<u64>,
    /// Others are to come in the next try.
    is_cut: bool,
    /// Recipients are to come in the next try that get the message then: one that was with them was refused.
    is_partly: bool,
    /// All its recipients, as the sum of their hashes.
    all: u64,
}

impl Turns {
    /// Whether something may be kept of this message.
    #[must_use]
    pub fn may_know(&self, key: &MessageKey<'_>) -> bool {
        self.class_of(self.hash(key)).load(Relaxed) > 0
    }

    /// A try of this message.
    #[must_use]
    pub fn begin(self: &Arc<Turns>, key: MessageKey<'_>) -> Turn {
        Turn {
            turns: Arc::clone(self),
            message: self.hash(&key),
            network: key.network,
            kept: match key.size {
                0 => UNSIZED_KEPT,
                _ => KEPT,
            },
            told: Vec::new(),
            is_cut: false,
            is_partly: false,
            all: 0,
        }
    }

    /// How many recipients are kept.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.lock().count
    }

    fn hash(&self, key: &MessageKey<'_>) -> u64 {
        let client = match key.size {
            0 => key.client,
            _ => 0,
        };
        self.hasher.hash_one((key.sender, client, key.size))
    }

    fn class_of(&self, message: u64) -> &AtomicU16 {
        &self.classes[message as usize % CLASSES]
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// What a recipient is told that has had its turn; `None`: it may be asked.
    pub fn told(&mut self, recipient: &[u8], now: Tick) -> Option<Arc<Reply>> {
        if self.turns.class_of(self.message).load(Relaxed) == 0 {
            return None;
        }
        let recipient = self.hash(recipient);
        let mut table = self.turns.lock();
        let message = table.messages.get_mut(&self.message)?;
        if now >= message.until {
            return None;
        }
        message.until = now.after(self.kept);
        let mut waiting = message.waiting.iter_mut();
        let one = waiting.find(|one| one.recipient == recipient)?;
        // A large sender tries again from another network; a forger who knows sender and size gets one wrong answer told for that.
        let is_elsewhere = one.by != self.network;
        let is_over = is_elsewhere && one.is_told_elsewhere;
        one.is_told_elsewhere |= is_elsewhere;
        let said = (one.times > 0 && !is_over).then(|| Arc::clone(&one.said));
        drop(table);
        if said.is_some() {
            self.tell(recipient);
        }
        said
    }

    fn tell(&mut self, recipient: u64) {
        self.told.push(recipient);
        self.all = self.all.wrapping_add(recipient);
    }

    /// A recipient was told to come in the next try.
    pub fn cut(&mut self, recipient: &[u8]) {
        self.is_cut = true;
        self.ask(recipient);
    }

    /// A recipient was taken so far.
    pub fn ask(&mut self, recipient: &[u8]) {
        self.all = self.all.wrapping_add(self.hash(recipient));
    }

    /// The message was refused because some of its recipients were: the others get it in the next try.
    pub fn part(&mut self) {
        self.is_partly = true;
    }

    /// All that were asked heard this 4xx in the end. Where others wait, they come first from now on.
    pub fn put_off<'a>(
        &mut self,
        recipients: impl Iterator<Item = &'a [u8]>,
        said: &Reply,
        now: Tick,
    ) {
        if !self.is_cut || self.is_partly {
            return;
        }
        let said = Arc::new(said.clone());
        let recipients: Vec<u64> = recipients.map(|recipient| self.hash(recipient)).collect();
        self.keep(&recipients, &said, now);
    }

    /// This recipient is told a 4xx that it met in an earlier try, and is told it again until the others have had their turn.
    pub fn put_off_told(&mut self, recipient: &[u8], said: &Reply, now: Tick) {
        let recipient = self.hash(recipient);
        self.keep(&[recipient], &Arc::new(said.clone()), now);
        self.tell(recipient);
    }

    fn keep(&self, recipients: &[u64], said: &Arc<Reply>, now: Tick) {
        let until = now.after(self.kept);
        let message = (self.message, self.network);
        let mut table = self.turns.lock();
        table.sweep(&self.turns, now);
        // Looked for once a message: a stranger's may have a thousand recipients, and the lock is everybody's.
        let mut has_room = true;
        for recipient in recipients {
            let is_kept = table.renew(message, (*recipient, said), (self.all, until));
            if !is_kept && has_room {
                has_room = table.add(&self.turns, message, (*recipient, said), until);
            }
        }
    }

    fn hash(&self, recipient: &[u8]) -> u64 {
        let domain = memchr::memrchr(b'@', recipient).unwrap_or(recipient.len());
        let (local, domain) = recipient.split_at(domain);
        let hasher = &self.turns.hasher;
        hasher.hash_one((local, domain.to_ascii_lowercase()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.told.is_empty() || self.is_cut || self.is_partly {
            return;
        }
        self.told.sort_unstable();
        let mut table = self.turns.lock();
        table.release(self.message, &self.told, self.all);
    }
}

impl Table {
    /// Removes messages that have had no try for too long.
    fn sweep(&mut self, turns: &Turns, now: Tick) {
        if now < self.swept {
            return;
        }
        self.swept = now.after(SWEPT);
        let over = self.messages.iter().filter(|(_, known)| now >= known.until);
        let over: Vec<u64> = over.map(|(message, _)| *message).collect();
        for message in over {
            self.remove(turns, message);
        }
    }

    /// Keeps a recipient anew that is kept already; false: it is not.
    fn renew(
        &mut self,
        (message, by): (u64, u128),
        (recipient, said): (u64, &Arc<Reply>),
        (all, until): (u64, Tick),
    ) -> bool {
        let Some(known) = self.messages.get_mut(&message) else {
            return false;
        };
        known.until = until;
        let mut waiting = known.waiting.iter_mut();
        let Some(one) = waiting.find(|one| one.recipient == recipient) else {
            return false;
        };
        one.of = match one.freed_by == all {
            true => (one.of / 2).max(1),
            false if one.by != by => 1,
            false => one.of.saturating_mul(2).min(TIMES_MAX),
        };
        (one.by, one.is_told_elsewhere) = (by, false);
        (one.times, one.said) = (one.of, Arc::clone(said));
        true
    }

    /// Keeps a recipient of a message; false: there is no room. It counts for the network of the message's first try.
    fn add(
        &mut self,
        turns: &Turns,
        (message, by): (u64, u128),
        (recipient, said): (u64, &Arc<Reply>),
        until: Tick,
    ) -> bool {
        let known = self.messages.get(&message);
        let network = known.map_or(by, |known| known.network);
        if !self.has_room(turns, network, message) {
            return false;
        }
        let kept = self.messages.entry(message).or_insert_with(|| {
            turns.class_of(message).fetch_add(1, Relaxed);
            Message {
                network,
                until,
                waiting: Vec::new(),
            }
        });
        kept.waiting.push(Waiting {
            recipient,
            said: Arc::clone(said),
            by,
            is_told_elsewhere: false,
            times: 1,
            of: 1,
            freed_by: 0,
        });
        *self.shares.entry(network).or_default() += 1;
        self.count += 1;
        true
    }

    /// Those that were told (in order) in a try that was not cut may be asked.
    fn release(&mut self, message: u64, told: &[u64], all: u64) {
        let Some(known) = self.messages.get_mut(&message) else {
            return;
        };
        for one in &mut known.waiting {
            if told.binary_search(&one.recipient).is_ok() {
                one.times = one.times.saturating_sub(1);
                one.freed_by = all;
            }
        }
    }

    /// Whether one more of this network can be kept, for this message; makes room for it where others have to go.
    fn has_room(&mut self, turns: &Turns, network: u128, message: u64) -> bool {
        let share = self.shares.get(&network).copied().unwrap_or_default();
        if share >= NETWORK_MAX {
            return self.remove_oldest_of(turns, network, message);
        }
        if self.count < RECIPIENTS_MAX {
            return true;
        }
        let most = self.shares.iter().max_by_key(|(_, count)| **count);
        let largest = most.map(|(network, _)| *network);
        largest.is_some_and(|largest| self.remove_oldest_of(turns, largest, message))
    }

    /// An eighth of them, so that they aren't looked through for each.
    fn remove_oldest_of(&mut self, turns: &Turns, network: u128, but: u64) -> bool {
        let all = self.messages.iter();
        let of_it = all.filter(|(key, known)| known.network == network && **key != but);
        let mut oldest: Vec<(Tick, u64)> = of_it.map(|(key, known)| (known.until, *key)).collect();
        oldest.sort_unstable();
        oldest.truncate(oldest.len().div_ceil(8));
        for (_, message) in &oldest {
            self.remove(turns, *message);
        }
        !oldest.is_empty()
    }

    fn remove(&mut self, turns: &Turns, message: u64) {
        if let Some(gone) = self.messages.remove(&message) {
            turns.class_of(message).fetch_sub(1, Relaxed);
            self.give_back(gone.network, gone.waiting.len());
        }
    }

    fn give_back(&mut self, network: u128, count: usize) {
        self.count -= count;
        if let Some(share) = self.shares.get_mut(&network) {
            *share -= count;
            if *share == 0 {
                self.shares.remove(&network);
            }
        }
    }
}
