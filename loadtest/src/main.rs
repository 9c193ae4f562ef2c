//! `gatepost-load`: the command line.

use clap::{Parser, Subcommand};
use gatepost_load::{compare, report, run, sink};
use std::process::ExitCode;

/// The load generator for Gatepost and its peers.
#[derive(Debug, Parser)]
#[command(name = "gatepost-load", version, arg_required_else_help = true, after_help = EXIT)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT: &str = "\
Exit codes: 0 all is well, 1 messages were lost or damaged, 64 wrong usage, 65 bad data, 69 the target is not
available.";

/// The commands.
#[derive(Debug, Subcommand)]
enum Command {
    /// Send mail, at a rate or as fast as possible, and report what became of it.
    Run(Box<run::Args>),
    /// Act as the backend: accept mail, verify it, and misbehave as told.
    Sink(Box<sink::Args>),
    /// Show saved results again, or compare two runs.
    Report(report::Args),
    /// Run the same work through several proxies in turns, and print the results as ratios to HAProxy.
    Compare(compare::Args),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(why) => {
            // A closed pipe is not an error.
            let _ = why.print();
            // EX_USAGE of sysexits.h.
            return if why.use_stderr() {
                64.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match cli.command {
        Command::Run(args) => run::main(&args),
        Command::Sink(args) => sink::main(&args),
        Command::Report(args) => report::main(&args),
        Command::Compare(args) => compare::main(&args),
    }
}
