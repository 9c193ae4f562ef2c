//! Passwords as a file keeps them: argon2id and bcrypt hashes, SCRAM verifiers. Making and checking them.
//!
//! Making and checking a hash takes tens of milliseconds and up to a few dozen MiB on purpose: never on a worker's thread. What
//! SCRAM does with a verifier is cheap.

use super::Secret;
use argon2::{
    Argon2, Params,
    password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString},
};
use aws_lc_rs::{constant_time, digest, hmac, pbkdf2, rand};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{borrow::Cow, fmt, num::NonZeroU32};

/// Iterations of the verifiers that we make. A thief of the file has to compute them for each guess, and each
/// client for each login.
pub const ITERATIONS: u32 = 100_000;
/// The most that a verifier may ask of a client.
const ITERATIONS_MAX: u32 = 10_000_000;
/// The most memory that a hash may ask of us, KiB.
const MEMORY_MAX: u32 = 1024 * 1024;
/// Octets of a password that bcrypt looks at; it knows nothing of those that follow.
const BCRYPT_MAX: usize = 72;
/// Octets of a salt.
const SALT: usize = 16;

/// What a password is checked against.
#[derive(Clone, PartialEq, Eq)]
pub enum Verifier {
    /// An argon2 hash, as a PHC string.
    Argon2(Box<str>),
    /// A bcrypt hash in modular crypt format.
    Bcrypt(Box<str>),
    /// What SCRAM-SHA-256 needs (RFC 5803); a password can be checked against it too.
    Scram(ScramKeys),
}

/// A SCRAM-SHA-256 verifier (RFC 5802 §3).
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    /// Rounds of PBKDF2.
    pub iterations: u32,
    /// Random, of this account alone.
    pub salt: Box<[u8]>,
    /// H(ClientKey).
    pub stored_key: [u8; 32],
    /// HMAC(SaltedPassword, "Server Key").
    pub server_key: [u8; 32],
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScramKeys({})", self.iterations)
    }
}

/// A password in the form that is hashed: prepared (RFC 4013) where it can be. Clients that speak SCRAM do the same.
fn prepared(password: &[u8]) -> Cow<'_, [u8]> {
    let text = std::str::from_utf8(password).ok();
    match text.and_then(|text| stringprep::saslprep(text).ok()) {
        Some(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        _ => Cow::Borrowed(password),
    }
}

/// Random octets. Errors: the system has none.
pub fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut octets = [0; N];
    rand::fill(&mut octets).map_err(|_| "no random numbers can be had".to_string())?;
    Ok(octets)
}

impl Verifier {
    /// Reads one. Errors: what is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Verifier, String> {
        if text.starts_with("$argon2") {
            let hash = PasswordHash::new(text).map_err(|why| format!("an argon2 hash: {why}"))?;
            let params = Params::try_from(&hash).map_err(|why| format!("an argon2 hash: {why}"))?;
            if params.m_cost() > MEMORY_MAX || hash.hash.is_none() {
                return Err("an argon2 hash with more memory than 1 GiB, or none at all".into());
            }
            return Ok(Verifier::Argon2(text.into()));
        }
        if text.starts_with("$2") {
            let parts: bcrypt::HashParts = text
                .parse()
                .map_err(|why| format!("a bcrypt hash: {why}"))?;
            if parts.get_cost() > 16 {
                return Err("a bcrypt hash with a cost above 16".into());
            }
            return Ok(Verifier::Bcrypt(text.into()));
        }
        match text.strip_prefix("SCRAM-SHA-256$") {
            Some(rest) => scram(rest)
                .map(Verifier::Scram)
                .ok_or_else(|| "a SCRAM-SHA-256 verifier that is broken".into()),
            None => Err("neither `$argon2id$…` nor `$2b$…` nor `SCRAM-SHA-256$…`".into()),
        }
    }

    /// The word for lists.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Verifier::Argon2(_) => "argon2",
            Verifier::Bcrypt(_) => "bcrypt",
            Verifier::Scram(_) => "scram-sha-256",
        }
    }

    /// An argon2id hash of a password. Errors: no random numbers.
    pub fn argon2(password: &Secret) -> Result<Verifier, String> {
        let broken = |why| format!("argon2: {why}");
        let salt = SaltString::encode_b64(&random::<SALT>()?).map_err(broken)?;
        let hash = Argon2::default()
            .hash_password(&prepared(password.octets()), &salt)
            .map_err(broken)?;
        Ok(Verifier::Argon2(hash.to_string().into()))
    }

    /// A bcrypt hash of a password. Errors: the password is longer than bcrypt's, or no random numbers can be had.
    pub fn bcrypt(password: &Secret) -> Result<Verifier, String> {
        let password = prepared(password.octets());
        if password.len() > BCRYPT_MAX {
            return Err(format!(
                "bcrypt takes a password of {BCRYPT_MAX} octets at most; argon2id (without --bcrypt) takes longer ones"
            ));
        }
        let hash =
            bcrypt::hash(password, bcrypt::DEFAULT_COST).map_err(|why| format!("bcrypt: {why}"))?;
        Ok(Verifier::Bcrypt(hash.into()))
    }

    /// A SCRAM-SHA-256 verifier of a password. Errors: no random numbers.
    pub fn scram(password: &Secret) -> Result<Verifier, String> {
        let salt = random::<SALT>()?;
        let keys = ScramKeys::derive(password, &salt, ITERATIONS);
        Ok(Verifier::Scram(keys))
    }

    /// Whether this is the password. Takes its time.
    #[must_use]
    pub fn is(&self, password: &Secret) -> bool {
        match self {
            Verifier::Argon2(text) => PasswordHash::new(text).is_ok_and(|hash| {
                Argon2::default()
                    .verify_password(&prepared(password.octets()), &hash)
                    .is_ok()
            }),
            Verifier::Bcrypt(text) => {
                let password = prepared(password.octets());
                // One that is too long is hashed all the same, for the time that it takes.
                let begins_so = bcrypt::verify(&password, text).unwrap_or(false);
                std::hint::black_box(begins_so) && password.len() <= BCRYPT_MAX
            }
            Verifier::Scram(keys) => {
                let found = ScramKeys::derive(password, &keys.salt, keys.iterations);
                let same = constant_time::verify_slices_are_equal;
                same(&found.stored_key, &keys.stored_key).is_ok()
            }
        }
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verifier::Argon2(text) | Verifier::Bcrypt(text) => f.write_str(text),
            Verifier::Scram(keys) => write!(
                f,
                "SCRAM-SHA-256${}:{}${}:{}",
                keys.iterations,
                STANDARD.encode(&keys.salt),
                STANDARD.encode(keys.stored_key),
                STANDARD.encode(keys.server_key)
            ),
        }
    }
}

