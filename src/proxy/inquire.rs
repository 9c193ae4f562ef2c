//! What the policy asks elsewhere about a client and its message: the questions leave as soon as they can, the client talks
//! on, and the session waits only where something is decided by the answers.

use super::{
    asking::{Asking, Nothing},
    context::Context,
    known::Asked,
    session::Session,
    site::Site,
    verifier::Unverified,
};
use crate::{
    client_key,
    config::Role,
    dns::Answers,
    log::{Rarely, say},
    lookup,
    memory::Held,
    metrics::{Counter, Scope, Stage},
    net::now,
    policy::{
        At, Part, Policy,
        authentication::{BodyHashes, Message},
    },
    smtp::{Tick, server::Answer},
};
use std::net::IpAddr;

impl Session {
    /// Begins what can be asked from this point on, and sends the questions. Does nothing where the policy asks nothing, for
    /// clients that it knows or that are refused already, and where strangers can't send anyway. To be called once what needs
    /// no answer has been judged.
    pub fn begin_inquiry(&mut self, at: At) {
        if self.peer.candidate.is_some() && self.is_stranger() {
            self.inquire_for_candidate(at);
        }
        // A client whose connection was not looked at was trusted then, or there is nothing to ask about it.
        if at != At::Connect && self.peer.asking.is_none() {
            return;
        }
        let policy = &self.current.site.policy;
        if !policy.inquires(self.profile(), self.peer.address)
            || self.peer.postponed.is_some()
            || !self.is_stranger()
        {
            return;
        }
        let mut asking = self.peer.asking.take().unwrap_or_default();
        // A session may send messages and say EHLO without end, and what was not known for one message may be known for the
        // next. What is still asked is asked anew, of the cache.
        let is_later = at == At::Mail && self.transactions > 0;
        asking.docket.take_if(|docket| is_later || docket.is_worn());
        let judgement = &self.peer.judgement;
        policy.begin_inquiry(at, &self.facts(), judgement, &mut asking.inquiry);
        self.peer.asking = Some(asking);
        self.go_on();
    }

    /// Whether the client is one that is asked about, on a listener where such clients can send.
    pub fn is_stranger(&self) -> bool {
        let listener = &self.current.site.listeners[self.listener];
        listener.role != Role::Submission && !self.peer.trusted && self.known_as().is_none()
    }

