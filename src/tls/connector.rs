//! A pool's side.

use super::{ALPN, Anchors, Error, Identity, provider};
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::SingleCertAndKey,
    version::{TLS12, TLS13},
};
use std::{fmt, sync::Arc};

/// What a backend's certificate is held against.
#[derive(Clone, Debug)]
pub enum Verify {
    /// Nothing: the wire is closed to who only listens, and open to who stands between.
    Nothing,
    /// These anchors, and the name.
    Against(Anchors),
}

/// What a connection to a backend begins a handshake with; cheap to clone.
#[derive(Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Connector {
    /// For a backend called `name`, which is sent to it (an address is not, RFC 6066 §3) and which its certificate must
    /// hold where that is verified. `identity` is shown to backends that ask for one.
    ///
    /// # Errors
    /// The cryptography has no such versions, which is a bug of ours.
    pub fn new(
        verify: &Verify,
        name: ServerName<'static>,
        identity: Option<&Identity>,
    ) -> Result<Connector, Error> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS12, &TLS13])
            .map_err(|why| Error::new(why.to_string()))?;
        let builder = match verify {
            Verify::Against(anchors) => builder.with_root_certificates(Arc::clone(&anchors.0)),
            Verify::Nothing => builder
                .dangerous()
                .with_custom_certificate_verifier(unverified()),
        };
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certified, .. }) => {
                let always = SingleCertAndKey::from(Arc::clone(certified));
                builder.with_client_cert_resolver(Arc::new(always))
            }
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        let config = Arc::new(config);
        Ok(Connector { config, name })
    }

    /// With a configuration that was made elsewhere: tests and load generators want more than a file can say.
    #[must_use]
    pub fn with_config(config: Arc<ClientConfig>, name: ServerName<'static>) -> Connector {
        Connector { config, name }
    }

    /// The same for another backend, with what is remembered of sessions in common.
    #[must_use]
    pub fn named(&self, name: ServerName<'static>) -> Connector {
        let config = Arc::clone(&self.config);
        Connector { config, name }
    }

    /// A handshake that is about to begin.
    pub(crate) fn begin(&self) -> Result<Connection, rustls::Error> {
        ClientConnection::new(Arc::clone(&self.config), self.name.clone()).map(Connection::from)
    }

    /// What a handshake begins with elsewhere than in `net`: on a socket of the control thread.
    pub(crate) fn parts(&self) -> (Arc<ClientConfig>, ServerName<'static>) {
        (Arc::clone(&self.config), self.name.clone())
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connector({:?})", self.name)
    }
}

/// Takes any certificate, but only from who holds its key: for who wants rustls's configuration made otherwise than
/// [`Connector::new`] makes it.
#[must_use]
pub fn unverified() -> Arc<dyn ServerCertVerifier> {
    Arc::new(Unverified(provider()))
}

/// Takes any certificate, but only from who holds its key.
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
