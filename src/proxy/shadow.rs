//! A candidate's policy, judged beside the one in force (`shadow_config`): it is shown the same facts, has its own judgement, rates
//! and questions, and decides nothing. Where it would have said something else, that is counted, logged and listed.
//!
//! No client waits for it. It asks the DNS when the policy in force does, and judges what rests on answers at the end of the
//! transaction, once the client's fate is settled, by what has come by then; what has not is unknown (`late`).
//! Clients, HELO names, senders, and recipients that the policy in force refuses, are judged at once: nothing comes after.
//!
//! Signatures are verified once where both policies want the same of them. Otherwise the candidate's are verified apart, but
//! not those of a message that streams, nor those that take longer than a worker gives them: another thread would have to be
//! waited for.

use super::{
    candidate::{Candidate, Shadow},
    inquire::advance,
    known::Asked,
    session::Session,
    verifier::HERE_MICROS_MAX,
};
use crate::{
    policy::{
        At, Breaches, Part,
        authentication::{Verified, Work},
    },
    smtp::header::{self, Index},
};
use std::panic::{AssertUnwindSafe, catch_unwind};

impl Session {
    /// Begins the candidate's side of a client's session.
    pub fn begin_candidate(&mut self) {
        let has_shadow = self.current.site.shadow.is_some();
        self.peer.candidate = has_shadow.then(Box::default);
    }

    /// The policy in force has begun to ask: so does the candidate. The client is a stranger.
    pub fn inquire_for_candidate(&mut self, at: At) {
        let site = &self.current.site;
        let (Some(shadow), Some(mut candidate)) = (&site.shadow, self.peer.candidate.take()) else {
            return;
        };
        if shadow.policy.inquires(self.profile(), self.peer.address) {
            let is_later = at == At::Mail && self.transactions > 0;
            let docket = &mut candidate.asking.docket;
            docket.take_if(|docket| is_later || docket.is_worn());
            candidate.begin_inquiry(shadow, at, &self.facts());
            advance(&self.place(), &shadow.policy, &mut candidate.asking);
        }
        let judges = |at| shadow.policy.judges_answers(self.profile(), at);
        if (at == At::Hello && judges(at)) || (at == At::Mail && (judges(at) || judges(At::Hello)))
        {
            candidate.judge_answers(shadow, at, &self.facts());
        }
        self.peer.candidate = Some(candidate);
    }

    /// Whole messages alone: begins to verify where one is from, where the policy in force doesn't do the same.
    pub fn verify_for_candidate(&mut self, header: &[u8], body: &[u8]) {
        let site = &self.current.site;
        let Some(shadow) = &site.shadow else {
            return;
        };
        let Some(mut candidate) = self.peer.candidate.take() else {
            return;
        };
        candidate.hashes = None;
        if self.is_stranger() && !site.policy.verifies_for(&shadow.policy, self.profile()) {
            let inquiry = &mut candidate.asking.inquiry;
            let mut hashes = shadow.policy.begin_message(&self.facts(), header, inquiry);
            hashes.update(body);
            candidate.hashes = Some(hashes);
            advance(&self.place(), &shadow.policy, &mut candidate.asking);
        }
        self.peer.candidate = Some(candidate);
    }

    /// The fate of a message with this header is settled: judges what the candidate has not judged of it.
    ///
    /// The client has not heard of its message yet, which may be delivered: a fault of the candidate must not keep that from it, or it
    /// sends the message again. A candidate that panics is no longer asked in this session.
    pub fn judge_for_candidate(&mut self, header: &[u8]) {
        let Some(mut candidate) = self.peer.candidate.take() else {
            return;
        };
        let Some(work) = survive(|| self.close_for_candidate(&mut candidate)) else {
            return;
        };
        let is_cheap = |work: &Work| work.micros() <= HERE_MICROS_MAX;
        let all = work.as_ref().is_none_or(is_cheap);
        let verified = work
            .filter(is_cheap)
            .map(|work| survive(|| work.run()).unwrap_or_default());
        self.judge_rest_for_candidate(candidate, verified.as_deref(), header);
        if let Some(candidate) = &mut self.peer.candidate {
            candidate.late |= !all;
        }
    }

