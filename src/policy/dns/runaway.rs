//! Switches off a list that says yes to nearly everything.
//!
//! Test entries ([`super::probe`]) are asked hourly; a list that begins to list the world between two probes would
//! refuse an hour of mail. So its answers are counted in a sliding window, and above a share it is off at once. It
//! comes back when a pause is over and a probe finds it healthy; each further pause is twice as long, up to a limit.
//!
//! Count fresh answers alone, one for each question that went out, never those of a cache: one listed client that
//! connects a thousand times is one question. A wave of spam is mostly listed too, so the default share is high.
//!
//! Times are milliseconds of any clock that does not run backwards; one that does is taken as standing still.

use super::probe::{Health, Why};
use std::fmt;

/// Parts of the window: it slides by one of these.
const PARTS: usize = 12;

/// When a list is switched off, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The window, in milliseconds.
    pub window_ms: u64,
    /// Fewer answers than this in the window say nothing.
    pub answers_min: u32,
    /// Off at this share of yes, in percent; above 100: never, for lists that have a code for everything (countries, ASNs).
    pub percent: u8,
    /// The first pause, in milliseconds.
    pub pause_ms: u64,
    /// The longest.
    pub pause_ms_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            window_ms: 10 * 60_000,
            answers_min: 200,
            percent: 98,
            pause_ms: 5 * 60_000,
            pause_ms_max: 60 * 60_000,
        }
    }
}

/// Why a list is off: for the log, loudly, and for the status page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Off {
    /// It said yes too often.
    Runaway {
        /// So many yes …
        listed: u32,
        /// … of so many answers in the window.
        answers: u32,
    },
    /// A probe found it broken.
    Broken(Why),
}

impl fmt::Display for Off {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Off::Runaway { listed, answers } => write!(
                f,
                "it said yes to {listed} of {answers} different questions: it seems to list everything"
            ),
            Off::Broken(why) => why.fmt(f),
        }
    }
}

/// A change that the operator should hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is off now.
    Off(Off),
    /// It is used again.
    On,
}

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    answers: u32,
    listed: u32,
}

/// Watches one list.
#[derive(Clone, Debug)]
pub struct Guard {
    limits: Limits,
    parts: [Part; PARTS],
    /// The number of the part that is counted in, from the clock's start.
    part: u64,
    off: Option<Off>,
    /// When it went off, was probed last while off, or came back.
    since_ms: u64,
    /// It has come back, and no whole window has passed since: the next pause is longer.
    is_back: bool,
    pause_ms: u64,
    now_ms: u64,
}

impl Guard {
    /// On, with an empty window.
    #[must_use]
    pub fn new(limits: Limits) -> Guard {
        Guard {
            limits,
            parts: [Part::default(); PARTS],
            part: 0,
            off: None,
            since_ms: 0,
            is_back: false,
            pause_ms: limits.pause_ms,
            now_ms: 0,
        }
    }

    /// Goes on where the guard of the same list stood, under limits of its own.
    pub fn follow(&mut self, before: &Guard) {
        *self = Guard {
            limits: self.limits,
            ..before.clone()
        };
    }

    /// Why the list is off, where it is: it is not asked then, and what it says is not used.
    #[must_use]
    pub fn off(&self) -> Option<Off> {
        self.off
    }

    /// Counts one fresh answer that is yes or no; unknown ones and errors are neither.
    pub fn count(&mut self, listed: bool, now_ms: u64) -> Option<Change> {
        self.pass(now_ms);
        if self.off.is_some() {
            return None;
        }
        let part = &mut self.parts[slot(self.part)];
        part.answers = part.answers.saturating_add(1);
        part.listed = part.listed.saturating_add(u32::from(listed));
        let sum = |of: fn(&Part) -> u32| {
            let parts = self.parts.iter();
            parts.fold(0u32, |sum, part| sum.saturating_add(of(part)))
        };
        let (answers, listed) = (sum(|part| part.answers), sum(|part| part.listed));
        let is_runaway = answers >= self.limits.answers_min.max(1)
            && u64::from(listed) * 100 >= u64::from(answers) * u64::from(self.limits.percent);
        is_runaway.then(|| self.switch_off(Off::Runaway { listed, answers }))
    }

    /// Whether the list is off and its pause is over: probe it, and tell [`Guard::probed`].
    #[must_use]
    pub fn is_due(&self, now_ms: u64) -> bool {
        let now_ms = now_ms.max(self.now_ms);
        self.off.is_some() && now_ms - self.since_ms >= self.pause_ms
    }

    /// What a probe found: one that was due, or the hourly one.
    pub fn probed(&mut self, health: Health, now_ms: u64) -> Option<Change> {
        let was_due = self.is_due(now_ms);
        self.pass(now_ms);
        match (self.off, health) {
            (None, Health::Broken(why)) => Some(self.switch_off(Off::Broken(why))),
            (None, Health::Healthy | Health::Unknown(_)) => None,
            (Some(_), Health::Healthy) if was_due => {
                self.off = None;
                self.is_back = true;
                self.since_ms = self.now_ms;
                self.parts = [Part::default(); PARTS];
                Some(Change::On)
            }
            // The hourly probe doesn't end a pause: a runaway list can pass it, and would be off and on.
            (Some(_), Health::Healthy) => None,
            (Some(_), Health::Broken(_) | Health::Unknown(_)) => {
                if was_due {
                    self.lengthen();
                }
                if let Health::Broken(why) = health {
                    self.off = Some(Off::Broken(why));
                }
                None
            }
        }
    }

