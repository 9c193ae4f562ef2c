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
    /// User to change to once the ports are bound. Gatepost must be started as root for that, and gives up all other
    /// rights of root. The configuration and the keys named in it stay readable for reloads; lists and logs must be
    /// readable and writable for this user. Needs a restart.
    #[schemars(extend("x-default" = "the user that starts Gatepost"))]
    pub user: String,
    /// Group to change to. Needs a restart.
    #[schemars(extend("x-default" = "the groups of `user`"))]
    pub group: String,
    /// Whether the kernel restricts the process to the files, ports and system calls that it needs. Needs a restart.
    pub sandbox: Sandbox,
}
