//! A backend session (`smtp::backend_session`) over a stream of the control thread: opening with STARTTLS, AUTH, QUIT.
//!
//! What it must not know: pools, and what follows from an answer.

use super::sasl::Saying;
use crate::{
    auth::{Credential, Mechanism},
    smtp::{
        BackendError, BackendSession, Event,
        reply_parse::{ReplyHead, ReplyRef},
    },
    tls::Connector,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;

/// What carries it: a socket, or TLS over one.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// An answer that says nothing, to a server that tells why a token is no good (RFC 7628 §3.2.3): it brings the 535.
const NOTHING: &str = "AQ==";

/// One connection to a server.
pub struct Dialogue {
    wire: Box<dyn Wire>,
    session: BackendSession,
    /// Received, and not taken by the session.
    input: Vec<u8>,
    /// What the session wants to be sent.
    out: Vec<u8>,
}

/// How far the opening came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// [`Dialogue::secure`] is next.
    Handshake,
    /// The session is open.
    Ready,
}

impl Dialogue {
    /// On a connection that has been made.
    pub fn new(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        session: BackendSession,
    ) -> Dialogue {
        Dialogue {
            wire: Box::new(stream),
            session,
            input: Vec::new(),
            out: Vec::new(),
        }
    }

    /// Hears the greeting and says EHLO; after [`Dialogue::secure`] it goes on from there.
    ///
    /// # Errors
    /// The session can't be opened as its settings want it, or the connection is lost.
    pub async fn open(&mut self) -> Result<Opening, String> {
        match self.next().await? {
            Event::StartTls if self.input.is_empty() => Ok(Opening::Handshake),
            Event::Ready if self.input.is_empty() && self.session.is_clean() => Ok(Opening::Ready),
            _ => Err(BackendError::Unasked.as_str().into()),
        }
    }

    /// Does the TLS handshake. Of what was heard in the clear nothing is kept (RFC 3207 §4.2).
    ///
    /// # Errors
    /// It failed.
    pub async fn secure(mut self, connector: &Connector) -> io::Result<Dialogue> {
        let (config, name) = connector.parts();
        let stream = TlsConnector::from(config).connect(name, self.wire).await?;
        if !self.session.is_secured() {
            self.session.secured(&mut self.out);
        }
        Ok(Dialogue {
            wire: Box::new(stream),
            ..self
        })
    }

    /// The next event that is not `Read`.
    async fn next(&mut self) -> Result<Event, String> {
        loop {
            let step = self.session.step(&self.input, &mut self.out);
            self.input.drain(..step.consumed);
            match step.event {
                Event::Read => {}
                Event::Failed(error) => return Err(self.told(error)),
                event => return Ok(event),
            }
            self.flush().await.map_err(|why| broken(&why))?;
            match self.wire.read_buf(&mut self.input).await {
                Ok(0) => return Err("closed the connection".into()),
                Ok(_) => {}
                Err(why) => return Err(broken(&why)),
            }
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.wire.write_all(&self.out).await?;
        self.out.clear();
        // TLS may have kept some of it.
        self.wire.flush().await
    }

    /// Whether the last EHLO offered this mechanism.
    pub fn offers(&self, mechanism: &str) -> bool {
        self.session.capabilities().mechanisms.has(mechanism)
    }

    /// The last reply on it.
    ///
    /// # Errors
    /// There was none, or it asks for what the mechanism doesn't have.
    pub async fn authenticate(
        &mut self,
        saying: &Saying,
        credential: &Credential,
    ) -> Result<ReplyHead, String> {
        let (initial, responses) = match (saying.mechanism, credential) {
            (Mechanism::Login, Credential::Password { user, password }) => {
                let words = [user.as_bytes(), password.octets()];
                (String::new(), words.map(|word| STANDARD.encode(word)))
            }
            _ => {
                let response = STANDARD.encode(saying.response.octets());
                (response.clone(), [response, NOTHING.into()])
            }
        };
        let mut responses = responses.iter();
        let name = saying.mechanism.as_str();
        let initial = initial.as_bytes();
        if self.session.authenticate(name, initial, &mut self.out) {
            // It has gone with the command.
            responses.next();
        }
        loop {
            match self.next().await? {
                Event::Authenticated(head) => return Ok(head),
                Event::Challenge => {
                    let response = responses.next();
                    let response = response.ok_or_else(|| format!("AUTH got {}", self.shown()))?;
                    self.session.respond(response.as_bytes(), &mut self.out);
                }
                _ => return Err(BackendError::Unasked.as_str().into()),
            }
        }
    }

    /// Says QUIT and goes. The answer is not awaited, because the asker waits.
    pub async fn leave(mut self) {
        self.session.quit(&mut self.out);
        if self.flush().await.is_ok() {
            // TLS ends with a word of its own.
            let _ = self.wire.shutdown().await;
        }
    }

    /// The last reply for the log: its code, and its text without an enhanced one.
    pub fn shown(&self) -> String {
        let reply: ReplyRef<'_> = self.session.reply();
        let text = String::from_utf8_lossy(reply.text());
        let text = format!("{} {text}", reply.head.code);
        text.chars().take(200).collect()
    }

    /// Why the session failed.
    fn told(&self, error: BackendError) -> String {
        let what = match error {
            BackendError::NoTls | BackendError::TlsRefused(_) => {
                format!("no TLS: {}", error.as_str())
            }
            error => error.as_str().to_string(),
        };
        match error.head() {
            Some(_) => format!("{what}: {}", self.shown()),
            None => what,
        }
    }
}

fn broken(why: &io::Error) -> String {
    format!("the connection broke: {why}")
}
