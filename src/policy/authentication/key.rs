//! Key records: `selector._domainkey.domain` (RFC 6376 §3.6.1, RFC 8463 §4).

use super::crypto::{Algorithm, PublicKey, RSA_BITS_MAX, RSA_BITS_MIN};
use super::dkim::Reason;
use super::tags::{self, Tags};
use crate::dns::{Answer, Record, Unknown};

/// Octets of a key record that are read. One for RSA with 4,096 bits has less than 800.
pub const RECORD_MAX: usize = 4096;
/// Records at one name of which the first usable one is taken (RFC 6376 §6.1.2 step 4 leaves it to us).
pub const RECORDS_MAX: usize = 4;

/// What a key record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The key itself.
    pub public: PublicKey,
    /// `t=y`: the domain is testing DKIM.
    pub testing: bool,
    /// `t=s`: the domain of `i=` must be that of `d=`.
    pub strict: bool,
}

/// The key for a signature by `algorithm` in an answer.
pub fn find(answer: &Answer, algorithm: Algorithm) -> Result<Key, Reason> {
    let records = match answer {
        Answer::Found(records) => records,
        Answer::NoRecords | Answer::NoName => return Err(Reason::NoKey),
        // It came, and no key is so large.
        Answer::Unknown(Unknown::TooLarge) => return Err(Reason::KeySyntax),
        Answer::Unknown(_) => return Err(Reason::KeyUnavailable),
    };
    let mut fault = Reason::NoKey;
    let texts = records.iter().filter_map(|record| match record {
        Record::Txt(text) => Some(text),
        _ => None,
    });
    for (place, text) in texts.take(RECORDS_MAX).enumerate() {
        match read(text, algorithm) {
            Ok(key) => return Ok(key),
            Err(found) if place == 0 => fault = found,
            Err(_) => {}
        }
    }
    Err(fault)
}

