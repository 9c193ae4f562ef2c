//! Finds a list that went bad between two of its hourly probes: what it says raises a suspicion, and a probe decides.
//!
//! A list that begins to list the world between two probes would refuse an hour of mail. So its answers are counted in a
//! sliding window. A share of yes above a limit, or one answer with an error code, has the list probed at once, at most
//! once a minute. Only that probe ([`super::probe`]) switches it off, and a probe asks for nothing that a client chose:
//! clients choose what a list is asked in a session, so one with a listed network, or with a wildcard below a listed
//! domain, has it say yes as often as it likes, and could otherwise switch off a list that works. For the same reason
//! answers need not be counted for each client apart: the worst that a client reaches is a probe a minute.
//!
//! While a list is off it is probed again after pauses, each twice as long as the one before, up to a limit. The first
//! probe that finds it healthy puts it back, also one that was made for another reason.
//!
//! Count fresh answers alone, one for each question that went out, never those of a cache: one listed client that
//! connects a thousand times is one question. A wave of spam is mostly listed too, so the default share is high.
//!
//! Times are milliseconds of any clock that does not run backwards; one that does is taken as standing still.

use super::probe::{Health, Why};
use std::fmt;

/// Parts of the window: it slides by one of these.
const PARTS: usize = 12;

/// When a list is probed out of turn, and how often while it is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The window, in milliseconds.
    pub window_ms: u64,
    /// Fewer answers than this in the window say nothing.
    pub answers_min: u32,
    /// Suspect at this share of yes, in percent; above 100: never, for lists that have a code for everything (countries, ASNs).
    pub percent: u8,
    /// From one probe that a suspicion causes to the next, in milliseconds.
    pub suspicion_ms: u64,
    /// From the time that it is switched off to the first probe, in milliseconds.
    pub pause_ms: u64,
    /// The longest pause.
    pub pause_ms_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            window_ms: 10 * 60_000,
            answers_min: 100,
            percent: 98,
            suspicion_ms: 60_000,
            pause_ms: 60_000,
            pause_ms_max: 15 * 60_000,
        }
    }
}

/// What a fresh answer says. One that did not come says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Listed.
    Yes,
    /// Not listed.
    No,
    /// An error code, as that for a resolver that the list refuses.
    Error,
}

/// Why a list is probed out of turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspicion {
    /// It says yes often.
    Share {
        /// So many yes …
        listed: u32,
        /// … of so many answers in the window.
        answers: u32,
    },
    /// It answered with an error code.
    Error,
}

impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Suspicion::Share { listed, answers } => {
                write!(f, "it said yes to {listed} of {answers} questions")
            }
            Suspicion::Error => f.write_str("it answered with an error code"),
        }
    }
}

