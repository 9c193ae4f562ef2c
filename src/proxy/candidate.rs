//! What a candidate's policy makes of one session, beside the one in force: two courses, and where they differ.

use super::asking::Asking;
use crate::{
    metrics::Counter,
    policy::{
        At, CheckId, Facts, Greeting, Judgement, Part, Policy, Shared, Verdict,
        authentication::BodyHashes,
    },
};

/// A candidate's policy, ready for use by all workers.
pub struct Shadow {
    /// Its checks, with a profile for each listener of the configuration in force.
    pub policy: Policy,
    /// Its rates, which count apart: what it sees must not count twice in those that are in force.
    pub shared: Shared,
}

/// What a policy would have become of a client or its message, as far as it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Accept,
    Defer,
    Reject,
}

impl Word {
    fn of(verdict: &Verdict) -> Word {
        match verdict {
            // Where it would be delivered is not compared.
            Verdict::Accept | Verdict::Quarantine | Verdict::Discard => Word::Accept,
            Verdict::Defer(_) => Word::Defer,
            Verdict::Reject(_) => Word::Reject,
            Verdict::Close(reply) if reply.is_transient() => Word::Defer,
            Verdict::Close(_) => Word::Reject,
        }
    }

    /// The word for it in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Word::Accept => "accept",
            Word::Defer => "defer",
            Word::Reject => "reject",
        }
    }
}

/// A verdict, and the check that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub word: Word,
    pub check: Option<CheckId>,
}

const ACCEPTED: Said = Said {
    word: Word::Accept,
    check: None,
};

impl Said {
    /// `None`: it lets pass.
    pub fn refusal(verdict: &Verdict, check: Option<CheckId>) -> Option<Said> {
        let word = Word::of(verdict);
        (word != Word::Accept).then_some(Said { word, check })
    }
}

/// What one policy has said so far.
#[derive(Clone, Copy, Debug, Default)]
struct Course {
    client: Option<Said>,
    hello: Option<Said>,
    message: Option<Said>,
    /// Recipients that it lets pass.
    accepted: u32,
    /// The last recipient that it refuses.
    refused: Option<Said>,
}

impl Course {
    fn note(&mut self, at: At, refusal: Option<Said>) {
        match at {
            At::Connect => {
                *self = Course {
                    client: refusal,
                    ..Course::default()
                }
            }
            At::Greeting => self.client = self.client.or(refusal),
            At::Hello => self.hello = refusal,
            At::Mail => self.message = refusal,
            At::Answers | At::Rcpt => {
                self.accepted += u32::from(at == At::Rcpt && refusal.is_none());
                self.refused = refusal.or(self.refused);
            }
            At::Header | At::Body => self.message = self.message.or(refusal),
        }
    }

    fn begin_message(&mut self) {
        (self.message, self.accepted, self.refused) = (None, 0, None);
    }

    /// The client is known by now: it answers for no stranger's faults.
    fn acquit(&mut self) {
        (self.client, self.hello) = (None, None);
    }

    /// No recipient gets the message, whatever follows.
    fn is_over(&self) -> bool {
        self.client.or(self.hello).or(self.message).is_some()
    }

    fn said(&self) -> Said {
        let recipients = self.refused.filter(|_| self.accepted == 0);
        let early = self.client.or(self.hello).or(self.message);
        early.or(recipients).unwrap_or(ACCEPTED)
    }
}

/// What both policies had said of a name in HELO: kept while another is judged.
pub(super) struct CandidateGreeting {
    judgement: Judgement,
    greeting: Greeting,
    live: Option<Said>,
    own: Option<Said>,
}

/// What both policies have come to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compared {
    pub live: Said,
    pub candidate: Said,
    /// Something that the candidate asked had no answer in time.
    pub late: bool,
}

impl Compared {
    pub fn differs(&self) -> bool {
        self.live.word != self.candidate.word
    }

    pub fn counter(&self) -> Counter {
        match (self.live.word, self.candidate.word) {
            (Word::Accept, Word::Accept) => Counter::CandidateAcceptAccept,
            (Word::Accept, Word::Defer) => Counter::CandidateAcceptDefer,
            (Word::Accept, Word::Reject) => Counter::CandidateAcceptReject,
            (Word::Defer, Word::Accept) => Counter::CandidateDeferAccept,
            (Word::Defer, Word::Defer) => Counter::CandidateDeferDefer,
            (Word::Defer, Word::Reject) => Counter::CandidateDeferReject,
            (Word::Reject, Word::Accept) => Counter::CandidateRejectAccept,
            (Word::Reject, Word::Defer) => Counter::CandidateRejectDefer,
            (Word::Reject, Word::Reject) => Counter::CandidateRejectReject,
        }
    }
}

/// The candidate's side of one session.
#[derive(Default)]
pub(super) struct Candidate {
    pub asking: Asking,
    judgement: Judgement,
    /// Of its own signatures, where they are verified apart.
    pub hashes: Option<BodyHashes>,
    live: Course,
    own: Course,
    /// Something that it asked had no answer in time.
    pub late: bool,
}

