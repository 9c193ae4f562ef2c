//! `[policy]`.

use crate::config::{choice::*, value::*};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What is judged, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[policy]
reject_score = 8.0

[policy.early_talk]
mode = "shadow""#))]
pub struct Policy {
    /// Scores of all checks add up; a message at or above this is rejected at the end of data; 0 turns
    /// that off.
    pub reject_score: f64,
    /// At or above this it is deferred (451); 0 turns deferring by score off.
    pub defer_score: f64,
    /// When a client that a check at connect refuses is told so. With `delayed` it is greeted, and refused at RCPT: the log
    /// then has the sender and the recipients of the mail that it meant to send. It costs a few more replies for each
    /// such client. One that authenticates meanwhile is not refused. Limits of connections and sessions are told at once.
    pub log_rejected: LogRejected,
    /// Client address lists, asked at connect in this order; the first that holds the address decides (lists that
    /// score, or are in shadow, leave their mark and the next is asked). `accept` spares the client early talk,
    /// HELO rules, HELO lists and sender lists for its session, but neither rates nor relay control. Trusted
    /// clients are not looked up.
    pub client_list: Vec<List>,
    /// Lists of HELO names, asked at HELO in this order; the first that holds the name decides. `accept` spares the
    /// name the rules of `policy.helo`.
    pub helo_list: Vec<List>,
    /// Lists of sender addresses and domains, asked at MAIL; `<>` is the empty sender of a bounce. Not asked of
    /// trusted clients.
    pub sender_list: Vec<List>,
    /// Lists of recipient addresses and domains, asked at RCPT for each of them, of every client. `accept` ends
    /// these lists only: it opens no relay.
    pub recipient_list: Vec<List>,
    /// Sessions and rates of a client address (IPv6: of a /64).
    pub client_rate: Rate,
    /// The same of its prefix (IPv4 /24, IPv6 /48).
    pub prefix_rate: Rate,
    /// The same of a sender's domain. No limits by default: only a site knows its own traffic.
    pub sender_rate: Rate,
    /// What a HELO name must be.
    pub helo: HeloRules,
    /// What happens to a client that talks before the greeting, or past a synchronisation point.
    pub early_talk: Outcome,
    /// What happens to a client that is not trusted and asks for a domain that is not ours, or for a local part
    /// that names another host (`user%host@ours`). Can't be turned off: `defer`, `reject` or `close`.
    pub relay: Outcome,
    /// What happens to the mail of an authenticated client whose addresses are not its own, where the listener's
    /// `sender_identity` asks for that.
    pub identity: IdentityRules,
    /// What happens to a message with more Received fields than `limits.received`: it goes round in a circle.
    pub r#loop: Outcome,
    /// What happens to a message whose header section is larger than `limits.header`. One that is larger than
    /// `limits.window` as well can't be judged and is always rejected.
    pub header_size: Outcome,
    /// Rules on header fields, for every client, asked in this order when the whole message is there; 64 at most.
    pub header: Vec<HeaderRule>,
}

/// What a check does once it matches. All checks share these keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[policy.helo.unqualified]
then = "reject""#))]
pub struct Outcome {
    /// What happens on a match.
    pub then: Then,
    /// Added to the message's score with `then = "score"`.
    pub score: f64,
    /// The reply instead of the built-in one: `"550 5.7.1 Not from there"`; 4xx to defer, 5xx to reject.
    pub reply: Option<String>,
    /// Whether it is in force.
    pub mode: Mode,
}

/// A named list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[[policy.client_list]]
name    = "bad-neighbours"
entries = ["198.51.100.0/24"]
then    = "reject"
reply   = "550 5.7.1 Mail from your network is not welcome""#))]
pub struct List {
    /// Name in logs and metrics.
    pub name: String,
    /// Entries in the file itself. Client lists: addresses and networks. Names and domains: `example.net`
    /// that domain, `.example.net` all below it, `user@example.net` an address, `<>` the null sender, `/…/` a regular
    /// expression over the whole address or name (in any case, over octets; `(?-i)` and `(?u)` turn that round).
    pub entries: Vec<String>,
    /// Files with an entry a line; `#` starts a comment, and `;` at the start or after a blank. Read again at a
    /// reload.
    #[schemars(with = "Vec<String>")]
    pub files: Vec<PathBuf>,
    /// What happens on a match.
    pub then: Then,
    /// Added to the message's score with `then = "score"`.
    pub score: f64,
    /// The reply instead of the built-in one.
    pub reply: Option<String>,
    /// Whether it is in force.
    pub mode: Mode,
}

/// Limits of one key (an address, a prefix, a domain). 0 is no limit. A limit is what may come at once, and what is
/// earned again in `per`; what was refused does not count. Trusted clients have no limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[policy.client_rate]
connections = 120
per         = "1m"
mode        = "shadow""#))]
pub struct Rate {
    /// Sessions at once.
    pub sessions: u32,
    /// Connections in `per`.
    pub connections: u32,
    /// Messages (MAIL commands) in `per`.
    pub messages: u32,
    /// Recipients (RCPT commands, refused ones too) in `per`.
    pub recipients: u32,
    /// Octets of message text in `per`. A message larger than that passes once nothing else is on the account.
    pub bytes: Size,
    /// The time the numbers are for.
    pub per: Time,
    /// Keys remembered at most, 16 octets for each limit that is set; those that have the least on their account go
    /// first, so that a flood of new keys frees no key that is over a limit.
    pub table: u32,
    /// What happens above a limit; the default defers (for connections: 421 and close).
    pub then: Then,
    /// The reply instead of the built-in one.
    pub reply: Option<String>,
    /// Whether it is in force.
    pub mode: Mode,
}

/// What a HELO name must be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeloRules {
    /// A name without a dot (`localhost`, `user-pc`).
    pub unqualified: Outcome,
    /// A bare address (`192.0.2.1` without brackets), or a literal that is not the client's own address.
    pub address: Outcome,
    /// Our own name, said by a stranger.
    pub ours: Outcome,
}

/// Whose addresses an authenticated client may use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IdentityRules {
    /// The address in MAIL FROM is none of the account's.
    pub sender: Outcome,
    /// An address in From is none of the account's, or From can't be read.
    pub from: Outcome,
}

/// A rule on one header field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[[policy.header]]
name    = "lottery"
field   = "Subject"
pattern = '(?i)you have won'
then    = "score"
score   = 4.5"#))]
pub struct HeaderRule {
    /// Name in logs and metrics.
    pub name: String,
    /// The field, in any case: `Subject`.
    pub field: String,
    /// What is looked for.
    pub when: HeaderTest,
    /// A regular expression over the field's unfolded body, for `when = "matches"`: in any case, over octets
    /// (`(?-i)` and `(?u)` turn that round). It is tried on the body as it came, then on what mail programs show, with
    /// encoded words (`=?utf-8?Q?…?=`) decoded to UTF-8. Of several fields with the name each is looked at.
    pub pattern: Option<String>,
    /// What happens on a match.
    pub then: Then,
    /// Added to the message's score with `then = "score"`.
    pub score: f64,
    /// The reply instead of the built-in one.
    pub reply: Option<String>,
    /// Whether it is in force.
    pub mode: Mode,
}
