//! The sink's side.

use super::{certificate::Made, provider};
use gatepost::tls::Acceptor;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::Ticketer,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use std::{path::Path, sync::Arc};

/// A chain and its key.
#[derive(Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// From two files.
    ///
    /// # Errors
    /// One of them can't be read or is no PEM: which.
    pub fn read(chain: &Path, key: &Path) -> Result<Identity, String> {
        let at = |path: &Path, why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let certificates = CertificateDer::pem_file_iter(chain)
            .and_then(Iterator::collect)
            .map_err(|why| at(chain, &why))?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(|why| at(key, &why))?;
        Identity::of(certificates, key).map_err(|why| at(chain, &why))
    }

    fn of(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Identity, String> {
        match chain.is_empty() {
            true => Err("no certificate is in it".into()),
            false => Ok(Identity { chain, key }),
        }
    }
}

impl TryFrom<&Made> for Identity {
    type Error = String;

    fn try_from(made: &Made) -> Result<Identity, String> {
        let chain = CertificateDer::pem_slice_iter(made.chain.as_bytes()).collect::<Result<_, _>>();
        let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes());
        match (chain, key) {
            (Ok(chain), Ok(key)) => Identity::of(chain, key),
            (Err(why), _) | (_, Err(why)) => Err(why.to_string()),
        }
    }
}

/// What answers handshakes with this certificate: TLS 1.2 and 1.3, with tickets that any worker takes back.
///
/// # Errors
/// The key is not the certificate's.
pub fn acceptor(identity: Identity) -> Result<Acceptor, String> {
    let told = |why: rustls::Error| why.to_string();
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(told)?
        .with_no_client_auth()
        .with_single_cert(identity.chain, identity.key)
        .map_err(told)?;
    config.ticketer = Ticketer::new().map_err(told)?;
    config.send_tls13_tickets = 1;
    Ok(Acceptor::from(Arc::new(config)))
}
