//! AUTH of one session: the exchange with the client, the question to a source, and the wait after a failure.
//!
//! Every failure is told with the same words and at the same time, whatever was wrong: the name, the password, or that
//! the password isn't checked any more because too much was tried. The time is counted from the response that failed, so
//! it hides how long the answer took.
//!
//! What is asked is what is in force, not what the session began with: an account that a reload took away can't log in on a
//! connection that was opened before. [`super::access`] looks after logins that were granted.

use super::{
    login::{Login, Senders},
    replies,
    session::Session,
    site::Site,
};
use crate::{
    auth::{
        Account, Attempt, Credential, Exchange, Grant, Mechanism, Outcome, SenderRule, Service,
        Turn, owns, owns_from,
    },
    log::{Rarely, say},
    metrics::Counter,
    net::{mailbox::mailbox, now, sleep_until},
    record,
    smtp::{Tick, server::Answer},
};
use std::{borrow::Cow, rc::Rc, sync::Arc};

impl Session {
    /// Goes on in the exchange. `None`: the client has been asked something.
    pub async fn ask_auth(&mut self) -> Option<Answer> {
        let asked = self.now;
        let Some(turn) = self.respond() else {
            return Some(Answer::Refuse(replies::AUTH_UNAVAILABLE.reply()));
        };
        match turn {
            Turn::Challenge(octets) => {
                self.server.challenge(&octets, &mut self.io.out);
                None
            }
            Turn::Check(credential) => self.check(credential, asked).await,
            Turn::Proven(user, proof) => {
                let locked = self
                    .service()
                    .is_locked(self.peer.address, Some(&user), asked);
                if locked || self.proven(&user).is_none() {
                    return Some(self.denied(Some(&user), asked).await);
                }
                self.server.challenge(&proof, &mut self.io.out);
                None
            }
            Turn::Done(user) => Some(match self.proven(&user) {
                Some(grant) => self.granted(grant, &user, asked),
                None => self.denied(Some(&user), asked).await,
            }),
            Turn::Failed(user) => Some(self.denied(user.as_deref(), asked).await),
            Turn::Refused => Some(self.refused()),
        }
    }

    /// Gives the client's response to the exchange, a new one where it has just begun. `None`: AUTH is not to be had, or not by this
    /// mechanism, or only with TLS, as things are now.
    fn respond(&mut self) -> Option<Turn> {
        let (current, listener) = self.in_force()?;
        let auth = current.site.listeners[listener].auth.as_ref()?;
        let said = self.server.said()?;
        let named = |mechanism: &&Mechanism| mechanism.as_str() == said.mechanism;
        let mechanism = *auth.mechanisms.iter().find(named)?;
        if auth.requires_tls && !self.server.is_secured() {
            return None;
        }
        if said.fresh {
            let accounts = current.site.auth.accounts(auth.source);
            let binds = auth.mechanisms.contains(&Mechanism::ScramSha256Plus);
            let tls = self.io.stream.tls().filter(|_| binds);
            let exporter = tls.and_then(|tls| tls.exporter);
            let exchange = Exchange::begin(mechanism, accounts, exporter)?;
            self.login = Some(Box::new(Login {
                mechanism,
                exchange: Some(exchange),
                asks: Arc::clone(&current.site.auth),
                source: auth.source,
                grant: None,
            }));
        }
        let exchange = self.login.as_mut()?.exchange.as_mut()?;
        Some(exchange.respond(said.response))
    }

    /// The login of a client that has proved by SCRAM that it knows the account's password. `None`: a reload since the exchange began
    /// took the account away or gave it another password.
    fn proven(&self, user: &str) -> Option<Grant> {
        let login = self.login.as_ref()?;
        let grant = login.grant(login.asks.proven(login.source, user)?)?;
        let (current, listener) = self.in_force()?;
        let source = current.site.listeners[listener].auth.as_ref()?.source;
        current.site.auth.renew(source, &grant)
    }

    fn service(&self) -> Arc<Service> {
        Arc::clone(&self.context.current().site.auth)
    }

