//! Changes to an account file, for `gatepost user`: line by line, so that comments and order stay, and all at once: the new file
//! takes the place of the old one when it is whole. The old one is locked from before it is read until it is replaced, so that of two
//! commands at the same time both count; and all of it happens in one folder descriptor ([`Folder`]), since root may be told a file in
//! another user's folder.
//!
//! Rejected: a lock file beside it. Made by root it keeps out the folder's owner, and one that all may open lets any user of the machine
//! hold up every change.

use super::{
    Secret,
    accounts::{self, Accounts, Entry, FILE_MAX},
    names,
    verifier::{self, Verifier},
};
use crate::files::{Folder, InPlaceOf, OWN};
use std::{
    ffi::OsStr,
    fs::{File, TryLockError},
    io::{self, Read, Write},
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

/// How long another command may have the file before this one gives up.
const LOCK_WAIT: Duration = Duration::from_secs(20);
/// How often it looks.
const LOCK_LOOK: Duration = Duration::from_millis(10);
/// How often a file that was not there may be there when it is made.
const MAKING_MAX: usize = 8;

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

/// The verifiers of a password. Takes long: to be had before the file is locked.
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
    let verifiers = verifiers(password, kept)?;
    rewrite(path, Some(HEAD), |text| {
        if line_of(text, &name).is_some() {
            return Err(format!(
                "there is an account \"{name}\" already; `passwd` changes its password"
            ));
        }
        let mut text = text.to_string();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&format!("{name} {owned} {verifiers}\n"));
        Ok(text)
    })
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
    let text = std::fs::read_to_string(path).map_err(|why| told(path, why))?;
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
    rewrite(path, None, |text| {
        if line_of(text, name).is_none() {
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
        Ok(changed)
    })
}

/// Has the file's text changed while no other command reads or writes it. `new` is the text of one that isn't there; without it, that
/// is an error.
fn rewrite(
    path: &Path,
    new: Option<&str>,
    change: impl Fn(&str) -> Result<String, String>,
) -> Result<(), String> {
    let failed = |why: io::Error| told(path, why);
    let (folder, name) = Folder::of(path).map_err(failed)?;
    let mut made = 0;
    loop {
        let before = match (locked(&folder, &name), new) {
            (Err(why), Some(_)) if why.kind() == io::ErrorKind::NotFound => None,
            (before, _) => Some(before.map_err(failed)?),
        };
        let text = match &before {
            Some(file) => read(file).map_err(failed)?,
            None => new.unwrap_or_default().to_string(),
        };
        let text = seeded(&text, change(&text)?)?;
        sound(path, &text)?;
        let place = before
            .as_ref()
            .map_or(InPlaceOf::Nothing(OWN), InPlaceOf::File);
        let done = folder.put(&name, place, |file| file.write_all(text.as_bytes()));
        match done {
            // Another command has made it meanwhile.
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists && made < MAKING_MAX => {
                made += 1;
            }
            done => return done.map_err(failed),
        }
    }
}

/// Opens the file and locks it. One that was replaced while it was waited for is left for the new one.
fn locked(folder: &Folder, name: &OsStr) -> io::Result<File> {
    let due = Instant::now() + LOCK_WAIT;
    loop {
        let file = folder.read(name)?;
        match file.try_lock() {
            Ok(()) if folder.holds(name, &file)? => return Ok(file),
            Ok(()) | Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(why)) => return Err(why),
        }
        if Instant::now() >= due {
            let why = "another program has it locked";
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        sleep(LOCK_LOOK);
    }
}

fn read(file: &File) -> io::Result<String> {
    let mut text = String::new();
    file.take(FILE_MAX + 1).read_to_string(&mut text)?;
    match text.len() as u64 > FILE_MAX {
        true => Err(io::Error::other("it is larger than 64 MiB")),
        false => Ok(text),
    }
}

