//! Private keys: read from PEM, made anew, and their records for the DNS.

use super::Reason;
use crate::dns::Answer;
use crate::policy::authentication::crypto::Algorithm;
use crate::policy::authentication::{key, tags};
use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};

/// Octets of a file with a key: one for RSA with 8,192 bits has 6,400.
pub const PEM_MAX: usize = 16 * 1024;

/// Octets of one character string in a TXT record (RFC 1035 §3.3).
const STRING_MAX: usize = 255;

/// A key that signs. It does not show itself in `Debug`.
pub struct PrivateKey(Secret);

enum Secret {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Which key to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// What every verifier knows.
    Rsa2048,
    /// Short and fast; not every verifier knows it, so it is used beside RSA.
    Ed25519,
}

/// What is wrong with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// No block of `PRIVATE KEY` or `RSA PRIVATE KEY`, or it is no base64.
    NotPem,
    /// The key is locked with a passphrase.
    Encrypted,
    /// The block holds no RSA or Ed25519 key that the library takes: RSA needs 2,048 bits or more.
    NotAKey,
    /// RSA with more than 4,096 bits: verifiers may refuse it.
    TooLong,
    /// No key could be made.
    NoEntropy,
}

impl std::fmt::Display for KeyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            KeyError::NotPem => "no PEM block \"PRIVATE KEY\" or \"RSA PRIVATE KEY\"",
            KeyError::Encrypted => "the key is encrypted: write it without a passphrase",
            KeyError::NotAKey => "no Ed25519 key and no RSA key of 2048 to 4096 bits",
            KeyError::TooLong => "an RSA key of more than 4096 bits is refused by verifiers",
            KeyError::NoEntropy => "no key could be made",
        })
    }
}

impl std::error::Error for KeyError {}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateKey({})", self.algorithm().as_str())
    }
}

impl PrivateKey {
    /// Reads the first key in a PEM text: PKCS #8 (RFC 5958), or PKCS #1 for RSA (RFC 8017 §A.1.2).
    pub fn from_pem(text: &str) -> Result<PrivateKey, KeyError> {
        if text.len() > PEM_MAX {
            return Err(KeyError::NotPem);
        }
        if let Some(der) = pem_block(text, "PRIVATE KEY") {
            return PrivateKey::from_pkcs8(&der);
        }
        if let Some(der) = pem_block(text, "RSA PRIVATE KEY") {
            let key = RsaKeyPair::from_der(&der).map_err(|_| KeyError::NotAKey)?;
            return PrivateKey::rsa(key);
        }
        let encrypted = text.contains("ENCRYPTED");
        Err(if encrypted {
            KeyError::Encrypted
        } else {
            KeyError::NotPem
        })
    }

    fn from_pkcs8(der: &[u8]) -> Result<PrivateKey, KeyError> {
        if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            return Ok(PrivateKey(Secret::Ed25519(key)));
        }
        PrivateKey::rsa(RsaKeyPair::from_pkcs8(der).map_err(|_| KeyError::NotAKey)?)
    }

    fn rsa(key: RsaKeyPair) -> Result<PrivateKey, KeyError> {
        // The modulus in octets.
        if key.public_modulus_len() > 512 {
            return Err(KeyError::TooLong);
        }
        Ok(PrivateKey(Secret::Rsa(key)))
    }

    /// Makes a key, and its PEM text. RSA takes up to some seconds.
    pub fn generate(kind: KeyKind) -> Result<(PrivateKey, String), KeyError> {
        let no_key = |_| KeyError::NoEntropy;
        let size = match kind {
            KeyKind::Rsa2048 => KeySize::Rsa2048,
            KeyKind::Ed25519 => {
                let key = Ed25519KeyPair::generate().map_err(no_key)?;
                let document = key.to_pkcs8v1().map_err(no_key)?;
                let pem = to_pem(document.as_ref());
                return Ok((PrivateKey(Secret::Ed25519(key)), pem));
            }
        };
        let key = RsaKeyPair::generate(size).map_err(no_key)?;
        let der: Pkcs8V1Der<'_> = key.as_der().map_err(no_key)?;
        let pem = to_pem(der.as_ref());
        Ok((PrivateKey(Secret::Rsa(key)), pem))
    }

    /// How it signs.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Secret::Rsa(_) => Algorithm::RsaSha256,
            Secret::Ed25519(_) => Algorithm::Ed25519Sha256,
        }
    }

    /// Signs a hash. `None`: the library failed.
    pub(super) fn sign(&self, hash: &[u8; 32]) -> Option<Vec<u8>> {
        match &self.0 {
            Secret::Rsa(key) => {
                let digest = Digest::import_less_safe(hash, &SHA256).ok()?;
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign_digest(&RSA_PKCS1_SHA256, &digest, &mut signature)
                    .ok()?;
                Some(signature)
            }
            Secret::Ed25519(key) => Some(key.try_sign(hash).ok()?.as_ref().to_vec()),
        }
    }

    /// `p=` of its record.
    fn public(&self) -> Option<String> {
        match &self.0 {
            Secret::Rsa(key) => {
                let der: PublicKeyX509Der<'_> = key.public_key().as_der().ok()?;
                Some(tags::to_base64(der.as_ref()))
            }
            Secret::Ed25519(key) => Some(tags::to_base64(key.public_key().as_ref())),
        }
    }
}

