//! `gatepost check`.

use super::{
    load::{complain, load},
    output::{exit, say},
};
use gatepost::{
    admin,
    config::{ConfigSource, Loaded},
};
use std::{path::Path, process::ExitCode};

pub const HELP: &str = "\
Examples:
  gatepost check -c /etc/gatepost/mx.toml
  gatepost check -c mx.toml --listen 0.0.0.0:25             as `run` with the same flags would read it

Prints every error it finds with file, line and what to write instead, and exits with 78 if there are any.";

/// Prints every error in the configuration.
pub fn check(source: &ConfigSource) -> ExitCode {
    match load(source, complain) {
        Err(code) => code,
        Ok(loaded) if !token_is_sound(&loaded) => exit::CONFIG.into(),
        Ok(_) => {
            let name = match source.file.as_deref() {
                None => "the command line".into(),
                Some(file) if file == Path::new("-") => "standard input".into(),
                Some(file) => file.to_string_lossy(),
            };
            say(&format!("{name}: no errors\n"))
        }
    }
}

/// Whether the admin endpoint's token can be used; tells why not.
fn token_is_sound(loaded: &Loaded) -> bool {
    let problem = admin::Rules::build(&loaded.config).err();
    if let Some(problem) = &problem {
        eprintln!("gatepost: {problem}");
    }
    problem.is_none()
}
