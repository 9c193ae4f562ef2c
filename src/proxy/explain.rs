//! The verdict for a message that only is described: the policy is asked at the same points, in the same order and with the same
//! facts as for a session, and each answer is kept. Nothing is sent, no backend is asked, and no limit counts it.
//!
//! What a session knows of the state of the process (rates, open sessions, what a backend has said of a recipient) is left
//! out: the client is the first one.

pub use super::told::{Explained, Match, Told};
use super::{
    authenticate::Owner,
    known::{Asked, Known},
    payload::Survey,
    profiles::ClassFacts,
    replies,
    site::Site,
    told::{PutOff, accepted, fate, point, refused},
};
use crate::{
    config::{ListenerTls, Role},
    dns::{Answer, Answers, Question},
    net::now,
    policy::{
        At, Breaches, CheckId, Facts, HitKind, Inquiry, Judgement, Part, SessionTicket, Shared,
        Signals, Verdict,
        authentication::{Job, Verified},
        replies::QUARANTINE_LATE,
    },
    smtp::{
        self, Span,
        envelope::{Envelope, MailParams, Path, PathSpan, Recipient},
        header::{self, Index},
    },
    upstream::Route,
};
use std::{collections::HashMap, net::IpAddr};

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
    /// The account that the client has logged in as.
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
    let shared = Shared::of_all(&site.config.policies());
    let trusted = site.trusts(described.client);
    let class = site.profiles.class_of(&ClassFacts {
        address: described.client,
        trusted,
        authenticated: described.account.is_some(),
        certificate: &[],
    });
    let base = site.profiles.place(described.listener, class, 0);
    let group = site.policy.rate_group(base);
    let mut trial = Trial {
        site,
        described,
        ticket: shared.open_session(described.client, group),
        shared,
        trusted,
        class,
        route: 0,
        judgement: Judgement::new(),
        answers_judged: false,
        inquiry: Inquiry::default(),
        answers: Table::default(),
        envelope: Envelope::new(),
        ask,
        recipients: Vec::new(),
    };
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
    /// The client's class, and the profile of the first recipient's route.
    class: u8,
    route: u16,
    judgement: Judgement,
    /// What was asked has been judged, and lets the message pass.
    answers_judged: bool,
    inquiry: Inquiry,
    answers: Table,
    envelope: Envelope,
    ask: Ask,
    recipients: Vec<(String, Told)>,
}

