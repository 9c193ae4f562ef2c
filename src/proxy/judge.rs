//! The policy is asked here and nowhere else: the facts are gathered, hits are counted, and the verdict becomes the core's
//! answer. A message is judged twice, whether it lies in memory or streams: [`Session::judge_header`] as soon as its
//! header section is complete, [`Session::judge_message`] when the whole of it has come.

use super::{
    candidate::Said,
    inquire::advance,
    known::{Asked, Known},
    login::known_as,
    payload::Survey,
    peer::{Postponed, Via},
    replies,
    session::Session,
    transaction::Fate,
};
use crate::{
    metrics::{Counter, Scope, Stage},
    policy::{self, At, Breaches, Facts, Hit, HitKind, Signals, Verdict, What},
    smtp::{
        Reply,
        command::Verb,
        header::Index,
        server::{self, Answer, Server},
    },
    tls,
    upstream::PoolId,
};

/// How often in a row a rate puts off the messages of a session, or the recipients of one that has none, before the session ends:
/// as many as Postfix takes errors (`smtpd_hard_error_limit`).
const LIMITED_MAX: u8 = 20;

/// Borrows what facts are made of, and not the judgement beside it: a function would borrow the whole session.
macro_rules! known {
    ($session:ident) => {{
        // Field by field: the judgement lies in the peer, too.
        let (server, site) = (&$session.server, &$session.current.site);
        let via = $session.peer.via.as_deref();
        let (tls, certificate) = spoken(server, $session.io.stream.tls(), via);
        let address = $session.peer.address;
        Known {
            site,
            listener: $session.listener,
            profile: $session.profile(),
            address,
            trusted: $session.peer.trusted,
            account: known_as(
                &$session.login,
                server,
                via.and_then(|via| via.login.as_deref()),
            ),
            may_be_replaced: site.listeners[$session.listener].speaks_for_others(address)
                && server.xclient_attributes().is_none(),
            tls,
            certificate,
            signals: signals($session.peer.early, server.signals()),
            ticket: $session.peer.ticket.as_ref(),
            hello: server.hello().map_or(b"", |hello| hello.name),
            envelope: server.envelope(),
            size: server.body_facts().size,
            inquiry: $session.peer.asking.as_ref().map(|asking| &asking.inquiry),
            unix_millis: $session.context.dates.micros($session.now) / 1_000,
        }
    }};
}

impl Session {
    /// Asks the policy whether the client may connect at all, or whether it may be greeted; counts where not.
    pub fn judge_client(&mut self, at: At) -> Answer {
        let verdict = self.verdict(Asked::at(at));
        if verdict.is_accept() {
            return Answer::Accept;
        }
        let refusal = self.peer.judgement.refusal();
        let limited = matches!(refusal, Some((_, HitKind::Limit)));
        let counter = match limited {
            true => Counter::RefusedClient,
            false => Counter::RefusedPolicy,
        };
        self.context.recorder.count(counter, self.scope, 1);
        match self.delays_refusal() {
            true => self.put_off(at, answer_at(At::Rcpt, verdict)),
            false => answer_at(at, verdict),
        }
    }

    /// Puts a refusal of a stranger's HELO name or sender off to RCPT, where its listener says so.
    pub fn postpone(&mut self, at: At, answer: Answer) -> Answer {
        match answer {
            Answer::Refuse(_) | Answer::Close(_) if self.delays_refusal() => {
                self.put_off(at, answer)
            }
            answer => answer,
        }
    }

    /// Whether the client hears at RCPT of what has just refused it. A limit that is told later is none: until then the session
    /// holds what the limit is about. And what is put off is forgotten where the client is known.
    fn delays_refusal(&self) -> bool {
        let limited = matches!(self.peer.judgement.refusal(), Some((_, HitKind::Limit)));
        let delays = self.current.site.listeners[self.listener].delays_refusals;
        delays && !limited && self.known_as().is_none()
    }