/// The changed text with a seed for the salts of names that don't exist, where it has none: the one that has held so far, so that those
/// salts stay.
fn seeded(before: &str, mut text: String) -> Result<String, String> {
    if text.lines().any(|line| accounts::seed(line).is_some()) {
        return Ok(text);
    }
    let before = Accounts::parse(before).ok();
    let seed = match before.and_then(|accounts| accounts.seed_in_use()) {
        Some(seed) => seed,
        None => verifier::random()?,
    };
    let is_comment = |line: &&str| line.starts_with('#') && line.ends_with('\n');
    let comments = text.split_inclusive('\n').take_while(is_comment);
    let at = comments.map(str::len).sum();
    text.insert_str(at, &accounts::seed_line(&seed));
    Ok(text)
}

fn sound(path: &Path, text: &str) -> Result<(), String> {
    let accounts = Accounts::parse_file(path, text);
    accounts.map(drop).map_err(|bad| bad.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt, sync::Barrier, thread};

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
    fn of_changes_at_the_same_time_each_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("accounts");
        const AT_ONCE: usize = 4;
        let quick = |name: &str, set: &str| {
            rewrite(&path, Some(HEAD), |text| {
                // As long as it takes another one to read the same.
                sleep(Duration::from_millis(20));
                Ok(match line_of(text, name) {
                    Some(line) => text.replace(line, &format!("{name} {set}")),
                    None => format!("{text}{name} {set}\n"),
                })
            })
        };
        for set in ["-", "new@example.net"] {
            // The file is not there at first.
            let begin = Barrier::new(AT_ONCE);
            thread::scope(|scope| {
                for number in 0..AT_ONCE {
                    let (begin, quick) = (&begin, &quick);
                    scope.spawn(move || {
                        begin.wait();
                        quick(&format!("user{number}"), set).expect("changed");
                    });
                }
            });
            let text = fs::read_to_string(&path).expect("there");
            for number in 0..AT_ONCE {
                assert!(text.contains(&format!("user{number} {set}\n")), "{text}");
            }
        }
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1);
    }

    #[test]
    fn salts_of_unknown_names_outlast_the_passwords() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("accounts");
        let salts = || {
            let accounts = Accounts::read(&path).expect("sound");
            ["amy", "nobody", "ceo"].map(|name| accounts.scram(name).salt)
        };
        add(&path, "amy", &[], &secret("one"), KEPT).expect("added");
        let first = salts();
        change(&path, "amy", &[], &secret("two"), KEPT).expect("changed");
        let second = salts();
        assert_ne!(first[0], second[0]);
        assert_eq!(first[1..], second[1..]);
        assert_ne!(second[1], second[2]);

        // A file from before: what has held stays.
        let text = fs::read_to_string(&path).expect("there");
        let unseeded = |line: &&str| accounts::seed(line).is_none();
        let text: Vec<&str> = text.lines().filter(unseeded).collect();
        fs::write(&path, text.join("\n") + "\n").expect("written");
        let first = salts();
        change(&path, "amy", &[], &secret("three"), KEPT).expect("changed");
        assert_eq!(first[1..], salts()[1..]);
        remove(&path, "amy").expect("removed");
        assert_eq!(first[1..], salts()[1..]);
        // Of two files, each has its own.
        let other = folder.path().join("other");
        add(&other, "amy", &[], &secret("one"), KEPT).expect("added");
        let other = Accounts::read(&other).expect("sound");
        assert_ne!(other.scram("nobody").salt, first[1]);
    }

    #[test]
    fn bcrypt_keeps_no_password_that_it_would_cut() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("accounts");
        let bcrypt = Kept {
            bcrypt: true,
            scram: false,
        };
        let long = secret(&"x".repeat(73));
        let why = add(&path, "amy", &[], &long, bcrypt).expect_err("too long");
        assert!(why.contains("72 octets"), "{why}");
        assert!(!path.exists());
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
