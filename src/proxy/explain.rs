//! The verdict for a message that only is described: the policy is asked at the same points, in the same order and with the same
//! facts as for a session, and each answer is kept. Nothing is sent, no backend is asked, and no limit counts it.
//!
//! What a session knows of the state of the process (rates, open sessions, what a backend has said of a recipient) is left
//! out: the client is the first one.

mod envelope;

pub use super::told::{Explained, Match, Told};
use super::{
    authenticate::Owner,
    known::{Asked, Known},
    payload::Survey,
    profiles::ClassFacts,
    site::{ListenerSite, Site},
    told::{fate, point, refused},
};
use crate::{
    auth::folded,
    config::Role,
    dns::{Answer, Answers, Question},
    net::now,
    policy::{
        At, Breaches, Facts, Inquiry, Judgement, Part, SessionTicket, Shared, Signals, Verdict,
        replies::QUARANTINE_LATE,
    },
    smtp::{
        envelope::{Envelope, PathSpan},
        header::{self, Index},
    },
    upstream::PoolId,
};
use std::{collections::HashMap, net::IpAddr, sync::Arc};

/// Rounds of questions, which no chain of look-ups reaches.
const ROUNDS_MAX: usize = 64;

/// The message.
pub struct Described<'a> {
    /// The listener that it comes to, by its place in the file.
    pub listener: usize,
    /// The client's address.
    pub client: IpAddr,
    /// What it says in EHLO.
    pub hello: &'a [u8],
    /// The sender, without brackets.
    pub sender: &'a str,
    /// The recipients likewise.
    pub recipients: &'a [String],
    /// The account that the client logs in as, with the right password. Where the listener has no AUTH, a proxy has named it by
    /// XCLIENT.
    pub account: Option<&'a str>,
    /// It talks before it is greeted.
    pub early_talk: bool,
    /// The version of TLS that it speaks: `TLSv1.3`.
    pub tls: Option<&'a str>,
    /// The message as it is sent after DATA, without dots stuffed.
    pub message: &'a [u8],
    /// It is what the sender has sent: its signatures are verified.
    pub is_whole: bool,
    /// Now, in seconds since 1970.
    pub unix_seconds: u64,
}

/// Judges it. `ask` gets the questions that can be asked at once, and has an answer for each.
pub async fn explain(
    site: &Site,
    described: &Described<'_>,
    ask: impl AsyncFnMut(Vec<Question>) -> Vec<Answer>,
) -> Explained {
    let mut trial = Trial::begin(site, described, ask);
    let told = match trial.take_envelope().await {
        Ok(()) => trial.message().await,
        Err(told) => told,
    };
    let policy = &site.policy;
    let hits = trial.judgement.hits().iter();
    let matches = hits.map(|hit| Match {
        at: point(hit.at),
        check: policy
            .check(hit.check)
            .map(|info| info.name.clone())
            .unwrap_or_default(),
        what: hit.what,
        score: hit.score,
        shadow: hit.shadow,
        detail: hit.detail.to_string(),
        read: hit.read.clone(),
        micros: hit.micros,
    });
    Explained {
        told,
        matches: matches.collect(),
        findings: match trial.inquires() {
            true => policy.findings(trial.profile(), &trial.inquiry),
            false => Vec::new(),
        },
        score: trial.judgement.score(),
        tags: {
            let tags = trial.judgement.tags();
            tags.map(|tag| policy.tag(tag).to_string()).collect()
        },
        slow: trial.judgement.is_slow(),
        recipients: trial.recipients,
    }
}

#[derive(Default)]
struct Table(HashMap<Question, Answer>);

impl Answers for Table {
    fn answer(&self, question: &Question) -> Option<&Answer> {
        self.0.get(question)
    }
}

struct Trial<'a, Ask> {
    site: &'a Site,
    described: &'a Described<'a>,
    shared: Shared,
    ticket: SessionTicket,
    trusted: bool,
    /// The account that the client is known as by now.
    account: Option<Arc<str>>,
    /// The client's class, and the profile of the first recipient's route.
    class: u8,
    route: u16,
    pool: Option<PoolId>,
    /// A refusal of the client, its HELO name or its sender that is told at RCPT.
    put_off: Option<Told>,
    judgement: Judgement,
    /// What was asked has been judged, and lets the message pass.
    answers_judged: bool,
    inquiry: Inquiry,
    answers: Table,
    envelope: Envelope,
    ask: Ask,
    recipients: Vec<(String, Told)>,
}

