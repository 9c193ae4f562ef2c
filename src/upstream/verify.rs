//! Does a backend take this recipient? Asked with MAIL, RCPT, RSET over a pooled connection, and remembered.
//!
//! The first question is asked with the pool's `verify_sender`, by default the null sender, which every mailbox must
//! take (RFC 5321 §4.5.5); a yes then holds for all senders. A no holds for all senders only where its code is about the
//! mailbox ([`is_about_mailbox`]). Any other no may be about the sender: a list that takes mail from its members alone
//! says 550 5.7.1 to `<>`, and Exim says a bare 550 for a policy and for an unknown user alike. Then the question is asked
//! once more with the message's own sender, and the answer holds for the two together. A backend that refuses MAIL from
//! `verify_sender` has said nothing about a recipient, so there too the own sender decides; where that one is refused as
//! well the recipient is taken, and the delivery brings the backend's own words
//! (`docs/decisions/0016-verification-by-sender.md`).
//!
//! Sessions of one worker that ask the same at the same time ask once. A refusal for now (4xx) is told, and not
//! remembered: the next session asks again.

use super::{
    acquire::Request,
    error::{Broken, LeaseError},
    health::Trouble,
    ids::PoolId,
    lease::Lease,
    pooling::shares::Purpose,
    pools::{Local, Pools},
    recipient_key::RecipientKey,
    replies,
    reply::BackendReply,
    select::Needs,
    tried::Tried,
    verification::{Answer, Verification},
    verify_cache::Known,
};
use crate::{
    log::say,
    metrics::{Counter, Stage},
    net::{self, now},
    smtp::{
        Extensions, Status, Tick,
        backend_session::{Event, Unsupported},
        envelope::Path,
        reply_parse::ReplyHead,
    },
};
use std::{rc::Rc, time::Duration};

/// So long after a backend refused MAIL from `verify_sender` the question is asked with it again.
const SENDER_AGAIN: Duration = Duration::from_secs(60);

/// One question: may this sender write to this recipient?
struct Question<'a> {
    sender: &'a [u8],
    recipient: Path<'a>,
    /// What the answer is remembered under: the recipient, or the two together.
    key: RecipientKey,
    /// It is asked with the message's own sender.
    own: bool,
    /// The key of the client where that has a share of the connections.
    client: Option<u128>,
    deadline: Tick,
}

impl Question<'_> {
    fn needs(&self) -> Needs {
        let utf8 = !self.recipient.whole.is_ascii() || !self.sender.is_ascii();
        let extensions = match utf8 {
            true => Extensions::SMTPUTF8,
            false => Extensions::NONE,
        };
        Needs {
            extensions,
            question: true,
            ..Needs::default()
        }
    }
}

impl Pools {
    /// What is remembered of a recipient for all senders: what [`Pools::verify`] would say at once.
    pub fn verified(
        &self,
        pool: PoolId,
        recipient: Path<'_>,
        moment: Tick,
    ) -> Option<Verification> {
        let local = self.local(pool)?;
        let (counter, answer) = self.remembered(&local, recipient, moment)?;
        self.recorder.count(counter, local.scope, 1);
        // A look takes less than the microsecond that a histogram can tell, and than reading the clock twice.
        self.recorder.record(Stage::Verify, local.scope, 0);
        Some(answer)
    }

    /// Whether the pool's backends take a recipient from this sender: from the cache, from another session's question,
    /// or by asking one, until `deadline`. `client` is the key of one that has a share of the connections. What is remembered for
    /// all senders is [`Pools::verified`]'s to say, and is not looked up again.
    pub async fn verify(
        self: &Rc<Self>,
        pool: PoolId,
        (sender, client): (&[u8], Option<u128>),
        recipient: Path<'_>,
        deadline: Tick,
    ) -> Verification {
        let Some(local) = self.local(pool) else {
            return Verification::Unknown(replies::UNVERIFIED.reply());
        };
        let begun = now();
        // Rare, and much larger than the session that waits for it.
        let asking = self.find_out(&local, (sender, client), recipient, deadline);
        let (counter, answer) = Box::pin(asking).await;
        let micros = now().micros_since(begun);
        self.recorder.count(counter, local.scope, 1);
        self.recorder.record(Stage::Verify, local.scope, micros);
        answer
    }

