//! `gatepost completions` and `gatepost man`: made of the same definition as the parser.

use super::{
    Cli,
    output::{say, written},
};
use clap::CommandFactory;
use std::{path::Path, process::ExitCode};

/// Writes the completion script for `shell`.
pub fn completions(shell: clap_complete::Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "gatepost", &mut script);
    say(&String::from_utf8_lossy(&script))
}

/// Writes the man page to standard output, or those of all commands to the folder `to`.
pub fn man(to: Option<&Path>) -> ExitCode {
    let outcome = match to {
        Some(folder) => clap_mangen::generate_to(Cli::command(), folder),
        None => clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout()),
    };
    written(outcome)
}
