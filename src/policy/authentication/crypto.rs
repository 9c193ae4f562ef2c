//! Hashes, keys and signatures, by the library that TLS runs on.

use aws_lc_rs::digest::{Context, Digest, SHA256};
use aws_lc_rs::signature::{
    ED25519, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, UnparsedPublicKey,
};

/// Bits that an RSA key must have (RFC 8301 §3.2).
pub const RSA_BITS_MIN: u32 = 1024;
/// Bits that it may have (RFC 8301 §3.2: verifiers must take up to 4096); the time of a verification grows with their square.
pub const RSA_BITS_MAX: u32 = 4096;

/// A hash in the making.
#[derive(Clone)]
pub struct Sha256(Context);

impl std::fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sha256")
    }
}

impl Sha256 {
    pub fn new() -> Sha256 {
        Sha256(Context::new(&SHA256))
    }

    pub fn update(&mut self, octets: &[u8]) {
        self.0.update(octets);
    }

    pub fn finish(self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        out
    }
}

/// How a signature is made (`a=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSA with PKCS #1 version 1.5 (RFC 6376 §3.3.2).
    RsaSha256,
    /// Ed25519 over the hash (RFC 8463).
    Ed25519Sha256,
}

impl Algorithm {
    /// The word for it in `a=`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Algorithm::RsaSha256 => "rsa-sha256",
            Algorithm::Ed25519Sha256 => "ed25519-sha256",
        }
    }
}

/// A public key from the DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    pub algorithm: Algorithm,
    /// RSA: DER of a SubjectPublicKeyInfo or an RSAPublicKey. Ed25519: the 32 octets.
    pub octets: Box<[u8]>,
    pub bits: u32,
}

impl PublicKey {
    /// `None`: the octets are no key for this algorithm.
    pub fn new(algorithm: Algorithm, octets: &[u8]) -> Option<PublicKey> {
        let bits = match algorithm {
            Algorithm::RsaSha256 => rsa_bits(octets)?,
            Algorithm::Ed25519Sha256 if octets.len() == 32 => 256,
            Algorithm::Ed25519Sha256 => return None,
        };
        Some(PublicKey {
            algorithm,
            octets: octets.into(),
            bits,
        })
    }
}

/// One signature to verify: the hash of what it covers, its octets, its key. Knows nothing of the message.
#[derive(Clone, Debug)]
pub struct Job {
    pub(super) place: usize,
    pub(super) hash: [u8; 32],
    pub(super) signature: Box<[u8]>,
    pub(super) key: PublicKey,
}

/// Whether a job's signature holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    pub(super) place: usize,
    pub(super) holds: bool,
}

impl Job {
    /// The mathematics: some ten to a hundred microseconds.
    #[must_use]
    pub fn run(&self) -> Verified {
        Verified {
            place: self.place,
            holds: self.holds(),
        }
    }

    fn holds(&self) -> bool {
        match self.key.algorithm {
            Algorithm::RsaSha256 => {
                let scheme = &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY;
                let Ok(digest) = Digest::import_less_safe(&self.hash, &SHA256) else {
                    return false;
                };
                let key = UnparsedPublicKey::new(scheme, &self.key.octets);
                key.verify_digest(&digest, &self.signature).is_ok()
            }
            Algorithm::Ed25519Sha256 => {
                let key = UnparsedPublicKey::new(&ED25519, &self.key.octets);
                key.verify(&self.hash, &self.signature).is_ok()
            }
        }
    }
}

/// The bits of the modulus in DER of a SubjectPublicKeyInfo (RFC 5280 §4.1) or of an RSAPublicKey (RFC 8017 §A.1.1):
/// RFC 6376 §3.6.1 names the second, and the first is in use. The library reads both.
fn rsa_bits(der: &[u8]) -> Option<u32> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    const BIT_STRING: u8 = 0x03;
    let (inner, after) = element(der, SEQUENCE)?;
    if !after.is_empty() {
        return None;
    }
    let inner = match element(inner, SEQUENCE) {
        Some((_, rest)) => {
            let (bits, _) = element(rest, BIT_STRING)?;
            element(bits.strip_prefix(&[0])?, SEQUENCE)?.0
        }
        None => inner,
    };
    let (modulus, rest) = element(inner, INTEGER)?;
    element(rest, INTEGER)?;
    let start = modulus.iter().position(|octet| *octet != 0)?;
    let modulus = &modulus[start..];
    let bits = u32::try_from(modulus.len()).ok()?.checked_mul(8)?;
    Some(bits - modulus[0].leading_zeros())
}

/// The content of a DER element with this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first()?;
    let (&short, rest) = rest.split_first()?;
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => {
            let (high, low) = (*rest.first()?, *rest.get(1)?);
            (usize::from(high) << 8 | usize::from(low), &rest[2..])
        }
        _ => return None,
    };
    (first == tag)
        .then(|| rest.split_at_checked(length))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_octets_are_a_key_that_upsets(der in proptest::collection::vec(
            proptest::sample::select(&[0x30u8, 0x02, 0x03, 0, 1, 4, 9, 0x81, 0x82, 0xff][..]), 0..40), signature: Vec<u8>) {
            for algorithm in [Algorithm::RsaSha256, Algorithm::Ed25519Sha256] {
                if let Some(key) = PublicKey::new(algorithm, &der) {
                    let job = Job { place: 0, hash: [0; 32], signature: signature.clone().into(), key };
                    prop_assert!(!job.run().holds);
                }
            }
        }
    }
}
