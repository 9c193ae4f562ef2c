//! Sends mail: open loop or closed loop.

use std::process::ExitCode;

/// What the command line said.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
#[must_use]
pub fn main(_args: &Args) -> ExitCode {
    eprintln!("gatepost-load: run is not there yet");
    ExitCode::from(69)
}
