//! The end of a body: the verdict on the message, the backend's word, the final reply.
//!
//! `250` leaves here only after a backend's own `250`, but for a message that a rule of the operator's own discards (INV-250).

use super::{
    origin::OriginParts,
    session::Session,
    sign::Leaving,
    trace,
    transaction::{Body, Doomed, Fate, Stream, Transaction},
};
use crate::{
    delivery::{
        self, Ending, Message, Outcome, Step, Streaming,
        replies::{LOST, reply_of},
    },
    metrics::{Counter, Stage},
    net::now,
    policy::{At, replies::QUARANTINE_LATE},
    record::Refusal,
    smtp::{
        Reply, Status,
        backend_session::{Load, To},
        header,
        server::Answer,
    },
    upstream::{Found, Origin},
};

impl Session {
    /// The body is complete: judges it, hands it over, answers.
    pub async fn commit(&mut self) {
        let Some(mut transaction) = self.transaction.take() else {
            let answer = Answer::Refuse(LOST.reply());
            return self.server.answer(answer, &mut self.io.out);
        };
        transaction.times.complete = Some(self.now);
        let began = transaction.times.body.unwrap_or(self.now);
        let recorder = &self.context.recorder;
        recorder.record(Stage::Body, self.scope, self.now.micros_since(began));
        transaction.size = self.server.body_facts().size;
        recorder.count(Counter::BodyBytes, self.scope, transaction.size);
        let answer = match std::mem::replace(&mut transaction.body, Body::Gone) {
            Body::Window(mut window) if window.is_extended() => {
                let payload = window.take_bytes();
                let header = self.header_for_candidate(&payload);
                // Rare, and larger than what most messages need: boxed, as below.
                let answer = Box::pin(self.commit_held(&mut transaction, payload)).await;
                self.judge_for_candidate(&header);
                answer
            }
            Body::Window(window) => {
                let payload = window.bytes();
                let answer = self.commit_window(&mut transaction, payload).await;
                if self.peer.candidate.is_some() {
                    let end = header::end(payload).unwrap_or(payload.len());
                    self.judge_for_candidate(&payload[..end]);
                }
                answer
            }
            Body::Streaming(stream) => {
                // From here on no client is waited for: dropping the pace ends the watch, and keeps no place.
                let Stream {
                    way,
                    header,
                    pace,
                    hashes,
                } = *stream;
                pace.pause();
                self.verify(hashes, self.lookups_due()).await;
                let committing = self.commit_stream(&mut transaction, way, &header);
                let answer = Box::pin(committing).await;
                self.judge_for_candidate(&header);
                answer
            }
            Body::Doomed(doomed) => {
                let Doomed { header, hashes } = *doomed;
                self.verify(hashes, self.lookups_due()).await;
                let answer = match self.judge_message(&header, true) {
                    Ok(_) => self.discarded(&transaction),
                    Err(answer) => answer,
                };
                self.judge_for_candidate(&header);
                answer
            }
            Body::None => self.commit_window(&mut transaction, b"").await,
            Body::Gone => {
                let refused = transaction.refused.take();
                refused.unwrap_or_else(|| Answer::Refuse(LOST.reply()))
            }
        };
        // Where a backend had the last word, this is when it was heard.
        self.now = transaction.times.done.unwrap_or_else(now);
        transaction.times.done = Some(self.now);
        self.conclude(transaction, answer);
    }

    /// Says the final reply, writes it, logs and counts.
    fn conclude(&mut self, mut transaction: Box<Transaction>, answer: Answer) {
        match &answer {
            Answer::AcceptWith(reply) | Answer::Refuse(reply) | Answer::Close(reply) => {
                transaction.tell(reply, self.decided);
                // What the policy decides it decides anew: a stranger can have it put off what looks like another's message.
                if self.decided.is_none() {
                    transaction.end_turn(self.server.envelope(), reply, self.now);
                }
            }
            Answer::Accept => {}
        }
        trace::transaction(self, &transaction, None);
        self.peer.judgement.end_transaction();
        self.end_inquiry();
        self.server.answer(answer, &mut self.io.out);
        // Written at the next turn, together with the replies to what was pipelined after the body.
        self.io.reply_due = Some(self.now);
        let recorder = &self.context.recorder;
        recorder.record(
            Stage::Transaction,
            self.scope,
            self.now.micros_since(transaction.started),
        );
    }

    async fn commit_window(&mut self, transaction: &mut Transaction, payload: &[u8]) -> Answer {
        let end = header::end(payload).unwrap_or(payload.len());
        let (header, body) = payload.split_at(end);
        let mut hashes = self.begin_message(header);
        hashes.update(body);
        self.verify_for_candidate(header, body);
        // What is told in the header, and what only the end of a message waits for.
        let due = self.lookups_due();
        self.know(At::Header, due).await;
        self.verify(hashes, due).await;
        let (survey, fate) = match self.judge_message(header, false) {
            Ok(judged) => judged,
            Err(answer) => return answer,
        };
        transaction.fate = fate;
        if fate == Fate::Discard {
            return self.discarded(transaction);
        }
        self.drop_answers();
        let first = self.own_fields(transaction.id, survey.found);
        let leaving = Leaving {
            first: &first,
            header,
            survey: &survey,
        };
        let signatures = self.sign(transaction, &leaving, body).await;
        let mut pieces: Vec<&[u8]> = Vec::with_capacity(4);
        if !signatures.is_empty() {
            pieces.push(&signatures);
        }
        pieces.push(&first);
        survey.without_forged(payload, &mut pieces);
        let facts = self.server.body_facts();
        let undotted = facts.is_undotted();
        let size = pieces.iter().map(|piece| piece.len() as u64).sum();
        let load = Load {
            size,
            eight_bit: facts.eight_bit,
            whole: true,
        };
        let parts = self.origin_parts_of(transaction);
        let origin = parts.as_ref().map(|parts| self.origin(parts));
        let message = match self.message(transaction, &pieces, load, undotted, origin.as_ref()) {
            Ok(message) => message,
            Err(reply) => return Answer::Refuse(reply),
        };
        let outcome = delivery::deliver(&self.context.pools, &message).await;
        self.settle(&outcome, transaction)
    }

