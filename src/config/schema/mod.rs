//! The configuration file as types. The doc comments of these fields are the manual: `docs/config.md` and
//! the JSON schema are generated from them, so they are written for an operator.
//!
//! Every key has a default; unknown keys are errors.

mod backend;
mod default;
mod listener;
mod policy;
mod service;

pub use backend::*;
pub use listener::*;
pub use policy::*;
pub use service::*;

use super::{choice::*, value::*};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Worker threads, each pinned to one core: a number, or `"auto"` for one a core of the affinity mask.
    pub workers: Workers,
    /// The I/O engine: `auto` tries io_uring and falls back to epoll (and says so), `uring` and `epoll` insist.
    pub io: Io,
    /// The name that Gatepost calls itself in greetings, EHLO and Received. Default: the machine's host name.
    pub hostname: String,
    /// Networks whose clients may send to any domain and skip the checks meant for strangers.
    #[schemars(with = "Vec<NetworkText>")]
    #[serde(deserialize_with = "networks")]
    pub trusted: Vec<IpNet>,
    /// The HTTP endpoint with metrics, health and control.
    pub admin: Admin,
    /// Where clients connect.
    pub listener: Vec<Listener>,
    /// Groups of backends that messages are handed to.
    pub pool: Vec<Pool>,
    /// Which recipient domains go to which pool.
    pub route: Vec<Route>,
    /// What is judged, and how.
    pub policy: Policy,
    /// Sizes and counts that nothing may exceed.
    pub limits: Limits,
    /// How long each stage may take.
    pub timeouts: Timeouts,
    /// The transaction log.
    pub log: Log,
    /// The backend that `gatepost run` starts by itself for a first try. Not for production.
    pub maildir: Maildir,
}