    /// What the cache says for all senders.
    fn remembered(
        &self,
        local: &Local,
        recipient: Path<'_>,
        now: Tick,
    ) -> Option<(Counter, Verification)> {
        let key = RecipientKey::new(local.pool.id, recipient)?;
        told(self.backends().verified().look(&key, now)?)
    }

    /// Asks with the pool's sender, and with the message's own where that doesn't tell.
    async fn find_out(
        self: &Rc<Self>,
        local: &Rc<Local>,
        (sender, client): (&[u8], Option<u128>),
        recipient: Path<'_>,
        deadline: Tick,
    ) -> (Counter, Verification) {
        let id = local.pool.id;
        let Some(key) = RecipientKey::new(id, recipient) else {
            return unknown();
        };
        let ours = local.pool.verify_sender.as_bytes();
        let known = self.backends().verified().look(&key, now());
        if known != Some(Known::BySender) && !local.pool.refuses_question(now(), SENDER_AGAIN) {
            let question = Question {
                sender: ours,
                recipient,
                key,
                own: false,
                client,
                deadline,
            };
            match self.join(local, &question).await {
                Some((counter, Answer::Final(answer))) => return (counter, answer),
                Some((counter, answer)) if sender == ours => return (counter, answer.last()),
                Some(_) => {}
                None => return unknown(),
            }
        }
        // The longest paths have no key together. Their delivery will tell.
        let Some(key) = RecipientKey::pair(id, sender, recipient) else {
            return (Counter::VerifyMiss, Verification::Accepted);
        };
        let known = self.backends().verified().look(&key, now());
        if let Some(known) = known.and_then(told) {
            return known;
        }
        let question = Question {
            sender,
            recipient,
            key,
            own: true,
            client,
            deadline,
        };
        match Box::pin(self.join(local, &question)).await {
            Some((counter, answer)) => (counter, answer.last()),
            None => unknown(),
        }
    }

    /// Asks, or waits for the answer to a session that asks the same; `None`: no backend could be asked.
    async fn join(
        self: &Rc<Self>,
        local: &Rc<Local>,
        question: &Question<'_>,
    ) -> Option<(Counter, Answer)> {
        loop {
            let mut share = None;
            if !self.flights.has(&question.key)
                && let Some(client) = question.client
            {
                // Before others wait for the answer: they don't wait for this client's share.
                let claim = self.share(local.pool.id, client, Purpose::Question, question.deadline);
                share = Some(claim.await.ok()?);
            }
            let landing = match self.flights.board(question.key) {
                Ok(landing) => landing,
                Err(flight) => match net::timeout_at(question.deadline, flight.landed()).await? {
                    Some(answer) => return Some((Counter::VerifyJoined, answer)),
                    // The session that asked has gone, or no backend could be asked: ask.
                    None => continue,
                },
            };
            let answer = self.ask(local, question).await;
            drop(share);
            let answer = match answer {
                Some(answer) => answer,
                None => Answer::Final(unknown().1),
            };
            landing.flight.answer.replace(Some(answer.clone()));
            let counter = match answer {
                Answer::Final(Verification::Unknown(_)) => Counter::VerifyFailed,
                _ => Counter::VerifyMiss,
            };
            return Some((counter, answer));
        }
    }

