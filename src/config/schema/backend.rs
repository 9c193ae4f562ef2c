//! `[[pool]]` and `[[route]]`.

use crate::config::{choice::*, value::*};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A group of backends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[[pool]]
name        = "mta"
backends    = ["10.0.0.11:25", { address = "10.0.0.12:25", weight = 2 }]
connections = 64"#))]
pub struct Pool {
    /// Name in routes, logs and metrics.
    pub name: String,
    /// The backends: `"10.0.0.11:25"`, `"mail.internal:25"`, or
    /// `{ address = "10.0.0.12:25", weight = 2 }` with a share of 1 to 1000 relative to the others. A name with several
    /// addresses is as many backends, each with this weight. It is looked up again when its TTL is over (5 s at least,
    /// 1 h at most), when `/etc/hosts` changes, at a reload, and while a backend at one of its addresses is left out. A
    /// name that isn't found stops nothing: its backend counts as down. While a look-up fails, the addresses found last
    /// stay in use.
    #[schemars(extend("x-default" = "required"))]
    pub backends: Vec<Backend>,
    /// What the backends speak.
    pub protocol: Protocol,
    /// How one of the backends is picked for a message.
    pub balance: Balance,
    /// Connections to each backend at most, all workers together.
    pub connections: u32,
    /// A message waits this long for a free connection; then its client gets 451 and tries again later.
    pub lease_wait: Time,
    /// Close a connection that has been idle this long; keep it below the backend's own limit (Postfix:
    /// `smtpd_timeout`).
    pub idle: Time,
    /// Close a connection this old once it is free.
    pub lifetime: Time,
    /// Close a connection after this many messages; 0: never.
    pub messages: u32,
    /// Use CHUNKING where the backend offers it.
    pub chunking: bool,
    /// The name in EHLO to the backends.
    #[schemars(extend("x-default" = "`hostname`"))]
    pub hello: String,
    /// Whether connections to the backends speak TLS (RFC 3207).
    pub tls: PoolTls,
    /// Begin with the handshake, before any SMTP (port 465). Wants `tls = "required"` or `"verify"`: there is nothing to
    /// fall back to.
    pub tls_implicit: bool,
    /// The trust anchors that certificates are verified against: a PEM file. A backend's own certificate may stand in it,
    /// also a self-signed one: that very certificate is then taken. Read again at a reload.
    #[schemars(extend("x-default" = "those of the system"))]
    pub tls_ca: Option<PathBuf>,
    /// The name that backends are asked for and that their certificates must hold: a host name or an address.
    #[schemars(extend("x-default" = "the host of each backend as it is written in `backends`"))]
    pub tls_name: String,
    /// The certificate that we show to backends that ask for one: a PEM file with its chain. Read again at a reload.
    #[schemars(extend("x-default" = "none"))]
    pub tls_certificate: Option<PathBuf>,
    /// Its private key: a PEM file.
    #[schemars(extend("x-default" = "the file of `tls_certificate`"))]
    pub tls_key: Option<PathBuf>,
    /// How the backends are told who the client is: its address and port, its EHLO name, the account that it
    /// authenticated for. With `xclient` and the PROXY headers the backend judges the client as if it had come
    /// directly, so it must take such words from Gatepost's address alone (Postfix:
    /// `smtpd_authorized_xclient_hosts`, `smtpd_authorized_xforward_hosts`, `smtpd_upstream_proxy_protocol`). With a
    /// PROXY header a connection carries one client's messages only.
    pub identity: PoolIdentity,
    /// The sender that recipients are verified with (`recipients = "verify"` of a route): `"<>"`, which every mailbox must
    /// take (RFC 5321 §4.5.5), or an address. A recipient that is refused to this sender for a reason that isn't its
    /// mailbox is asked about once more with the message's own sender. Write an address of yours where the backends
    /// refuse `MAIL FROM:<>` itself.
    pub verify_sender: String,
    /// How failed backends are left out and brought back.
    pub health: Health,
}

impl Pool {
    /// `verify_sender` without its brackets.
    #[must_use]
    pub fn verify_path(&self) -> &str {
        let text = self.verify_sender.trim();
        let inner = text
            .strip_prefix('<')
            .and_then(|text| text.strip_suffix('>'));
        inner.unwrap_or(text)
    }
}

/// One backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Backend {
    /// `host:port`.
    Address(String),
    /// With a weight.
    Weighted(WeightedBackend),
}

impl Backend {
    /// `host:port`, as the file has it.
    #[must_use]
    pub fn address(&self) -> &str {
        match self {
            Backend::Address(address) => address,
            Backend::Weighted(weighted) => &weighted.address,
        }
    }

    /// The host of that, an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        let address = self.address();
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }
}

/// A backend with a weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedBackend {
    /// `host:port`.
    pub address: String,
    /// Its share relative to the others; 1 to 1000. Default 1.
    #[serde(default = "one")]
    pub weight: u32,
}

/// How failed backends are left out and brought back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    /// Probe an ejected backend first after this long; doubles up to `backoff_max`.
    pub backoff: Time,
    /// Longest time between probes of an ejected backend. A backend that fails half of its messages or more, while the
    /// others of its pool take theirs, is left out for this long, and for up to five times as long when that happens
    /// again.
    pub backoff_max: Time,
    /// Probe each healthy backend this often as well; `0s`: only ejected ones.
    pub interval: Time,
    /// A probe takes this long at most.
    pub timeout: Time,
    /// A backend that came back gets its full share only after this long.
    pub slow_start: Time,
    /// Never eject more than this share of a pool, in percent: of the others that failed, the least bad ones are used
    /// all the same, with little weight while others are well. The last backend is always tried.
    pub eject_max: u32,
}

/// Which recipient domains go to which pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[[route]]
domains    = ["example.net", ".example.org"]
pool       = "mta"
recipients = "verify""#))]
pub struct Route {
    /// `example.net` is that domain, `.example.org` is every domain below it, `*` is every other. `*` makes no
    /// domain ours: it says where mail goes that trusted clients send to the rest of the world.
    #[schemars(extend("x-default" = "required"))]
    pub domains: Vec<String>,
    /// Files with more domains of this route, one a line; `#` begins a comment. Read again at a reload.
    #[schemars(with = "Vec<String>")]
    pub domain_files: Vec<PathBuf>,
    /// Name of the pool that their mail goes to.
    pub pool: String,
    /// Which recipients of these domains are taken.
    pub recipients: Recipients,
}

/// A weight that isn't given.
const fn one() -> u32 {
    1
}
