//! TLS towards the backends of one pool: trust anchors, our own certificate, and a connector for each of them.
//!
//! Messages and questions for passwords take the same, so that neither goes where the other would not.

use super::{Anchors, Connector, Error, Half, Identity, TlsFault, Verify};
use crate::config::{Pool, PoolTls};
use rustls::pki_types::ServerName;

/// What a pool's files hold.
#[derive(Clone, Debug)]
pub struct Back {
    verify: Verify,
    identity: Option<Identity>,
}

impl Back {
    /// Reads the files that a pool names; `None` where it speaks no TLS. A fault's key is one of the pool's own (`tls_ca`).
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn read(pool: &Pool) -> Result<Option<Back>, Vec<TlsFault>> {
        if pool.tls == PoolTls::None {
            return Ok(None);
        }
        let mut faults = Vec::new();
        let mut wrong = |key: &str, error: Error| {
            let key = key.to_string();
            faults.push(TlsFault { key, error });
        };
        let mut verify = Verify::Nothing;
        if pool.tls == PoolTls::Verify {
            let (key, anchors) = match &pool.tls_ca {
                Some(file) => ("tls_ca", Anchors::read(file)),
                None => ("tls", Anchors::system()),
            };
            match anchors {
                Ok(anchors) => verify = Verify::Against(anchors),
                Err(why) => wrong(key, why),
            }
        }
        let mut identity = None;
        if let Some(chain) = &pool.tls_certificate {
            match Identity::halves(chain, pool.tls_key.as_ref().unwrap_or(chain)) {
                Ok(read) => identity = Some(read),
                Err((Half::Key, why)) if pool.tls_key.is_some() => wrong("tls_key", why),
                Err((_, why)) => wrong("tls_certificate", why),
            }
        }
        match faults.is_empty() {
            true => Ok(Some(Back { verify, identity })),
            false => Err(faults),
        }
    }

    /// Our own certificate, where we show one.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// A connector for each of these names, which share what is remembered of sessions.
    ///
    /// # Errors
    /// A name is none that a certificate could hold.
    pub fn connectors<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<Connector>, TlsFault> {
        let fault = |error| TlsFault {
            key: "tls_name".into(),
            error,
        };
        let mut made: Vec<Connector> = Vec::new();
        for name in names {
            let server = ServerName::try_from(name.to_owned()).map_err(|_| {
                let problem = format!("\"{name}\" is no name that a certificate could hold");
                fault(Error::new(problem))
            })?;
            made.push(match made.first() {
                Some(first) => first.named(server),
                None => {
                    Connector::new(&self.verify, server, self.identity.as_ref()).map_err(fault)?
                }
            });
        }
        Ok(made)
    }

    /// The name that a backend of this host is asked for, and that its certificate must hold where that is verified.
    #[must_use]
    pub fn name<'a>(pool: &'a Pool, host: &'a str) -> &'a str {
        match &*pool.tls_name {
            "" => host,
            name => name,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let pool = Pool {
            tls: PoolTls::Verify,
            tls_ca: Some("/nowhere/ca.pem".into()),
            tls_certificate: Some("/nowhere/own.pem".into()),
            ..Pool::default()
        };
        let faults = Back::read(&pool).unwrap_err();
        let keys: Vec<&str> = faults.iter().map(|fault| &*fault.key).collect();
        assert_eq!(keys, ["tls_ca", "tls_certificate"]);
        let none = Pool {
            tls: PoolTls::None,
            ..pool
        };
        assert!(Back::read(&none).unwrap().is_none());
    }

    #[test]
    fn a_name_that_is_none_is_a_fault() {
        let back = Back::read(&Pool::default()).unwrap().unwrap();
        let made = back.connectors(["a.example", "192.0.2.1", "2001:db8::1"]);
        assert_eq!(made.unwrap().len(), 3);
        let fault = back.connectors(["a.example", "not a name"]).unwrap_err();
        assert_eq!(fault.key, "tls_name");
    }
}
