//! Does a backend take this recipient? Asked with MAIL FROM:<>, RCPT, RSET over a pooled connection, and
//! remembered.
//!
//! Sessions of one worker that ask about the same recipient at the same time ask once. The null sender is
//! the one that every recipient must take (RFC 5321 §4.5.5), so the answer is about the recipient alone.

use super::{
    BackendReply,
    acquire::Request,
    error::{Broken, LeaseError},
    ids::PoolId,
    lease::Lease,
    origin::keeps_apart,
    pools::{Local, Pools},
    replies,
    tried::Tried,
    verify_cache::{Key, Known},
};
use crate::{
    metrics::{Counter, Stage},
    net::{self, now},
    smtp::{
        Reply, Status, Tick,
        client::{Event, Unsupported},
        envelope::Path,
        reply_parse::ReplyRef,
    },
};
use rustc_hash::FxHashMap;
use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    net::IpAddr,
    rc::Rc,
    task::{Poll, Waker},
    time::Duration,
};

/// How long a 4xx is remembered: long enough for the other sessions of a burst.
const DEFERRED_FOR: Duration = Duration::from_secs(10);

/// What is known of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// A backend takes it.
    Accepted,
    /// It doesn't (5xx).
    Refused(BackendReply),
    /// It doesn't now (4xx).
    Deferred(BackendReply),
    /// The backend can't be asked: the address is not ASCII, and it offers no SMTPUTF8.
    NoUtf8,
    /// No backend could be asked; the reply is a 4xx of ours.
    Unknown(Reply),
}

impl From<Known> for Verification {
    fn from(known: Known) -> Verification {
        match known {
            Known::Good => Verification::Accepted,
            Known::Bad(reply) if reply.head.is_permanent() => Verification::Refused(reply),
            Known::Bad(reply) => Verification::Deferred(reply),
        }
    }
}

/// A question that is under way.
#[derive(Default)]
struct Flight {
    answer: RefCell<Option<Verification>>,
    /// Who asked is done, or has gone.
    over: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

/// Questions under way on this worker. As many as sessions that ask.
#[derive(Default)]
pub(super) struct Flights {
    by_key: RefCell<FxHashMap<Box<[u8]>, Rc<Flight>>>,
}

/// Ends a flight when the one who asks is done, or is gone without an answer.
struct Landing<'a> {
    flights: &'a Flights,
    key: Key,
    flight: Rc<Flight>,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.flights.by_key.borrow_mut().remove(self.key.as_bytes());
        self.flight.over.set(true);
        self.flight.waiting.take().into_iter().for_each(Waker::wake);
    }
}

impl Flights {
    /// The flight of a key: `Err` is one that somebody else has begun.
    fn board(&self, key: Key) -> Result<Landing<'_>, Rc<Flight>> {
        let mut by_key = self.by_key.borrow_mut();
        if let Some(flight) = by_key.get(key.as_bytes()) {
            return Err(Rc::clone(flight));
        }
        let flight = Rc::<Flight>::default();
        by_key.insert(key.as_bytes().into(), Rc::clone(&flight));
        Ok(Landing {
            flights: self,
            key,
            flight,
        })
    }
}

