//! `[acme]`.

use crate::config::value::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, path::PathBuf};

/// A certificate from a certificate authority that speaks ACME (RFC 8555), such as Let's Encrypt: ordered, kept and
/// renewed without another program. `domains` switches it on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[acme]
domains = ["mx.example.net", "mail.example.net"]
contact = ["mailto:postmaster@example.net"]
agree   = true"#))]
pub struct Acme {
    /// Names in the certificate, 100 at most. Each must resolve to this machine. Empty: ACME is off.
    pub domains: Vec<String>,
    /// Whether you agree to the authority's terms of service. Without `true` it issues no certificate.
    pub agree: bool,
    /// `mailto:` addresses at which the authority may reach you.
    pub contact: Vec<String>,
    /// The URL of the authority's directory. Let's Encrypt's authority for tests is
    /// `https://acme-staging-v02.api.letsencrypt.org/directory`.
    pub directory: String,
    /// Folder for the account, the certificate and its key. It is created where it is missing, readable for its owner
    /// only. Needs a restart.
    #[schemars(with = "String")]
    pub store: PathBuf,
    /// Addresses at which challenges of type http-01 are answered. The authority connects to port 80 of each of
    /// `domains`. Where another server has that port, choose another port here and have that server forward
    /// `/.well-known/acme-challenge/` to it. Needs a restart.
    #[schemars(with = "Vec<SocketText>")]
    pub listen: Vec<SocketAddr>,
    /// Renew the certificate this long before it expires, or when a third of its lifetime is left if that is shorter.
    pub renew_before: Time,
    /// PEM file with the certificate of an authority of your own, for the connection to `directory`. Default: the trust
    /// anchors of the system.
    #[schemars(with = "Option<String>")]
    pub ca: Option<PathBuf>,
    /// The key identifier that the authority gave you, where it wants an account bound to one that you have there
    /// already (external account binding, RFC 8555 §7.3.4).
    pub external_account: Option<String>,
    /// File with the key of that account in base64url, as the authority gave it.
    #[schemars(with = "Option<String>")]
    pub external_key: Option<PathBuf>,
}

impl Acme {
    /// Is it wanted at all?
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.domains.is_empty()
    }
}