    /// Asks a backend, and another one where the first fails or has troubles of its own.
    async fn ask(self: &Rc<Self>, local: &Rc<Local>, question: &Question<'_>) -> Option<Answer> {
        let needs = question.needs();
        if local.pool.lacks(needs) {
            return Some(no_utf8(local, question));
        }
        let request = Request {
            pool: local.pool.id,
            key: question.recipient.whole,
            origin: None,
            // It has its share.
            client: None,
            needs,
            deadline: question.deadline,
        };
        let mut tried = Tried::default();
        // What a backend said that another one may not say.
        let mut kept = None;
        loop {
            let lease = match self.acquire(&request, &mut tried).await {
                Ok(lease) => lease,
                Err(LeaseError::Failed(..)) => continue,
                Err(_) if local.pool.lacks(needs) => return Some(no_utf8(local, question)),
                Err(_) => return kept,
            };
            let (backend, begun) = (lease.backend().id, lease.now());
            let (avoid, deadline) = (tried.backends(), question.deadline);
            let due = local
                .pool
                .answer_due(backend, avoid, needs, begun, deadline);
            match self.ask_on(lease, local, question, due).await {
                Ok(Some(Answer::BySender(said))) if is_troubled(said.head) => {
                    tried.refused(backend);
                    kept = Some(Answer::BySender(said));
                }
                Ok(Some(answer)) => return Some(answer),
                Ok(None) => tried.refused(backend),
                Err(broken) if broken.stale => tried.stale(),
                Err(broken) if broken.trouble == Trouble::Timeout => {
                    tried.failed(backend, broken.trouble);
                    if let Some(place) = local.pool.place(backend) {
                        let (now, client) = (now(), question.client);
                        self.unanswered(local, place, now.since(begun), client, now);
                    }
                }
                Err(broken) => tried.failed(broken.backend, broken.trouble),
            }
        }
    }

    /// Asks over this connection; `None`: this backend can't be asked.
    async fn ask_on(
        self: &Rc<Self>,
        mut lease: Lease,
        local: &Rc<Local>,
        question: &Question<'_>,
        due: Tick,
    ) -> Result<Option<Answer>, Broken> {
        match lease.verify(question.sender, question.recipient, due) {
            Ok(()) => {}
            // By what it offered when it greeted: on another connection it may offer SMTPUTF8.
            Err(Unsupported::Utf8) if lease.is_outdated() => {
                let broken = Broken::stale(lease.backend().id);
                lease.retire();
                lease.give_back();
                return Err(broken);
            }
            Err(Unsupported::Utf8) => {
                lease.give_back();
                return Ok(None);
            }
            Err(_) => {
                lease.give_back();
                return Ok(Some(Answer::Final(unknown().1)));
            }
        }
        let mut told = None;
        loop {
            match (lease.next().await, &told) {
                (Ok(Event::Sender(head)), _) => told = Some((Some(head), lease.reply().into())),
                (Ok(Event::Verified(_)), _) => told = Some((None, lease.reply().into())),
                (Ok(Event::Reset), _) => break,
                (Ok(_), _) => {}
                // It has answered before it went: that holds.
                (Err(_), Some(_)) => break,
                (Err(broken), None) => return Err(broken),
            }
        }
        let answer = match told {
            // What it said may be the answer to something else: nothing is learned, and the delivery tells.
            Some(_) if lease.is_out_of_step() => Some(Answer::Unasked),
            Some((Some(head), said)) => Some(self.sender_refused(&lease, question, head, said)),
            Some((None, said)) => {
                if !question.own {
                    takes_question(&lease);
                }
                Some(self.learn(local, question, said))
            }
            None => None,
        };
        lease.give_back();
        Ok(answer)
    }

    /// MAIL was refused. Where that is for good and was our own sender, the operator hears of it: each question then
    /// costs two, and a recipient may be taken that is not there.
    fn sender_refused(
        &self,
        lease: &Lease,
        question: &Question<'_>,
        head: ReplyHead,
        said: BackendReply,
    ) -> Answer {
        if !head.is_permanent() {
            return Answer::BySender(said);
        }
        let backend = lease.backend();
        if !question.own && backend.question.refused(&said, now()) {
            let sender = String::from_utf8_lossy(question.sender);
            say!(
                Warn,
                "{}: MAIL FROM:<{sender}>, the sender used to verify recipients, is refused: {said}; \
                 recipients are now verified with the sender of each message",
                backend.label
            );
        }
        Answer::Unasked
    }