impl<Ask: AsyncFnMut(Vec<Question>) -> Vec<Answer>> Trial<'_, Ask> {
    /// Up to the recipients. An error: no recipient was taken.
    async fn take_envelope(&mut self) -> Result<(), Told> {
        let listener = &self.site.listeners[self.described.listener];
        let mut postponed = None;
        self.connect(At::Connect, &mut postponed)?;
        if postponed.is_none() && self.inquires() {
            self.learn(At::Connect).await;
        }
        let (policy, place) = (&self.site.policy, self.profile());
        let decides = self.inquires() && policy.waits(place, At::Greeting, &self.inquiry);
        if (self.described.early_talk || decides) && postponed.is_none() {
            self.connect(At::Greeting, &mut postponed)?;
        }
        if postponed.is_none() {
            let heard = self.judge_in_parts(At::Hello).await;
            self.put_off(heard, &mut postponed)?;
        }
        if listener.tls == ListenerTls::Required && self.described.tls.is_none() {
            return Err(refused(smtp::replies::NEEDS_TLS.reply()));
        }
        let sender = Path::split(self.described.sender.as_bytes());
        let sender = self.envelope.keep_path(sender);
        let params = MailParams {
            size: self.described.message.len() as u64,
            ..MailParams::default()
        };
        self.envelope.set_sender(sender, params);
        if listener.role == Role::Submission && !self.trusted && self.described.account.is_none() {
            return Err(refused(replies::SUBMISSION_ONLY.reply()));
        }
        if postponed.is_none() {
            let heard = self.judge_in_parts(At::Mail).await;
            self.put_off(heard, &mut postponed)?;
        }
        let mut last = refused(replies::NO_ROUTE.reply());
        for recipient in self.described.recipients {
            let path = self.envelope.keep_path(Path::split(recipient.as_bytes()));
            self.envelope.push_recipient(Recipient {
                path,
                notify: None,
                orcpt: Span::default(),
            });
            let told = match postponed.clone() {
                Some((verdict, check)) => Err(Told { verdict, check }),
                None => self.recipient(recipient, path),
            };
            let told = match told {
                Ok(()) => accepted(),
                Err(told) => {
                    self.envelope.pop_recipient();
                    told
                }
            };
            last = Told {
                verdict: told.verdict.clone(),
                check: told.check.clone(),
            };
            self.recipients.push((recipient.clone(), told));
        }
        match self.taken() {
            0 => Err(last),
            _ => Ok(()),
        }
    }

    /// The client as such.
    fn connect(&mut self, at: At, postponed: &mut Option<PutOff>) -> Result<(), Told> {
        let told = self.judge(at, None);
        self.put_off(told, postponed)
    }

    /// A refusal of a stranger may be told at its recipients: see `Session::postpone`.
    fn put_off(&self, told: Result<(), Told>, postponed: &mut Option<PutOff>) -> Result<(), Told> {
        let Err(told) = told else {
            return Ok(());
        };
        let listener = &self.site.listeners[self.described.listener];
        let limited = matches!(self.judgement.refusal(), Some((_, HitKind::Limit)));
        let known = self.described.account.is_some();
        match listener.delays_refusals && !limited && !known {
            true => *postponed = postponed.take().or(Some((told.verdict, told.check))),
            false => return Err(told),
        }
        Ok(())
    }

    fn recipient(&mut self, recipient: &str, span: PathSpan) -> Result<(), Told> {
        let path = Path::split(recipient.as_bytes());
        let (route, ours) = self.site.route(path.domain);
        let known = self.trusted || self.described.account.is_some();
        if let Some(route) = route.filter(|_| ours || known) {
            let profile = self.site.profiles.of_route(&route);
            if self.route != profile && self.taken() > 0 {
                return Err(refused(replies::OTHER_ROUTE.reply()));
            }
            self.answers_judged &= self.route == profile;
            self.route = profile;
        }
        if (ours || known) && !self.answers_judged {
            self.judge(At::Answers, None)?;
            self.answers_judged = true;
        }
        self.judge(At::Rcpt, Some((span, ours)))?;
        let placed = self.place(route.as_ref(), path);
        if placed.is_err() {
            self.judgement.take_back_recipient();
        }
        placed
    }

    /// What refuses a recipient that the policy lets pass.
    fn place(&self, route: Option<&Route>, path: Path<'_>) -> Result<(), Told> {
        if self.taken() > 0 && self.judgement.recipient_differs() {
            return Err(refused(replies::OTHER_ROUTE.reply()));
        }
        match route {
            None => Err(refused(replies::NO_ROUTE.reply())),
            Some(route) if self.site.may_be(route, path) => Ok(()),
            Some(_) => Err(Told {
                check: Some(CheckId::RECIPIENTS_NAME.to_string()),
                ..refused(replies::UNLISTED.reply())
            }),
        }
    }

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

    /// Whether anything is asked about this client: see `Session::begin_inquiry`.
    fn inquires(&self) -> bool {
        let listener = &self.site.listeners[self.described.listener];
        self.site
            .policy
            .inquires(self.profile(), self.described.client)
            && listener.role != Role::Submission
            && !self.trusted
            && self.described.account.is_none()
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
        let verified: Vec<Verified> = message.close(hashes).iter().map(Job::run).collect();
        message.conclude(&verified);
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
            account: described.account,
            may_be_replaced: false,
            tls: described.tls,
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
        let owner = || Owner::of(self.site, self.described.listener, self.described.account?);
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

    fn taken(&self) -> usize {
        let taken = self.recipients.iter();
        taken.filter(|(_, told)| told.verdict.is_accept()).count()
    }
}
