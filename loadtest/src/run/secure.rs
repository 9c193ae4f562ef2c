//! TLS and AUTH of a run: what the settings say, made ready for use.

use super::{
    settings::Settings,
    value::{Mechanism, Share},
};
use crate::tls::{Client, Mode, Verify};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use gatepost::tls::Connector;
use rustls::{CertificateError, pki_types::ServerName};
use std::{fmt, io};

/// How a run speaks TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    /// When it begins.
    pub mode: Mode,
    /// For each target: one that shakes hands in full, and one that resumes.
    connectors: Vec<[Connector; 2]>,
    resume: f64,
}

/// What stands after the last colon of a target, and the brackets of an address, are not of its name.
fn host(target: &str) -> &str {
    let host = target.rsplit_once(':').map_or(target, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

impl Tls {
    /// What the settings say of TLS; `None` where there is to be none.
    ///
    /// # Errors
    /// They contradict each other, a name is none, or the anchors can't be read.
    pub fn new(said: &Settings) -> Result<Option<Tls>, String> {
        let mode = said.tls.unwrap_or_default();
        if mode == Mode::None {
            let idle = [
                ("tls_verify", said.tls_verify.is_some()),
                ("tls_ca", said.tls_ca.is_some()),
                ("tls_name", said.tls_name.is_some()),
                ("tls_resume", said.tls_resume.is_some()),
            ];
            return match idle.iter().find(|(_, is)| *is) {
                Some((key, _)) => Err(format!("{key} needs tls = starttls or tls = implicit")),
                None => Ok(None),
            };
        }
        let verify = match (&said.tls_ca, said.tls_verify) {
            (Some(_), Some(false)) => return Err("tls_ca is of no use without tls_verify".into()),
            (Some(path), _) => Verify::File(path.clone()),
            (None, Some(true)) => Verify::System,
            (None, _) => Verify::Nothing,
        };
        let client = Client::new(&verify)?;
        let connectors = said.targets.iter().map(|target| {
            let name = said.tls_name.as_deref().unwrap_or_else(|| host(target));
            let name = ServerName::try_from(name.to_owned())
                .map_err(|_| format!("`{name}` is no name of a server"))?;
            Ok([false, true].map(|resumes| client.connector(&name, resumes)))
        });
        Ok(Some(Tls {
            mode,
            connectors: connectors.collect::<Result<_, String>>()?,
            resume: said.tls_resume.unwrap_or_default().0,
        }))
    }

    /// What the nth connection to a target begins its handshake with.
    #[must_use]
    pub fn connector(&self, target: usize, count: u32) -> &Connector {
        &self.connectors[target][usize::from(is_among(count, self.resume))]
    }
}

/// Whether the nth of many belongs to this share of them, evenly spread.
#[must_use]
pub fn is_among(count: u32, share: f64) -> bool {
    let due = |count: f64| (count * share + 1e-9).floor();
    due(f64::from(count) + 1.0) > due(f64::from(count))
}

/// The account of a session.
#[derive(Clone)]
pub struct Auth {
    mechanism: Mechanism,
    user: String,
    password: String,
    share: f64,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Auth({} as {})", self.mechanism, self.user)
    }
}

impl Auth {
    /// What the settings say of AUTH; `None` where there is to be none.
    ///
    /// # Errors
    /// They contradict each other.
    pub fn new(said: &Settings) -> Result<Option<Auth>, String> {
        let Some(mechanism) = said.auth else {
            let named = said.user.is_some() || said.password.is_some() || said.auth_share.is_some();
            return match named {
                true => {
                    Err("user, password and auth_share need auth = plain or auth = login".into())
                }
                false => Ok(None),
            };
        };
        let (Some(user), Some(password)) = (said.user.clone(), said.password.clone()) else {
            return Err("auth needs user and password".into());
        };
        Ok(Some(Auth {
            mechanism,
            user,
            password,
            share: said.auth_share.unwrap_or(Share(1.0)).0,
        }))
    }

    /// Whether the nth connection authenticates.
    #[must_use]
    pub fn is_due(&self, count: u32) -> bool {
        is_among(count, self.share)
    }

    /// The lines of the exchange in their order; each but the first answers a 334.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let encoded = |text: &str| BASE64_STANDARD.encode(text);
        let Auth { user, password, .. } = self;
        match self.mechanism {
            Mechanism::Plain => {
                let response = encoded(&format!("\0{user}\0{password}"));
                vec![format!("AUTH PLAIN {response}\r\n")]
            }
            Mechanism::Login => vec![
                "AUTH LOGIN\r\n".to_owned(),
                encoded(user) + "\r\n",
                encoded(password) + "\r\n",
            ],
        }
    }
}

