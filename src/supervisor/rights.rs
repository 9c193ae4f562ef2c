//! From the rights of the user that started the process, root for instance, to those that it keeps. Before any thread
//! starts: some of it holds only for the calling thread and those that it starts.

use super::{RunError, unavailable};
use crate::{
    config::Config,
    log::say,
    process::{
        confine::{self, Later},
        secrets,
        user::{self, UserIdentity},
    },
};
use std::path::Path;

/// The user that the process is to become; `None`: it stays the one that it is.
pub(super) fn wanted(config: &Config) -> Result<Option<UserIdentity>, RunError> {
    user::wanted(&config.process).map_err(|why| RunError::Config(vec![why]))
}

/// Gives up what isn't needed any more; says in a line what is left. `file` is the configuration's, `later` what is still to be
/// bound.
pub(super) fn settle(
    config: &Config,
    wanted: Option<&UserIdentity>,
    file: Option<&Path>,
    later: &Later,
) -> Result<String, RunError> {
    let mut keeper = None;
    match wanted {
        Some(identity) => {
            if let Some(file) = file.filter(|_| user::is_root()) {
                let started = secrets::start(file)
                    .map_err(|why| unavailable(format!("the key reader can't start: {why}")))?;
                keeper = Some(started);
            }
            identity.assume().map_err(unavailable)?;
        }
        None if user::is_root() => say!(
            Warn,
            "running as root, which nothing here needs: set `user` in [process]"
        ),
        None => {}
    }
    user::drop_capabilities().map_err(unavailable)?;
    let confined = confine::process(config, file, later);
    if let Some(keeper) = keeper {
        keeper.watch().map_err(unavailable)?;
    }
    Ok(format!("{}; {confined}", user::describe()))
}
