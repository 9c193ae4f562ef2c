//! The commands as clap reads them, each in its file. Parser, help, completions and man page all come from here.

mod check;
mod config;
mod dkim;
mod endpoint;
mod explain;
mod explained;
mod load;
mod output;
mod pages;
mod run;
mod user;

use clap::{Parser, Subcommand};
use config::Config;
use dkim::Dkim;
use gatepost::process::{keeper, reader};
use load::Flags;
use output::{exit, written};
use std::{path::PathBuf, process::ExitCode};
use user::User;

/// A high-throughput SMTP edge proxy.
///
/// Gatepost stands in front of a mail cluster: it takes SMTP, judges each message, and hands the good ones to
/// the backends over a few warm connections.
#[derive(Debug, Parser)]
#[command(name = "gatepost", version, arg_required_else_help = true, after_help = EXIT)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT: &str = "\
Exit codes (sysexits): 0 done, 64 wrong usage, 65 bad data, 69 a service or address is not available,
78 the configuration has errors.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the proxy.
    #[command(after_help = run::HELP)]
    Run(Flags),
    /// Read the configuration as `run` would, and print every error in it.
    #[command(after_help = check::HELP)]
    Check(Flags),
    /// Say why a message was treated so, by the id of its log line; or what would become of one, check by check. Sends
    /// nothing.
    #[command(after_help = explain::HELP)]
    Explain(Box<explain::Explain>),
    /// Explain the configuration.
    #[command(subcommand)]
    Config(Config),
    /// Change the file of accounts that may send (`[[credentials]]` with `source = "file"`).
    #[command(subcommand, after_help = user::HELP)]
    User(User),
    /// Make keys that sign mail (DKIM), and compare them with the DNS.
    #[command(subcommand, after_help = dkim::HELP)]
    Dkim(Dkim),
    /// Write a completion script for a shell to standard output.
    #[command(
        after_help = "Example:\n  gatepost completions bash > /etc/bash_completion.d/gatepost"
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Hand files to a process that may no longer read them. Started by `run` only.
    #[command(name = gatepost::process::COMMAND, hide = true)]
    ServeFiles {
        /// Start that helper, and start it again when it ends.
        #[arg(long = "keep")]
        keep: bool,
        /// The configuration, which names what may be handed out.
        #[arg(short = 'c', long = "config", value_name = "FILE")]
        config: PathBuf,
    },
    /// Write the man page to standard output, or those of all commands to a directory.
    #[command(after_help = "Example:\n  gatepost man | man -l -")]
    Man {
        /// Write one file for each command into this directory.
        #[arg(long, value_name = "DIRECTORY")]
        to: Option<PathBuf>,
    },
}

/// Reads the command line, and does what it says.
pub fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => cli.command.execute(),
        Err(why) => {
            // A reader that has closed its end is no error.
            let _ = why.print();
            match why.use_stderr() {
                true => exit::USAGE.into(),
                false => ExitCode::SUCCESS,
            }
        }
    }
}

impl Command {
    fn execute(self) -> ExitCode {
        match self {
            Command::Run(flags) => run::run(flags.source()),
            Command::Check(flags) => check::check(&flags.source()),
            Command::Explain(asked) => explain::explain(*asked),
            Command::Config(what) => config::config(what),
            Command::User(what) => user::user(what),
            Command::Dkim(what) => dkim::dkim(what),
            Command::ServeFiles {
                config,
                keep: false,
            } => written(reader::serve(&config)),
            Command::ServeFiles { config, keep: true } => written(keeper::keep(&config)),
            Command::Completions { shell } => pages::completions(shell),
            Command::Man { to } => pages::man(to.as_deref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
