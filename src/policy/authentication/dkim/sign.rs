//! Signing: one field for each key.
//!
//! A signature stands above the header and holds the hash of the body, so a message that is signed has to be there as a
//! whole before its first octet goes on.
//!
//! Fields of [`OVERSIGNED`] are named once more than they occur: another added later breaks the signature. Mail
//! programs differ in which of two they show (RFC 6376 §8.15). The body is always covered to its end: there is no `l=`,
//! which lets text be added under a signature that holds (§8.2).

use super::signers::{SIGNERS_MAX, Signer};
use crate::policy::authentication::UnixTime;
use crate::policy::authentication::body::{BodyDigests, BodyHash, BodyHashes};
use crate::policy::authentication::canonical::{self, Source};
use crate::policy::authentication::check::{FIELDS_MAX, FIELDS_USUAL};
use crate::policy::authentication::crypto::Sha256;
use crate::policy::authentication::signature::NAMES_MAX;
use crate::policy::authentication::tags;
use crate::smtp::header::{self, Field};
use std::sync::Arc;

/// Fields that are signed, and named once more than they occur. RFC 8058 §4 wants the last two covered.
pub const OVERSIGNED: [&str; 14] = [
    "from",
    "to",
    "cc",
    "subject",
    "date",
    "message-id",
    "reply-to",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "list-unsubscribe",
    "list-unsubscribe-post",
];

/// Fields that are signed where they are. One that is added later does no harm: lists add Sender and List-Id.
pub const SIGNED: [&str; 10] = [
    "sender",
    "list-id",
    "list-archive",
    "list-help",
    "list-owner",
    "list-post",
    "list-subscribe",
    "auto-submitted",
    "autocrypt",
    "feedback-id",
];

/// Columns after which a field is folded.
const COLUMNS: usize = 76;

/// A message that is being signed. Keeps nothing of it.
#[derive(Debug)]
pub struct Signing {
    parts: Vec<Part>,
    now: UnixTime,
}

/// What one signer covers.
#[derive(Debug)]
struct Part {
    signer: Arc<Signer>,
    names: Vec<Box<[u8]>>,
    covered: Sha256,
    body: BodyHash,
}

impl Signing {
    /// Hashes the fields of a header section, and asks in `body` for the hashes of the body. `None`: there is no signer, no
    /// From, or more fields to cover than verifiers look at.
    #[must_use]
    pub fn new(
        header: &[u8],
        signers: &[Arc<Signer>],
        now: UnixTime,
        body: &mut BodyHashes,
    ) -> Option<Signing> {
        let mut fields: Vec<Field<'_>> = Vec::with_capacity(FIELDS_USUAL);
        fields.extend(header::fields(header));
        if signers.is_empty() || fields.len() > FIELDS_MAX {
            return None;
        }
        let signers = signers.iter().take(SIGNERS_MAX);
        let parts = signers.map(|signer| Part::new(header, &fields, signer, body));
        Some(Signing {
            parts: parts.collect::<Option<Vec<Part>>>()?,
            now,
        })
    }

    /// Whether [`Signing::finish`] takes so long that a worker should not do it.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.parts.iter().any(|part| part.signer.key.is_slow())
    }

    /// Computes the fields to put above the header, each with its line end: some hundred microseconds to a few
    /// milliseconds a key. `None`: the library failed.
    #[must_use]
    pub fn finish(&self, body: &BodyDigests) -> Option<Vec<u8>> {
        let mut fields = Vec::with_capacity(self.parts.len() * 1024);
        for part in &self.parts {
            let mut field = part.unsigned(self.now, &tags::to_base64(&body.get(part.body)?));
            let mut sha = part.covered.clone();
            let mut own = Vec::with_capacity(field.text.len());
            let source = Source {
                whole: field.text.as_bytes(),
                name: b"DKIM-Signature",
            };
            canonical::field(source, part.signer.canonical.0, &mut own);
            sha.update(&own);
            let signature = part.signer.key.sign(&sha.finish())?;
            field.fold_anywhere(&tags::to_base64(&signature));
            fields.extend_from_slice(field.text.as_bytes());
            fields.extend_from_slice(b"\r\n");
        }
        Some(fields)
    }

    /// Who signs: `domain/selector`, with commas between them.
    #[must_use]
    pub fn signers(&self) -> String {
        let mut text = String::new();
        for part in &self.parts {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(&part.signer.domain);
            text.push('/');
            text.push_str(&part.signer.selector);
        }
        text
    }
}

