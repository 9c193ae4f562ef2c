//! What comes of a backend's messages, and whether that makes it an outlier of its pool.
//!
//! A backend that answers EHLO and then puts off each message, or closes at MAIL, looks well to a probe. Where it fails
//! faster than the others work, it also has the fewest messages in flight, and least-loaded would send it most of the
//! mail. So the latest messages are counted, and a backend that fails most of them while the rest of its pool takes
//! theirs is left out for a time. The comparison is the point: what all backends put off alike (a message that no
//! server likes, a directory that all of them ask) says nothing about one of them. Envoy's outlier detection is the
//! model; a mail server sees too few messages for its standard deviations, so a share is compared with a share.
//!
//! Arithmetic over atomics; time is passed in.

use super::balance::mix;
use crate::smtp::{Status, Tick, reply_parse::ReplyHead};
use std::{
    sync::atomic::{
        AtomicU32, AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
    time::Duration,
};

/// Messages are counted by windows of this length; the present one and the one before count.
const WINDOW: Duration = Duration::from_secs(10);
/// Messages that a backend must have been tried with before it can be an outlier, and the rest of its pool too.
const TRIED_MIN: u32 = 5;
/// Standard errors between the shares of an outlier and of the others.
const SIGMAS: f64 = 3.0;
/// A backend is left out for the pool's `backoff_max`, and for this many times as long at most when it happens again.
const TIMES_MAX: u32 = 5;
/// Networks of clients whose failures count once a window; where more fail than these, all failures count.
const NETWORKS_MAX: usize = 16;
/// Counts of one window stop here: they are packed in 20 bits each.
const COUNT_MAX: u64 = (1 << 20) - 1;

/// Messages, and those that came to nothing through the backend's fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that were handed to it.
    pub tried: u32,
    /// Of these, the failed ones.
    pub failed: u32,
}

impl Counts {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Counts) -> Counts {
        Counts {
            tried: self.tried.saturating_add(other.tried),
            failed: self.failed.saturating_add(other.failed),
        }
    }

    /// Whether one backend stands out from the others of its pool: half of its messages fail or more, and so do of
    /// theirs at most half as large a share, and chance is no likely cause. Without enough messages on either side there
    /// is nothing to compare.
    #[must_use]
    pub fn stands_out_from(self, others: Counts) -> bool {
        let (mine, theirs) = (u64::from(self.failed), u64::from(others.failed));
        self.tried >= TRIED_MIN
            && others.tried >= TRIED_MIN
            && mine * 2 >= u64::from(self.tried)
            && theirs * u64::from(self.tried) * 2 <= mine * u64::from(others.tried)
            && self.is_significant(others)
    }

    /// Whether the two shares of failures differ by three standard errors (a test of two proportions). A sender of
    /// messages that every backend fails on would otherwise make an outlier of the one that happens to get most of them.
    fn is_significant(self, others: Counts) -> bool {
        let [a, n, b, m] = [self.failed, self.tried, others.failed, others.tried].map(f64::from);
        let (failed, tried) = (a + b, n + m);
        // z² with the common share under the root, without its divisions.
        let apart = (a * m - b * n).powi(2) * tried;
        apart >= SIGMAS.powi(2) * n * m * failed * (tried - failed)
    }
}

/// The latest messages of one backend.
#[derive(Debug, Default)]
pub struct Outcomes {
    /// The window's number, tried, failed: 24, 20 and 20 bits.
    present: AtomicU64,
    before: AtomicU64,
    /// Networks of clients that have met a failure: the window's number and a hash, 24 and 40 bits.
    networks: [AtomicU64; NETWORKS_MAX],
    /// Until when it is left out, in ticks.
    held_until: AtomicU64,
    /// How often that happened without a long good time between.
    times: AtomicU32,
}

