//! `[[listener]]`, `[[certificate]]`.

use super::PolicyPart;
use crate::config::{choice::*, value::*};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, path::PathBuf};

/// One group of addresses that behave alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[[listener]]
name           = "mx"
address        = ["0.0.0.0:25", "[::]:25"]
greeting_delay = "2s""#))]
pub struct Listener {
    /// The name of this listener in logs and metrics.
    pub name: String,
    /// Addresses to listen on. `[::]:25` is IPv6 only; for both families write `["0.0.0.0:25", "[::]:25"]`. Needs a
    /// restart.
    #[schemars(extend("x-default" = "required"))]
    #[schemars(with = "Vec<SocketText>")]
    pub address: Vec<SocketAddr>,
    /// What the listener is for.
    pub role: Role,
    /// Which connections use TLS. Anything but `none` needs a `[[certificate]]` or `[acme]`.
    pub tls: ListenerTls,
    /// The oldest TLS version that is accepted. 1.2 is the default because many mail servers don't have 1.3 yet.
    pub tls_min: TlsVersion,
    /// Whether clients are asked for a certificate. Its names go to the log. Of a chain of more than 6 certificates (its own
    /// included), or of three issuers with one name, no name counts; one of more than 32 KiB ends the handshake.
    pub client_certificates: ClientCertificates,
    /// A PEM file with the authorities whose client certificates are accepted.
    #[schemars(with = "Option<String>")]
    pub client_ca: Option<PathBuf>,
    /// Names in client certificates. A client that shows a verified certificate with one of these names is treated as
    /// if its address were in `trusted`: it may send to any domain. The common name in a PROXY header of version 2
    /// counts too, where the proxy says that it has verified the certificate. With `tls = "implicit"` a client whose address
    /// is refused may still show such a certificate: 4 clients of an address (IPv6: a /64) at a time, 16 of a network (IPv4
    /// /24, IPv6 /48), and none while places are scarce. Others are closed without a handshake.
    pub client_trusted: Vec<String>,
    /// With `role = "submission"`: add Date and Message-ID to a message that has none (RFC 6409 §8). Rules of
    /// `[[policy.header]]` see the message before that.
    pub submission_fixes: bool,
    /// Text of the greeting after `220 hostname ESMTP`: printable ASCII.
    pub banner: String,
    /// Most sessions at the same time on this listener, all workers together. Further clients get 421.
    pub sessions_max: u32,
    /// Wait this long before the greeting is sent. Programs that only send spam often talk before they are greeted;
    /// `policy.early_talk` says what happens to them. A few seconds are enough; they delay every client but the trusted
    /// ones and those that a `client_list` accepts.
    pub greeting_delay: Time,
    /// For how long a client (IPv6: a /64) that has waited `greeting_delay` and did not talk is spared that wait, also by the
    /// other listeners. 0s: it waits each time.
    pub greeting_pass: Time,
    /// Networks of load balancers that tell the client's address with the PROXY protocol (version 1 or 2). A connection
    /// from there must begin with a PROXY header; from then on the address in it is the client's, for every check,
    /// limit, log line and Received field. From any other address a header is not accepted. A machine in these networks
    /// can claim any client address, also one in `trusted`, so name your load balancers only.
    #[schemars(with = "Vec<NetworkText>")]
    #[serde(deserialize_with = "networks")]
    pub proxy_protocol_from: Vec<IpNet>,
    /// Networks of proxies and filters that tell the client's address, port, name, HELO name and login with Postfix's
    /// XCLIENT. Each of these then replaces what the connection shows, also for `trusted`. The proxies themselves are
    /// not checked at the greeting; the clients that they name are.
    #[schemars(with = "Vec<NetworkText>")]
    #[serde(deserialize_with = "networks")]
    pub xclient_from: Vec<IpNet>,
    /// Networks of filters that tell with Postfix's XFORWARD which client a message came from. It is logged as
    /// `origin=` and changes nothing else.
    #[schemars(with = "Vec<NetworkText>")]
    #[serde(deserialize_with = "networks")]
    pub xforward_from: Vec<IpNet>,
    /// Mechanisms of AUTH (RFC 4954), offered in this order; with none, AUTH is off. An authenticated client may send
    /// to any domain: a `[[route]]` for `*` says which pool gets that. The SCRAM mechanisms need a source that is a `file`.
    pub auth: Vec<AuthMechanism>,
    /// The name of the `[[credentials]]` table that checks passwords and tokens.
    #[schemars(extend("x-default" = "the only `[[credentials]]` table"))]
    pub credentials: String,
    /// Accept AUTH only under TLS. With `false`, passwords may cross the network in clear text.
    pub auth_requires_tls: bool,
    /// Which sender addresses an authenticated client may use: in `MAIL FROM` (otherwise 553), and in `From` and
    /// `Sender`, their display names and comments included (otherwise 550). It also holds for a client whose login
    /// XCLIENT told. Every account may use the empty sender of bounces.
    pub sender_identity: SenderIdentity,
    /// Characters that separate a local part from its extension, as in Postfix: with `+` an account that owns
    /// `amy@example.net` may also send as `amy+list@example.net`. Empty: no extensions.
    pub recipient_delimiter: String,
    /// Most connections that the kernel queues until they are accepted; `net.core.somaxconn` is an upper limit. Needs a
    /// restart.
    pub backlog: u32,
    /// The name of a `[[profile]]` that holds on this listener. What `[listener.policy]` says lies over it.
    #[schemars(extend("x-default" = "none"))]
    pub profile: String,
    /// Checks that differ on this listener: each table and key of `[policy]` may stand here
    /// (`[listener.policy.helo.ours]`, `[[listener.policy.client_list]]`). Keys that are not written here keep their
    /// value from `[policy]`; a list replaces the whole list there. With `role = "submission"`, the tables that
    /// `[policy]` leaves at their defaults are milder, because mail programs greet with any name and a whole office may
    /// share one address: no HELO rules, early talk in `shadow`, five times the sessions and connections of
    /// `client_rate` and `prefix_rate`.
    #[schemars(extend("x-as" = "[policy]"))]
    pub policy: PolicyPart,
}

/// A certificate with its key; there may be several. A client gets the one for the name that it asks for (SNI), by exact
/// name or `*.` wildcard, else the first. For one name there may be two, with an ECDSA and with an RSA key: a client gets
/// the first of the kind that it can check, ECDSA before RSA. Read anew at a reload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[[certificate]]
chain = "/etc/gatepost/tls/mx.pem"
key   = "/etc/gatepost/tls/mx.key""#))]
pub struct Certificate {
    /// PEM file with the certificate, followed by the intermediate certificates up to a root.
    #[schemars(extend("x-default" = "required"))]
    #[schemars(with = "String")]
    pub chain: PathBuf,
    /// PEM file with the private key, without a passphrase.
    #[schemars(extend("x-default" = "required"))]
    #[schemars(with = "String")]
    pub key: PathBuf,
}