impl ScramKeys {
    /// Derives them (RFC 5802 §3).
    #[must_use]
    pub fn derive(password: &Secret, salt: &[u8], iterations: u32) -> ScramKeys {
        let mut salted = [0; 32];
        let rounds = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        let password = prepared(password.octets());
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            rounds,
            salt,
            &password,
            &mut salted,
        );
        let client_key = keyed(&salted, b"Client Key");
        let stored = digest::digest(&digest::SHA256, &client_key);
        let mut stored_key = [0; 32];
        stored_key.copy_from_slice(stored.as_ref());
        ScramKeys {
            iterations,
            salt: salt.into(),
            stored_key,
            server_key: keyed(&salted, b"Server Key"),
        }
    }
}

/// HMAC-SHA-256.
#[must_use]
pub fn keyed(key: &[u8], text: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
    let mut octets = [0; 32];
    octets.copy_from_slice(tag.as_ref());
    octets
}

/// `iterations:salt$stored:server`.
fn scram(text: &str) -> Option<ScramKeys> {
    let (head, keys) = text.split_once('$')?;
    let (iterations, salt) = head.split_once(':')?;
    let (stored, server) = keys.split_once(':')?;
    let key = |text: &str| STANDARD.decode(text).ok()?.try_into().ok();
    let iterations = iterations.parse().ok()?;
    let salt = STANDARD.decode(salt).ok()?;
    (!salt.is_empty() && (1..=ITERATIONS_MAX).contains(&iterations)).then_some(())?;
    Some(ScramKeys {
        iterations,
        salt: salt.into(),
        stored_key: key(stored)?,
        server_key: key(server)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes())
    }

    #[test]
    fn each_kind_knows_its_password_and_comes_back_from_text() {
        let right = secret("p\u{e4}ss w\u{f6}rd");
        for make in [Verifier::argon2, Verifier::bcrypt, Verifier::scram] {
            let made = make(&right).expect("made");
            let read = Verifier::parse(&made.to_string()).expect("what we write we read");
            assert_eq!(read, made);
            assert!(read.is(&right), "{read:?}");
            assert!(!read.is(&secret("p\u{e4}ss w\u{f6}rd ")), "{read:?}");
            assert!(!read.is(&secret("")), "{read:?}");
            // Neither hash nor salt.
            assert_eq!(format!("{read:?}"), read.kind());
        }
    }

    #[test]
    fn bcrypt_takes_no_more_than_it_looks_at() {
        let fits = "r".repeat(70) + "\u{e4}";
        let (whole, longer) = (format!("{fits}x"), format!("{fits}xy"));
        assert_eq!(fits.len(), BCRYPT_MAX);
        let made = Verifier::bcrypt(&secret(&fits)).expect("as long as can be");
        assert!(made.is(&secret(&fits)));
        for password in [&*whole, &longer, &fits[1..]] {
            assert!(!made.is(&secret(password)), "{password}");
        }
        assert!(Verifier::bcrypt(&secret(&whole)).is_err());
        // Soft hyphens are no part of it (RFC 4013 §2.1).
        let hyphens = fits.replacen('r', "r\u{ad}", 1);
        assert!(made.is(&secret(&hyphens)) && Verifier::bcrypt(&secret(&hyphens)).is_ok());
    }

    #[test]
    fn the_keys_are_those_of_rfc_7677() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let keys = ScramKeys::derive(&secret("pencil"), &salt, 4096);
        // From §3: the signature over its AuthMessage under this ServerKey is the `v=` of the example.
        let said = b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let signature = STANDARD.encode(keyed(&keys.server_key, said));
        assert_eq!(signature, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn prepared_spellings_are_one_password() {
        let made = Verifier::scram(&secret("\u{2168}")).expect("made"); // Ⅸ becomes IX
        assert!(made.is(&secret("IX")));
        // Characters that RFC 4013 doesn't know are taken as they are.
        let made = Verifier::bcrypt(&secret("\u{1f511}")).expect("made");
        assert!(made.is(&secret("\u{1f511}")));
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        for text in [
            "",
            "secret",
            "{PLAIN}secret",
            "$argon2id$v=19$m=99999999,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
            "$argon2id$x",
            "$2b$31$tooshort",
            "SCRAM-SHA-256$0:c2FsdA==$aa:bb",
            "SCRAM-SHA-256$4096:c2FsdA==$aa:bb",
        ] {
            assert!(Verifier::parse(text).is_err(), "{text}");
        }
    }
}
