//! Whether a backend has fallen silent: something is waited for, and for long no message has come to its end there.
//!
//! A backend that hangs is found out by its time limits, which are long: a minute for a reply, ten for the reply to the end
//! of data. Until then it must not draw mail. So a silent backend gets a message now and then, the trial, and no other one
//! while another backend of its pool is not silent. Only the end of a message ends the silence, since a backend may answer
//! MAIL and RCPT and hang later. A message over which a backend hangs alone (a stranger may send one) costs little: the next
//! message is the trial, and its end lets all others in again. So that no hang and no slow client keeps a backend out that is
//! well, another message may try after two seconds, after four more, and so on, in the end one a minute.
//!
//! A backend that is well may be slow (a filter, a delayed acknowledgement), so none is silent before four times what its
//! messages usually wait for it ([decision 31](../../docs/decisions/0031-silent-backends.md)).
//!
//! Arithmetic over atomics; time is passed in. A wait costs two atomic additions, a message two stores.

use crate::smtp::{Tick, backend_session::Event};
use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU8, AtomicU32, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

/// A backend is silent after this time at the earliest, where any other of its pool does as well.
pub const SILENT_AFTER: Duration = Duration::from_secs(2);
/// The same where the order of the backends means something: the next one is a stand-by, or has other mailboxes.
pub const SILENT_AFTER_IN_ORDER: Duration = Duration::from_secs(10);
/// It is not silent before so many times what its messages usually wait for it.
pub const USUAL_TIMES: u32 = 4;
/// A backend is silent after this time, however slow it is.
const SILENT_AFTER_MAX: Duration = Duration::from_secs(120);
/// What is usual falls by this part of the difference with each message that waits less.
const DECAY: u64 = 8;
/// A trial keeps others away no longer than this.
const TRIAL_MAX: Duration = Duration::from_secs(60);
/// A silence has the backend asked no more often than this.
const ASK_PAUSE: Duration = Duration::from_secs(60);

/// A wait for what a backend says to a body, in [`Silence::waits`].
const BODY: u64 = 1 << 32;

/// What one backend is waited for, by all workers.
#[derive(Debug, Default)]
pub struct Silence {
    /// Answers that are due, and connections that are being opened; in the upper half those that are due to a body.
    waits: AtomicU64,
    /// When the first of them began, or when the latest message came to its end: the later of the two, in ticks.
    since: AtomicU64,
    /// A long wait was given up, and no message has come to its end since: 1, or 2 for an answer to a body.
    given_up: AtomicU8,
    /// What a message usually waits for it, all together, in microseconds: a maximum that decays.
    usual: AtomicU64,
    /// No other message may try it before this time, in ticks; 0: the next one may.
    tried_until: AtomicU64,
    /// Trials since a message came to its end.
    trials: AtomicU32,
    /// The silence that was told by [`Silence::is_news`] last, by its beginning, and when it was told.
    told: AtomicU64,
    told_at: AtomicU64,
    /// Whether it was silent when [`Silence::has_turned`] was asked last.
    was_silent: AtomicBool,
}

