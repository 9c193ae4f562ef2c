//! Private keys: read from text, made anew, and what they sign.

use crate::policy::authentication::crypto::Algorithm;
use crate::policy::authentication::tags;
use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};

/// Octets of a text with a key: one for RSA with 4,096 bits has 3,300.
pub const TEXT_MAX: usize = 16 * 1024;

/// Octets of the largest RSA modulus. Verifiers need to take no larger key (RFC 8301 §3.2).
const MODULUS_MAX: usize = 512;

/// A key that signs. It does not show itself in `Debug`.
pub struct PrivateKey(Secret);

enum Secret {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Which key to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA with 2,048 bits: what every verifier knows.
    Rsa2048,
    /// RSA with 3,072 bits.
    Rsa3072,
    /// RSA with 4,096 bits.
    Rsa4096,
    /// Short and fast; not every verifier knows it, so it is used beside RSA.
    Ed25519,
}

/// What is wrong with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// Neither PEM nor an Ed25519 seed in base64.
    NotPem,
    /// The key is locked with a passphrase.
    Encrypted,
    /// It is a public key.
    Public,
    /// The block holds no RSA or Ed25519 key that the library takes: RSA needs 2,048 bits or more.
    NotAKey,
    /// RSA with more than 4,096 bits: verifiers may refuse it.
    TooLong,
    /// The text is longer than any key.
    TooMuchText,
    /// No key could be made.
    NoEntropy,
}

impl KeyError {
    /// What to do about it.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            KeyError::Encrypted => "take it off: openssl pkey -in FILE -out NEW",
            KeyError::Public => "name the private key; the public one belongs into the DNS",
            _ => "make a key: gatepost dkim new --domain DOMAIN --selector SELECTOR -o FILE",
        }
    }
}

