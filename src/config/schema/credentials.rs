//! `[[credentials]]`.

use crate::config::{choice::*, value::*};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A place that knows who may send.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[[credentials]]
name   = "staff"
source = "dovecot"
socket = "/run/dovecot/auth-client""#))]
pub struct Credentials {
    /// Name in listeners, logs and metrics.
    pub name: String,
    /// Where passwords or tokens are checked. The account may send with the addresses it owns. `file` names them;
    /// Dovecot may say them in the extra field `addresses`, an HTTP endpoint in the header field `Auth-Addresses`, an
    /// introspection endpoint in the claims `addresses` and `email` (several with commas; `@example.net` is a whole
    /// domain). Where nobody says them, an account that is named like an address owns that one, and any other
    /// its name at each of `domains`.
    pub source: CredentialSource,
    /// `file`: the accounts, as `gatepost user` writes them.
    #[schemars(with = "String")]
    #[schemars(extend("x-default" = "none"))]
    pub file: PathBuf,
    /// `dovecot`: the path of its auth client socket, or `host:port` where it listens on TCP.
    #[schemars(extend("x-default" = "none"))]
    pub socket: String,
    /// `http`, `introspection`: the endpoint, `http://…` or `https://…`. Plain `http` shows passwords to whoever
    /// is in between: keep it on this machine.
    #[schemars(extend("x-default" = "none"))]
    pub url: String,
    /// `http`, `introspection`: a file of certificates that the `https` endpoint is checked against.
    #[schemars(with = "String")]
    #[schemars(extend("x-default" = "those that the system trusts"))]
    pub ca: PathBuf,
    /// `backend`: the pool whose backends check the password by their own AUTH. They are asked over TLS as the pool's
    /// `tls` and its other keys say.
    #[schemars(extend("x-default" = "none"))]
    pub pool: String,
    /// `introspection`: our own name there, sent with `secret` (HTTP Basic).
    #[schemars(extend("x-default" = "none"))]
    pub client: String,
    /// `introspection`: the password of `client`. `http`: sent as the header field `X-Auth-Key`, by which the
    /// endpoint knows us. Kept out of this file.
    pub secret: Secret,
    /// `introspection`: a token must be good for this scope.
    #[schemars(extend("x-default" = "any"))]
    pub scope: String,
    /// `introspection`: the claim that is the account's name.
    #[schemars(extend("x-default" = "`username`, or else `sub`"))]
    pub claim: String,
    /// Domains of the addresses that an account owns whose name has none.
    #[schemars(extend("x-default" = "`hostname`"))]
    pub domains: Vec<String>,
    /// A question waits this long for its answer; then the client gets 454 and tries again later. Dovecot waits
    /// two seconds before it says no.
    pub timeout: Time,
    /// Questions at once; more wait, within `timeout`.
    pub concurrency: u32,
    /// A yes is remembered this long; `0s`: not at all.
    pub cache: Time,
    /// A no is remembered this long; `0s`: not at all.
    pub cache_negative: Time,
}

/// Where a secret stands: one of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Secret {
    /// A file that holds it; a newline at its end is no part of it. Read again at a reload.
    #[schemars(with = "String")]
    #[schemars(extend("x-default" = "none"))]
    pub file: PathBuf,
    /// The environment variable that holds it.
    #[schemars(extend("x-default" = "none"))]
    pub env: String,
}

impl Secret {
    /// Whether none was named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.file.as_os_str().is_empty() && self.env.is_empty()
    }

    /// Reads it; at most 4 KiB.
    ///
    /// # Errors
    /// In words, if the file can't be read, the variable is not there, or what they hold is empty or too long.
    pub fn read(&self) -> Result<Vec<u8>, String> {
        let (place, text) = if self.env.is_empty() {
            let place = self.file.display().to_string();
            let text = crate::config::read_secret(&self.file)
                .map_err(|why| format!("can't read {place}: {why}"))?;
            (place, text)
        } else {
            let place = format!("the environment variable {}", self.env);
            let text = std::env::var_os(&self.env).ok_or_else(|| format!("{place} is not set"))?;
            (place, text.into_encoded_bytes())
        };
        let text = text.strip_suffix(b"\n").unwrap_or(&text);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        match text.len() {
            0 => Err(format!("{place} is empty")),
            1..=4096 => Ok(text.to_vec()),
            long => Err(format!("{place} holds {long} octets, which is no secret")),
        }
    }
}

impl Default for Credentials {
    fn default() -> Credentials {
        Credentials {
            name: String::new(),
            source: CredentialSource::default(),
            file: PathBuf::new(),
            socket: String::new(),
            url: String::new(),
            ca: PathBuf::new(),
            pool: String::new(),
            client: String::new(),
            secret: Secret::default(),
            scope: String::new(),
            claim: String::new(),
            domains: Vec::new(),
            timeout: Time::secs(10),
            concurrency: 64,
            cache: Time::secs(60),
            cache_negative: Time::secs(10),
        }
    }
}
