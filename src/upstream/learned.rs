//! The limit on recipients of one message that a backend has shown without announcing it (RFC 5321 §4.5.3.1.10: 452 4.5.3).
//!
//! Such a refusal may be about the backend, about the client or about the sender, and nothing in it tells which. So it counts
//! at first for the messages that showed it alone: those of the same sender from the same network, which come again hours later
//! (§4.5.4.1), so it is kept for a day, and one that every server must take (§4.5.3.1.8) longer where it is used. It counts for all messages, for minutes, where it can hardly be
//! about one client: clients of two networks have been shown it, or it is no less than what every server must take (§4.5.3.1.8).
//! A message that is taken with more recipients ends it for the messages of its own source; for others it shows only that the limit
//! is not for all. Since no message with more recipients would come to show that, one of them is let through every few minutes.
//!
//! Only an enhanced code names a limit (x.5.3). A bare 452 is also what a server says of a full mailbox, and two of them in a row may
//! be two full mailboxes: what it shows never counts for other sources. Nor does anything where the backends judge by the client
//! ([`LearnedLimit::own`]): they may name a limit to bad clients alone.
//!
//! A message with the null sender shows nothing: servers refuse its second recipient because a bounce has but one (Postfix's
//! `reject_multi_recipient_bounce`). Nor does any code but 452, or 552, which §4.5.3.1.10 wants read as 452.

use super::message_source::MessageSource;
use crate::smtp::{Status, Tick, reply_parse::ReplyHead};
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Every server must take so many (RFC 5321 §4.5.3.1.8): a limit that is not lower is believed of one message.
const USUAL_MIN: u32 = 100;
/// How long such a limit counts for all messages.
const USUAL_COUNTS: Duration = Duration::from_secs(3600);
/// How long a lower one counts towards what two networks agree on.
const LOW_COUNTS: Duration = Duration::from_secs(600);
/// How long a limit is kept for its own source after it was shown, a usual one after it was last used: longer than senders wait between two tries.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// A limit that is lower than [`USUAL_MIN`] may have been a rate (too many recipients in this hour), and no message that is
/// split by it shows that it is over. So one more recipient is let through for each time that has passed since it was shown.
const ONE_MORE: Duration = Duration::from_secs(3600);
/// That time doubles where the same limit is shown again, up to this.
const ONE_MORE_MAX: Duration = Duration::from_secs(8 * 3600);
/// How long a usual one is kept if it is used all the time: as long as senders try (RFC 5321 §4.5.4.1). After that it must be shown anew, since a
/// message that is split by it never shows that it is over.
const KEPT_MOST: Duration = Duration::from_secs(5 * 24 * 3600);
/// How often a message is let through with one recipient more than others have been shown.
const TRIED_AGAIN: Duration = Duration::from_secs(120);
/// What is kept of one backend at most.
const SHOWN_MAX: usize = 128;
/// What is kept of one network at most, so that its senders don't push out what others have shown.
const NETWORK_MAX: usize = 8;

/// What the replies to one message have shown.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// So many recipients were taken.
    pub recipients: u32,
    /// Of a message from here.
    pub by: MessageSource,
    /// By an enhanced code that says it. A bare 452 may also have meant two full mailboxes, or a full disk: what it shows is not kept for
    /// long, and counts for no other source.
    pub is_named: bool,
}

#[derive(Clone, Copy, Debug)]
struct Shown {
    by: MessageSource,
    recipients: u32,
    /// It counts for others until then.
    counts_until: Tick,
    until: Tick,
    /// It is kept no longer than this.
    last: Tick,
    at: Tick,
    /// One more recipient is let through for each such time since then; zero: none.
    one_more: Duration,
}

impl Shown {
    /// What holds for its own source now.
    fn own(&self, now: Tick) -> u32 {
        let more = match self.one_more.is_zero() {
            true => 0,
            false => now.since(self.at).as_micros() / self.one_more.as_micros(),
        };
        (self.recipients).saturating_add(u32::try_from(more).unwrap_or(u32::MAX))
    }
}

