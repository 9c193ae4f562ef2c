//! `[admin]`, `[limits]`, `[timeouts]`, `[log]`, `[maildir]`.

use super::Secret;
use crate::config::{choice::*, value::*};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The HTTP endpoint with metrics, health and control.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[admin]
listen = "10.0.0.5:9025"
public = "10.0.0.5:9026"
token  = { file = "/etc/gatepost/admin.token" }"#))]
pub struct Admin {
    /// Where metrics, health, reload and drain are served: an address, a Unix socket (`unix:/path`, for its owner and
    /// group, which are those of `process.user` where root starts the process), or `"off"`. Set `token` where other
    /// machines can reach the address.
    pub listen: AdminListen,
    /// A second address for monitoring, with metrics, stages, health and readiness only. Reload and drain are not
    /// served there.
    pub public: AdminListen,
    /// Host names in the URLs of this endpoint, such as `gatepost.example.net` in `http://gatepost.example.net:9025/`.
    /// Requests for any other name with a dot are refused, so that a web page can't use a visitor's browser to read the
    /// endpoint (DNS rebinding). IP addresses, names without a dot (`localhost`, a container's name) and `hostname` are
    /// always allowed.
    pub hosts: Vec<String>,
    /// The token that POST requests (reload, drain) and requests for what tells of clients (`/explain`) must send as
    /// `Authorization: Bearer …`. Without a token root and the user that Gatepost runs as may send them from this machine, and
    /// every host that reaches `listen` where that is no loopback address. Requests over a Unix socket need none.
    pub token: Secret,
    /// How many of the latest judgements are kept, so that `gatepost explain ID` and `/explain/ID` can tell why a message or
    /// a session was treated so; ID is that of the log line. No part of a message is kept. Each worker keeps its share, in
    /// memory of 1 KiB each, which is taken as it is used; long ones push out more than one older one. 0: none.
    pub explanations: u32,
    /// File to which latency histograms are written in the HdrHistogram log format.
    #[schemars(with = "Option<String>")]
    pub histogram_log: Option<PathBuf>,
    /// Time that each entry of that log covers.
    pub histogram_interval: Time,
}

/// Sizes and counts that nothing may exceed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[limits]
message_size = "25MiB"
recipients   = 200"#))]
pub struct Limits {
    /// Largest message in octets, announced in SIZE. A larger one gets 552.
    pub message_size: Size,
    /// Most recipients of one message; further ones get 452. RFC 5321 asks for at least 100.
    pub recipients: u32,
    /// Longest line of a message with its CRLF. A longer one gets 550 at the end of data.
    pub line: Size,
    /// Most Received fields in a message; above that `policy.loop` decides. RFC 5321 §6.3 asks for at least 100.
    pub received: u32,
    /// Most messages in one session; then 421. 0: no limit.
    pub messages: u32,
    /// Most errors of a client (5xx replies, failed logins) since its last accepted message; then 421 and the
    /// connection is closed. Replies that ask the client to try again (4xx) are not counted, up to 1,000 of them. 0: no
    /// limit.
    pub errors: u32,
    /// Most commands that do nothing (NOOP, unneeded RSET, VRFY, HELP, a BDAT of 0 octets that isn't the last, one of
    /// fewer than 64 octets after the first 32 of a message, and the like) since the last accepted message; then 421 and
    /// the connection is closed. 0: no limit.
    pub junk: u32,
    /// A body up to this size is received and checked completely before a backend is contacted. A larger one is
    /// streamed: it holds a backend connection while it arrives.
    pub window: Size,
    /// A message that is to be signed (`[[dkim]]`) is held in memory up to this size, because a signature stands above the
    /// message and covers all of it. All such messages of a worker together may use half of `body_memory`; where that is
    /// spent, the client gets 452 and sends the message again. A larger message is sent on without a signature, and
    /// counted (`gatepost_dkim_messages_total`).
    pub signing_window: Size,
    /// Memory of one worker for message bodies, large envelopes and what sessions hold of answers of the DNS. Above it new bodies
    /// are streamed, wait, or get 452, and what is asked for a message is unknown (temperror) where its answers take more than 8 KiB.
    /// Clients of one address (IPv6: one /64) that are not trusted may use an eighth of it, but at least one window,
    /// besides what small messages take.
    pub body_memory: Size,
    /// Largest header section that is kept for checks; above that `policy.header_size` decides. Not larger than
    /// `window`.
    pub header: Size,
    /// What happens to a message with a CR or LF alone, which another server may take for the end of a line (SMTP
    /// smuggling).
    pub bare_newline: BareNewline,
    /// Most sessions of one worker; further clients get 421. Fewer where the limit of open files has no room for them.
    pub sessions: u32,
    /// Most failed logins from one address (IPv6: one /64) within `timeouts.auth_lockout`. After that no login from it
    /// is checked, except for accounts that logged in from there in the last 30 days. 0: no limit.
    pub auth_failures_client: u32,
    /// Most failed logins to one account within `timeouts.auth_lockout`. After that its password is not checked, except
    /// for addresses that logged in to it in the last 30 days; each of those has this limit for itself. 0: no limit.
    pub auth_failures_account: u32,
    /// Most sessions that wait for the delayed reply to a failed login (`timeouts.auth_delay`); further failures get
    /// 421. An eighth of them may come from one address (IPv6: /64), a quarter from one network (IPv4 /24, IPv6 /48).
    pub auth_slowed: u32,
    /// Most sessions whose replies are slow (`then = "tarpit"`), all workers together. Further ones are answered as usual. 0:
    /// none is slowed.
    pub tarpit: u32,
}

