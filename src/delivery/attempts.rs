//! Which backend next, and when to give up: the one loop over the backends of a message, with one list of those that
//! were tried and one bound ([`TRIES_MAX`](crate::upstream::TRIES_MAX)).

use super::{
    measure::record,
    outcome::{Ending, Outcome, Step},
    transfer::{self, Message, Met, Streaming},
};
use crate::{
    log::say,
    metrics::Counter,
    smtp::{Extensions, ReplyHead, Status, backend_session::Unsupported, envelope::BodyKind},
    upstream::{BackendId, Lease, LeaseError, Needs, Pools, Request, Tried},
};
use std::{ops::ControlFlow, rc::Rc};

/// Hands a message that lies in memory to a backend of its pool.
pub async fn deliver(pools: &Rc<Pools>, message: &Message<'_>) -> Outcome {
    let mut attempts = Attempts::new(pools, message);
    loop {
        let mut lease = match attempts.lease().await {
            Ok(lease) => lease,
            Err(why) => return attempts.without_lease(why),
        };
        let met = transfer::whole(&mut lease, message).await;
        let next = attempts.after(met, &lease);
        lease.give_back();
        if let ControlFlow::Break(outcome) = next {
            return outcome;
        }
    }
}

/// Opens the way for a message that is still coming: what has come of it is at hand until a backend has taken the
/// envelope, so until then another one may be tried.
///
/// # Errors
/// What came of it instead.
pub async fn open(pools: &Rc<Pools>, message: &Message<'_>) -> Result<Streaming, Box<Outcome>> {
    let mut attempts = Attempts::new(pools, message);
    loop {
        let lease = match attempts.lease().await {
            Ok(lease) => lease,
            Err(why) => return Err(Box::new(attempts.without_lease(why))),
        };
        let (met, lease) = match Streaming::start(Rc::clone(pools), lease, message).await {
            Ok(streaming) => return Ok(streaming),
            Err(failed) => *failed,
        };
        let next = attempts.after(met, &lease);
        lease.give_back();
        if let ControlFlow::Break(outcome) = next {
            return Err(Box::new(outcome));
        }
    }
}

/// One message's tries.
struct Attempts<'a> {
    pools: &'a Rc<Pools>,
    request: Request<'a>,
    tried: Tried,
    /// What is told where no other try comes to more.
    kept: Option<Outcome>,
}

/// What follows from what a try came to.
enum Next {
    /// That was it.
    Done,
    /// The same on a connection that has carried nothing yet.
    Fresh,
    /// Another backend.
    Elsewhere,
}

