//! `[[pool]]` and `[[route]]`.

use crate::{
    config::{RecipientSet, choice::*, entry, value::*},
    smtp::{
        backend_session::{BackendSettings, StartTls},
        envelope::Path,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, sync::Arc};

/// A group of backends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[[pool]]
name        = "mta"
backends    = ["10.0.0.11:25", { address = "10.0.0.12:25", weight = 2 }, "srv:_smtp._tcp.mail.internal"]
connections = 64"#))]
pub struct Pool {
    /// The name of this pool in routes, logs and metrics.
    pub name: String,
    /// The backends, as `"10.0.0.11:25"`, `"mail.internal:25"`, or `{ address = "10.0.0.12:25", weight = 2 }`, where
    /// the weight (1 to 1000, default 1) is a share relative to the others. A name with several addresses makes one
    /// backend for each address, each with this weight. A name is resolved again when its TTL ends (after 5 s at the
    /// earliest, 1 h at the latest), when `/etc/hosts` changes, at a reload, and while a backend at one of its
    /// addresses is ejected. A name that can't be resolved does not stop Gatepost: its backend counts as down. While
    /// resolving fails, the addresses found last stay in use. `"srv:_smtp._tcp.mail.internal"` stands for the hosts of SRV
    /// records (RFC 2782), which are looked up again likewise: those of the lowest priority are used, in shares by their
    /// weights, and those of another priority only while none of a lower one can take a message. A backend that is written as an
    /// address or a host stands beside those of the lowest priority.
    #[schemars(extend("x-default" = "required"))]
    pub backends: Vec<Backend>,
    /// The protocol that the backends speak.
    pub protocol: Protocol,
    /// How a backend is chosen for a message.
    pub balance: Balance,
    /// Most connections to each backend, all workers together. On average (messages per second) × (seconds that a backend
    /// takes for one) are in use; allow three times that, and no more than the backend accepts from one client.
    pub connections: u32,
    /// How long a message waits for a free connection. Then the client gets 451 and tries again later.
    pub lease_wait: Time,
    /// Close a connection after this time without a message. Keep it below the backend's own limit (Postfix:
    /// `smtpd_timeout`), or the backend closes first and some messages need a second connection.
    pub idle: Time,
    /// Close a connection that is older than this as soon as it is free.
    pub lifetime: Time,
    /// Close a connection after this many messages. 0: no limit.
    pub messages: u32,
    /// Send bodies with BDAT (RFC 3030) where the backend offers CHUNKING: a message to one recipient then takes one
    /// write and one round trip. Set it to `false` for a backend whose BDAT is faulty.
    pub chunking: bool,
    /// The name in EHLO to the backends.
    #[schemars(extend("x-default" = "`hostname`"))]
    pub hello: String,
    /// Whether connections to the backends use TLS (RFC 3207).
    pub tls: PoolTls,
    /// Start TLS at once, before any SMTP (port 465). Needs `tls = "required"` or `"verify"`, because there is no clear
    /// text to fall back to.
    pub tls_implicit: bool,
    /// PEM file with the trust anchors for `tls = "verify"`. It may also hold a backend's own certificate, even a
    /// self-signed one; exactly that certificate is then accepted. Read again at a reload.
    #[schemars(extend("x-default" = "the trust anchors of the system"))]
    pub tls_ca: Option<PathBuf>,
    /// The name that is sent to the backends (SNI) and that their certificates must hold: a host name or an address.
    /// Set it where `backends` has addresses and the certificates have names.
    #[schemars(extend("x-default" = "the host of each backend as it is written in `backends`"))]
    pub tls_name: String,
    /// PEM file with the certificate chain that is shown to backends that ask for a client certificate. Read again at a
    /// reload.
    #[schemars(extend("x-default" = "none"))]
    pub tls_certificate: Option<PathBuf>,
    /// PEM file with the private key of `tls_certificate`.
    #[schemars(extend("x-default" = "the file of `tls_certificate`"))]
    pub tls_key: Option<PathBuf>,
    /// How a backend is told about the client: its address and port, its EHLO name, its authenticated account. With
    /// `xclient` and the PROXY headers the backend treats the connection as if the client had made it, so the backend
    /// must accept them from Gatepost's address only (Postfix: `smtpd_authorized_xclient_hosts`,
    /// `smtpd_authorized_xforward_hosts`, `smtpd_upstream_proxy_protocol`). A connection with a PROXY header carries
    /// messages of one client only.
    pub identity: PoolIdentity,
    /// The sender used to ask a backend about recipients (`recipients = "verify"` of a route): `"<>"`, which every
    /// mailbox must accept (RFC 5321 §4.5.5), or an address. Where a backend refuses a recipient because of this
    /// sender, it is asked once more with the sender of the message. Set an address of yours where the backends refuse
    /// `MAIL FROM:<>` itself.
    pub verify_sender: String,
    /// When a failed backend is ejected (no longer used), and when it comes back.
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

    /// What all SMTP sessions with its backends have in common: those for messages, and those that ask for passwords.
    #[must_use]
    pub fn session(&self, hostname: &str) -> BackendSettings {
        let names = [&*self.hello, hostname, "localhost"];
        let hello = names.into_iter().find(|name| !name.is_empty());
        BackendSettings {
            lmtp: self.protocol == Protocol::Lmtp,
            chunking: self.chunking,
            starttls: match self.tls {
                // The session is told that it is over TLS already.
                _ if self.tls_implicit => StartTls::Always,
                PoolTls::None => StartTls::Never,
                PoolTls::Opportunistic => StartTls::IfOffered,
                // INV-SECURE
                PoolTls::Required | PoolTls::Verify => StartTls::Always,
            },
            ..BackendSettings::new(hello.unwrap_or_default())
        }
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
    /// `host:port` or `srv:NAME`, as the file has it.
    #[must_use]
    pub fn address(&self) -> &str {
        match self {
            Backend::Address(address) => address,
            Backend::Weighted(weighted) => &weighted.address,
        }
    }

    /// The host of that, an IPv6 address without its brackets; of a service the domain, for where its hosts are only the DNS
    /// says, which may lie: what a certificate must prove is the name that the operator wrote (RFC 6125 section 6.2.1).
    #[must_use]
    pub fn host(&self) -> &str {
        let address = self.address();
        if let Some(Ok((_, domain))) = entry::service(address) {
            return domain;
        }
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
    /// Share relative to the others, 1 to 1000; 1 where it is not written.
    #[serde(default = "one")]
    pub weight: u32,
}

/// How failed backends are left out and brought back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    /// Time until the first probe of an ejected backend. It doubles with each failed probe, up to `backoff_max`.
    pub backoff: Time,
    /// Longest time between two probes of an ejected backend. A backend that fails at least half of its messages while
    /// the other backends of the pool accept theirs is ejected for this time too, and for up to five times as long when
    /// that happens again.
    pub backoff_max: Time,
    /// Time between two probes of a healthy backend. `0s`: only ejected backends are probed.
    pub interval: Time,
    /// How long a probe may take.
    pub timeout: Time,
    /// Time in which a backend that came back rises to its full share of messages, so that it is not flooded at once.
    pub slow_start: Time,
    /// Largest share of the pool that may be ejected at the same time, in percent. When more backends have failed, the
    /// least bad of them stay in use, with little weight as long as others are healthy. The last backend is always
    /// tried.
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
    /// `example.net` is that domain, `.example.org` every domain below it, `*` every other domain. `*` does not make a
    /// domain ours: it says where mail goes that clients that are trusted or have logged in send to the rest of the world.
    /// Without a `*`, such mail goes to the pool of the first route of the file, whose `profile` and list of `recipients` do
    /// not hold for it.
    #[schemars(extend("x-default" = "required"))]
    pub domains: Vec<String>,
    /// Files with more domains for this route, one on each line; `#` starts a comment. Read again at a reload.
    #[schemars(with = "Vec<String>")]
    pub domain_files: Vec<PathBuf>,
    /// The name of the pool that gets the mail for these domains.
    pub pool: String,
    /// The name of a `[[profile]]` that holds for messages to these domains: for what is judged from RCPT on.
    #[schemars(extend("x-default" = "none"))]
    pub profile: String,
    /// Which recipients of these domains are taken. `verify`: ask the backend at RCPT, and remember the answer. `accept`:
    /// take every recipient; the backend's refusal comes only with the message.
    /// `{ file = "/etc/gatepost/recipients", delimiter = "+" }`: take those that the file lists, one a line, and answer
    /// `550 5.1.1` to every other: `user@example.net`, `@example.net` for every address of that domain, or `user` for
    /// that name in each domain of the route. Case doesn't count, and a domain may be written in either form
    /// (`bücher.example`, `xn--bcher-kva.example`). What follows the first word is left out, so a table of Postfix
    /// (`relay_recipient_maps`) can be used as it is; `#` at the beginning of a line makes it a comment. `delimiter` (default:
    /// none) names characters of which the first begins a subaddress: with `"+"`, `amy+list@example.net` is taken where
    /// `amy@example.net` is listed. `postmaster` of each domain is always taken (RFC 5321 §4.5.1). The file is read
    /// again at a reload.
    #[schemars(extend("x-default" = "`\"verify\"`"))]
    pub recipients: RouteRecipients,
}

/// How it is known which recipients of a route there are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RouteRecipients {
    /// By the backends, or not at all.
    Word(Recipients),
    /// By a list.
    Listed(RecipientFile),
}

impl Default for RouteRecipients {
    fn default() -> RouteRecipients {
        RouteRecipients::Word(Recipients::Verify)
    }
}

impl RouteRecipients {
    /// Whether this recipient is taken, as far as the configuration says.
    #[must_use]
    pub fn may_be(&self, recipient: Path<'_>) -> bool {
        match self {
            RouteRecipients::Word(_) => true,
            RouteRecipients::Listed(list) => list.set.has(recipient, &list.delimiter),
        }
    }

    /// Whether the backends are asked.
    #[must_use]
    pub fn word(&self) -> Recipients {
        match self {
            RouteRecipients::Word(word) => *word,
            // The list has the say: what a backend refuses all the same comes with the message.
            RouteRecipients::Listed(_) => Recipients::Accept,
        }
    }
}

/// The recipients of a route in a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecipientFile {
    /// The file.
    pub file: PathBuf,
    /// Characters of which the first begins a subaddress; `""`: there are none.
    #[serde(default)]
    pub delimiter: String,
    /// What the file holds.
    #[serde(skip)]
    #[schemars(skip)]
    pub set: Arc<RecipientSet>,
}

/// A weight that isn't given.
const fn one() -> u32 {
    1
}
