//! Pass-through: the AUTH of a pool's backends says whose a credential is (RFC 4954). A connection of its own for each
//! question, opened, asked once, and closed with QUIT: one that has authenticated belongs to that user and is not used again.
//!
//! It opens the session as the pool's messages do, by the same machine, files and names: TLS at once or by STARTTLS, in
//! clear text only where a message would go in clear text. What fails there is this backend's trouble, never a wrong
//! password.

use super::{
    dialogue::{Dialogue, Opening},
    owned::Owned,
    sasl,
};
use crate::{
    auth::{Attempt, Credential, Outcome},
    config::{Config, Credentials, Pool, PoolIdentity, PoolTls},
    log::say,
    proxy_protocol::{self, Version},
    smtp::{BackendSession, BackendSettings},
    tls::{Back, Connector, TlsFault},
};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

/// A pool's backends as a source.
#[derive(Debug)]
pub struct Backend {
    places: Vec<Place>,
    next: AtomicUsize,
    /// For one backend to take the connection, and as long for its handshake, so that one that is dead doesn't take the
    /// time of the others.
    share: Duration,
    /// As messages to this pool have it.
    session: Arc<BackendSettings>,
    /// The same where the handshake failed and isn't a must.
    clear: Arc<BackendSettings>,
    tls: PoolTls,
    implicit: bool,
    /// The PROXY header that its listeners want to see first.
    header: Option<Version>,
    owned: Owned,
}

/// One backend.
#[derive(Debug)]
struct Place {
    /// `host:port`.
    address: String,
    /// None where the pool speaks no TLS.
    connector: Option<Connector>,
    /// The last handshake failed, and that was logged.
    insecure: AtomicBool,
}

/// Why a backend can't be asked.
enum Trouble {
    /// The TLS handshake failed.
    Handshake(String),
    Other(String),
}

impl From<String> for Trouble {
    fn from(why: String) -> Trouble {
        Trouble::Other(why)
    }
}

impl Backend {
    /// Finds the pool and reads its certificates; connects to nothing yet.
    ///
    /// # Errors
    /// There is no such pool, or its files can't be used.
    pub fn build(
        credentials: &Credentials,
        config: &Config,
        owned: Owned,
    ) -> Result<Backend, String> {
        let name = &credentials.pool;
        let pool = config.pool.iter().find(|pool| pool.name == *name);
        let pool = pool.ok_or_else(|| format!("there is no pool \"{name}\""))?;
        let places = places(pool).map_err(|faults| {
            let told = faults.iter().map(|TlsFault { key, error }| {
                format!("its pool \"{name}\" can't be asked: {key}: {error}")
            });
            told.collect::<Vec<_>>().join("; ")
        })?;
        let session = pool.session(&config.hostname);
        let tries = u32::try_from(places.len().max(1)).unwrap_or(u32::MAX);
        Ok(Backend {
            places,
            next: AtomicUsize::new(0),
            share: credentials.timeout.0 / tries,
            clear: Arc::new(session.in_clear()),
            session: Arc::new(session),
            tls: pool.tls,
            implicit: pool.tls_implicit,
            header: match pool.identity {
                PoolIdentity::ProxyV1 => Some(Version::V1),
                PoolIdentity::ProxyV2 => Some(Version::V2),
                _ => None,
            },
            owned,
        })
    }

    /// Asks a backend, and the next where one is not there.
    pub async fn check(&self, attempt: &Attempt) -> Outcome {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut last = "the pool has no backends".to_string();
        for i in 0..self.places.len() {
            let place = &self.places[(first.wrapping_add(i)) % self.places.len()];
            match self.ask(place, attempt).await {
                Ok(outcome) => return outcome,
                Err(why) => last = format!("{}: {why}", place.address),
            }
        }
        Outcome::Unavailable(last)
    }

