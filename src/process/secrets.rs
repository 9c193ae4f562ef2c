//! A helper that stays root, so that a reload can read what only root may: the configuration and the files it names.
//!
//! It is this program again, started before the user is changed, at the other end of a socket pair, and it does one
//! thing: it is asked for a path and answers with the file. It gives out the configuration file and whatever path
//! stands in it, in full, as a text, and it reads that list anew each time, so that a key with another name can be
//! reloaded. For that to be safe only root may write the configuration: if anybody else can, it gives out nothing. It
//! ends when the socket does.
//!
//! Questions are a length and a path; answers an octet (1: here it is, 0: no), a length, and the file or the reason.
//! Numbers have four octets, the highest first.

use crate::config::{SECRET_MAX, read_plainly, set_reader};
use std::{
    ffi::OsStr,
    fs,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt, net::UnixStream},
    },
    path::Path,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// The command that the helper is started with.
pub const COMMAND: &str = "serve-files";
/// Octets of a path (PATH_MAX).
const PATH_MAX: u32 = 4096;
/// How long an answer may take; a file on a network can be slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts the helper, and has secrets read through it.
///
/// # Errors
/// It can't be started.
pub fn start(config: &Path) -> io::Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_read_timeout(Some(PATIENCE))?;
    ours.set_write_timeout(Some(PATIENCE))?;
    Command::new(std::env::current_exe()?)
        .arg(COMMAND)
        .arg("-c")
        .arg(config)
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .spawn()?;
    let way = Mutex::new(ours);
    set_reader(move |path| {
        let mut way = way.lock().unwrap_or_else(PoisonError::into_inner);
        ask(&mut way, path)
    });
    Ok(())
}

fn ask(way: &mut UnixStream, path: &Path) -> io::Result<Vec<u8>> {
    let lost = |why: io::Error| io::Error::new(why.kind(), format!("the key reader: {why}"));
    send(way, &[], path.as_os_str().as_bytes()).map_err(lost)?;
    let mut yes = [0];
    way.read_exact(&mut yes).map_err(lost)?;
    let text = receive(way, SECRET_MAX as u32).map_err(lost)?;
    match yes {
        [1] => Ok(text),
        _ => Err(io::Error::other(String::from_utf8_lossy(&text))),
    }
}

/// The helper's life: answers on standard input, which is a socket, until that ends.
///
/// # Errors
/// Standard input is no socket.
pub fn serve(config: &Path) -> io::Result<()> {
    super::confine::reader();
    let mut way = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    way.peer_addr()?;
    while let Ok(path) = receive(&mut way, PATH_MAX) {
        let path = Path::new(OsStr::from_bytes(&path));
        let sent = match permitted(config, path).and_then(|()| read_plainly(path)) {
            Ok(text) => send(&mut way, &[1], &text),
            Err(why) => send(&mut way, &[0], why.to_string().as_bytes()),
        };
        if sent.is_err() {
            break;
        }
    }
    Ok(())
}

/// Whether this file may be given out.
fn permitted(config: &Path, path: &Path) -> io::Result<()> {
    let facts = fs::metadata(config)?;
    if facts.uid() != 0 || facts.mode() & 0o022 != 0 {
        let why = format!(
            "{}: others than root can write it, so no file is read for it",
            config.display()
        );
        return Err(io::Error::other(why));
    }
    if path == config {
        return Ok(());
    }
    let text = read_plainly(config)?;
    let tree = String::from_utf8_lossy(&text).parse::<toml::Table>();
    match tree.is_ok_and(|tree| names(&toml::Value::Table(tree), path.as_os_str())) {
        true => Ok(()),
        false => Err(io::Error::other("the configuration doesn't name it")),
    }
}

/// Whether a text in the tree is this path.
fn names(value: &toml::Value, path: &OsStr) -> bool {
    match value {
        toml::Value::String(text) => OsStr::new(text) == path,
        toml::Value::Array(items) => items.iter().any(|item| names(item, path)),
        toml::Value::Table(table) => table.values().any(|item| names(item, path)),
        _ => false,
    }
}

fn send(way: &mut UnixStream, before: &[u8], text: &[u8]) -> io::Result<()> {
    let length = u32::try_from(text.len()).map_err(io::Error::other)?;
    way.write_all(&[before, &length.to_be_bytes(), text].concat())
}

fn receive(way: &mut UnixStream, max: u32) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    way.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > max {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = vec![0; length as usize];
    way.read_exact(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_configuration_names_is_given_out() {
        let tree =
            "log = \"x\"\n[[certificate]]\nkey = \"/etc/k.pem\"\nmore = [{ file = \"/etc/s\" }]\n";
        let tree = toml::Value::Table(tree.parse().expect("TOML"));
        for named in ["/etc/k.pem", "/etc/s", "x"] {
            assert!(names(&tree, OsStr::new(named)), "{named}");
        }
        for other in [
            "/etc/shadow",
            "/etc/k",
            "/etc/../etc/k.pem",
            "certificate",
            "",
        ] {
            assert!(!names(&tree, OsStr::new(other)), "{other}");
        }
    }
}