/// The limits that one backend has shown. The lock is taken only where one was shown of late.
#[derive(Debug, Default)]
pub struct LearnedLimit {
    /// When all of them are over, in ticks.
    until: AtomicU64,
    /// When none of them counts for all any more, in ticks.
    counts_until: AtomicU64,
    /// When one recipient more than others have been shown is tried again, in ticks.
    tried_again: AtomicU64,
    shown: Mutex<Vec<Shown>>,
}

impl LearnedLimit {
    /// It took so many recipients of a message and no more.
    pub fn learn(&self, limit: Limit, now: Tick) {
        let Limit {
            recipients,
            by,
            is_named,
        } = limit;
        let counts = match (is_named, recipients < USUAL_MIN) {
            (false, _) => Duration::ZERO,
            (true, true) => LOW_COUNTS,
            (true, false) => USUAL_COUNTS,
        };
        let [kept, most] = match is_named || recipients >= USUAL_MIN {
            true if recipients < USUAL_MIN => [KEPT; 2],
            true => [KEPT, KEPT_MOST],
            false => [LOW_COUNTS; 2],
        };
        let until = now.after(kept);
        let mut shown = self.lock();
        let before = shown.iter().find(|one| one.by == by && now < one.until);
        let one_more = match before {
            _ if recipients >= USUAL_MIN => Duration::ZERO,
            Some(before) if before.recipients >= recipients => {
                (before.one_more * 2).clamp(ONE_MORE, ONE_MORE_MAX)
            }
            _ => ONE_MORE,
        };
        shown.retain(|one| now < one.until && one.by != by);
        let of_network = |one: &Shown| one.by.network == by.network;
        if shown.iter().filter(|one| of_network(one)).count() >= NETWORK_MAX {
            remove_first(&mut shown, of_network);
        } else if shown.len() >= SHOWN_MAX {
            let network = largest(&shown);
            remove_first(&mut shown, |one| one.by.network == network);
        }
        shown.push(Shown {
            by,
            recipients,
            counts_until: now.after(counts),
            until,
            last: now.after(most),
            at: now,
            one_more,
        });
        self.until.fetch_max(until.0, Relaxed);
        let before = self.counts_until.fetch_max(now.after(counts).0, Relaxed);
        if is_named && before <= now.0 {
            // Nothing counted: what counts now is fresh.
            let first = now.after(TRIED_AGAIN).0;
            self.tried_again.store(first, Relaxed);
        }
    }

    /// It took a message of this source with so many recipients. What another source was shown may be about that one's client or
    /// sender, so it stays for that source, but no longer counts for others.
    pub fn has_taken(
        &self,
        recipients: impl FnOnce() -> usize,
        of: Option<MessageSource>,
        now: Tick,
    ) {
        if !self.is_known(now) {
            return;
        }
        let recipients = recipients();
        // A limit is one at least.
        if recipients < 2 {
            return;
        }
        self.lock().retain_mut(|one| {
            let is_exceeded = recipients > one.recipients as usize;
            if is_exceeded {
                one.counts_until = now;
            }
            !(is_exceeded && of == Some(one.by))
        });
    }

    /// The limit for a message of this source, for which it is kept longer then; `None` asks for what holds for all. 0: none is
    /// known.
    #[must_use]
    pub fn get(&self, of: Option<MessageSource>, now: Tick) -> u32 {
        let until = match of {
            Some(_) => &self.until,
            None => &self.counts_until,
        };
        if now.0 >= until.load(Relaxed) {
            return 0;
        }
        let mut shown = self.lock();
        let own = self.own_of(&mut shown, of, now);
        let counting = || shown.iter().filter(|one| now < one.counts_until);
        let usual = counting().filter(|one| one.recipients >= USUAL_MIN);
        let usual = usual.map(|one| one.recipients).min();
        let lowest = counting().min_by_key(|one| one.recipients);
        // What is shown to two networks is the higher of the two.
        let agreed = lowest.and_then(|lowest| {
            let others = counting().filter(|one| one.by.network != lowest.by.network);
            others.map(|one| one.recipients).min()
        });
        let all = own.into_iter().chain(usual).chain(agreed);
        all.min().unwrap_or_default()
    }