impl Silence {
    /// Something is waited for, until the value is dropped; `is_body`: what is said to a body.
    pub fn wait(&self, now: Tick, is_body: bool) -> Waiting<'_> {
        if self.waits.load(Relaxed) == 0 && self.given_up.load(Relaxed) == 0 {
            self.since.fetch_max(now.0, Relaxed);
        }
        let waiting = Waiting {
            of: self,
            since: now,
            is_body,
            given_up: false,
        };
        self.waits.fetch_add(waiting.counts(), Relaxed);
        waiting
    }

    /// Takes note of what became of a message. `waited`: what the message has waited for the backend, all together.
    pub fn hear(&self, event: Event, now: Tick, waited: Duration) {
        match event {
            Event::Final(_) | Event::FinalFor(..) => self.ends(now, waited),
            Event::Refused => self.refuses(now),
            _ => {}
        }
    }

    /// A message has come to its end: it was taken or refused. Or a question, where it is questions that are waited for.
    pub fn ends(&self, now: Tick, waited: Duration) {
        let longest = SILENT_AFTER_MAX / USUAL_TIMES;
        let (waited, before) = (
            waited.min(longest).as_micros() as u64,
            self.usual.load(Relaxed),
        );
        let usual = before - before.saturating_sub(waited).div_ceil(DECAY);
        self.usual.store(usual.max(waited), Relaxed);
        self.over(now);
    }

    /// A message was refused before its body. Where a body has gone out since the silence began, and nothing was said to it,
    /// that shows nothing: the backend may hang at the end of data.
    fn refuses(&self, now: Tick) {
        if self.waits.load(Relaxed) < BODY && self.given_up.load(Relaxed) < 2 {
            self.over(now);
        }
    }

    fn over(&self, now: Tick) {
        self.since.fetch_max(now.0, Relaxed);
        if self.given_up.load(Relaxed) != 0 {
            self.given_up.store(0, Relaxed);
        }
        if self.trials.load(Relaxed) != 0 {
            self.trials.store(0, Relaxed);
        }
    }

    /// What a message usually waits for it.
    pub fn usual(&self) -> Duration {
        Duration::from_micros(self.usual.load(Relaxed))
    }

    /// When the first wait began that lasts, or the latest message ended.
    pub fn since(&self) -> Tick {
        Tick(self.since.load(Relaxed))
    }

    /// Whether it is silent: after `least`, or four times what is usual.
    #[must_use]
    pub fn is_silent(&self, now: Tick, least: Duration) -> bool {
        let is_due = self.waits.load(Relaxed) > 0 || self.given_up.load(Relaxed) != 0;
        is_due && now.since(self.since()) >= least.max(self.usual() * USUAL_TIMES)
    }

    /// Whether it is silent, and its trial is under way: nothing else is for it now.
    #[must_use]
    pub fn is_closed(&self, now: Tick, least: Duration) -> bool {
        self.is_silent(now, least) && now.0 < self.tried_until.load(SeqCst)
    }

    /// The trial; `None` where it is under way. Each one that ends no silence keeps others away for longer.
    pub fn try_it(self: &Arc<Silence>, now: Tick) -> Option<Trial> {
        let before = self.tried_until.load(SeqCst);
        if now.0 < before {
            return None;
        }
        let trials = self.trials.load(Relaxed);
        let time = SILENT_AFTER * (1 << trials.min(5));
        let until = now.after(time.min(TRIAL_MAX)).0;
        let claim = (self.tried_until).compare_exchange(before, until, SeqCst, SeqCst);
        claim.ok()?;
        self.trials.store(trials.saturating_add(1), Relaxed);
        Some(Trial {
            of: Arc::clone(self),
            begun: now,
            until,
            hung: false,
        })
    }

    /// Whether it is silent, for the first caller that asks about this silence, and once a minute at most.
    pub fn is_news(&self, now: Tick) -> bool {
        let (since, told) = (self.since.load(Relaxed), self.told.load(Relaxed));
        let at = self.told_at.load(Relaxed);
        let is_new = since != told
            && (at == 0 || now.since(Tick(at)) >= ASK_PAUSE)
            && self.is_silent(now, SILENT_AFTER);
        let told = is_new.then(|| self.told.compare_exchange(told, since, SeqCst, Relaxed));
        let is_first = told.is_some_and(|told| told.is_ok());
        if is_first {
            self.told_at.store(now.0, Relaxed);
        }
        is_first
    }

    /// Whether a silence has begun or ended since this was asked last, by whatever worker.
    pub fn has_turned(&self, now: Tick, least: Duration) -> bool {
        let is_silent = self.is_silent(now, least);
        self.was_silent.load(Relaxed) != is_silent
            && self.was_silent.swap(is_silent, SeqCst) != is_silent
    }

    /// What is said to a body is waited for: it has been silent for so much longer from now on. False where it is not.
    #[cfg(test)]
    pub fn age(&self, by: Duration) -> bool {
        let is_due = self.waits.load(Relaxed) >= BODY;
        let by = u64::from(is_due) * by.as_micros() as u64;
        self.since.fetch_sub(by, Relaxed);
        is_due
    }

    /// Trials keep others away for as long as they ever do.
    #[cfg(test)]
    pub fn prolong_trials(&self) {
        self.trials.store(6, Relaxed);
    }
}

/// An answer that is waited for.
#[derive(Debug)]
pub struct Waiting<'a> {
    of: &'a Silence,
    since: Tick,
    is_body: bool,
    given_up: bool,
}

impl Waiting<'_> {
    /// Nothing was heard in time.
    pub fn give_up(&mut self, now: Tick) {
        self.given_up = now.since(self.since) >= SILENT_AFTER;
    }

    fn counts(&self) -> u64 {
        match self.is_body {
            true => BODY + 1,
            false => 1,
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.given_up {
            let kind = 1 + u8::from(self.is_body);
            self.of.given_up.fetch_max(kind, Relaxed);
        }
        self.of.waits.fetch_sub(self.counts(), Relaxed);
    }
}

/// The message that a silent backend has to show whether it works. Others are kept away until it is dropped, or its time is over.
#[derive(Debug)]
pub struct Trial {
    of: Arc<Silence>,
    begun: Tick,
    until: u64,
    hung: bool,
}

impl Trial {
    /// It was in vain. Others are kept away until its time is over.
    pub fn hangs(&mut self) {
        self.hung = true;
    }

    /// The message waits for its client and not for the backend: others are kept away no longer than by a first trial.
    pub fn shorten(&mut self) {
        let until = self.begun.after(SILENT_AFTER).0.min(self.until);
        let _ = self.set(until);
        self.until = until;
    }

