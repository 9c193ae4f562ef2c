//! How a command ends: its text on standard output, and the exit code.

use std::{io::Write, process::ExitCode};

/// Exit codes of sysexits.h.
pub mod exit {
    pub const USAGE: u8 = 64;
    pub const DATA: u8 = 65;
    pub const UNAVAILABLE: u8 = 69;
    pub const SOFTWARE: u8 = 70;
    pub const OUTPUT: u8 = 74;
    pub const CONFIG: u8 = 78;
}

/// Writes `text` to standard output.
pub fn say(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// What became of the output. A reader that has seen enough (`| head`) is no error.
pub fn written(outcome: std::io::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) if why.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("gatepost: can't write: {why}");
            exit::OUTPUT.into()
        }
    }
}
