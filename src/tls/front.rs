//! TLS for all listeners of a configuration: certificates from their files, an acceptor for each listener, and the keys
//! of the session tickets, which outlive a reload.

use super::{Acceptor, Anchors, CertificateSlot, Error, Half, Identity, Store, acceptor::Terms};
use crate::config::{Certificate, ClientCertificates, Config, Listener, ListenerTls};
use rustls::{crypto::aws_lc_rs::Ticketer, server::ProducesTickets};
use std::sync::Arc;

/// Something wrong, and the key of the configuration that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFault {
    /// Path of the key: `certificate[0].chain`.
    pub key: String,
    /// What is wrong.
    pub error: Error,
}

/// TLS for all listeners.
#[derive(Debug)]
pub struct Front {
    store: Arc<Store>,
    /// By the number of the listener; `None` where there is no TLS.
    acceptors: Vec<Option<Acceptor>>,
    tickets: Vec<Tickets>,
}

/// The keys of the tickets of one kind of listener.
///
/// A ticket that is good spares its bearer the check of a certificate. So tickets are only taken where the same was asked
/// of clients when they were given: each demand has keys of its own.
#[derive(Clone, Debug)]
// INV-TICKET
struct Tickets {
    demand: ClientCertificates,
    /// The authorities' certificates.
    anchors: Vec<u8>,
    keys: Arc<dyn ProducesTickets>,
}

impl Front {
    /// Reads everything that the configuration names. `before` lends the keys of the tickets, and the slot.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn build(config: &Config, before: Option<&Front>) -> Result<Front, Vec<TlsFault>> {
        let mut faults = Vec::new();
        let slot = before.map_or_else(CertificateSlot::default, |before| {
            before.store.slot().clone()
        });
        let store = Arc::new(Store::with(read(config, &mut faults), slot));
        let mut front = Front {
            acceptors: Vec::with_capacity(config.listener.len()),
            store,
            tickets: before.map_or_else(Vec::new, |before| before.tickets.clone()),
        };
        for (i, listener) in config.listener.iter().enumerate() {
            match front.listener(listener, &format!("listener[{i}]")) {
                Ok(acceptor) => front.acceptors.push(acceptor),
                Err(fault) => faults.push(fault),
            }
        }
        match faults.is_empty() {
            true => Ok(front),
            false => Err(faults),
        }
    }

    fn listener(&mut self, listener: &Listener, path: &str) -> Result<Option<Acceptor>, TlsFault> {
        if listener.tls == ListenerTls::None {
            return Ok(None);
        }
        let fault = |key: &str, error| TlsFault {
            key: format!("{path}.{key}"),
            error,
        };
        let wanted = listener.client_certificates;
        let anchors = match &listener.client_ca {
            Some(file) if wanted != ClientCertificates::Off => {
                Some(Anchors::read(file).map_err(|why| fault("client_ca", why))?)
            }
            _ => None,
        };
        let tickets = self
            .tickets(wanted, anchors.as_ref())
            .map_err(|why| fault("tls", why))?;
        let terms = Terms {
            oldest: listener.tls_min,
            clients: anchors.as_ref().map(|anchors| (wanted, anchors)),
            tickets: Some(tickets),
        };
        Acceptor::of(Arc::clone(&self.store), terms)
            .map(Some)
            .map_err(|why| fault("tls", why))
    }

    fn tickets(
        &mut self,
        demand: ClientCertificates,
        anchors: Option<&Anchors>,
    ) -> Result<Arc<dyn ProducesTickets>, Error> {
        let anchors: Vec<u8> = anchors.map_or_else(Vec::new, Anchors::fingerprint);
        let same = |known: &&Tickets| known.demand == demand && known.anchors == anchors;
        if let Some(known) = self.tickets.iter().find(same) {
            return Ok(Arc::clone(&known.keys));
        }
        let keys = Ticketer::new().map_err(|why| Error::new(why.to_string()))?;
        let kept = Arc::clone(&keys);
        self.tickets.push(Tickets {
            demand,
            anchors,
            keys,
        });
        Ok(kept)
    }

    /// What the listener of this number answers handshakes with; `None` where it speaks no TLS.
    #[must_use]
    pub fn acceptor(&self, listener: usize) -> Option<&Acceptor> {
        self.acceptors.get(listener)?.as_ref()
    }

    /// The certificates in force; a new one may be put in.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Does a listener speak TLS, and there is no certificate at all?
    #[must_use]
    pub fn lacks_certificate(&self) -> bool {
        self.acceptors.iter().any(Option::is_some) && self.store.all().is_empty()
    }
}

/// The certificates of a configuration.
fn read(config: &Config, faults: &mut Vec<TlsFault>) -> Vec<Identity> {
    let mut found = Vec::new();
    for (i, certificate) in config.certificate.iter().enumerate() {
        match identity(certificate) {
            Ok(identity) => found.push(identity),
            Err((key, error)) => faults.push(TlsFault {
                key: format!("certificate[{i}].{key}"),
                error,
            }),
        }
    }
    found
}

/// One of them; else which key of it is wrong, and why.
fn identity(certificate: &Certificate) -> Result<Identity, (&'static str, Error)> {
    let Certificate { chain, key } = certificate;
    Identity::halves(chain, key).map_err(|(half, why)| match half {
        Half::Chain => ("chain", why),
        Half::Key => ("key", why),
    })
}
