//! A client's side of SMTP as far as AUTH goes: greeting, EHLO, STARTTLS, AUTH (RFC 4954), QUIT.
//!
//! What it must not know: pools, and what follows from an answer.

use super::sasl::Saying;
use crate::{
    auth::{Credential, Mechanism},
    smtp::reply_parse::{Progress, ReplyLimits, ReplyReader},
    tls::Connector,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;

/// What carries it: a socket, or TLS over one.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// One connection to a server.
pub struct Dialogue {
    wire: Box<dyn Wire>,
    reader: ReplyReader,
    /// Received, and no part of a reply that was heard.
    input: Vec<u8>,
    /// What the last EHLO brought, in upper case.
    offered: String,
}

impl Dialogue {
    /// On a connection that has been made.
    pub fn new(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Dialogue {
        Dialogue {
            wire: Box::new(stream),
            reader: ReplyReader::new(ReplyLimits::default()),
            input: Vec::new(),
            offered: String::new(),
        }
    }

    /// Does the TLS handshake. Of what was heard in the clear nothing is kept (RFC 3207 §4.2).
    ///
    /// # Errors
    /// It failed.
    pub async fn secure(self, connector: &Connector) -> io::Result<Dialogue> {
        let (config, name) = connector.parts();
        let stream = TlsConnector::from(config).connect(name, self.wire);
        Ok(Dialogue::new(stream.await?))
    }

    /// Sends a line.
    pub async fn say(&mut self, line: &[u8]) -> Result<(), String> {
        let line = [line, b"\r\n"].concat();
        let sent = match self.wire.write_all(&line).await {
            // TLS may have kept some of it.
            Ok(()) => self.wire.flush().await,
            failed => failed,
        };
        sent.map_err(|why| format!("the connection broke: {why}"))
    }

    /// The code of the next reply.
    pub async fn hear(&mut self) -> Result<u16, String> {
        loop {
            let progress = self.reader.read(&self.input);
            match progress.map_err(|why| why.as_str().to_string())? {
                Progress::Done(taken) => {
                    self.input.drain(..taken);
                    return Ok(self.reader.reply().head.code);
                }
                Progress::More => self.input.clear(),
            }
            match self.wire.read_buf(&mut self.input).await {
                Ok(0) => return Err("it closed the connection".into()),
                Ok(_) => {}
                Err(why) => return Err(format!("the connection broke: {why}")),
            }
        }
    }

    /// Hears a reply that must have this code.
    pub async fn expect(&mut self, wanted: u16, to: &str) -> Result<(), String> {
        match self.hear().await? {
            code if code == wanted => Ok(()),
            _ => Err(format!("{to} got {}", self.shown())),
        }
    }

    /// Introduces ourselves with this command, and remembers what is offered.
    pub async fn hello(&mut self, command: &str) -> Result<(), String> {
        self.say(command.as_bytes()).await?;
        self.expect(250, "EHLO").await?;
        self.offered = String::from_utf8_lossy(self.text()).to_ascii_uppercase();
        Ok(())
    }

    /// Whether the last EHLO offered STARTTLS.
    pub fn offers_tls(&self) -> bool {
        // The first line is a name.
        self.offered
            .lines()
            .skip(1)
            .any(|line| line.trim_end() == "STARTTLS")
    }

    /// Asks for TLS (RFC 3207 §4): whether the handshake is next. A server that refuses may be talked to in the clear.
    ///
    /// # Errors
    /// Something came that nothing was to follow: whoever stands between puts replies there, to be read as the server's own
    /// after the handshake. Or the connection is lost.
    pub async fn ask_for_tls(&mut self) -> Result<bool, String> {
        let unasked = "it said more than it was asked around STARTTLS";
        if !self.input.is_empty() {
            return Err(unasked.into());
        }
        self.say(b"STARTTLS").await?;
        match self.hear().await? {
            220 if !self.input.is_empty() => Err(unasked.into()),
            220 => Ok(true),
            400.. if self.reader.reply().head.code != 421 => Ok(false),
            _ => Err(format!("STARTTLS got {}", self.shown())),
        }
    }

    /// Whether the last EHLO offered this mechanism, whose name is in upper case.
    pub fn offers(&self, mechanism: &str) -> bool {
        mechanisms(&self.offered).any(|name| name == mechanism)
    }

    /// The code of the last word on it.
    pub async fn authenticate(
        &mut self,
        saying: &Saying,
        credential: &Credential,
    ) -> Result<u16, String> {
        if let (Mechanism::Login, Credential::Password { user, password }) =
            (saying.mechanism, credential)
        {
            self.say(b"AUTH LOGIN").await?;
            for word in [user.as_bytes(), password.octets()] {
                match self.hear().await? {
                    334 => self.say(STANDARD.encode(word).as_bytes()).await?,
                    code => return Ok(code),
                }
            }
            return self.hear().await;
        }
        let name = saying.mechanism.as_str();
        let response = STANDARD.encode(saying.response.octets());
        // RFC 4954 §4: an initial response that makes the command longer than 512 octets goes by itself.
        if "AUTH  \r\n".len() + name.len() + response.len() <= 512 {
            self.say(format!("AUTH {name} {response}").as_bytes())
                .await?;
        } else {
            self.say(format!("AUTH {name}").as_bytes()).await?;
            match self.hear().await? {
                334 => self.say(response.as_bytes()).await?,
                code => return Ok(code),
            }
        }
        match self.hear().await? {
            // Why a token is no good (RFC 7628 §3.2.3); an answer that says nothing brings the 535.
            334 => {
                self.say(b"AQ==").await?;
                self.hear().await
            }
            code => Ok(code),
        }
    }

    /// Says QUIT and goes. The answer is not awaited, because the asker waits.
    pub async fn leave(mut self) {
        if self.say(b"QUIT").await.is_ok() {
            // TLS ends with a word of its own.
            let _ = self.wire.shutdown().await;
        }
    }

    fn text(&self) -> &[u8] {
        self.reader.reply().text()
    }

    /// The last reply for the log: its code, and its text without an enhanced one.
    pub fn shown(&self) -> String {
        let code = self.reader.reply().head.code;
        let text = format!("{code} {}", String::from_utf8_lossy(self.text()));
        text.chars().take(200).collect()
    }
}

/// The mechanisms in a reply to EHLO that is in upper case.
fn mechanisms(text: &str) -> impl Iterator<Item = &str> {
    let named = text.lines().filter_map(|line| line.strip_prefix("AUTH"));
    named
        // `AUTH=PLAIN` is what servers said before RFC 2554.
        .filter(|rest| rest.starts_with([' ', '=']))
        .flat_map(|rest| rest.split([' ', '=']))
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_mechanisms() {
        let text = "MX.EXAMPLE\nSIZE 1\nAUTH PLAIN LOGIN\nAUTH=XOAUTH2\nAUTHOR X";
        let found: Vec<&str> = mechanisms(text).collect();
        assert_eq!(found, ["PLAIN", "LOGIN", "XOAUTH2"]);
        assert!(mechanisms("MX.EXAMPLE\nSIZE").next().is_none());
    }
}
