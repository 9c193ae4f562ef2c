//! `gatepost-load`: the load generator. Its commands are not there yet; it says so and exits with 69.

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!("gatepost-load: no command yet; for load today use smtp-source (docs/benchmarks.md)");
    ExitCode::from(69)
}
