//! A listener's side.

use super::{ALPN, Anchors, Error, Identity, Store, TlsFacts, provider, trust::Clients};
use crate::config::{ClientCertificates, TlsVersion};
use rustls::{
    Connection, ServerConfig, ServerConnection,
    server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier},
    version::{TLS12, TLS13},
};
use std::{fmt, sync::Arc};

/// What a listener answers handshakes with; cheap to clone.
#[derive(Clone)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    /// What clients' certificates are held against, where they are asked for one.
    clients: Option<Arc<Clients>>,
}

/// What makes one listener's handshakes differ from another's.
pub(super) struct Terms<'a> {
    pub oldest: TlsVersion,
    /// Whether clients are asked for a certificate, and which authorities are believed.
    pub clients: Option<(ClientCertificates, &'a Anchors)>,
    /// Seals and opens session tickets.
    pub tickets: Option<Arc<dyn ProducesTickets>>,
}

impl Acceptor {
    /// With one certificate for every name, and no question for the client's.
    ///
    /// # Errors
    /// The cryptography has no such versions, which is a bug of ours.
    pub fn new(identity: &Identity) -> Result<Acceptor, Error> {
        let terms = Terms {
            oldest: TlsVersion::V12,
            clients: None,
            tickets: None,
        };
        Acceptor::of(Arc::new(Store::new(vec![identity.clone()])), terms)
    }

    /// With the certificates of a store.
    pub(super) fn of(store: Arc<Store>, terms: Terms<'_>) -> Result<Acceptor, Error> {
        let told = |why: &dyn fmt::Display| Error::new(why.to_string());
        let versions: &[_] = match terms.oldest {
            TlsVersion::V12 => &[&TLS13, &TLS12],
            TlsVersion::V13 => &[&TLS13],
        };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(|why| told(&why))?;
        let clients = match terms.clients {
            None | Some((ClientCertificates::Off, _)) => None,
            Some((wanted, anchors)) => {
                let roots = Arc::clone(&anchors.roots);
                let strict = WebPkiClientVerifier::builder_with_provider(roots, provider());
                Some(Arc::new(Clients {
                    strict: strict.build().map_err(|why| told(&why))?,
                    takes_any: wanted == ClientCertificates::Optional,
                }))
            }
        };
        let builder = match &clients {
            None => builder.with_no_client_auth(),
            Some(clients) => builder.with_client_cert_verifier(clients.clone()),
        };
        let mut config = builder.with_cert_resolver(store);
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Sessions are remembered by the clients, in tickets: no memory here, and any worker takes them.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = usize::from(terms.tickets.is_some());
        if let Some(tickets) = terms.tickets {
            config.ticketer = tickets;
        }
        let config = Arc::new(config);
        Ok(Acceptor { config, clients })
    }

    /// A handshake that is about to begin.
    pub(crate) fn begin(&self) -> Result<Connection, rustls::Error> {
        ServerConnection::new(Arc::clone(&self.config)).map(Connection::from)
    }

    /// May a client's last flight hold a certificate?
    pub(crate) fn asks(&self) -> bool {
        self.clients.is_some()
    }

    /// What a handshake that is over brought. It may take as long as the handshake, for a certificate.
    pub(crate) fn facts(&self, connection: &Connection) -> TlsFacts {
        let clients = self.clients.as_ref();
        TlsFacts::of(connection, |chain| {
            clients.is_none_or(|clients| clients.believes(chain))
        })
    }
}

/// Of a configuration that was made elsewhere, and asks clients for no certificate: tests and load generators want more than a
/// file can say.
impl From<Arc<ServerConfig>> for Acceptor {
    fn from(config: Arc<ServerConfig>) -> Acceptor {
        Acceptor {
            config,
            clients: None,
        }
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acceptor")
    }
}