impl Flight {
    /// Its answer; `None` where the one who asked has gone without.
    async fn landed(self: Rc<Self>) -> Option<Verification> {
        poll_fn(|cx| {
            if self.over.get() {
                return Poll::Ready(self.answer.borrow().clone());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl Pools {
    /// Whether the pool's backends take a recipient: from the cache, from another session's question, or by
    /// asking one, until `deadline`. `moment` is about now.
    pub async fn verify(
        self: &Rc<Self>,
        pool: PoolId,
        recipient: Path<'_>,
        moment: Tick,
        deadline: Tick,
    ) -> Verification {
        let Some(local) = self.local(pool) else {
            return Verification::Unknown(replies::UNVERIFIED.reply());
        };
        let ((counter, answer), micros) = match self.remembered(&local, recipient, moment) {
            // A look takes less than the microsecond that a histogram can tell, and than reading the clock twice.
            Some(known) => (known, 0),
            // Rare, and much larger than the session that waits for it.
            None => {
                let begun = now();
                let found = Box::pin(self.find_out(&local, recipient, deadline)).await;
                (found, now().micros_since(begun))
            }
        };
        self.recorder.count(counter, local.scope, 1);
        self.recorder.record(Stage::Verify, local.scope, micros);
        answer
    }

    /// What the cache says.
    fn remembered(
        &self,
        local: &Local,
        recipient: Path<'_>,
        now: Tick,
    ) -> Option<(Counter, Verification)> {
        let key = Key::new(local.pool.id, recipient)?;
        let known = self.backends().verified().look(&key, now)?;
        let counter = match known {
            Known::Good => Counter::VerifyHitGood,
            Known::Bad(_) => Counter::VerifyHitBad,
        };
        Some((counter, known.into()))
    }

    /// Asks, or waits for the answer to a session that does.
    async fn find_out(
        self: &Rc<Self>,
        local: &Rc<Local>,
        recipient: Path<'_>,
        deadline: Tick,
    ) -> (Counter, Verification) {
        let unknown = || {
            let reply = replies::UNVERIFIED.reply();
            (Counter::VerifyFailed, Verification::Unknown(reply))
        };
        let Some(key) = Key::new(local.pool.id, recipient) else {
            return unknown();
        };
        loop {
            let landing = match self.flights.board(key) {
                Ok(landing) => landing,
                Err(flight) => match net::timeout_at(deadline, flight.landed()).await {
                    Some(Some(answer)) => return (Counter::VerifyJoined, answer),
                    // Who asked has gone: ask.
                    Some(None) => continue,
                    None => return unknown(),
                },
            };
            let answer = match self.ask(local, recipient, &key, deadline).await {
                Some(answer) => (Counter::VerifyMiss, answer),
                None => unknown(),
            };
            landing.flight.answer.replace(Some(answer.1.clone()));
            return answer;
        }
    }

    /// Asks a backend, another one where the first fails, and remembers the answer.
    async fn ask(
        self: &Rc<Self>,
        local: &Rc<Local>,
        recipient: Path<'_>,
        key: &Key,
        deadline: Tick,
    ) -> Option<Verification> {
        let request = Request {
            pool: local.pool.id,
            key: recipient.whole,
            origin: None,
            deadline,
        };
        let mut tried = Tried::default();
        loop {
            let lease = match self.acquire(&request, &mut tried).await {
                Ok(lease) => lease,
                Err(LeaseError::Failed(..)) => continue,
                Err(_) => return None,
            };
            match self.ask_on(lease, local, recipient, key).await {
                Ok(answer) => return Some(answer),
                Err(broken) if broken.stale => tried.stale(),
                Err(broken) => tried.failed(broken.backend, broken.trouble),
            }
        }
    }

    async fn ask_on(
        self: &Rc<Self>,
        mut lease: Lease,
        local: &Rc<Local>,
        recipient: Path<'_>,
        key: &Key,
    ) -> Result<Verification, Broken> {
        match lease.verify(recipient) {
            Ok(()) => {}
            Err(Unsupported::Utf8) => {
                lease.give_back();
                return Ok(Verification::NoUtf8);
            }
            Err(_) => {
                lease.give_back();
                return Ok(Verification::Unknown(replies::UNVERIFIED.reply()));
            }
        }
        // A backend that refuses MAIL has said nothing about the recipient.
        let mut answer = Verification::Unknown(replies::UNVERIFIED.reply());
        loop {
            match lease.next().await? {
                Event::Verified(_) => answer = self.learn(local, key, &lease.reply()),
                Event::Reset => break,
                _ => {}
            }
        }
        lease.give_back();
        Ok(answer)
    }

    /// Remembers an answer to RCPT.
    fn learn(&self, local: &Local, key: &Key, reply: &ReplyRef<'_>) -> Verification {
        let waits = &local.pool.waits;
        let head = reply.head;
        let (known, wait) = if head.is_positive() {
            (Known::Good, waits.verify_good)
        } else if head.is_permanent() {
            (Known::Bad((*reply).into()), waits.verify_bad)
        } else {
            let brief = DEFERRED_FOR.min(waits.verify_bad);
            (Known::Bad((*reply).into()), brief)
        };
        let until = now().after(wait);
        self.backends().verified().learn(key, known.clone(), until);
        known.into()
    }

    /// A refusal of this recipient from this sender, found out by a delivery of late: of this client's, where the
    /// backends are told who that is.
    #[must_use]
    pub fn refused_lately(
        &self,
        pool: PoolId,
        client: IpAddr,
        sender: &[u8],
        recipient: Path<'_>,
    ) -> Option<BackendReply> {
        let backends = self.backends();
        if !backends.verified().has_pairs() {
            return None;
        }
        let local = self.local(pool)?;
        let key = Key::pair(pool, sender, recipient, known_client(&local, client))?;
        match backends.verified().look(&key, now())? {
            Known::Bad(reply) => Some(reply),
            Known::Good => None,
        }
    }

    /// Remembers that a delivery found this recipient refused, though it had been accepted. The sender may
    /// have been the reason, so the refusal holds for the two together, and for as long as a good answer:
    /// the sender's next try is to meet it. Where the code is about the mailbox (RFC 3463: 5.1.1, 5.1.2,
    /// 5.1.3, 5.1.6, 5.1.10, 5.2.1) it holds for every sender; any other makes us ask anew. Where the backends take a
    /// connection for the client's, that may have been the reason too: what one unwanted client hears under somebody's
    /// name must not shut out that somebody.
    pub fn note_refused(
        &self,
        pool: PoolId,
        client: IpAddr,
        sender: &[u8],
        recipient: Path<'_>,
        reply: &BackendReply,
    ) {
        let (Some(local), Some(key)) = (self.local(pool), Key::new(pool, recipient)) else {
            return;
        };
        let (waits, backends) = (&local.pool.waits, self.backends());
        let about_mailbox = matches!(
            reply.head.status,
            Status(5, 1, 1 | 2 | 3 | 6 | 10) | Status(5, 2, 1)
        );
        if about_mailbox {
            backends.verified().learn(
                &key,
                Known::Bad(reply.clone()),
                now().after(waits.verify_bad),
            );
        } else {
            backends.verified().forget(&key);
        }
        let client = known_client(&local, client);
        if let Some(pair) = Key::pair(pool, sender, recipient, client) {
            backends.verified().learn_pair(
                &pair,
                Known::Bad(reply.clone()),
                now().after(waits.verify_good),
            );
        }
    }
}

/// The client, where a pool's backends judge by it.
fn known_client(local: &Local, client: IpAddr) -> Option<IpAddr> {
    keeps_apart(local.pool.identity).then_some(client)
}
