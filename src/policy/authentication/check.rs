//! One signature on its way from the header section to a result. DKIM and ARC share it.

use super::body::{BodyDigests, BodyHash, BodyHashes};
use super::canonical::{self, Source};
use super::crypto::{Job, Verified};
use super::dkim::{Outcome, Reason};
use super::key::{self, Key};
use super::signature::Signature;
use super::{CLOCK_SKEW_SECONDS_MAX, UnixTime};
use crate::dns::{Answers, Question};
use crate::smtp::header::Field;

/// Fields that most header sections don't exceed.
pub const FIELDS_USUAL: usize = 64;

/// Fields of a header section in which a signature is verified: each of them is looked at for each signature.
pub const FIELDS_MAX: usize = 2000;

/// What is needed to verify one signature. The header section is not: its hash is here.
#[derive(Clone, Debug)]
pub struct Check {
    signature: Signature,
    header_hash: [u8; 32],
    /// `None`: it covers no body (ARC-Seal).
    body: Option<BodyHash>,
    body_differs: bool,
    key: Option<Result<Key, Reason>>,
}

impl Check {
    /// For a signature over fields and a body: `field` is its own, among `fields` of `header`.
    pub fn new(
        signature: Signature,
        header: &[u8],
        fields: &[Field<'_>],
        field: &Field<'_>,
        body: &mut BodyHashes,
    ) -> Result<Check, Reason> {
        if fields.len() > FIELDS_MAX {
            return Err(Reason::TooManyFields);
        }
        let wanted = body
            .want(signature.body, signature.length)
            .ok_or(Reason::TooManyLengths)?;
        let selected = canonical::select(fields, &signature.names);
        let covered = selected.iter().map(|field| Source::of(header, field));
        let own = Source::of(header, field);
        let header_hash = canonical::hash(covered, own, signature.header);
        Ok(Check {
            body: Some(wanted),
            ..Check::without_body(signature, header_hash)
        })
    }

    /// For a signature over nothing but what `header_hash` is of.
    pub fn without_body(signature: Signature, header_hash: [u8; 32]) -> Check {
        Check {
            signature,
            header_hash,
            body: None,
            body_differs: false,
            key: None,
        }
    }

    /// `l=`, and how many octets of the canonical body it leaves out.
    pub fn length(&self, body: &BodyDigests) -> Option<(u64, u64)> {
        let length = self.signature.length?;
        let whole = body.length(self.signature.body)?;
        Some((length, whole.saturating_sub(length)))
    }

    /// Takes its key from the answers. `None`: it has it. Else the question that is open.
    pub fn step(&mut self, answers: &dyn Answers) -> Option<Question> {
        if self.key.is_some() {
            return None;
        }
        let Some(answer) = answers.answer(&self.signature.key) else {
            return Some(self.signature.key.clone());
        };
        self.key = Some(key::find(answer, self.signature.algorithm));
        None
    }

    /// Its mathematics, where there is any to do.
    pub fn job(&self, place: usize) -> Option<Job> {
        match &self.key {
            Some(Ok(key)) if !self.body_differs => Some(Job {
                place,
                hash: self.header_hash,
                signature: self.signature.octets.clone(),
                key: key.public.clone(),
            }),
            _ => None,
        }
    }

    /// Why it can't hold, whatever its mathematics would say.
    pub fn refused(&self) -> Option<Reason> {
        match &self.key {
            _ if self.body_differs => Some(Reason::BodyDiffers),
            Some(Err(reason)) if reason.outcome() != Outcome::TempError => Some(*reason),
            _ => None,
        }
    }

    /// Its key, once it is there.
    pub fn key(&self) -> Option<&Key> {
        self.key.as_ref()?.as_ref().ok()
    }

    /// Compares the hash of the body. What differs needs no mathematics.
    pub fn compare(&mut self, body: &BodyDigests) {
        self.body_differs = self
            .body
            .is_some_and(|wanted| body.get(wanted) != Some(self.signature.body_hash));
    }

    /// The result, after [`Check::compare`].
    pub fn conclude(&self, place: usize, verified: &[Verified]) -> Reason {
        match &self.key {
            None => return Reason::KeyUnavailable,
            Some(Err(reason)) => return *reason,
            Some(Ok(_)) => {}
        }
        if self.body_differs {
            return Reason::BodyDiffers;
        }
        match verified.iter().find(|verified| verified.place == place) {
            Some(verified) if verified.holds => Reason::Verified,
            Some(_) => Reason::SignatureDiffers,
            None => Reason::NotComputed,
        }
    }
}

/// Whether a signature is one of today (RFC 6376 §3.5, `t=` and `x=`).
pub fn is_current(signature: &Signature, now: UnixTime) -> Result<(), Reason> {
    if signature
        .made
        .is_some_and(|made| made > now.saturating_add(CLOCK_SKEW_SECONDS_MAX))
    {
        return Err(Reason::Future);
    }
    if let Some(expires) = signature.expires
        && (expires < now || signature.made.is_some_and(|made| expires <= made))
    {
        return Err(Reason::Expired);
    }
    Ok(())
}
