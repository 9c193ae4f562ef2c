//! Whether a backend can be used: ejected at once on a failure, probed with a growing back-off, brought
//! back with a slow start. Arithmetic over atomics; time is passed in.
//!
//! Rejected: a success rate over a window, for the failures that count here (no connection, no greeting, 421,
//! silence). They don't come in shares: a mail server that shows one is down or overloaded, and a message that
//! waits for the next sample waits for a client's patience. What comes of messages does come in shares: that is
//! [`outlier`](super::outlier).

use crate::smtp::Tick;
use std::{
    fmt,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst},
    time::Duration,
};

/// What a backend did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// No TCP connection.
    Connect,
    /// Nothing came in time.
    Timeout,
    /// It closed or reset the connection where a reply was due.
    Lost,
    /// It said 421, or another refusal in its greeting.
    Unavailable,
    /// What it said is no SMTP.
    Nonsense,
    /// TLS is a must, and can't be had: not offered, refused, or the handshake failed.
    Tls,
    /// It would not have the client that it was told of, or not be told, or it fell silent over it. That is about the client
    /// as like as not, so a client can't get a backend ejected by it.
    Origin,
    /// It fails most of its messages while the others of its pool take theirs.
    Outlier,
    /// It does not answer questions about recipients while another one of its pool does.
    Unanswered,
    /// It has as many connections of ours as it takes. No fault of the backend's.
    Full,
    /// We have no descriptor, port or memory for a connection. No fault of the backend's.
    Ours,
}

impl Trouble {
    /// Whether it says something of the backend.
    #[must_use]
    pub const fn counts(self) -> bool {
        !matches!(self, Trouble::Ours | Trouble::Origin | Trouble::Full)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Trouble::Connect => "it can't be connected to",
            Trouble::Timeout => "it did not answer in time",
            Trouble::Lost => "it closed the connection",
            Trouble::Unavailable => "it said that it is not available",
            Trouble::Nonsense => "what it said is not SMTP",
            Trouble::Tls => "TLS with it can't be had",
            Trouble::Origin => "it refused the client that it was told of, or did not answer",
            Trouble::Outlier => {
                "it fails most of its messages while the others of its pool take theirs"
            }
            Trouble::Unanswered => {
                "it does not answer RCPT when recipients are verified, while others of its pool do"
            }
            Trouble::Full => "it takes no more connections of ours",
            Trouble::Ours => "there are no descriptors, ports or memory for a connection",
        })
    }
}

/// The pool's rules, as durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Until the first probe of an ejected backend.
    pub backoff: Duration,
    /// Between its probes at most.
    pub backoff_max: Duration,
    /// Between probes of a healthy one; zero: none.
    pub interval: Duration,
    /// For one probe.
    pub timeout: Duration,
    /// From its return to its full share.
    pub slow_start: Duration,
    /// Percent of a pool that may be left out.
    pub eject_max: u32,
}

/// A returned backend starts with this much of its share, in permille.
pub(super) const SHARE_MIN: u32 = 100;

/// One backend's health. New ones are taken for well, and are due for a probe at once: that is how the
/// capabilities of all are known soon after the start.
#[derive(Debug, Default)]
pub struct Health {
    ejected: AtomicBool,
    failures: AtomicU32,
    /// When the next probe is due, in ticks; 0 until it has been set the first time.
    probe_at: AtomicU64,
    /// When it came back; 0: never away.
    back_at: AtomicU64,
    /// When it was ejected.
    out_at: AtomicU64,
    /// When the question is due that a suspicion asks for, in ticks; 0: it is not suspected. Not `probe_at`, which each
    /// connection that is greeted puts off: a backend may greet all of them and take no message.
    question_at: AtomicU64,
}

