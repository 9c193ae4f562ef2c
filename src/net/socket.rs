//! A connected descriptor of this worker, with its deadline.

use super::{
    deadline::{Expiry, Wait},
    sys,
    worker::Worker,
};
use crate::smtp::tick::Tick;
use std::{
    net::Shutdown,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    rc::Rc,
};

/// What a stream and the operations on it share: the descriptor is closed when the last of them is gone.
pub(super) struct Socket {
    pub(super) worker: Rc<Worker>,
    slot: u32,
    /// `None` only on the way out of `into_fd`.
    fd: Option<OwnedFd>,
}

impl Socket {
    pub(super) fn new(worker: Rc<Worker>, fd: OwnedFd) -> Socket {
        let slot = worker.deadlines.insert(fd.as_raw_fd());
        Socket {
            worker,
            slot,
            fd: Some(fd),
        }
    }

    /// The bare descriptor, which has no deadline any more.
    pub(super) fn into_fd(mut self) -> OwnedFd {
        self.fd.take().expect("nobody else takes it")
    }

    pub(super) fn shutdown(&self, how: Shutdown) {
        sys::shutdown(self.as_raw_fd(), how);
    }

    pub(super) fn set_deadline(&self, due: Tick, wait: Wait) {
        if self.worker.deadlines.set(self.slot, due, wait) {
            self.worker.alarm(due);
        }
    }

    pub(super) fn expiry(&self) -> Expiry {
        self.worker.deadlines.expiry(self.slot)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd
            .as_ref()
            .expect("only the drop after into_fd is left")
            .as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Before the descriptor is closed and its number belongs to another file.
        self.worker.deadlines.remove(self.slot);
    }
}

/// A send that waits for the peer. The sweep ends it both ways; dropping it half way shuts the stream down.
pub(super) struct Waiting {
    socket: Rc<Socket>,
    over: bool,
}

impl Waiting {
    pub(super) fn new(socket: &Rc<Socket>) -> Waiting {
        socket.worker.deadlines.set_writing(socket.slot, true);
        Waiting {
            socket: Rc::clone(socket),
            over: false,
        }
    }

    pub(super) fn over(mut self) {
        self.over = true;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let socket = &self.socket;
        socket.worker.deadlines.set_writing(socket.slot, false);
        if !self.over {
            socket.shutdown(Shutdown::Both);
        }
    }
}
