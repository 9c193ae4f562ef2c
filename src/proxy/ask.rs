//! Answers the core's questions: asks the policy (`judge`), adds what only the shell knows (capacity, and in `recipient`
//! routes and what a backend says), keeps what is refused for the log, and passes the answer on.

use super::{
    candidate::Candidate, known::Asked, peer::Peer, replies, session::Session, trace,
    transaction::Transaction,
};
use crate::{
    config::Role,
    memory::Held,
    metrics::{Counter, Stage},
    net::{now, sleep_until},
    policy::{At, Breaches},
    smtp::{
        command::Verb,
        server::{Answer, Question},
    },
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
        // By the address that was named: what follows may be the client's own words, which the proxy only passes on.
        let listener = &self.current.site.listeners[self.listener];
        self.server.grant(listener.grants(self.peer.address));
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
    pub async fn judge_answers(&mut self) -> Result<(), Answer> {
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
            self.end_inquiry();
        }
        let let_in = self.renew_access();
        self.classify();
        self.renew_postponed();
        let listener = &self.current.site.listeners[self.listener];
        let stranger = !self.peer.trusted && self.known_as().is_none();
        let answer = match listener.role {
            _ if !let_in => Answer::Close(replies::ACCESS_CHANGED.reply()),
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
                let reply = replies::NO_MEMORY.reply();
                if let Some(transaction) = &mut self.transaction {
                    transaction.end_turn(self.server.envelope(), &reply, moment);
                }
                return Answer::Refuse(reply);
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