    /// Where no other one has begun since; whether that is so.
    fn set(&self, until: u64) -> bool {
        let tried = &self.of.tried_until;
        tried
            .compare_exchange(self.until, until, SeqCst, SeqCst)
            .is_ok()
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        // No other one has begun since, so it has not hung for its time: perhaps it was a question, or found no connection. It
        // lengthens no other.
        if !self.hung && self.set(0) {
            let fewer = |trials: u32| trials.checked_sub(1);
            let _ = self.of.trials.fetch_update(Relaxed, Relaxed, fewer);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::smtp::{Status, reply_parse::ReplyHead};

    const LEAST: Duration = SILENT_AFTER;
    const QUICK: Duration = Duration::ZERO;

    fn at(secs: u64) -> Tick {
        Tick(secs * 1_000_000)
    }

    #[test]
    fn one_that_answers_everything_but_the_end_of_messages_is_silent() {
        let silence = Silence::default();
        let hung = silence.wait(at(100), true);
        assert!(!silence.is_silent(at(101), LEAST));
        // MAIL and RCPT of others are answered meanwhile, and some of their recipients refused.
        drop(silence.wait(at(101), false));
        silence.hear(Event::Refused, at(101), QUICK);
        assert!(silence.is_silent(at(102), LEAST));
        silence.ends(at(103), QUICK);
        assert!(
            !silence.is_silent(at(104), LEAST),
            "a message has come to its end"
        );
        assert!(silence.is_silent(at(105), LEAST), "and none since");
        drop(hung);
        assert!(!silence.is_silent(at(1000), LEAST), "nothing is waited for");
        let _waiting = silence.wait(at(1000), true);
        assert!(!silence.is_silent(at(1001), LEAST), "a pause is no silence");
    }

    #[test]
    fn a_refusal_ends_a_silence_only_where_no_body_is_out() {
        let silence = Silence::default();
        let mut hung = silence.wait(at(100), false);
        silence.hear(Event::Refused, at(102), QUICK);
        assert!(!silence.is_silent(at(103), LEAST), "it answers all it has");
        hung.give_up(at(160));
        drop(hung);
        silence.hear(Event::Refused, at(161), QUICK);
        assert!(!silence.is_silent(at(170), LEAST));
        let mut hung = silence.wait(at(200), true);
        silence.hear(Event::Refused, at(202), QUICK);
        assert!(silence.is_silent(at(202), LEAST));
        hung.give_up(at(800));
        drop(hung);
        silence.hear(Event::Refused, at(801), QUICK);
        assert!(silence.is_silent(at(801), LEAST));
        let head = ReplyHead {
            code: 450,
            status: Status::NONE,
        };
        silence.hear(Event::Final(head), at(802), QUICK);
        assert!(!silence.is_silent(at(810), LEAST));
    }

    #[test]
    fn a_wait_that_was_given_up_leaves_it_silent_until_a_message_ends() {
        let silence = Silence::default();
        silence.wait(at(100), true).give_up(at(101));
        assert!(!silence.is_silent(at(200), LEAST), "that was short");
        silence.wait(at(200), true).give_up(at(260));
        assert!(silence.is_silent(at(500), LEAST));
        drop(silence.wait(at(501), false));
        assert!(silence.is_silent(at(501), LEAST), "MAIL alone is no end");
        silence.ends(at(502), QUICK);
        assert!(!silence.is_silent(at(600), LEAST));
    }

    #[test]
    fn a_silent_one_has_one_trial_at_a_time() {
        let silence = Arc::new(Silence::default());
        let _hung = silence.wait(at(100), true);
        assert!(!silence.is_closed(at(110), LEAST));
        let trial = silence.try_it(at(110)).unwrap();
        assert!(silence.is_closed(at(110), LEAST));
        assert!(silence.try_it(at(110)).is_none());
        drop(trial);
        assert!(!silence.is_closed(at(110), LEAST));
        assert!(silence.try_it(at(110)).is_some());
    }

    #[test]
    fn a_trial_that_was_given_up_keeps_others_away_for_its_time() {
        let silence = Arc::new(Silence::default());
        silence.wait(at(100), false).give_up(at(110));
        for (begun, last) in [(110, 111), (112, 115)] {
            silence.try_it(at(begun)).unwrap().hangs();
            assert!(silence.is_closed(at(last), LEAST), "the second for longer");
        }
    }

    /// Trials that hang, and how long each keeps others away.
    fn hang(silence: &Arc<Silence>, from: u64, trials: usize) -> (Vec<u64>, Vec<Trial>) {
        let (mut waits, mut hung, mut last) = (Vec::new(), Vec::new(), from);
        let mut now = from;
        while hung.len() < trials {
            if let Some(trial) = silence.try_it(at(now)) {
                hung.push(trial);
                waits.push(now - last);
                last = now;
            }
            now += 1;
        }
        (waits, hung)
    }

    #[test]
    fn a_trial_that_hangs_keeps_others_away_for_a_minute_at_most() {
        let silence = Arc::new(Silence::default());
        let _hung = silence.wait(at(100), true);
        let (waits, mut hung) = hang(&silence, 110, 9);
        assert_eq!(waits, [0, 2, 4, 8, 16, 32, 60, 60, 60]);
        // One that was overtaken takes nothing from the one that is under way.
        drop(hung.remove(0));
        assert!(silence.is_closed(at(353), LEAST));
        silence.ends(at(400), QUICK);
        let (waits, _hung) = hang(&silence, 500, 2);
        assert_eq!(waits, [0, 2], "a message has come to its end");
    }

    #[test]
    fn a_trial_that_waits_for_its_client_keeps_others_away_for_two_seconds() {
        let silence = Arc::new(Silence::default());
        let _hung = silence.wait(at(100), true);
        let (_, _hung) = hang(&silence, 110, 8);
        let mut trial = silence.try_it(at(1000)).unwrap();
        assert!(silence.try_it(at(1050)).is_none());
        trial.shorten();
        assert!(silence.try_it(at(1001)).is_none());
        trial.shorten();
        let _next = silence.try_it(at(1002)).unwrap();
        trial.shorten();
        drop(trial);
        assert!(silence.is_closed(at(1003), LEAST));
    }

    /// How many of ten messages, one in `every` seconds, go elsewhere where each takes `took` seconds.
    fn lost(silence: &Arc<Silence>, from: u64, every: u64, took: u64, least: Duration) -> u32 {
        let mut lost = 0;
        let mut flying: Vec<(u64, Waiting<'_>, Option<Trial>)> = Vec::new();
        for second in from..from + 10 * every {
            flying.retain(|(ends, ..)| {
                let is_over = *ends <= second;
                if is_over {
                    silence.ends(at(second), Duration::from_secs(took));
                }
                !is_over
            });
            if !(second - from).is_multiple_of(every) {
                continue;
            }
            if silence.is_closed(at(second), least) {
                lost += 1;
                continue;
            }
            let trial = silence.is_silent(at(second), least);
            let trial = trial.then(|| silence.try_it(at(second)).unwrap());
            flying.push((second + took, silence.wait(at(second), true), trial));
        }
        lost
    }

    #[test]
    fn a_slow_one_keeps_its_mail() {
        let silence = Arc::new(Silence::default());
        assert_eq!(lost(&silence, 100, 1, 3, SILENT_AFTER_IN_ORDER), 0);
        // Known by now, also where each other one would do.
        assert_eq!(lost(&silence, 200, 1, 3, SILENT_AFTER), 0);
        let slow = Arc::new(Silence::default());
        slow.ends(at(100), Duration::from_secs(30));
        for (from, every) in [(200, 1), (400, 3), (600, 10), (800, 25)] {
            assert_eq!(lost(&slow, from, every, 30, SILENT_AFTER_IN_ORDER), 0);
        }
        assert!(lost(&Arc::default(), 100, 1, 30, SILENT_AFTER) > 0);
    }

    #[test]
    fn what_is_usual_is_bounded_and_forgotten() {
        let silence = Silence::default();
        silence.ends(at(100), Duration::from_secs(600));
        let _hung = silence.wait(at(1000), true);
        assert!(!silence.is_silent(at(1119), LEAST));
        assert!(silence.is_silent(at(1120), LEAST));
        for _ in 0..40 {
            silence.ends(at(2000), Duration::from_millis(10));
        }
        assert!(silence.is_silent(at(2002), LEAST));
    }

    #[test]
    fn a_silence_is_news_once_and_once_a_minute() {
        let silence = Silence::default();
        assert!(!silence.is_news(at(100)));
        let _hung = silence.wait(at(100), true);
        assert!(!silence.is_news(at(101)));
        assert!(silence.is_news(at(102)));
        assert!(!silence.is_news(at(103)));
        silence.ends(at(104), QUICK);
        assert!(!silence.is_news(at(110)), "it was asked of late");
        assert!(silence.is_news(at(162)), "another one");
        assert!(!silence.is_news(at(300)));
    }

    #[test]
    fn a_silence_that_begins_or_ends_is_told_once() {
        let silence = Silence::default();
        let hung = silence.wait(at(100), true);
        assert!(!silence.has_turned(at(101), LEAST));
        assert!(silence.has_turned(at(102), LEAST));
        assert!(!silence.has_turned(at(103), LEAST));
        silence.ends(at(104), QUICK);
        drop(hung);
        assert!(silence.has_turned(at(104), LEAST));
        assert!(!silence.has_turned(at(105), LEAST));
    }
}
