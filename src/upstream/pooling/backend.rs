//! One backend: an address that belongs to a pool, with what all workers know of it.
//!
//! Everything that changes is an atomic: no worker waits for another to learn a backend's health, load or
//! capabilities. A backend that a reload leaves as it was keeps this state (and its number) over it.

use super::{
    super::{
        answers::Answers,
        balance,
        endurance::Endurance,
        health::Health,
        ids::BackendId,
        in_step::InStep,
        learned::LearnedLimit,
        outlier::{Counts, Outcomes},
        question::QuestionSender,
        reply::BackendReply,
        security::SecurityIdentity,
        silence::{Silence, Waiting},
    },
    budget::Budget,
    queue::Queue,
};
use crate::{
    config::PoolIdentity,
    smtp::{Capabilities, Extensions, Tick},
};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

/// What makes two backends the same over a reload: connections are kept apart by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionIdentity {
    /// The pool's name.
    pub pool: String,
    /// Where it is.
    pub address: SocketAddr,
    /// Whether it's spoken to in LMTP.
    pub lmtp: bool,
    /// Whether BDAT may be used.
    pub chunking: bool,
    /// What we call ourselves.
    pub hello: String,
    /// How it's told the client's identity.
    pub told: PoolIdentity,
    /// How connections to it are secured.
    pub security: SecurityIdentity,
}

/// One backend.
#[derive(Debug)]
pub struct Backend {
    /// Unique in the process, and the same after a reload that keeps the backend.
    pub id: BackendId,
    /// What it is.
    pub identity: ConnectionIdentity,
    /// Its name in metrics and logs: `pool/address`.
    pub label: String,
    /// Connections, over all workers.
    pub budget: Budget,
    /// Whether it can be used, and when it's probed.
    pub health: Health,
    /// What it offered last.
    pub seen: Seen,
    /// A limit on recipients that it has shown.
    pub learned: LearnedLimit,
    /// What came of its latest messages.
    pub outcomes: Outcomes,
    /// Whether it answers questions about recipients.
    pub answers: Answers,
    /// Whether it has fallen silent.
    pub(in crate::upstream) silence: Arc<Silence>,
    /// How many messages it takes on one connection.
    pub endurance: Endurance,
    /// Whether it answers each command once.
    pub in_step: InStep,
    /// Whether it can be asked about recipients.
    pub question: QuestionSender,
    /// What stands for it in a hash.
    pub seed: u64,
    /// The queue of its pool.
    pub(in crate::upstream) queue: Arc<Queue>,
    /// That TLS with it fails has been said.
    pub(in crate::upstream) insecure: AtomicBool,
    /// Whether it was logged that it can't be told the client's identity.
    pub(in crate::upstream) untold: AtomicBool,
    weight: AtomicU32,
    waiting: AtomicU32,
    leases: AtomicU32,
    opening: AtomicU32,
    idle: AtomicU32,
    closing: AtomicU32,
    /// When it last greeted a connection of ours, in ticks; 0: never.
    pub(in crate::upstream) greeted_at: AtomicU64,
}

impl Backend {
    /// A backend that nothing is known of.
    #[must_use]
    pub fn new(
        identity: ConnectionIdentity,
        weight: u32,
        connections: u32,
        queue: Arc<Queue>,
    ) -> Backend {
        let label = format!("{}/{}", identity.pool, identity.address);
        // Of the address alone: renaming a pool moves no recipient.
        let seed = balance::hash(identity.address.to_string().as_bytes());
        Backend {
            id: BackendId::next(),
            identity,
            label,
            budget: Budget::new(connections),
            health: Health::default(),
            seen: Seen::default(),
            learned: LearnedLimit::default(),
            outcomes: Outcomes::default(),
            answers: Answers::default(),
            silence: Arc::default(),
            endurance: Endurance::default(),
            in_step: InStep::default(),
            question: QuestionSender::default(),
            seed,
            queue,
            insecure: AtomicBool::new(false),
            untold: AtomicBool::new(false),
            weight: AtomicU32::new(weight),
            waiting: AtomicU32::new(0),
            leases: AtomicU32::new(0),
            opening: AtomicU32::new(0),
            idle: AtomicU32::new(0),
            closing: AtomicU32::new(0),
            greeted_at: AtomicU64::new(0),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.identity.address
    }

    /// Its share relative to the others of its pool.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.weight.load(Relaxed)
    }

    /// Changes weight and budget (a reload).
    pub(in crate::upstream) fn adjust(&self, weight: u32, connections: u32) {
        self.weight.store(weight, Relaxed);
        self.budget.set_limit(connections);
    }

