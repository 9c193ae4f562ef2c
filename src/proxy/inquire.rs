//! What the policy asks elsewhere about a client and its message: the questions leave as soon as they can, the client talks
//! on, and the session waits only where something is decided by the answers.

use super::{asking::Nothing, session::Session};
use crate::{
    config::Role,
    dns::Answers,
    lookup::Asked,
    metrics::{Counter, Scope, Stage},
    net::{compute, now},
    policy::{
        At,
        authentication::{BodyHashes, Job, Message, Verified},
        client_key,
    },
    smtp::Tick,
};
use std::sync::Arc;

/// Signatures that are verified on the worker. One takes 24 µs with RSA of 2,048 bits, and to wake another thread and be
/// woken by it took 8 to 60 µs (two threads and two queues, on a machine with other work). Most messages have one or two.
const JOBS_HERE_MAX: usize = 2;

impl Session {
    /// Begins what can be asked from this point on, and sends the questions. Does nothing where the policy asks nothing, for
    /// clients that it knows, and where strangers can't send anyway.
    pub fn begin_inquiry(&mut self, at: At) {
        let site = &self.current.site;
        let listener = &site.listeners[self.listener];
        if !site.policy.inquires(self.listener)
            || listener.role == Role::Submission
            || self.peer.trusted
            || self.known_as().is_some()
        {
            return;
        }
        let mut asking = match (self.peer.asking.take(), at) {
            (Some(asking), _) => asking,
            (None, At::Connect) => Box::default(),
            // A client whose connection was not looked at: one that was trusted.
            (None, _) => return,
        };
        // A session may send messages and say EHLO without end, and what was not known for one message may be known for the
        // next. What is still asked is asked anew, of the cache.
        let is_later = at == At::Mail && self.transactions > 0;
        asking.docket.take_if(|docket| is_later || docket.is_worn());
        let policy = Arc::clone(&self.current.site.policy);
        policy.begin_inquiry(at, &self.facts(), &mut asking.inquiry);
        self.peer.asking = Some(asking);
        self.go_on();
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
        let policy = Arc::clone(&self.current.site.policy);
        let hashes = policy.begin_message(&self.facts(), header, &mut asking.inquiry);
        self.peer.asking = Some(asking);
        self.go_on();
        hashes
    }

    /// Verifies where a message is from, now that its body has ended.
    pub async fn verify(&mut self, body: BodyHashes) {
        if self.message_mut().is_some() {
            // Boxed: a session that verifies nothing must not hold the room for it.
            Box::pin(self.verify_message(body)).await;
        }
    }

    async fn verify_message(&mut self, body: BodyHashes) {
        self.know(At::Body).await;
        let Some(message) = self.message_mut() else {
            return;
        };
        let jobs = message.close(body);
        let run = |jobs: &[Job]| -> Vec<Verified> { jobs.iter().map(Job::run).collect() };
        let verified = match jobs.len() {
            0..=JOBS_HERE_MAX => run(&jobs),
            _ => compute(move || run(&jobs)).await.unwrap_or_default(),
        };
        if let Some(message) = self.message_mut() {
            message.conclude(&verified);
        }
        self.now = now();
        // What DMARC asks about the domains that are proved now.
        self.know(At::Body).await;
    }

    fn message_mut(&mut self) -> Option<&mut Message> {
        self.peer.asking.as_mut()?.inquiry.message_mut()
    }

    /// Waits for the answers where something decides by them at this point. What has not come in `timeouts.lookups` is
    /// unknown.
    pub async fn know(&mut self, at: At) {
        let policy = &self.current.site.policy;
        if !policy.waits(self.listener, at) || self.peer.asking.is_none() {
            return;
        }
        if self.known_as().is_some() || self.go_on() {
            return;
        }
        self.io.input.settle();
        let began = now();
        let due = began.after(self.current.site.config.timeouts.lookups.0);
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
        let Some(asking) = &mut self.peer.asking else {
            return true;
        };
        let site = &self.current.site;
        let mut need = Vec::new();
        loop {
            let inquiry = &mut asking.inquiry;
            let mut step = |answers: &dyn Answers| {
                site.policy
                    .inquire(self.listener, inquiry, answers, self.now, &mut need);
            };
            match &asking.docket {
                Some(docket) => docket.with(step),
                None => step(&Nothing),
            }
            if need.is_empty() {
                return true;
            }
            let docket = asking.docket.get_or_insert_with(|| {
                let client = client_key(self.peer.address);
                self.context.desk.docket(&site.dns, client)
            });
            let mut has_more = false;
            for question in need.drain(..) {
                let Some(asked) = docket.ask(&question) else {
                    continue;
                };
                let counter = match asked {
                    Asked::Cached(_) => Counter::LookupCached,
                    Asked::Joined => Counter::LookupJoined,
                    Asked::Sent => {
                        asking.inquiry.sent(&question);
                        Counter::LookupSent
                    }
                    Asked::Refused(_) => Counter::LookupRefused,
                };
                self.context.recorder.count(counter, Scope::NONE, 1);
                has_more |= matches!(asked, Asked::Cached(_) | Asked::Refused(_));
            }
            if !has_more {
                return false;
            }
        }
    }
}
