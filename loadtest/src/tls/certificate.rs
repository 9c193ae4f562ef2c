//! Certificates that sign themselves.

use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use std::{fmt, fs, io, path::Path, str::FromStr};

/// What a handshake costs a server depends on it: 2,048 bits of RSA take about six times what ECDSA takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on P-256.
    #[default]
    Ecdsa,
    /// RSA with 2,048 bits.
    Rsa,
}

impl FromStr for KeyKind {
    type Err = String;

    fn from_str(text: &str) -> Result<KeyKind, String> {
        match text {
            "ecdsa" => Ok(KeyKind::Ecdsa),
            "rsa" => Ok(KeyKind::Rsa),
            _ => Err(format!("`{text}` is neither ecdsa nor rsa")),
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            KeyKind::Ecdsa => "ecdsa",
            KeyKind::Rsa => "rsa",
        })
    }
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Made {
    /// The certificate, which is its own anchor.
    pub chain: String,
    /// The key.
    pub key: String,
}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Made")
    }
}

/// Makes a certificate for these names, addresses among them.
///
/// # Errors
/// A name is none.
pub fn make(names: &[String], kind: KeyKind) -> Result<Made, String> {
    let told = |why: rcgen::Error| format!("no certificate could be made: {why}");
    let pair = match kind {
        KeyKind::Ecdsa => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        KeyKind::Rsa => KeyPair::generate_for(&PKCS_RSA_SHA256),
    };
    let pair = pair.map_err(told)?;
    let mut params = CertificateParams::new(names).map_err(told)?;
    // Certificates that share a subject would be taken for each other's issuers.
    if let Some(first) = names.first() {
        params
            .distinguished_name
            .push(DnType::CommonName, first.clone());
    }
    let certificate = params.self_signed(&pair).map_err(told)?;
    Ok(Made {
        chain: certificate.pem(),
        key: pair.serialize_pem(),
    })
}

impl Made {
    /// Writes `certificate.pem`, `key.pem`, and `both.pem`, all in one file.
    ///
    /// # Errors
    /// A file can't be written.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        fs::write(folder.join("certificate.pem"), &self.chain)?;
        fs::write(folder.join("key.pem"), &self.key)?;
        fs::write(
            folder.join("both.pem"),
            format!("{}{}", self.chain, self.key),
        )
    }
}