    /// Leases in flight, over all workers.
    #[must_use]
    pub fn leases(&self) -> u32 {
        self.leases.load(Relaxed)
    }

    /// Messages that it has or is to have, over all workers: its leases, and connections that are being opened for one.
    #[must_use]
    pub fn load(&self) -> u32 {
        self.leases() + self.opening.load(Relaxed)
    }

    /// Counts a connection that is being opened for a message, until the value is dropped.
    pub(in crate::upstream) fn opening(&self, now: Tick) -> Opening<'_> {
        self.opening.fetch_add(1, Relaxed);
        Opening {
            backend: self,
            waiting: self.silence.wait(now, false),
        }
    }

    /// Idle connections, over all workers.
    #[must_use]
    pub fn idle(&self) -> u32 {
        self.idle.load(SeqCst)
    }

    /// Whether a message waits for a connection to it.
    #[must_use]
    pub fn has_waiters(&self) -> bool {
        self.waiting.load(SeqCst) > 0
    }

    pub(in crate::upstream) fn waiter_came(&self) {
        self.waiting.fetch_add(1, SeqCst);
    }

    pub(in crate::upstream) fn waiter_went(&self) {
        self.waiting.fetch_sub(1, SeqCst);
    }

    pub(in crate::upstream) fn lease_begun(&self) {
        self.leases.fetch_add(1, Relaxed);
    }

    pub(in crate::upstream) fn lease_ended(&self) {
        self.leases.fetch_sub(1, Relaxed);
    }

    pub(in crate::upstream) fn idle_came(&self) {
        self.idle.fetch_add(1, SeqCst);
    }

    pub(in crate::upstream) fn idle_went(&self) {
        self.idle.fetch_sub(1, SeqCst);
    }

    /// Connections that it has greeted, as it counts them: a lease has them, they are idle, or it has been told QUIT on
    /// them and has not closed them yet.
    #[must_use]
    pub fn greeted(&self) -> u32 {
        self.idle() + self.leases() + self.closing.load(Relaxed)
    }

    /// Counts a connection that is being closed, until the value is dropped.
    pub(in crate::upstream) fn closing(self: &Arc<Self>) -> Closing {
        self.closing.fetch_add(1, Relaxed);
        Closing(Arc::clone(self))
    }

    /// What an operator sees of it.
    #[must_use]
    pub fn view(&self, now: Tick, slow_start: Duration) -> BackendView {
        BackendView {
            label: self.label.clone(),
            address: self.address(),
            weight: self.weight(),
            up: !self.health.is_ejected(),
            share_percent: self.health.share(now, slow_start) / 10,
            failures: self.health.failures(),
            connections: self.budget.used(),
            connections_max: self.budget.limit(),
            idle: self.idle(),
            leases: self.leases(),
            capabilities: self.seen.get(),
            latest: self.outcomes.latest(now),
            question_refused: self.question.refusal(),
        }
    }
}

/// See [`Backend::closing`].
#[derive(Debug)]
pub(in crate::upstream) struct Closing(Arc<Backend>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.closing.fetch_sub(1, Relaxed);
    }
}

/// See [`Backend::opening`].
#[derive(Debug)]
pub(in crate::upstream) struct Opening<'a> {
    backend: &'a Backend,
    waiting: Waiting<'a>,
}

impl Opening<'_> {
    /// Nothing was heard in time.
    pub(in crate::upstream) fn give_up(&mut self, now: Tick) {
        self.waiting.give_up(now);
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.backend.opening.fetch_sub(1, Relaxed);
    }
}

/// What an operator sees of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendView {
    /// `pool/address`.
    pub label: String,
    /// Where it is.
    pub address: SocketAddr,
    /// Its configured weight.
    pub weight: u32,
    /// Not ejected.
    pub up: bool,
    /// What it gets of its weight: less than 100 in its slow start.
    pub share_percent: u32,
    /// Failures since it was well for long.
    pub failures: u32,
    /// Open connections.
    pub connections: u32,
    /// Open connections at most.
    pub connections_max: u32,
    /// Those that are idle.
    pub idle: u32,
    /// Leases in flight.
    pub leases: u32,
    /// What it offered last; `None` until it has been reached.
    pub capabilities: Option<Capabilities>,
    /// Messages of the last ten to twenty seconds, and those of them that failed through its fault.
    pub latest: Counts,
    /// It refuses MAIL from the sender that recipients are verified with, in these words.
    pub question_refused: Option<BackendReply>,
}

