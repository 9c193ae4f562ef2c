//! How a pool's connections are secured: made of its `tls` keys when a configuration is built, used by `connect`.
//!
//! The files are read then, by the supervisor, so that one that is broken refuses the configuration and no worker ever
//! touches the disk. What connections differ by goes into the backend's identity: a reload with other anchors, another
//! certificate or another name begins with new connections.

use super::{balance, build_error::BuildError};
use crate::{
    config::{self, PoolTls},
    tls::{Back, Connector, Identity, TlsFault},
};
use std::path::Path;

/// What makes two connections differ in security.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityIdentity {
    /// Whether there is TLS.
    pub tls: PoolTls,
    /// Whether it's there before SMTP.
    pub implicit: bool,
    /// Whose certificate it must be.
    pub name: String,
    /// A hash of the anchors and of our certificate.
    pub files: u64,
}

/// How a pool's connections are secured.
#[derive(Debug)]
pub struct Security {
    /// Whether they are.
    pub mode: PoolTls,
    /// The handshake comes before SMTP.
    pub implicit: bool,
    /// By the places of the backends; none where there is no TLS.
    connectors: Vec<Connector>,
}

impl Security {
    /// What a handshake with the backend at this place begins with.
    pub(super) fn connector(&self, place: usize) -> Option<&Connector> {
        self.connectors.get(place)
    }
}

/// What the files hold.
#[derive(Default)]
pub(super) struct Material {
    /// `None`: there is no TLS, or something is wrong.
    back: Option<Back>,
    files: u64,
}

impl Material {
    /// Reads a pool's files. What is wrong with them is added to `faults`.
    pub(super) fn read(i: usize, pool: &config::Pool, faults: &mut Vec<TlsFault>) -> Material {
        let back = Back::read(pool).unwrap_or_else(|found| {
            faults.extend(found.into_iter().map(|TlsFault { key, mut error }| {
                error.problem = format!("pool \"{}\": {}", pool.name, error.problem);
                let key = format!("pool[{i}].{key}");
                TlsFault { key, error }
            }));
            None
        });
        let mut files = 0;
        if pool.tls == PoolTls::Verify {
            files ^= pool.tls_ca.as_deref().map_or(0, fingerprint);
        }
        if let Some(chain) = &pool.tls_certificate {
            files = balance::mix(files) ^ fingerprint(chain);
        }
        if let Some(key) = &pool.tls_key {
            files = balance::mix(files) ^ fingerprint(key);
        }
        Material { back, files }
    }

    /// The certificate that the pool's backends are shown.
    pub(super) fn shown(&self) -> Option<&Identity> {
        self.back.as_ref()?.identity()
    }

    /// What connections to a backend of this host differ by.
    pub(super) fn identity(&self, pool: &config::Pool, host: &str) -> SecurityIdentity {
        match pool.tls {
            PoolTls::None => SecurityIdentity {
                tls: PoolTls::None,
                ..SecurityIdentity::default()
            },
            tls => SecurityIdentity {
                tls,
                implicit: pool.tls_implicit,
                name: Back::name(pool, host).to_owned(),
                files: self.files,
            },
        }
    }

    /// What the pool's connections are opened with. `names`: whose certificates they must be, by the places of the
    /// backends.
    pub(super) fn security<'a>(
        &self,
        i: usize,
        pool: &config::Pool,
        names: impl Iterator<Item = &'a str>,
        errors: &mut Vec<BuildError>,
    ) -> Security {
        let made = self.back.as_ref().map(|back| back.connectors(names));
        let connectors = made.unwrap_or(Ok(Vec::new())).unwrap_or_else(|fault| {
            let key = format!("pool[{i}].{}", fault.key);
            errors.push(TlsFault { key, ..fault }.into());
            Vec::new()
        });
        Security {
            mode: pool.tls,
            implicit: pool.tls_implicit,
            connectors,
        }
    }
}

/// What is wrong with the files that the pools of a configuration name for TLS, and the certificates that backends are shown, each
/// with the number of its pool. No name is looked up for it.
#[must_use]
pub fn look(config: &config::Config) -> (Vec<TlsFault>, Vec<(usize, Identity)>) {
    let (mut faults, mut shown) = (Vec::new(), Vec::new());
    for (i, pool) in config.pool.iter().enumerate() {
        let material = Material::read(i, pool, &mut faults);
        shown.extend(material.shown().map(|identity| (i, identity.clone())));
    }
    (faults, shown)
}

/// A hash of a file; one that can't be read is told elsewhere.
fn fingerprint(file: &Path) -> u64 {
    config::read_secret(file).map_or(0, |octets| balance::hash(&octets))
}