/// The text of a key's record. `None`: the library can't give the public half.
#[must_use]
pub fn record(key: &PrivateKey) -> Option<String> {
    let kind = match key.algorithm() {
        Algorithm::RsaSha256 => "rsa",
        Algorithm::Ed25519Sha256 => "ed25519",
    };
    Some(format!("v=DKIM1; k={kind}; p={}", key.public()?))
}

/// Whether an answer from the DNS holds the public half of this key, so that what it signs can be verified.
pub fn is_published(key: &PrivateKey, answer: &Answer) -> Result<(), Reason> {
    let found = key::find(answer, key.algorithm())?.public;
    let own = key.public().unwrap_or_default();
    // Compared as it is published: both are the DER of a SubjectPublicKeyInfo, or 32 octets.
    match tags::to_base64(&found.octets) == own {
        true => Ok(()),
        false => Err(Reason::SignatureDiffers),
    }
}

/// The record as a line of a zone file (RFC 1035 §5.1), its text in strings of at most 255 octets.
#[must_use]
pub fn zone_line(domain: &str, selector: &str, record: &str) -> String {
    let mut line = format!("{selector}._domainkey.{domain}. IN TXT (");
    let mut rest = record;
    while !rest.is_empty() {
        let (string, after) = rest.split_at(rest.floor_char_boundary(STRING_MAX));
        line.push_str("\n    \"");
        line.push_str(string);
        line.push('"');
        rest = after;
    }
    line.push_str(" )\n");
    line
}

/// The octets between the two lines of a PEM block with this label (RFC 7468).
fn pem_block(text: &str, label: &str) -> Option<Vec<u8>> {
    let begin = format!("-----BEGIN {label}-----");
    let end = format!("-----END {label}-----");
    let start = text.find(&begin)? + begin.len();
    let length = text[start..].find(&end)?;
    tags::base64(&text.as_bytes()[start..start + length], PEM_MAX)
}

fn to_pem(der: &[u8]) -> String {
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    let encoded = tags::to_base64(der);
    for line in encoded.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|octet| char::from(*octet)));
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_made_can_be_read_and_published() {
        for kind in [KeyKind::Rsa2048, KeyKind::Ed25519] {
            let (key, pem) = PrivateKey::generate(kind).expect("a key");
            let read = PrivateKey::from_pem(&format!("a comment\n{pem}")).expect("the same key");
            assert_eq!(record(&read), record(&key));
            assert_eq!(read.sign(&[1; 32]), key.sign(&[1; 32]));
            assert!(!format!("{key:?}").contains("MI"));
        }
    }

    #[test]
    fn a_record_is_compared_with_its_key() {
        let (key, _) = PrivateKey::generate(KeyKind::Ed25519).expect("a key");
        let (other, _) = PrivateKey::generate(KeyKind::Ed25519).expect("a key");
        let answer = |key| {
            let text = record(key).expect("a record");
            Answer::Found([crate::dns::Record::Txt(text.as_bytes().into())].into())
        };
        assert_eq!(is_published(&key, &answer(&key)), Ok(()));
        assert_eq!(
            is_published(&key, &answer(&other)),
            Err(Reason::SignatureDiffers)
        );
        assert_eq!(is_published(&key, &Answer::NoName), Err(Reason::NoKey));
    }

    #[test]
    fn a_long_record_is_split() {
        let (key, _) = PrivateKey::generate(KeyKind::Rsa2048).expect("a key");
        let record = record(&key).expect("a record");
        assert!(record.len() > STRING_MAX);
        let line = zone_line("example.org", "s1", &record);
        assert!(line.starts_with("s1._domainkey.example.org. IN TXT (\n"));
        let strings: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
        assert!(strings.len() == 2 && strings.iter().all(|string| string.len() <= STRING_MAX));
        assert_eq!(strings.concat(), record);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let refused = |text: &str| PrivateKey::from_pem(text).err();
        assert_eq!(refused(""), Some(KeyError::NotPem));
        assert_eq!(
            refused("-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----"),
            Some(KeyError::NotPem)
        );
        assert_eq!(
            refused("-----BEGIN PRIVATE KEY-----\nMAAA\n-----END PRIVATE KEY-----"),
            Some(KeyError::NotAKey)
        );
        assert_eq!(
            refused("-----BEGIN ENCRYPTED PRIVATE KEY-----"),
            Some(KeyError::Encrypted)
        );
    }
}
