//! `[[policy.rule]]` and `[[policy.list]]`.

use crate::config::{choice::*, entry};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A rule with a condition of your own, for every client. What can be named in conditions and replies is in docs/rules.md.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[[policy.rule]]
name  = "pretends-to-be-us"
when  = 'helo == "mx.example.net" && !client.trusted'
then  = "reject"
reply = "550 5.7.1 {helo} is our name, and {client.address} is not ours"

[[policy.rule]]
name  = "doubtful"
when  = 'spf == "softfail" && rdns != "confirmed"'
score = 3.0
mode  = "shadow""#))]
pub struct Rule {
    /// The name of this rule in logs and metrics.
    pub name: String,
    /// The condition, in the syntax of CEL. Where something in it is unknown, such as the answer of a server that is
    /// down, and the rest does not decide without it, the rule does nothing, and the log says why.
    pub when: String,
    /// What happens where the condition is true: `score` by default. `accept` ends the rules: no other is judged for this
    /// session (at `connect`), message, or recipient (where it reads the recipient); it does not lift other checks. What a
    /// rule asks for that reads the recipient (`quarantine`, `discard`) must hold for all recipients of a message: one that is
    /// treated otherwise than those before it gets 452, and comes in a message of its own.
    #[schemars(extend("x-default" = "`score`"))]
    pub then: Then,
    /// Added to the message's score where `then = "score"`.
    pub score: f64,
    /// A word that is written on the message as well, whatever `then` is: see `policy.tag`.
    pub tag: Option<String>,
    /// Reply to send instead of the built-in one. `{client.address}` stands for that fact, `{{` for a brace. A fact that
    /// is known later than all that `when` reads can't stand there.
    pub reply: Option<String>,
    /// Whether the rule is in force.
    pub mode: Mode,
    /// When it is judged. A rule that reads what is known later only, such as a recipient or the header, is judged there.
    pub at: DecideAt,
    /// Whether it ends the rules as `accept` does, where it goes on otherwise (`score`, `tag`, `quarantine` …).
    pub stop: bool,
}

impl Default for Rule {
    fn default() -> Rule {
        Rule {
            name: String::new(),
            when: String::new(),
            then: Then::Score,
            score: 0.0,
            tag: None,
            reply: None,
            mode: Mode::On,
            at: DecideAt::default(),
            stop: false,
        }
    }
}

/// A list that rules can ask by its name: `client.address in list("partners")`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[[policy.list]]
name    = "partners"
entries = ["192.0.2.0/24", "partner.example", ".partner.example", "amy@example.com"]"#))]
pub struct NamedList {
    /// The name of this list.
    pub name: String,
    /// Entries in this file: addresses and networks, and what other lists hold: `example.net` for that domain,
    /// `.example.net` for all domains below it, `user@example.net` for an address, `<>` for the empty sender, `/…/` for a
    /// regular expression.
    pub entries: Vec<String>,
    /// Files with more entries, one on each line, as in `policy.sender_list`. Read again at a reload.
    #[schemars(with = "Vec<String>")]
    pub files: Vec<PathBuf>,
}

impl NamedList {
    /// Whether no client's address can be in it. What files hold may change.
    #[must_use]
    pub fn has_no_network(&self) -> bool {
        let is_network = |text: &String| entry::is_address_or_network(text.trim());
        self.files.is_empty() && !self.entries.iter().any(is_network)
    }
}
