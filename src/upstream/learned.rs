//! The limit on recipients of one message that a backend has shown without announcing it (RFC 5321 §4.5.3.1.10: 452 4.5.3).
//!
//! Such a refusal may be about the backend, about the client or about the sender, and nothing in it tells which. So it counts
//! at first for the messages that showed it alone: those of the same sender from the same network. It counts for
//! all messages where it can hardly be about one client: clients of two networks have been shown it, or it is no less than
//! what every server must take (§4.5.3.1.8). A message that is taken with more recipients ends it.
//!
//! A message with the null sender shows nothing: servers refuse its second recipient because a bounce has but one (Postfix's
//! `reject_multi_recipient_bounce`). Nor does any code but 452, or 552, which §4.5.3.1.10 wants read as 452.

use crate::{
    client_key,
    smtp::{Status, Tick, reply_parse::ReplyHead},
};
use rustc_hash::FxHasher;
use std::{
    hash::Hasher,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Every server must take so many (RFC 5321 §4.5.3.1.8): a limit that is not lower is believed of one message.
const USUAL_MIN: u32 = 100;
/// How long such a limit is kept.
const USUAL_KEPT: Duration = Duration::from_secs(3600);
/// How long a lower one is kept.
const LOW_KEPT: Duration = Duration::from_secs(600);
/// What is kept of one backend at most.
const SHOWN_MAX: usize = 32;
/// What is kept of one network at most, so that its senders don't push out what others have shown.
const NETWORK_MAX: usize = 4;

/// Where a message comes from: the network of its client, and its sender, which is not the null sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageSource {
    network: u128,
    sender: u64,
}

