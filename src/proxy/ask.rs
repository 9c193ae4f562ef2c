//! Answers the core's questions: asks the policy (`judge`), adds what only the shell knows (capacity, routes, what a
//! backend says of a recipient), keeps what is refused for the log, and passes the answer on.

use super::{
    candidate::Candidate, known::Asked, peer::Peer, replies, session::Session, site::Site, trace,
    transaction::Transaction, window::Held,
};
use crate::{
    config::Role,
    delivery::{
        Step,
        replies::{NO_UTF8, reply_of},
    },
    metrics::{Counter, Stage},
    net::{now, sleep_until},
    policy::{At, Breaches, CheckId},
    smtp::{
        Reply,
        command::Verb,
        envelope::{Path, PathSpan},
        server::{Answer, Question},
    },
    upstream::{PoolId, Route, Verification},
};
use std::time::Duration;

/// How long a body waits for memory before the client gets 452.
const MEMORY_WAIT: Duration = Duration::from_secs(2);
/// How often it looks.
const MEMORY_LOOK: Duration = Duration::from_millis(20);

impl Session {
    /// Answers one question, and records what it took.
    pub async fn ask(&mut self, question: Question) {
        self.decided = None;
        let answer = match question {
            Question::Connect => Some(self.ask_connect().await),
            Question::Client => Some(self.ask_client().await),
            // A client that is refused in the end need not be judged further.
            Question::Hello if self.peer.is_turned_away() => Some(Answer::Accept),
            Question::Hello => Some(self.ask_hello().await),
            Question::Mail => Some(self.ask_mail().await),
            Question::Rcpt => Some(self.ask_rcpt().await),
            Question::Body => Some(self.ask_body().await),
            Question::Auth => Box::pin(self.ask_auth()).await,
        };
        if let Some(answer) = answer {
            if let Answer::Refuse(reply) | Answer::Close(reply) = &answer {
                self.note_answer(question, reply);
            }
            self.server.answer(answer, &mut self.io.out);
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

    async fn ask_hello(&mut self) -> Answer {
        self.renew_offer();
        self.note_wait();
        self.classify();
        // A name that is refused leaves the one before in force, and what is known and was judged of that. Boxed: most sessions
        // have none, and must not hold the room for it.
        let put_off = self.peer.postponed.take();
        let before = self.server.is_greeted().then(|| {
            let asking = self.peer.asking.as_ref();
            let greeting = asking.map(|asking| asking.inquiry.greeting());
            let candidate = self.peer.candidate.as_deref().map(Candidate::greeting);
            Box::new((self.peer.judgement.clone(), greeting, candidate, put_off))
        });
        let answer = self.judge_hello().await;
        if let (Answer::Refuse(_), Some(before)) = (&answer, before) {
            let (judgement, greeting, before, put_off) = *before;
            self.peer.judgement = judgement;
            self.peer.postponed = put_off;
            if let (Some(asking), Some(greeting)) = (&mut self.peer.asking, greeting) {
                asking.inquiry.go_back(greeting);
            }
            if let (Some(candidate), Some(before)) = (&mut self.peer.candidate, before) {
                candidate.go_back(before);
            }
        }
        answer
    }

    async fn judge_hello(&mut self) -> Answer {
        let answer = self.judge_in_parts(Asked::at(At::Hello)).await;
        self.postpone(At::Hello, answer)
    }

    async fn ask_connect(&mut self) -> Answer {
        let admitted = match self.admitted.take() {
            None => self.admit(),
            // Its certificate has lifted what was held against its address.
            Some(_) if self.peer.trusted => Answer::Accept,
            Some(answer) => *answer,
        };
        let listener = &self.current.site.listeners[self.listener];
        let delay = listener.greeting_delay;
        let waits = !delay.is_zero()
            && !self.peer.trusted
            && !self.is_spared_the_wait()
            && !listener.speaks_for_others(self.peer.address);
        if !matches!(admitted, Answer::Accept) {
            return admitted;
        }
        let decides = self.is_judged_at_greeting();
        if !waits {
            if !decides {
                return admitted;
            }
            self.know(At::Greeting, self.lookups_due()).await;
            return self.judge_client(At::Greeting);
        }
        self.peer.early = self.io.hears_within(delay).await;
        let octets = self.io.input.bytes().len() as u64;
        let recorder = &self.context.recorder;
        recorder.count(Counter::BytesIn, self.scope, octets);
        self.peer.waited = !self.peer.early;
        if decides {
            self.now = now();
            self.know(At::Greeting, self.lookups_due()).await;
        }
        match (self.peer.early || decides) && self.peer.postponed.is_none() {
            true => self.judge_client(At::Greeting),
            false => Answer::Accept,
        }
    }

    /// Whether what was asked elsewhere decides before the greeting. A client that is refused already hears of that later.
    fn is_judged_at_greeting(&self) -> bool {
        self.peer.postponed.is_none() && self.waits(At::Greeting)
    }

    /// XCLIENT: from here on the session is that of the client that it names.
    async fn ask_client(&mut self) -> Answer {
        let Some(named) = self.server.xclient_attributes() else {
            return Answer::Accept;
        };
        let placeholder = Peer::new(self.peer.address, self.peer.port, None);
        let before = std::mem::replace(&mut self.peer, placeholder);
        self.peer = before.replaced(named, &self.current, self.listener);
        self.server.trust(self.peer.trusted);
        self.classify();
        let mut answer = self.judge_connection();
        // What is asked before a greeting is due of this client as well.
        if matches!(answer, Answer::Accept) && self.is_judged_at_greeting() {
            self.know(At::Greeting, self.lookups_due()).await;
            answer = self.judge_client(At::Greeting);
        }
        let named = self.server.hello().is_some();
        if matches!(answer, Answer::Accept) && named && self.peer.postponed.is_none() {
            return self.judge_hello().await;
        }
        answer
    }

    /// Judges the address, and asks elsewhere about one that is let in.
    fn judge_connection(&mut self) -> Answer {
        self.begin_candidate();
        let answer = self.judge_client(At::Connect);
        if matches!(answer, Answer::Accept) {
            self.begin_inquiry(At::Connect);
        }
        answer
    }

    /// What was asked elsewhere is known now, and judged; once a message, before its first recipient. A recipient that is
    /// not ours is refused without that.
    async fn judge_answers(&mut self) -> Result<(), Answer> {
        let is_due = |transaction: &Transaction| !transaction.answers_judged;
        let (policy, profile) = (&self.current.site.policy, self.profile());
        let has_use = self.waits(At::Answers) || policy.judges(profile, At::Answers);
        if !has_use || !self.transaction.as_deref().is_some_and(is_due) {
            return Ok(());
        }
        self.know(At::Answers, self.lookups_due()).await;
        match self.judge(Asked::at(At::Answers)) {
            Answer::Accept => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.answers_judged = true;
                }
                Ok(())
            }
            refused => Err(refused),
        }
    }

