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
    /// The names in the certificate; 100 at most, and each must lead to this machine. Empty: no ACME.
    pub domains: Vec<String>,
    /// Do you agree to the terms of the authority? It gives nothing without.
    pub agree: bool,
    /// Whom the authority may write to, as `mailto:` addresses.
    pub contact: Vec<String>,
    /// The authority: the address of its directory. Let's Encrypt's for trying out is
    /// `https://acme-staging-v02.api.letsencrypt.org/directory`.
    pub directory: String,
    /// The folder with the account, the certificate and its key. It is made when missing, readable for its owner alone.
    /// Takes a restart.
    #[schemars(with = "String")]
    pub store: PathBuf,
    /// Where the authority's challenges are answered by HTTP (http-01). It asks at port 80 of each of `domains`; where
    /// another server has that port, choose another and let that server pass on `/.well-known/acme-challenge/`. Takes a
    /// restart.
    #[schemars(with = "Vec<SocketText>")]
    pub listen: Vec<SocketAddr>,
    /// Order anew when the certificate has this long to live, or a third of its life if that is less.
    pub renew_before: Time,
    /// A PEM file with the certificate that an authority of your own is known by. Default: what the system trusts.
    #[schemars(with = "Option<String>")]
    pub ca: Option<PathBuf>,
    /// The name of your account with an authority that wants one from elsewhere (external account binding, RFC 8555
    /// §7.3.4).
    pub external_account: Option<String>,
    /// The file with the key of that account, in base64url, as the authority gave it.
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
