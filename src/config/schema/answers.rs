//! The tables of `[policy]` whose checks need answers from the DNS.

use super::Secret;
use crate::config::{choice::*, effect::*};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A list in the DNS: of client addresses (RFC 5782) or of domain names, to refuse by or to let in by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[[policy.dnsbl]]
zone  = "bl.example.org"
codes = ["127.0.0.2-11"]
score = 6.0

[[policy.dnsbl]]
zone  = "{key}.zen.example.net"
name  = "zen"
key   = { file = "/etc/gatepost/zen.key" }
codes = ["127.0.0.[2..7]"]
then  = "reject""#))]
pub struct Dnsbl {
    /// The zone. `{key}` in it stands for the secret `key`, which appears in no log and no reply.
    pub zone: String,
    /// Name in logs, metrics and replies; the zone without its key where nothing is said.
    pub name: String,
    /// The key of a list that is paid for.
    pub key: Secret,
    /// What is looked up. Without it: the client's address. Otherwise the list is one of names, and this says which.
    pub of: Vec<DnsblOf>,
    /// The kinds of address that the list knows; without it both.
    pub families: Vec<AddressFamily>,
    /// Which answers count: addresses and ranges, as `127.0.0.2-11`, `127.0.0.[2..11]`, `127.0.0.4/30`, `bits:8`. Without it
    /// every answer in 127.0.0.0/8 that is no error. Answers outside of that network, 127.0.0.1 and 127.255.255.0/24 are
    /// errors of the list, never listings.
    pub codes: Vec<String>,
    /// Added to the message's score where the client is listed. A negative score lets in.
    pub score: f64,
    /// Several scores for several codes, instead of `codes` and `score`. Each counts once.
    pub entries: Vec<DnsblEntry>,
    /// Answers that are errors of this list, beside those above.
    pub errors: Vec<String>,
    /// What must be proven before a negative score counts, all of it. A list of names needs one, for a name alone can be
    /// claimed by anybody. With `dkim` or `dmarc` the list decides at the end of the message, whatever `at` says.
    pub requires: Vec<Proof>,
    /// Whether the list has the test entries of RFC 5782, section 5: 127.0.0.2 is listed, 127.0.0.1 is not. They are asked
    /// before the start and every hour; a list that answers otherwise is not used until it is well again, and one that has not
    /// answered yet counts as one that fails (`on_failure`).
    pub test_entries: bool,
    /// A list that says yes to this share of all questions, in per cent, is suspected of listing everything: it is asked at
    /// once for its test entries, and for addresses or names picked at random, which no client chose. It is switched off
    /// where it lists what must not be listed, or all of those, and used again when a probe finds it well. Above 100: never,
    /// for lists that have an answer for each address, such as its country.
    pub runaway: u32,
    /// What happens where the client is listed: `score` by default.
    #[schemars(extend("x-default" = "`score`"))]
    pub then: Then,
    /// The reply instead of the built-in one.
    pub reply: Option<String>,
    /// Whether it is in force.
    pub mode: Mode,
    /// When the list decides. It is asked as early as what it is asked for is known.
    pub at: DecideAt,
    /// What happens where the list can't be asked, or does not answer in time.
    pub on_failure: Effect,
}

/// One of several scores of a list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DnsblEntry {
    /// Which answers count; without it every one that is no error.
    pub codes: Vec<String>,
    /// Added to the message's score.
    pub score: f64,
}

/// The names of the client's address (PTR records), and whether they lead back to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[policy.rdns]
none        = 2.0
unconfirmed = 1.0
generic     = 1.5"#))]
pub struct RdnsRules {
    /// Whether it is looked up, and has an effect.
    pub mode: Mode,
    /// The address has no name.
    pub none: Effect,
    /// It has names, but none of them leads back to it.
    pub unconfirmed: Effect,
    /// Its confirmed name looks generated (`pool-192-0-2-7.isp.example`), as those of homes and rented machines do.
    pub generic: Effect,
    /// There was no answer in time.
    pub unknown: Effect,
    /// The reply instead of the built-in one.
    pub reply: Option<String>,
    /// When it decides.
    pub at: DecideAt,
}

