//! The side of who asks a web service.

use super::{Anchors, Error, provider};
use rustls::{
    ClientConfig, RootCertStore,
    version::{TLS12, TLS13},
};
use std::sync::Arc;

/// For HTTPS to services whose certificates are held against these anchors; none of them are trusted where there are
/// no anchors.
///
/// # Errors
/// The cryptography has no such versions, which is a bug of ours.
pub fn web(anchors: Option<&Anchors>) -> Result<ClientConfig, Error> {
    let roots = match anchors {
        Some(anchors) => Arc::clone(&anchors.0),
        None => Arc::new(RootCertStore::empty()),
    };
    Ok(ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS12, &TLS13])
        .map_err(|why| Error::new(why.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