    async fn commit_stream(
        &mut self,
        transaction: &mut Transaction,
        streaming: Streaming,
        header: &[u8],
    ) -> Answer {
        let answer = match self.judge_message(header, true) {
            Ok((_, Fate::Discard)) => {
                transaction.fate = Fate::Discard;
                Some(self.discarded(transaction))
            }
            // It is on its way to another pool.
            Ok((_, fate @ Fate::Quarantine(_))) if transaction.fate != fate => {
                Some(Answer::Refuse(QUARANTINE_LATE.reply()))
            }
            Ok(_) => {
                self.drop_answers();
                None
            }
            Err(answer) => Some(answer),
        };
        if let Some(answer) = answer {
            // Tail hold (INV-TAIL): the end was never sent, so the backend discards what it has.
            streaming.abandon();
            return answer;
        }
        let eight_bit = self.server.body_facts().eight_bit;
        let outcome = streaming.end(eight_bit).await;
        self.settle(&outcome, transaction)
    }

    /// The answer to a message that a rule discards. The log line tells of it, and of the rule.
    // INV-250
    pub fn discarded(&self, transaction: &Transaction) -> Answer {
        Answer::AcceptWith(accepted(transaction))
    }

    /// What a backend is to be told of the client, where the pool wants that.
    pub fn origin_parts_of(&self, transaction: &Transaction) -> Option<OriginParts> {
        self.origin_parts(transaction.pool()?, transaction.id)
    }

    /// The message of this transaction for its pool. An error is the reply that the client gets.
    pub fn message<'a>(
        &'a self,
        transaction: &Transaction,
        pieces: &'a [&'a [u8]],
        load: Load,
        undotted: bool,
        origin: Option<&'a Origin<'a>>,
    ) -> Result<Message<'a>, Reply> {
        let Some(pool) = transaction.pool() else {
            return Err(delivery::replies::DOWN.reply());
        };
        Ok(Message {
            pool,
            envelope: self.server.envelope(),
            to: To::All,
            pieces,
            load,
            undotted,
            origin,
            client: self.client_key(),
            deadline: self.now.after(self.current.site.config.timeouts.commit.0),
        })
    }

    /// The core's answer to what came of a delivery. A backend's refusal is not that of a check that has sent the message there.
    pub fn settle(&mut self, outcome: &Outcome, transaction: &mut Transaction) -> Answer {
        let answer = self.answer_of(outcome, transaction);
        if matches!(answer, Answer::Refuse(_)) {
            self.decided = None;
        }
        answer
    }

    /// The core's answer to what came of a message.
    pub fn answer_of(&self, outcome: &Outcome, transaction: &mut Transaction) -> Answer {
        self.note_outcome(outcome, transaction);
        match outcome.told(self.server.envelope()) {
            Ok(()) => Answer::AcceptWith(accepted(transaction)),
            Err(reply) => Answer::Refuse(reply),
        }
    }

    /// The reply to a message that no backend took.
    pub fn refusal(&self, outcome: &Outcome) -> Reply {
        let told = outcome.told(self.server.envelope());
        told.err().unwrap_or_else(|| LOST.reply())
    }

    /// Keeps what came of a message for the log, and remembers recipients that were refused after they had been
    /// accepted, so that the client hears of it at RCPT when it comes again.
    pub fn note_outcome(&self, outcome: &Outcome, transaction: &mut Transaction) {
        let times = &mut transaction.times;
        times.leased = outcome.times.leased.or(times.leased);
        times.done = outcome.times.heard;
        if let Some(backend) = &outcome.backend {
            transaction.backend = Some(backend.clone());
            transaction.backend_tls = outcome.tls;
        }
        transaction.said = match &outcome.ending {
            Ending::Accepted(said) | Ending::Refused(_, said) => Some(said.clone()),
            _ => None,
        };
        let envelope = self.server.envelope();
        let partly = outcome.is_partly_refused(envelope.recipients().len());
        if let (Ending::Recipients, Some(turn)) = (&outcome.ending, &mut transaction.turn)
            && partly
        {
            turn.part();
        }
        // By which RCPT will look for it, also where the message went to another pool.
        let routed = transaction.routed_pool();
        let elsewhere = transaction.pool() != routed;
        for (place, said) in &outcome.refused {
            if let (Some(pool), Some(recipient)) = (routed, envelope.recipients().get(*place)) {
                let path = envelope.path(recipient.path);
                let found = Found {
                    said,
                    place: *place,
                    partly,
                    elsewhere,
                };
                let pools = &self.context.pools;
                pools.note_refused(&self.sending(pool), path, found);
                let reply = reply_of(said, Step::Recipient);
                let refusal = Refusal::new("rcpt", path.whole, &reply, None);
                transaction.refusals.push(refusal);
            }
        }
    }
}

/// `250 2.0.0 Ok: ID`.
fn accepted(transaction: &Transaction) -> Reply {
    Reply::owned(250, Status(2, 0, 0), transaction.id.accepted())
}
