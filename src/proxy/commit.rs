//! The end of a body: the verdict on the message, the backend's word, the final reply.
//!
//! `250` leaves here only behind a backend's own `250` (invariant 2).

use super::{
    connection::Session,
    payload::Survey,
    relay::{self, Handed, Marks, Parcel},
    replies, trace,
    transaction::{Body, Transaction},
};
use crate::{
    metrics::{Counter, Stage},
    net::now,
    policy::{At, Verdict},
    smtp::{Reply, Status, client::Load, header, server::Answer},
    upstream::Lease,
};
use std::sync::Arc;

impl Session {
    /// The body is complete: judges it, hands it over, answers.
    pub async fn commit(&mut self) {
        let Some(mut transaction) = self.transaction.take() else {
            self.server.answer(
                Answer::Refuse(crate::upstream::replies::LOST.reply()),
                &mut self.out,
            );
            return;
        };
        transaction.times.complete = Some(self.now);
        let began = transaction.times.body.unwrap_or(self.now);
        let recorder = &self.context.recorder;
        recorder.record(Stage::Body, self.scope, self.now.micros_since(began));
        transaction.size = self.server.body_facts().size;
        recorder.count(Counter::BodyBytes, self.scope, transaction.size);
        let answer = match std::mem::replace(&mut transaction.body, Body::Gone) {
            Body::Window(window) => self.commit_window(&mut transaction, window.bytes()).await,
            Body::Streaming(streaming) => self.commit_stream(&mut transaction, *streaming).await,
            Body::None => self.commit_window(&mut transaction, b"").await,
            Body::Gone => Answer::Refuse(crate::upstream::replies::LOST.reply()),
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
                transaction.said(reply);
            }
            Answer::Accept => {}
        }
        trace::finished(self, &transaction);
        self.server.answer(answer, &mut self.out);
        // Written at the next turn, together with the replies to what was pipelined behind the body.
        self.reply_due = Some(self.now);
        let recorder = &self.context.recorder;
        recorder.record(
            Stage::Transaction,
            self.scope,
            self.now.micros_since(transaction.started),
        );
    }

    async fn commit_window(&mut self, transaction: &mut Transaction, payload: &[u8]) -> Answer {
        let end = header::end(payload).unwrap_or(payload.len());
        let survey = match self.judge_message(&payload[..end]) {
            Ok(survey) => survey,
            Err(answer) => return answer,
        };
        let mut first = Vec::with_capacity(512);
        self.write_trace(transaction.id, &mut first);
        self.write_missing(survey.found, transaction.id, &mut first);
        let mut pieces: Vec<&[u8]> = Vec::with_capacity(4);
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
        let mut search = self.search(transaction);
        loop {
            let mut lease = match search.lease(self).await {
                Ok(lease) => lease,
                Err(reply) => return Answer::Refuse(reply),
            };
            let leased = lease.now();
            transaction.times.leased = Some(leased);
            transaction.backend = Some(Arc::clone(lease.backend()));
            transaction.backend_tls = lease.tls();
            let mut marks = Marks::default();
            let parcel = Parcel {
                envelope: self.server.envelope(),
                pieces: &pieces,
                load,
                undotted,
            };
            let handed = relay::whole(&mut lease, parcel, &mut marks).await;
            let reply = search.after(self, &handed, &lease, transaction);
            if let Some(moment) = marks.envelope {
                let took = moment.micros_since(leased);
                self.context
                    .recorder
                    .record(Stage::Envelope, lease.scope(), took);
            }
            let answer = self.handed(handed, reply, &lease, marks, transaction);
            lease.give_back();
            if let Some(answer) = answer {
                return answer;
            }
        }
    }

    async fn commit_stream(
        &mut self,
        transaction: &mut Transaction,
        streaming: relay::Streaming,
    ) -> Answer {
        if let Err(answer) = self.judge_message(&streaming.header) {
            // Tail hold: the end was never sent, so the backend discards what it has.
            streaming.abandon();
            return answer;
        }
        if self.server.body_facts().eight_bit && !streaming.takes_eight_bit() {
            streaming.abandon();
            return Answer::Refuse(replies::NO_EIGHT_BIT.reply());
        }
        if let Some(leased) = transaction.times.leased {
            let took = now().micros_since(leased);
            self.context
                .recorder
                .record(Stage::Stream, streaming.scope(), took);
        }
        let mut marks = Marks::default();
        let (handed, lease) = streaming.end(&mut marks).await;
        let mut search = self.search(transaction).ended();
        let reply = search.after(self, &handed, &lease, transaction);
        let answer = self.handed(handed, reply, &lease, marks, transaction);
        lease.give_back();
        answer.unwrap_or_else(|| Answer::Refuse(crate::upstream::replies::LOST.reply()))
    }

    /// The verdict on header and size: what matters of the header, or the answer to a message that is refused.
    // Not a part of the futures that call it: the index is for the stack.
    #[inline(never)]
    fn judge_message(&mut self, header: &[u8]) -> Result<Survey, Answer> {
        let limits = &self.current.site.config.limits;
        if header.len() as u64 > limits.header.0 {
            return Err(Answer::Refuse(replies::HEADER_TOO_LARGE.reply()));
        }
        let index = header::Index::new(header);
        let survey = self.survey(&index);
        if survey.received > self.current.site.config.limits.received as usize {
            return Err(Answer::Refuse(replies::LOOP.reply()));
        }
        if let Some(answer) = self.refuses_from(header) {
            return Err(answer);
        }
        match self.verdict(At::Body, None, true, header, Some(&index)) {
            Verdict::Accept => Ok(survey),
            Verdict::Defer(reply) | Verdict::Reject(reply) => Err(Answer::Refuse(reply)),
            Verdict::Close(reply) => Err(Answer::Close(reply)),
        }
    }

    /// The core's answer to what came of a try; `None` where another follows.
    fn handed(
        &self,
        handed: Handed,
        reply: Option<Reply>,
        lease: &Lease,
        marks: Marks,
        transaction: &mut Transaction,
    ) -> Option<Answer> {
        let recorder = &self.context.recorder;
        if let (Some(sent), Handed::Accepted | Handed::Refused(_)) = (marks.sent, &handed) {
            let heard = lease.now();
            transaction.times.done = Some(heard);
            recorder.record(Stage::Commit, lease.scope(), heard.micros_since(sent));
        }
        if let Handed::Accepted = handed {
            recorder.count(Counter::BackendAccepted, lease.scope(), 1);
            return Some(Answer::AcceptWith(Reply::owned(
                250,
                Status(2, 0, 0),
                transaction.id.accepted(),
            )));
        }
        reply.map(Answer::Refuse)
    }
}