impl Candidate {
    /// The policy in force has said this. What can be judged at once is.
    pub fn hear(
        &mut self,
        shadow: &Shadow,
        (at, part): (At, Part),
        facts: &Facts<'_>,
        live: Option<Said>,
    ) {
        if facts.is_known() {
            self.live.acquit();
            self.own.acquit();
        }
        self.live.note(at, live);
        if part == Part::Asked {
            // The candidate has its own moment for that: its questions are others.
            return;
        }
        if at == At::Mail {
            self.live.begin_message();
            self.live.message = live;
            self.own.begin_message();
            self.asking.inquiry.forget_message();
            self.late = false;
        }
        let waits = matches!(at, At::Answers | At::Header | At::Body) || at == At::Rcpt;
        if self.own.is_over() || (waits && (live.is_none() || at > At::Rcpt)) {
            return;
        }
        if at == At::Rcpt && (facts.recipient_is_ours || facts.is_known()) {
            let answers = self.ask(shadow, (At::Answers, Part::Whole), facts);
            if answers.is_some() {
                return self.own.note(At::Answers, answers);
            }
        }
        let refusal = self.ask(shadow, (at, part), facts);
        self.own.note(at, refusal);
    }

    /// A transaction is over: forgets what was asked about it.
    pub fn end_transaction(&mut self) {
        self.hashes = None;
        self.asking.end_transaction();
    }

    /// What is known of the name in HELO that is in force.
    pub fn greeting(&self) -> CandidateGreeting {
        CandidateGreeting {
            judgement: self.judgement.clone(),
            greeting: self.asking.inquiry.greeting(),
            live: self.live.hello,
            own: self.own.hello,
        }
    }

    /// Goes back to a name: the policy in force has refused another.
    pub fn go_back(&mut self, to: CandidateGreeting) {
        self.judgement = to.judgement;
        self.asking.inquiry.go_back(to.greeting);
        (self.live.hello, self.own.hello) = (to.live, to.own);
    }

    /// Judges at EHLO or MAIL what reads answers, by those that are there.
    pub fn judge_answers(&mut self, shadow: &Shadow, at: At, facts: &Facts<'_>) {
        if !self.own.is_over() {
            let refusal = self.ask(shadow, (at, Part::Asked), facts);
            self.own.note(at, refusal);
        }
    }

    /// Begins what it asks from a point on.
    pub fn begin_inquiry(&mut self, shadow: &Shadow, at: At, facts: &Facts<'_>) {
        let inquiry = &mut self.asking.inquiry;
        shadow
            .policy
            .begin_inquiry(at, facts, &self.judgement, inquiry);
    }

    /// Asks the candidate.
    pub fn ask(
        &mut self,
        shadow: &Shadow,
        (at, part): (At, Part),
        facts: &Facts<'_>,
    ) -> Option<Said> {
        let facts = Facts {
            inquiry: Some(&self.asking.inquiry),
            looked: None,
            ..*facts
        };
        let judgement = &mut self.judgement;
        let (policy, shared) = (&shadow.policy, &shadow.shared);
        let verdict = policy.ask_part(part, at, &facts, shared, judgement);
        let check = self.judgement.refusal().map(|(check, _)| check);
        Said::refusal(&verdict, check)
    }

    /// Keeps what it has said of a point, and says whether it refuses.
    pub fn note(&mut self, at: At, refusal: Option<Said>) -> bool {
        match at {
            // Told for the message here, and not for one recipient.
            At::Answers => self.own.message = self.own.message.or(refusal),
            _ => self.own.note(at, refusal),
        }
        refusal.is_some()
    }

    /// Whether it lets no recipient have the message.
    pub fn refuses(&self) -> bool {
        self.own.is_over()
    }

    /// Whether it lets any recipient have the message.
    pub fn accepts_any(&self) -> bool {
        !self.own.is_over() && self.own.accepted > 0
    }

    /// The message is refused whatever a policy says.
    pub fn follow(&mut self) {
        self.own.message = self.own.message.or(self.live.message);
    }

    /// What both have come to.
    pub fn compare(&self) -> Compared {
        Compared {
            live: self.live.said(),
            candidate: self.own.said(),
            late: self.late,
        }
    }

    /// Whether a session that has no transaction came to anything.
    pub fn refuses_client(&self) -> bool {
        self.live.client.or(self.own.client).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_refused_leaves_what_was_said_of_the_one_before() {
        let mut candidate = Candidate::default();
        candidate.own.note(At::Hello, said(Word::Defer));
        let before = candidate.greeting();
        candidate.live.note(At::Hello, said(Word::Reject));
        candidate.own.note(At::Hello, None);
        candidate.go_back(before);
        let compared = candidate.compare();
        assert_eq!(compared.live.word, Word::Accept);
        assert_eq!(compared.candidate.word, Word::Defer);
    }

    fn said(word: Word) -> Option<Said> {
        (word != Word::Accept).then_some(Said { word, check: None })
    }

    #[test]
    fn a_course_comes_to_what_the_client_would_have_been_told() {
        use Word::{Accept, Defer, Reject};
        for (steps, word) in [
            (
                &[
                    (At::Connect, Accept),
                    (At::Mail, Accept),
                    (At::Rcpt, Accept),
                ][..],
                Accept,
            ),
            (&[(At::Connect, Reject), (At::Mail, Accept)], Reject),
            (&[(At::Hello, Reject), (At::Hello, Accept)], Accept),
            // One recipient gets it.
            (&[(At::Rcpt, Reject), (At::Rcpt, Accept)], Accept),
            (&[(At::Rcpt, Reject), (At::Rcpt, Defer)], Defer),
            (&[(At::Rcpt, Accept), (At::Body, Defer)], Defer),
            (&[(At::Mail, Reject), (At::Mail, Accept)], Accept),
        ] {
            let mut course = Course::default();
            for (at, word) in steps {
                course.note(*at, said(*word));
            }
            assert_eq!(course.said().word, word, "{steps:?}");
        }
    }
}
