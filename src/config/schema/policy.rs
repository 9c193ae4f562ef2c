//! `[policy]`.

use super::{
    ArcRules, DkimRules, DmarcRules, Dnsbl, GreylistRules, HeloDomainRules, NamedList, RdnsRules,
    ReputationRules, Rule, SenderDomainRules, SpfRules,
};
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
    /// What holds where nothing is written in `[policy]`; `gatepost config show` writes all of it out. `relaxed`: what the DNS
    /// says of a client and its message is told in Authentication-Results and the log, and refuses nothing. `balanced`: a sender
    /// domain that does not exist or takes no mail is refused, as is what fails DMARC with `p=reject`; other signs score (no
    /// confirmed name of the address, an unknown name in HELO, SPF and DKIM that fail), so that one alone refuses nothing, and
    /// several do (`reject_score = 8.0`). `strict`: as large providers do, an address without a name, a name in HELO that does
    /// not exist and SPF `fail` refuse at once, DMARC with `p=quarantine` too, and what could not be looked up in time defers;
    /// forwarded mail suffers by that. None of them names a list in the DNS: which ones you may ask depends on your traffic. In
    /// `[listener.policy]` it changes what is written nowhere.
    pub preset: Preset,
    /// The scores of all checks that matched a message are added up. At or above this sum it is rejected at the end of
    /// data (5xx). 0: never.
    pub reject_score: f64,
    /// At or above this sum the message is deferred (451): the client tries again later. 0: never.
    pub defer_score: f64,
    /// At or above this sum the message goes to `policy.quarantine.pool` instead of its own pool. 0: never.
    pub quarantine_score: f64,
    /// At or above this sum the message is tagged with `policy.tag.word`. 0: never.
    pub tag_score: f64,
    /// How tags are written on a message.
    pub tag: TagSettings,
    /// Where suspicious mail goes.
    pub quarantine: QuarantineSettings,
    /// When a client is told that a check at connect, HELO or MAIL refuses it. `delayed` refuses at RCPT, as Postfix does
    /// with `smtpd_delay_reject = yes`, and so shows in the log which sender and recipients were refused, which helps to find
    /// wrong refusals; it costs a few more replies for each refused client. A client that authenticates before RCPT is not
    /// refused for its address or its HELO name. Limits and rates are always told at once, and so is all that a client that
    /// has authenticated is refused.
    pub log_rejected: LogRejected,
    /// Which messages get a header field with their score and the checks that matched, for those that read the message and for
    /// filters of mailboxes: `X-Gatepost-Status: score=3.5 checks=spf.softfail:2,rdns.none:1.5`. It names 20 checks at most.
    /// Fields of that name that a message brings are forged: they are removed wherever a listener adds it. Of a message larger
    /// than `limits.window` it tells what was found up to its header.
    pub explain_header: ExplainHeader,
    /// Most accounts of `rate(…)` in rules that are remembered, as many of `rate_window(…)`, and as many of `leases(…)`; each
    /// takes 16 octets. When a table is full, the accounts with the least use are forgotten first.
    pub rate_table: u32,
    /// Lists of client addresses, looked at when a client connects, in this order. The first list that holds the
    /// address decides; after a list with `then = "score"`, or in shadow mode, the next one is looked at too. `accept`
    /// also exempts the client for its session from what is for strangers: `greeting_delay` and early talk, HELO rules and
    /// lists, sender lists, the greylist, and all checks of what the DNS says. Lists in the DNS are not asked about it, so that
    /// rules that read `dnsbl` do nothing. It keeps its rates, may not relay, and other rules, header rules and recipient
    /// lists are for it as for every client. Trusted clients are not looked up.
    pub client_list: Vec<List>,
    /// Lists of HELO names, looked at after HELO or EHLO, in this order; the first that holds the name decides.
    /// `accept` also exempts the name from the rules of `policy.helo`.
    pub helo_list: Vec<List>,
    /// Lists of sender addresses and domains, looked at after MAIL. `<>` is the empty sender of a bounce. Trusted
    /// clients are not looked up.
    pub sender_list: Vec<List>,
    /// Lists of recipient addresses and domains, looked at after each RCPT, for every client. `accept` only ends the
    /// search in these lists; it does not allow relaying.
    pub recipient_list: Vec<List>,
    /// Limits on the sessions and rates of one client address (IPv6: of one /64). A rate allows its whole number at
    /// once; what was used comes back evenly over `per`. What the limit itself refuses does not count; what something else refuses
    /// afterwards does. 0: no limit. Trusted
    /// clients have no limits. Listeners with the same `client_rate` and `prefix_rate` count together, others apart.
    pub client_rate: Rate,
    /// The same limits for all clients of one network: an IPv4 /24, an IPv6 /48.
    pub prefix_rate: Rate,
    /// The same limits for the domain of a sender. Off by default, because the right numbers depend on your traffic.
    pub sender_rate: Rate,
    /// Rules for the name in HELO and EHLO.
    pub helo: HeloRules,
    /// What happens to a client that talks before the greeting, or sends more before the reply to a command that must
    /// be the last in a group (EHLO, DATA, STARTTLS, AUTH).
    pub early_talk: Outcome,
    /// What happens to a client that is not trusted and sends to a domain that is not ours, or to a local part that
    /// names another host (`user%host@ours`). It can't be turned off: `then` is `defer`, `reject` or `close`.
    pub relay: Outcome,
    /// What happens to mail of an authenticated client with an address that its account does not own, where the
    /// listener's `sender_identity` forbids that.
    pub identity: IdentityRules,
    /// What happens to a message with more Received fields than `limits.received`: it most likely loops between
    /// servers.
    pub r#loop: Outcome,
    /// What happens to a message whose header section is larger than `limits.header`. One that is larger than
    /// `limits.window` too can't be checked and is always rejected.
    pub header_size: Outcome,
    /// Lists in the DNS, for strangers.
    pub dnsbl: Vec<Dnsbl>,
    /// The names of the client's address.
    pub rdns: RdnsRules,
    /// Whether the name in HELO exists.
    pub helo_domain: HeloDomainRules,
    /// Whether the sender's domain exists.
    pub sender_domain: SenderDomainRules,
    /// Whether the owner of the sender's domain lets this client use it.
    pub spf: SpfRules,
    /// Whether a domain answers for the message by a signature.
    pub dkim: DkimRules,
    /// Whether a domain of the author's is proved, and what it asks for otherwise.
    pub dmarc: DmarcRules,
    /// What servers that handled the message before have found.
    pub arc: ArcRules,
    /// Whether a message that looks bad has to come a second time.
    pub greylist: GreylistRules,
    /// What rules know of the past of clients and domains.
    pub reputation: ReputationRules,
    /// Rules on header fields, for every client, looked at in this order once the message is complete; 64 at most.
    pub header: Vec<HeaderRule>,
    /// Lists that rules ask by their names.
    pub list: Vec<NamedList>,
    /// Rules with conditions of your own, for every client, judged in this order after all other checks of the same point;
    /// 1,000 at most.
    pub rule: Vec<Rule>,
}

