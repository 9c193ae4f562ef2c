//! Keeps a key reader there: a process that stays root and does nothing but start [`super::reader`], and start it again
//! when it has ended.
//!
//! The process that is served can't do that itself: it is not root any more, and may not start programs. The keeper holds
//! no way to the reader; for each one that it starts it makes a pair of sockets and hands the other end over. So the
//! served process sees at once when a reader is gone, and closing its end is how it gets a new one.
//!
//! It reads nothing that it is sent, so that there is nothing in it to attack. It ends when the served process does.

use super::{COMMAND, confine};
use crate::{log::say, net};
use rustix::{
    io::{Errno, retry_on_intr},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recv, recvmsg, sendmsg,
    },
};
use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

/// Between the end of a reader and the start of the next.
const PAUSE: Duration = Duration::from_millis(100);

/// The keeper's life.
///
/// # Errors
/// No reader can be started, or standard input is no socket.
pub fn keep(config: &Path) -> io::Result<()> {
    net::ignore_signals();
    confine::keeper();
    let served = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    served.peer_addr()?;
    let mut first = true;
    while is_there(&served) {
        if !first {
            say!(Warn, "the key reader has ended; another one is started");
        }
        first = false;
        let (theirs, readers) = UnixStream::pair()?;
        let mut reader = Command::new(program())
            .arg(COMMAND)
            .arg("-c")
            .arg(config)
            .stdin(Stdio::from(OwnedFd::from(readers)))
            .stdout(Stdio::null())
            .spawn()?;
        if hand_over(&served, theirs).is_err() {
            // The served process is gone, and with it the reader's socket.
            let _ = reader.wait();
            return Ok(());
        }
        reader.wait()?;
        sleep(PAUSE);
    }
    Ok(())
}

/// This program; the file that was started, where another has taken its place.
pub(super) fn program() -> PathBuf {
    match std::env::current_exe() {
        Ok(path) if path.exists() => path,
        _ => "/proc/self/exe".into(),
    }
}

/// Whether the served process still holds its end. It sends nothing.
fn is_there(served: &UnixStream) -> bool {
    let mut octet = [MaybeUninit::uninit()];
    let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
    match recv(served, &mut octet, flags) {
        Ok((_, 0)) => false,
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => true,
        Err(_) => false,
    }
}

/// Sends a socket to the served process.
fn hand_over(served: &UnixStream, socket: UnixStream) -> io::Result<()> {
    let sockets = [socket.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&sockets));
    let octet = [IoSlice::new(b"r")];
    retry_on_intr(|| sendmsg(served, &octet, &mut control, SendFlags::NOSIGNAL))?;
    Ok(())
}

/// Takes a socket that the keeper has sent; waits for it unless `flags` say otherwise. `None`: the keeper has ended.
///
/// # Errors
/// None came in time.
pub(super) fn take(keeper: &UnixStream, flags: RecvFlags) -> io::Result<Option<UnixStream>> {
    let mut octet = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut octets = [IoSliceMut::new(&mut octet)];
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    // A change of user interrupts every thread (the C library has each of them do it), and a call on a socket with a
    // time-out is not begun again by the kernel.
    let came = retry_on_intr(|| recvmsg(keeper, &mut octets, &mut control, flags))?;
    if came.bytes == 0 {
        return Ok(None);
    }
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut sockets) = message
            && let Some(socket) = sockets.next()
        {
            return Ok(Some(UnixStream::from(socket)));
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}