    /// Whether there is a place for the client, and whether its address is let in: all that can be said before its first
    /// word, and so before the work of a handshake.
    pub fn admit(&mut self) -> Answer {
        let site = &self.current.site;
        let recorder = &self.context.recorder;
        if self.context.draining.get() {
            recorder.count(Counter::RefusedDrain, self.scope, 1);
            return Answer::Close(replies::GOING_DOWN.reply());
        }
        if !self.has_place() {
            recorder.count(Counter::RefusedSessions, self.scope, 1);
            return Answer::Close(replies::FULL.reply());
        }
        if site.listeners[self.listener].speaks_for_others(self.peer.address) {
            // Whose session it is, XCLIENT will say: that client is judged.
            return Answer::Accept;
        }
        self.classify();
        let site = &self.current.site;
        let group = site.policy.rate_group(self.profile());
        let ticket = self.current.shared.open_session(self.peer.address, group);
        self.peer.ticket = Some(ticket);
        self.judge_connection()
    }

    async fn ask_mail(&mut self) -> Answer {
        if let Some(before) = self.transaction.take() {
            // RSET and MAIL came in one step.
            trace::transaction(self, &before, None);
        }
        self.classify();
        self.renew_postponed();
        let listener = &self.current.site.listeners[self.listener];
        let stranger = !self.peer.trusted && self.known_as().is_none();
        let answer = match listener.role {
            // Where it has AUTH, the core has refused already.
            Role::Submission if stranger => Answer::Refuse(replies::SUBMISSION_ONLY.reply()),
            _ if self.peer.postponed.is_some() => Answer::Accept,
            _ => {
                let breaches = Breaches {
                    sender: self.is_foreign_sender(),
                    ..Breaches::NONE
                };
                let asked = Asked {
                    breaches,
                    ..Asked::at(At::Mail)
                };
                let answer = self.judge_in_parts(asked).await;
                self.postpone(At::Mail, answer)
            }
        };
        self.transactions += 1;
        let sender = self.server.envelope().sender().whole;
        let id = self.context.ids.next(self.context.dates.micros(self.now));
        let held = Held::new(&self.context.memory, self.client_key());
        let mut transaction = Transaction::begin(id, sender, held, self.now);
        transaction.forwarded = self.server.take_forwarded();
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
            let last = envelope.recipients().last();
            if let (Answer::Accept | Answer::AcceptWith(_), Some(last)) = (&answer, last) {
                transaction.recipients.push(envelope.path(last.path).whole);
            }
        }
        answer
    }

    async fn judge_rcpt(&mut self) -> Answer {
        match self.place_rcpt().await {
            Ok((pool, place)) => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.route(pool, place);
                }
                Answer::Accept
            }
            Err(refused) => refused,
        }
    }

    /// The pool that the latest recipient goes to, and its place in the envelope; or the answer to it.
    async fn place_rcpt(&mut self) -> Result<(PoolId, usize), Answer> {
        if let Some(refused) = self.postponed() {
            return Err(refused);
        }
        let envelope = self.server.envelope();
        let octets = envelope.memory();
        if let Some(transaction) = &mut self.transaction
            && !transaction.keeps_envelope(octets)
        {
            return Err(Answer::Refuse(replies::NO_MEMORY.reply()));
        }
        let Some(recipient) = envelope.recipients().last() else {
            return Err(Answer::Refuse(replies::NO_ROUTE.reply()));
        };
        let path = recipient.path;
        let (route, ours) = self.current.site.route(envelope.path(path).domain);
        let earlier = envelope.recipients().len() - 1;
        // A recipient that is not ours is refused by the profile that holds.
        if let Some(route) =
            route.filter(|_| ours || self.peer.trusted || self.known_as().is_some())
        {
            self.take_profile(&route, earlier)?;
        }
        // Of a client that is known nothing is waited for: it is judged before its first recipient, ours or not.
        if ours || self.peer.trusted || self.known_as().is_some() {
            self.judge_answers().await?;
        }
        let answer = self.judge(Asked {
            recipient: Some(path),
            ours,
            ..Asked::at(At::Rcpt)
        });
        if !matches!(answer, Answer::Accept) {
            return Err(answer);
        }
        let placed = self.place_judged(route, path, earlier).await;
        if placed.is_err() {
            // It gets no message, and must not count for those that do.
            self.peer.judgement.take_back_recipient();
        }
        placed
    }

    /// The same for one that the policy has let pass.
    async fn place_judged(
        &mut self,
        route: Option<Route>,
        path: PathSpan,
        earlier: usize,
    ) -> Result<(PoolId, usize), Answer> {
        if earlier > 0 && self.peer.judgement.recipient_differs() {
            return Err(Answer::Refuse(replies::OTHER_ROUTE.reply()));
        }
        let Some(route) = route else {
            return Err(Answer::Refuse(replies::NO_ROUTE.reply()));
        };
        let site = &self.current.site;
        if !site.may_be(&route, self.server.envelope().path(path)) {
            self.decided = Some(CheckId::RECIPIENTS);
            return Err(Answer::Refuse(replies::UNLISTED.reply()));
        }
        let transaction_pool = self.transaction.as_ref().and_then(|t| t.pool());
        let other = transaction_pool.is_some_and(|pool| pool != route.pool);
        if earlier > 0 && (other || site.is_lmtp(route.pool)) {
            return Err(Answer::Refuse(replies::OTHER_ROUTE.reply()));
        }
        if let Some(reply) = self.exceeds(route.pool, earlier) {
            return Err(Answer::Refuse(reply));
        }
        self.verify_rcpt(&route, path).await?;
        Ok((route.pool, earlier))
    }

    /// The first recipient's route decides by which profile a message is judged.
    fn take_profile(&mut self, route: &Route, earlier: usize) -> Result<(), Answer> {
        let profile = self.current.site.profiles.of_route(route);
        if self.route_profile == profile {
            return Ok(());
        }
        if earlier > 0 {
            return Err(Answer::Refuse(replies::OTHER_ROUTE.reply()));
        }
        self.route_profile = profile;
        if let Some(transaction) = &mut self.transaction {
            // What was asked has been judged by another one, for a recipient that was refused.
            transaction.answers_judged = false;
        }
        self.peer.judgement.forget_answers();
        Ok(())
    }

    /// Asks what the backends say of a recipient, as far as its route wants that.
    async fn verify_rcpt(&mut self, route: &Route, path: PathSpan) -> Result<(), Answer> {
        let envelope = self.server.envelope();
        let recipient: Path<'_> = envelope.path(path);
        // Also where a route takes every recipient: what a backend refused at delivery is remembered.
        let pools = &self.context.pools;
        let sender = envelope.sender().whole;
        if let Some(reply) = pools.refused_lately(route.pool, self.peer.address, sender, recipient)
        {
            return Err(Answer::Refuse(reply_of(&reply, Step::Recipient)));
        }
        if !Site::verifies(route) {
            return Ok(());
        }
        let verified = match pools.verified(route.pool, recipient, self.now) {
            Some(verified) => verified,
            // Only a backend's time is long enough to give the loan back: what it holds is copied for that.
            None => {
                self.io.input.settle();
                let client = self.client_key();
                let due = self.now.after(self.current.site.config.timeouts.backend.0);
                pools
                    .verify(route.pool, (sender, client), recipient, self.now, due)
                    .await
            }
        };
        match verified {
            Verification::Accepted => Ok(()),
            Verification::Unknown(reply) => Err(Answer::Refuse(reply)),
            Verification::NoUtf8 => Err(Answer::Refuse(NO_UTF8.reply())),
            Verification::Refused(said) | Verification::Deferred(said) => {
                Err(Answer::Refuse(reply_of(&said, Step::Recipient)))
            }
        }
    }

    /// The replies that came before go out first. A second BDAT finds the body begun, and is answered at once.
    async fn linger_before_body(&mut self) {
        let sent = self.write_slowly(false).await;
        if sent.is_ok() {
            self.linger().await;
        }
    }

    /// What the backends can take may have changed since the session began, or since they were not known.
    fn renew_offer(&mut self) {
        self.server.renew(self.current.settings(self.listener));
    }

    /// The reply where a message has more recipients than a pool's backends take, or declared more octets.
    fn exceeds(&self, pool: PoolId, earlier: usize) -> Option<Reply> {
        let backends = &self.current.site.backends;
        // Where it goes to quarantine in the end, all its recipients do. Its size is not held against it before: most mail doesn't.
        for pool in [Some(pool), self.quarantine_pool()].into_iter().flatten() {
            let most = backends
                .pool(pool)
                .map_or(0, |pool| pool.recipients_max(self.now));
            if most > 0 && earlier >= most as usize {
                return Some(replies::TOO_MANY_HERE.reply());
            }
        }
        let most = backends.pool(pool).map_or(0, |pool| pool.size_max());
        let declared = self.server.envelope().params().size;
        (most > 0 && declared > most).then(|| replies::TOO_LARGE_HERE.reply())
    }

    async fn ask_body(&mut self) -> Answer {
        // A slow reply is waited for before there is a body to be held.
        if self.is_slow() {
            Box::pin(self.linger_before_body()).await;
        }
        let (began, mut moment) = (self.now, self.now);
        let due = began.after(MEMORY_WAIT);
        while !self.context.memory.has_room() {
            self.io.input.settle();
            moment = now();
            if moment >= due {
                self.context
                    .recorder
                    .count(Counter::BodyRefused, self.scope, 1);
                return Answer::Refuse(replies::NO_MEMORY.reply());
            }
            sleep_until(moment.after(MEMORY_LOOK).min(due)).await;
        }
        self.context
            .recorder
            .record(Stage::Window, self.scope, moment.micros_since(began));
        let limits = &self.current.site.config.limits;
        let declared = self.server.envelope().params().size;
        let client = self.client_key();
        if let Some(transaction) = &mut self.transaction {
            transaction.open_window(
                &self.context.memory,
                client,
                limits.window.0,
                declared,
                self.now,
            );
        }
        Answer::Accept
    }
}

/// The stage that a command's time is recorded under.
pub(super) fn stage_of(verb: Verb) -> Stage {
    match verb {
        Verb::Ehlo | Verb::Helo => Stage::Hello,
        Verb::Mail => Stage::Mail,
        Verb::Rcpt => Stage::Rcpt,
        Verb::Data => Stage::Data,
        Verb::Bdat => Stage::Bdat,
        Verb::Rset => Stage::Rset,
        Verb::Noop => Stage::Noop,
        Verb::Vrfy => Stage::Vrfy,
        Verb::Expn => Stage::Expn,
        Verb::Help => Stage::Help,
        Verb::Quit => Stage::Quit,
        Verb::StartTls => Stage::StartTls,
        Verb::Auth => Stage::Auth,
        _ => Stage::Other,
    }
}