impl std::fmt::Display for KeyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            KeyError::NotPem => {
                "no PEM block \"PRIVATE KEY\" or \"RSA PRIVATE KEY\", and no Ed25519 seed in base64"
            }
            KeyError::Encrypted => "the key has a passphrase",
            KeyError::Public => "it is a public key",
            KeyError::NotAKey => "no Ed25519 key and no RSA key of 2048 to 4096 bits",
            KeyError::TooLong => "an RSA key of more than 4096 bits is refused by verifiers",
            KeyError::TooMuchText => "it is longer than any key: 16 KiB at most",
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
    /// Reads the first key in a text: PEM of PKCS #8 (RFC 5958), or of PKCS #1 for RSA (RFC 8017 §A.1.2), as OpenSSL,
    /// opendkim and rspamd write them; or the seed of an Ed25519 key in base64, as dkimpy and rspamd write it.
    ///
    /// # Errors
    /// It is no key that verifiers take.
    pub fn from_text(text: &str) -> Result<PrivateKey, KeyError> {
        if text.len() > TEXT_MAX {
            return Err(KeyError::TooMuchText);
        }
        // In the form of PKCS #8, or in that of old OpenSSL (RFC 1421 §4.6).
        if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(KeyError::Encrypted);
        }
        if let Some(der) = pem_block(text, "PRIVATE KEY") {
            return PrivateKey::from_pkcs8(&der);
        }
        if let Some(der) = pem_block(text, "RSA PRIVATE KEY") {
            let key = RsaKeyPair::from_der(&der).map_err(|_| KeyError::NotAKey)?;
            return PrivateKey::rsa(key);
        }
        if text.contains("PUBLIC KEY-----") {
            return Err(KeyError::Public);
        }
        // The seed alone, or with the public half after it.
        match tags::base64(text.as_bytes(), 64).as_deref() {
            Some(octets) if matches!(octets.len(), 32 | 64) => {
                let key = Ed25519KeyPair::from_seed_unchecked(&octets[..32]);
                let key = key.map_err(|_| KeyError::NotAKey)?;
                Ok(PrivateKey(Secret::Ed25519(key)))
            }
            _ => Err(KeyError::NotPem),
        }
    }

    fn from_pkcs8(der: &[u8]) -> Result<PrivateKey, KeyError> {
        if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            return Ok(PrivateKey(Secret::Ed25519(key)));
        }
        PrivateKey::rsa(RsaKeyPair::from_pkcs8(der).map_err(|_| KeyError::NotAKey)?)
    }

    fn rsa(key: RsaKeyPair) -> Result<PrivateKey, KeyError> {
        if key.public_modulus_len() > MODULUS_MAX {
            return Err(KeyError::TooLong);
        }
        Ok(PrivateKey(Secret::Rsa(key)))
    }

    /// Makes a key, and its PEM text. RSA takes up to some seconds.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn generate(kind: KeyKind) -> Result<(PrivateKey, String), KeyError> {
        let no_key = |_| KeyError::NoEntropy;
        let size = match kind {
            KeyKind::Rsa2048 => KeySize::Rsa2048,
            KeyKind::Rsa3072 => KeySize::Rsa3072,
            KeyKind::Rsa4096 => KeySize::Rsa4096,
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

    /// Whether to sign takes so long that a worker should not do it: RSA takes 0.5 to 5 ms, Ed25519 some 20 µs.
    #[must_use]
    pub(super) fn is_slow(&self) -> bool {
        matches!(self.0, Secret::Rsa(_))
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

    /// The public half as `p=` has it: DER of a SubjectPublicKeyInfo, or 32 octets (RFC 8463 §4). `None`: the library
    /// can't give it.
    pub(super) fn public(&self) -> Option<Vec<u8>> {
        match &self.0 {
            Secret::Rsa(key) => {
                let der: PublicKeyX509Der<'_> = key.public_key().as_der().ok()?;
                Some(der.as_ref().to_vec())
            }
            Secret::Ed25519(key) => Some(key.public_key().as_ref().to_vec()),
        }
    }
}

/// The octets between the two lines of a PEM block with this label (RFC 7468).
fn pem_block(text: &str, label: &str) -> Option<Vec<u8>> {
    let begin = format!("-----BEGIN {label}-----");
    let end = format!("-----END {label}-----");
    let start = text.find(&begin)? + begin.len();
    let length = text[start..].find(&end)?;
    tags::base64(&text.as_bytes()[start..start + length], TEXT_MAX)
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

    /// From RFC 8463 §A.1: the seed, and the public half.
    const SEED: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
    const PUBLIC: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    #[test]
    fn a_key_that_is_made_can_be_read() {
        for kind in [KeyKind::Rsa2048, KeyKind::Ed25519] {
            let (key, pem) = PrivateKey::generate(kind).expect("a key");
            let read = PrivateKey::from_text(&format!("a comment\n{pem}")).expect("the same key");
            assert_eq!(read.public(), key.public());
            assert_eq!(read.sign(&[1; 32]), key.sign(&[1; 32]));
            assert!(!format!("{key:?}").contains("MI"));
        }
    }

    #[test]
    fn a_seed_is_a_key() {
        let public = |text: &str| {
            let key = PrivateKey::from_text(text).expect("a seed");
            tags::to_base64(&key.public().expect("its other half"))
        };
        assert_eq!(public(&format!("{SEED}\n")), PUBLIC);
        let seed = tags::base64(SEED.as_bytes(), 32).expect("base64");
        let both = [seed, tags::base64(PUBLIC.as_bytes(), 32).expect("base64")];
        assert_eq!(public(&tags::to_base64(&both.concat())), PUBLIC);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let refused = |text: &str| PrivateKey::from_text(text).err();
        let block = |label: &str, text: &str| {
            format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
        };
        for (text, wanted) in [
            (String::new(), KeyError::NotPem),
            ("p=AAAA".into(), KeyError::NotPem),
            (tags::to_base64(&[7; 31]), KeyError::NotPem),
            (block("PRIVATE KEY", "!"), KeyError::NotPem),
            (block("PRIVATE KEY", "MAAA"), KeyError::NotAKey),
            (block("RSA PRIVATE KEY", "MAAA"), KeyError::NotAKey),
            (block("ENCRYPTED PRIVATE KEY", "MAAA"), KeyError::Encrypted),
            (
                block("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\n\nMAAA"),
                KeyError::Encrypted,
            ),
            (block("PUBLIC KEY", "MAAA"), KeyError::Public),
            ("A".repeat(TEXT_MAX + 1), KeyError::TooMuchText),
        ] {
            assert_eq!(refused(&text), Some(wanted), "{text:.80}");
        }
    }
}
