//! `gatepost run`.

use super::{load::load, output::exit};
use gatepost::{
    config::ConfigSource,
    log,
    supervisor::{Process, RunError},
};
use rustix::{fs::Mode, process::umask};
use std::process::ExitCode;

pub const HELP: &str = "\
Examples:
  gatepost run                                              config/quickstart.toml
  gatepost run -c /etc/gatepost/mx.toml
  gatepost run -c mx.toml --workers 4 --io epoll            the file, but for these keys
  gatepost run --listen 127.0.0.1:2525 --backend 127.0.0.1:2600 --domain example.net
                                                            no file at all
  envsubst < mx.toml.in | gatepost run -c -                 the file from standard input

Each flag is a key of the file; `gatepost config reference` explains them. SIGHUP reloads, SIGTERM drains.";

/// Runs the proxy until it is told to end.
pub fn run(source: ConfigSource) -> ExitCode {
    // Logs, mail, reports and state tell of senders and recipients: other users of the machine can't read them, whatever
    // the shell that started this would allow.
    umask(Mode::from_raw_mode(0o027));
    // Nothing that is said from here on waits for a reader of standard error.
    log::queue_up();
    let code = serve(source);
    log::finish();
    code
}

fn serve(source: ConfigSource) -> ExitCode {
    let process = match Process::begin() {
        Ok(process) => process,
        Err(why) => return failed(&why),
    };
    let loaded = match load(&source, log::write_plain) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    match process.run(loaded.config, source) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => failed(&why),
    }
}

fn failed(why: &RunError) -> ExitCode {
    for line in why.to_string().lines() {
        log::say!(Error, "{line}");
    }
    match why {
        RunError::Config(_) => exit::CONFIG,
        RunError::Unavailable(_) => exit::UNAVAILABLE,
        RunError::Internal(_) => exit::SOFTWARE,
    }
    .into()
}