    /// What there is to compute for the candidate's own signatures, now that the body has ended. `None`: it has none.
    fn close_for_candidate(&self, candidate: &mut Candidate) -> Option<Work> {
        let shadow = self.current.site.shadow.as_ref()?;
        if candidate.refuses() {
            return None;
        }
        let hashes = candidate.hashes.take()?;
        advance(&self.place(), &shadow.policy, &mut candidate.asking);
        let message = candidate.asking.inquiry.message_mut()?;
        Some(message.close(hashes))
    }

    /// `verified`: what came of its own signatures.
    #[inline(never)]
    fn judge_rest_for_candidate(
        &mut self,
        mut candidate: Box<Candidate>,
        verified: Option<&[Verified]>,
        header: &[u8],
    ) {
        let site = &self.current.site;
        let Some(shadow) = &site.shadow else {
            return;
        };
        let mut judged = Some(());
        if !candidate.refuses() {
            let lent = site.policy.verifies_for(&shadow.policy, self.profile());
            let live = self.peer.asking.as_mut().filter(|_| lent);
            if let Some(live) = live {
                live.inquiry.lend_message(&mut candidate.asking.inquiry);
            }
            judged = survive(|| {
                if let (Some(verified), Some(message)) =
                    (verified, candidate.asking.inquiry.message_mut())
                {
                    message.conclude(verified);
                }
                let place = self.place();
                candidate.late = !advance(&place, &shadow.policy, &mut candidate.asking);
                self.judge_whole(shadow, &mut candidate, header);
            });
            if let Some(live) = self.peer.asking.as_mut().filter(|_| lent) {
                candidate.asking.inquiry.lend_message(&mut live.inquiry);
            }
        }
        self.peer.candidate = judged.map(|()| candidate);
    }

    /// The header section, where the message goes before the candidate is asked.
    pub fn header_for_candidate(&self, payload: &[u8]) -> Vec<u8> {
        match self.peer.candidate {
            Some(_) => payload[..header::end(payload).unwrap_or(payload.len())].to_vec(),
            None => Vec::new(),
        }
    }

    /// The message is refused whatever a policy says.
    pub fn refuse_for_candidate(&mut self) {
        if let Some(candidate) = &mut self.peer.candidate {
            candidate.follow();
        }
    }

    /// What was asked, each recipient that was accepted, the header and the message.
    fn judge_whole(&self, shadow: &Shadow, candidate: &mut Candidate, header: &[u8]) {
        let index = Index::new(header);
        let facts = self.facts_for(&Asked::at(At::Answers));
        let refusal = candidate.ask(shadow, (At::Answers, Part::Whole), &facts);
        if candidate.note(At::Answers, refusal) {
            return;
        }
        let envelope = self.server.envelope();
        for recipient in envelope.recipients() {
            let path = recipient.path;
            let (_, ours) = self.current.site.route(envelope.path(path).domain);
            let asked = Asked {
                recipient: Some(path),
                ours,
                ..Asked::at(At::Rcpt)
            };
            let facts = self.facts_for(&asked);
            let refusal = candidate.ask(shadow, (At::Rcpt, Part::Whole), &facts);
            candidate.note(At::Rcpt, refusal);
        }
        if !candidate.accepts_any() {
            return;
        }
        for at in [At::Header, At::Body] {
            let asked = Asked {
                ours: true,
                header,
                fields: Some(&index),
                breaches: match at {
                    At::Header => self.survey(header, &index).1,
                    _ => Breaches::NONE,
                },
                ..Asked::at(at)
            };
            let facts = self.facts_for(&asked);
            let refusal = candidate.ask(shadow, (at, Part::Whole), &facts);
            if candidate.note(at, refusal) {
                return;
            }
        }
    }
}

/// Does what must not harm others. `None`: it panicked, which the log has told.
fn survive<T>(work: impl FnOnce() -> T) -> Option<T> {
    // What it changes is the candidate's, which is dropped then.
    catch_unwind(AssertUnwindSafe(work)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_that_panics_ends_nothing_else() {
        let nothing: [u8; 0] = [];
        let at = nothing.len();
        assert!(survive(|| nothing[at]).is_none());
        assert_eq!(survive(|| 7), Some(7));
    }
}