    /// What questions are asked with.
    pub fn place(&self) -> Place<'_> {
        Place {
            context: &self.context,
            site: &self.current.site,
            profile: self.profile(),
            address: self.peer.address,
            now: self.now,
        }
    }

    /// Begins to verify where a message is from: its header section is complete. The body must be shown to the hashes that
    /// come back, which want nothing of it for clients that are known.
    pub fn begin_message(&mut self, header: &[u8]) -> BodyHashes {
        if self.known_as().is_some() {
            return BodyHashes::new();
        }
        let Some(mut asking) = self.peer.asking.take() else {
            return BodyHashes::new();
        };
        let policy = &self.current.site.policy;
        let hashes = policy.begin_message(&self.facts(), header, &mut asking.inquiry);
        self.peer.asking = Some(asking);
        self.go_on();
        hashes
    }

    /// Verifies where a message is from, now that its body has ended, by what is known at `due`.
    pub async fn verify(&mut self, body: BodyHashes, due: Tick) {
        if self.message_mut().is_some() {
            // Boxed: a session that verifies nothing must not hold the room for it.
            Box::pin(self.verify_message(body, due)).await;
        }
    }

    async fn verify_message(&mut self, body: BodyHashes, due: Tick) {
        self.know(At::Body, due).await;
        let Some(message) = self.message_mut() else {
            return;
        };
        let work = message.close(body);
        let (verified, why) = self.context.verifier.verify(self.peer.address, work).await;
        if let Some(why) = why {
            self.note_unverified(why);
        }
        if let Some(message) = self.message_mut() {
            message.conclude(&verified);
        }
        self.now = now();
        // What DMARC asks about the domains that are proved now.
        self.know(At::Body, due).await;
    }

    /// A transaction is over: forgets what was asked about it, so that a session that waits holds findings alone.
    pub fn end_inquiry(&mut self) {
        if let Some(asking) = &mut self.peer.asking {
            asking.end_transaction();
        }
        if let Some(candidate) = &mut self.peer.candidate {
            candidate.end_transaction();
        }
    }

    /// All has been judged: what was found is kept for the log, and no answer while a backend is waited for. A candidate keeps
    /// its answers until it has judged.
    pub fn drop_answers(&mut self) {
        if let Some(asking) = &mut self.peer.asking {
            asking.docket = None;
        }
    }

    fn note_unverified(&self, why: Unverified) {
        let counter = match why {
            Unverified::Share => Counter::UnverifiedShare,
            Unverified::Full => Counter::UnverifiedFull,
            Unverified::Late => Counter::UnverifiedLate,
        };
        self.context.recorder.count(counter, Scope::NONE, 1);
        static UNVERIFIED: Rarely = Rarely::new();
        if let Some(remark) = UNVERIFIED.admits() {
            say!(
                Warn,
                "signatures of a message from {} were not verified: {}{remark}",
                self.peer.address,
                why.as_str()
            );
        }
    }

    fn message_mut(&mut self) -> Option<&mut Message> {
        self.peer.asking.as_mut()?.inquiry.message_mut()
    }

    /// Judges at a point what needs no answer, then asks what can be asked from there on, and judges the rest once the answers
    /// are there.
    pub async fn judge_in_parts(&mut self, asked: Asked<'_>) -> Answer {
        if let (At::Mail, Some(asking)) = (asked.at, &mut self.peer.asking) {
            asking.inquiry.forget_message();
        }
        let first = Asked {
            part: Part::Unasked,
            ..asked
        };
        let answer = self.judge(first);
        if !matches!(answer, Answer::Accept) {
            return answer;
        }
        self.begin_inquiry(asked.at);
        let due = self.lookups_due();
        let policy = &self.current.site.policy;
        let judges = |at| policy.judges_answers(self.profile(), at);
        // Where clients may log in, the HELO name is judged only at MAIL.
        let has_more = judges(asked.at) || (asked.at == At::Mail && judges(At::Hello));
        if !has_more {
            return Answer::Accept;
        }
        if asked.at == At::Mail {
            self.know(At::Hello, due).await;
        }
        self.know(asked.at, due).await;
        self.judge(Asked {
            part: Part::Asked,
            ..asked
        })
    }

    /// When the answers must be there that are waited for from now on. All that is waited for at one point of the session has
    /// this moment in common.
    pub fn lookups_due(&self) -> Tick {
        self.now.after(self.current.site.config.timeouts.lookups.0)
    }

    /// Whether something that was asked decides at this point.
    pub fn waits(&self, at: At) -> bool {
        let policy = &self.current.site.policy;
        let asking = self.peer.asking.as_ref();
        asking.is_some_and(|asking| policy.waits(self.profile(), at, &asking.inquiry))
    }

    /// Waits for the answers where something decides by them at this point. What has not come by `due` is unknown.
    pub async fn know(&mut self, at: At, due: Tick) {
        if !self.waits(at) || self.known_as().is_some() || self.go_on() {
            return;
        }
        self.io.input.settle();
        let began = now();
        // Boxed: a session that asks nothing must not hold the room for it.
        Box::pin(self.wait(due)).await;
        self.now = now();
        let waited = self.now.micros_since(began);
        self.context
            .recorder
            .record(Stage::Lookup, self.scope, waited);
    }

    async fn wait(&mut self, due: Tick) {
        while !self.go_on() {
            let Some(mut asking) = self.peer.asking.take() else {
                return;
            };
            if let Some(docket) = &mut asking.docket
                && !docket.wait(due).await
            {
                docket.give_up();
                self.context
                    .recorder
                    .count(Counter::LookupLate, Scope::NONE, 1);
            }
            self.peer.asking = Some(asking);
        }
    }

    /// Gives the answers that are there to the machines, and asks what they need then. True: all is known that can be.
    fn go_on(&mut self) -> bool {
        let shadow = &self.current.site.shadow;
        if let (Some(shadow), Some(mut candidate)) = (shadow, self.peer.candidate.take()) {
            advance(&self.place(), &shadow.policy, &mut candidate.asking);
            self.peer.candidate = Some(candidate);
        }
        let Some(mut asking) = self.peer.asking.take() else {
            return true;
        };
        let is_known = advance(&self.place(), &self.current.site.policy, &mut asking);
        self.peer.asking = Some(asking);
        is_known
    }
}

/// What questions are asked with.
pub(super) struct Place<'a> {
    context: &'a Context,
    site: &'a Site,
    profile: usize,
    address: IpAddr,
    now: Tick,
}

/// Gives the answers that are there to the machines of a policy, and asks what they need then. True: all is known that can be.
pub(super) fn advance(place: &Place<'_>, policy: &Policy, asking: &mut Asking) -> bool {
    let recorder = &place.context.recorder;
    let mut need = Vec::new();
    loop {
        let inquiry = &mut asking.inquiry;
        let mut step = |answers: &dyn Answers| {
            policy.inquire(place.profile, inquiry, answers, place.now, &mut need);
        };
        match &asking.docket {
            Some(docket) => {
                docket.with(step);
                let refused = docket.take_refused();
                if refused > 0 {
                    recorder.count(Counter::LookupRefused, Scope::NONE, refused);
                }
            }
            None => step(&Nothing),
        }
        if need.is_empty() {
            return true;
        }
        let docket = asking.docket.get_or_insert_with(|| {
            let client = client_key::address(place.address);
            let held = Held::new(&place.context.memory, Some(client));
            place.context.desk.docket(&place.site.dns, client, held)
        });
        let mut has_more = false;
        for question in need.drain(..) {
            let Some(asked) = docket.ask(&question) else {
                continue;
            };
            let counter = match asked {
                lookup::Asked::Cached(_) => Counter::LookupCached,
                lookup::Asked::Joined => Counter::LookupJoined,
                lookup::Asked::Sent => {
                    asking.inquiry.sent(&question);
                    Counter::LookupSent
                }
                lookup::Asked::Refused(_) => Counter::LookupRefused,
            };
            recorder.count(counter, Scope::NONE, 1);
            has_more |= matches!(asked, lookup::Asked::Cached(_) | lookup::Asked::Refused(_));
        }
        if !has_more {
            return false;
        }
    }
}
