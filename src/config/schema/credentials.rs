//! `[[credentials]]`.

use crate::config::{choice::*, value::*};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A source of credentials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[[credentials]]
name   = "staff"
source = "dovecot"
socket = "/run/dovecot/auth-client""#))]
pub struct Credentials {
    /// The name of this table in listeners, logs and metrics.
    pub name: String,
    /// What checks passwords or tokens. The source also says which addresses an account owns and may send with: `file`
    /// lists them; Dovecot may give them in the extra field `addresses`, an HTTP endpoint in the header field
    /// `Auth-Addresses`, an introspection endpoint in the claims `addresses` and `email` (several separated by commas;
    /// `@example.net` is a whole domain). Where the source gives none, an account whose name is an address owns that
    /// address (where `domains` is written: only if its domain is one of them, for many servers look at no domain in a login), and any
    /// other account its name at each of `domains`. Names are compared in lower case, as those of a file are.
    pub source: CredentialSource,
    /// For `file`: the accounts, as written by `gatepost user`.
    #[schemars(with = "String")]
    #[schemars(extend("x-default" = "none"))]
    pub file: PathBuf,
    /// For `dovecot`: the path of its auth client socket, or `host:port` where it listens on TCP.
    #[schemars(extend("x-default" = "none"))]
    pub socket: String,
    /// For `http` and `introspection`: the endpoint, `http://…` or `https://…`. With `http` passwords cross the network
    /// in clear text, so use it on this machine only.
    #[schemars(extend("x-default" = "none"))]
    pub url: String,
    /// For `http` and `introspection`: PEM file with the trust anchors for the `https` endpoint.
    #[schemars(with = "String")]
    #[schemars(extend("x-default" = "the trust anchors of the system"))]
    pub ca: PathBuf,
    /// For `backend`: the pool whose backends check the password with their own AUTH. Connections for that use TLS as
    /// the pool's `tls` and the keys beside it say.
    #[schemars(extend("x-default" = "none"))]
    pub pool: String,
    /// For `introspection`: Gatepost's user name at the endpoint, sent with `secret` (HTTP Basic).
    #[schemars(extend("x-default" = "none"))]
    pub client: String,
    /// For `introspection`: the password of `client`. For `http`: sent in the header field `X-Auth-Key`, so that the
    /// endpoint can tell Gatepost from other clients. Kept outside this file.
    pub secret: Secret,
    /// For `introspection`: the scope that a token must have.
    #[schemars(extend("x-default" = "any"))]
    pub scope: String,
    /// For `introspection`: the claim that holds the account's name.
    #[schemars(extend("x-default" = "`username`, or else `sub`"))]
    pub claim: String,
    /// The domains of this source's accounts: an account whose name is not an address owns its name at each of them, and one whose
    /// name is an address owns nothing where its domain is another one, unless the source says what it owns.
    #[schemars(extend("x-default" = "`hostname`"))]
    pub domains: Vec<String>,
    /// How long one check of a password or token may take. Then the client gets 454 and tries again later. Dovecot
    /// itself waits two seconds before it refuses.
    pub timeout: Time,
    /// Most checks at the same time at this source; others wait, within `timeout`.
    pub concurrency: u32,
    /// How long a successful check is remembered. A password that was changed or withdrawn may work this long. `0s`:
    /// not at all.
    pub cache: Time,
    /// How long a failed check is remembered. `0s`: not at all.
    pub cache_negative: Time,
}

/// Where a secret stands: one of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Secret {
    /// A file that holds the secret; a newline at its end is ignored. Read again at a reload.
    #[schemars(with = "String")]
    #[schemars(extend("x-default" = "none"))]
    pub file: PathBuf,
    /// The environment variable that holds the secret.
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
