//! Whether a backend answers the questions about recipients that it is asked (`super::verify`).
//!
//! A backend whose directory hangs greets, answers EHLO and MAIL, and takes mail for its `postmaster`, so no probe finds it.
//! With `first-available` it is asked first about each recipient. No message gets to it that could be waited for. So questions
//! have a [`Silence`] of their own, which ends with each answer to RCPT. A directory may also hang over some names alone, of
//! which a stranger may ask: a silent backend is asked one question at a time and keeps its messages. It is left out only
//! where questions of several networks of clients hung and none was answered meanwhile, while another backend of the pool
//! answered.
//!
//! Arithmetic over atomics; time is passed in.

use super::{
    balance::mix,
    silence::{Silence, Waiting},
};
use crate::smtp::Tick;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Networks of clients whose questions must hang, with no answer between, before a backend is left out.
const NETWORKS_MIN: usize = 3;
/// Hangs that are further apart say nothing together: a backend that few questions go to has some names that hang.
const LAPSE: Duration = Duration::from_secs(600);
/// A silence is told no more often than this.
const TELL_PAUSE: Duration = Duration::from_secs(60);

/// What comes of the questions to one backend.
#[derive(Debug, Default)]
pub struct Answers {
    /// Whether it has fallen silent over them.
    pub(super) silence: Arc<Silence>,
    /// Hashes of networks whose questions hung since the last answer; 0: none.
    hung: [AtomicU64; NETWORKS_MIN],
    /// When one hung last, in ticks.
    hung_at: AtomicU64,
    /// When it answered last, in ticks; 0: never.
    heard_at: AtomicU64,
    /// When its silence was told last, in ticks; 0: never.
    told_at: AtomicU64,
    /// The end of a silence is to be told.
    is_told: AtomicBool,
}

/// What is to be said of a backend's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It has fallen silent.
    Silent,
    /// It answers again.
    Back,
}

impl Answers {
    /// An answer is waited for, until the value is dropped.
    pub(super) fn wait(&self, now: Tick) -> Waiting<'_> {
        self.silence.wait(now, false)
    }

    /// A question was answered, whatever the answer is. `waited`: how long that took.
    pub fn heard(&self, now: Tick, waited: Duration) {
        self.silence.ends(now, waited);
        self.heard_at.store(now.0.max(1), Relaxed);
        self.forget();
    }

    /// Whether it has answered one since this moment.
    #[must_use]
    pub fn heard_since(&self, moment: Tick) -> bool {
        self.heard_at.load(Relaxed) > moment.0
    }

    /// Takes note of a question that was not answered in time. `network`: that of the client it was asked for, where all that
    /// this client asks counts once. True where enough of them hung since the last answer.
    pub fn hangs(&self, network: Option<u128>, now: Tick) -> bool {
        let hash = match network {
            Some(network) => mix(mix(network as u64) ^ (network >> 64) as u64),
            None => mix(now.0),
        };
        let before = self.hung_at.swap(now.0, Relaxed);
        if now.since(Tick(before)) > LAPSE {
            self.forget();
        }
        for place in &self.hung {
            let seen = place.compare_exchange(0, hash.max(1), Relaxed, Relaxed);
            if seen.is_ok() || seen == Err(hash.max(1)) {
                break;
            }
        }
        self.hung.iter().all(|place| place.load(Relaxed) != 0)
    }

    /// Counts those that hang anew.
    pub fn forget(&self) {
        if self.hung[0].load(Relaxed) != 0 {
            self.hung.iter().for_each(|place| place.store(0, Relaxed));
        }
    }

    /// What there is to say, for the first caller that asks.
    pub fn news(&self, is_silent: bool, now: Tick) -> Option<News> {
        if !is_silent {
            return self.is_told.swap(false, Relaxed).then_some(News::Back);
        }
        let at = self.told_at.load(Relaxed);
        let is_due = at == 0 || now.since(Tick(at)) >= TELL_PAUSE;
        let told = is_due
            && (self.told_at)
                .compare_exchange(at, now.0.max(1), Relaxed, Relaxed)
                .is_ok();
        if told {
            self.is_told.store(true, Relaxed);
        }
        told.then_some(News::Silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Tick {
        Tick(secs * 1_000_000)
    }

    #[test]
    fn questions_of_three_networks_must_hang_with_no_answer_between() {
        let answers = Answers::default();
        assert!(!answers.hangs(Some(7), at(10)));
        for secs in 11..20 {
            assert!(!answers.hangs(Some(7), at(secs)), "one client's odd names");
        }
        assert!(!answers.hangs(Some(7 << 64), at(20)));
        answers.heard(at(21), Duration::ZERO);
        assert!(!answers.hangs(Some(8), at(22)));
        assert!(!answers.hangs(Some(9), at(23)));
        assert!(answers.hangs(Some(7), at(24)));
        answers.forget();
        assert!(!answers.hangs(None, at(25)) && !answers.hangs(None, at(26)));
        assert!(
            answers.hangs(None, at(27)),
            "of trusted clients each counts"
        );
        answers.forget();
        assert!(!answers.hangs(Some(7 << 64), at(30)) && !answers.hangs(Some(8 << 64), at(31)));
        let later = at(32).after(LAPSE);
        assert!(!answers.hangs(Some(9 << 64), later), "the others lapsed");
    }

    #[test]
    fn a_silence_is_told_once_a_minute_and_its_end_where_it_was_told() {
        let answers = Answers::default();
        assert_eq!(answers.news(false, at(100)), None);
        assert_eq!(answers.news(true, at(100)), Some(News::Silent));
        assert_eq!(answers.news(true, at(101)), None);
        assert_eq!(answers.news(false, at(110)), Some(News::Back));
        assert_eq!(answers.news(true, at(120)), None, "it was told of late");
        assert_eq!(answers.news(false, at(130)), None);
        assert_eq!(answers.news(true, at(160)), Some(News::Silent));
    }

    #[test]
    fn what_was_heard_is_compared_with_a_moment() {
        let answers = Answers::default();
        assert!(!answers.heard_since(at(0)));
        answers.heard(at(10), Duration::ZERO);
        assert!(answers.heard_since(at(9)) && !answers.heard_since(at(10)));
    }
}
