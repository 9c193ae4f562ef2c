//! The source's side: two configurations, one that resumes sessions as often as it can and one that never does.

use super::provider;
use gatepost::tls::{Connector, unverified};
use rustls::{
    ClientConfig, ClientConnection, NamedGroup, RootCertStore, StreamOwned,
    client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue},
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use std::{
    collections::VecDeque,
    io,
    net::TcpStream,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Tickets of one server that are kept: each is used once, and many connections may begin before the first is over.
const TICKETS_MAX: usize = 8192;
/// Servers that are remembered.
const SERVERS_MAX: usize = 64;

/// What a server's certificate is held against.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Nothing; that the server has its key is looked at all the same.
    #[default]
    Nothing,
    /// The anchors of this machine, and the name.
    System,
    /// Those of a PEM file, and the name.
    File(PathBuf),
}

/// A client of TLS.
#[derive(Clone, Debug)]
pub struct Client {
    resuming: Arc<ClientConfig>,
    fresh: Arc<ClientConfig>,
}

impl Client {
    /// That holds servers against `verify`.
    ///
    /// # Errors
    /// Anchors can't be read.
    pub fn new(verify: &Verify) -> Result<Client, String> {
        let mut resuming = config(verify)?;
        let mut fresh = resuming.clone();
        resuming.resumption = Resumption::store(Arc::new(Tickets::default()));
        fresh.resumption = Resumption::disabled();
        Ok(Client {
            resuming: Arc::new(resuming),
            fresh: Arc::new(fresh),
        })
    }

    /// For a server of this name: one that resumes where there is a ticket, or one that shakes hands in full.
    #[must_use]
    pub fn connector(&self, name: &ServerName<'static>, resumes: bool) -> Connector {
        let config = if resumes { &self.resuming } else { &self.fresh };
        Connector::with_config(Arc::clone(config), name.clone())
    }
}

/// A blocking stream that shakes hands in full, with whoever is there.
///
/// # Errors
/// The handshake failed.
pub fn plain_stream(stream: TcpStream) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let client = Client::new(&Verify::Nothing).map_err(io::Error::other)?;
    let name = ServerName::from(stream.peer_addr()?.ip());
    let connection = ClientConnection::new(client.fresh, name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

fn config(verify: &Verify) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|why| why.to_string())?;
    let roots = match verify {
        Verify::Nothing => {
            return Ok(builder
                .dangerous()
                .with_custom_certificate_verifier(unverified())
                .with_no_client_auth());
        }
        Verify::System => {
            let found = rustls_native_certs::load_native_certs();
            if found.certs.is_empty() {
                return Err("this machine has no trust anchors; name a file of them".into());
            }
            anchors(found.certs)
        }
        Verify::File(path) => read(path)?,
    };
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn read(path: &Path) -> Result<RootCertStore, String> {
    let at = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|why| at(&why))?;
    let roots = anchors(found);
    match roots.is_empty() {
        true => Err(at(&"no certificate is in it")),
        false => Ok(roots),
    }
}

fn anchors(found: Vec<CertificateDer<'static>>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found);
    roots
}

/// What is known of one server.
#[derive(Debug)]
struct Known {
    name: ServerName<'static>,
    group: Option<NamedGroup>,
    session: Option<Tls12ClientSessionValue>,
    tickets: VecDeque<Tls13ClientSessionValue>,
}

/// All tickets of a run. The store that rustls brings keeps eight a server, too few for connections that begin together.
#[derive(Debug, Default)]
struct Tickets(Mutex<Vec<Known>>);

impl Tickets {
    fn locked(&self) -> MutexGuard<'_, Vec<Known>> {
        // Each change leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, name: &ServerName<'_>, change: impl FnOnce(&mut Known) -> T) -> T {
        let mut servers = self.locked();
        let at = match servers.iter().position(|one| one.name == *name) {
            Some(at) => at,
            None => {
                if servers.len() >= SERVERS_MAX {
                    servers.remove(0);
                }
                servers.push(Known {
                    name: name.to_owned(),
                    group: None,
                    session: None,
                    tickets: VecDeque::new(),
                });
                servers.len() - 1
            }
        };
        change(&mut servers[at])
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.with(&name, |known| known.group = Some(group));
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.with(name, |known| known.group)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.with(&name, |known| known.session = Some(value));
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.with(name, |known| known.session.clone())
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.with(name, |known| known.session = None);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.with(&name, |known| {
            if known.tickets.len() >= TICKETS_MAX {
                known.tickets.pop_front();
            }
            known.tickets.push_back(value);
        });
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.with(name, |known| known.tickets.pop_back())
    }
}