    /// The limit that messages of this source have been shown themselves, kept longer then. 0: none.
    #[must_use]
    pub fn own(&self, of: Option<MessageSource>, now: Tick) -> u32 {
        if of.is_none() || !self.is_known(now) {
            return 0;
        }
        let own = self.own_of(&mut self.lock(), of, now);
        own.unwrap_or_default()
    }

    fn own_of(&self, shown: &mut [Shown], of: Option<MessageSource>, now: Tick) -> Option<u32> {
        let own = shown
            .iter_mut()
            .find(|one| of == Some(one.by) && now < one.until)?;
        if own.recipients >= USUAL_MIN {
            own.until = now.after(KEPT).min(own.last);
            self.until.fetch_max(own.until.0, Relaxed);
        }
        Some(own.own(now))
    }

    /// Whether a message of this source, which has so many recipients, may try one more, though others have been shown that this is
    /// too many: one message every few minutes, for else none would show that it is over. Never against what its own source was shown.
    #[must_use]
    pub fn tries_one_more(&self, of: Option<MessageSource>, recipients: usize, now: Tick) -> bool {
        let due = self.tried_again.load(Relaxed);
        if now.0 < due || self.get(of, now) as usize != recipients || self.own(of, now) > 0 {
            return false;
        }
        let next = now.after(TRIED_AGAIN).0;
        let won = self
            .tried_again
            .compare_exchange(due, next, Relaxed, Relaxed);
        won.is_ok()
    }

    fn is_known(&self, now: Tick) -> bool {
        now.0 < self.until.load(Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Shown>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The network that has most.
fn largest(shown: &[Shown]) -> u128 {
    let count = |network| shown.iter().filter(|one| one.by.network == network).count();
    let networks = shown.iter().map(|one| one.by.network);
    networks.max_by_key(|network| count(*network)).unwrap_or(0)
}

/// Removes the first one to end of those that are meant.
fn remove_first(shown: &mut Vec<Shown>, meant: impl Fn(&Shown) -> bool) {
    let places = shown.iter().enumerate().filter(|(_, one)| meant(one));
    if let Some((place, _)) = places.min_by_key(|(_, one)| one.until) {
        shown.swap_remove(place);
    }
}

/// What the replies to the recipients of one message show of a limit.
#[derive(Debug, Default)]
pub(super) struct Tally {
    source: Option<MessageSource>,
    /// So many recipients were taken before the backend said that it takes no more.
    after: Option<u32>,
    /// An enhanced code has said so.
    is_named: bool,
    /// The recipient before this one was refused so.
    once: bool,
}

impl Tally {
    pub(super) fn new(source: Option<MessageSource>) -> Tally {
        Tally {
            source,
            ..Tally::default()
        }
    }

    /// Where the message comes from.
    pub(super) fn source(&self) -> Option<MessageSource> {
        self.source
    }

    /// A recipient was answered; so many have been taken.
    pub(super) fn hear(&mut self, head: ReplyHead, taken: impl FnOnce() -> usize) {
        if head.is_positive() {
            (self.after, self.once) = (None, false);
            return;
        }
        let says_so = is_too_many(head);
        // A bare 452 is also said of one full mailbox: it takes two in a row.
        let is_sure = head.status != Status::NONE || self.once;
        self.once = says_so;
        if says_so && is_sure && self.after.is_none() {
            self.after = u32::try_from(taken()).ok().filter(|taken| *taken > 0);
            self.is_named = head.status != Status::NONE;
        }
    }

    /// All were answered: the limit that this has shown, told once.
    pub(super) fn shown(&mut self) -> Option<Limit> {
        let (recipients, by) = self.after.take().zip(self.source)?;
        Some(Limit {
            recipients,
            by,
            is_named: self.is_named,
        })
    }
}

/// Whether a refusal says that a message has too many recipients (RFC 5321 §4.5.3.1.10; 552 before that). Exim says a bare
/// 452, which also means a full disk: the caller looks at what is said to the recipients after it.
fn is_too_many(head: ReplyHead) -> bool {
    matches!(
        (head.code, head.status),
        (452 | 552, Status(4 | 5, 5, 3)) | (452, Status::NONE)
    )
}

#[cfg(test)]
mod tests;
