//! What a worker writes down: counts and latencies, in its own memory, handed over once an interval.

use crate::{
    ledger::{Entry, Fate},
    report::histogram::empty,
    result::Totals,
};
use gatepost::smtp::{ReplyHead, Status, Tick};
use hdrhistogram::Histogram;
use std::{fmt, io};

/// Latencies above this many microseconds are counted as this many: a day.
const LATENCY_MAX_US: u64 = 86_400_000_000;
/// Different errors that are told apart; the rest is `other`.
const ERRORS_MAX: usize = 200;

fn record(histogram: &mut Histogram<u64>, micros: u64) {
    histogram
        .record(micros.min(LATENCY_MAX_US))
        .expect("it grows as it must, and a day is within what it can hold");
}

/// The steps of a message and of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Until the connection stands.
    Connect,
    /// Until the server has greeted.
    Greeting,
    /// EHLO.
    Hello,
    /// STARTTLS.
    StartTls,
    /// A TLS handshake in full.
    Tls,
    /// A TLS handshake that resumed a session.
    TlsResumed,
    /// AUTH, to its final reply.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// The body, to the final reply.
    Body,
    /// From MAIL to the final reply.
    Service,
    /// RSET after a message that was refused.
    Reset,
    /// A message that trickled in, from its intended start to the final reply.
    Slow,
    /// An idle session.
    Idle,
    /// A message that never began.
    Start,
}

impl Step {
    /// How many there are.
    pub const COUNT: usize = 16;

    /// The name in results.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Step::Connect => "connect",
            Step::Greeting => "greeting",
            Step::Hello => "hello",
            Step::StartTls => "starttls",
            Step::Tls => "tls",
            Step::TlsResumed => "tls-resumed",
            Step::Auth => "auth",
            Step::Mail => "mail",
            Step::Rcpt => "rcpt",
            Step::Data => "data",
            Step::Body => "body",
            Step::Service => "service",
            Step::Reset => "reset",
            Step::Slow => "slow",
            Step::Idle => "idle",
            Step::Start => "start",
        }
    }
}

/// What was not as wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A reply.
    Reply(ReplyHead),
    /// No reply: a few words.
    Words(&'static str),
}

/// A few words for what the kernel said.
#[must_use]
pub fn words(error: &io::Error) -> &'static str {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::TimedOut => "timed out",
        Kind::ConnectionRefused => "refused",
        Kind::ConnectionReset
        | Kind::ConnectionAborted
        | Kind::BrokenPipe
        | Kind::UnexpectedEof => "connection lost",
        Kind::AddrNotAvailable | Kind::AddrInUse => "no local port is free",
        Kind::NetworkUnreachable | Kind::HostUnreachable => "unreachable",
        // EMFILE, ENFILE: these have no kind.
        _ if matches!(error.raw_os_error(), Some(23 | 24)) => "no descriptor is free (ulimit -n)",
        _ => "failed",
    }
}

/// A kind of error: at which step, and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorKey {
    step: Step,
    fault: Fault,
}

impl fmt::Display for ErrorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.step.as_str())?;
        match self.fault {
            Fault::Reply(head) => write!(f, "{head}"),
            Fault::Words(words) => f.write_str(words),
        }
    }
}

/// How a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// 250.
    Acknowledged,
    /// 4xx.
    Deferred,
    /// 5xx.
    Rejected,
    /// The connection was lost after its end.
    Uncertain,
    /// Left on purpose.
    Aborted,
    /// The connection was lost ahead of its end, or never stood.
    Failed,
}

impl End {
    /// What a reply that is not 2xx makes of a message.
    #[must_use]
    pub fn refused(head: ReplyHead) -> End {
        if head.is_transient() {
            End::Deferred
        } else {
            End::Rejected
        }
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// Recipients that were accepted.
    pub accepted: u16,
    /// Recipients that were refused.
    pub refused: u16,
    /// Of its payload.
    pub octets: u64,
}

impl Outcome {
    /// A message that died before any recipient was named.
    pub const FAILED: Outcome = Outcome {
        end: End::Failed,
        accepted: 0,
        refused: 0,
        octets: 0,
    };

    /// The line in the ledger.
    #[must_use]
    pub fn entry(&self) -> Entry {
        Entry {
            fate: match self.end {
                End::Acknowledged => Fate::Acknowledged,
                End::Deferred | End::Rejected => Fate::Refused,
                End::Uncertain => Fate::Uncertain,
                End::Aborted | End::Failed => Fate::Unsent,
            },
            recipients: self.accepted,
        }
    }
}

/// What happened in one interval, on one worker.
#[derive(Debug)]
pub struct Part {
    /// Counts of this interval alone.
    pub totals: Totals,
    /// Sessions open at its end.
    pub sessions: u64,
    /// Of messages acknowledged in it, from their intended start.
    pub latency: Histogram<u64>,
    /// What went wrong.
    pub errors: Vec<(ErrorKey, u64)>,
}

impl Default for Part {
    fn default() -> Part {
        Part {
            totals: Totals::default(),
            sessions: 0,
            latency: empty(),
            errors: Vec::new(),
        }
    }
}

/// The latencies of each step that was seen, by [`Step`].
pub type Steps = Vec<StepNotes>;

/// A step and its latencies.
pub type StepNotes = (Step, Histogram<u64>);

/// A worker's notes.
#[derive(Debug, Default)]
pub struct Recorder {
    part: Part,
    steps: [Option<Box<StepNotes>>; Step::COUNT],
    /// When the last message ended.
    pub last: Tick,
    /// The first number that nothing was noted of.
    pub numbers: u32,
}

impl Recorder {
    /// Notes how long a step took.
    pub fn step(&mut self, step: Step, micros: u64) {
        let slot = &mut self.steps[step as usize];
        let (_, histogram) = &mut **slot.get_or_insert_with(|| Box::new((step, empty())));
        record(histogram, micros);
    }

