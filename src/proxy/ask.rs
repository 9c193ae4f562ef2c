//! Answers the core's questions: gathers the facts, asks policy, adds what only the shell knows (capacity,
//! routes, what a backend says of a recipient), and passes the verdict on.

use super::{
    connection::{Session, stage_of},
    login::known_as,
    replies,
    site::Site,
    transaction::Transaction,
};
use crate::{
    config::Role,
    delivery::{
        Step,
        replies::{NO_UTF8, reply_of},
    },
    metrics::{Counter, Scope, Stage},
    net::{now, sleep, sleep_until},
    policy::{At, Facts, Hit, Signals, Verdict, What},
    smtp::{
        Reply,
        envelope::Path,
        header::Index,
        server::{self, Answer, Question},
    },
    upstream::Verification,
};
use std::time::Duration;

/// How long a body waits for memory before the client gets 452.
const MEMORY_WAIT: Duration = Duration::from_secs(2);
/// How often it looks.
const MEMORY_LOOK: Duration = Duration::from_millis(20);

impl Session {
    /// Answers one question, and records what it took.
    pub async fn ask(&mut self, question: Question) {
        let answer = match question {
            Question::Connect => Some(self.ask_connect().await),
            Question::Client => Some(self.ask_client()),
            Question::Hello => Some(self.judge(At::Hello, None, false)),
            Question::Mail => Some(self.ask_mail()),
            Question::Rcpt => Some(self.ask_rcpt().await),
            Question::Body => Some(self.ask_body().await),
            Question::Auth => Box::pin(self.ask_auth()).await,
        };
        if let Some(answer) = answer {
            self.server.answer(answer, &mut self.out);
        }
        let asked = self.now;
        self.now = now();
        let stage = match question {
            Question::Connect | Question::Client => Stage::Banner,
            _ => stage_of(self.server.verb()),
        };
        self.context
            .recorder
            .record(stage, self.scope, self.now.micros_since(asked));
    }

    async fn ask_connect(&mut self) -> Answer {
        let site = &self.current.site;
        let recorder = &self.context.recorder;
        if self.context.draining.get() {
            recorder.count(Counter::RefusedDrain, self.scope, 1);
            return Answer::Close(replies::GOING_DOWN.reply());
        }
        if self.place.is_none() || self.context.sessions.get() > site.config.limits.sessions {
            recorder.count(Counter::RefusedSessions, self.scope, 1);
            return Answer::Close(replies::FULL.reply());
        }
        let listener = &site.listeners[self.listener];
        if listener.speaks_for_others(self.client) {
            // Whose session it is, XCLIENT will say: that client is judged.
            return Answer::Accept;
        }
        self.ticket = Some(self.current.shared.open_session(self.client));
        let delay = listener.greeting_delay;
        if !delay.is_zero() && !self.trusted {
            sleep(delay).await;
            self.early = !self.stream.is_quiet();
        }
        self.judge_connect()
    }

    /// Asks policy whether the client may connect at all, and counts where not.
    pub fn judge_connect(&mut self) -> Answer {
        let answer = self.judge(At::Connect, None, false);
        if matches!(answer, Answer::Close(_) | Answer::Refuse(_)) {
            let counter = match self.judgement.hits().last() {
                Some(hit)
                    if hit.detail.contains("sessions") || hit.detail.contains("connections") =>
                {
                    Counter::RefusedClient
                }
                _ => Counter::RefusedPolicy,
            };
            self.context.recorder.count(counter, self.scope, 1);
        }
        answer
    }

    fn ask_mail(&mut self) -> Answer {
        if let Some(before) = self.transaction.take() {
            // RSET and MAIL came in one step.
            super::trace::transaction(self, &before, None);
        }
        let listener = &self.current.site.listeners[self.listener];
        let stranger = !self.trusted && self.known_as().is_none();
        let answer = match (listener.role, &listener.auth) {
            (Role::Submission, None) if stranger => {
                Answer::Refuse(replies::SUBMISSION_ONLY.reply())
            }
            (Role::Submission, Some(_)) if stranger => {
                Answer::Refuse(replies::AUTH_REQUIRED.reply())
            }
            _ => self
                .refuses_sender()
                .unwrap_or_else(|| self.judge(At::Mail, None, false)),
        };
        self.transactions += 1;
        let sender = self.server.envelope().sender().whole;
        let id = self.context.ids.next(self.context.dates.micros(self.now));
        let mut transaction = Transaction::begin(id, sender, self.now);
        transaction.forwarded = self.server.take_forwarded();
        transaction.note(&answer);
        self.transaction = Some(Box::new(transaction));
        answer
    }

