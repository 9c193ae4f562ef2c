//! Verification of DKIM-Signature fields.

use super::reason::{Outcome, Reason};
use crate::dns::{Answers, Question};
use crate::policy::authentication::UnixTime;
use crate::policy::authentication::body::{BodyDigests, BodyHashes};
use crate::policy::authentication::check::{self, Check, FIELDS_USUAL};
use crate::policy::authentication::crypto::{Algorithm, Job, Verified};
use crate::policy::authentication::key::Key;
use crate::policy::authentication::signature::{self, Kind, Label};
use crate::policy::authentication::tags::Tags;
use crate::smtp::header::{self, Field};

/// Signatures that are looked at, from the top. Those of further hops lie above those of the author.
pub const SIGNATURES_MAX: usize = 8;

/// The signatures of one message.
#[derive(Debug)]
pub struct Verification {
    candidates: Vec<Candidate>,
    skipped: usize,
}

#[derive(Debug)]
struct Candidate {
    label: Label,
    identity: Box<str>,
    check: Result<Check, Reason>,
}

impl Verification {
    /// Finds the signatures in a header section, with or without its empty line, and hashes what they cover. The hashes of
    /// the body that they need are asked for in `body`. Keeps nothing of the header.
    #[must_use]
    pub fn new(header: &[u8], now: UnixTime, body: &mut BodyHashes) -> Verification {
        let mut verification = Verification {
            candidates: Vec::new(),
            skipped: 0,
        };
        // Most of the mail that has no signature is known by this look.
        let is_signature = |field: &Field<'_>| field.is("dkim-signature");
        if !header::fields(header).any(|field| is_signature(&field)) {
            return verification;
        }
        let mut fields: Vec<Field<'_>> = Vec::with_capacity(FIELDS_USUAL);
        fields.extend(header::fields(header));
        for field in fields.iter().filter(|field| is_signature(field)) {
            if verification.candidates.len() == SIGNATURES_MAX {
                verification.skipped += 1;
                continue;
            }
            let candidate = Candidate::new(header, &fields, field, now, body);
            verification.candidates.push(candidate);
        }
        verification
    }

    /// Whether there is no signature.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// Takes the keys that have come, and asks in `questions` for those that are missing: at most [`SIGNATURES_MAX`].
    pub fn missing(&mut self, answers: &dyn Answers, questions: &mut Vec<Question>) {
        for candidate in &mut self.candidates {
            if let Ok(check) = &mut candidate.check
                && let Some(question) = check.step(answers)
                && !questions.contains(&question)
            {
                questions.push(question);
            }
        }
    }

    /// The mathematics to do for the signatures whose keys are there.
    pub fn jobs(&self) -> impl Iterator<Item = Job> {
        let checks = self.candidates.iter().enumerate();
        checks.filter_map(|(place, candidate)| candidate.job(place))
    }

    /// Tells what the body was. Before [`Verification::jobs`] it saves the mathematics of signatures that can't hold.
    pub fn compare(&mut self, body: &BodyDigests) {
        for candidate in &mut self.candidates {
            if let Ok(check) = &mut candidate.check {
                check.compare(body);
            }
        }
    }

    /// The results. A key that has not been taken is unavailable.
    #[must_use]
    pub fn finish(mut self, verified: &[Verified], body: &BodyDigests) -> Dkim {
        self.compare(body);
        let candidates = self.candidates.into_iter().enumerate();
        let results =
            candidates.map(|(place, candidate)| candidate.conclude(place, verified, body));
        Dkim {
            signatures: results.collect(),
            skipped: self.skipped,
        }
    }
}

