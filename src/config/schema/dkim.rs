//! `[[dkim]]`: the keys that sign.

use super::Secret;
use crate::config::{choice::*, value::*};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A key that signs mail (DKIM, RFC 6376), and whose mail it signs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[[dkim]]
domain   = "example.net"
selector = "s2026a"
key      = "/etc/gatepost/dkim/example.net-s2026a.pem"

[[dkim]]
domain   = "example.net"
selector = "s2026b"                  # Ed25519 beside RSA: both sign
key      = "/etc/gatepost/dkim/example.net-s2026b.pem""#))]
pub struct Dkim {
    /// The domain that answers for the message (`d=`): messages with an author (From) in this domain are signed.
    pub domain: String,
    /// The selector (`s=`): the public key stands in the DNS at `selector._domainkey.domain`, as a TXT record.
    pub selector: String,
    /// The private key: the path of a file, `{ file = "…" }`, or `{ env = "NAME" }` for an environment variable. RSA with
    /// 2048 to 4096 bits, or Ed25519, in PEM and without a passphrase; `gatepost dkim new` makes one and prints the record
    /// for the DNS. Keys of OpenSSL, opendkim and rspamd can be used as they are. Read again at a reload.
    #[schemars(extend("x-default" = "none"))]
    pub key: DkimKey,
    /// Whether authors in domains below this one are signed for too, where they have no table of their own. DMARC takes
    /// such a signature unless the record of the domain says `adkim=s`.
    pub subdomains: bool,
    /// Whose messages are signed. Others never are, whatever their From says. Add `"trusted"` only where all clients in `trusted`
    /// write their own mail: a server there that passes on mail of strangers, such as a secondary MX or a list server, would
    /// have a forged From in your domain signed, and receivers would believe it.
    pub clients: Vec<DkimClient>,
    /// How header and body are made canonical before they are hashed (`c=`). `simple` breaks as soon as a server on the way
    /// folds a line anew or strips a space.
    pub canonicalization: Canonicalization,
    /// How long a signature is valid (`x=`). Some verifiers refuse it afterwards, and mail may wait in queues for five days
    /// and more. `0s`: without end.
    pub expires_after: Time,
    /// Fields to sign beside the usual ones, where they occur. From, To, Cc, Subject, Date, Message-ID, Reply-To, In-Reply-To,
    /// References, MIME-Version, Content-Type, Content-Transfer-Encoding, List-Unsubscribe and List-Unsubscribe-Post are
    /// always signed, and so that none can be added later; Sender, Auto-Submitted, Autocrypt, Feedback-ID and the other
    /// List fields are signed where they occur.
    pub sign_also: Vec<String>,
}

/// Where a private key stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum DkimKey {
    /// In a file.
    File(#[schemars(with = "String")] PathBuf),
    /// As other secrets may.
    Secret(Secret),
}

impl Default for DkimKey {
    fn default() -> DkimKey {
        DkimKey::File(PathBuf::new())
    }
}

impl DkimKey {
    /// The file; empty where it is an environment variable, or nothing was named.
    #[must_use]
    pub fn file(&self) -> &Path {
        match self {
            DkimKey::File(file) => file,
            DkimKey::Secret(secret) => &secret.file,
        }
    }

    /// The environment variable; empty where it is a file.
    #[must_use]
    pub fn env(&self) -> &str {
        match self {
            DkimKey::File(_) => "",
            DkimKey::Secret(secret) => &secret.env,
        }
    }

    /// Its place, in words.
    #[must_use]
    pub fn place(&self) -> String {
        match self.env() {
            "" => self.file().display().to_string(),
            env => format!("the environment variable {env}"),
        }
    }

    /// Reads it; at most `max` octets.
    ///
    /// # Errors
    /// In words, if the file can't be read, the variable is not there, or what they hold is too long.
    pub fn read(&self, max: u64) -> Result<Vec<u8>, String> {
        let place = self.place();
        let octets = match self.env() {
            "" => crate::config::read_secret(self.file())
                .map_err(|why| format!("can't read {place}: {why}"))?,
            env => std::env::var_os(env)
                .ok_or_else(|| format!("{place} is not set"))?
                .into_encoded_bytes(),
        };
        match octets.len() as u64 > max {
            true => Err(format!(
                "{place} holds {} octets, which is no key",
                octets.len()
            )),
            false => Ok(octets),
        }
    }
}

impl Default for Dkim {
    fn default() -> Dkim {
        Dkim {
            domain: String::new(),
            selector: String::new(),
            key: DkimKey::default(),
            subdomains: true,
            clients: vec![DkimClient::Authenticated],
            canonicalization: Canonicalization::default(),
            expires_after: Time::secs(0),
            sign_also: Vec::new(),
        }
    }
}
