//! Keys of clients' certificates that no signature can be checked by: RSA below 2,048 bits, curves and kinds that the cryptography here
//! doesn't have, curves that are described instead of named.
//!
//! What such a client signed the handshake with proves nothing, so its certificate may be anybody's. Where certificates are optional the
//! client is let in as one that shows none.

use super::provider;
use rustls::{CertificateError, OtherError, pki_types::CertificateDer, server::ParsedCertificate};
use std::{fmt, sync::Arc};
use x509_parser::{
    asn1_rs::{Any, BitString},
    prelude::FromDer,
    public_key::RSAPublicKey,
    x509::SubjectPublicKeyInfo,
};

/// Bits of RSA keys that signatures are checked by: those of [`aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256`] and its like.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Bits of the public exponent of an RSA key at most: more makes a check dear, and the library refuses it.
const EXPONENT_BITS_MAX: usize = 33;

/// A certificate is refused for its key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Uncheckable;

impl fmt::Display for Uncheckable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the key of the certificate is of a kind or size that signatures can't be checked by",
        )
    }
}

/// rustls writes it so into what it says of a handshake that failed.
impl fmt::Debug for Uncheckable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Uncheckable {}

impl From<Uncheckable> for rustls::Error {
    fn from(why: Uncheckable) -> rustls::Error {
        CertificateError::Other(OtherError(Arc::new(why))).into()
    }
}

/// Whether an error is this one.
pub(super) fn is_uncheckable(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Other(OtherError(why)) if why.is::<Uncheckable>())
}

/// Whether signatures can be checked by the key of a certificate, which rustls can read. It may say no of a key that the library would
/// take, never the other way round: a signature is forgiven only where this says no, and a certificate believed only where it says yes.
pub(super) fn is_checkable(certificate: &CertificateDer<'_>) -> bool {
    let Ok(read) = ParsedCertificate::try_from(certificate) else {
        return false;
    };
    let key = read.subject_public_key_info();
    let Some((algorithm, public)) = parts(&key) else {
        return false;
    };
    let mapping = provider().signature_verification_algorithms.mapping;
    let mut known = mapping.iter().flat_map(|(_, algorithms)| *algorithms);
    known.any(|one| one.public_key_alg_id().as_ref() == algorithm) && is_in_range(&key, &public)
}

/// What an algorithm's identifier holds, as it is compared (RFC 5280 §4.1.1.2), and the key.
fn parts(key: &[u8]) -> Option<(&[u8], BitString<'_>)> {
    let (_, whole) = Any::from_der(key).ok()?;
    let (rest, algorithm) = Any::from_der(whole.data).ok()?;
    let (_, public) = BitString::from_der(rest).ok()?;
    Some((algorithm.data, public))
}

/// Whether the key itself is one that the algorithm takes.
fn is_in_range(key: &[u8], public: &BitString<'_>) -> bool {
    let Ok((_, read)) = SubjectPublicKeyInfo::from_der(key) else {
        return false;
    };
    const RSA: &str = "1.2.840.113549.1.1.1";
    const ELLIPTIC: &str = "1.2.840.10045.2.1";
    match read.algorithm.algorithm.to_id_string().as_str() {
        RSA => RSAPublicKey::from_der(public.as_ref()).is_ok_and(|(_, key)| {
            let odd = |number: &[u8]| number.last().is_some_and(|octet| octet & 1 == 1);
            let exponent = bits(key.exponent);
            RSA_BITS.contains(&bits(key.modulus))
                && odd(key.modulus)
                && (2..=EXPONENT_BITS_MAX).contains(&exponent)
                && odd(key.exponent)
        }),
        // A point, whole or with its second coordinate left out (RFC 5480 §2.2).
        ELLIPTIC => matches!(public.as_ref().first(), Some(2..=4)),
        _ => true,
    }
}

/// How many bits a number has.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|octet| **octet == 0).count();
    match &number[zeros..] {
        [] => 0,
        [first, rest @ ..] => rest.len() * 8 + first.ilog2() as usize + 1,
    }
}