    async fn check(&mut self, credential: Credential, asked: Tick) -> Option<Answer> {
        let user = match &credential {
            Credential::Password { user, .. } => Some(user.clone()),
            Credential::Token { user, .. } => user.clone(),
        };
        let locked = self
            .service()
            .is_locked(self.peer.address, user.as_deref(), asked);
        let outcome = match locked {
            true => Outcome::Denied,
            false => self.question(credential).await,
        };
        let grant = match &outcome {
            Outcome::Granted(account) => {
                let login = self.login.as_ref();
                login.and_then(|login| login.grant(account.clone()))
            }
            _ => None,
        };
        match (outcome, grant) {
            (_, Some(grant)) => {
                let user = user.unwrap_or_else(|| grant.account().name.to_string());
                Some(self.granted(grant, &user, asked))
            }
            (Outcome::Granted(_) | Outcome::Denied, None) => {
                let answer = self.denied(user.as_deref(), asked).await;
                let exchange = self
                    .login
                    .as_mut()
                    .and_then(|login| login.exchange.as_mut());
                match (&answer, exchange.and_then(Exchange::denied)) {
                    (Answer::Refuse(_), Some(octets)) => {
                        self.server.challenge(octets, &mut self.io.out);
                        None
                    }
                    _ => Some(answer),
                }
            }
            (Outcome::Unavailable(why), None) => {
                static UNANSWERED: Rarely = Rarely::new();
                if let Some(remark) = UNANSWERED.admits() {
                    say!(
                        Warn,
                        "AUTH: no answer from the credentials of listener {}: {why}{remark}",
                        self.listener_name()
                    );
                }
                self.count(Result::Failed);
                Some(Answer::Refuse(replies::AUTH_UNAVAILABLE.reply()))
            }
        }
    }

    fn listener_name(&self) -> &str {
        &self.current.site.listeners[self.listener].name
    }

    /// Asks the source. The client waits, and so does what it has sent meanwhile.
    async fn question(&mut self, credential: Credential) -> Outcome {
        let off = || Outcome::Unavailable("AUTH is off".into());
        let Some((current, listener)) = self.in_force() else {
            return off();
        };
        let listener = &current.site.listeners[listener];
        let (Some(auth), Some(login)) = (&listener.auth, &mut self.login) else {
            return off();
        };
        let service = Arc::clone(&current.site.auth);
        (login.asks, login.source) = (Arc::clone(&service), auth.source);
        let attempt = Attempt {
            listener: listener.name.as_str().into(),
            client: self.peer.address,
            helo: self
                .server
                .hello()
                .map_or_else(Vec::new, |hello| hello.name.to_vec()),
            secured: self.server.is_secured(),
            mechanism: login.mechanism,
            credential,
        };
        self.io.input.settle();
        let (give, mut take) = mailbox(1);
        let reply = Box::new(move |outcome| {
            // The session may be gone.
            let _ = give.try_send(outcome);
        });
        service.check(auth.source, attempt, self.now, reply);
        let none = || Outcome::Unavailable("too many questions at once".into());
        take.recv().await.unwrap_or_else(none)
    }

    fn granted(&mut self, grant: Grant, user: &str, asked: Tick) -> Answer {
        self.service().granted(self.peer.address, user, asked);
        self.count(Result::Accepted);
        if let Some(login) = &mut self.login {
            login.exchange = None;
            login.grant = Some(grant);
        }
        Answer::Accept
    }

    /// Counts a failure, and waits until it may be told.
    async fn denied(&mut self, user: Option<&str>, asked: Tick) -> Answer {
        self.count(Result::Rejected);
        let delay = self.service().failed(self.peer.address, user, asked);
        self.note_denied(user);
        let service = self.service();
        let Some(_slowed) = service.slow(self.peer.address) else {
            return Answer::Close(replies::AUTH_SLOWED.reply());
        };
        // A client that has closed gives its place back, but not before a first failure would be told: it may have closed only its
        // own side, and would see how long the answer took.
        if !self.io.stays_until(asked.after(delay)).await {
            let first = self.current.site.config.timeouts.auth_delay.0;
            sleep_until(asked.after(first.min(delay))).await;
        }
        self.now = now();
        Answer::Refuse(replies::AUTH_FAILED.reply())
    }