/// How tags are told to those that read a message: in one header field above it, `X-Gatepost-Tag: spam, bulk`, which filters of
/// mailboxes (Sieve) can look at. Fields of that name that a message brings are forged: they are removed wherever something
/// tags, whatever the client is. Tags that come of the end of a message larger than `limits.window` are in the log alone, for
/// its header is at the backend by then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[policy]
tag_score = 5.0

[policy.tag]
header = "X-Spam"
word   = "Yes""#))]
pub struct TagSettings {
    /// The name of the header field.
    pub header: String,
    /// The word that `tag_score` and `then = "tag"` write, where a rule has no `tag` of its own.
    pub word: String,
}

impl Default for TagSettings {
    fn default() -> TagSettings {
        TagSettings {
            header: "X-Gatepost-Tag".into(),
            word: "spam".into(),
        }
    }
}

/// Where mail goes that a check or `quarantine_score` sends to quarantine: a pool of its own, with the envelope and the body as
/// they came. The client hears what that pool's backend says: 250 is said only after the backend has said it. What that
/// backend does with it (one mailbox for all, a folder for each user) is its own matter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[policy]
quarantine_score = 7.0

[policy.quarantine]
pool = "quarantine"

[[pool]]
name     = "quarantine"
backends = ["10.0.0.20:25"]

[[pool]]
name     = "mta"
backends = ["10.0.0.11:25"]"#))]
pub struct QuarantineSettings {
    /// The name of the pool. It must speak SMTP, for an LMTP pool takes one recipient a message.
    #[schemars(extend("x-default" = "none"))]
    pub pool: String,
}