    async fn ask_rcpt(&mut self) -> Answer {
        let answer = self.judge_rcpt().await;
        let counter = match &answer {
            Answer::Accept | Answer::AcceptWith(_) => Counter::RecipientAccepted,
            Answer::Refuse(reply) | Answer::Close(reply) if reply.is_transient() => {
                Counter::RecipientDeferred
            }
            _ => Counter::RecipientRejected,
        };
        self.context.recorder.count(counter, self.scope, 1);
        if let Some(transaction) = &mut self.transaction {
            let envelope = self.server.envelope();
            match (&answer, envelope.recipients().last()) {
                (Answer::Accept | Answer::AcceptWith(_), Some(last)) => {
                    transaction.accept(envelope.path(last.path).whole);
                }
                _ => transaction.note(&answer),
            }
        }
        answer
    }

    async fn judge_rcpt(&mut self) -> Answer {
        let envelope = self.server.envelope();
        let Some(recipient) = envelope.recipients().last() else {
            return Answer::Refuse(replies::NO_ROUTE.reply());
        };
        let path = recipient.path;
        let (route, ours) = self.current.site.route(envelope.path(path).domain);
        let answer = self.judge(At::Rcpt, Some(path), ours);
        if !matches!(answer, Answer::Accept) {
            return answer;
        }
        let Some(route) = route else {
            return Answer::Refuse(replies::NO_ROUTE.reply());
        };
        let earlier = self.server.envelope().recipients().len() - 1;
        let transaction_pool = self.transaction.as_ref().and_then(|t| t.pool);
        let other = transaction_pool.is_some_and(|pool| pool != route.pool);
        if earlier > 0 && (other || self.current.site.is_lmtp(route.pool)) {
            return Answer::Refuse(replies::OTHER_ROUTE.reply());
        }
        let envelope = self.server.envelope();
        let recipient: Path<'_> = envelope.path(path);
        // Also where a route takes every recipient: what a backend refused at delivery is remembered.
        let pools = &self.context.pools;
        let sender = envelope.sender().whole;
        if let Some(reply) = pools.refused_lately(route.pool, self.client, sender, recipient) {
            return Answer::Refuse(reply_of(&reply, Step::Recipient));
        }
        if Site::verifies(&route) {
            self.input.settle();
            let due = self.now.after(self.current.site.config.timeouts.backend.0);
            let verified = pools.verify(route.pool, recipient, self.now, due).await;
            match verified {
                Verification::Accepted => {}
                Verification::Unknown(reply) => return Answer::Refuse(reply),
                Verification::NoUtf8 => return Answer::Refuse(NO_UTF8.reply()),
                Verification::Refused(said) | Verification::Deferred(said) => {
                    return Answer::Refuse(reply_of(&said, Step::Recipient));
                }
            }
        }
        self.set_pool(route.pool);
        Answer::Accept
    }

    fn set_pool(&mut self, pool: crate::upstream::PoolId) {
        if let Some(transaction) = &mut self.transaction {
            transaction.pool = Some(pool);
        }
    }

    async fn ask_body(&mut self) -> Answer {
        let (began, mut moment) = (self.now, self.now);
        let due = began.after(MEMORY_WAIT);
        while !self.context.memory.has_room() {
            self.input.settle();
            moment = now();
            if moment >= due {
                self.context
                    .recorder
                    .count(Counter::BodyRefused, self.scope, 1);
                let answer = Answer::Refuse(replies::NO_MEMORY.reply());
                if let Some(transaction) = &mut self.transaction {
                    transaction.note(&answer);
                }
                return answer;
            }
            sleep_until(moment.after(MEMORY_LOOK).min(due)).await;
        }
        self.context
            .recorder
            .record(Stage::Window, self.scope, moment.micros_since(began));
        let limits = &self.current.site.config.limits;
        let declared = self.server.envelope().params().size;
        if let Some(transaction) = &mut self.transaction {
            transaction.open_window(&self.context.memory, limits.window.0, declared, self.now);
        }
        Answer::Accept
    }