    /// The client has heard why its token was refused, and has waited for it.
    fn refused(&self) -> Answer {
        Answer::Refuse(replies::AUTH_FAILED.reply())
    }

    /// A line for each failure: what bans guessers reads it.
    fn note_denied(&self, user: Option<&str>) {
        let mechanism = self
            .login
            .as_ref()
            .map_or("", |login| login.mechanism.as_str());
        self.context.log(|line| {
            self.context.dates.stamp(self.now, line);
            record::line::client(&super::trace::client(self), line);
            line.text("auth", mechanism.as_bytes());
            if let Some(user) = user {
                line.text("user", user.as_bytes());
            }
            line.text("verdict", b"denied");
        });
    }

    fn count(&self, result: Result) {
        let Some(login) = &self.login else {
            return;
        };
        let counter = counter(login.mechanism, result);
        self.context.recorder.count(counter, self.scope, 1);
    }

    /// Whether the sender of this transaction is none of the account's addresses, where that matters.
    pub fn is_foreign_sender(&self) -> bool {
        let sender = self.server.envelope().sender().whole;
        self.owner_lacks(|owner| owner.lacks(sender))
    }

    /// Whether an address in From is none of the account's, where that matters.
    pub fn is_foreign_from(&self, header: &[u8]) -> bool {
        self.owner_lacks(|owner| owner.lacks_from(header))
    }

    /// By the rule in force. A login that a proxy named is held to its addresses as one that was proved here.
    fn owner_lacks(&self, lacks: impl FnOnce(&Owner<'_>) -> bool) -> bool {
        // A message under way when its listener went is held to the rule that it began with.
        let began = || (Rc::clone(&self.current), self.listener);
        let (current, listener) = self.in_force().unwrap_or_else(began);
        let site = &current.site;
        let owner = match self.account() {
            Some(account) => site.listeners[listener].senders.as_ref().map(|of| Owner {
                account: Cow::Borrowed(account),
                rule: &of.rule,
            }),
            None => {
                let login = self.peer.login();
                login.and_then(|login| Owner::of(site, listener, login))
            }
        };
        owner.is_some_and(|owner| lacks(&owner))
    }
}

/// The account whose addresses the client may use, and the listener's rule for that.
pub(super) struct Owner<'a> {
    account: Cow<'a, Account>,
    rule: &'a SenderRule,
}

impl<'a> Owner<'a> {
    /// The account of this name; `None` where the listener has no rule.
    pub fn of(site: &'a Site, listener: usize, login: &str) -> Option<Owner<'a>> {
        let Senders { source, rule } = site.listeners[listener].senders.as_ref()?;
        Some(Owner {
            account: Cow::Owned(site.auth.named(*source, login)),
            rule,
        })
    }

    /// Whether it must not use this sender.
    pub fn lacks(&self, sender: &[u8]) -> bool {
        !sender.is_empty() && !owns(&self.account, self.rule, sender)
    }

    /// Whether it must not use an address in From.
    pub fn lacks_from(&self, header: &[u8]) -> bool {
        !owns_from(&self.account, self.rule, header)
    }
}

/// What became of an exchange.
#[derive(Clone, Copy)]
enum Result {
    Accepted,
    Rejected,
    Failed,
}

fn counter(mechanism: Mechanism, result: Result) -> Counter {
    use Counter::*;
    let [accepted, rejected, failed] = match mechanism {
        Mechanism::Plain => [PlainAccepted, PlainRejected, PlainFailed],
        Mechanism::Login => [LoginAccepted, LoginRejected, LoginFailed],
        Mechanism::ScramSha256 => [ScramAccepted, ScramRejected, ScramFailed],
        Mechanism::ScramSha256Plus => [BoundAccepted, BoundRejected, BoundFailed],
        Mechanism::OauthBearer => [BearerAccepted, BearerRejected, BearerFailed],
        Mechanism::Xoauth2 => [Xoauth2Accepted, Xoauth2Rejected, Xoauth2Failed],
    };
    match result {
        Result::Accepted => accepted,
        Result::Rejected => rejected,
        Result::Failed => failed,
    }
}