    fn put_off(&mut self, at: At, answer: Answer) -> Answer {
        let command = match at {
            At::Hello if self.server.verb() == Verb::Helo => "helo",
            At::Hello => "ehlo",
            At::Mail => "mail",
            _ => "connect",
        };
        self.peer.postponed = Some(Box::new(Postponed {
            answer,
            check: self.decided.take(),
            at,
            command,
            told: false,
        }));
        Answer::Accept
    }

    /// A new message begins: what was put off of the one before is over. A client that has authenticated since is not a stranger
    /// any more.
    pub fn renew_postponed(&mut self) {
        let known = self.known_as().is_some();
        let is_over = |put_off: &mut Box<Postponed>| known || put_off.at == At::Mail;
        drop(self.peer.postponed.take_if(is_over));
    }

    /// The refusal that was put off.
    pub fn postponed(&mut self) -> Option<Answer> {
        let postponed = self.peer.postponed.as_mut()?;
        postponed.told = true;
        self.decided = postponed.check;
        Some(postponed.answer.clone())
    }

    /// Asks the policy, and turns its verdict into the core's answer.
    pub fn judge(&mut self, asked: Asked<'_>) -> Answer {
        let at = asked.at;
        let answer = answer_at(at, self.verdict(asked));
        match at {
            At::Mail | At::Rcpt => self.lose_patience(at, answer),
            _ => answer,
        }
    }

    /// Ends a session that goes on after a rate has put it off so often. Postfix counts such a refusal as an error. A message that
    /// has a recipient goes on: what a rate puts off beside it is none of its fault.
    // INV-LIMIT
    fn lose_patience(&mut self, at: At, answer: Answer) -> Answer {
        let limited = matches!(self.peer.judgement.refusal(), Some((_, HitKind::Limit)));
        let transaction = self.transaction.as_deref();
        let is_begun = transaction.is_some_and(|begun| begun.recipients.count() > 0);
        match &answer {
            // A sender that is accepted gets nowhere yet.
            Answer::Accept if at == At::Rcpt => self.peer.limited = 0,
            Answer::Refuse(reply) if limited && reply.is_transient() && !is_begun => {
                self.peer.limited += 1;
                if self.peer.limited >= LIMITED_MAX {
                    return Answer::Close(replies::STILL_TOO_MUCH_MAIL.reply());
                }
            }
            _ => {}
        }
        answer
    }

    /// Judges the header section of a message that streams: what matters of it and what becomes of the message, or the answer
    /// to it.
    // Not a part of the futures that call it: the index is for the stack.
    #[inline(never)]
    pub fn judge_header(&mut self, header: &[u8]) -> Result<(Survey, Fate), Answer> {
        self.judge_fields(header, &Index::new(header), true)
    }

    /// Judges a message of which all has come. `surveyed`: its header was judged before.
    #[inline(never)]
    pub fn judge_message(
        &mut self,
        header: &[u8],
        surveyed: bool,
    ) -> Result<(Survey, Fate), Answer> {
        let index = Index::new(header);
        let survey = match surveyed {
            true => Survey::default(),
            false => self.judge_fields(header, &index, false)?.0,
        };
        let asked = Asked {
            ours: true,
            header,
            fields: Some(&index),
            ..Asked::at(At::Body)
        };
        let fate = self.fate(asked)?;
        Ok((survey, fate))
    }

    /// What becomes of the message, or the answer to it.
    fn fate(&mut self, asked: Asked<'_>) -> Result<Fate, Answer> {
        let at = asked.at;
        let verdict = match self.nothing_to_ask(&asked) {
            Some(verdict) => verdict,
            None => self.verdict(asked),
        };
        let judgement = &self.peer.judgement;
        match verdict {
            Verdict::Accept => Ok(Fate::Deliver),
            Verdict::Quarantine => {
                self.decided = judgement.asked_by(What::Quarantine);
                Ok(Fate::Quarantine(self.quarantine_pool()))
            }
            Verdict::Discard => {
                self.decided = judgement.asked_by(What::Discard);
                Ok(Fate::Discard)
            }
            refused => Err(answer_at(at, refused)),
        }
    }