/// What a check does once it matches. All checks share these keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[policy.helo.unqualified]
then = "reject""#))]
pub struct Outcome {
    /// What happens on a match.
    pub then: Then,
    /// Added to the message's score where `then = "score"`.
    pub score: f64,
    /// Reply to send instead of the built-in one: `"550 5.7.1 Not from there"`; 4xx to defer, 5xx to reject.
    pub reply: Option<String>,
    /// Whether the check is in force.
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
    /// The name of this list in logs and metrics.
    pub name: String,
    /// Entries in this file. In client lists: addresses and networks. In the other lists: `example.net` for that
    /// domain, `.example.net` for all domains below it, `user@example.net` for an address, `<>` for the empty sender,
    /// `/…/` for a regular expression over the whole address or name. Expressions ignore case and work on octets;
    /// `(?-i)` and `(?u)` change that.
    pub entries: Vec<String>,
    /// Files with more entries, one on each line. `#` starts a comment; so does `;` at the start of a line or after a
    /// blank. Read again at a reload.
    #[schemars(with = "Vec<String>")]
    pub files: Vec<PathBuf>,
    /// The name of a `[[policy.list]]` whose entries hold here as well. They are in memory once, however many lists and rules
    /// name them. Client lists look at its addresses and networks, the others at the rest.
    #[schemars(extend("x-default" = "none"))]
    pub list: String,
    /// What happens on a match.
    pub then: Then,
    /// Added to the message's score where `then = "score"`.
    pub score: f64,
    /// Reply to send instead of the built-in one.
    pub reply: Option<String>,
    /// Whether the check is in force.
    pub mode: Mode,
}

/// Limits of one key (an address, a prefix, a domain). 0 is no limit. A limit is what may come at once, and what is
/// earned again in `per`; what the limit itself refuses does not count. Trusted clients have no limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[policy.client_rate]
connections = 120
per         = "1m"
mode        = "shadow""#))]
pub struct Rate {
    /// Most sessions at the same time.
    pub sessions: u32,
    /// Most connections in `per`.
    pub connections: u32,
    /// Most messages (MAIL commands) in `per`.
    pub messages: u32,
    /// Most recipients (RCPT commands, refused ones included) in `per`.
    pub recipients: u32,
    /// Most octets of message text in `per`. One message larger than this passes when nothing else was sent in `per`.
    pub bytes: Size,
    /// The time in which the numbers above are allowed.
    pub per: Time,
    /// Most keys (addresses, networks or domains) that are remembered; each takes 16 octets for each limit that is set.
    /// When the table is full, the keys with the least use are forgotten first, so a flood of new keys does not free
    /// one that is over its limit.
    pub table: u32,
    /// What happens above a limit. `defer` also closes the connection (421) where the limit is on connections or
    /// sessions.
    pub then: Then,
    /// Reply to send instead of the built-in one.
    pub reply: Option<String>,
    /// Whether the check is in force.
    pub mode: Mode,
}

/// What a HELO name must be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeloRules {
    /// A name without a dot (`localhost`, `user-pc`).
    pub unqualified: Outcome,
    /// An address without brackets (`192.0.2.1`), or one in brackets that is not the client's own.
    pub address: Outcome,
    /// Our own name, used by a client that is not trusted.
    pub ours: Outcome,
}

/// Whose addresses an authenticated client may use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IdentityRules {
    /// The account does not own the address in MAIL FROM.
    pub sender: Outcome,
    /// The account does not own an address in From or Sender, or From can't be parsed.
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
    /// The name of this rule in logs and metrics.
    pub name: String,
    /// The name of the field, in any case: `Subject`.
    pub field: String,
    /// What is looked for.
    pub when: HeaderTest,
    /// For `when = "matches"`: a regular expression over the unfolded text of the field. It ignores case and works on
    /// octets; `(?-i)` and `(?u)` change that. It is tried on the text as it came, then with encoded words
    /// (`=?utf-8?Q?…?=`) decoded to UTF-8, as mail programs show it. Of several fields with this name each is looked
    /// at.
    pub pattern: Option<String>,
    /// What happens on a match.
    pub then: Then,
    /// Added to the message's score where `then = "score"`.
    pub score: f64,
    /// Reply to send instead of the built-in one.
    pub reply: Option<String>,
    /// Whether the check is in force.
    pub mode: Mode,
}
