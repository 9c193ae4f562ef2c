//! Signing: one field for each key, relaxed in header and body.
//!
//! A signature stands above the header and holds the hash of the body, so a message that is signed has to be there as a
//! whole before its first octet goes on.
//!
//! Fields of [`OVERSIGNED`] are named once more than they occur: another added later breaks the signature. Mail
//! programs differ in which of two they show (RFC 6376 §8.15).

use super::keys::PrivateKey;
use crate::policy::authentication::UnixTime;
use crate::policy::authentication::body::{BodyDigests, BodyHash, BodyHashes};
use crate::policy::authentication::canonical::{self, Canonical, Source};
use crate::policy::authentication::crypto::Sha256;
use crate::policy::authentication::names;
use crate::policy::authentication::signature::NAMES_MAX;
use crate::policy::authentication::tags;
use crate::smtp::header::{self, Field};
use std::collections::HashMap;
use std::sync::Arc;

/// Fields that are signed, and named once more than they occur. RFC 8058 §4 wants the last two covered.
pub const OVERSIGNED: [&str; 12] = [
    "from",
    "to",
    "cc",
    "subject",
    "date",
    "message-id",
    "reply-to",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "list-unsubscribe",
    "list-unsubscribe-post",
];

/// Fields that are signed where they are. One that is added later does no harm: lists add Sender and List-Id.
pub const SIGNED: [&str; 5] = [
    "sender",
    "in-reply-to",
    "references",
    "list-id",
    "auto-submitted",
];

/// Keys that one message is signed with.
pub const SIGNERS_MAX: usize = 8;

/// Columns after which a field is folded.
const COLUMNS: usize = 76;

/// Who signs, with which key.
#[derive(Debug)]
pub struct Signer {
    domain: Box<str>,
    selector: Box<str>,
    key: PrivateKey,
    lifetime_seconds: Option<u64>,
}

impl Signer {
    /// `lifetime_seconds`: how long the signature lasts (`x=`). `None`: domain or selector is no name, or the two don't
    /// fit into one.
    #[must_use]
    pub fn new(
        domain: &str,
        selector: &str,
        key: PrivateKey,
        lifetime_seconds: Option<u64>,
    ) -> Option<Signer> {
        let (domain, selector) = (
            names::normal(domain.as_bytes())?,
            names::normal(selector.as_bytes())?,
        );
        names::text_at(&format!("{selector}._domainkey.{domain}"))?;
        Some(Signer {
            domain,
            selector,
            key,
            lifetime_seconds,
        })
    }
    /// `s=`.
    #[must_use]
    pub fn selector(&self) -> &str {
        &self.selector
    }
}

/// All signers, by domain.
#[derive(Debug, Default)]
pub struct Signers {
    by_domain: HashMap<Box<str>, Vec<Arc<Signer>>>,
}

impl Signers {
    /// Adds one. `false`: the domain has [`SIGNERS_MAX`] already, or one with this selector.
    pub fn add(&mut self, signer: Signer) -> bool {
        let signers = self.by_domain.entry(signer.domain.clone()).or_default();
        let taken = signers
            .iter()
            .any(|other| other.selector == signer.selector);
        if taken || signers.len() == SIGNERS_MAX {
            return false;
        }
        signers.push(Arc::new(signer));
        true
    }

    /// Those for an author in `domain`: of the domain itself, else of the nearest above it.
    #[must_use]
    pub fn of(&self, domain: &[u8]) -> &[Arc<Signer>] {
        let name = names::normal(domain).unwrap_or_default();
        let mut name = Some(&*name);
        while let Some(domain) = name {
            if let Some(signers) = self.by_domain.get(domain) {
                return signers;
            }
            name = names::parent(domain);
        }
        &[]
    }
}

/// A message that is being signed. Keeps nothing of it.
#[derive(Debug)]
pub struct Signing {
    signers: Vec<Arc<Signer>>,
    names: Vec<Box<[u8]>>,
    covered: Sha256,
    body: BodyHash,
    now: UnixTime,
}