impl Part {
    fn new(
        header: &[u8],
        fields: &[Field<'_>],
        signer: &Arc<Signer>,
        body: &mut BodyHashes,
    ) -> Option<Part> {
        let names = names_to_sign(fields, &signer.also)?;
        let (of_header, of_body) = signer.canonical;
        let mut covered = Sha256::new();
        let mut buffer = Vec::with_capacity(1024);
        for field in canonical::select(fields, &names) {
            canonical::field(Source::of(header, &field), of_header, &mut buffer);
            buffer.extend_from_slice(b"\r\n");
            covered.update(&buffer);
            buffer.clear();
        }
        Some(Part {
            signer: Arc::clone(signer),
            names,
            covered,
            body: body.want(of_body, None)?,
        })
    }

    /// The field up to `b=`.
    fn unsigned(&self, now: UnixTime, body_hash: &str) -> Folded {
        let signer = &self.signer;
        let mut field = Folded::new("DKIM-Signature:");
        let algorithm = signer.key.algorithm().as_str();
        let (of_header, of_body) = signer.canonical;
        field.word(" v=1;");
        field.word(&format!(" a={algorithm};"));
        field.word(&format!(" c={}/{};", of_header.as_str(), of_body.as_str()));
        field.word(&format!(" d={};", signer.domain));
        field.word(&format!(" s={};", signer.selector));
        field.word(&format!(" t={now};"));
        if let Some(lifetime) = signer.lifetime_seconds {
            field.word(&format!(" x={};", now.saturating_add(lifetime)));
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
fn names_to_sign(fields: &[Field<'_>], also: &[Box<str>]) -> Option<Vec<Box<[u8]>>> {
    let mut names: Vec<Box<[u8]>> = Vec::new();
    let also = also.iter().map(|name| &**name);
    // What is over-signed can't be signed any more.
    let also = also.filter(|name| !OVERSIGNED.contains(name) && !SIGNED.contains(name));
    let all = OVERSIGNED.iter().map(|name| (*name, 1));
    let all = all.chain(SIGNED.iter().map(|name| (*name, 0)));
    for (name, more) in all.chain(also.map(|name| (name, 0))) {
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
    use super::super::private::{KeyKind, PrivateKey};
    use super::*;
    use crate::config;

    fn signer(table: config::Dkim) -> Arc<Signer> {
        let (key, _) = PrivateKey::generate(KeyKind::Ed25519).expect("a key");
        Arc::new(Signer::new(&table, key).expect("names"))
    }

    fn table() -> config::Dkim {
        config::Dkim {
            domain: "example.org".into(),
            selector: "a".into(),
            ..config::Dkim::default()
        }
    }

    #[test]
    fn fields_are_named_once_more_than_they_are() {
        let header = b"From: a\r\nTo: b\r\nto: c\r\nSender: d\r\nList-Archive: h\r\nX: e\r\nY: f\r\nY: g\r\n";
        let fields: Vec<Field<'_>> = header::fields(header).collect();
        let also = ["y", "z", "to"].map(Box::from);
        let names = names_to_sign(&fields, &also).expect("a From");
        for (name, wanted) in [
            ("from", 2),
            ("to", 3),
            ("cc", 1),
            ("sender", 1),
            ("list-archive", 1),
            ("x", 0),
            ("y", 2),
            ("z", 0),
            ("list-unsubscribe-post", 1),
            ("references", 1),
        ] {
            let count = names.iter().filter(|one| ***one == *name.as_bytes());
            assert_eq!(count.count(), wanted, "{name}");
        }
        assert!(names_to_sign(&fields[1..], &[]).is_none());
        let many = "To: a\r\n".repeat(NAMES_MAX) + "From: b\r\n";
        let fields: Vec<Field<'_>> = header::fields(many.as_bytes()).collect();
        assert!(names_to_sign(&fields, &[]).is_none());
    }

    #[test]
    fn lines_stay_short() {
        let mut body = BodyHashes::new();
        let long = config::Dkim {
            domain: format!("{}.example.org", "a".repeat(60)),
            expires_after: config::Time::secs(60),
            canonicalization: config::Canonicalization::SimpleRelaxed,
            ..table()
        };
        let signers = [signer(table()), signer(long)];
        let header = b"From: a@example.org\r\n";
        let signing = Signing::new(header, &signers, 7, &mut body).expect("signers");
        assert!(!signing.is_slow());
        assert!(signing.signers().starts_with("example.org/a,aaaa"));
        let fields = signing.finish(&body.finish()).expect("signatures");
        let text = String::from_utf8(fields).expect("ASCII");
        let start = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;";
        assert!(text.ends_with("\r\n") && text.starts_with(start));
        assert!(text.split("\r\n").all(|line| line.len() <= 78), "{text}");
        assert!(text.contains("c=simple/relaxed;") && text.contains("t=7; x=67;"));
        assert!(!text.contains(" l=") && !text.contains("\tl="), "{text}");
        assert!(Signing::new(header, &[], 7, &mut BodyHashes::new()).is_none());
    }
}
