//! The key reader: a process that stays root, so that a reload can read what only root may. It is this program again; at
//! the other end of its standard input, which is a socket, is a process that became another user.
//!
//! It is asked for a path and answers with the file. It gives out the configuration file, and the keys, certificates,
//! secrets and account files that the configuration names as such ([`named_secrets`]), which it reads anew for each
//! question: a key with another name can be reloaded. No other text of the configuration is a path for it, though it may
//! look like one. Every path must be one that only root can have laid ([`super::trusted`]), and the configuration must be
//! root's to write alone. It ends when the socket does.
//!
//! A question is a length and a path; an answer is an octet (1: here it is, 0: no), a length, and the file or the reason.
//! Lengths have four octets, the highest first.

use super::{confine, trusted};
use crate::{
    config::{SECRET_MAX, named_secrets},
    net,
};
use std::{
    ffi::OsStr,
    io::{self, Read, Write},
    os::{
        fd::AsFd,
        unix::{ffi::OsStrExt, net::UnixStream},
    },
    path::Path,
};

/// Octets of a path (PATH_MAX).
const PATH_MAX: u32 = 4096;

/// Asks for a file.
///
/// # Errors
/// `Err` where the way to the reader is lost; `Ok(Err)` with the reader's reason for a no.
pub(super) fn ask(way: &mut UnixStream, path: &Path) -> io::Result<Result<Vec<u8>, String>> {
    send(way, &[], path.as_os_str().as_bytes())?;
    let mut yes = [0];
    way.read_exact(&mut yes)?;
    let text = receive(way, SECRET_MAX as u32)?;
    Ok(match yes {
        [1] => Ok(text),
        _ => Err(String::from_utf8_lossy(&text).into_owned()),
    })
}

/// The reader's life: answers on standard input until that ends.
///
/// # Errors
/// Standard input is no socket.
pub fn serve(config: &Path) -> io::Result<()> {
    // Signals are for the process that is served: this one ends with it, and not before.
    net::ignore_signals();
    confine::reader();
    let mut way = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    way.peer_addr()?;
    while let Ok(path) = receive(&mut way, PATH_MAX) {
        let path = Path::new(OsStr::from_bytes(&path));
        let sent = match answer(config, path) {
            Ok(text) => send(&mut way, &[1], &text),
            Err(why) => send(&mut way, &[0], why.to_string().as_bytes()),
        };
        if sent.is_err() {
            break;
        }
    }
    Ok(())
}

fn answer(config: &Path, path: &Path) -> io::Result<Vec<u8>> {
    let own = |file: &Path| trusted::read_own(file, SECRET_MAX);
    let text = own(config)?;
    if path == config {
        return Ok(text);
    }
    let Some(named) = named_secrets(config, &own) else {
        let why = "the configuration has errors, so no file is read for it";
        return Err(io::Error::other(why));
    };
    if !named.iter().any(|file| file == path) {
        let why = "the configuration doesn't name it as a key, a certificate, a secret or an account file";
        return Err(io::Error::other(why));
    }
    trusted::read(path, SECRET_MAX)
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
