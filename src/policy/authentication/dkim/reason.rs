//! What came of a signature, and why: the reason decides the outcome.

/// The result words of RFC 8601 §2.7.1, in the order in which they count where a message has several signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It holds.
    Pass,
    /// Trying later may help.
    TempError,
    /// It does not hold: what it covers, or the signature, was changed.
    Fail,
    /// It is one that we don't accept.
    Policy,
    /// It can't be read.
    Neutral,
    /// It can't hold, and trying later won't help.
    PermError,
}

impl Outcome {
    /// The word for it in Authentication-Results.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Fail => "fail",
            Outcome::Policy => "policy",
            Outcome::Neutral => "neutral",
            Outcome::TempError => "temperror",
            Outcome::PermError => "permerror",
        }
    }
}

/// Why a signature has its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It holds.
    Verified,
    /// The hash of the body is another: the body was changed, or is shorter than `l=`.
    BodyDiffers,
    /// The signature is not one of this key over these fields.
    SignatureDiffers,
    /// The field is no list of tags, or a tag has no lawful value.
    Syntax,
    /// A tag that must be there is not.
    MissingTag,
    /// `v=` is not 1.
    Version,
    /// `a=` is none that we know.
    UnknownAlgorithm,
    /// `a=rsa-sha1` counts as failed (RFC 8301 §3.1).
    Sha1,
    /// `q=` names no way that we know to find the key.
    QueryMethod,
    /// From is not in `h=` (RFC 6376 §5.4).
    FromNotSigned,
    /// The domain of `i=` is neither `d=` nor below it.
    IdentityOutside,
    /// The key says `t=s`, and the domain of `i=` is not `d=`.
    IdentityNotDomain,
    /// More names in `h=` than are looked at.
    TooManyNames,
    /// The header has more fields than are looked at.
    TooManyFields,
    /// More different `l=` than are hashed.
    TooManyLengths,
    /// `x=` has passed.
    Expired,
    /// `t=` is still to come.
    Future,
    /// The DNS has no key.
    NoKey,
    /// The DNS could not be asked, or not in time.
    KeyUnavailable,
    /// The key record can't be read, or is too large.
    KeySyntax,
    /// `v=` of the key is not DKIM1, or not its first tag.
    KeyVersion,
    /// The key is of another kind than the signature.
    KeyAlgorithm,
    /// The key does not allow SHA-256.
    KeyHash,
    /// The key is not for mail.
    KeyService,
    /// The key was withdrawn (`p=` is empty).
    KeyRevoked,
    /// The key has fewer bits than may be trusted (RFC 8301 §3.2).
    KeyShort(u32),
    /// The key has more bits than are computed with.
    KeyLong(u32),
    /// The exponent of the RSA key is none, or one that takes long to compute with.
    KeyExponent,
    /// The mathematics was not done: too much of it was waiting.
    NotComputed,
}

impl Reason {
    /// The outcome that it leads to. RFC 8601 §2.7.1: what can't be read is `neutral`, what we don't accept is `policy`.
    #[must_use]
    pub const fn outcome(self) -> Outcome {
        match self {
            Reason::Verified => Outcome::Pass,
            Reason::BodyDiffers | Reason::SignatureDiffers => Outcome::Fail,
            Reason::Syntax | Reason::MissingTag | Reason::Version => Outcome::Neutral,
            Reason::UnknownAlgorithm | Reason::QueryMethod => Outcome::Neutral,
            Reason::TooManyNames | Reason::TooManyLengths => Outcome::Policy,
            Reason::TooManyFields => Outcome::Policy,
            Reason::Expired | Reason::Future => Outcome::Policy,
            Reason::KeyShort(_) | Reason::KeyLong(_) => Outcome::Policy,
            Reason::KeyUnavailable | Reason::NotComputed => Outcome::TempError,
            Reason::Sha1 | Reason::FromNotSigned => Outcome::PermError,
            Reason::IdentityOutside | Reason::IdentityNotDomain => Outcome::PermError,
            Reason::NoKey | Reason::KeySyntax | Reason::KeyVersion => Outcome::PermError,
            Reason::KeyAlgorithm | Reason::KeyHash => Outcome::PermError,
            Reason::KeyService | Reason::KeyRevoked | Reason::KeyExponent => Outcome::PermError,
        }
    }

    /// It in words, for logs and results. Without quotes, parentheses and backslashes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Verified => "verified",
            Reason::BodyDiffers => "body hash differs",
            Reason::SignatureDiffers => "signature does not verify",
            Reason::Syntax => "malformed signature",
            Reason::MissingTag => "tag missing in signature",
            Reason::Version => "unknown version",
            Reason::UnknownAlgorithm => "unknown algorithm",
            Reason::Sha1 => "rsa-sha1 is historic",
            Reason::QueryMethod => "unknown query method",
            Reason::FromNotSigned => "From not signed",
            Reason::IdentityOutside => "i= not within d=",
            Reason::IdentityNotDomain => "i= not equal to d=",
            Reason::TooManyNames => "too many names in h=",
            Reason::TooManyFields => "too many fields in the header",
            Reason::TooManyLengths => "too many lengths",
            Reason::Expired => "expired",
            Reason::Future => "made in the future",
            Reason::NoKey => "no key",
            Reason::KeyUnavailable => "key unavailable",
            Reason::KeySyntax => "malformed key",
            Reason::KeyVersion => "unknown version of key",
            Reason::KeyAlgorithm => "key is of another algorithm",
            Reason::KeyHash => "key does not allow sha256",
            Reason::KeyService => "key is not for mail",
            Reason::KeyRevoked => "key revoked",
            Reason::KeyShort(_) => "key too short",
            Reason::KeyLong(_) => "key too long",
            Reason::KeyExponent => "unusable exponent of key",
            Reason::NotComputed => "not computed, too much was waiting",
        }
    }
}
