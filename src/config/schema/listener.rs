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
    /// Name in logs and metrics.
    pub name: String,
    /// Addresses to listen on; `[::]:25` is IPv6 alone, so both families are `["0.0.0.0:25", "[::]:25"]`. Takes a
    /// restart.
    #[schemars(extend("x-default" = "required"))]
    #[schemars(with = "Vec<SocketText>")]
    pub address: Vec<SocketAddr>,
    /// What the listener is for.
    pub role: Role,
    /// Who speaks TLS. Takes a `[[certificate]]` or an `[acme]`.
    pub tls: ListenerTls,
    /// The oldest version of TLS that is spoken.
    pub tls_min: TlsVersion,
    /// Whether clients are asked for a certificate. Its names are in the log.
    pub client_certificates: ClientCertificates,
    /// The authorities that may have issued clients' certificates: a PEM file.
    #[schemars(with = "Option<String>")]
    pub client_ca: Option<PathBuf>,
    /// Names in certificates whose clients are trusted, as if their address were in `trusted`: they may send to any
    /// domain. The common name that a PROXY header (version 2) tells of a certificate which the proxy has verified
    /// counts as well.
    pub client_trusted: Vec<String>,
    /// `role = "submission"`: a message without Date or Message-ID gets them (RFC 6409 §8). `[[policy.header]]` rules look
    /// at the message as it came.
    pub submission_fixes: bool,
    /// Text of the greeting behind `220 hostname ESMTP`: printable ASCII.
    pub banner: String,
    /// Sessions at once on this listener, all workers together; more get 421.
    pub sessions_max: u32,
    /// Wait this long before the greeting; a client that talks meanwhile is judged by `policy.early_talk`. Trusted
    /// clients don't wait.
    pub greeting_delay: Time,
    /// Networks of proxies that say with the PROXY protocol (version 1 or 2) whom they speak for: a connection from
    /// there must begin with such a header, and the address in it is the client's in every check, limit, log line and
    /// Received field. From elsewhere a header is not accepted. Who is named here can claim any address, also one in
    /// `trusted`.
    #[schemars(with = "Vec<NetworkText>")]
    #[serde(deserialize_with = "networks")]
    pub proxy_protocol_from: Vec<IpNet>,
    /// Networks of proxies and filters that say with Postfix's XCLIENT whom they speak for: the client's address, port,
    /// name, HELO and login, each of which then counts everywhere, also for `trusted`. They are not judged at the
    /// greeting; the clients that they name are.
    #[schemars(with = "Vec<NetworkText>")]
    #[serde(deserialize_with = "networks")]
    pub xclient_from: Vec<IpNet>,
    /// Networks of filters that tell with Postfix's XFORWARD where a message came from. It is logged (`origin=`), and
    /// changes nothing else.
    #[schemars(with = "Vec<NetworkText>")]
    #[serde(deserialize_with = "networks")]
    pub xforward_from: Vec<IpNet>,
    /// The ways to authenticate (AUTH, RFC 4954) that are offered, in this order; none: AUTH is off. Who authenticates may send to
    /// any domain. SCRAM takes a source that is a `file`.
    pub auth: Vec<AuthMechanism>,
    /// The name of the `[[credentials]]` that are asked.
    #[schemars(extend("x-default" = "the only ones there are"))]
    pub credentials: String,
    /// AUTH only under TLS: without it, names and passwords go over the wire as they are.
    pub auth_requires_tls: bool,
    /// Which addresses an authenticated client may use as sender (`MAIL FROM`; else 553) and in `From` and `Sender` (else 550),
    /// also in the display names and comments there; also one whose login XCLIENT told. The empty sender of reports
    /// belongs to every account.
    pub sender_identity: SenderIdentity,
    /// Characters that begin an extension of a local part, as Postfix's `recipient_delimiter`: with `+` an account that owns
    /// `amy@example.net` may also send as `amy+list@example.net`. Empty: there are no extensions.
    pub recipient_delimiter: String,
    /// Connections that the kernel keeps until they are accepted (`net.core.somaxconn` caps it). Takes a restart.
    pub backlog: u32,
    /// What is judged otherwise on this listener: each table and key of `[policy]` may stand here
    /// (`[listener.policy.helo.ours]`, `[[listener.policy.client_list]]`). Keys that are not written here are those of
    /// `[policy]`; a list takes the place of the whole list there. With `role = "submission"`, tables that `[policy]`
    /// leaves at their defaults are milder: no HELO rules, early talk in `shadow`, five times the sessions and connections
    /// of `client_rate` and `prefix_rate`.
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
    /// PEM file with the certificate, followed by those that lead to a root.
    #[schemars(extend("x-default" = "required"))]
    #[schemars(with = "String")]
    pub chain: PathBuf,
    /// PEM file with its private key, without a passphrase.
    #[schemars(extend("x-default" = "required"))]
    #[schemars(with = "String")]
    pub key: PathBuf,
}
