//! What a peer's certificate is held against.
//!
//! Three demands that rustls's own verifiers don't cover:
//! - [`unverified`]: any certificate of a backend, as opportunistic TLS wants it.
//! - [`Pinned`]: a backend whose very certificate is in the file of anchors. What `openssl req -x509` makes says of
//!   itself that it is an authority, and webpki refuses an authority as a server's own certificate; OpenSSL, and with
//!   it Postfix and HAProxy, take it.
//! - [`Clients`]: any certificate of a client, where it is optional, believed only where it leads to an anchor. Large providers show one
//!   when they are asked, self-signed or from their own authority, and must not lose mail over it.

use super::{
    Error, chain,
    facts::names_of,
    identity::{certificates, now},
    keys::{Uncheckable, is_checkable},
    provider,
};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use std::{fmt, path::Path, sync::Arc};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Trust anchors; cheap to clone.
#[derive(Clone)]
pub struct Anchors {
    pub(super) roots: Arc<RootCertStore>,
    /// The certificates of an operator's own file, as they stand there. None of the system's.
    named: Arc<Vec<CertificateDer<'static>>>,
}

impl Anchors {
    /// Those of the system.
    ///
    /// # Errors
    /// There is none.
    pub fn system() -> Result<Anchors, Error> {
        let found = rustls_native_certs::load_native_certs();
        let mut store = RootCertStore::empty();
        // Systems keep some that are too odd to be used; the others do.
        store.add_parsable_certificates(found.certs);
        if store.is_empty() {
            let why = found
                .errors
                .first()
                .map_or_else(String::new, |why| format!(": {why}"));
            return Err(Error::new(format!("the system has no trust anchors{why}"))
                .advise("install ca-certificates, or name a file of your own"));
        }
        Ok(Anchors {
            roots: Arc::new(store),
            named: Arc::default(),
        })
    }

    /// Those of a PEM file, all of which must be sound.
    ///
    /// # Errors
    /// It can't be read, holds no certificate, or one that can't be an anchor.
    pub fn read(path: &Path) -> Result<Anchors, Error> {
        let mut store = RootCertStore::empty();
        let named = certificates(path)?;
        for (number, certificate) in named.iter().enumerate() {
            store.add(certificate.clone()).map_err(|why| {
                let which = number + 1;
                Error::at(
                    path,
                    format_args!("certificate {which} is no trust anchor: {why}"),
                )
            })?;
        }
        Ok(Anchors {
            roots: Arc::new(store),
            named: Arc::new(named),
        })
    }

    /// What tells them from others.
    pub(super) fn fingerprint(&self) -> Vec<u8> {
        let mut all: Vec<Vec<u8>> = Vec::new();
        for anchor in &self.roots.roots {
            all.push([&anchor.subject[..], &anchor.subject_public_key_info].concat());
        }
        all.sort();
        all.concat()
    }

    /// A backend's certificate must lead to one of these, or be one of those that the operator named.
    pub(super) fn for_backends(&self) -> Result<Arc<dyn ServerCertVerifier>, Error> {
        self.for_servers(Arc::clone(&self.named))
    }

    /// The certificate of a web service must lead to one of these.
    pub(super) fn for_web(&self) -> Result<Arc<dyn ServerCertVerifier>, Error> {
        self.for_servers(Arc::default())
    }

    fn for_servers(
        &self,
        named: Arc<Vec<CertificateDer<'static>>>,
    ) -> Result<Arc<dyn ServerCertVerifier>, Error> {
        let roots = Arc::clone(&self.roots);
        let strict = WebPkiServerVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|why| Error::new(why.to_string()))?;
        Ok(Arc::new(Pinned { strict, named }))
    }
}

impl fmt::Debug for Anchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Anchors({})", self.roots.len())
    }
}