impl Health {
    /// Whether it's left out.
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        self.ejected.load(SeqCst)
    }

    /// Failures since it was last well for longer than the longest back-off.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures.load(SeqCst)
    }

    /// How bad it is among the ejected: fewer failures are better, and then the one that failed longest ago.
    #[must_use]
    pub fn badness(&self) -> (u32, u64) {
        (self.failures(), self.out_at.load(SeqCst))
    }

    /// Takes note of a failure. True where this one ejected it.
    ///
    /// The many leases that notice the same crash count as one failure: an ejected backend's back-off grows
    /// only by an attempt that was made after its probe was due.
    pub fn fail(&self, now: Tick, rules: &Rules) -> bool {
        let first = !self.ejected.swap(true, SeqCst);
        if !first && now.0 < self.probe_at.load(SeqCst) {
            return false;
        }
        let next = self.punish(now, rules, first);
        self.set_question(|at| at.max(next));
        first
    }

    /// Something went wrong over one message, which may be due to the message: a probe that asks about more than the
    /// greeting is due at once, and decides. What is seen until then is the same suspicion.
    pub fn suspect(&self, now: Tick) {
        let at = now.0.max(1);
        let _ = self.question_at.compare_exchange(0, at, SeqCst, SeqCst);
    }

    /// Whether it is suspected.
    #[must_use]
    pub fn is_suspected(&self) -> bool {
        self.question_at.load(SeqCst) != 0
    }

    /// It has answered the question.
    pub fn acquit(&self) {
        self.question_at.store(0, SeqCst);
    }

    /// The probe that was claimed for the question got no connection: another one is due at once.
    pub fn ask_again(&self, now: Tick) {
        self.set_question(|_| now.0.max(1));
    }

    /// The question is put, and is answered by then: no other probe puts it meanwhile.
    pub fn is_asked_until(&self, due: Tick) {
        self.set_question(|at| at.max(due.0));
    }

    /// Where it is suspected.
    fn set_question(&self, time: impl Fn(u64) -> u64) {
        let change = |at: u64| (at != 0).then(|| time(at));
        let _ = self.question_at.fetch_update(SeqCst, SeqCst, change);
    }

    /// Leaves it out until a moment, for what became of its messages. True where it was not left out before.
    pub fn leave_out(&self, now: Tick, until: Tick) -> bool {
        let first = !self.ejected.swap(true, SeqCst);
        if first {
            self.out_at.store(now.0, SeqCst);
            self.failures.fetch_max(1, SeqCst);
            self.probe_at.store(until.0, SeqCst);
        }
        first
    }

    /// Takes note of a failed probe. True where this one ejected it.
    pub fn probe_failed(&self, now: Tick, rules: &Rules) -> bool {
        let first = !self.ejected.swap(true, SeqCst);
        let next = self.punish(now, rules, first);
        // It asks again. A message that is greeted meanwhile brings the backend back, but the question no sooner.
        self.set_question(|_| next);
        first
    }

    /// Says when the next probe is due.
    fn punish(&self, now: Tick, rules: &Rules, first: bool) -> u64 {
        if first {
            self.out_at.store(now.0, SeqCst);
            let back_at = self.back_at.load(SeqCst);
            if now.since(Tick(back_at)) > rules.backoff_max {
                self.failures.store(0, SeqCst);
            }
        }
        let failures = self.failures.load(SeqCst).saturating_add(1);
        self.failures.store(failures, SeqCst);
        let next = now.after(backoff(failures, rules)).0;
        self.probe_at.store(next, SeqCst);
        next
    }

    /// Takes note of a connection that was greeted. True where it came back by that.
    pub fn succeed(&self, now: Tick, rules: &Rules) -> bool {
        let came_back = self.ejected.swap(false, SeqCst);
        if came_back {
            self.back_at.store(now.0.max(1), SeqCst);
        }
        self.probe_at.store(
            match rules.interval.is_zero() {
                true => Tick::FAR.0,
                false => now.after(rules.interval).0,
            },
            SeqCst,
        );
        came_back
    }

    /// Claims the probe that is due: of all workers that look, one gets true.
    pub fn claim_probe(&self, now: Tick, rules: &Rules) -> bool {
        let held = held(now, rules);
        let Some((place, due)) = self.due(now, rules) else {
            return false;
        };
        if place.compare_exchange(due, held, SeqCst, SeqCst).is_err() {
            return false;
        }
        // One probe does for both.
        self.probe_at.fetch_max(held, SeqCst);
        self.set_question(|at| at.max(held));
        true
    }

    /// Whether a probe is due, for any worker to claim.
    #[must_use]
    pub fn is_due(&self, now: Tick, rules: &Rules) -> bool {
        self.due(now, rules).is_some()
    }

    /// Where the time of the probe that is due stands, and that time.
    fn due(&self, now: Tick, rules: &Rules) -> Option<(&AtomicU64, u64)> {
        let is_ejected = self.is_ejected();
        let due = self.probe_at.load(SeqCst);
        // A success and a failure at the same moment may leave it ejected with the next probe of a healthy
        // one, or none: no ejected backend waits longer than any back-off.
        let longest = now.after(rules.backoff_max).0.max(held(now, rules));
        let is_lost = is_ejected && due > longest;
        let is_due = due <= now.0 || is_lost;
        match self.question_at.load(SeqCst) {
            0 => is_due.then_some((&self.probe_at, due)),
            // Each probe of a suspected one asks. The back-off of an ejected one holds for it too.
            question => (question <= now.0 && (is_due || !is_ejected))
                .then_some((&self.question_at, question)),
        }
    }

    /// What it gets of its weight, in permille: less than 1000 in a slow start of this length.
    #[must_use]
    pub fn share(&self, now: Tick, slow_start: Duration) -> u32 {
        let back_at = self.back_at.load(SeqCst);
        let since = now.since(Tick(back_at));
        if back_at == 0 || since >= slow_start {
            return 1000;
        }
        let part = since.as_micros() * 1000 / slow_start.as_micros().max(1);
        (part as u32).clamp(SHARE_MIN, 1000)
    }
}

/// Until when a claim made now holds: for as long as the probe can take. Its result sets the true time.
fn held(now: Tick, rules: &Rules) -> u64 {
    now.after(rules.timeout + rules.backoff).0
}