impl<'a, Ask> Trial<'a, Ask> {
    fn begin(site: &'a Site, described: &'a Described<'a>, ask: Ask) -> Self {
        let shared = Shared::of_all(&site.config.policies());
        let trusted = site.trusts(described.client);
        let listener = &site.listeners[described.listener];
        // Of a login by AUTH, the policy hears after HELO; what a proxy says by XCLIENT, it hears first.
        let is_named = described.account.is_some() && listener.auth.is_none();
        let class = site.profiles.class_of(&ClassFacts {
            address: described.client,
            trusted,
            authenticated: is_named,
            certificate: &[],
        });
        let base = site.profiles.place(described.listener, class, 0);
        let group = site.policy.rate_group(base);
        Trial {
            site,
            described,
            ticket: shared.open_session(described.client, group),
            shared,
            trusted,
            account: described
                .account
                .filter(|_| is_named)
                .map(|name| match &listener.senders {
                    Some(senders) => site.auth.named(senders.source, name).name,
                    None => folded(name).into(),
                }),
            class,
            route: 0,
            pool: None,
            put_off: None,
            judgement: Judgement::new(),
            answers_judged: false,
            inquiry: Inquiry::default(),
            answers: Table::default(),
            envelope: Envelope::new(),
            ask,
            recipients: Vec::new(),
        }
    }
}

