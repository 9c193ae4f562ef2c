//! TLS that we begin: with a pool's backends, and with web services over HTTPS.

use super::{ALPN, Anchors, Error, Identity, provider, unverified};
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore,
    pki_types::ServerName,
    sign::SingleCertAndKey,
    version::{TLS12, TLS13},
};
use std::{fmt, sync::Arc};

/// What a backend's certificate is held against.
#[derive(Clone, Debug)]
pub enum Verify {
    /// Nothing: protects against eavesdropping, not against an attacker who intercepts the connection.
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
            Verify::Against(anchors) => builder
                .dangerous()
                .with_custom_certificate_verifier(anchors.for_backends()?),
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

/// For HTTPS to services whose certificates are held against these anchors. Without anchors no service is trusted.
///
/// # Errors
/// The cryptography has no such versions, which is a bug of ours.
pub fn web(anchors: Option<&Anchors>) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS12, &TLS13])
        .map_err(|why| Error::new(why.to_string()))?;
    let builder = match anchors {
        Some(anchors) => builder
            .dangerous()
            .with_custom_certificate_verifier(anchors.for_web()?),
        // For clear text alone.
        None => builder.with_root_certificates(RootCertStore::empty()),
    };
    Ok(builder.with_no_client_auth())
}
