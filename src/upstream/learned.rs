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
mod tests {
    use super::*;

    fn source(client: u128, sender: &str) -> Option<MessageSource> {
        // As the keys of 10.0.CLIENT.1.
        let key = 0xffff_0a00_0001 | client << 8;
        MessageSource::new(Some(key), sender.as_bytes())
    }

    fn learn(limit: &LearnedLimit, recipients: u32, by: Option<MessageSource>, now: Tick) {
        let by = by.expect("not the null sender");
        let is_named = true;
        limit.learn(
            Limit {
                recipients,
                by,
                is_named,
            },
            now,
        );
    }

    #[test]
    fn what_one_message_shows_holds_for_its_like_alone() {
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
    }

    #[test]
    fn a_sender_that_tries_again_after_a_quarter_of_an_hour_meets_the_limit() {
        const QUARTER: Duration = Duration::from_secs(15 * 60);
        let (limit, now) = (LearnedLimit::default(), Tick(5));
        let (amy, bob) = (source(1, "amy@a.example"), source(2, "bob@a.example"));
        learn(&limit, 107, amy, now);
        assert_eq!(limit.get(amy, now.after(QUARTER)), 107);
        // Networks agree only on what both were shown within minutes.
        learn(&limit, 7, bob, now.after(QUARTER));
        assert_eq!(
            limit.get(source(3, "joe@a.example"), now.after(USUAL_COUNTS)),
            0
        );
        // A usual one is kept for a day after its last use, and for days at most.
        let (day, used) = (KEPT, now.after(KEPT / 2));
        assert_eq!(limit.get(amy, used), 107);
        assert_eq!(limit.get(amy, used.after(day / 2)), 107);
        assert_eq!(limit.get(bob, now.after(QUARTER).after(day)), 0);
        for n in 2..10 {
            let _ = limit.get(amy, now.after(day / 2 * n));
        }
        assert_eq!(limit.get(amy, now.after(KEPT_MOST)), 0);
    }

    /// It may have been a rate: too many recipients in this hour.
    #[test]
    fn a_low_one_lets_one_more_through_each_hour_and_is_not_renewed_by_use() {
        let (limit, now) = (LearnedLimit::default(), Tick(5));
        let amy = source(1, "amy@a.example");
        let hours = |n: u32| now.after(ONE_MORE * n);
        learn(&limit, 1, amy, now);
        assert_eq!(limit.get(amy, hours(0)), 1);
        assert_eq!(limit.get(amy, hours(1)), 2);
        // The server is well: that ends it.
        limit.has_taken(|| 2, amy, hours(1));
        assert_eq!(limit.get(amy, hours(1)), 0);
        // Where it shows it again, the next one comes later.
        learn(&limit, 1, amy, now);
        learn(&limit, 1, amy, hours(1));
        assert_eq!((limit.get(amy, hours(2)), limit.get(amy, hours(3))), (1, 2));
        for n in 0..25 {
            let _ = limit.get(amy, hours(n));
        }
        assert_eq!(limit.get(amy, hours(25)), 0, "a day is over");
    }

