//! `[[listener]]`.

use crate::config::{choice::*, value::*};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// One group of addresses that behave alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[[listener]]
name           = "mx"
address        = ["0.0.0.0:25", "[::]:25"]
greeting_delay = "2s""#))]
pub struct Listener {
    /// Name in logs and metrics.
    pub name: String,
    /// Addresses to listen on; `[::]:25` is IPv6 alone, so both families are `["0.0.0.0:25", "[::]:25"]`. Takes a
    /// restart.
    #[schemars(extend("x-default" = "required"))]
    #[schemars(with = "Vec<SocketText>")]
    pub address: Vec<SocketAddr>,
    /// What the listener is for.
    pub role: Role,
    /// Text of the greeting behind `220 hostname ESMTP`: printable ASCII.
    pub banner: String,
    /// Sessions at once on this listener, all workers together; more get 421.
    pub sessions_max: u32,
    /// Wait this long before the greeting; a client that talks meanwhile is judged by `policy.early_talk`. Trusted
    /// clients don't wait.
    pub greeting_delay: Time,
    /// Connections that the kernel keeps until they are accepted (`net.core.somaxconn` caps it). Takes a restart.
    pub backlog: u32,
}