/// Whether the name in HELO or EHLO exists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[policy.helo_domain]
no_name = 2.0"#))]
pub struct HeloDomainRules {
    /// Whether it is looked up, and has an effect.
    pub mode: Mode,
    /// There is no such name.
    pub no_name: Effect,
    /// The name exists, but has neither addresses nor MX records.
    pub no_host: Effect,
    /// None of its addresses is the client's. RFC 5321 (section 4.1.4) forbids to refuse mail for that alone: give it a
    /// score at most.
    pub not_client: Effect,
    /// There was no answer in time.
    pub unknown: Effect,
    /// The reply instead of the built-in one.
    pub reply: Option<String>,
    /// When it decides.
    pub at: DecideAt,
}

/// Whether a reply to the sender could be delivered: what the domain in MAIL FROM has in the DNS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[policy.sender_domain]
no_name = "reject"
null_mx = "reject"
no_mail = "defer""#))]
pub struct SenderDomainRules {
    /// Whether it is looked up, and has an effect.
    pub mode: Mode,
    /// There is no such domain.
    pub no_name: Effect,
    /// The domain has neither MX records nor addresses.
    pub no_mail: Effect,
    /// It says that it takes no mail (a null MX, RFC 7505).
    pub null_mx: Effect,
    /// All its mail exchangers have addresses that can't be reached from the internet (loopback, private networks …).
    pub unusable: Effect,
    /// There was no answer in time.
    pub unknown: Effect,
    /// The reply instead of the built-in one.
    pub reply: Option<String>,
    /// When it decides.
    pub at: DecideAt,
}

/// SPF (RFC 7208): whether the owner of the sender's domain lets this client use it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[policy.spf]
fail     = "reject"
softfail = 2.0"#))]
pub struct SpfRules {
    /// Whether it is looked up, and has an effect.
    pub mode: Mode,
    /// The client is allowed.
    pub pass: Effect,
    /// The client is not allowed (`-all`).
    pub fail: Effect,
    /// The client is probably not allowed (`~all`).
    pub softfail: Effect,
    /// The domain doesn't say (`?all`).
    pub neutral: Effect,
    /// The domain has no SPF record.
    pub none: Effect,
    /// There was no answer in time; the sender may try again.
    pub temperror: Effect,
    /// The domain's record is wrong.
    pub permerror: Effect,
    /// The reply instead of the built-in one.
    pub reply: Option<String>,
    /// When it decides.
    pub at: DecideAt,
    /// Write a Received-SPF field (RFC 7208, section 9.1) beside Authentication-Results.
    pub received_spf: bool,
}

macro_rules! defaults {
    ($($name:ident { $($field:ident: $value:expr,)* [$($effect:ident),*] })*) => { $(
        impl Default for $name {
            fn default() -> $name {
                $name {
                    $($field: $value,)*
                    $($effect: Effect::Nothing,)*
                    reply: None,
                    at: DecideAt::default(),
                }
            }
        }
    )* };
}

defaults! {
    RdnsRules { mode: Mode::On, [none, unconfirmed, generic, unknown] }
    HeloDomainRules { mode: Mode::On, [no_name, no_host, not_client, unknown] }
    SenderDomainRules { mode: Mode::On, [no_name, no_mail, null_mx, unusable, unknown] }
    SpfRules { mode: Mode::On, received_spf: false, [pass, fail, softfail, neutral, none, temperror, permerror] }
}

impl Default for Dnsbl {
    fn default() -> Dnsbl {
        Dnsbl {
            zone: String::new(),
            name: String::new(),
            key: Secret::default(),
            of: Vec::new(),
            families: Vec::new(),
            codes: Vec::new(),
            score: 0.0,
            entries: Vec::new(),
            errors: Vec::new(),
            requires: Vec::new(),
            test_entries: true,
            runaway: 98,
            then: Then::Score,
            reply: None,
            mode: Mode::On,
            at: DecideAt::default(),
            on_failure: Effect::Nothing,
        }
    }
}