    /// The verdict where nothing looks at the message.
    fn nothing_to_ask(&mut self, asked: &Asked<'_>) -> Option<Verdict> {
        let site = &self.current.site;
        if site.shadow.is_some() {
            return None;
        }
        let (at, breaches, streams) = (asked.at, asked.breaches, asked.streams);
        let (profile, judgement) = (self.profile(), &mut self.peer.judgement);
        let policy = &site.policy;
        let verdict = policy.ask_nothing(at, profile, breaches, streams, judgement)?;
        self.decided = None;
        self.settle_pacing();
        Some(verdict)
    }

    /// The pool for suspicious mail of the profile that holds.
    pub fn quarantine_pool(&self) -> Option<PoolId> {
        let pools = &self.current.site.quarantine;
        pools.get(self.profile()).copied().flatten()
    }

    /// Judges a header section that is too long to be kept: its message can't be taken, whatever the policy says.
    pub fn judge_endless_header(&mut self) -> Answer {
        let breaches = Breaches {
            header_size: true,
            ..Breaches::NONE
        };
        let asked = Asked {
            breaches,
            ..Asked::at(At::Header)
        };
        match self.judge(asked) {
            Answer::Accept => Answer::Refuse(policy::replies::HEADER_TOO_LARGE.reply()),
            refused => refused,
        }
    }

    fn judge_fields(
        &mut self,
        header: &[u8],
        index: &Index<'_>,
        streams: bool,
    ) -> Result<(Survey, Fate), Answer> {
        let (survey, breaches) = self.survey(header, index);
        let asked = Asked {
            header,
            fields: Some(index),
            streams,
            breaches,
            ..Asked::at(At::Header)
        };
        let fate = self.fate(asked)?;
        Ok((survey, fate))
    }

    /// What matters of a header section, and which of the proxy's own rules it breaks.
    pub fn survey(&self, header: &[u8], index: &Index<'_>) -> (Survey, Breaches) {
        let site = &self.current.site;
        let config = &site.config;
        let survey = Survey::of(index, config.hostname.as_bytes(), &site.own_fields);
        let limits = &config.limits;
        let breaches = Breaches {
            header_size: header.len() as u64 > limits.header.0,
            hops: survey.received > limits.received as usize,
            from: self.is_foreign_from(header),
            sender: false,
        };
        (survey, breaches)
    }