    /// Remembers an answer to RCPT.
    fn learn(&self, local: &Local, question: &Question<'_>, said: BackendReply) -> Answer {
        let waits = &local.pool.waits;
        let backends = self.backends();
        let verified = backends.verified();
        let put = |known, wait| {
            let until = now().after(wait);
            match question.own {
                true => verified.learn_pair(&question.key, known, until),
                false => verified.learn(&question.key, known, until),
            }
        };
        if said.head.is_positive() {
            put(Known::Good, waits.verify_good);
            return Answer::Final(Verification::Accepted);
        }
        if !said.head.is_permanent() {
            return match said.head.status {
                // About the mailbox: it holds for any sender.
                Status(4, 2, _) => Answer::Final(Verification::Deferred(said)),
                _ => Answer::BySender(said),
            };
        }
        if is_about_mailbox(said.head.status) {
            if let Some(key) = RecipientKey::new(local.pool.id, question.recipient) {
                let until = now().after(waits.verify_bad);
                verified.learn(&key, Known::Bad(said.clone()), until);
            }
            return Answer::Final(Verification::Refused(said));
        }
        put(
            match question.own {
                true => Known::Bad(said.clone()),
                false => Known::BySender,
            },
            waits.verify_bad,
        );
        Answer::BySender(said)
    }
}

/// What a session is told of what is remembered; `None` where that depends on the sender.
fn told(known: Known) -> Option<(Counter, Verification)> {
    match known {
        Known::Good => Some((Counter::VerifyHitGood, Verification::Accepted)),
        Known::Bad(said) if said.head.is_permanent() => {
            Some((Counter::VerifyHitBad, Verification::Refused(said)))
        }
        Known::Bad(said) => Some((Counter::VerifyHitBad, Verification::Deferred(said))),
        Known::BySender => None,
    }
}

fn unknown() -> (Counter, Verification) {
    let reply = replies::UNVERIFIED.reply();
    (Counter::VerifyFailed, Verification::Unknown(reply))
}

/// No backend of the pool takes what is not ASCII. Where the recipient is, the delivery tells.
fn no_utf8(local: &Local, question: &Question<'_>) -> Answer {
    match question.recipient.whole.is_ascii() {
        true => Answer::Unasked,
        // It will again, or has lost it: the next tries tell.
        false if local.pool.has_lapsed(question.needs(), now()) => Answer::Final(unknown().1),
        false => Answer::Final(Verification::NoUtf8),
    }
}

/// The backend has taken MAIL from `verify_sender`.
fn takes_question(lease: &Lease) {
    let backend = lease.backend();
    if backend.question.accepted() {
        say!(Info, "{}: recipients can be verified again", backend.label);
    }
}

/// Whether a code is about the mailbox alone, so that the refusal holds for every sender: it doesn't exist (5.1.1), nor
/// does its system (5.1.2), it can't be read (5.1.3), it's ambiguous (5.1.4), it has moved (5.1.6), its domain takes no
/// mail (5.1.10), or it is disabled (5.2.1) (RFC 3463 §3.2, §3.3, RFC 7505 §4.2).
#[must_use]
pub fn is_about_mailbox(status: Status) -> bool {
    matches!(
        status,
        Status(5, 1, 1 | 2 | 3 | 4 | 6 | 10) | Status(5, 2, 1)
    )
}

/// Whether a refusal for now is about the backend rather than about what it was asked: another one may answer.
fn is_troubled(head: ReplyHead) -> bool {
    head.is_transient() && (head.code == 421 || matches!(head.status, Status(4, 3 | 4, _)))
}
