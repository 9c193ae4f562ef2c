//! From root, or whoever started it, to what the process is left with. Before any thread starts: some of it holds for
//! the thread that asks alone, and those that it starts.

use super::{RunError, unavailable};
use crate::{
    config::Config,
    log::say,
    process::{confine, secrets, user},
};
use std::path::Path;

/// Gives up what isn't needed any more; says in a line what is left. `file` is the configuration's.
pub(super) fn settle(config: &Config, file: Option<&Path>) -> Result<String, RunError> {
    let wanted = user::wanted(&config.process).map_err(|why| RunError::Config(vec![why]))?;
    match wanted {
        Some(identity) => {
            if let Some(file) = file.filter(|_| user::is_root()) {
                secrets::start(file)
                    .map_err(|why| unavailable(format!("the key reader can't start: {why}")))?;
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
    let confined = confine::process(config, file);
    Ok(format!("{}; {confined}", user::describe()))
}