/// A few words for why a handshake failed.
#[must_use]
pub fn words(error: &io::Error) -> &'static str {
    use rustls::Error as Tls;
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Tls>());
    match inner {
        None => super::record::words(error),
        Some(Tls::InvalidCertificate(why)) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "certificate expired"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "certificate of another name"
            }
            CertificateError::UnknownIssuer => "certificate of an unknown issuer",
            _ => "certificate not valid",
        },
        Some(Tls::AlertReceived(_)) => "refused by an alert",
        Some(Tls::InvalidMessage(_)) => "what came is no TLS",
        Some(Tls::PeerIncompatible(_)) => "no version or suite in common",
        Some(_) => "handshake failed",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn said(text: &str) -> Settings {
        toml::from_str(&format!(
            "targets = ['mx.example:465', '[::1]:465']\n{text}"
        ))
        .unwrap()
    }

    #[test]
    fn a_share_is_spread_evenly_and_met_exactly() {
        for (share, among) in [(0.0, 0), (0.25, 25), (0.5, 50), (0.07, 7), (1.0, 100)] {
            let count = (0..100).filter(|&n| is_among(n, share)).count();
            assert_eq!(count, among, "{share}");
        }
        assert!(!is_among(0, 0.5) && is_among(1, 0.5) && !is_among(2, 0.5));
    }

    #[test]
    fn what_contradicts_itself_is_told() {
        for (text, word) in [
            ("tls_resume = '50%'", "tls_resume needs tls"),
            ("tls = 'implicit'\ntls_ca = '/nowhere.pem'", "/nowhere.pem"),
            ("tls = 'implicit'\ntls_name = 'a b'", "no name of a server"),
            (
                "tls = 'starttls'\ntls_ca = 'x'\ntls_verify = false",
                "of no use",
            ),
        ] {
            let error = Tls::new(&said(text)).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        for (text, word) in [
            ("user = 'me'", "need auth"),
            ("auth = 'plain'\nuser = 'me'", "needs user and password"),
        ] {
            let error = Auth::new(&said(text)).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        assert!(Tls::new(&said("tls = 'none'")).unwrap().is_none());
        assert!(Auth::new(&said("")).unwrap().is_none());
    }

    #[test]
    fn each_target_has_its_name() {
        assert_eq!(host("mx.example:465"), "mx.example");
        assert_eq!(host("[::1]:465"), "::1");
        let tls = Tls::new(&said("tls = 'implicit'")).unwrap().unwrap();
        assert_eq!(tls.connectors.len(), 2);
    }

    #[test]
    fn the_lines_of_the_mechanisms() {
        let auth = |mechanism: &str| {
            let text = format!("auth = '{mechanism}'\nuser = 'me'\npassword = 'pass'");
            Auth::new(&said(&text)).unwrap().unwrap().lines()
        };
        assert_eq!(auth("plain"), ["AUTH PLAIN AG1lAHBhc3M=\r\n"]);
        assert_eq!(
            auth("login"),
            ["AUTH LOGIN\r\n", "bWU=\r\n", "cGFzcw==\r\n"]
        );
    }
}
