//! How a pool's connections are secured: made of its `tls` keys when a configuration is built, used by `connect`.
//!
//! The files are read then, by the supervisor, so that one that is broken refuses the configuration and no worker ever
//! touches the disk. What connections differ by goes into the backend's identity: a reload with other anchors, another
//! certificate or another name begins with new connections.

use super::{backend::Backend, backends::BuildError, balance};
use crate::{
    config::{self, PoolTls},
    smtp::client::StartTls,
    tls::{Anchors, Connector, Error, Fault, Half, Identity, Verify},
};
use rustls::pki_types::ServerName;
use std::{path::Path, sync::Arc};

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

/// Whether STARTTLS is asked for.
pub(super) fn asks(pool: &config::Pool) -> StartTls {
    match pool.tls {
        // The client is told that it is over TLS already.
        _ if pool.tls_implicit => StartTls::Always,
        PoolTls::None => StartTls::Never,
        PoolTls::Opportunistic => StartTls::IfOffered,
        PoolTls::Required | PoolTls::Verify => StartTls::Always,
    }
}

/// What the files hold.
#[derive(Default)]
pub(super) struct Material {
    verify: Option<Verify>,
    identity: Option<Identity>,
    files: u64,
}

impl Material {
    /// Reads a pool's files. What is wrong with them is added to `faults`.
    pub(super) fn read(i: usize, pool: &config::Pool, faults: &mut Vec<Fault>) -> Material {
        if pool.tls == PoolTls::None {
            return Material::default();
        }
        let mut files = 0;
        let mut wrong = |key: &str, mut error: Error| {
            error.problem = format!("pool \"{}\": {}", pool.name, error.problem);
            faults.push(Fault {
                key: format!("pool[{i}].{key}"),
                error,
            });
        };
        let mut verify = Some(Verify::Nothing);
        if pool.tls == PoolTls::Verify {
            let anchors = match &pool.tls_ca {
                Some(file) => Anchors::read(file),
                None => Anchors::system(),
            };
            let key = pool.tls_ca.as_ref().map_or("tls", |_| "tls_ca");
            verify = anchors
                .map(Verify::Against)
                .map_err(|why| wrong(key, why))
                .ok();
            files ^= pool.tls_ca.as_deref().map_or(0, fingerprint);
        }
        let mut identity = None;
        if let Some(chain) = &pool.tls_certificate {
            let key = pool.tls_key.as_ref().unwrap_or(chain);
            identity = Identity::read_in_force(chain, key)
                .map_err(|(half, why)| match half {
                    Half::Key if pool.tls_key.is_some() => wrong("tls_key", why),
                    _ => wrong("tls_certificate", why),
                })
                .ok();
            files = balance::mix(files) ^ fingerprint(chain);
        }
        Material {
            verify,
            identity,
            files,
        }
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
                name: match &*pool.tls_name {
                    "" => host.to_owned(),
                    name => name.to_owned(),
                },
                files: self.files,
            },
        }
    }

    /// What the pool's connections are opened with.
    pub(super) fn security(
        &self,
        i: usize,
        pool: &config::Pool,
        backends: &[Arc<Backend>],
        errors: &mut Vec<BuildError>,
    ) -> Security {
        let connectors = match self.connectors(backends) {
            Ok(connectors) => connectors,
            Err(problem) => {
                errors.push(BuildError {
                    key: format!("pool[{i}].tls_name"),
                    problem,
                });
                Vec::new()
            }
        };
        Security {
            mode: pool.tls,
            implicit: pool.tls_implicit,
            connectors,
        }
    }

    fn connectors(&self, backends: &[Arc<Backend>]) -> Result<Vec<Connector>, String> {
        let Some(verify) = &self.verify else {
            return Ok(Vec::new());
        };
        let mut first: Option<Connector> = None;
        let mut made = Vec::new();
        for backend in backends {
            let name = &backend.identity.security.name;
            let server = ServerName::try_from(name.clone())
                .map_err(|_| format!("\"{name}\" is no name that a certificate could hold"))?;
            let connector = match &first {
                Some(first) => first.named(server),
                None => Connector::new(verify, server, self.identity.as_ref())
                    .map_err(|why| why.to_string())?,
            };
            made.push(first.insert(connector).clone());
        }
        Ok(made)
    }
}

/// What is wrong with the files that the pools of a configuration name for TLS. No name is looked up for it.
#[must_use]
pub fn faults(config: &config::Config) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (i, pool) in config.pool.iter().enumerate() {
        let _ = Material::read(i, pool, &mut faults);
    }
    faults
}

/// A hash of a file; one that can't be read is told elsewhere.
fn fingerprint(file: &Path) -> u64 {
    config::read_secret(file).map_or(0, |octets| balance::hash(&octets))
}
