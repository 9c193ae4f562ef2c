//! `gatepost config`: the manual, the schema, the configuration in force.

use super::{
    load::{Flags, complain, load},
    output::say,
};
use clap::Subcommand;
use gatepost::{config, policy};
use std::process::ExitCode;

/// What `config` shows.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Every key with its type, default and meaning, as Markdown.
    Reference,
    /// What conditions and replies of rules can name, as Markdown.
    Rules,
    /// The JSON schema, for editors.
    Schema,
    /// The values that `run` would use, defaults and flags included, as a file that could be used.
    Show(Flags),
}

/// Prints what was asked for.
pub fn config(what: Config) -> ExitCode {
    match what {
        Config::Reference => say(&config::reference()),
        Config::Rules => say(&policy::expression::reference()),
        Config::Schema => say(&config::schema_text()),
        Config::Show(flags) => match load(&flags.source(), complain) {
            Err(code) => code,
            Ok(loaded) => say(&config::show(&loaded.config)),
        },
    }
}