    /// Notes an error.
    pub fn error(&mut self, step: Step, fault: Fault) {
        let errors = &mut self.part.errors;
        let mut key = ErrorKey { step, fault };
        if errors.len() >= ERRORS_MAX && !errors.iter().any(|(known, _)| *known == key) {
            key.fault = match fault {
                // Without the enhanced code there are only so many.
                Fault::Reply(ReplyHead { code, .. }) => Fault::Reply(ReplyHead {
                    code,
                    status: Status::NONE,
                }),
                Fault::Words(_) => Fault::Words("other"),
            };
        }
        match errors.iter_mut().find(|(known, _)| *known == key) {
            Some((_, count)) => *count += 1,
            None => errors.push((key, 1)),
        }
    }

    /// The counts of this interval, for what is only counted.
    pub fn totals(&mut self) -> &mut Totals {
        &mut self.part.totals
    }

    /// Notes the end of a message.
    pub fn finish(&mut self, outcome: &Outcome, intended: Tick, at: Tick) {
        if outcome.end == End::Acknowledged {
            record(&mut self.part.latency, at.micros_since(intended));
        }
        self.count(outcome, at);
    }

    /// Notes the end of a message that trickled in: its latency stands apart from the others'.
    pub fn finish_slow(&mut self, outcome: &Outcome, intended: Tick, at: Tick) {
        if outcome.end == End::Acknowledged {
            self.step(Step::Slow, at.micros_since(intended));
        }
        self.count(outcome, at);
    }

    fn count(&mut self, outcome: &Outcome, at: Tick) {
        let totals = &mut self.part.totals;
        match outcome.end {
            End::Acknowledged => {
                totals.acknowledged += 1;
                totals.octets += outcome.octets;
            }
            End::Deferred => totals.deferred += 1,
            End::Rejected => totals.rejected += 1,
            End::Uncertain => totals.uncertain += 1,
            End::Aborted => totals.aborted += 1,
            End::Failed => totals.failed += 1,
        }
        totals.recipients += u64::from(outcome.accepted);
        totals.recipients_refused += u64::from(outcome.refused);
        self.last = self.last.max(at);
    }

    /// Hands over what was noted since the last time.
    pub fn hand_over(&mut self, sessions: u64) -> Part {
        let mut part = std::mem::take(&mut self.part);
        part.sessions = sessions;
        part
    }

    /// Hands over the latencies of all steps.
    pub fn hand_over_steps(&mut self) -> Steps {
        let steps = std::mem::take(&mut self.steps);
        steps.into_iter().flatten().map(|step| *step).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16, status: Status) -> Fault {
        Fault::Reply(ReplyHead { code, status })
    }

    #[test]
    fn errors_are_told_apart_and_bounded() {
        let mut notes = Recorder::default();
        notes.error(Step::Rcpt, reply(550, Status(5, 1, 1)));
        notes.error(Step::Rcpt, reply(550, Status(5, 1, 1)));
        notes.error(Step::Connect, Fault::Words("refused"));
        for code in 0..1000 {
            notes.error(Step::Body, reply(451, Status(4, 4, code)));
        }
        let part = notes.hand_over(3);
        let named = |name: &str| {
            let found = part.errors.iter().find(|(key, _)| key.to_string() == name);
            found.map_or(0, |(_, count)| *count)
        };
        assert_eq!((named("rcpt 550 5.1.1"), named("connect refused")), (2, 1));
        assert_eq!(named("body 451"), 1000 - (ERRORS_MAX as u64 - 2));
        assert!(part.errors.len() <= ERRORS_MAX + 1 && part.sessions == 3);
    }

    #[test]
    fn latency_counts_from_the_intended_start() {
        let mut notes = Recorder::default();
        let outcome = Outcome {
            end: End::Acknowledged,
            accepted: 1,
            refused: 0,
            octets: 10,
        };
        notes.finish(&outcome, Tick(1_000_000), Tick(3_000_000));
        notes.finish(&Outcome::FAILED, Tick(0), Tick(9_000_000));
        let part = notes.hand_over(0);
        assert_eq!(part.latency.len(), 1);
        assert!(part.latency.max().abs_diff(2_000_000) < 2000);
        assert_eq!(
            (
                part.totals.acknowledged,
                part.totals.failed,
                part.totals.octets
            ),
            (1, 1, 10)
        );
        assert_eq!(notes.hand_over(0).totals, Totals::default());
    }
}