    /// Asks policy at this point, records its hits, and turns the verdict into the core's answer.
    pub fn judge(
        &mut self,
        at: At,
        recipient: Option<crate::smtp::envelope::PathSpan>,
        ours: bool,
    ) -> Answer {
        match self.verdict(at, recipient, ours, &[], None) {
            Verdict::Accept => Answer::Accept,
            Verdict::Defer(reply) | Verdict::Reject(reply) => match at {
                // A refused session has nothing to say but QUIT; don't keep it waiting for that.
                At::Connect => Answer::Close(closing(reply)),
                _ => Answer::Refuse(reply),
            },
            Verdict::Close(reply) => Answer::Close(reply),
        }
    }

    /// Asks policy at this point and records its hits.
    pub fn verdict(
        &mut self,
        at: At,
        recipient: Option<crate::smtp::envelope::PathSpan>,
        ours: bool,
        header: &[u8],
        fields: Option<&Index<'_>>,
    ) -> Verdict {
        let site = &self.current.site;
        let listener = &site.listeners[self.listener];
        let envelope = self.server.envelope();
        let body = self.server.body_facts().size;
        // Ours, or that between the client and the proxy in front.
        let (tls, certificate) = match (self.stream.tls(), &self.via) {
            (Some(tls), _) => (Some(tls.version), &*tls.peer_names),
            (None, Some(via)) => via.secured(),
            (None, None) => (None, &[][..]),
        };
        let authenticated = known_as(&self.login, &self.server);
        let looked = |kind: usize, micros: u64| {
            let scope = site.kinds.get(kind).copied().unwrap_or(Scope::NONE);
            self.context.recorder.record(Stage::Check, scope, micros);
        };
        let facts = Facts {
            listener: &listener.name,
            profile: self.listener,
            may_log_in: listener.auth.is_some()
                || (listener.speaks_for_others(self.client) && self.server.claims().is_none()),
            trusted: self.trusted,
            authenticated,
            tls,
            certificate,
            sessions: self
                .ticket
                .as_ref()
                .map(crate::policy::SessionTicket::counts)
                .unwrap_or_default(),
            keys: self.ticket.as_ref().map(crate::policy::SessionTicket::keys),
            signals: signals(self.early, self.server.signals()),
            hello: self.server.hello().map_or(b"", |hello| hello.name),
            sender: envelope.sender(),
            recipient: recipient.map(|path| envelope.path(path)),
            recipient_is_ours: ours,
            recipients: envelope.recipients().len() - usize::from(recipient.is_some()),
            size: if at == At::Body {
                body
            } else {
                envelope.params().size
            },
            header,
            fields,
            clock: now,
            looked: self.context.times_looks().then_some(&looked),
            ..Facts::of(self.client, self.now)
        };
        let verdict = site
            .policy
            .ask(at, &facts, &self.current.shared, &mut self.judgement);
        for hit in self.judgement.fresh() {
            self.record_hit(hit);
        }
        verdict
    }

    fn record_hit(&self, hit: &Hit) {
        let scope = self
            .current
            .site
            .checks
            .get(usize::from(hit.check.0))
            .copied()
            .unwrap_or(Scope::NONE);
        let counter = match (hit.what, hit.shadow) {
            (What::Accept, false) => Counter::HitAccept,
            (What::Score, false) => Counter::HitScore,
            (What::Defer, false) => Counter::HitDefer,
            (What::Reject, false) => Counter::HitReject,
            (What::Close, false) => Counter::HitClose,
            (What::Accept, true) => Counter::ShadowAccept,
            (What::Score, true) => Counter::ShadowScore,
            (What::Defer, true) => Counter::ShadowDefer,
            (What::Reject, true) => Counter::ShadowReject,
            (What::Close, true) => Counter::ShadowClose,
        };
        self.context.recorder.count(counter, scope, 1);
    }
}

/// A refusal at the greeting closes at once, so a 4xx is 421 there (RFC 5321 §3.8); a 5xx is 554 (§3.1).
fn closing(reply: Reply) -> Reply {
    let code = if reply.is_transient() { 421 } else { 554 };
    Reply { code, ..reply }
}

fn signals(early: bool, seen: server::Signals) -> Signals {
    Signals {
        before_greeting: early,
        past_sync: !seen.is_empty(),
    }
}
