//! Why a handshake failed, in a word: for the log, where an operator looks for a pattern.

use rustls::{AlertDescription, Error, PeerIncompatible};
use std::io;

/// The word for an error of [`accept_tls`](crate::net::Stream::accept_tls) and its twin.
#[must_use]
pub fn failure(error: &io::Error) -> &'static str {
    let Some(error) = error.get_ref().and_then(|why| why.downcast_ref::<Error>()) else {
        return match error.kind() {
            io::ErrorKind::TimedOut => "tls_timeout",
            io::ErrorKind::ResourceBusy => "tls_busy",
            _ => "tls_closed",
        };
    };
    match error {
        Error::NoApplicationProtocol => "tls_alpn",
        Error::NoCertificatesPresented => "tls_no_client_certificate",
        Error::InvalidCertificate(_) => "tls_bad_certificate",
        Error::PeerIncompatible(
            PeerIncompatible::NoCipherSuitesInCommon | PeerIncompatible::NoKxGroupsInCommon,
        ) => "tls_no_common_cipher",
        Error::PeerIncompatible(_) => "tls_version",
        // The client's verdict on our certificate.
        Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired,
        ) => "tls_certificate_refused",
        Error::AlertReceived(_) => "tls_refused",
        Error::InvalidMessage(_) => "tls_nonsense",
        _ => "tls_failed",
    }
}