/// What a backend has lost counts for so long as a passing trouble: a filter in its way answers EHLO with 502 for a while, say.
/// A message that its sender was offered to send is put off meanwhile, instead of being refused for good.
const LAPSE: Duration = Duration::from_secs(24 * 3600);
/// What a session offers its client because the backends do, and the client then relies on.
const LAPSING: [Extensions; 2] = [Extensions::SMTPUTF8, Extensions::EIGHTBITMIME];

/// Whether what was noted at this tick still counts.
fn is_fresh(at: &AtomicU64, now: Tick) -> bool {
    match at.load(Relaxed) {
        0 => false,
        at => now.since(Tick(at)) < LAPSE,
    }
}

/// A size of which 0 is no limit.
fn unlimited(size: u64) -> u64 {
    match size {
        0 => u64::MAX,
        size => size,
    }
}

/// The capabilities that a backend showed last.
#[derive(Debug, Default)]
pub struct Seen {
    /// When it last offered each of [`LAPSING`], in ticks; 0: never.
    offered_at: [AtomicU64; 2],
    /// The largest size that it took of late, and when it said so.
    size_before: AtomicU64,
    size_before_at: AtomicU64,
    known: AtomicBool,
    extensions: AtomicU32,
    size_max: AtomicU64,
    recipients_max: AtomicU32,
    messages_max: AtomicU32,
}

impl Seen {
    /// Remembers what an EHLO reply said. A reader may see two replies mixed for a moment: they are of the
    /// same machine, and each field is right by itself.
    pub fn set(&self, capabilities: &Capabilities, now: Tick) {
        for (extension, at) in LAPSING.iter().zip(&self.offered_at) {
            if capabilities.extensions.has(*extension) {
                at.store(now.0.max(1), Relaxed);
            }
        }
        // A reply to HELO, or one without any extension we know, says nothing about sizes: no limit is known then, but none is given up.
        let is_told = capabilities.extensions != Extensions::NONE;
        let size = unlimited(capabilities.size_max);
        let is_news =
            size >= self.size_before.load(Relaxed) || !is_fresh(&self.size_before_at, now);
        if is_told && is_news {
            self.size_before.store(size, Relaxed);
            self.size_before_at.store(now.0.max(1), Relaxed);
        }
        self.extensions.store(capabilities.extensions.0, Relaxed);
        self.size_max.store(capabilities.size_max, Relaxed);
        self.recipients_max
            .store(capabilities.recipients_max, Relaxed);
        self.messages_max.store(capabilities.messages_max, Relaxed);
        self.known.store(true, SeqCst);
    }

    /// Whether it could take this of late, by what it offered then.
    #[must_use]
    pub fn could(&self, size: u64, extensions: Extensions, now: Tick) -> bool {
        let mut offered = self.get().map_or(Extensions::NONE, |seen| seen.extensions);
        for (extension, at) in LAPSING.iter().zip(&self.offered_at) {
            if is_fresh(at, now) {
                offered = offered | *extension;
            }
        }
        let fits = || {
            let is_fresh = is_fresh(&self.size_before_at, now);
            is_fresh && size <= self.size_before.load(Relaxed)
        };
        (size == 0 || fits()) && offered.has(extensions)
    }

    /// What it said last; `None` until it has been reached.
    #[must_use]
    pub fn get(&self) -> Option<Capabilities> {
        self.known.load(SeqCst).then(|| Capabilities {
            extensions: Extensions(self.extensions.load(Relaxed)),
            size_max: self.size_max.load(Relaxed),
            recipients_max: self.recipients_max.load(Relaxed),
            messages_max: self.messages_max.load(Relaxed),
            // Of use on the connection that said it alone.
            ..Capabilities::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_that_says_nothing_of_sizes_gives_up_no_limit() {
        let offering = |extensions: Extensions, size_max| Capabilities {
            extensions,
            size_max,
            ..Capabilities::default()
        };
        let (helo, now) = (Capabilities::default(), Tick(5));
        let limited = offering(Extensions::SIZE, 1000);
        let could = |seen: &Seen, size| seen.could(size, Extensions::NONE, now);
        // A filter in the way answers EHLO with 502 for a while: before the limit was seen, or after.
        for replies in [[helo, limited], [limited, helo]] {
            let seen = Seen::default();
            for reply in &replies {
                seen.set(reply, now);
            }
            assert!(could(&seen, 0) && could(&seen, 1000), "{replies:?}");
            assert!(!could(&seen, 1001), "{replies:?}");
        }
        // EHLO without SIZE is no limit.
        let seen = Seen::default();
        seen.set(&offering(Extensions::PIPELINING, 0), now);
        seen.set(&limited, now);
        assert!(could(&seen, 1001));
        assert!(!seen.could(1001, Extensions::NONE, now.after(LAPSE)));
    }
}