impl Candidate {
    fn new(
        header: &[u8],
        fields: &[Field<'_>],
        field: &Field<'_>,
        now: UnixTime,
        body: &mut BodyHashes,
    ) -> Candidate {
        let mut label = Label::default();
        let mut identity = Box::default();
        let mut read = || {
            let tags = Tags::read(field.body).ok_or(Reason::Syntax)?;
            label = signature::label(&tags);
            let signature = signature::read(&tags, &label, Kind::Dkim)?;
            identity = signature::identity(&tags, &label.domain)?;
            check::is_current(&signature, now)?;
            Check::new(signature, header, fields, field, body)
        };
        let check = read();
        Candidate {
            label,
            identity,
            check,
        }
    }

    fn job(&self, place: usize) -> Option<Job> {
        let check = self.check.as_ref().ok()?;
        let is_outside = check.key().is_some_and(|key| self.is_outside(key));
        check.job(place).filter(|_| !is_outside)
    }

    /// Whether the key asks for an identity of its own domain, and this is of another (RFC 6376 §3.6.1, `t=s`).
    fn is_outside(&self, key: &Key) -> bool {
        let domain = self.identity.rsplit_once('@');
        key.strict && domain.map_or("", |(_, domain)| domain) != &*self.label.domain
    }

    fn conclude(self, place: usize, verified: &[Verified], body: &BodyDigests) -> SignatureResult {
        let check = self.check.as_ref().ok();
        let key = check.and_then(Check::key);
        let mut reason = match &self.check {
            Ok(check) => check.conclude(place, verified),
            Err(reason) => *reason,
        };
        if key.is_some_and(|key| self.is_outside(key)) {
            reason = Reason::IdentityNotDomain;
        }
        let length = check.and_then(|check| check.length(body));
        let bits = match reason {
            Reason::KeyShort(bits) | Reason::KeyLong(bits) => Some(bits),
            _ => key.map(|key| key.public.bits),
        };
        SignatureResult {
            domain: self.label.domain,
            selector: self.label.selector,
            identity: self.identity,
            beginning: self.label.beginning,
            algorithm: self.label.algorithm,
            key_bits: bits,
            testing: key.is_some_and(|key| key.testing),
            signed_length: length.map(|(length, _)| length),
            unsigned_octets: length.map_or(0, |(_, beyond)| beyond),
            reason,
        }
    }
}

/// What came of the signatures of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dkim {
    /// Those that were looked at, from the top.
    pub signatures: Vec<SignatureResult>,
    /// How many were not.
    pub skipped: usize,
}

impl Dkim {
    /// The domains that are responsible for the message: those of signatures that hold.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        let passed = self
            .signatures
            .iter()
            .filter(|signature| signature.passed());
        passed.map(|signature| &*signature.domain)
    }

    /// The signature that says most: one that holds, else one that may hold later, else one that fails, and so on.
    #[must_use]
    pub fn best(&self) -> Option<&SignatureResult> {
        self.signatures
            .iter()
            .min_by_key(|signature| signature.outcome())
    }

    /// Their result in one word.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.best()
            .map_or("none", |signature| signature.outcome().as_str())
    }
}

/// What came of one signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureResult {
    /// `d=` in lower case and A-labels. Empty: it has none that is a name.
    pub domain: Box<str>,
    /// `s=` likewise.
    pub selector: Box<str>,
    /// `i=`, or `@` and the domain. Empty: the field could not be read that far.
    pub identity: Box<str>,
    /// The first eight characters of the signature (RFC 6008).
    pub beginning: Box<str>,
    /// `a=`, where it is one of today.
    pub algorithm: Option<Algorithm>,
    /// Bits of the key, where one was found.
    pub key_bits: Option<u32>,
    /// The key says `t=y`: the domain is testing, and its signature should count neither way (RFC 6376 §3.6.1).
    pub testing: bool,
    /// `l=`: octets of the canonical body that are signed, where that is said.
    pub signed_length: Option<u64>,
    /// How many octets of the canonical body follow that are not. Anybody may have added them.
    pub unsigned_octets: u64,
    /// Why it has its outcome.
    pub reason: Reason,
}

impl SignatureResult {
    /// What came of it.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.reason.outcome()
    }

    /// Whether it holds.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.outcome() == Outcome::Pass
    }

    /// One of which a test says what matters to it; `i=` is the domain.
    #[cfg(test)]
    pub(crate) fn of(domain: &str, selector: &str, reason: Reason) -> SignatureResult {
        SignatureResult {
            domain: domain.into(),
            selector: selector.into(),
            identity: format!("@{domain}").into(),
            beginning: "".into(),
            algorithm: None,
            key_bits: None,
            testing: false,
            signed_length: None,
            unsigned_octets: 0,
            reason,
        }
    }
}