impl Outcomes {
    /// Takes note of one message.
    pub fn note(&self, failed: bool, now: Tick) {
        let window = window_of(now);
        let one = (1 << 20) | u64::from(failed);
        let mut seen = self.present.load(Relaxed);
        loop {
            // A window that another worker has begun a moment too early for this one is the present one.
            let is_present = number_of(seen).wrapping_sub(window) & 0xff_ffff <= 1;
            let next = match is_present {
                true if tried_of(seen) == COUNT_MAX => return,
                true => seen + one,
                false => (window << 40) | one,
            };
            match self
                .present
                .compare_exchange_weak(seen, next, Relaxed, Relaxed)
            {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        if number_of(seen).wrapping_sub(window) & 0xff_ffff > 1 {
            self.before.store(seen, Relaxed);
        }
    }

    /// Whether this is the first failure in its window over a message of this network ([`crate::client_key`]).
    ///
    /// Asked where a client can choose which backend gets its messages, or where the backend was told of the client: what
    /// one client sends, and where it comes from, must leave no backend out. With five failures in two windows needed, those
    /// are from three networks at least.
    pub fn is_first_of(&self, network: u128, now: Tick) -> bool {
        let window = window_of(now);
        let hash = mix(mix(network as u64) ^ (network >> 64) as u64) >> 24;
        let entry = (window << 40) | hash;
        for place in &self.networks {
            let seen = place.load(Relaxed);
            if seen == entry {
                return false;
            }
            if number_of(seen) != window {
                match place.compare_exchange(seen, entry, Relaxed, Relaxed) {
                    Ok(_) => return true,
                    Err(other) if other == entry => return false,
                    Err(_) => {}
                }
            }
        }
        true
    }

    /// Those of the present window and of the one before.
    #[must_use]
    pub fn latest(&self, now: Tick) -> Counts {
        let window = window_of(now);
        let recent = |packed: u64| {
            let counts = Counts {
                tried: tried_of(packed) as u32,
                failed: (packed & COUNT_MAX) as u32,
            };
            let age = window.wrapping_sub(number_of(packed)) & 0xff_ffff;
            if age <= 1 { counts } else { Counts::default() }
        };
        recent(self.present.load(Relaxed)).plus(recent(self.before.load(Relaxed)))
    }

    /// Holds it out of its pool from now on, longer each time. What was counted so far is forgotten: on its return it
    /// starts anew. False where it is held already.
    pub fn hold(&self, now: Tick, once: Duration) -> bool {
        let before = self.held_until.load(SeqCst);
        if now.0 < before {
            return false;
        }
        let longest = once.saturating_mul(TIMES_MAX);
        let good_for = now.since(Tick(before));
        let times = match good_for > longest {
            true => 1,
            false => (self.times.load(SeqCst) + 1).min(TIMES_MAX),
        };
        let until = now.after(once.saturating_mul(times)).0;
        let held = self
            .held_until
            .compare_exchange(before, until, SeqCst, SeqCst);
        if held.is_err() {
            return false;
        }
        self.times.store(times, SeqCst);
        self.present.store(0, Relaxed);
        self.before.store(0, Relaxed);
        true
    }

    /// Until when it is held out of its pool; `None` where it is not.
    #[must_use]
    pub fn held(&self, now: Tick) -> Option<Tick> {
        let until = Tick(self.held_until.load(SeqCst));
        (now < until).then_some(until)
    }
}

/// Whether a 4xx to MAIL, to DATA or to the end of data is the server's own trouble rather than a word about this
/// mailbox, this sender or this message. Where each recipient has a backend of its own (`by_recipient`), a policy's
/// 4.7.x doesn't count either: a stranger would choose which backend hears it.
#[must_use]
pub fn is_trouble(head: ReplyHead, by_recipient: bool) -> bool {
    match (head.status, head.code) {
        _ if !head.is_transient() => false,
        (Status(4, 1 | 2 | 6, _) | Status(4, 5, 3), _) => false,
        (Status(4, 7, _), _) => !by_recipient,
        // A mailbox is busy, for all that is said (RFC 5321 §4.2.2).
        (Status::NONE, 450) => false,
        _ => true,
    }
}

fn window_of(now: Tick) -> u64 {
    // Never 0, which is "nothing was counted yet".
    (now.0 / WINDOW.as_micros() as u64 + 2) & 0xff_ffff
}

fn number_of(packed: u64) -> u64 {
    packed >> 40
}

fn tried_of(packed: u64) -> u64 {
    packed >> 20 & COUNT_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Tick {
        Tick(secs * 1_000_000)
    }

    fn counts(tried: u32, failed: u32) -> Counts {
        Counts { tried, failed }
    }

    #[test]
    fn only_a_share_far_above_the_others_stands_out() {
        for (mine, others, outlier) in [
            (counts(5, 5), counts(10, 0), true),
            (counts(50, 25), counts(100, 20), true),
            (counts(5, 5), counts(5, 0), true),
            // Chance, where all fail on some of what a stranger sends.
            (counts(5, 3), counts(10, 2), false),
            (counts(16, 8), counts(32, 8), false),
            // Too few to say.
            (counts(4, 4), counts(100, 0), false),
            (counts(50, 50), counts(4, 0), false),
            // Less than half of them.
            (counts(50, 20), counts(100, 0), false),
            // What all of them put off says nothing about one.
            (counts(50, 50), counts(100, 100), false),
            (counts(50, 50), counts(100, 60), false),
        ] {
            assert_eq!(mine.stands_out_from(others), outlier, "{mine:?} {others:?}");
        }
    }

    #[test]
    fn the_latest_twenty_seconds_count() {
        let outcomes = Outcomes::default();
        assert_eq!(outcomes.latest(at(0)), counts(0, 0));
        outcomes.note(true, at(0));
        outcomes.note(false, at(9));
        assert_eq!(outcomes.latest(at(9)), counts(2, 1));
        outcomes.note(true, at(12));
        assert_eq!(outcomes.latest(at(19)), counts(3, 2));
        assert_eq!(outcomes.latest(at(21)), counts(1, 1));
        assert_eq!(outcomes.latest(at(45)), counts(0, 0));
        outcomes.note(true, at(45));
        assert_eq!(
            outcomes.latest(at(45)),
            counts(1, 1),
            "old ones don't come back"
        );
    }

    #[test]
    fn a_window_that_was_begun_too_early_by_another_worker_goes_on() {
        let outcomes = Outcomes::default();
        outcomes.note(true, at(9));
        outcomes.note(true, at(10));
        outcomes.note(false, at(9));
        assert_eq!(outcomes.latest(at(10)), counts(3, 2));
    }

    #[test]
    fn a_network_fails_once_a_window() {
        let outcomes = Outcomes::default();
        assert!(outcomes.is_first_of(7, at(5)));
        assert!(!outcomes.is_first_of(7, at(9)));
        assert!(outcomes.is_first_of(7 << 64, at(9)));
        assert!(!outcomes.is_first_of(7 << 64, at(9)));
        assert!(outcomes.is_first_of(7, at(10)), "another window");
        assert!(!outcomes.is_first_of(7, at(11)));
        // With that many no single client is meant.
        let many = (100..200).filter(|n| outcomes.is_first_of(*n, at(20)));
        assert_eq!(many.count(), 100);
        assert!(outcomes.is_first_of(7, at(21)));
    }

    #[test]
    fn one_that_is_held_again_is_held_longer() {
        let (outcomes, once) = (Outcomes::default(), Duration::from_secs(60));
        for _ in 0..5 {
            outcomes.note(true, at(100));
        }
        assert!(outcomes.hold(at(100), once));
        assert!(!outcomes.hold(at(101), once), "it is held");
        assert_eq!(outcomes.latest(at(101)), counts(0, 0));
        assert_eq!(outcomes.held(at(159)), Some(at(160)));
        assert_eq!(outcomes.held(at(160)), None);
        assert!(outcomes.hold(at(170), once));
        assert_eq!(outcomes.held(at(171)), Some(at(290)));
        // A long good time is forgiven.
        assert!(outcomes.hold(at(5000), once));
        assert_eq!(outcomes.held(at(5001)), Some(at(5060)));
    }

    #[test]
    fn a_word_about_a_mailbox_or_a_message_is_no_trouble() {
        for (code, status, here, by_recipient) in [
            (451, Status(4, 3, 0), true, true),
            (452, Status(4, 3, 1), true, true),
            (421, Status(4, 3, 2), true, true),
            (451, Status::NONE, true, true),
            (451, Status(4, 7, 1), true, false),
            (450, Status(4, 2, 0), false, false),
            (450, Status::NONE, false, false),
            (452, Status(4, 5, 3), false, false),
            (550, Status(5, 3, 0), false, false),
            (250, Status(2, 0, 0), false, false),
        ] {
            let head = ReplyHead { code, status };
            let both = (is_trouble(head, false), is_trouble(head, true));
            assert_eq!(both, (here, by_recipient), "{code} {status}");
        }
    }
}
