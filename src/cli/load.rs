//! Which configuration a command is about: the file, and the flags that override it. Loaded, with its errors told.

use super::output::exit;
use clap::Args;
use gatepost::{
    config::{AdminListen, ConfigSource, Io, Loaded, Overrides, Problem, Recipients, Workers},
    supervisor,
};
use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

/// The file that is read when nothing else is said.
const FILE: &str = "config/quickstart.toml";

/// The configuration file, and what overrides it.
#[derive(Args, Debug)]
pub struct Flags {
    /// The configuration file, or `-` for standard input. Without it: config/quickstart.toml, or no file if --listen,
    /// --backend or --domain is given.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Listen here [key: listener.address].
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<SocketAddr>,
    /// Hand mail to this backend, as host:port [key: pool.backends].
    #[arg(long, value_name = "ADDR")]
    pub backend: Vec<String>,
    /// Accept mail for this domain from any client [key: route.domains].
    #[arg(long, value_name = "DOMAIN", num_args = 1..)]
    pub domain: Vec<String>,
    /// `verify` (ask the backend) or `accept` every recipient [key: route.recipients].
    #[arg(long, value_name = "HOW")]
    pub recipients: Option<Recipients>,
    /// The name that Gatepost calls itself [key: hostname].
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Address of metrics, health and control, or `off` [key: admin.listen].
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<AdminListen>,
    /// The I/O engine: auto, ring, uring or epoll [key: io].
    #[arg(long, value_name = "ENGINE")]
    pub io: Option<Io>,
    /// Worker threads: a number, or `auto` for one on each core [key: workers].
    #[arg(long, value_name = "N")]
    pub workers: Option<Workers>,
    /// Where the transaction log goes: stdout, stderr, off or a file [key: log.to].
    #[arg(long, value_name = "WHERE")]
    pub log: Option<String>,
}

impl Flags {
    /// The same as the configuration knows it.
    #[must_use]
    pub fn source(self) -> ConfigSource {
        let flags = !(self.listen.is_empty() && self.backend.is_empty() && self.domain.is_empty());
        let alone = self.file.is_none() && flags;
        let file = if alone {
            None
        } else {
            Some(self.file.unwrap_or_else(|| FILE.into()))
        };
        let overrides = Overrides {
            listen: self.listen,
            backend: self.backend,
            domain: self.domain,
            recipients: self.recipients,
            hostname: self.hostname,
            admin: self.admin,
            io: self.io,
            workers: self.workers,
            log: self.log,
            alone,
        };
        ConfigSource { file, overrides }
    }
}

/// Loads the configuration, and tells what is wrong with it.
///
/// # Errors
/// The exit code, where the configuration has errors; they were told.
pub fn load(source: &ConfigSource, tell: fn(&str)) -> Result<Loaded, ExitCode> {
    let (result, problems) = match supervisor::examine::load(source) {
        Ok(mut loaded) => {
            let warnings = std::mem::take(&mut loaded.warnings);
            (Ok(loaded), warnings)
        }
        Err(problems) => (Err(exit::CONFIG.into()), problems),
    };
    for problem in &problems {
        tell(&problem.to_string());
    }
    if result.is_err() {
        match problems
            .iter()
            .filter(|problem: &&Problem| problem.is_error())
            .count()
        {
            1 => tell("gatepost: 1 error in the configuration"),
            count => tell(&format!("gatepost: {count} errors in the configuration")),
        }
    }
    result
}

/// Tells on standard error, and waits for its reader: for commands that print and end.
pub fn complain(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn source(line: &str) -> ConfigSource {
        match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Command::Run(flags) | Command::Check(flags) => flags.source(),
            _ => unreachable!("only these two are asked for"),
        }
    }

    #[test]
    fn a_file_or_none() {
        assert_eq!(source("gatepost run").file, Some(FILE.into()));
        assert_eq!(source("gatepost run --workers 2").file, Some(FILE.into()));
        assert_eq!(
            source("gatepost check -c a.toml --listen 127.0.0.1:25").file,
            Some("a.toml".into())
        );
        let bare = source("gatepost run --backend mail:25 --domain example.net example.org");
        assert_eq!((bare.file, bare.overrides.alone), (None, true));
        assert_eq!(bare.overrides.domain, ["example.net", "example.org"]);
    }

    #[test]
    fn a_wrong_word_says_which_are_right() {
        let error = Cli::try_parse_from(["gatepost", "run", "--io", "kqueue"])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`kqueue` is none of auto, ring, uring, epoll"),
            "{error}"
        );
    }
}
