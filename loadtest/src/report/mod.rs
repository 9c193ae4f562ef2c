//! Results as text, JSON, HdrHistogram logs and a page.

pub mod folder;
pub mod histogram;
pub mod progress;
pub mod text;
pub mod units;
pub mod verdict;

pub use folder::write_folder;
pub use histogram::{histogram, latency, merge};
pub use text::text;

use std::process::ExitCode;

/// What the command line said.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
#[must_use]
pub fn main(_args: &Args) -> ExitCode {
    eprintln!("gatepost-load: report is not there yet");
    ExitCode::from(69)
}
