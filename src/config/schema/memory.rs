//! The tables of `[policy]` about what is remembered of clients and senders.

use crate::config::{choice::*, value::*};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Greylisting: a message that looks bad, and comes from a client, a sender and to a recipient that were not seen together
/// before, hears 451; mail servers come again after some minutes, and get through, while most programs that send spam don't.
/// Good mail is not delayed: only what has a score waits, and never what comes from clients that are trusted, have
/// authenticated, or are on a client list or a list in the DNS that lets in (with its `requires`), nor from senders that a
/// user of yours, or a trusted client, has written to in the last 90 days. A client is known by the domain that SPF shows to be
/// the sender's, or else by its network (/24, IPv6 /64). What is remembered outlives a restart with `[state] directory`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[policy.greylist]
mode  = "on"
score = 4.0"#))]
pub struct GreylistRules {
    /// Whether it is in force. In `shadow` it remembers and logs, and puts nothing off.
    pub mode: Mode,
    /// The score from which on a message is put off: what connection, HELO name, sender and recipient have earned up to RCPT.
    /// 0: every stranger's.
    pub score: f64,
    /// How long it is put off.
    pub delay: Time,
    /// How long it may take to come again.
    pub window: Time,
    /// How long client, sender and recipient are known together after their last message.
    pub lifetime: Time,
    /// After so many messages that came again, one an hour at most, all mail of the client passes, for `lifetime` after its
    /// last message. 0: never.
    pub allow_after: u32,
    /// Most entries that are remembered; each takes some 52 octets. Where there is no room for one more, it
    /// is let in.
    pub table: u32,
    /// The reply instead of the built-in one.
    pub reply: Option<String>,
}

impl Default for GreylistRules {
    fn default() -> GreylistRules {
        GreylistRules {
            mode: Mode::Off,
            score: 3.0,
            delay: Time::secs(300),
            window: Time::secs(86_400),
            lifetime: Time::secs(35 * 86_400),
            allow_after: 5,
            table: 100_000,
            reply: None,
        }
    }
}

/// What has come from a network, and from a domain: the facts `reputation.client` and `reputation.domain` of rules. It is
/// counted where a rule reads one of them: a message that was accepted speaks for its network (/24, IPv6 /48) and the domain
/// that SPF shows to be the sender's, one that was refused for good speaks against both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[policy.reputation]
half_life = "14d"

[[policy.rule]]
name  = "bad-past"
when  = 'reputation.client < -0.5'
score = 3.0"#))]
pub struct ReputationRules {
    /// The time in which half of what came counts no more. Another half-life begins with nothing known.
    pub half_life: Time,
    /// Most networks, and most domains, that are remembered; each takes 16 octets. Those of which least is known are
    /// forgotten first.
    pub table: u32,
}

impl Default for ReputationRules {
    fn default() -> ReputationRules {
        ReputationRules {
            half_life: Time::secs(7 * 86_400),
            table: 100_000,
        }
    }
}