impl Signing {
    /// Hashes the fields of a header section, and asks in `body` for the hash of the body. `None`: there is no signer, no
    /// From, or more fields to cover than verifiers look at.
    #[must_use]
    pub fn new(
        header: &[u8],
        signers: &[Arc<Signer>],
        now: UnixTime,
        body: &mut BodyHashes,
    ) -> Option<Signing> {
        let fields: Vec<Field<'_>> = header::fields(header).collect();
        let names = names_to_sign(&fields)?;
        if signers.is_empty() {
            return None;
        }
        let mut covered = Sha256::new();
        let mut buffer = Vec::with_capacity(1024);
        for field in canonical::select(&fields, &names) {
            canonical::field(Source::of(header, &field), Canonical::Relaxed, &mut buffer);
            buffer.extend_from_slice(b"\r\n");
            covered.update(&buffer);
            buffer.clear();
        }
        Some(Signing {
            signers: signers[..signers.len().min(SIGNERS_MAX)].to_vec(),
            names,
            covered,
            body: body.want(Canonical::Relaxed, None)?,
            now,
        })
    }

    /// Computes the fields to put above the header, each with its line end: some hundred microseconds to a few
    /// milliseconds a key. `None`: the library failed.
    #[must_use]
    pub fn finish(&self, body: &BodyDigests) -> Option<Vec<u8>> {
        let body_hash = tags::to_base64(&body.get(self.body)?);
        let mut fields = Vec::with_capacity(self.signers.len() * 1024);
        for signer in &self.signers {
            let mut field = self.unsigned(signer, &body_hash);
            let mut sha = self.covered.clone();
            let mut own = Vec::with_capacity(field.len());
            let source = Source {
                whole: field.text.as_bytes(),
                name: b"DKIM-Signature",
            };
            canonical::field(source, Canonical::Relaxed, &mut own);
            sha.update(&own);
            let signature = signer.key.sign(&sha.finish())?;
            field.fold_anywhere(&tags::to_base64(&signature));
            fields.extend_from_slice(field.text.as_bytes());
            fields.extend_from_slice(b"\r\n");
        }
        Some(fields)
    }

    /// The field up to `b=`.
    fn unsigned(&self, signer: &Signer, body_hash: &str) -> Folded {
        let mut field = Folded::new("DKIM-Signature:");
        let algorithm = signer.key.algorithm().as_str();
        field.word(" v=1;");
        field.word(&format!(" a={algorithm};"));
        field.word(" c=relaxed/relaxed;");
        field.word(&format!(" d={};", signer.domain));
        field.word(&format!(" s={};", signer.selector));
        field.word(&format!(" t={};", self.now));
        if let Some(lifetime) = signer.lifetime_seconds {
            field.word(&format!(" x={};", self.now.saturating_add(lifetime)));
        }
        for (place, name) in self.names.iter().enumerate() {
            let name = String::from_utf8_lossy(name);
            let before = if place == 0 { " h=" } else { "" };
            let after = if place + 1 == self.names.len() {
                ";"
            } else {
                ":"
            };
            field.word(&format!("{before}{name}{after}"));
        }
        field.word(&format!(" bh={body_hash};"));
        field.word(" b=");
        field
    }
}