/// Takes what leads to an anchor, and a certificate that is itself in the operator's file. No path is built of a chain above
/// the limits of [`chain`].
#[derive(Debug)]
struct Pinned {
    strict: Arc<WebPkiServerVerifier>,
    named: Arc<Vec<CertificateDer<'static>>>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let strict = match chain::limit(end_entity, intermediates) {
            Ok(()) => self.strict.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
            Err(excess) => Err(excess.into()),
        };
        match strict {
            Err(_) if self.named.contains(end_entity) => {
                holds(end_entity, server_name, now)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.strict
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.strict
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}

/// Whether a certificate that needs no issuer is in force and for this name. One without alternative names is for its
/// common name, as OpenSSL has it: the operator named this very certificate, so no authority can have been misled.
fn holds(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), rustls::Error> {
    let wrong = |why: CertificateError| rustls::Error::InvalidCertificate(why);
    let (_, read) =
        X509Certificate::from_der(certificate).map_err(|_| wrong(CertificateError::BadEncoding))?;
    let validity = read.validity();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < validity.not_before.timestamp() {
        return Err(wrong(CertificateError::NotValidYet));
    }
    if now > validity.not_after.timestamp() {
        return Err(wrong(CertificateError::Expired));
    }
    let alternatives = read.subject_alternative_name();
    if matches!(alternatives, Ok(None)) {
        let own = name.to_str().to_ascii_lowercase();
        return match names_of(&read).iter().any(|common| **common == *own) {
            true => Ok(()),
            false => Err(wrong(CertificateError::NotValidForName)),
        };
    }
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
}

/// Takes any certificate, but only from a peer that holds its key: for configurations of rustls that are made elsewhere
/// than in [`super::Connector::new`].
#[must_use]
pub fn unverified() -> Arc<dyn ServerCertVerifier> {
    Arc::new(Unverified(provider()))
}

/// Takes any certificate, but only from a peer that holds its key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Holds clients' certificates against the anchors, within the limits of [`chain`].
#[derive(Debug)]
pub(super) struct Clients {
    pub strict: Arc<dyn ClientCertVerifier>,
    /// Lets every client in, with whatever certificate. Which ones are believed, [`Clients::believes`] says after the handshake: a
    /// verifier is shared by all connections and can't keep what it found out.
    pub takes_any: bool,
}

impl Clients {
    fn verify(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        chain::limit(own, others)?;
        self.strict.verify_client_cert(own, others, now)
    }

    /// Whether a client's certificate leads to an anchor, now: also of a session that was resumed by a ticket. Where not every
    /// client is let in, the handshake has looked.
    pub fn believes(&self, chain: &[CertificateDer<'_>]) -> bool {
        let now = std::time::Duration::from_secs(u64::try_from(now()).unwrap_or(0));
        let now = UnixTime::since_unix_epoch(now);
        // Where the signature over the handshake may have been forgiven, the certificate may be that of another client.
        let leads =
            |(own, others): (&_, &_)| is_checkable(own) && self.verify(own, others, now).is_ok();
        !self.takes_any || chain.split_first().is_some_and(leads)
    }

    /// A signature over the handshake that can't be checked is forgiven where every client is let in: rustls can't read the certificate
    /// (one of version 1, say), or has no algorithm for its key. Such a certificate is never believed. Any other wrong signature ends
    /// the handshake, for otherwise a client could show the certificate of another one.
    fn forgiven(
        &self,
        certificate: &CertificateDer<'_>,
        verdict: Result<HandshakeSignatureValid, rustls::Error>,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match verdict {
            Err(_) if is_checkable(certificate) => verdict,
            Err(_) if self.takes_any => Ok(HandshakeSignatureValid::assertion()),
            Err(_) => Err(Uncheckable.into()),
            Ok(_) => verdict,
        }
    }
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        !self.takes_any
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.strict.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if !self.takes_any {
            return self.verify(end_entity, intermediates, now);
        }
        // They are kept as long as the session. No provider shows as many.
        chain::limit_octets(end_entity, intermediates)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let verdict = self
            .strict
            .verify_tls12_signature(message, certificate, signed);
        self.forgiven(certificate, verdict)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let verdict = self
            .strict
            .verify_tls13_signature(message, certificate, signed);
        self.forgiven(certificate, verdict)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}
