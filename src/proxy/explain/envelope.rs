//! From the connection to the recipients, in the order of `ask.rs`: greeting, HELO, the login, MAIL, RCPT.

use super::{Told, Trial};
use crate::{
    config::{ListenerTls, Role},
    dns::{Answer, Question},
    policy::{At, CheckId, HitKind, Verdict},
    proxy::{
        judge::closing,
        profiles::ClassFacts,
        replies,
        told::{accepted, refused},
    },
    smtp::{
        self, Span,
        envelope::{MailParams, Path, PathSpan, Recipient},
    },
    upstream::Route,
};

/// What a client speaks on a listener with implicit TLS, where no version is given.
const USUAL_TLS: &str = "TLSv1.3";

impl<Ask: AsyncFnMut(Vec<Question>) -> Vec<Answer>> Trial<'_, Ask> {
    /// Up to the recipients. An error: no recipient was taken.
    pub(super) async fn take_envelope(&mut self) -> Result<(), Told> {
        self.greeting().await?;
        self.hello().await?;
        if self.listener().tls == ListenerTls::Required && self.tls().is_none() {
            return Err(refused(smtp::replies::NEEDS_TLS.reply()));
        }
        self.log_in()?;
        self.mail().await?;
        self.rcpt()
    }

    /// The version of TLS that it speaks.
    pub(super) fn tls(&self) -> Option<&str> {
        let implicit = self.listener().tls == ListenerTls::Implicit;
        self.described.tls.or(implicit.then_some(USUAL_TLS))
    }

    /// See `Session::ask_connect`.
    async fn greeting(&mut self) -> Result<(), Told> {
        // Whose session it is, XCLIENT will say.
        if !self.may_be_replaced() {
            self.judge_client(At::Connect)?;
            if self.put_off.is_none() && self.inquires() {
                self.learn(At::Connect).await;
            }
        }
        let (policy, place) = (&self.site.policy, self.profile());
        let decides = self.inquires() && policy.waits(place, At::Greeting, &self.inquiry);
        match (self.described.early_talk || decides) && self.put_off.is_none() {
            true => self.judge_client(At::Greeting),
            false => Ok(()),
        }
    }

    /// The client as such: see `Session::judge_client`.
    fn judge_client(&mut self, at: At) -> Result<(), Told> {
        let heard = self.judge(at, None);
        self.postpone(at, heard)
    }

    /// A refusal of a stranger may be told at its recipients: see `Session::delays_refusal`.
    fn postpone(&mut self, at: At, heard: Result<(), Told>) -> Result<(), Told> {
        let Err(told) = heard else {
            return Ok(());
        };
        let limited = matches!(self.judgement.refusal(), Some((_, HitKind::Limit)));
        match self.listener().delays_refusals && !limited && self.account.is_none() {
            true => {
                self.put_off = Some(told);
                Ok(())
            }
            false if at <= At::Greeting => Err(at_greeting(told)),
            false => Err(told),
        }
    }

    /// See `Session::ask_hello`.
    async fn hello(&mut self) -> Result<(), Told> {
        // A client that is refused in the end is not judged further.
        if self.put_off.is_some() {
            return Ok(());
        }
        let heard = self.judge_in_parts(At::Hello).await;
        self.postpone(At::Hello, heard)
    }

    /// AUTH with the right password, where the listener has it: see `Session::ask_auth`. The password is the one thing that is taken
    /// for granted.
    fn log_in(&mut self) -> Result<(), Told> {
        let (Some(name), Some(auth)) = (self.described.account, &self.listener().auth) else {
            return Ok(());
        };
        if auth.requires_tls && self.tls().is_none() {
            return Err(refused(smtp::replies::AUTH_NEEDS_TLS.reply()));
        }
        let service = &self.site.auth;
        let account = match service.accounts(auth.source) {
            // Any other source is not asked, for it wants the password.
            None => service.named(auth.source, name),
            Some(_) => match service.proven(auth.source, name) {
                Some(account) => account,
                None => return Err(refused(replies::AUTH_FAILED.reply())),
            },
        };
        self.account = Some(account.name);
        Ok(())
    }

    /// See `Session::ask_mail`.
    async fn mail(&mut self) -> Result<(), Told> {
        let listener = self.listener();
        if listener.role == Role::Submission && !self.is_known() {
            return Err(refused(match listener.auth {
                Some(_) => smtp::replies::AUTH_REQUIRED.reply(),
                None => replies::SUBMISSION_ONLY.reply(),
            }));
        }
        let sender = Path::split(self.described.sender.as_bytes());
        let sender = self.envelope.keep_path(sender);
        let params = MailParams {
            size: self.described.message.len() as u64,
            ..MailParams::default()
        };
        self.envelope.set_sender(sender, params);
        self.class = self.site.profiles.class_of(&ClassFacts {
            address: self.described.client,
            trusted: self.trusted,
            authenticated: self.account.is_some(),
            certificate: &[],
        });
        if self.account.is_some() {
            // It is not a stranger any more.
            self.put_off = None;
        }
        if self.put_off.is_some() {
            return Ok(());
        }
        let heard = self.judge_in_parts(At::Mail).await;
        self.postpone(At::Mail, heard)
    }

    /// Each recipient.
    fn rcpt(&mut self) -> Result<(), Told> {
        let mut last = refused(replies::NO_ROUTE.reply());
        for recipient in self.described.recipients {
            let path = self.envelope.keep_path(Path::split(recipient.as_bytes()));
            self.envelope.push_recipient(Recipient {
                path,
                notify: None,
                orcpt: Span::default(),
            });
            let told = match &self.put_off {
                Some(told) => Err(told.clone()),
                None => self.recipient(recipient, path),
            };
            let told = match told {
                Ok(()) => accepted(),
                Err(told) => {
                    self.envelope.pop_recipient();
                    told
                }
            };
            last = told.clone();
            self.recipients.push((recipient.clone(), told));
            if matches!(last.verdict, Verdict::Close(_)) {
                // Nothing of the session is left, nor of the recipients that were taken.
                return Err(last);
            }
        }
        match self.taken() {
            0 => Err(last),
            _ => Ok(()),
        }
    }

    /// See `Session::place_rcpt`.
    fn recipient(&mut self, recipient: &str, span: PathSpan) -> Result<(), Told> {
        let path = Path::split(recipient.as_bytes());
        let (route, ours) = self.site.route(path.domain);
        let known = self.is_known();
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
    fn place(&mut self, route: Option<&Route>, path: Path<'_>) -> Result<(), Told> {
        let is_later = self.taken() > 0;
        if is_later && self.judgement.recipient_differs() {
            return Err(refused(replies::OTHER_ROUTE.reply()));
        }
        let Some(route) = route else {
            return Err(refused(replies::NO_ROUTE.reply()));
        };
        if !self.site.may_be(route, path) {
            return Err(Told {
                check: Some(CheckId::RECIPIENTS_NAME.to_string()),
                ..refused(replies::UNLISTED.reply())
            });
        }
        if is_later && (self.pool != Some(route.pool) || self.site.is_lmtp(route.pool)) {
            return Err(refused(replies::OTHER_ROUTE.reply()));
        }
        self.pool = Some(route.pool);
        Ok(())
    }

    pub(super) fn taken(&self) -> usize {
        let taken = self.recipients.iter();
        taken.filter(|(_, told)| told.verdict.is_accept()).count()
    }
}

/// What a client hears that is refused before its first word.
fn at_greeting(told: Told) -> Told {
    let verdict = match told.verdict {
        Verdict::Defer(reply) => Verdict::Defer(closing(reply)),
        Verdict::Reject(reply) => Verdict::Reject(closing(reply)),
        other => other,
    };
    Told { verdict, ..told }
}
