//! A certificate with its chain and its key, as they lie in PEM files.

use super::{Error, facts::names_of, provider};
use crate::config;
use rustls::{
    SignatureAlgorithm,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    sign::CertifiedKey,
};
use std::{
    fmt,
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Octets of a file of certificates or keys at most.
const FILE_MAX: u64 = 1 << 20;

/// A certificate that ends within this many seconds is spoken of: three weeks.
const SOON: i64 = 21 * 86_400;

/// Our identity for the other side: a certificate, those that vouch for it, and the key. Cheap to clone.
#[derive(Clone)]
pub struct Identity {
    pub(super) certified: Arc<CertifiedKey>,
    about: Arc<About>,
}

/// Which of the two files of an [`Identity`] something is wrong with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The certificate with those that vouch for it.
    Chain,
    /// The private key.
    Key,
}

/// What stands in the certificate.
struct About {
    names: Vec<Box<str>>,
    begins: i64,
    ends: i64,
}

impl Identity {
    /// Reads a chain (the own certificate first) and its key. They may be in one file.
    ///
    /// # Errors
    /// A file can't be read, holds no PEM of that kind, or the key is not the certificate's.
    pub fn read(chain: &Path, key: &Path) -> Result<Identity, Error> {
        Identity::halves(chain, key).map_err(|(_, why)| why)
    }

    /// The same, with the file that is wrong. A key that is another certificate's is the wrong one.
    ///
    /// # Errors
    /// Those of [`Identity::read`].
    pub(super) fn halves(chain: &Path, key: &Path) -> Result<Identity, (Half, Error)> {
        let certificates = certificates(chain).map_err(|why| (Half::Chain, why))?;
        let private = private_key(key).map_err(|why| (Half::Key, why))?;
        Identity::of(certificates, private).map_err(|why| (Half::Key, why.in_file(key)))
    }

    /// Of what was read, or made.
    ///
    /// # Errors
    /// The certificate can't be read, the key is of no kind that we know, or not the certificate's.
    pub fn of(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Identity, Error> {
        let about = match chain.first() {
            Some(first) => About::of(first)?,
            None => return Err(Error::new("the chain is empty")),
        };
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|why| match why {
            rustls::Error::InconsistentKeys(_) => {
                Error::new("the key does not belong to the certificate")
                    .advise("the own certificate comes first in its chain; is it the key that was made for it?")
            }
            why => Error::new(why.to_string()),
        })?;
        Ok(Identity {
            certified: Arc::new(certified),
            about: Arc::new(about),
        })
    }

    /// The first name, for logs and metrics.
    #[must_use]
    pub fn name(&self) -> &str {
        self.about.names.first().map_or("unnamed", |name| name)
    }

    /// Until when it is good: seconds since 1970.
    #[must_use]
    pub fn ends(&self) -> i64 {
        self.about.ends
    }

    /// `RSA`, `ECDSA`, or what else the key is.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.certified.key.algorithm() {
            SignatureAlgorithm::RSA => "RSA",
            SignatureAlgorithm::ECDSA => "ECDSA",
            SignatureAlgorithm::ED25519 => "Ed25519",
            _ => "other",
        }
    }

    /// Whether it is good at a moment in seconds since 1970.
    pub(super) fn is_good(&self, now: i64) -> bool {
        (self.about.begins..=self.about.ends).contains(&now)
    }

    pub(super) fn is_rsa(&self) -> bool {
        self.certified.key.algorithm() == SignatureAlgorithm::RSA
    }

    /// Whether it is for `name`, which is in lower case; a wildcard stands for one label (RFC 6125 §6.4.3).
    pub(super) fn is_for(&self, name: &str) -> bool {
        let wild = name.split_once('.').map(|(_, rest)| rest);
        self.about.names.iter().any(|known| {
            **known == *name
                || known
                    .strip_prefix("*.")
                    .is_some_and(|rest| wild == Some(rest))
        })
    }

    /// What an operator should know of the days that it is good for, at a moment in seconds since 1970. It is shown all the same where
    /// there is no good one for its name: most mail servers take one that has ended, a client that verifies it hears more from it than from a closed port, and the
    /// clock may be what is wrong.
    #[must_use]
    fn warning(&self, now: i64) -> Option<Error> {
        let name = self.name();
        let (begins, ends) = (self.about.begins, self.about.ends);
        let shown = "where no other one is good for its name, it is used, and peers that verify it refuse it";
        if now < begins {
            let day = day(begins);
            let text = format!("the certificate of {name} is not good before {day}; {shown}");
            return Some(Error::new(text).advise("is the clock right?"));
        }
        match ends - now {
            SOON.. => None,
            left @ 0.. => {
                let (day, left) = (day(ends), left / 86_400);
                let text = format!("the certificate of {name} ends on {day}, in {left} days");
                Some(Error::new(text))
            }
            _ => {
                let day = day(ends);
                let text = format!("the certificate of {name} has expired on {day}; {shown}");
                Some(Error::new(text).advise("renew it"))
            }
        }
    }

    /// The same by the system's clock.
    #[must_use]
    pub fn warning_now(&self) -> Option<Error> {
        self.warning(now())
    }
}