impl<Ask: AsyncFnMut(Vec<Question>) -> Vec<Answer>> Trial<'_, Ask> {
    /// The header section and the message.
    async fn message(&mut self) -> Told {
        if self.described.is_whole && self.inquires() {
            self.authenticate().await;
        }
        let mut early = Verdict::Accept;
        for at in [At::Header, At::Body] {
            if let Err(told) = self.judge(at, None) {
                return told;
            }
            if at == At::Header {
                early = self.judgement.fate();
            }
        }
        let told = fate(&self.judgement, &self.site.policy);
        match told.verdict == Verdict::Quarantine && early == Verdict::Accept && self.streams() {
            true => refused(QUARANTINE_LATE.reply()),
            false => told,
        }
    }

    /// Whether the message would be sent on before its end.
    fn streams(&self) -> bool {
        self.described.message.len() as u64 > self.site.config.limits.window.0
    }

    /// By which profile it is judged: see `Session::profile`.
    fn profile(&self) -> usize {
        let profiles = &self.site.profiles;
        profiles.place(self.described.listener, self.class, self.route)
    }

    fn listener(&self) -> &ListenerSite {
        &self.site.listeners[self.described.listener]
    }

    /// Whether it is one of our own clients.
    fn is_known(&self) -> bool {
        self.trusted || self.account.is_some()
    }

    /// Whether a proxy may still name another client: it has not said XCLIENT.
    fn may_be_replaced(&self) -> bool {
        let listener = self.listener();
        let is_named = self.described.account.is_some() && listener.auth.is_none();
        listener.speaks_for_others(self.described.client) && !is_named
    }

    /// Whether anything is asked about this client: see `Session::begin_inquiry`.
    fn inquires(&self) -> bool {
        self.site
            .policy
            .inquires(self.profile(), self.described.client)
            && self.listener().role != Role::Submission
            && !self.is_known()
            && !self.may_be_replaced()
    }

    /// Asks what can be asked from this point on, to its end.
    async fn learn(&mut self, at: At) {
        if !self.inquires() {
            return;
        }
        let mut inquiry = std::mem::take(&mut self.inquiry);
        self.with_facts(at, None, |trial, facts| {
            let policy = &trial.site.policy;
            policy.begin_inquiry(at, facts, &trial.judgement, &mut inquiry);
        });
        self.inquiry = inquiry;
        self.resolve().await;
    }

    /// Verifies where the message is from, as `Session::verify` does.
    async fn authenticate(&mut self) {
        let whole = self.described.message;
        let (header, body) = whole.split_at(header::end(whole).unwrap_or(whole.len()));
        let mut inquiry = std::mem::take(&mut self.inquiry);
        let mut hashes = self.with_facts(At::Header, None, |trial, facts| {
            trial.site.policy.begin_message(facts, header, &mut inquiry)
        });
        self.inquiry = inquiry;
        hashes.update(body);
        self.resolve().await;
        let Some(message) = self.inquiry.message_mut() else {
            return;
        };
        let work = message.close(hashes);
        message.conclude(&work.run());
        self.resolve().await;
    }

    /// Asks until nothing is left to be asked.
    async fn resolve(&mut self) {
        let mut need = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let (policy, profile) = (&self.site.policy, self.profile());
            policy.inquire(profile, &mut self.inquiry, &self.answers, now(), &mut need);
            need.retain(|question| !self.answers.0.contains_key(question));
            need.dedup();
            if need.is_empty() {
                return;
            }
            let questions = std::mem::take(&mut need);
            let answers = (self.ask)(questions.clone()).await;
            self.answers.0.extend(questions.into_iter().zip(answers));
        }
    }

    /// What needs no answer first: see `Session::judge_in_parts`.
    async fn judge_in_parts(&mut self, at: At) -> Result<(), Told> {
        self.judge_part(Part::Unasked, at, None)?;
        self.learn(at).await;
        self.judge_part(Part::Asked, at, None)
    }

    fn judge(&mut self, at: At, recipient: Option<(PathSpan, bool)>) -> Result<(), Told> {
        self.judge_part(Part::Whole, at, recipient)
    }

    fn judge_part(
        &mut self,
        part: Part,
        at: At,
        recipient: Option<(PathSpan, bool)>,
    ) -> Result<(), Told> {
        let mut judgement = std::mem::take(&mut self.judgement);
        let verdict = self.with_facts(at, recipient, |trial, facts| {
            trial
                .site
                .policy
                .ask_part(part, at, facts, &trial.shared, &mut judgement)
        });
        self.judgement = judgement;
        if verdict.is_accept() {
            return Ok(());
        }
        let check = self.judgement.refusal();
        let check = check.and_then(|(check, _)| self.site.policy.check(check));
        Err(Told {
            verdict,
            check: check.map(|info| info.name.clone()),
        })
    }

    /// Lends the facts of a point, as `Session::facts` has them.
    fn with_facts<T>(
        &self,
        at: At,
        recipient: Option<(PathSpan, bool)>,
        look: impl FnOnce(&Self, &Facts<'_>) -> T,
    ) -> T {
        let described = self.described;
        let whole = described.message;
        let header = &whole[..header::end(whole).unwrap_or(whole.len())];
        let index = (at >= At::Header).then(|| Index::new(header));
        let known = Known {
            site: self.site,
            listener: described.listener,
            profile: self.profile(),
            address: described.client,
            trusted: self.trusted,
            account: self.account.as_deref(),
            may_be_replaced: self.may_be_replaced(),
            tls: self.tls(),
            certificate: &[],
            signals: Signals {
                before_greeting: described.early_talk && at >= At::Greeting,
                past_sync: false,
            },
            ticket: Some(&self.ticket),
            hello: match at {
                At::Connect | At::Greeting => b"",
                _ => described.hello,
            },
            envelope: &self.envelope,
            size: whole.len() as u64,
            inquiry: self.inquires().then_some(&self.inquiry),
            unix_millis: described.unix_seconds * 1_000,
        };
        let asked = Asked {
            at,
            part: Part::Whole,
            recipient: recipient.map(|(path, _)| path),
            ours: recipient.is_none_or(|(_, ours)| ours),
            header: if index.is_some() { header } else { b"" },
            fields: index.as_ref(),
            streams: at == At::Header && self.streams(),
            breaches: self.breaches(at, header, index.as_ref()),
        };
        look(self, &known.facts(&asked, now(), None))
    }

    fn breaches(&self, at: At, header: &[u8], index: Option<&Index<'_>>) -> Breaches {
        let config = &self.site.config;
        let owner = || Owner::of(self.site, self.described.listener, self.account.as_deref()?);
        match (at, index) {
            (At::Mail, _) => Breaches {
                sender: owner().is_some_and(|owner| owner.lacks(self.described.sender.as_bytes())),
                ..Breaches::NONE
            },
            (At::Header, Some(index)) => {
                let survey = Survey::of(index, config.hostname.as_bytes(), &[]);
                Breaches {
                    header_size: header.len() as u64 > config.limits.header.0,
                    hops: survey.received > config.limits.received as usize,
                    from: owner().is_some_and(|owner| owner.lacks_from(header)),
                    sender: false,
                }
            }
            _ => Breaches::NONE,
        }
    }
}
