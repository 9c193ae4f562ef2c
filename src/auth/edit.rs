//! Changes to an account file, for `gatepost user`: line by line, so that comments and order stay, and all at once: the new file
//! takes the place of the old one when it is whole.

use super::{
    Secret,
    accounts::{self, Accounts, Entry},
    names,
    verifier::Verifier,
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// How a password is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// As bcrypt instead of argon2id.
    pub bcrypt: bool,
    /// And as a verifier for SCRAM.
    pub scram: bool,
}

/// What is written at the top of a new file.
const HEAD: &str = "\
# Accounts of Gatepost: name, addresses that it owns (or -), verifiers. Written by `gatepost user`; SIGHUP takes it over.
";

fn told(path: &Path, why: impl std::fmt::Display) -> String {
    format!("{}: {why}", path.display())
}

/// The verifiers of a password.
fn verifiers(password: &Secret, kept: Kept) -> Result<String, String> {
    if password.octets().is_empty() {
        return Err("an empty password is none".into());
    }
    let mut made = vec![match kept.bcrypt {
        true => Verifier::bcrypt(password)?,
        false => Verifier::argon2(password)?,
    }];
    if kept.scram {
        made.push(Verifier::scram(password)?);
    }
    let made: Vec<String> = made.iter().map(ToString::to_string).collect();
    Ok(made.join(" "))
}

/// Adds an account. Errors: in words, and the file is as it was.
pub fn add(
    path: &Path,
    name: &str,
    addresses: &[String],
    password: &Secret,
    kept: Kept,
) -> Result<(), String> {
    let name = names::folded(name);
    if let Some(why) = accounts::bad_name(&name) {
        return Err(why.into());
    }
    let owned = owned(addresses)?;
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(why) if why.kind() == io::ErrorKind::NotFound => HEAD.into(),
        Err(why) => return Err(told(path, why)),
    };
    if line_of(&text, &name).is_some() {
        return Err(format!(
            "there is an account \"{name}\" already; `passwd` changes its password"
        ));
    }
    let mut text = text;
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&format!("{name} {owned} {}\n", verifiers(password, kept)?));
    write(path, &text)
}

/// Gives an account a new password; and new addresses, where some are named.
pub fn change(
    path: &Path,
    name: &str,
    addresses: &[String],
    password: &Secret,
    kept: Kept,
) -> Result<(), String> {
    let owned = match addresses {
        [] => None,
        some => Some(owned(some)?),
    };
    let verifiers = verifiers(password, kept)?;
    edit(path, name, |line| {
        let before = line.split_whitespace().nth(1).unwrap_or("-");
        let owned = owned.as_deref().unwrap_or(before);
        Some(format!("{} {owned} {verifiers}", names::folded(name)))
    })
}

/// Takes an account away.
pub fn remove(path: &Path, name: &str) -> Result<(), String> {
    edit(path, name, |_| None)
}

/// The accounts in the order of the file.
pub fn list(path: &Path) -> Result<Vec<Entry>, String> {
    // Sound as a whole, and then line by line.
    Accounts::read(path).map_err(|bad| bad.join("\n"))?;
    let text = fs::read_to_string(path).map_err(|why| told(path, why))?;
    lines(&text).map(Entry::parse).collect()
}

fn owned(addresses: &[String]) -> Result<String, String> {
    let all = addresses.iter().flat_map(|text| text.split(','));
    let all = all.filter(|text| !text.is_empty() && *text != "-");
    let all: Vec<Box<str>> = all.map(accounts::address).collect::<Result<_, _>>()?;
    Ok(match all.is_empty() {
        true => "-".into(),
        false => all.join(","),
    })
}

/// The lines that are accounts.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn line_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    lines(text).find(|line| is_named(line, name))
}

fn is_named(line: &str, name: &str) -> bool {
    let first = line.split_whitespace().next().unwrap_or_default();
    !line.trim_start().starts_with('#') && names::folded(first) == names::folded(name)
}

/// Puts another line in an account's place, or none.
fn edit(path: &Path, name: &str, change: impl Fn(&str) -> Option<String>) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|why| told(path, why))?;
    if line_of(&text, name).is_none() {
        return Err(told(path, format!("there is no account \"{name}\"")));
    }
    let mut changed = String::with_capacity(text.len());
    for line in text.lines() {
        let line = match is_named(line, name) {
            true => change(line),
            false => Some(line.to_string()),
        };
        if let Some(line) = line {
            changed.push_str(&line);
            changed.push('\n');
        }
    }
    write(path, &changed)
}

/// Writes the file beside the old one, with its owner and mode, and renames it.
fn write(path: &Path, text: &str) -> Result<(), String> {
    Accounts::parse(text).map_err(|bad| {
        let bad: Vec<String> = bad
            .iter()
            .map(|(line, why)| format!("{line}: {why}"))
            .collect();
        told(path, bad.join("\n"))
    })?;
    // What a link points to is replaced, not the link.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(name);
    let written = put(path, &beside, text);
    if written.is_err() {
        // It may never have been there.
        let _ = fs::remove_file(&beside);
    }
    written.map_err(|why| told(path, why))
}

fn put(path: &Path, beside: &PathBuf, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(beside)?;
    if let Ok(old) = fs::metadata(path) {
        // Only root may give a file away; for others it is theirs already.
        let _ = std::os::unix::fs::chown(beside, Some(old.uid()), Some(old.gid()));
        let mode = old.permissions().mode() & 0o640;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(beside, path)?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Kept = Kept {
        bcrypt: false,
        scram: true,
    };

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes())
    }

    #[test]
    fn accounts_come_and_go_and_comments_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("accounts");
        add(
            &path,
            "Amy",
            &["amy@example.net".into()],
            &secret("one"),
            KEPT,
        )
        .expect("added");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = fs::read_to_string(&path).expect("readable");
        fs::write(&path, format!("{text}# kept\n")).expect("written");
        let kept = Kept {
            bcrypt: true,
            scram: false,
        };
        add(&path, "ben", &[], &secret("two"), kept).expect("added");
        assert!(add(&path, "BEN", &[], &secret("two"), kept).is_err());
        change(&path, "amy", &[], &secret("three"), KEPT).expect("changed");
        let found = list(&path).expect("sound");
        let kinds = |entry: &Entry| {
            entry
                .verifiers
                .iter()
                .map(Verifier::kind)
                .collect::<Vec<_>>()
        };
        assert_eq!(kinds(&found[0]), ["argon2", "scram-sha-256"]);
        assert_eq!(*found[0].account.addresses, ["amy@example.net".into()]);
        assert!(found[0].verifiers.iter().all(|v| v.is(&secret("three"))));
        assert_eq!(kinds(&found[1]), ["bcrypt"]);
        remove(&path, "amy").expect("removed");
        assert!(remove(&path, "amy").is_err());
        let text = fs::read_to_string(&path).expect("readable");
        assert!(text.contains("# kept\n") && !text.contains("amy"), "{text}");
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1);
    }

    #[test]
    fn nonsense_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("accounts");
        assert!(add(&path, "a b", &[], &secret("x"), KEPT).is_err());
        assert!(add(&path, "a", &["nowhere".into()], &secret("x"), KEPT).is_err());
        assert!(add(&path, "a", &[], &secret(""), KEPT).is_err());
        assert!(change(&path, "a", &[], &secret("x"), KEPT).is_err());
        assert!(!path.exists());
    }
}
