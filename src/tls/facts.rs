//! What a handshake brought.

use rustls::{CipherSuite, Connection, HandshakeKind, ProtocolVersion, pki_types::CertificateDer};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

/// The label of RFC 9266, the channel binding of TLS 1.3.
const BINDING: &[u8] = b"EXPORTER-Channel-Binding";
/// Names of a client certificate that are kept at most.
const NAMES_MAX: usize = 16;
/// Octets of a kept name at most: longer ones are no names that a rule could mean.
const NAME_MAX: usize = 255;

/// What a handshake brought; on a stream that speaks TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite, as IANA spells it.
    pub cipher: &'static str,
    /// The name that the client asked for, in lower case (RFC 6066 §3).
    pub sni: Option<Box<str>>,
    /// Was it a resumed session?
    pub resumed: bool,
    /// Names of a client certificate that was verified: subject alternative names (DNS and mail), then the common name.
    pub peer_names: Vec<Box<str>>,
    /// The `tls-exporter` channel binding (RFC 9266); with TLS 1.3 alone, where it is unique without conditions.
    pub exporter: Option<[u8; 32]>,
}

impl TlsFacts {
    /// Of a connection whose handshake is over.
    /// `believes` says whether a client's chain of certificates leads to an anchor; the names of others are not kept.
    pub(crate) fn of(
        connection: &Connection,
        believes: impl FnOnce(&[CertificateDer<'_>]) -> bool,
    ) -> TlsFacts {
        let version = connection.protocol_version();
        let (sni, peer_names) = match connection {
            Connection::Server(server) => (
                server.server_name().map(Into::into),
                // A server's certificate is the connector's affair: there it is verified against one name.
                match server.peer_certificates() {
                    Some(chain @ [first, ..]) if believes(chain) => names(first),
                    _ => Vec::new(),
                },
            ),
            Connection::Client(_) => (None, Vec::new()),
        };
        TlsFacts {
            version: match version {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                _ => "TLSv1.2",
            },
            cipher: connection
                .negotiated_cipher_suite()
                .map_or("unknown", |suite| cipher(suite.suite())),
            sni,
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            peer_names,
            exporter: match version {
                Some(ProtocolVersion::TLSv1_3) => connection
                    .export_keying_material([0; 32], BINDING, Some(&[]))
                    .ok(),
                _ => None,
            },
        }
    }
}

/// IANA's name; of those suites that the provider has.
fn cipher(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}

/// The names in a certificate that has been verified: what can't be read has none.
fn names(certificate: &[u8]) -> Vec<Box<str>> {
    X509Certificate::from_der(certificate).map_or_else(|_| Vec::new(), |(_, read)| names_of(&read))
}

/// The names in a certificate, in lower case: alternative ones, then the common one.
pub(super) fn names_of(certificate: &X509Certificate<'_>) -> Vec<Box<str>> {
    let mut names: Vec<Box<str>> = Vec::new();
    let mut keep = |name: &str| {
        let fine = !name.is_empty()
            && name.len() <= NAME_MAX
            && name.bytes().all(|b| b.is_ascii_graphic());
        let name = name.to_ascii_lowercase().into_boxed_str();
        if fine && names.len() < NAMES_MAX && !names.contains(&name) {
            names.push(name);
        }
    };
    if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
        for name in &alternatives.value.general_names {
            match name {
                GeneralName::DNSName(name) | GeneralName::RFC822Name(name) => keep(name),
                _ => {}
            }
        }
    }
    for name in certificate.subject().iter_common_name() {
        if let Ok(name) = name.as_str() {
            keep(name);
        }
    }
    names
}
