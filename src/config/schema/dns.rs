//! `[dns]`.

use crate::config::{choice::*, value::*};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// How names are looked up. `/etc/hosts` comes first; it and `/etc/resolv.conf` are read again when they change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[dns]
servers = ["127.0.0.1:53"]
timeout = "3s""#))]
pub struct Dns {
    /// The DNS servers to ask.
    #[schemars(with = "Vec<SocketText>")]
    #[schemars(extend("x-default" = "those of `/etc/resolv.conf`"))]
    pub servers: Vec<SocketAddr>,
    /// How long one name may take to resolve, all tries together.
    pub timeout: Time,
    /// How forged answers are kept out (DNSSEC). `resolver` needs `servers`, each on this machine or in a private network.
    pub dnssec: Dnssec,
    /// Memory for answers, which all workers share; the answers that are used least go first. A hundred thousand names
    /// take some 25 MiB.
    pub cache: Size,
}
