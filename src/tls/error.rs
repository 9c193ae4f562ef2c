//! What is wrong: with a certificate, a key or a file of them, in an operator's words ([`Error`]), and with a handshake,
//! in one word for the log ([`failure`]).

use super::keys::is_uncheckable;
use rustls::{AlertDescription, PeerIncompatible, PeerMisbehaved};
use std::{fmt, io, path::Path};

/// Why no TLS configuration can be made of what was given: which file, what is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What is wrong, with the file's name.
    pub problem: String,
    /// What to do about it.
    pub advice: Option<String>,
}

impl Error {
    pub(super) fn new(problem: impl Into<String>) -> Error {
        Error {
            problem: problem.into(),
            advice: None,
        }
    }

    pub(super) fn at(path: &Path, problem: impl fmt::Display) -> Error {
        Error::new(format!("{}: {problem}", path.display()))
    }

    pub(super) fn in_file(mut self, path: &Path) -> Error {
        self.problem = format!("{}: {}", path.display(), self.problem);
        self
    }

    pub(super) fn advise(mut self, advice: impl Into<String>) -> Error {
        self.advice = Some(advice.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)?;
        match &self.advice {
            Some(advice) => write!(f, " ({advice})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// The word for an error of [`accept_tls`](crate::net::Stream::accept_tls) and its twin, or of TLS after a handshake.
#[must_use]
pub fn failure(error: &io::Error) -> &'static str {
    let inner = error.get_ref();
    let Some(error) = inner.and_then(|why| why.downcast_ref::<rustls::Error>()) else {
        return match error.kind() {
            io::ErrorKind::TimedOut => "tls_timeout",
            io::ErrorKind::ResourceBusy => "tls_busy",
            _ => "tls_closed",
        };
    };
    use rustls::Error as Tls;
    match error {
        Tls::NoApplicationProtocol => "tls_alpn",
        Tls::NoCertificatesPresented => "tls_no_client_certificate",
        Tls::InvalidCertificate(why) if is_uncheckable(why) => "tls_unsupported_key",
        Tls::InvalidCertificate(_) => "tls_bad_certificate",
        Tls::PeerIncompatible(
            PeerIncompatible::NoCipherSuitesInCommon | PeerIncompatible::NoKxGroupsInCommon,
        ) => "tls_no_common_cipher",
        Tls::PeerIncompatible(_) => "tls_version",
        // The client's verdict on our certificate.
        Tls::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired,
        ) => "tls_certificate_refused",
        Tls::AlertReceived(_) => "tls_refused",
        Tls::InvalidMessage(_) => "tls_nonsense",
        Tls::PeerMisbehaved(
            PeerMisbehaved::TooManyKeyUpdateRequests | PeerMisbehaved::TooManyWarningAlertsReceived,
        ) => "tls_empty_records",
        _ => "tls_failed",
    }
}

/// Whether it is the peer that ended TLS, with a fatal alert.
#[must_use]
pub fn is_alert(error: &io::Error) -> bool {
    let inner = error.get_ref();
    let error = inner.and_then(|why| why.downcast_ref::<rustls::Error>());
    matches!(error, Some(rustls::Error::AlertReceived(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_the_peers() {
        let of = |why: rustls::Error| io::Error::new(io::ErrorKind::InvalidData, why);
        let alert = rustls::Error::AlertReceived(AlertDescription::InternalError);
        assert!(is_alert(&of(alert)));
        assert!(!is_alert(&of(rustls::Error::DecryptError)));
        assert!(!is_alert(&io::ErrorKind::InvalidData.into()));
    }
}
