//! `gatepost user`: asks for a password where one is needed, and changes the file of accounts.

use super::output::{exit, say};
use clap::{Args, Subcommand};
use gatepost::auth::{Entry, Secret, Verifier, edit};
use std::{
    io::{self, BufRead, IsTerminal},
    path::PathBuf,
    process::ExitCode,
};

/// Octets of a password at most.
const PASSWORD_MAX: usize = 1024;

pub const HELP: &str = "\
Examples:
  gatepost user add amy@example.net                         asks for the password; the account owns its address
  gatepost user add amy -a amy@example.net -a @amy.example  one that owns an address and a whole domain
  pwgen 24 1 | gatepost user passwd -f accounts amy         the password from standard input
  gatepost user list

The file has a line an account and is not readable by others; the running proxy takes it over at a reload (SIGHUP).";

/// What `user` does.
#[derive(Debug, Subcommand)]
pub enum User {
    /// Add an account; asks for its password, or reads it from standard input.
    #[command(after_help = HELP)]
    Add(Account),
    /// Give an account a new password.
    #[command(after_help = HELP)]
    Passwd(Account),
    /// Remove an account.
    Remove {
        #[command(flatten)]
        file: AccountFile,
        /// The account's name.
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
    /// An address that the account owns, or `@domain` for a whole domain; may be given several times. Without it a
    /// new account owns its name, where that is an address, and an old one keeps what it has.
    #[arg(short = 'a', long, value_name = "ADDRESS")]
    pub address: Vec<String>,
    #[command(flatten)]
    pub password: Password,
}

/// How a password is kept.
#[derive(Args, Clone, Copy, Debug)]
pub struct Password {
    /// Keep it as bcrypt instead of argon2id. bcrypt takes passwords of 72 octets at most.
    #[arg(long)]
    pub bcrypt: bool,
    /// Keep no verifier for SCRAM: a stolen file is worth less, and the account can't use SCRAM.
    #[arg(long)]
    pub no_scram: bool,
}

/// Changes or shows the file of accounts.
pub fn user(what: User) -> ExitCode {
    match change(what) {
        Ok(text) => say(&text),
        Err(why) => {
            eprintln!("gatepost: {why}");
            exit::DATA.into()
        }
    }
}

/// Does it: what to say on standard output. Errors: in words.
fn change(what: User) -> Result<String, String> {
    match what {
        User::Add(Account {
            file,
            name,
            address,
            password,
        }) => {
            let secret = ask(&name)?;
            edit::add(&file.file, &name, &address, &secret, kept(password))?;
            Ok(format!("added {name}; reload for it to count (SIGHUP)\n"))
        }
        User::Passwd(Account {
            file,
            name,
            address,
            password,
        }) => {
            let secret = ask(&name)?;
            edit::change(&file.file, &name, &address, &secret, kept(password))?;
            Ok(format!("changed {name}; reload for it to count (SIGHUP)\n"))
        }
        User::Remove { file, name } => {
            edit::remove(&file.file, &name)?;
            Ok(format!("removed {name}; reload for it to count (SIGHUP)\n"))
        }
        User::List { file } => Ok(list(&edit::list(&file.file)?)),
    }
}

fn kept(password: Password) -> edit::Kept {
    edit::Kept {
        bcrypt: password.bcrypt,
        scram: !password.no_scram,
    }
}

/// Twice at a terminal, unseen; else the first line of standard input.
fn ask(name: &str) -> Result<Secret, String> {
    let unread = |why: io::Error| format!("no password could be read: {why}");
    let mut line = String::new();
    if io::stdin().is_terminal() {
        line = rpassword::prompt_password(format!("Password for {name}: ")).map_err(unread)?;
        let again = rpassword::prompt_password("Once more: ").map_err(unread)?;
        if line != again {
            return Err("the two are not the same".into());
        }
    } else {
        io::stdin().lock().read_line(&mut line).map_err(unread)?;
    }
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() || password.len() > PASSWORD_MAX {
        return Err("a password has 1 to 1024 octets".into());
    }
    Ok(Secret::new(password.as_bytes()))
}

fn list(entries: &[Entry]) -> String {
    let width = entries.iter().map(|e| e.account.name.chars().count()).max();
    let width = width.unwrap_or(0);
    let mut text = String::new();
    for entry in entries {
        let kinds: Vec<&str> = entry.verifiers.iter().map(Verifier::kind).collect();
        let kinds = match kinds.is_empty() {
            true => "no password".into(),
            false => kinds.join(" "),
        };
        let addresses = match entry.account.addresses.is_empty() {
            true => "-".into(),
            false => entry.account.addresses.join(","),
        };
        text.push_str(&format!(
            "{:width$}  {addresses}  ({kinds})\n",
            entry.account.name
        ));
    }
    text
}
