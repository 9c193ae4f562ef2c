//! `gatepost user`: asks for a password where one is needed, and changes the file.

use crate::cli::{Account, Password, User};
use gatepost::auth::{Entry, Secret, Verifier, edit};
use std::io::{self, BufRead, IsTerminal};

/// Octets of a password at most.
const PASSWORD_MAX: usize = 1024;

/// Does it: what to say on standard output. Errors: in words.
pub fn run(user: User) -> Result<String, String> {
    match user {
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
