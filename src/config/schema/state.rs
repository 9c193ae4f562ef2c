//! `[state]`.

use crate::config::value::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What is remembered of clients and accounts over a restart: rates and windows, the greylist, whom your users have written
/// to, clients that have waited for the greeting, reputations, failed logins with the addresses and accounts that are locked
/// for them, and the addresses from which accounts have logged in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[state]
directory = "/var/lib/gatepost""#))]
pub struct State {
    /// Folder of the file in which it is kept; the process must be able to write there. Without it nothing is kept: a
    /// restart begins with empty tables, and frees all addresses and accounts that were locked. The file holds hashes and no
    /// addresses in clear; with a file that is damaged or of another version the process starts as without one. Needs a restart.
    #[schemars(with = "Option<String>")]
    pub directory: Option<PathBuf>,
    /// How often it is written while the process runs, beside once at its end: what a crash loses at most. A write takes as
    /// many octets as the tables in use have entries, 16 each.
    pub interval: Time,
}

impl Default for State {
    fn default() -> State {
        State {
            directory: None,
            interval: Time::secs(60),
        }
    }
}
