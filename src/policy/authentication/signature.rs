//! What DKIM-Signature, ARC-Message-Signature and ARC-Seal have in common (RFC 6376 §3.5, RFC 8617 §4.1).

use super::canonical::Canonical;
use super::crypto::Algorithm;
use super::dkim::Reason;
use super::names;
use super::tags::{self, Tags};
use crate::dns::Question;

/// Octets of a signature: those of the largest key.
pub const SIGNATURE_MAX: usize = 512;
/// Names in `h=`. Signers that sign each field twice come to about 60.
pub const NAMES_MAX: usize = 100;
/// Octets of `i=` that are kept.
pub const IDENTITY_MAX: usize = 512;

/// Which kind of field it is: each has its own rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// DKIM-Signature.
    Dkim,
    /// ARC-Message-Signature: no `v=`; `i=` is a number; From need not be signed.
    ArcMessage,
    /// ARC-Seal: covers fields by rule, and no body.
    ArcSeal,
}

/// What is known of a signature even where it is not taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// `d=` in normal form. Empty: it is missing or no name.
    pub domain: Box<str>,
    /// `s=` likewise.
    pub selector: Box<str>,
    /// The first eight characters of `b=` (RFC 6008).
    pub beginning: Box<str>,
    /// `a=`, where we know it.
    pub algorithm: Option<Algorithm>,
}

/// A signature that can be verified.
#[derive(Clone, Debug)]
pub struct Signature {
    pub algorithm: Algorithm,
    pub octets: Box<[u8]>,
    /// `bh=`. ARC-Seal: of no meaning.
    pub body_hash: [u8; 32],
    pub header: Canonical,
    pub body: Canonical,
    /// `h=`, in lower case.
    pub names: Vec<Box<[u8]>>,
    /// `l=`.
    pub length: Option<u64>,
    /// `t=`.
    pub made: Option<u64>,
    /// `x=`.
    pub expires: Option<u64>,
    /// Where its key is.
    pub key: Question,
}

/// Reads what can be said of any signature.
pub fn label(tags: &Tags<'_>) -> Label {
    let name = |tag| tags.get(tag).and_then(names::normal).unwrap_or_default();
    let beginning = tags.get("b").unwrap_or_default().iter();
    let beginning = beginning
        .filter(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'='));
    Label {
        domain: name("d"),
        selector: name("s"),
        beginning: beginning.take(8).map(|octet| char::from(*octet)).collect(),
        algorithm: algorithm(tags).ok(),
    }
}

/// Reads a signature that is to be verified.
pub fn read(tags: &Tags<'_>, label: &Label, kind: Kind) -> Result<Signature, Reason> {
    if kind == Kind::Dkim && tags.get("v") != Some(b"1") {
        return Err(Reason::Version);
    }
    let algorithm = algorithm(tags)?;
    let octets = tags::base64(required(tags, "b")?, SIGNATURE_MAX).ok_or(Reason::Syntax)?;
    if tags.get("d").is_none() || tags.get("s").is_none() {
        return Err(Reason::MissingTag);
    }
    if label.domain.is_empty() || label.selector.is_empty() {
        return Err(Reason::Syntax);
    }
    let key = format!("{}._domainkey.{}", label.selector, label.domain);
    let key = names::text_at(&key).ok_or(Reason::Syntax)?;
    // A seal has neither; both forms are "relaxed" there (RFC 8617 §5.1.1).
    let (header, body) = match (kind, tags.get("c")) {
        (Kind::ArcSeal, _) | (Kind::ArcMessage, None) => (Canonical::Relaxed, Canonical::Relaxed),
        (_, None) => (Canonical::Simple, Canonical::Simple),
        (_, Some(value)) => canonicals(value).ok_or(Reason::Syntax)?,
    };
    let (body_hash, names) = match kind {
        Kind::ArcSeal => ([0; 32], Vec::new()),
        _ => (body_hash(tags)?, signed_names(required(tags, "h")?, kind)?),
    };
    let seconds = |tag| {
        tags.get(tag)
            .map(|value| tags::number(value).ok_or(Reason::Syntax))
            .transpose()
    };
    if tags
        .get("q")
        .is_some_and(|methods| !tags::has_word(methods, &["dns/txt"]))
    {
        return Err(Reason::QueryMethod);
    }
    Ok(Signature {
        algorithm,
        octets: octets.into(),
        body_hash,
        header,
        body,
        names,
        length: if kind == Kind::ArcSeal {
            None
        } else {
            length(tags)?
        },
        made: seconds("t")?,
        expires: seconds("x")?,
        key,
    })
}