impl<'a> Attempts<'a> {
    fn new(pools: &'a Rc<Pools>, message: &'a Message<'a>) -> Attempts<'a> {
        let envelope = message.envelope;
        let first = envelope.recipients().first();
        Attempts {
            pools,
            request: Request {
                pool: message.pool,
                key: first.map_or(&b""[..], |first| envelope.path(first.path).whole),
                origin: message.origin,
                client: message.client,
                needs: needs_of(pools, message),
                deadline: message.deadline,
            },
            tried: Tried::default(),
            kept: None,
        }
    }

    /// A connection to a backend that was not tried yet.
    async fn lease(&mut self) -> Result<Lease, LeaseError> {
        loop {
            match self.pools.acquire(&self.request, &mut self.tried).await {
                Err(LeaseError::Failed(..)) => {}
                other => return other,
            }
        }
    }

    /// No further try can be made: what is told.
    fn without_lease(&mut self, why: LeaseError) -> Outcome {
        say!(Debug, "no connection to a backend: {why}");
        match self.kept.take() {
            // Another backend might have been able to.
            Some(kept) if !matches!(kept.ending, Ending::Unsupported(_)) => kept,
            _ => match self.lacking() {
                Some(lacking) if self.has_lapsed() => Outcome::ended(Ending::Lapsed(lacking)),
                Some(lacking) => Outcome::ended(Ending::Unsupported(lacking)),
                None => Outcome::without(why),
            },
        }
    }

    /// What follows from what a try came to: another one, or the outcome.
    fn after(&mut self, met: Met, lease: &Lease) -> ControlFlow<Outcome> {
        if !met.stale {
            record(self.pools, &met.outcome, lease);
        }
        let backend = lease.backend().id;
        let counter = match next(&met) {
            Next::Done => return ControlFlow::Break(met.outcome),
            Next::Fresh => {
                // The backend may be well; only its pooled connections are in doubt.
                self.tried.stale();
                Counter::RetryStale
            }
            Next::Elsewhere => {
                self.avoid(backend, &met.outcome);
                Counter::RetryOther
            }
        };
        self.keep(met.outcome);
        if self.tried.is_over() || self.is_exhausted() {
            let count = self.tried.backends().len();
            say!(Debug, "gave up after {count} backends");
            // That this one can't take the message is permanent only where no other of the pool can.
            let told = match &self.kept {
                Some(Outcome {
                    ending: Ending::Unsupported(why),
                    ..
                }) if transfer::is_by_capability(*why) => {
                    let last = self.tried.last();
                    Some(self.without_lease(LeaseError::Down(last)))
                }
                _ => self.kept.take(),
            };
            if let Some(outcome) = told {
                return ControlFlow::Break(outcome);
            }
        }
        self.pools.recorder().count(counter, lease.scope(), 1);
        ControlFlow::Continue(())
    }

    /// Whether no backend that may take the message is left to try.
    fn is_exhausted(&self) -> bool {
        let Request { pool, needs, .. } = self.request;
        self.pools.is_exhausted(pool, needs, &self.tried)
    }

    /// Whether a backend of the pool could take it of late.
    fn has_lapsed(&self) -> bool {
        let Request { pool, needs, .. } = self.request;
        self.pools.has_lapsed(pool, needs)
    }

    /// What no backend of the pool can take, as all of them have shown.
    fn lacking(&self) -> Option<Unsupported> {
        let Request { pool, needs, .. } = self.request;
        if !self.pools.lacks(pool, needs) {
            return None;
        }
        let of_size = Needs {
            size: needs.size,
            ..Needs::default()
        };
        if self.pools.lacks(pool, of_size) {
            return Some(Unsupported::Size);
        }
        let lacks = |(extensions, _): &(Extensions, Unsupported)| {
            let only = Needs {
                size: 0,
                extensions: *extensions,
                ..needs
            };
            needs.extensions.has(*extensions) && self.pools.lacks(pool, only)
        };
        let found = EXTENSIONS.into_iter().find(lacks);
        // Each can take a part of it.
        Some(found.map_or(Unsupported::Size, |(_, why)| why))
    }

    fn avoid(&mut self, backend: BackendId, outcome: &Outcome) {
        match outcome.ending {
            Ending::Lost(trouble) => self.tried.failed(backend, trouble),
            _ => self.tried.refused(backend),
        }
    }

    /// Keeps the outcome that says most: what a backend said, rather than that one was lost, rather than that one can't
    /// take such a message (which is permanent, so all must have said so).
    fn keep(&mut self, outcome: Outcome) {
        let rank = |outcome: &Outcome| match outcome.ending {
            Ending::Unsupported(_) => 0,
            Ending::Lost(_) => 1,
            _ => 2,
        };
        if self
            .kept
            .as_ref()
            .is_none_or(|kept| rank(kept) <= rank(&outcome))
        {
            self.kept = Some(outcome);
        }
    }
}

/// What a message may need, and what it is where no backend has it.
const EXTENSIONS: [(Extensions, Unsupported); 4] = [
    (Extensions::SMTPUTF8, Unsupported::Utf8),
    (Extensions::EIGHTBITMIME, Unsupported::EightBit),
    (Extensions::BINARYMIME, Unsupported::Binary),
    (Extensions::REQUIRETLS, Unsupported::RequireTls),
];

/// What a backend must be able to take for this message. A stream of undeclared size goes to a backend
/// that takes as much as any of the pool.
fn needs_of(pools: &Pools, message: &Message<'_>) -> Needs {
    let (params, load) = (message.envelope.params(), message.load);
    let size = match load.whole {
        true => load.size,
        false if params.size > 0 => params.size.max(load.size),
        false => match pools.size_max(message.pool) {
            0 => u64::MAX,
            most => most.max(load.size),
        },
    };
    let declared = params.body == BodyKind::EightBitMime && !load.whole;
    let mut extensions = Extensions::NONE;
    for (extension, needed) in [
        (Extensions::SMTPUTF8, params.smtputf8),
        (Extensions::EIGHTBITMIME, load.eight_bit || declared),
        (Extensions::BINARYMIME, params.body == BodyKind::BinaryMime),
        (Extensions::REQUIRETLS, params.requiretls),
    ] {
        if needed {
            extensions = extensions | extension;
        }
    }
    Needs {
        size,
        extensions,
        question: false,
    }
}

/// Whether another try follows, and where.
fn next(met: &Met) -> Next {
    let outcome = &met.outcome;
    match &outcome.ending {
        Ending::Lost(_) | Ending::Unsupported(_) if met.stale => Next::Fresh,
        Ending::Lost(_) | Ending::Unsupported(_) => Next::Elsewhere,
        Ending::Refused(step, said) if is_own_trouble(said.head, *step) => match met.stale {
            true => Next::Fresh,
            false => Next::Elsewhere,
        },
        Ending::Recipients if refuses_for_itself(outcome) => Next::Elsewhere,
        Ending::Accepted(_)
        | Ending::Refused(..)
        | Ending::Recipients
        | Ending::Lapsed(_)
        | Ending::NoConnection(_)
        // INV-ONCE
        | Ending::Uncertain(_) => Next::Done,
    }
}

/// Whether all recipients that were refused were refused for the backend's own reasons. One that was refused for another
/// reason would be refused elsewhere too.
fn refuses_for_itself(outcome: &Outcome) -> bool {
    let mut refused = outcome.refused.iter();
    refused.all(|(_, said)| is_own_trouble(said.head, Step::Recipient))
}

/// Whether a backend says no for now, and because of itself: its disk is full, it is overloaded or goes down (RFC 3463
/// §3.4). Another backend of the pool may be well. A sending mail server tries the next host then, and so do we: a
/// reply that says no leaves no doubt, so this is no second sending.
///
/// A bare 451 or 452 means the same to MAIL, to DATA and to the end of data (RFC 5321 §4.2.2). To RCPT it is used for
/// greylisting and for too many recipients, which another backend would say as well.
fn is_own_trouble(head: ReplyHead, step: Step) -> bool {
    match (head.code, head.status, step) {
        _ if !head.is_transient() => false,
        (_, _, Step::Client) => false,
        (421, ..) | (_, Status(4, 3, _), _) => true,
        (451 | 452, Status::NONE | Status(4, 0, 0), step) => step != Step::Recipient,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_backend_is_tried_where_one_speaks_of_itself() {
        let own = |code, status, step| is_own_trouble(ReplyHead { code, status }, step);
        for step in [Step::Sender, Step::Recipient, Step::Data, Step::Message] {
            assert!(own(452, Status(4, 3, 1), step));
            assert!(own(451, Status(4, 3, 0), step));
            assert!(own(421, Status::NONE, step));
            assert!(!own(550, Status(5, 3, 0), step), "that is for good");
            assert!(!own(450, Status(4, 2, 0), step), "a mailbox");
            assert!(!own(451, Status(4, 7, 1), step), "greylisting");
            assert!(!own(452, Status(4, 5, 3), step), "too many recipients");
            assert_eq!(own(452, Status::NONE, step), step != Step::Recipient);
        }
        assert!(!own(421, Status::NONE, Step::Client));
    }
}
