//! The commands as clap reads them. Parser, help, completions and man page all come from here.

use clap::{Args, Parser, Subcommand};
use gatepost::config::{AdminListen, Io, Overrides, Recipients, Source, Workers};
use std::{net::SocketAddr, path::PathBuf};

/// The file that is read when nothing else is said.
const FILE: &str = "config/quickstart.toml";

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

const RUN: &str = "\
Examples:
  gatepost run                                              config/quickstart.toml
  gatepost run -c /etc/gatepost/mx.toml
  gatepost run -c mx.toml --workers 4 --io epoll            the file, but for these keys
  gatepost run --listen 127.0.0.1:2525 --backend 127.0.0.1:2600 --domain example.net
                                                            no file at all
  envsubst < mx.toml.in | gatepost run -c -                 the file from standard input

Each flag is a key of the file; `gatepost config reference` explains them. SIGHUP reloads, SIGTERM drains.";

const CHECK: &str = "\
Examples:
  gatepost check -c /etc/gatepost/mx.toml
  gatepost check -c mx.toml --listen 0.0.0.0:25             as `run` with the same flags would read it

Prints every error it finds with file, line and what to write instead, and exits with 78 if there are any.";

const USER: &str = "\
Examples:
  gatepost user add amy@example.net                         asks for the password; the account owns its address
  gatepost user add amy -a amy@example.net -a @amy.example  one that owns an address and a whole domain
  pwgen 24 1 | gatepost user passwd -f accounts amy         the password from standard input
  gatepost user list

The file has a line an account and is not readable by others; the running proxy takes it over at a reload (SIGHUP).";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the proxy.
    #[command(after_help = RUN)]
    Run(Where),
    /// Read the configuration as `run` would, and tell every error in it.
    #[command(after_help = CHECK)]
    Check(Where),
    /// Explain the configuration.
    #[command(subcommand)]
    Config(About),
    /// Change the file of accounts that may send (`[[credentials]]` with `source = "file"`).
    #[command(subcommand, after_help = USER)]
    User(User),
    /// Write a completion script for a shell to standard output.
    #[command(
        after_help = "Example:\n  gatepost completions bash > /etc/bash_completion.d/gatepost"
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Hand files to a process that may not read them any more. Started by `run` alone.
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
        /// Write one file a command here.
        #[arg(long, value_name = "DIRECTORY")]
        to: Option<PathBuf>,
    },
}

/// What `config` shows.
#[derive(Debug, Subcommand)]
pub enum About {
    /// Every key with its type, default and meaning, as Markdown.
    Reference,
    /// The JSON schema, for editors.
    Schema,
    /// The values that `run` would use, defaults and flags included, as a file that could be used.
    Show(Where),
}

/// What `user` does.
#[derive(Debug, Subcommand)]
pub enum User {
    /// Add an account; asks for its password, or reads it from standard input.
    #[command(after_help = USER)]
    Add(Account),
    /// Give an account a new password.
    #[command(after_help = USER)]
    Passwd(Account),
    /// Take an account away.
    Remove {
        #[command(flatten)]
        file: AccountFile,
        /// The account.
        name: String,
    },
    /// Show the accounts and what they own.
    List {
        #[command(flatten)]
        file: AccountFile,
    },
}

/// The file that is changed.
#[derive(Args, Debug)]
pub struct AccountFile {
    /// The account file [key: credentials.file].
    #[arg(
        short = 'f',
        long,
        value_name = "FILE",
        default_value = "/etc/gatepost/accounts"
    )]
    pub file: PathBuf,
}

/// An account, and how its password is kept.
#[derive(Args, Debug)]
pub struct Account {
    #[command(flatten)]
    pub file: AccountFile,
    /// The name that the user logs in with.
    pub name: String,
    /// An address that the account owns, or `@domain` for all of a domain; may be given several times. Without it a
    /// new account owns its name, where that is an address, and an old one keeps what it has.
    #[arg(short = 'a', long, value_name = "ADDRESS")]
    pub address: Vec<String>,
    #[command(flatten)]
    pub password: Password,
}

/// How a password is kept.
#[derive(Args, Clone, Copy, Debug)]
pub struct Password {
    /// Keep it as bcrypt instead of argon2id.
    #[arg(long)]
    pub bcrypt: bool,
    /// Keep no verifier for SCRAM: a stolen file is worth less, and the account can't use SCRAM.
    #[arg(long)]
    pub no_scram: bool,
}

/// Where the configuration comes from.
#[derive(Args, Debug)]
pub struct Where {
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
    /// Take mail for this domain from everybody [key: route.domains].
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
    /// Worker threads: a number, or `auto` for one a core [key: workers].
    #[arg(long, value_name = "N")]
    pub workers: Option<Workers>,
    /// Where the transaction log goes: stdout, stderr, off or a file [key: log.to].
    #[arg(long, value_name = "WHERE")]
    pub log: Option<String>,
}

impl Where {
    /// The same as the configuration knows it.
    #[must_use]
    pub fn source(self) -> Source {
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
        Source { file, overrides }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::CommandFactory;

    fn source(line: &str) -> Source {
        match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Command::Run(place) | Command::Check(place) => place.source(),
            _ => unreachable!("only these two are asked for"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
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
