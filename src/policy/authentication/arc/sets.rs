//! The sets of a chain: three fields each (RFC 8617 §4.1, §4.2.1), and what a seal covers (§5.1.1).

use super::{ArcFault, RESULTS_MAX, Seal};
use crate::policy::authentication::canonical::{self, Canonical, Source};
use crate::policy::authentication::crypto::Sha256;
use crate::policy::authentication::dkim::Reason;
use crate::policy::authentication::signature::{self, Kind, Signature};
use crate::policy::authentication::tags::{self, Tags};
use crate::smtp::header::Field;

/// Sets of one chain (RFC 8617 §4.2.1: 50 is the largest number).
pub const SETS_MAX: usize = 50;

/// The three fields of one hop.
pub struct Set<'a> {
    /// ARC-Authentication-Results.
    pub results: Field<'a>,
    /// What follows its `i=`.
    payload: &'a [u8],
    /// ARC-Message-Signature.
    pub message: Field<'a>,
    message_tags: Tags<'a>,
    /// ARC-Seal.
    pub seal: Field<'a>,
    seal_tags: Tags<'a>,
}

/// A set that is not complete yet.
#[derive(Default)]
struct Parts<'a> {
    results: Option<(Field<'a>, &'a [u8])>,
    message: Option<(Field<'a>, Tags<'a>)>,
    seal: Option<(Field<'a>, Tags<'a>)>,
}

/// Finds all sets, the first hop first, and checks all that can be seen without keys (RFC 8617 §5.2 steps 1 to 3).
pub fn collect<'a>(fields: &[Field<'a>]) -> Result<Vec<Set<'a>>, ArcFault> {
    let mut parts: Vec<Parts<'a>> = Vec::new();
    for field in fields {
        let place = |number: Option<u64>| {
            let number = usize::try_from(number?).ok()?;
            (1..=SETS_MAX).contains(&number).then(|| number - 1)
        };
        if field.is("arc-authentication-results") {
            let (number, payload) = instance(field.body).ok_or(ArcFault::Structure)?;
            let at = place(Some(number)).ok_or(ArcFault::Structure)?;
            put(&mut slot(&mut parts, at).results, (*field, payload))?;
        } else if field.is("arc-message-signature") || field.is("arc-seal") {
            let tags = Tags::read(field.body).ok_or(ArcFault::Structure)?;
            let at = place(tags.get("i").and_then(tags::number)).ok_or(ArcFault::Structure)?;
            let parts = slot(&mut parts, at);
            let kept = if field.is("arc-seal") {
                &mut parts.seal
            } else {
                &mut parts.message
            };
            put(kept, (*field, tags))?;
        }
    }
    let sets: Option<Vec<Set<'a>>> = parts.into_iter().map(Parts::complete).collect();
    let sets = sets.ok_or(ArcFault::Structure)?;
    for (place, set) in sets.iter().enumerate().rev() {
        match (set.seal_tags.get("cv"), place) {
            (Some(b"fail"), _) => return Err(ArcFault::BrokenBefore),
            (Some(b"none"), 0) | (Some(b"pass"), 1..) => {}
            _ => return Err(ArcFault::Structure),
        }
    }
    Ok(sets)
}

fn slot<'p, 'a>(parts: &'p mut Vec<Parts<'a>>, at: usize) -> &'p mut Parts<'a> {
    if parts.len() <= at {
        parts.resize_with(at + 1, Parts::default);
    }
    &mut parts[at]
}

/// Each field of a set comes once.
fn put<T>(slot: &mut Option<T>, value: T) -> Result<(), ArcFault> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(ArcFault::Structure),
    }
}

impl<'a> Parts<'a> {
    fn complete(self) -> Option<Set<'a>> {
        let (results, payload) = self.results?;
        let (message, message_tags) = self.message?;
        let (seal, seal_tags) = self.seal?;
        Some(Set {
            results,
            payload,
            message,
            message_tags,
            seal,
            seal_tags,
        })
    }
}

/// The number that ARC-Authentication-Results begins with, and what follows it: `i=1; payload` (RFC 8617 §4.1.1).
fn instance(body: &[u8]) -> Option<(u64, &[u8])> {
    let semicolon = memchr::memchr(b';', body)?;
    let (name, value) = tags::pair(body[..semicolon].trim_ascii())?;
    (name == b"i").then_some(())?;
    Some((tags::number(value)?, &body[semicolon + 1..]))
}

impl Set<'_> {
    /// The message signature.
    pub fn read_message(&self) -> Result<Signature, Reason> {
        let label = signature::label(&self.message_tags);
        signature::read(&self.message_tags, &label, Kind::ArcMessage)
    }

    /// The seal, and what is kept of it.
    pub fn read_seal(&self) -> Result<(Signature, Seal), Reason> {
        // RFC 8617 §4.1.3: "h" makes a seal invalid.
        if self.seal_tags.get("h").is_some() {
            return Err(Reason::Syntax);
        }
        let label = signature::label(&self.seal_tags);
        let signature = signature::read(&self.seal_tags, &label, Kind::ArcSeal)?;
        let payload = self.payload.trim_ascii();
        let seal = Seal {
            domain: label.domain,
            selector: label.selector,
            results: payload[..payload.len().min(RESULTS_MAX)].into(),
        };
        Ok((signature, seal))
    }
}

/// The hash of what each seal covers: results, message signature and seal of every set up to its own, its own without the
/// signature (RFC 8617 §5.1.1). One hash runs through all of them and is copied at each.
pub fn seal_hashes(header: &[u8], sets: &[Set<'_>]) -> Vec<[u8; 32]> {
    let mut sha = Sha256::new();
    let mut buffer = Vec::with_capacity(1024);
    let mut hashes = Vec::with_capacity(sets.len());
    let mut add = |sha: &mut Sha256, field: &Field<'_>| {
        canonical::field(Source::of(header, field), Canonical::Relaxed, &mut buffer);
        buffer.extend_from_slice(b"\r\n");
        sha.update(&buffer);
        buffer.clear();
    };
    for set in sets {
        add(&mut sha, &set.results);
        add(&mut sha, &set.message);
        let own = Source::of(header, &set.seal);
        hashes.push(canonical::hash_own(sha.clone(), own, Canonical::Relaxed));
        add(&mut sha, &set.seal);
    }
    hashes
}