/// Reads one record.
fn read(text: &[u8], algorithm: Algorithm) -> Result<Key, Reason> {
    if text.len() > RECORD_MAX {
        return Err(Reason::KeySyntax);
    }
    let tags = Tags::read(text).ok_or(Reason::KeySyntax)?;
    // `v=` is optional; where it is, it comes first. `g=` and `n=` mean nothing (RFC 6376 §3.6.1, §C).
    match tags.get("v") {
        None => {}
        Some(b"DKIM1") if tags.first() == Some(b"v") => {}
        Some(_) => return Err(Reason::KeyVersion),
    }
    let kind = tags.get("k").unwrap_or(b"rsa");
    let fits = match algorithm {
        Algorithm::RsaSha256 => kind == b"rsa",
        Algorithm::Ed25519Sha256 => kind == b"ed25519",
    };
    if !fits {
        return Err(Reason::KeyAlgorithm);
    }
    if tags
        .get("h")
        .is_some_and(|list| !tags::has_word(list, &["sha256"]))
    {
        return Err(Reason::KeyHash);
    }
    if tags
        .get("s")
        .is_some_and(|list| !tags::has_word(list, &["*", "email"]))
    {
        return Err(Reason::KeyService);
    }
    let octets = match tags.get("p") {
        None => return Err(Reason::KeySyntax),
        Some(b"") => return Err(Reason::KeyRevoked),
        Some(value) => tags::base64(value, RECORD_MAX).ok_or(Reason::KeySyntax)?,
    };
    let public = PublicKey::new(algorithm, &octets).ok_or(Reason::KeySyntax)?;
    if algorithm == Algorithm::RsaSha256 {
        match public.bits {
            ..RSA_BITS_MIN => return Err(Reason::KeyShort(public.bits)),
            RSA_BITS_MIN..=RSA_BITS_MAX => {}
            _ => return Err(Reason::KeyLong(public.bits)),
        }
        if !public.has_usable_exponent() {
            return Err(Reason::KeyExponent);
        }
    }
    let flag = |word: &str| {
        tags.get("t")
            .is_some_and(|list| tags::has_word(list, &[word]))
    };
    Ok(Key {
        public,
        testing: flag("y"),
        strict: flag("s"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From RFC 8463 §A.2.
    const ED25519: &str = "p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    fn fault(text: &str) -> Option<Reason> {
        read(text.as_bytes(), Algorithm::Ed25519Sha256).err()
    }

    #[test]
    fn an_answer_that_is_too_large_is_no_reason_to_come_again() {
        let found = |why| find(&Answer::Unknown(why), Algorithm::Ed25519Sha256);
        assert_eq!(found(Unknown::TooLarge), Err(Reason::KeySyntax));
        assert_eq!(found(Unknown::Overload), Err(Reason::KeyUnavailable));
    }

    #[test]
    fn a_record_is_taken_or_refused_with_a_reason() {
        for (tags, expected) in [
            ("v=DKIM1; k=ed25519; ", None),
            ("k=ed25519; n=note; g=*; ", None),
            ("k=ed25519; h=sha1:sha256; s=email:x; t=y:s; x=1; ", None),
            ("k=ed25519; v=DKIM1; ", Some(Reason::KeyVersion)),
            ("v=DKIM2; k=ed25519; ", Some(Reason::KeyVersion)),
            ("v=DKIM1; ", Some(Reason::KeyAlgorithm)),
            ("v=DKIM1; k=rsa; ", Some(Reason::KeyAlgorithm)),
            ("v=DKIM1; k=ed25519; h=sha1; ", Some(Reason::KeyHash)),
            ("v=DKIM1; k=ed25519; s=tlsrpt; ", Some(Reason::KeyService)),
            ("v=DKIM1; k=ed25519; k=ed25519; ", Some(Reason::KeySyntax)),
        ] {
            assert_eq!(fault(&format!("{tags}{ED25519}")), expected, "{tags}");
        }
        assert_eq!(fault("k=ed25519; p="), Some(Reason::KeyRevoked));
        assert_eq!(fault("k=ed25519"), Some(Reason::KeySyntax));
        assert_eq!(fault("k=ed25519; p=AAAA"), Some(Reason::KeySyntax));
        assert_eq!(
            fault(&format!("k=ed25519; p={}", "A".repeat(16 << 10))),
            Some(Reason::KeySyntax)
        );
        let flags = read(
            format!("k=ed25519; t=s : y; {ED25519}").as_bytes(),
            Algorithm::Ed25519Sha256,
        );
        let flags = flags.expect("a key");
        assert!(flags.testing && flags.strict);
    }

    /// The bits of an RSAPublicKey (RFC 8017 §A.1.1) with a modulus of so many octets, if it is taken.
    fn rsa(octets: usize, exponent: &[u8]) -> Result<u32, Reason> {
        let mut modulus = vec![0; octets + 1];
        modulus[1] = 0x80;
        let integer = |content: &[u8]| {
            let length = u16::try_from(content.len()).expect("it is short");
            let [high, low] = length.to_be_bytes();
            [&[2, 0x82, high, low][..], content].concat()
        };
        let mut der = [integer(&modulus), integer(exponent)].concat();
        let length = u16::try_from(der.len()).expect("it is short");
        let [high, low] = length.to_be_bytes();
        der.splice(..0, [0x30, 0x82, high, low]);
        let text = format!("p={}", tags::to_base64(&der));
        read(text.as_bytes(), Algorithm::RsaSha256).map(|key| key.public.bits)
    }

    #[test]
    fn an_exponent_that_is_dear_or_none_at_all_makes_a_key_unusable() {
        for usable in [&[3][..], &[17], &[1, 0, 1], &[0, 0, 0, 0, 0, 1, 0, 1]] {
            assert_eq!(rsa(256, usable), Ok(2048), "{usable:?}");
        }
        // 2^33 - 1, 2^32 + 1, more than 32 bits can hold, 65,539, even ones, 1 and 0.
        for refused in [
            &[1, 255, 255, 255, 255][..],
            &[1, 0, 0, 0, 1],
            &[255; 256],
            &[1, 0, 3],
            &[4],
            &[1],
            &[0],
        ] {
            assert_eq!(rsa(256, refused), Err(Reason::KeyExponent), "{refused:?}");
        }
    }

    #[test]
    fn rsa_has_from_1024_to_4096_bits() {
        let of = |octets| rsa(octets, &[1, 0, 1]);
        assert_eq!(of(127), Err(Reason::KeyShort(1016)));
        assert_eq!(of(128), Ok(1024));
        assert_eq!(of(512), Ok(4096));
        assert_eq!(of(513), Err(Reason::KeyLong(4104)));
        assert_eq!(of(2048), Err(Reason::KeyLong(16384)));
    }

    #[test]
    fn of_several_records_the_first_usable_one_counts() {
        let record = |text: &str| Record::Txt(text.as_bytes().into());
        let good = format!("k=ed25519; {ED25519}");
        let answer =
            |texts: &[&str]| Answer::Found(texts.iter().map(|text| record(text)).collect());
        assert!(find(&answer(&["v=spf1 -all", &good]), Algorithm::Ed25519Sha256).is_ok());
        let none = find(
            &answer(&["k=ed25519; p=", "rubbish"]),
            Algorithm::Ed25519Sha256,
        );
        assert_eq!(none, Err(Reason::KeyRevoked));
        assert_eq!(find(&answer(&[]), Algorithm::RsaSha256), Err(Reason::NoKey));
    }
}
