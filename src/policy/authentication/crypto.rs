//! Hashes, keys and signatures, by the library that TLS runs on.

use aws_lc_rs::digest::{Context, Digest, SHA256};
use aws_lc_rs::signature::{
    ED25519, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, UnparsedPublicKey,
};

/// Bits that an RSA key must have (RFC 8301 §3.2).
pub const RSA_BITS_MIN: u32 = 1024;
/// Bits that it may have (RFC 8301 §3.2: verifiers must take up to 4096); the time of a verification grows with their square.
pub const RSA_BITS_MAX: u32 = 4096;
/// Its public exponent, at most: the time grows with the bits of that too, and the RFCs name no limit. Keys have 65,537, a few have
/// 3 or 17; a larger one makes nothing safer. The library takes 33 bits, at 2.4 times the cost.
pub const RSA_EXPONENT_MAX: u32 = 65_537;

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
    /// RSA: the public exponent, `u32::MAX` for larger ones. Ed25519: none, and 0.
    exponent: u32,
}

impl PublicKey {
    /// `None`: the octets are no key for this algorithm.
    pub fn new(algorithm: Algorithm, octets: &[u8]) -> Option<PublicKey> {
        let (bits, exponent) = match algorithm {
            Algorithm::RsaSha256 => rsa_numbers(octets)?,
            Algorithm::Ed25519Sha256 if octets.len() == 32 => (256, 0),
            Algorithm::Ed25519Sha256 => return None,
        };
        Some(PublicKey {
            algorithm,
            octets: octets.into(),
            bits,
            exponent,
        })
    }

    /// Whether a signature by this key is cheap to verify, and can't be made without its private half as with an exponent of 1.
    pub fn has_usable_exponent(&self) -> bool {
        match self.algorithm {
            Algorithm::RsaSha256 => {
                (3..=RSA_EXPONENT_MAX).contains(&self.exponent) && self.exponent % 2 == 1
            }
            Algorithm::Ed25519Sha256 => true,
        }
    }

    /// What a verification takes, microseconds: as measured with an exponent of 65,537 (RSA of 1,024 bits 6, 2,048 bits 17, 4,096
    /// bits 61, Ed25519 36). An exponent of 65,535, whose bits are all set, takes 1.8 times as long.
    fn micros(&self) -> u32 {
        match self.algorithm {
            // To read a key and wake up for it takes time too.
            Algorithm::RsaSha256 => ((self.bits / 64).pow(2) / 64).max(16),
            Algorithm::Ed25519Sha256 => 36,
        }
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
    /// How long it takes, microseconds.
    pub(super) fn micros(&self) -> u32 {
        self.key.micros()
    }

    /// One that does not hold, by a key of this size.
    #[cfg(test)]
    pub(super) fn broken(place: usize, bits: u32) -> Job {
        let key = PublicKey {
            algorithm: Algorithm::RsaSha256,
            octets: Box::default(),
            bits,
            exponent: RSA_EXPONENT_MAX,
        };
        Job {
            place,
            hash: [0; 32],
            signature: Box::default(),
            key,
        }
    }

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

/// The bits of the modulus, and the exponent (`u32::MAX` for larger ones), in DER of a SubjectPublicKeyInfo (RFC 5280 §4.1) or
/// of an RSAPublicKey (RFC 8017 §A.1.1): RFC 6376 §3.6.1 names the second, and the first is in use. The library reads both.
fn rsa_numbers(der: &[u8]) -> Option<(u32, u32)> {
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
    let (exponent, _) = element(rest, INTEGER)?;
    let exponent = match exponent.iter().position(|octet| *octet != 0) {
        Some(at) if exponent.len() - at > 4 => u32::MAX,
        Some(at) => exponent[at..]
            .iter()
            .fold(0, |value, octet| value << 8 | u32::from(*octet)),
        None => 0,
    };
    let start = modulus.iter().position(|octet| *octet != 0)?;
    let modulus = &modulus[start..];
    let bits = u32::try_from(modulus.len()).ok()?.checked_mul(8)?;
    Some((bits - modulus[0].leading_zeros(), exponent))
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