impl About {
    fn of(certificate: &CertificateDer<'_>) -> Result<About, Error> {
        let (_, read) = X509Certificate::from_der(certificate)
            .map_err(|why| Error::new(format!("the certificate can't be read: {why}")))?;
        Ok(About {
            names: names_of(&read),
            begins: read.validity().not_before.timestamp(),
            ends: read.validity().not_after.timestamp(),
        })
    }
}

/// A line for each of these certificates that has ended, ends soon, or is not good yet.
pub fn warnings<'a>(all: impl IntoIterator<Item = &'a Identity>) -> Vec<String> {
    let mut lines = Vec::new();
    for warning in all.into_iter().filter_map(Identity::warning_now) {
        let line = warning.to_string();
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// Names of these certificates, each with the end of the one that ends first: seconds since 1970.
pub fn ends<'a>(all: impl IntoIterator<Item = &'a Identity>) -> Vec<(String, i64)> {
    let mut ends: Vec<(String, i64)> = Vec::new();
    for identity in all {
        match ends.iter_mut().find(|(name, _)| name == identity.name()) {
            Some((_, end)) => *end = identity.ends().min(*end),
            None => ends.push((identity.name().into(), identity.ends())),
        }
    }
    ends
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64)
}

/// The day of a moment.
fn day(seconds: i64) -> String {
    let moment = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    moment.to_zoned(jiff::tz::TimeZone::UTC).date().to_string()
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({}, {})", self.name(), self.kind())
    }
}

/// The certificates of a PEM file, in their order; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = read(path)?;
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(Error::at(path, "there is no certificate in it")
            .advise("PEM begins with -----BEGIN CERTIFICATE-----")),
        Ok(found) => Ok(found),
        Err(why) => Err(Error::at(path, broken(&why))),
    }
}

/// The first private key of a PEM file.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|why| match why {
        _ if has_passphrase(&text) => Error::at(path, "its private key has a passphrase")
            .advise("take it off: openssl pkey -in FILE -out NEW"),
        pem::Error::NoItemsFound => Error::at(path, "there is no private key in it")
            .advise("PEM begins with -----BEGIN PRIVATE KEY-----"),
        why => Error::at(path, broken(&why)),
    })
}

/// In the form of PKCS #8 (RFC 5958 §3), or in that of old OpenSSL: fields before the base64 (RFC 1421 §4.6).
fn has_passphrase(text: &[u8]) -> bool {
    let has = |what: &[u8]| memchr::memmem::find(text, what).is_some();
    has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED")
}

fn broken(why: &pem::Error) -> String {
    format!("it is no sound PEM: {why}")
}

/// A whole file, within [`FILE_MAX`].
fn read(path: &Path) -> Result<Vec<u8>, Error> {
    // The user that we run as by now may not be allowed to.
    let text = config::read_secret(path)
        .map_err(|why| Error::at(path, format_args!("it can't be read: {why}")))?;
    if text.len() as u64 > FILE_MAX {
        return Err(Error::at(
            path,
            "it is larger than any chain: 1 MiB at most",
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_that_are_wrong_are_a_warning() {
        let one = crate::tls::testing::identity(&["mx.example"]);
        let (begins, ends) = (one.about.begins, one.about.ends);
        for (moment, says) in [
            (0, "is not good before"),
            (begins - 1, "is not good before"),
            (begins, ""),
            (ends - SOON, ""),
            (ends - SOON + 1, "in 20 days"),
            (ends, "in 0 days"),
            (ends + 1, "has expired on"),
        ] {
            let told = one
                .warning(moment)
                .map_or(String::new(), |why| why.to_string());
            assert!(
                told.contains(says) && told.is_empty() == says.is_empty(),
                "{moment}: {told}"
            );
        }
        assert_eq!(ends_of(&[&one, &one]), [("mx.example".to_string(), ends)]);
    }

    fn ends_of(all: &[&Identity]) -> Vec<(String, i64)> {
        ends(all.iter().copied())
    }

    #[test]
    fn a_key_with_a_passphrase_is_told_as_such() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("mx.key");
        let fields =
            "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00112233445566778899AABBCCDDEEFF\n\n";
        for (kind, fields, advice) in [
            ("RSA PRIVATE KEY", fields, "openssl pkey"),
            ("ENCRYPTED PRIVATE KEY", "", "openssl pkey"),
            ("CERTIFICATE", "", "BEGIN PRIVATE KEY"),
        ] {
            let pem = format!("-----BEGIN {kind}-----\n{fields}AAAA\n-----END {kind}-----\n");
            std::fs::write(&file, pem).expect("written");
            let why = private_key(&file).expect_err(kind);
            assert_eq!(
                why.problem.contains("passphrase"),
                kind != "CERTIFICATE",
                "{why}"
            );
            assert!(
                why.advice.is_some_and(|text| text.contains(advice)),
                "{kind}"
            );
        }
    }
}
