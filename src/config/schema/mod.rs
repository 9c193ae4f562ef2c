//! The configuration file as types. The doc comments of these fields are the manual: `docs/config.md` and
//! the JSON schema are generated from them, so they are written for an operator.
//!
//! Every key has a default; unknown keys are errors.

mod acme;
mod backend;
mod credentials;
mod default;
mod dns;
mod listener;
mod part;
mod policy;
mod process;
mod service;

pub use acme::*;
pub use backend::*;
pub use credentials::*;
pub use dns::*;
pub use listener::*;
pub use part::PolicyPart;
pub use policy::*;
pub use process::*;
pub use service::*;

use super::{choice::*, value::*};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Other files of the configuration, read as if they stood here: `["conf.d/*.toml"]`, from the folder of this file
    /// on. A `*` stands for anything in the last part of a path; those files come in the order of their names. Lists of
    /// tables (`[[pool]]`, `[[route]]`) are joined; any other key is set in one file. In every file `"${NAME}"` is what the
    /// environment says, `"${NAME:-text}"` has a text for a variable that is not set, and `$${` is a plain `${`.
    pub include: Vec<String>,
    /// Worker threads, each pinned to one core: a number from 1 to 1024, or `"auto"` for one on each core of the
    /// affinity mask (what `taskset`, a container or systemd allow). Takes a restart.
    pub workers: Workers,
    /// The I/O engine. Takes a restart.
    pub io: Io,
    /// The name that Gatepost calls itself in greetings, EHLO and Received; strangers expect the name that the
    /// address resolves to.
    #[schemars(extend("x-default" = "the machine's host name"))]
    pub hostname: String,
    /// Networks whose clients may send to any domain and skip the checks meant for strangers (rates, HELO rules,
    /// early talk, relaying). Nobody else can relay.
    #[schemars(with = "Vec<NetworkText>")]
    #[serde(deserialize_with = "networks")]
    pub trusted: Vec<IpNet>,
    /// Files with more networks of this kind, one a line; `#` begins a comment. Read again at a reload.
    #[schemars(with = "Vec<String>")]
    pub trusted_files: Vec<PathBuf>,
    /// The HTTP endpoint with metrics, health and control.
    pub admin: Admin,
    /// A certificate that is ordered and renewed by ACME, so that nothing else need do it.
    pub acme: Acme,
    /// One group of addresses that behave alike; there may be several. At least one is needed.
    pub listener: Vec<Listener>,
    /// A certificate with its key; there may be several.
    pub certificate: Vec<Certificate>,
    /// A group of backends that messages are handed to; there may be several. Connections to them are few, kept
    /// open, and shared by all clients; one is taken only when a message is ready to go.
    pub pool: Vec<Pool>,
    /// Which recipient domains go to which pool; there may be several, and their order means nothing: a whole
    /// domain beats `.below`, a longer `.below` beats a shorter, `*` comes last. The domains named here are our
    /// own: an `mx` listener takes mail for them from everybody.
    pub route: Vec<Route>,
    /// How the host names of backends are looked up.
    pub dns: Dns,
    /// A place that knows who may send (AUTH, RFC 4954); there may be several, and a listener names its own.
    pub credentials: Vec<Credentials>,
    /// What is judged, and how. Each check has an outcome (`then`), may be tried in `shadow` first, and is
    /// named in the log line of the message that it hit.
    pub policy: Policy,
    /// Sizes and counts that nothing may exceed. Above each of them a client gets a reply, and memory does not grow.
    pub limits: Limits,
    /// How long each stage may take. Deadlines are kept with a slack of a tenth of a second or so.
    pub timeouts: Timeouts,
    /// The log: a line for each transaction, and what happens to the service itself.
    pub log: Log,
    /// The user that the process becomes, and what the kernel refuses it.
    pub process: Process,
    /// A backend that `gatepost run` starts by itself and that writes what it gets to a Maildir: for a first try,
    /// not for production. Takes a restart.
    pub maildir: Maildir,
}
