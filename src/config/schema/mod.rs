//! The configuration file as types. The doc comments of these fields are the manual: `docs/config.md` and
//! the JSON schema are generated from them, so they are written for an operator.
//!
//! Every key has a default; unknown keys are errors.

mod acme;
mod answers;
mod authentication;
mod backend;
mod credentials;
mod default;
mod dkim;
mod dns;
mod listener;
mod memory;
mod part;
mod policy;
mod preset;
mod process;
mod profile;
mod rule;
mod service;
mod state;
#[cfg(test)]
mod testing;

pub use acme::*;
pub use answers::*;
pub use authentication::*;
pub use backend::*;
pub use credentials::*;
pub use dkim::*;
pub use dns::*;
pub use listener::*;
pub use memory::*;
pub use part::PolicyPart;
pub use policy::*;
pub use process::*;
pub use profile::Profile;
pub use rule::*;
pub use service::*;
pub use state::*;

use super::{choice::*, value::*};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// More files to read, as if their text stood here: `["conf.d/*.toml"]`. A relative path starts in the folder of
    /// this file. `*` in the last part of a path stands for any text; the matching files are read in the order of their
    /// names. Lists of tables (`[[pool]]`, `[[route]]`) of all files are joined; any other key may be set in one file
    /// only. In every file `"${NAME}"` is replaced by the environment variable `NAME`, `"${NAME:-text}"` by `text`
    /// where the variable is not set; write `$${` for a plain `${`.
    pub include: Vec<String>,
    /// Number of worker threads, 1 to 1024, each pinned to one core; or `"auto"`: one for each core that the process
    /// may use (as set by `taskset`, a container or systemd). Write a smaller number to leave cores to other services
    /// on the machine. Needs a restart.
    pub workers: Workers,
    /// How the workers do network I/O. Change it only to find a fault or to compare. Needs a restart.
    pub io: Io,
    /// The name of this machine in greetings, EHLO and Received fields. Receivers expect a name that resolves to this
    /// machine's address, so set it where the machine's own name is not that.
    #[schemars(extend("x-default" = "the machine's host name"))]
    pub hostname: String,
    /// Networks whose clients may send to any domain. They also skip the checks meant for unknown clients: rates, HELO
    /// rules, early talk and relay control. A client outside these networks that has not authenticated can send to our
    /// own domains only. The default is this machine.
    #[schemars(with = "Vec<NetworkText>")]
    #[serde(deserialize_with = "networks")]
    pub trusted: Vec<IpNet>,
    /// Files with more such networks, one on each line; `#` starts a comment. Read again at a reload.
    #[schemars(with = "Vec<String>")]
    pub trusted_files: Vec<PathBuf>,
    /// The HTTP endpoint for metrics, health and control (reload, drain).
    pub admin: Admin,
    /// A certificate from an authority that speaks ACME (RFC 8555), such as Let's Encrypt. Gatepost orders and renews
    /// it; no other program is needed. Off while `domains` is empty.
    pub acme: Acme,
    /// Addresses to accept connections on, and how those connections are treated. There may be several listeners; at
    /// least one is needed.
    pub listener: Vec<Listener>,
    /// A certificate and its private key; there may be several. A client gets the certificate for the name that it asks
    /// for (SNI; a `*.` wildcard matches too), or the first one where none matches. One name may have two certificates,
    /// with an ECDSA and with an RSA key: a client gets the first kind that it can check, ECDSA before RSA. Read again
    /// at a reload.
    pub certificate: Vec<Certificate>,
    /// A group of backends (the mail servers that messages are handed to); there may be several pools. Gatepost keeps a
    /// few connections to each backend open and shares them between all clients: a connection is taken only when a
    /// message is ready to be sent.
    pub pool: Vec<Pool>,
    /// Which pool gets the mail for which recipient domains; there may be several routes. Which of them
    /// a domain has does not depend on their order:
    /// a full domain wins over `.below`, a longer `.below` over a shorter one, and `*` comes last. The domains named
    /// here are our own: an `mx` listener accepts mail for them from any client.
    pub route: Vec<Route>,
    /// How the host names of backends are resolved. `/etc/hosts` is looked at first; it and `/etc/resolv.conf` are read
    /// again when they change.
    pub dns: Dns,
    /// Where passwords and tokens are checked (AUTH, RFC 4954). There may be several of these tables; each listener
    /// names the one that it uses.
    pub credentials: Vec<Credentials>,
    /// Keys that sign what our own users and servers send (DKIM, RFC 6376). There may be several: the domain of the author
    /// (From) says which sign, and all tables of one domain sign each message, so that RSA and Ed25519 can be used side
    /// by side. A domain has 8 tables at most. Signed are messages of clients that have authenticated (or are trusted:
    /// `clients`), up to `limits.signing_window`; Date and Message-ID that `submission_fixes` adds are covered. Read again
    /// at a reload; where a key can't be read, the reload is refused.
    pub dkim: Vec<Dkim>,
    /// What is checked, and what happens then. Each check has an outcome (`then`), can be tried out with `mode =
    /// "shadow"`, and is named in the log line of each message that it matched.
    pub policy: Policy,
    /// A candidate: a whole configuration file whose `[policy]` (and `[listener.policy]`, by the listeners' names) is judged beside
    /// the one in force, on the same clients and messages, and decides nothing. Where its verdict differs, that is counted
    /// (`gatepost_shadow_config_total`), logged (`shadow=`) and listed (`gatepost explain --shadow`). No client waits for
    /// it: what it asks the DNS beyond the policy in force is unknown to it where it has not come when the client's fate is
    /// settled. Its rates count apart. A relative path starts in the folder of this file. Read again at a reload; an error in it
    /// is an error of this file.
    #[schemars(with = "Option<String>")]
    pub shadow_config: Option<PathBuf>,
    /// Sessions of all workers, where the limit of open files allows fewer than `limits.sessions`: then an address and a network have
    /// a share of them at most. Not a key.
    #[serde(skip)]
    pub places: Option<u32>,
    /// What is remembered over a restart.
    pub state: State,
    /// Parts of `[policy]` with a name, for listeners, routes and classes of clients; there may be several.
    pub profile: Vec<Profile>,
    /// Limits on sizes and counts. A client that goes above one gets the reply named here, and memory does not grow.
    pub limits: Limits,
    /// How long each stage may take. A wait may end up to a tenth of a second late.
    pub timeouts: Timeouts,
    /// The log: one line for each transaction, and messages about the service itself.
    pub log: Log,
    /// The user that the process runs as, and what the kernel forbids it.
    pub process: Process,
    /// A small backend inside `gatepost run` that stores each message in a Maildir. For a first try, not for
    /// production. Needs a restart.
    pub maildir: Maildir,
}
