//! `[process]`.

use crate::config::choice::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the process may do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[process]
user  = "gatepost"
group = "gatepost""#))]
pub struct Process {
    /// Become this user once the ports are bound. Needs a start as root, and gives up everything that root may.
    /// The configuration and the keys that it names stay readable for reloads; lists and logs must be the user's to
    /// read and write. Takes a restart.
    #[schemars(extend("x-default" = "stay who started it"))]
    pub user: String,
    /// Its group. Takes a restart.
    #[schemars(extend("x-default" = "the groups of `user`"))]
    pub group: String,
    /// Whether the kernel is asked to hold the process to what a mail proxy does. Takes a restart.
    pub sandbox: Sandbox,
}