/// What `h=` is to say, in order. `None`: it would say nothing of an author, or too much.
fn names_to_sign(fields: &[Field<'_>]) -> Option<Vec<Box<[u8]>>> {
    let mut names: Vec<Box<[u8]>> = Vec::new();
    let both = OVERSIGNED
        .iter()
        .map(|name| (*name, 1))
        .chain(SIGNED.iter().map(|name| (*name, 0)));
    for (name, more) in both {
        let count = fields.iter().filter(|field| field.is(name)).count();
        if name == "from" && count == 0 {
            return None;
        }
        if names.len() + count + more > NAMES_MAX {
            return None;
        }
        names.extend(std::iter::repeat_n(
            Box::from(name.as_bytes()),
            count + more,
        ));
    }
    Some(names)
}

/// A field that is folded as it grows.
struct Folded {
    text: String,
    column: usize,
}

impl Folded {
    fn new(name: &str) -> Folded {
        Folded {
            text: name.to_string(),
            column: name.len(),
        }
    }

    fn len(&self) -> usize {
        self.text.len()
    }

    /// A word that stays together. A space at its front becomes the white space of a fold.
    fn word(&mut self, word: &str) {
        let mut word = word;
        if self.column + word.len() > COLUMNS {
            self.text.push_str("\r\n\t");
            self.column = 8;
            word = word.trim_start();
        }
        self.text.push_str(word);
        self.column += word.len();
    }

    /// Base64, which may be folded anywhere.
    fn fold_anywhere(&mut self, text: &str) {
        let mut rest = text;
        while !rest.is_empty() {
            if self.column >= COLUMNS {
                self.text.push_str("\r\n\t");
                self.column = 8;
            }
            let (part, after) = rest.split_at(rest.floor_char_boundary(COLUMNS - self.column));
            self.text.push_str(part);
            self.column += part.len();
            rest = after;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::KeyKind;
    use super::*;

    fn signers(names: &[(&str, &str)]) -> Signers {
        let mut signers = Signers::default();
        for (domain, selector) in names {
            let (key, _) = PrivateKey::generate(KeyKind::Ed25519).expect("a key");
            assert!(signers.add(Signer::new(domain, selector, key, None).expect("names")));
        }
        signers
    }

    #[test]
    fn the_nearest_domain_signs() {
        let signers = signers(&[
            ("example.org", "a"),
            ("example.org", "b"),
            ("sub.Example.org", "c"),
        ]);
        let of = |domain: &str| -> Vec<&str> {
            signers
                .of(domain.as_bytes())
                .iter()
                .map(|signer| signer.selector())
                .collect()
        };
        assert_eq!(of("EXAMPLE.org"), ["a", "b"]);
        assert_eq!(of("x.sub.example.org"), ["c"]);
        assert_eq!(of("other.example.org"), ["a", "b"]);
        assert!(of("org").is_empty() && of("").is_empty() && of("a b").is_empty());
        let (key, _) = PrivateKey::generate(KeyKind::Ed25519).expect("a key");
        assert!(Signer::new("a b", "s", key, None).is_none());
    }

    #[test]
    fn fields_are_named_once_more_than_they_are() {
        let header = b"From: a\r\nTo: b\r\nto: c\r\nSender: d\r\nX: e\r\n";
        let fields: Vec<Field<'_>> = header::fields(header).collect();
        let names = names_to_sign(&fields).expect("a From");
        let count = |wanted: &str| {
            names
                .iter()
                .filter(|name| ***name == *wanted.as_bytes())
                .count()
        };
        assert_eq!(
            (
                count("from"),
                count("to"),
                count("cc"),
                count("sender"),
                count("x")
            ),
            (2, 3, 1, 1, 0)
        );
        assert_eq!(count("list-unsubscribe-post"), 1);
        assert!(names_to_sign(&fields[1..]).is_none());
        let many = "To: a\r\n".repeat(NAMES_MAX) + "From: b\r\n";
        let fields: Vec<Field<'_>> = header::fields(many.as_bytes()).collect();
        assert!(names_to_sign(&fields).is_none());
    }

    #[test]
    fn lines_stay_short() {
        let signers = signers(&[("example.org", "a")]);
        let mut body = BodyHashes::new();
        let signing = Signing::new(
            b"From: a@example.org\r\n",
            signers.of(b"example.org"),
            7,
            &mut body,
        );
        let fields = signing
            .expect("signers")
            .finish(&body.finish())
            .expect("a signature");
        let text = String::from_utf8(fields).expect("ASCII");
        assert!(
            text.ends_with("\r\n") && text.starts_with("DKIM-Signature: v=1; a=ed25519-sha256;")
        );
        assert!(text.split("\r\n").all(|line| line.len() <= 78), "{text}");
        assert_eq!(header::fields(text.as_bytes()).count(), 1);
    }
}