/// The wait after so many failures: doubles from `backoff` up to `backoff_max`.
#[must_use]
pub fn backoff(failures: u32, rules: &Rules) -> Duration {
    let factor = 1u32 << failures.saturating_sub(1).min(20);
    rules.backoff.saturating_mul(factor).min(rules.backoff_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        backoff: Duration::from_secs(1),
        backoff_max: Duration::from_secs(60),
        interval: Duration::ZERO,
        timeout: Duration::from_secs(5),
        slow_start: Duration::from_secs(10),
        eject_max: 50,
    };

    fn at(secs: u64) -> Tick {
        Tick(secs * 1_000_000)
    }

    #[test]
    fn the_back_off_doubles_to_its_bound() {
        let waits: Vec<u64> = [1, 2, 3, 6, 7, 8, 1000]
            .iter()
            .map(|n| backoff(*n, &RULES).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 32, 60, 60, 60]);
    }

    #[test]
    fn one_crash_seen_by_many_is_one_failure() {
        let health = Health::default();
        assert!(health.fail(at(100), &RULES));
        for _ in 0..50 {
            assert!(!health.fail(at(100), &RULES));
        }
        assert_eq!(health.failures(), 1);
        assert!(!health.claim_probe(at(100), &RULES));
        assert!(health.claim_probe(at(101), &RULES));
        assert!(!health.claim_probe(at(101), &RULES), "one prober is enough");
        health.probe_failed(at(102), &RULES);
        assert_eq!(health.failures(), 2);
        assert!(!health.claim_probe(at(103), &RULES));
        assert!(health.claim_probe(at(104), &RULES));
    }

    #[test]
    fn a_suspicion_ejects_none_and_has_one_probe() {
        let health = Health::default();
        health.succeed(at(1), &RULES);
        health.suspect(at(2));
        health.suspect(at(2));
        assert!(health.is_suspected() && !health.is_ejected());
        assert!(health.claim_probe(at(2), &RULES));
        health.suspect(at(3));
        assert!(!health.claim_probe(at(3), &RULES), "it is on its way");
        health.succeed(at(3), &RULES);
        health.acquit();
        health.suspect(at(4));
        assert!(health.claim_probe(at(4), &RULES));
    }

    #[test]
    fn connections_that_are_greeted_do_not_put_off_the_question() {
        for interval in [Duration::ZERO, Duration::from_secs(30)] {
            let rules = Rules { interval, ..RULES };
            let health = Health::default();
            health.succeed(at(1), &rules);
            health.suspect(at(2));
            health.succeed(at(2), &rules);
            assert!(health.is_due(at(3), &rules), "{interval:?}");
            assert!(health.claim_probe(at(3), &rules));
            assert!(!health.is_due(at(3), &rules));
            // The one that claimed it has no connection for it, or has gone.
            health.succeed(at(4), &rules);
            health.ask_again(at(4));
            assert!(health.claim_probe(at(4), &rules));
            health.suspect(at(5));
            assert!(!health.claim_probe(at(5), &rules), "it is on its way");
            assert!(health.claim_probe(at(10), &rules), "the claim has run out");
            health.acquit();
            health.ask_again(at(11));
            assert!(!health.is_suspected(), "it has answered");
        }
    }

    #[test]
    fn the_question_waits_for_the_back_off_of_an_ejected_one() {
        let health = Health::default();
        health.suspect(at(100));
        assert!(health.claim_probe(at(100), &RULES));
        health.probe_failed(at(101), &RULES);
        assert!(!health.claim_probe(at(101), &RULES));
        // A message found nothing better, and was greeted.
        assert!(health.succeed(at(101), &RULES));
        assert!(health.is_suspected() && !health.claim_probe(at(101), &RULES));
        assert!(health.claim_probe(at(102), &RULES));
    }

    #[test]
    fn no_ejected_backend_is_forgotten() {
        let health = Health::default();
        health.succeed(at(1), &RULES);
        assert_eq!(health.probe_at.load(SeqCst), Tick::FAR.0);
        // What is left when a success overtakes a failure half way.
        health.ejected.store(true, SeqCst);
        assert!(health.claim_probe(at(2), &RULES));
    }

    #[test]
    fn a_flapping_backend_waits_longer_each_time() {
        let health = Health::default();
        health.fail(at(100), &RULES);
        assert!(health.succeed(at(101), &RULES));
        assert!(!health.succeed(at(101), &RULES));
        health.fail(at(102), &RULES);
        assert_eq!(health.failures(), 2);
        health.succeed(at(104), &RULES);
        // Well for longer than the longest back-off: forgiven.
        health.fail(at(200), &RULES);
        assert_eq!(health.failures(), 1);
    }

    #[test]
    fn a_new_one_is_probed_once_and_a_returned_one_starts_slowly() {
        let health = Health::default();
        assert!(health.claim_probe(at(0), &RULES));
        health.succeed(at(1), &RULES);
        assert!(!health.claim_probe(at(1_000_000), &RULES));
        assert_eq!(health.share(at(1), RULES.slow_start), 1000, "never away");
        health.fail(at(10), &RULES);
        health.succeed(at(20), &RULES);
        let shares: Vec<u32> = [20, 22, 25, 30, 99]
            .iter()
            .map(|s| health.share(at(*s), RULES.slow_start))
            .collect();
        assert_eq!(shares, [100, 200, 500, 1000, 1000]);
    }
}