    #[test]
    fn where_it_is_full_the_network_that_has_most_loses() {
        let (limit, now) = (LearnedLimit::default(), Tick(5));
        let joe = source(1, "joe@a.example");
        learn(&limit, 9, joe, now);
        for network in 2..40 {
            for n in 0..NETWORK_MAX {
                learn(
                    &limit,
                    9,
                    source(network, &format!("{n}@a.example")),
                    now.after(KEPT / 9),
                );
            }
        }
        assert_eq!(limit.get(joe, now), 9);
        assert!(limit.lock().len() <= SHOWN_MAX);
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

    /// Two networks whose recipients' mailboxes are full, or strangers that name such recipients.
    #[test]
    fn what_a_bare_452_shows_counts_for_its_own_source_alone() {
        let (limit, now) = (LearnedLimit::default(), Tick(5));
        for (network, recipients) in [(1, 1), (2, 1), (3, 150), (4, 150)] {
            let by = source(network, "x@a.example");
            let bare = Limit {
                recipients,
                by: by.expect("not the null sender"),
                is_named: false,
            };
            limit.learn(bare, now);
            assert_eq!(limit.get(by, now), recipients);
        }
        for other in [None, source(9, "amy@a.example")] {
            assert_eq!(limit.get(other, now), 0);
        }
    }

    #[test]
    fn what_networks_agree_on_has_a_way_to_end() {
        let (limit, now) = (LearnedLimit::default(), Tick(5));
        let (joe, mal) = (source(7, "joe@a.example"), source(1, "x@a.example"));
        let show = |now| {
            learn(&limit, 1, mal, now);
            learn(&limit, 1, source(2, "y@a.example"), now);
        };
        show(now);
        assert_eq!(limit.get(joe, now), 1);
        assert!(!limit.tries_one_more(joe, 1, now), "it is fresh");
        // However often they show it.
        let due = now.after(TRIED_AGAIN);
        show(due);
        assert!(!limit.tries_one_more(mal, 1, due), "it is its own");
        assert!(!limit.tries_one_more(joe, 2, due), "one more, and not two");
        assert!(limit.tries_one_more(joe, 1, due));
        assert!(!limit.tries_one_more(joe, 1, due), "one message");
        limit.has_taken(|| 2, joe, due);
        assert_eq!(limit.get(joe, due), 0);
    }

    #[test]
    fn where_backends_judge_by_the_client_a_limit_is_its_sources_own() {
        let (limit, now) = (LearnedLimit::default(), Tick(5));
        for network in 1..4 {
            learn(&limit, 100, source(network, "x@a.example"), now);
        }
        let own = |network| limit.own(source(network, "x@a.example"), now);
        assert_eq!((own(1), own(9), limit.own(None, now)), (100, 0, 0));
    }

    #[test]
    fn what_every_server_must_take_is_believed_at_once() {
        let (limit, now) = (LearnedLimit::default(), Tick(5));
        learn(&limit, 100, source(1, "amy@a.example"), now);
        assert_eq!(limit.get(None, now.after(LOW_COUNTS)), 100);
        assert_eq!(limit.get(None, now.after(USUAL_COUNTS)), 0);
        assert_eq!(
            limit.get(source(1, "amy@a.example"), now.after(USUAL_COUNTS)),
            100
        );
    }

    #[test]
    fn a_larger_message_that_is_taken_ends_it() {
        let (limit, now) = (LearnedLimit::default(), Tick(5));
        let amy = |client| source(client, "amy@a.example");
        limit.has_taken(|| panic!("nothing is known"), amy(1), now);
        for n in 1..4 {
            learn(&limit, 9, amy(n), now);
        }
        limit.has_taken(|| 9, amy(1), now);
        assert_eq!(limit.get(None, now), 9);
        limit.has_taken(|| 10, amy(1), now);
        assert_eq!((limit.get(None, now), limit.get(amy(1), now)), (0, 0));
        // The others may have a limit of their own.
        assert_eq!(limit.get(amy(2), now), 9);
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
            tally.shown().map_or(0, |limit| limit.recipients)
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

    /// Two full mailboxes are refused in the same words.
    #[test]
    fn what_a_bare_452_shows_is_over_soon_however_much_it_is_used() {
        let (limit, start) = (LearnedLimit::default(), Tick(5));
        let amy = source(1, "amy@a.example");
        let mut tally = Tally::new(amy);
        for (code, taken) in [(250, 1), (452, 1), (452, 1)] {
            let status = Status::NONE;
            tally.hear(ReplyHead { code, status }, || taken);
        }
        limit.learn(tally.shown().expect("a limit"), start);
        let half = start.after(LOW_COUNTS / 2);
        assert_eq!((limit.get(amy, start), limit.get(amy, half)), (1, 1));
        assert_eq!(limit.get(amy, start.after(LOW_COUNTS)), 0);
    }
}