    fn switch_off(&mut self, off: Off) -> Change {
        if self.is_back {
            self.lengthen();
        }
        self.off = Some(off);
        self.since_ms = self.now_ms;
        Change::Off(off)
    }

    fn lengthen(&mut self) {
        self.since_ms = self.now_ms;
        self.pause_ms = self
            .pause_ms
            .saturating_mul(2)
            .min(self.limits.pause_ms_max);
    }

    /// Moves the window on.
    fn pass(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        let part = self.now_ms / (self.limits.window_ms / PARTS as u64).max(1);
        let passed = part.saturating_sub(self.part).min(PARTS as u64);
        for step in 0..passed {
            self.parts[slot(part - step)] = Part::default();
        }
        self.part = part;
        if self.is_back
            && self.off.is_none()
            && self.now_ms - self.since_ms >= self.limits.window_ms
        {
            self.is_back = false;
            self.pause_ms = self.limits.pause_ms;
        }
    }
}

fn slot(part: u64) -> usize {
    (part % PARTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits {
        window_ms: 12_000,
        answers_min: 10,
        percent: 90,
        pause_ms: 1_000,
        pause_ms_max: 3_000,
    };

    fn off(listed: u32, answers: u32) -> Option<Change> {
        Some(Change::Off(Off::Runaway { listed, answers }))
    }

    #[test]
    fn few_answers_and_a_low_share_say_nothing() {
        let mut guard = Guard::new(LIMITS);
        for _ in 0..9 {
            assert_eq!(guard.count(true, 0), None);
        }
        assert_eq!(guard.count(false, 0), off(9, 10));
        let mut guard = Guard::new(LIMITS);
        for n in 0..1_000 {
            assert_eq!(guard.count(n % 5 != 0, 0), None, "80 %");
        }
    }

    #[test]
    fn the_window_slides() {
        let mut guard = Guard::new(LIMITS);
        for second in 0..1_000 {
            // Nine in twelve seconds at most.
            if second % 4 != 3 {
                assert_eq!(guard.count(true, second * 1_000), None, "{second}");
            }
        }
        let now = 1_000_000;
        assert_eq!(guard.count(true, now + 100_000), None, "all of it is old");
        for _ in 0..8 {
            assert_eq!(guard.count(true, now + 100_000), None);
        }
        assert_eq!(guard.count(true, now), off(10, 10), "the clock stood still");
    }

    #[test]
    fn it_comes_back_after_a_pause_and_a_good_probe() {
        let mut guard = Guard::new(LIMITS);
        let broken = Health::Broken(Why::Listed("127.0.0.1"));
        let runs_away =
            |guard: &mut Guard, now| (0..10).filter_map(|_| guard.count(true, now)).next();
        assert_eq!(runs_away(&mut guard, 0), off(10, 10));
        assert!(guard.off().is_some() && !guard.is_due(999) && guard.is_due(1_000));
        assert_eq!(guard.probed(Health::Healthy, 500), None, "not due");
        assert_eq!(guard.probed(broken, 1_000), None);
        assert_eq!(guard.off(), Some(Off::Broken(Why::Listed("127.0.0.1"))));
        assert!(!guard.is_due(2_999) && guard.is_due(3_000), "twice as long");
        assert_eq!(
            guard.probed(Health::Unknown(crate::dns::Unknown::Timeout), 3_000),
            None
        );
        assert!(!guard.is_due(5_999) && guard.is_due(6_000), "the longest");
        assert_eq!(guard.probed(Health::Healthy, 6_000), Some(Change::On));
        assert_eq!((guard.off(), guard.count(true, 6_000)), (None, None));
    }

    #[test]
    fn the_pause_grows_until_a_window_was_quiet() {
        let mut guard = Guard::new(LIMITS);
        let mut now = 0;
        for pause in [1_000, 2_000, 3_000, 3_000] {
            while guard.count(true, now).is_none() {}
            assert!(
                !guard.is_due(now + pause - 1) && guard.is_due(now + pause),
                "{pause}"
            );
            now += pause;
            assert_eq!(guard.probed(Health::Healthy, now), Some(Change::On));
        }
        now += 12_000;
        assert_eq!(guard.count(false, now), None);
        now += 12_000;
        while guard.count(true, now).is_none() {}
        assert!(guard.is_due(now + 1_000), "forgotten");
    }

    #[test]
    fn the_hourly_probe_switches_off() {
        let mut guard = Guard::new(LIMITS);
        assert_eq!(guard.probed(Health::Healthy, 0), None);
        let why = Why::NotListed("127.0.0.2");
        let change = guard.probed(Health::Broken(why), 0);
        assert_eq!(change, Some(Change::Off(Off::Broken(why))));
        let words = Off::Runaway {
            listed: 199,
            answers: 200,
        }
        .to_string();
        assert!(words.contains("yes to 199 of 200"), "{words}");
    }

    proptest! {
        #[test]
        fn nothing_overflows(
            window_ms: u64, percent: u8, answers_min: u32, pause_ms: u64,
            steps in prop::collection::vec((any::<u64>(), any::<bool>(), 0..4), 0..100),
        ) {
            let mut guard = Guard::new(Limits {
                window_ms, percent, answers_min, pause_ms, pause_ms_max: u64::MAX,
            });
            for (now, listed, what) in steps {
                let _ = match what {
                    0 => guard.probed(Health::Healthy, now),
                    1 => guard.probed(Health::Broken(Why::Listed("x")), now),
                    _ => guard.count(listed, now),
                };
                let _ = guard.is_due(now);
            }
        }
    }
}