    /// An error where another backend may know more.
    async fn ask(&self, place: &Place, attempt: &Attempt) -> Result<Outcome, String> {
        let opened = match self.open(place, true, attempt.client).await {
            Err(Trouble::Handshake(why)) if self.tls == PoolTls::Opportunistic => {
                if !place.insecure.swap(true, Ordering::Relaxed) {
                    let address = &place.address;
                    say!(
                        Warn,
                        "{address}: no TLS: {why}; passwords are sent to it in clear text"
                    );
                }
                self.open(place, false, attempt.client).await
            }
            opened => opened,
        };
        let mut dialogue = opened.map_err(|trouble| match trouble {
            Trouble::Handshake(why) => format!("no TLS: {why}"),
            Trouble::Other(why) => why,
        })?;
        let Some(saying) = sasl::saying(attempt, |name| dialogue.offers(name))? else {
            return Ok(Outcome::Denied);
        };
        let head = dialogue.authenticate(&saying, &attempt.credential).await?;
        let outcome = match head.code {
            235 => self.grant(&attempt.credential),
            // RFC 4954 §6.
            535 => Outcome::Denied,
            _ => return Err(format!("AUTH got {}", dialogue.shown())),
        };
        dialogue.leave().await;
        Ok(outcome)
    }

    /// From the connection to the EHLO whose mechanisms count. `secures`: whether TLS is asked for where the pool wants it.
    async fn open(
        &self,
        place: &Place,
        secures: bool,
        client: IpAddr,
    ) -> Result<Dialogue, Trouble> {
        let mut stream = timeout(self.share, TcpStream::connect(&*place.address))
            .await
            .map_err(|_| "can't connect in time".to_string())?
            .map_err(|why| format!("can't connect: {why}"))?;
        // EHLO follows the handshake's last word, which has no answer. A socket that won't have it is slower.
        let _ = stream.set_nodelay(true);
        if let Some(version) = self.header {
            announce(&mut stream, version, client)
                .await
                .map_err(|why| format!("can't be told whose password it is: {why}"))?;
        }
        let connector = place.connector.as_ref().filter(|_| secures);
        let session = match secures {
            true if self.implicit => BackendSession::over_tls(Arc::clone(&self.session)),
            true => BackendSession::new(Arc::clone(&self.session)),
            false => BackendSession::new(Arc::clone(&self.clear)),
        };
        let mut handshake = session.is_secured();
        let mut dialogue = Dialogue::new(stream, session);
        loop {
            if handshake {
                let connector = connector.ok_or("no TLS: nothing to do it with".to_string())?;
                dialogue = self.shake_hands(place, dialogue, connector).await?;
            }
            match dialogue.open().await? {
                Opening::Ready => return Ok(dialogue),
                Opening::Handshake => handshake = true,
            }
        }
    }

    async fn shake_hands(
        &self,
        place: &Place,
        dialogue: Dialogue,
        connector: &Connector,
    ) -> Result<Dialogue, Trouble> {
        // Where a second connection may follow, half of the time is for this one.
        let limit = match self.tls {
            PoolTls::Opportunistic => self.share / 2,
            _ => self.share,
        };
        let done = timeout(limit, dialogue.secure(connector)).await;
        let secured = done
            .map_err(|_| Trouble::Handshake("the handshake takes too long".into()))?
            .map_err(|why| Trouble::Handshake(why.to_string()))?;
        place.insecure.store(false, Ordering::Relaxed);
        Ok(secured)
    }

    fn grant(&self, credential: &Credential) -> Outcome {
        match credential {
            Credential::Password { user, .. }
            | Credential::Token {
                user: Some(user), ..
            } => self.owned.grant(user, None),
            Credential::Token { user: None, .. } => {
                Outcome::Unavailable("a backend does not say whose a token is".into())
            }
        }
    }
}

/// Tells a backend by a PROXY header that the password is this client's, so that a server which slows down those that guess
/// doesn't slow us down. The port is our own: the client's is not known here, and Dovecot takes no 0.
async fn announce(stream: &mut TcpStream, version: Version, client: IpAddr) -> io::Result<()> {
    let client = SocketAddr::new(client, stream.local_addr()?.port());
    let mut header = Vec::new();
    proxy_protocol::write(version, Some((client, stream.peer_addr()?)), &mut header);
    stream.write_all(&header).await
}

/// The backends of a pool, each with what a handshake with it begins with.
fn places(pool: &Pool) -> Result<Vec<Place>, Vec<TlsFault>> {
    let connectors = match Back::read(pool)? {
        Some(back) => {
            let names = pool.backends.iter().map(|b| Back::name(pool, b.host()));
            back.connectors(names).map_err(|fault| vec![fault])?
        }
        None => Vec::new(),
    };
    let mut connectors = connectors.into_iter();
    Ok(pool
        .backends
        .iter()
        .map(|backend| Place {
            address: backend.address().to_string(),
            connector: connectors.next(),
            insecure: AtomicBool::new(false),
        })
        .collect())
}
