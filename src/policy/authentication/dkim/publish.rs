//! The record that a key has in the DNS (RFC 6376 §3.6.1, RFC 8463 §4): written, and compared with what is there.

use super::private::PrivateKey;
use super::reason::Reason;
use crate::dns::{Answer, Question};
use crate::policy::authentication::crypto::Algorithm;
use crate::policy::authentication::{key, names, tags};

/// Octets of one character string in a TXT record (RFC 1035 §3.3).
const STRING_MAX: usize = 255;

/// The name of a key's record: `selector._domainkey.domain`, in normal form. `None`: the two are no names, or too long
/// together.
#[must_use]
pub fn question(domain: &str, selector: &str) -> Option<Question> {
    let domain = names::normal(domain.as_bytes())?;
    let selector = names::normal(selector.as_bytes())?;
    names::text_at(&format!("{selector}._domainkey.{domain}"))
}

/// The text of a key's record. `None`: the library can't give the public half.
#[must_use]
pub fn record(key: &PrivateKey) -> Option<String> {
    let kind = match key.algorithm() {
        Algorithm::RsaSha256 => "rsa",
        Algorithm::Ed25519Sha256 => "ed25519",
    };
    let public = tags::to_base64(&key.public()?);
    Some(format!("v=DKIM1; k={kind}; p={public}"))
}

/// A record in the strings that a zone file wants: of at most 255 octets each.
#[must_use]
pub fn strings(record: &str) -> Vec<&str> {
    let mut strings = Vec::new();
    let mut rest = record;
    while !rest.is_empty() {
        let (string, after) = rest.split_at(rest.floor_char_boundary(STRING_MAX));
        strings.push(string);
        rest = after;
    }
    strings
}

/// The record as an entry of a zone file (RFC 1035 §5.1). `name` is that of [`question`].
#[must_use]
pub fn zone_entry(name: &str, record: &str) -> String {
    let strings = strings(record).into_iter();
    let strings: String = strings
        .map(|string| format!("\n    \"{string}\""))
        .collect();
    format!("{name}. IN TXT ({strings} )\n")
}

/// What an answer from the DNS says of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// Its public half is there.
    Fits {
        /// `t=y`: verifiers are told that the domain only tests DKIM.
        testing: bool,
    },
    /// Another key is.
    Other,
    /// No key that could be used is there, or it could not be asked for.
    Unusable(Reason),
}

/// Compares a key with an answer from the DNS.
#[must_use]
pub fn compare(private: &PrivateKey, answer: &Answer) -> Published {
    let found = match key::find(answer, private.algorithm()) {
        Ok(found) => found,
        Err(reason) => return Published::Unusable(reason),
    };
    let own = private.public();
    // RFC 6376 §3.6.1 names the bare RSAPublicKey, which is the end of what most publish (RFC 5280 §4.1).
    let is_same = own.is_some_and(|own| match private.algorithm() {
        Algorithm::RsaSha256 => own.ends_with(&found.public.octets),
        Algorithm::Ed25519Sha256 => *own == *found.public.octets,
    });
    match is_same {
        true => Published::Fits {
            testing: found.testing,
        },
        false => Published::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::private::KeyKind;
    use super::*;
    use crate::dns::Record;

    fn answer(text: &str) -> Answer {
        Answer::Found([Record::Txt(text.as_bytes().into())].into())
    }

    #[test]
    fn a_record_is_compared_with_its_key() {
        for kind in [KeyKind::Ed25519, KeyKind::Rsa2048] {
            let make = || PrivateKey::generate(kind).expect("a key").0;
            let (key, other) = (make(), make());
            let text = |key| record(key).expect("a record");
            let fits = |testing| Published::Fits { testing };
            assert_eq!(compare(&key, &answer(&text(&key))), fits(false));
            assert_eq!(compare(&key, &answer(&(text(&key) + "; t=y"))), fits(true));
            assert_eq!(compare(&key, &answer(&text(&other))), Published::Other);
            let none = Published::Unusable(Reason::NoKey);
            assert_eq!(compare(&key, &Answer::NoName), none);
        }
        let (rsa, _) = PrivateKey::generate(KeyKind::Rsa2048).expect("a key");
        let der = rsa.public().expect("a public half");
        // SEQUENCE, the algorithm, BIT STRING with no bit unused.
        let bare = format!("p={}", tags::to_base64(&der[24..]));
        assert_eq!(
            compare(&rsa, &answer(&bare)),
            Published::Fits { testing: false }
        );
        let (ed25519, _) = PrivateKey::generate(KeyKind::Ed25519).expect("a key");
        assert_eq!(
            compare(&ed25519, &answer(&bare)),
            Published::Unusable(Reason::KeyAlgorithm)
        );
    }

    #[test]
    fn a_long_record_is_split() {
        let (key, _) = PrivateKey::generate(KeyKind::Rsa2048).expect("a key");
        let record = record(&key).expect("a record");
        assert!(record.len() > STRING_MAX);
        let name = &question("Example.org", "S1").expect("names").name;
        let entry = zone_entry(name, &record);
        assert!(entry.starts_with("s1._domainkey.example.org. IN TXT (\n"));
        let strings: Vec<&str> = entry.split('"').skip(1).step_by(2).collect();
        assert!(strings.len() == 2 && strings.iter().all(|string| string.len() <= STRING_MAX));
        assert_eq!(strings.concat(), record);
    }
}
