//! Whether a backend has fallen silent: something is waited for, and for seconds no message has come to its end there.
//!
//! A backend that hangs is found out by its time limits, which are long: a minute for a reply, ten for the reply to the end
//! of data. Until then it must not draw mail. So a silent backend gets no message while others of its pool are not silent,
//! except one at a time: the trial. Only the end of a message ends the silence, since a backend may answer MAIL and RCPT
//! and hang later. A message over which a backend hangs alone (a stranger may send one) costs nothing: the next message is
//! the trial, and its end lets all others in again ([decision 31](../../docs/decisions/0031-silent-backends.md)).
//!
//! Arithmetic over atomics; time is passed in. A wait costs two atomic additions, a message one store.

use crate::smtp::Tick;
use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

/// A backend is silent after this time.
pub const SILENT_AFTER: Duration = Duration::from_secs(2);

/// What one backend is waited for, by all workers.
#[derive(Debug, Default)]
pub struct Silence {
    /// Answers that are due, and connections that are being opened.
    waits: AtomicU32,
    /// When the first of them began, or when the latest message came to its end: the later of the two, in ticks.
    since: AtomicU64,
    /// A long wait was given up, and no message has come to its end since.
    given_up: AtomicBool,
    /// The trial is under way.
    on_trial: AtomicBool,
    /// The silence that was told by [`Silence::is_news`] last, by its beginning.
    told: AtomicU64,
}

impl Silence {
    /// Something is waited for, until the value is dropped.
    pub fn wait(&self, now: Tick) -> Waiting<'_> {
        if self.waits.load(Relaxed) == 0 && !self.given_up.load(Relaxed) {
            self.since.fetch_max(now.0, Relaxed);
        }
        self.waits.fetch_add(1, Relaxed);
        Waiting {
            of: self,
            since: now,
            given_up: false,
        }
    }

    /// A message has come to its end: it was taken or refused.
    pub fn ends(&self, now: Tick) {
        self.since.fetch_max(now.0, Relaxed);
        if self.given_up.load(Relaxed) {
            self.given_up.store(false, Relaxed);
        }
    }

    /// Whether it is silent.
    #[must_use]
    pub fn is_silent(&self, now: Tick) -> bool {
        let is_due = self.waits.load(Relaxed) > 0 || self.given_up.load(Relaxed);
        is_due && now.since(Tick(self.since.load(Relaxed))) >= SILENT_AFTER
    }

    /// Whether it is silent, and its trial is under way: nothing else is for it now.
    #[must_use]
    pub fn is_closed(&self, now: Tick) -> bool {
        self.is_silent(now) && self.on_trial.load(SeqCst)
    }

    /// The trial; `None` where it is under way.
    pub fn try_it(self: &Arc<Silence>) -> Option<Trial> {
        let first = !self.on_trial.swap(true, SeqCst);
        first.then(|| Trial(Arc::clone(self)))
    }

    /// Whether it is silent, for the first caller that asks about this silence.
    pub fn is_news(&self, now: Tick) -> bool {
        let (since, told) = (self.since.load(Relaxed), self.told.load(Relaxed));
        let is_new = since != told && self.is_silent(now);
        let told = is_new.then(|| self.told.compare_exchange(told, since, SeqCst, Relaxed));
        told.is_some_and(|told| told.is_ok())
    }
}

/// An answer that is waited for.
#[derive(Debug)]
pub struct Waiting<'a> {
    of: &'a Silence,
    since: Tick,
    given_up: bool,
}

impl Waiting<'_> {
    /// Nothing was heard in time.
    pub fn give_up(&mut self, now: Tick) {
        self.given_up = now.since(self.since) >= SILENT_AFTER;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.given_up {
            self.of.given_up.store(true, Relaxed);
        }
        self.of.waits.fetch_sub(1, Relaxed);
    }
}

/// The one message that a silent backend has, until it is dropped.
#[derive(Debug)]
pub struct Trial(Arc<Silence>);

impl Drop for Trial {
    fn drop(&mut self) {
        self.0.on_trial.store(false, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(secs: u64) -> Tick {
        Tick(secs * 1_000_000)
    }

    #[test]
    fn one_that_answers_everything_but_the_end_of_messages_is_silent() {
        let silence = Silence::default();
        let hung = silence.wait(at(100));
        assert!(!silence.is_silent(at(101)));
        // MAIL and RCPT of others are answered meanwhile.
        drop(silence.wait(at(101)));
        assert!(silence.is_silent(at(102)));
        silence.ends(at(103));
        assert!(!silence.is_silent(at(104)), "a message has come to its end");
        assert!(silence.is_silent(at(105)), "and none since");
        drop(hung);
        assert!(!silence.is_silent(at(1000)), "nothing is waited for");
        let _waiting = silence.wait(at(1000));
        assert!(!silence.is_silent(at(1001)), "a pause is no silence");
    }

    #[test]
    fn a_wait_that_was_given_up_leaves_it_silent_until_a_message_ends() {
        let silence = Silence::default();
        silence.wait(at(100)).give_up(at(101));
        assert!(!silence.is_silent(at(200)), "that was short");
        silence.wait(at(200)).give_up(at(260));
        assert!(silence.is_silent(at(500)));
        drop(silence.wait(at(501)));
        assert!(silence.is_silent(at(501)), "MAIL alone is no end");
        silence.ends(at(502));
        assert!(!silence.is_silent(at(600)));
    }

    #[test]
    fn a_silent_one_has_one_trial_at_a_time() {
        let silence = Arc::new(Silence::default());
        let _hung = silence.wait(at(100));
        assert!(!silence.is_closed(at(110)));
        let trial = silence.try_it().unwrap();
        assert!(silence.is_closed(at(110)));
        assert!(silence.try_it().is_none());
        drop(trial);
        assert!(!silence.is_closed(at(110)));
        assert!(silence.try_it().is_some());
    }

    #[test]
    fn a_silence_is_news_once() {
        let silence = Silence::default();
        assert!(!silence.is_news(at(100)));
        let _hung = silence.wait(at(100));
        assert!(!silence.is_news(at(101)));
        assert!(silence.is_news(at(102)));
        assert!(!silence.is_news(at(103)));
        silence.ends(at(104));
        assert!(silence.is_news(at(110)), "another one");
        assert!(!silence.is_news(at(111)));
    }
}