    /// What is known by now.
    pub fn facts(&self) -> Facts<'_> {
        known!(self).facts(&Asked::at(At::Mail), self.now, None)
    }

    /// The same for one question.
    pub fn facts_for<'a>(&'a self, asked: &Asked<'a>) -> Facts<'a> {
        known!(self).facts(asked, self.now, None)
    }

    /// Asks the policy at this point and counts its hits.
    pub fn verdict(&mut self, asked: Asked<'_>) -> Verdict {
        let site = &self.current.site;
        let looked = |kind: usize, micros: u64| {
            let scope = site.kinds.get(kind).copied().unwrap_or(Scope::NONE);
            self.context.recorder.record(Stage::Check, scope, micros);
        };
        let looked: Option<&dyn Fn(usize, u64)> = match self.context.times_looks() {
            true => Some(&looked),
            false => None,
        };
        let facts = known!(self).facts(&asked, self.now, looked);
        let judgement = &mut self.peer.judgement;
        let (policy, shared) = (&site.policy, &self.current.shared);
        let verdict = policy.ask_part(asked.part, asked.at, &facts, shared, judgement);
        self.decided = self.peer.judgement.refusal().map(|(check, _)| check);
        if let (Some(shadow), Some(mut candidate)) = (&site.shadow, self.peer.candidate.take()) {
            advance(&self.place(), &shadow.policy, &mut candidate.asking);
            let said = Said::refusal(&verdict, self.decided);
            candidate.hear(shadow, (asked.at, asked.part), &facts, said);
            self.peer.candidate = Some(candidate);
        }
        for hit in self.peer.judgement.fresh() {
            self.count_hit(hit);
        }
        self.settle_pacing();
        verdict
    }

    fn settle_pacing(&mut self) {
        if self.peer.judgement.is_slow() != self.peer.pacing.is_some() {
            self.set_pacing();
        }
    }

    fn count_hit(&self, hit: &Hit) {
        let scopes = &self.current.site.checks;
        let scope = scopes.get(usize::from(hit.check.0)).copied();
        let counter = match (hit.what, hit.shadow) {
            (What::Accept, false) => Counter::HitAccept,
            (What::Score, false) => Counter::HitScore,
            (What::Defer, false) => Counter::HitDefer,
            (What::Reject, false) => Counter::HitReject,
            (What::Close, false) => Counter::HitClose,
            (What::Tag, false) => Counter::HitTag,
            (What::Tarpit, false) => Counter::HitTarpit,
            (What::Greylist, false) => Counter::HitGreylist,
            (What::Quarantine, false) => Counter::HitQuarantine,
            (What::Discard, false) => Counter::HitDiscard,
            (What::Unknown, false) => Counter::HitUnknown,
            (What::Accept, true) => Counter::ShadowAccept,
            (What::Score, true) => Counter::ShadowScore,
            (What::Defer, true) => Counter::ShadowDefer,
            (What::Reject, true) => Counter::ShadowReject,
            (What::Close, true) => Counter::ShadowClose,
            (What::Tag, true) => Counter::ShadowTag,
            (What::Tarpit, true) => Counter::ShadowTarpit,
            (What::Greylist, true) => Counter::ShadowGreylist,
            (What::Quarantine, true) => Counter::ShadowQuarantine,
            (What::Discard, true) => Counter::ShadowDiscard,
            (What::Unknown, true) => Counter::ShadowUnknown,
        };
        let recorder = &self.context.recorder;
        recorder.count(counter, scope.unwrap_or(Scope::NONE), 1);
    }
}

/// The version of TLS and the names of the certificate: with us, or between the client and the proxy in front.
fn spoken<'a>(
    server: &Server,
    tls: Option<&'a tls::TlsFacts>,
    via: Option<&'a Via>,
) -> (Option<&'a str>, &'a [Box<str>]) {
    match (tls, via) {
        // After XCLIENT the certificate is the proxy's, and the client another.
        (Some(tls), _) if server.xclient_attributes().is_some() => (Some(tls.version), &[]),
        (Some(tls), _) => (Some(tls.version), &tls.peer_names),
        (None, Some(via)) => via.secured(),
        (None, None) => (None, &[]),
    }
}

/// The core's answer to a verdict.
fn answer_at(at: At, verdict: Verdict) -> Answer {
    match verdict {
        Verdict::Accept | Verdict::Quarantine | Verdict::Discard => Answer::Accept,
        Verdict::Defer(reply) | Verdict::Reject(reply) => match at {
            // A refused session has nothing to say but QUIT; don't keep it waiting for that.
            At::Connect | At::Greeting => Answer::Close(closing(reply)),
            _ => Answer::Refuse(reply),
        },
        Verdict::Close(reply) => Answer::Close(reply),
    }
}

/// A refusal at the greeting closes at once, so a 4xx is 421 there (RFC 5321 §3.8); a 5xx is 554 (§3.1).
pub(super) fn closing(reply: Reply) -> Reply {
    let code = if reply.is_transient() { 421 } else { 554 };
    Reply { code, ..reply }
}

fn signals(early: bool, seen: server::Signals) -> Signals {
    Signals {
        before_greeting: early,
        past_sync: !seen.is_empty(),
    }
}
