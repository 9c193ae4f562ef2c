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
    /// Where metrics, health, reload and drain are served: an address, a socket in the file system (`unix:/path`, for its
    /// owner and group), or `"off"`. On an address that others reach, set `token`.
    pub listen: AdminListen,
    /// A second address, for monitoring: metrics, stages, health and readiness alone. Reload and drain don't exist there.
    pub public: AdminListen,
    /// Names under which the endpoint is asked, as in `http://gatepost.example.net:9025/`. Requests for any other name with a
    /// dot are refused, so that no web page can have a browser read the endpoint under a name of its own (DNS rebinding). IP
    /// addresses, names without a dot (`localhost`, a container's) and `hostname` are always allowed.
    pub hosts: Vec<String>,
    /// What POST requests (reload, drain) must show, as `Authorization: Bearer …`. Without one, every host that reaches
    /// `listen` may send them. A Unix socket asks for none.
    pub token: Secret,
    /// Write interval histograms in the HdrHistogram log format to this file.
    #[schemars(with = "Option<String>")]
    pub histogram_log: Option<PathBuf>,
    /// Length of an interval of that log.
    pub histogram_interval: Time,
}

/// Sizes and counts that nothing may exceed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[limits]
message_size = "25MiB"
recipients   = 200"#))]
pub struct Limits {
    /// Largest message, announced in SIZE.
    pub message_size: Size,
    /// Recipients of one message; more get 452 (RFC 5321 asks for at least 100).
    pub recipients: u32,
    /// Longest line of a message with its CRLF; longer: 550 at the end of data.
    pub line: Size,
    /// Received fields above which a message is taken to loop.
    pub received: u32,
    /// Messages of one session; more get 421. 0: no limit.
    pub messages: u32,
    /// Errors of a client (5xx replies, failed logins) since its last good message before 421 and close. What asks it to
    /// come again (4xx) is none, up to 1,000 times. 0: no limit.
    pub errors: u32,
    /// Commands that do nothing (NOOP, RSET without need, VRFY, HELP, …) before 421 and close. 0: no limit.
    pub junk: u32,
    /// A body up to this size is read and judged whole before a backend is asked; larger ones stream.
    pub window: Size,
    /// Memory for body windows and large envelopes of one worker; above it new bodies stream, wait, or get 452. Clients of one
    /// address (IPv6: one /64) that are not trusted have an eighth of it, and at least one window, beside what small messages
    /// take.
    pub body_memory: Size,
    /// Largest header section that is kept for checks; a larger one is rejected. Not above `window`.
    pub header: Size,
    /// What happens to a message with a bare CR or LF, which others may take for the end of a line.
    pub bare_newline: BareNewline,
    /// Sessions of one worker at most; more get 421.
    pub sessions: u32,
    /// Failed logins of one address (IPv6: one /64) within `timeouts.auth_lockout`; then no password is checked for it any
    /// more, but for accounts that were used from there in the last 30 days. 0: no limit.
    pub auth_failures_client: u32,
    /// Failed logins at one account within `timeouts.auth_lockout`; then its password isn't checked any more, but for
    /// addresses from which it was used in the last 30 days, each of which has this limit of its own. 0: no limit.
    pub auth_failures_account: u32,
    /// Sessions at once that wait to hear that their login failed; more get 421.
    pub auth_slowed: u32,
}

/// How long each stage may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[timeouts]
command = "2m"
drain   = "5m""#))]
pub struct Timeouts {
    /// Until the next command (RFC 5321 §4.5.3.2.7).
    pub command: Time,
    /// Until the PROXY header of a connection from `proxy_protocol_from` is there.
    pub proxy_header: Time,
    /// Until the next piece of a body.
    pub data: Time,
    /// Slowest body in octets a second, averaged, after the first `data`; slower: 421. 0: no limit.
    pub body_rate: Size,
    /// Until the next command, the next piece of a body or the end of a handshake while nine tenths of the places
    /// (`limits.sessions`, or `sessions_max` of the listener) or of `limits.body_memory` are taken. Sessions
    /// that are in a message are held to it from their next turn on, others at once.
    pub stress: Time,
    /// Slowest body in octets a second, in place of `body_rate`, while places or memory are scarce as for `stress`. Also the
    /// slowest stream (a body larger than `limits.window`) while other messages wait for a connection to its backend: of
    /// those below it the slowest is ended with 421, and nothing of it is delivered. 0: `body_rate` holds, and none is ended.
    pub stress_rate: Size,
    /// Until a TLS handshake with a client is over.
    pub handshake: Time,
    /// Until a client has taken a reply.
    pub send: Time,
    /// Until a backend has taken the connection and greeted.
    pub connect: Time,
    /// Until a backend has answered a command.
    pub backend: Time,
    /// Until a backend has answered the end of data (RFC 5321 §4.5.3.2.6: 10 minutes).
    pub commit: Time,
    /// How long SIGTERM lets running messages finish.
    pub drain: Time,
    /// How long before that `/ready` says 503 while connections are still taken, so that load balancers stop sending
    /// new ones. Longer than the interval of their checks; `0s` where there is none.
    pub drain_delay: Time,
    /// A recipient that a backend took is remembered this long.
    pub verify_good: Time,
    /// One that it refused is remembered this long.
    pub verify_bad: Time,
    /// A failed login is told so long after it was tried: twice as long with each that follows from the same address or at
    /// the same account, up to 30 seconds. An unknown name, a wrong password and a lock all take as long.
    pub auth_delay: Time,
    /// How long the failures that `limits.auth_failures_client` and `auth_failures_account` allow take to be forgotten.
    pub auth_lockout: Time,
}

/// The transaction log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[log]
to     = "/var/log/gatepost/mail.log"
format = "json""#))]
pub struct Log {
    /// `stdout`, `stderr`, `off`, or a file's path (opened again at a reload).
    pub to: String,
    /// The form of a line.
    pub format: LogFormat,
    /// The least important message about the service itself that is logged; transactions always are.
    pub level: LogLevel,
    /// Lines that wait to be written at most; more are counted and dropped.
    pub queue: u32,
}

/// A backend that writes what it accepts to a Maildir, for a first try.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[maildir]
listen    = "127.0.0.1:2600"
directory = "var/maildir""#))]
pub struct Maildir {
    /// Where it listens, or `"off"`.
    pub listen: AdminListen,
    /// The Maildir (made when missing).
    #[schemars(with = "String")]
    pub directory: PathBuf,
}
