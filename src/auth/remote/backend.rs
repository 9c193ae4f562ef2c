//! Pass-through: the AUTH of a pool's backends says whose a credential is (RFC 4954). A connection of its own for each
//! question, opened, asked once, and closed with QUIT: one that has authenticated is somebody's, and none of ours.

use super::{
    owned::Owned,
    sasl::{self, Saying},
};
use crate::{
    auth::{Attempt, Credential, Mechanism, Outcome},
    config::{Config, Credentials, Protocol},
    smtp::reply_parse::{Progress, ReplyLimits, ReplyReader},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

/// A pool's backends as a source.
#[derive(Debug)]
pub struct Backend {
    places: Vec<String>,
    next: AtomicUsize,
    /// For one backend to take the connection, so that one that is dead doesn't take the time of the others.
    connect: Duration,
    hello: String,
    owned: Owned,
}

impl Backend {
    /// Finds the pool; connects to nothing yet.
    ///
    /// # Errors
    /// There is no such pool.
    pub fn build(
        credentials: &Credentials,
        config: &Config,
        owned: Owned,
    ) -> Result<Backend, String> {
        let name = &credentials.pool;
        let pool = config.pool.iter().find(|pool| pool.name == *name);
        let pool = pool.ok_or_else(|| format!("there is no pool \"{name}\""))?;
        let places: Vec<String> = pool
            .backends
            .iter()
            .map(|backend| backend.address().to_string())
            .collect();
        let verb = match pool.protocol {
            Protocol::Smtp => "EHLO",
            Protocol::Lmtp => "LHLO",
        };
        let tries = u32::try_from(places.len().max(1)).unwrap_or(u32::MAX);
        Ok(Backend {
            places,
            next: AtomicUsize::new(0),
            connect: credentials.timeout.0 / tries,
            hello: format!("{verb} {}", pool.hello),
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
                Err(why) => last = format!("{place}: {why}"),
            }
        }
        Outcome::Unavailable(last)
    }

    /// An error where another backend may know more.
    async fn ask(&self, place: &str, attempt: &Attempt) -> Result<Outcome, String> {
        let stream = tokio::time::timeout(self.connect, TcpStream::connect(place))
            .await
            .map_err(|_| "can't connect in time".to_string())?
            .map_err(|why| format!("can't connect: {why}"))?;
        let mut dialogue = Dialogue::new(stream);
        dialogue.expect(220, "the greeting").await?;
        dialogue.say(self.hello.as_bytes()).await?;
        dialogue.expect(250, "EHLO").await?;
        let mechanisms = mechanisms(dialogue.text());
        let offers = |name: &str| mechanisms.iter().any(|has| has == name);
        let Some(saying) = sasl::saying(attempt, offers)? else {
            return Ok(Outcome::Denied);
        };
        let code = dialogue.authenticate(&saying, &attempt.credential).await?;
        let outcome = match code {
            235 => self.grant(&attempt.credential),
            // RFC 4954 §6.
            535 => Outcome::Denied,
            code => return Err(format!("AUTH got {code} {}", dialogue.shown())),
        };
        // Its answer is not awaited: who asked waits.
        let _ = dialogue.say(b"QUIT").await;
        Ok(outcome)
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

/// The mechanisms in a reply to EHLO, in upper case.
fn mechanisms(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text).to_ascii_uppercase();
    let named = text.lines().filter_map(|line| line.strip_prefix("AUTH"));
    named
        // `AUTH=PLAIN` is what servers said before RFC 2554.
        .filter(|rest| rest.starts_with([' ', '=']))
        .flat_map(|rest| rest.split([' ', '=']))
        .filter(|word| !word.is_empty())
        .map(str::to_string)
        .collect()
}

/// A client's side of SMTP as far as AUTH goes.
struct Dialogue<S> {
    stream: S,
    reader: ReplyReader,
    input: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Dialogue<S> {
    fn new(stream: S) -> Dialogue<S> {
        Dialogue {
            stream,
            reader: ReplyReader::new(ReplyLimits::default()),
            input: Vec::new(),
        }
    }

    async fn say(&mut self, line: &[u8]) -> Result<(), String> {
        let line = [line, b"\r\n"].concat();
        let sent = self.stream.write_all(&line).await;
        sent.map_err(|why| format!("the connection broke: {why}"))
    }

    async fn hear(&mut self) -> Result<u16, String> {
        loop {
            let progress = self.reader.read(&self.input);
            match progress.map_err(|why| why.as_str().to_string())? {
                Progress::Done(taken) => {
                    self.input.drain(..taken);
                    return Ok(self.reader.reply().head.code);
                }
                Progress::More => self.input.clear(),
            }
            let read = self.stream.read_buf(&mut self.input).await;
            match read {
                Ok(0) => return Err("it closed the connection".into()),
                Ok(_) => {}
                Err(why) => return Err(format!("the connection broke: {why}")),
            }
        }
    }

    async fn expect(&mut self, wanted: u16, to: &str) -> Result<(), String> {
        match self.hear().await? {
            code if code == wanted => Ok(()),
            code => Err(format!("{to} was {code} {}", self.shown())),
        }
    }

    /// The code of the last word on it.
    async fn authenticate(
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

    fn text(&self) -> &[u8] {
        self.reader.reply().text()
    }

    /// The last reply's text for the log.
    fn shown(&self) -> String {
        let text = String::from_utf8_lossy(self.text());
        text.chars().take(200).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_mechanisms() {
        let text = b"mx.example\nSIZE 1\nauth plain LOGIN\nAUTH=XOAUTH2\nAUTHOR X";
        assert_eq!(mechanisms(text), ["PLAIN", "LOGIN", "XOAUTH2"]);
        assert!(mechanisms(b"mx.example\nSIZE").is_empty());
    }
}