fn required<'a>(tags: &Tags<'a>, name: &str) -> Result<&'a [u8], Reason> {
    tags.get(name).ok_or(Reason::MissingTag)
}

fn algorithm(tags: &Tags<'_>) -> Result<Algorithm, Reason> {
    match required(tags, "a")? {
        b"rsa-sha256" => Ok(Algorithm::RsaSha256),
        b"ed25519-sha256" => Ok(Algorithm::Ed25519Sha256),
        b"rsa-sha1" => Err(Reason::Sha1),
        _ => Err(Reason::UnknownAlgorithm),
    }
}

fn body_hash(tags: &Tags<'_>) -> Result<[u8; 32], Reason> {
    let octets = tags::base64(required(tags, "bh")?, 32).ok_or(Reason::Syntax)?;
    octets.try_into().map_err(|_| Reason::Syntax)
}

/// `header/body`, or `header` and a simple body.
fn canonicals(value: &[u8]) -> Option<(Canonical, Canonical)> {
    match memchr::memchr(b'/', value) {
        Some(at) => Some((
            Canonical::read(&value[..at])?,
            Canonical::read(&value[at + 1..])?,
        )),
        None => Some((Canonical::read(value)?, Canonical::Simple)),
    }
}

/// The names in `h=`, in lower case.
fn signed_names(list: &[u8], kind: Kind) -> Result<Vec<Box<[u8]>>, Reason> {
    let mut names = Vec::new();
    for name in list.split(|octet| *octet == b':') {
        let name = name.trim_ascii();
        if names.len() == NAMES_MAX {
            return Err(Reason::TooManyNames);
        }
        // An empty name covers nothing.
        if name
            .iter()
            .any(|octet| !octet.is_ascii_graphic() || *octet == b';')
        {
            return Err(Reason::Syntax);
        }
        if !name.is_empty() {
            names.push(name.to_ascii_lowercase().into_boxed_slice());
        }
    }
    let covers = |wanted: &[u8]| names.iter().any(|name| **name == *wanted);
    match kind {
        // RFC 6376 §5.4, §6.1.1.
        Kind::Dkim if names.is_empty() => Err(Reason::Syntax),
        Kind::Dkim if !covers(b"from") => Err(Reason::FromNotSigned),
        // RFC 8617 §4.1.2.
        Kind::ArcMessage if covers(b"arc-seal") => Err(Reason::Syntax),
        _ => Ok(names),
    }
}

/// `l=`: up to 76 digits are lawful (RFC 6376 §3.5); no body reaches what 64 bits can't hold.
fn length(tags: &Tags<'_>) -> Result<Option<u64>, Reason> {
    let Some(value) = tags.get("l") else {
        return Ok(None);
    };
    if value.is_empty() || value.len() > 76 || !value.iter().all(u8::is_ascii_digit) {
        return Err(Reason::Syntax);
    }
    let digits = str::from_utf8(value).map_err(|_| Reason::Syntax)?;
    Ok(Some(digits.parse().unwrap_or(u64::MAX)))
}

/// `i=` of DKIM: the local part as it is, the domain in normal form, which is `domain` or below it (RFC 6376 §3.5, §6.1.1).
pub fn identity(tags: &Tags<'_>, domain: &str) -> Result<Box<str>, Reason> {
    let Some(value) = tags.get("i") else {
        return Ok(format!("@{domain}").into());
    };
    if value.len() > IDENTITY_MAX {
        return Err(Reason::Syntax);
    }
    let at = memchr::memrchr(b'@', value).ok_or(Reason::Syntax)?;
    let local = str::from_utf8(&value[..at]).map_err(|_| Reason::Syntax)?;
    let name = names::normal(&value[at + 1..]).ok_or(Reason::Syntax)?;
    if !names::under(&name, domain) {
        return Err(Reason::IdentityOutside);
    }
    let local: String = local.chars().filter(|c| !c.is_control()).collect();
    Ok(format!("{local}@{name}").into())
}