/// How long each stage may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[timeouts]
command = "2m"
drain   = "5m""#))]
pub struct Timeouts {
    /// Wait for the next command of a client. RFC 5321 §4.5.3.2.7 asks for at least 5 minutes.
    pub command: Time,
    /// Wait for the PROXY header of a connection from `proxy_protocol_from`.
    pub proxy_header: Time,
    /// Wait for the next piece of a message body (RFC 5321 §4.5.3.2.5: 3 minutes).
    pub data: Time,
    /// Slowest average rate of a body in octets a second, measured once it has taken longer than `data`; slower gets
    /// 421. 0: no limit.
    pub body_rate: Size,
    /// Replaces the waits for a command, a piece of a body and a TLS handshake where it is shorter, while nine tenths
    /// of all places (`limits.sessions`, or `sessions_max` of the listener) or of `limits.body_memory` are taken. Idle
    /// sessions are held to it at once, those within a message from their next command or piece on.
    pub stress: Time,
    /// Replaces `body_rate` while places or memory are scarce as described for `stress`. While messages wait for a
    /// connection to a backend, it is also the slowest rate of a stream (a body larger than `limits.window`) on that
    /// backend's connections: of the streams below it the slowest is ended with 421, and nothing of it is delivered. 0:
    /// `body_rate` stays in force, and no stream is ended.
    pub stress_rate: Size,
    /// Wait for the end of a TLS handshake with a client.
    pub handshake: Time,
    /// Wait for a client to take a reply.
    pub send: Time,
    /// Wait for a backend to accept the connection and to greet. Then another backend is tried.
    pub connect: Time,
    /// Wait for a backend's reply to a command.
    pub backend: Time,
    /// Wait for a backend's reply to the end of data (RFC 5321 §4.5.3.2.6: 10 minutes). If it doesn't come, the backend
    /// may have the message all the same; the client gets 451 and sends it again, so a short wait can duplicate mail.
    pub commit: Time,
    /// Until the answers to what the checks of one command ask are there, all of them, in however many rounds; what has not come
    /// by then is unknown, and each check says what happens then. A start waits so long for the lists in the DNS.
    pub lookups: Time,
    /// How long messages in progress may take to finish after SIGTERM.
    pub drain: Time,
    /// How long `/ready` says 503 before the ports are closed after SIGTERM, so that load balancers stop sending
    /// connections. Set it longer than the interval of their checks; `0s` without a load balancer.
    pub drain_delay: Time,
    /// How long a recipient that a backend accepted is remembered.
    pub verify_good: Time,
    /// How long a recipient that a backend refused is remembered. A new mailbox may be refused this long.
    pub verify_bad: Time,
    /// Delay of the reply to a failed login. It doubles with each further failure from the same address or to the same
    /// account, up to 30 seconds. An unknown name, a wrong password and a locked account all take equally long, so that
    /// none can be told from the others.
    pub auth_delay: Time,
    /// How long each reply takes to a session that a check slows (`then = "tarpit"`). Clients wait 5 minutes for most replies
    /// (RFC 5321 §4.5.3.2). There is no wait while places or memory are scarce as described for `stress`, nor within a body.
    pub tarpit: Time,
    /// How long a failed login counts for `limits.auth_failures_client` and `auth_failures_account`.
    pub auth_lockout: Time,
}

/// The transaction log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[log]
to     = "/var/log/gatepost/mail.log"
format = "json""#))]
pub struct Log {
    /// `stdout`, `stderr`, `off`, or the path of a file, which is opened again at a reload.
    pub to: String,
    /// The format of a line.
    pub format: LogFormat,
    /// The least important messages about the service itself that are logged. Lines of transactions are always logged.
    pub level: LogLevel,
    /// Most lines that wait to be written. When more are waiting, new lines are dropped and counted, so that mail never
    /// waits for the log.
    pub queue: u32,
}

/// A backend that writes what it accepts to a Maildir, for a first try.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[maildir]
listen    = "127.0.0.1:2600"
directory = "var/maildir""#))]
pub struct Maildir {
    /// Address that it listens on, or `"off"`.
    pub listen: AdminListen,
    /// The Maildir; created where it is missing.
    #[schemars(with = "String")]
    pub directory: PathBuf,
}
