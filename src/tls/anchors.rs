//! Whom we believe: the roots that a certificate must lead to.

use super::{Error, identity::certificates};
use rustls::RootCertStore;
use std::{fmt, path::Path, sync::Arc};

/// Trust anchors; cheap to clone.
#[derive(Clone)]
pub struct Anchors(pub(super) Arc<RootCertStore>);

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
        Ok(Anchors(Arc::new(store)))
    }

    /// Those of a PEM file, all of which must be sound.
    ///
    /// # Errors
    /// It can't be read, holds no certificate, or one that can't be an anchor.
    pub fn read(path: &Path) -> Result<Anchors, Error> {
        let mut store = RootCertStore::empty();
        for (number, certificate) in certificates(path)?.into_iter().enumerate() {
            store.add(certificate).map_err(|why| {
                let which = number + 1;
                Error::at(
                    path,
                    format_args!("certificate {which} is no trust anchor: {why}"),
                )
            })?;
        }
        Ok(Anchors(Arc::new(store)))
    }
}

impl Anchors {
    /// What tells them from others.
    pub(super) fn fingerprint(&self) -> Vec<u8> {
        let mut all: Vec<Vec<u8>> = Vec::new();
        for anchor in &self.0.roots {
            all.push([&anchor.subject[..], &anchor.subject_public_key_info].concat());
        }
        all.sort();
        all.concat()
    }
}

impl fmt::Debug for Anchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Anchors({})", self.0.len())
    }
}