impl MessageSource {
    /// `client` is the client's key, `None` of all that are trusted. `None` for the null sender.
    #[must_use]
    pub fn new(client: Option<u128>, sender: &[u8]) -> Option<MessageSource> {
        if sender.is_empty() {
            return None;
        }
        let mut hasher = FxHasher::default();
        hasher.write(sender);
        Some(MessageSource {
            network: client.map_or(0, client_key::prefix_of),
            sender: hasher.finish(),
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct Shown {
    by: MessageSource,
    recipients: u32,
    until: Tick,
}

/// The limits that one backend has shown. The lock is taken only where one was shown of late.
#[derive(Debug, Default)]
pub struct LearnedLimit {
    /// When all of them are over, in ticks.
    until: AtomicU64,
    shown: Mutex<Vec<Shown>>,
}

impl LearnedLimit {
    /// It took so many recipients of this message and no more.
    pub fn learn(&self, recipients: u32, by: MessageSource, now: Tick) {
        let kept = match recipients < USUAL_MIN {
            true => LOW_KEPT,
            false => USUAL_KEPT,
        };
        let until = now.after(kept);
        let mut shown = self.lock();
        shown.retain(|one| now < one.until && one.by != by);
        let of_network = |one: &Shown| one.by.network == by.network;
        if shown.iter().filter(|one| of_network(one)).count() >= NETWORK_MAX {
            remove_first(&mut shown, of_network);
        } else if shown.len() >= SHOWN_MAX {
            remove_first(&mut shown, |_| true);
        }
        shown.push(Shown {
            by,
            recipients,
            until,
        });
        self.until.fetch_max(until.0, Relaxed);
    }

    /// It took a message with so many recipients.
    pub fn has_taken(&self, recipients: impl FnOnce() -> usize, now: Tick) {
        if self.is_known(now) {
            let recipients = recipients();
            let is_more = |one: &Shown| one.recipients as usize >= recipients;
            self.lock().retain(is_more);
        }
    }

    /// The limit for a message of this source; `None` asks for what holds for all. 0: none is known.
    #[must_use]
    pub fn get(&self, of: Option<MessageSource>, now: Tick) -> u32 {
        if !self.is_known(now) {
            return 0;
        }
        let shown = self.lock();
        let shown = || shown.iter().filter(|one| now < one.until);
        let is_for_all = |one: &&Shown| one.recipients >= USUAL_MIN || of == Some(one.by);
        let sure = shown().filter(is_for_all).map(|one| one.recipients).min();
        let lowest = shown().min_by_key(|one| one.recipients);
        // What is shown to two networks is the higher of the two.
        let agreed = lowest.and_then(|lowest| {
            let others = shown().filter(|one| one.by.network != lowest.by.network);
            others.map(|one| one.recipients).min()
        });
        sure.into_iter().chain(agreed).min().unwrap_or_default()
    }

    fn is_known(&self, now: Tick) -> bool {
        now.0 < self.until.load(Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Shown>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        }
    }

    /// All were answered: the limit that this has shown, told once.
    pub(super) fn shown(&mut self) -> Option<(u32, MessageSource)> {
        self.after.take().zip(self.source)
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
mod tests {
    use super::*;

    fn source(client: u128, sender: &str) -> Option<MessageSource> {
        // As the keys of 10.0.CLIENT.1.
        let key = 0xffff_0a00_0001 | client << 8;
        MessageSource::new(Some(key), sender.as_bytes())
    }

    fn learn(limit: &LearnedLimit, recipients: u32, by: Option<MessageSource>, now: Tick) {
        limit.learn(recipients, by.expect("not the null sender"), now);
    }

    #[test]
    fn what_one_message_shows_holds_for_its_like_for_minutes() {
        let (limit, now) = (LearnedLimit::default(), Tick(5));
        let amy = source(1, "amy@a.example");
        assert_eq!(limit.get(amy, now), 0);
        learn(&limit, 2, amy, now);
        assert_eq!(limit.get(amy, now), 2);
        for other in [None, source(1, "bob@a.example"), source(2, "amy@a.example")] {
            assert_eq!(limit.get(other, now), 0, "{other:?}");
        }
        // However many senders of one network there are.
        for n in 0..100 {
            learn(&limit, 1, source(1, &format!("{n}@a.example")), now);
        }
        assert_eq!(limit.get(source(2, "amy@a.example"), now), 0);
        assert!(limit.lock().len() <= NETWORK_MAX);
        let other = source(3, "amy@a.example");
        learn(&limit, 7, other, now);
        assert_eq!(limit.get(other, now.after(LOW_KEPT)), 0);
    }

    #[test]
    fn what_two_networks_show_holds_for_all() {
        let (limit, now) = (LearnedLimit::default(), Tick(5));
        learn(&limit, 1, source(1, "x@a.example"), now);
        learn(&limit, 50, source(2, "amy@a.example"), now);
        assert_eq!(limit.get(None, now), 50, "they agree on no less");
        assert_eq!(limit.get(source(1, "x@a.example"), now), 1);
        learn(&limit, 20, source(3, "bob@a.example"), now);
        assert_eq!(limit.get(source(4, "joe@a.example"), now), 20);
    }

    #[test]
    fn what_every_server_must_take_is_believed_at_once() {
        let (limit, now) = (LearnedLimit::default(), Tick(5));
        learn(&limit, 100, source(1, "amy@a.example"), now);
        assert_eq!(limit.get(None, now.after(LOW_KEPT)), 100);
        assert_eq!(limit.get(None, now.after(USUAL_KEPT)), 0);
    }

    #[test]
    fn a_larger_message_that_is_taken_ends_it() {
        let (limit, now) = (LearnedLimit::default(), Tick(5));
        limit.has_taken(|| panic!("nothing is known"), now);
        for n in 1..4 {
            learn(&limit, 9, source(n, "amy@a.example"), now);
        }
        limit.has_taken(|| 9, now);
        assert_eq!(limit.get(None, now), 9);
        limit.has_taken(|| 10, now);
        assert_eq!(limit.get(None, now), 0);
    }

    #[test]
    fn it_is_bounded() {
        let (limit, now) = (LearnedLimit::default(), Tick(5));
        for n in 0..250 {
            learn(&limit, 9, source(n, "amy@a.example"), now);
        }
        assert_eq!(limit.lock().len(), SHOWN_MAX);
    }

    #[test]
    fn only_a_refusal_of_more_recipients_shows_a_limit() {
        let head = |code, status| ReplyHead { code, status };
        let (yes, many) = (head(250, Status(2, 1, 5)), head(452, Status(4, 5, 3)));
        let shown = |source, heads: &[ReplyHead]| {
            let (mut tally, mut taken) = (Tally::new(source), 0);
            for head in heads {
                taken += usize::from(head.is_positive());
                tally.hear(*head, || taken);
            }
            tally.shown().map_or(0, |(recipients, _)| recipients)
        };
        let amy = source(1, "amy@a.example");
        let bare = head(452, Status::NONE);
        for (heads, limit) in [
            (&[yes, many][..], 1),
            (&[yes, yes, head(552, Status(5, 5, 3))], 2),
            (&[yes, bare, bare], 1),
            (&[yes, bare, yes], 0),
            (&[yes, many, yes], 0),
            (&[many, many], 0),
            // Postfix's `reject_multi_recipient_bounce`, of any message.
            (&[yes, head(550, Status(5, 5, 3))], 0),
            (&[yes, head(450, Status(4, 5, 3))], 0),
            (&[yes, head(552, Status(5, 2, 2))], 0),
        ] {
            assert_eq!(shown(amy, heads), limit, "{heads:?}");
            assert_eq!(shown(None, heads), 0, "a bounce has one recipient");
        }
    }
}
