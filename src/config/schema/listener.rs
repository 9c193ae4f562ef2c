//! `[[listener]]`.

use crate::config::{choice::*, value::*};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// One group of addresses that behave alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Listener {
    /// Name in logs and metrics.
    pub name: String,
    /// Addresses to listen on, as `ip:port`; `[::]:25` and `0.0.0.0:25` are two.
    #[schemars(with = "Vec<SocketText>")]
    pub address: Vec<SocketAddr>,
    /// `mx` takes mail from strangers for our own domains; `submission` takes it from our users (and needs
    /// trust or, later, AUTH for every message).
    pub role: Role,
    /// Banner text behind `220 hostname ESMTP`.
    pub banner: String,
    /// Sessions at once on this listener, all workers together; more get 421.
    pub sessions_max: u32,
    /// Wait this long before the greeting; a client that talks meanwhile is judged by `policy.early_talk`.
    pub greeting_delay: Time,
    /// Listen backlog.
    pub backlog: u32,
}