/// A change that the operator should hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A probe found it broken: it is off now.
    Off(Why),
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
    /// No probe has been made for it yet.
    suspicion: Option<Suspicion>,
    /// When a suspicion caused a probe last.
    suspected_ms: Option<u64>,
    off: Option<Why>,
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
            suspicion: None,
            suspected_ms: None,
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
    pub fn off(&self) -> Option<Why> {
        self.off
    }

    /// Counts one fresh answer.
    pub fn count(&mut self, said: Said, now_ms: u64) {
        self.pass(now_ms);
        if self.off.is_some() {
            return;
        }
        let listed = match said {
            Said::Error => {
                self.suspicion = Some(Suspicion::Error);
                return;
            }
            Said::Yes => 1,
            Said::No => 0,
        };
        let part = &mut self.parts[slot(self.part)];
        part.answers = part.answers.saturating_add(1);
        part.listed = part.listed.saturating_add(listed);
        let sum = |of: fn(&Part) -> u32| {
            let parts = self.parts.iter();
            parts.fold(0u32, |sum, part| sum.saturating_add(of(part)))
        };
        let (answers, listed) = (sum(|part| part.answers), sum(|part| part.listed));
        if answers >= self.limits.answers_min.max(1)
            && u64::from(listed) * 100 >= u64::from(answers) * u64::from(self.limits.percent)
        {
            self.suspicion = Some(Suspicion::Share { listed, answers });
        }
    }

    /// The suspicion that a probe is due for, if one is. It is taken: make that probe, and tell [`Guard::probed`].
    pub fn suspicion(&mut self, now_ms: u64) -> Option<Suspicion> {
        let now_ms = now_ms.max(self.now_ms);
        let is_early = self
            .suspected_ms
            .is_some_and(|last| now_ms.saturating_sub(last) < self.limits.suspicion_ms);
        if is_early || self.off.is_some() {
            return None;
        }
        let suspicion = self.suspicion.take()?;
        self.suspected_ms = Some(now_ms);
        Some(suspicion)
    }

    /// Whether the list is off and its pause is over: probe it, and tell [`Guard::probed`].
    #[must_use]
    pub fn is_due(&self, now_ms: u64) -> bool {
        let now_ms = now_ms.max(self.now_ms);
        self.off.is_some() && now_ms - self.since_ms >= self.pause_ms
    }

    /// What any probe found.
    pub fn probed(&mut self, health: Health, now_ms: u64) -> Option<Change> {
        let was_due = self.is_due(now_ms);
        self.pass(now_ms);
        match (self.off, health) {
            (None, Health::Broken(why)) => Some(self.switch_off(why)),
            (None, Health::Healthy) => {
                self.forget();
                None
            }
            (None, Health::Unknown(_)) => None,
            (Some(_), Health::Healthy) => {
                self.off = None;
                self.is_back = true;
                self.since_ms = self.now_ms;
                self.forget();
                Some(Change::On)
            }
            (Some(_), Health::Broken(_) | Health::Unknown(_)) => {
                if was_due {
                    self.lengthen();
                }
                if let Health::Broken(why) = health {
                    self.off = Some(why);
                }
                None
            }
        }
    }

    fn switch_off(&mut self, why: Why) -> Change {
        if self.is_back {
            self.lengthen();
        }
        self.off = Some(why);
        self.since_ms = self.now_ms;
        Change::Off(why)
    }

    /// Empties the window: what was suspected of the answers before is settled.
    fn forget(&mut self) {
        self.parts = [Part::default(); PARTS];
        self.suspicion = None;
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
        suspicion_ms: 1_000,
        pause_ms: 1_000,
        pause_ms_max: 3_000,
    };
    const BROKEN: Health = Health::Broken(Why::Listed("127.0.0.1"));

    /// Counts one answer; the suspicion that a probe is due for then.
    fn counted(guard: &mut Guard, said: Said, now_ms: u64) -> Option<Suspicion> {
        guard.count(said, now_ms);
        guard.suspicion(now_ms)
    }

    fn share(listed: u32, answers: u32) -> Option<Suspicion> {
        Some(Suspicion::Share { listed, answers })
    }

    fn says_yes_to_all(guard: &mut Guard, now_ms: u64) -> Option<Suspicion> {
        (0..10).find_map(|_| counted(guard, Said::Yes, now_ms))
    }

    #[test]
    fn few_answers_and_a_low_share_say_nothing() {
        let mut guard = Guard::new(LIMITS);
        for _ in 0..9 {
            assert_eq!(counted(&mut guard, Said::Yes, 0), None);
        }
        assert_eq!(counted(&mut guard, Said::No, 0), share(9, 10));
        let mut guard = Guard::new(LIMITS);
        for n in 0..1_000 {
            let said = [Said::No, Said::Yes][usize::from(n % 5 != 0)];
            assert_eq!(counted(&mut guard, said, 0), None, "80 %");
        }
    }

    #[test]
    fn the_window_slides() {
        let mut guard = Guard::new(LIMITS);
        for second in 0..1_000 {
            // Nine in twelve seconds at most.
            if second % 4 != 3 {
                let suspicion = counted(&mut guard, Said::Yes, second * 1_000);
                assert_eq!(suspicion, None, "{second}");
            }
        }
        let now = 1_000_000;
        for _ in 0..9 {
            assert_eq!(counted(&mut guard, Said::Yes, now + 100_000), None);
        }
        let suspicion = counted(&mut guard, Said::Yes, now);
        assert_eq!(suspicion, share(10, 10), "the clock stood still");
    }

    #[test]
    fn no_number_of_answers_switches_a_list_off() {
        let mut guard = Guard::new(LIMITS);
        let mut probes = 0;
        for now in 0..10_000 {
            for _ in 0..10 {
                if counted(&mut guard, Said::Yes, now).is_some() {
                    probes += 1;
                    assert_eq!(guard.probed(Health::Healthy, now), None);
                }
            }
            assert_eq!(guard.off(), None);
        }
        assert_eq!(probes, 10, "one a second");
    }

    #[test]
    fn a_suspicion_that_a_probe_confirms_switches_off() {
        for said in [Said::Yes, Said::Error] {
            let mut guard = Guard::new(LIMITS);
            let count = |guard: &mut Guard| (0..10).find_map(|_| counted(guard, said, 5));
            assert!(count(&mut guard).is_some(), "{said:?}");
            let unknown = Health::Unknown(crate::dns::Unknown::Timeout);
            assert_eq!(guard.probed(unknown, 6), None);
            guard.count(said, 7);
            assert_eq!(guard.suspicion(1_004), None, "{said:?}: one a second");
            assert!(guard.suspicion(1_005).is_some(), "{said:?}: again");
            let why = Why::Listed("127.0.0.1");
            assert_eq!(guard.probed(BROKEN, 1_006), Some(Change::Off(why)));
            assert_eq!((guard.off(), count(&mut guard)), (Some(why), None));
        }
    }

    #[test]
    fn it_comes_back_with_the_first_good_probe() {
        let mut guard = Guard::new(LIMITS);
        assert!(guard.probed(BROKEN, 0).is_some());
        assert!(!guard.is_due(999) && guard.is_due(1_000));
        assert_eq!(guard.probed(BROKEN, 1_000), None);
        assert!(!guard.is_due(2_999) && guard.is_due(3_000), "twice as long");
        assert_eq!(
            guard.probed(Health::Unknown(crate::dns::Unknown::Timeout), 3_000),
            None
        );
        assert!(!guard.is_due(5_999) && guard.is_due(6_000), "the longest");
        let back = guard.probed(Health::Healthy, 3_500);
        assert_eq!(back, Some(Change::On), "before the pause is over");
        assert_eq!((guard.off(), guard.is_due(9_000)), (None, false));
        assert_eq!(counted(&mut guard, Said::Yes, 3_500), None, "a new window");
    }

    #[test]
    fn the_pause_grows_until_a_window_was_quiet() {
        let mut guard = Guard::new(LIMITS);
        let mut now = 0;
        for pause in [1_000, 2_000, 3_000, 3_000] {
            assert!(says_yes_to_all(&mut guard, now).is_some(), "{pause}");
            assert!(guard.probed(BROKEN, now).is_some());
            assert!(
                !guard.is_due(now + pause - 1) && guard.is_due(now + pause),
                "{pause}"
            );
            now += pause;
            assert_eq!(guard.probed(Health::Healthy, now), Some(Change::On));
        }
        now += 12_000;
        assert_eq!(counted(&mut guard, Said::No, now), None);
        now += 12_000;
        assert!(guard.probed(BROKEN, now).is_some());
        assert!(guard.is_due(now + 1_000), "forgotten");
    }

    proptest! {
        #[test]
        fn nothing_overflows(
            window_ms: u64, percent: u8, answers_min: u32, suspicion_ms: u64, pause_ms: u64,
            steps in prop::collection::vec((any::<u64>(), any::<bool>(), 0..4), 0..100),
        ) {
            let mut guard = Guard::new(Limits {
                window_ms, percent, answers_min, suspicion_ms, pause_ms, pause_ms_max: u64::MAX,
            });
            for (now, listed, what) in steps {
                match what {
                    0 => drop(guard.probed(Health::Healthy, now)),
                    1 => drop(guard.probed(BROKEN, now)),
                    2 => guard.count(Said::Error, now),
                    _ => guard.count([Said::No, Said::Yes][usize::from(listed)], now),
                }
                let _ = (guard.is_due(now), guard.suspicion(now));
            }
        }
    }
}
