//! An idle connection on its way from one worker to another: all of it but the stream, which belongs to an engine.

use super::{
    super::{origin::Owner, strain::Strain},
    budget::Permit,
    queue::Grant,
};
use crate::smtp::{Tick, backend_session::BackendSession};
use std::{fmt, io::Write, net::TcpStream, os::fd::OwnedFd};

/// An idle connection on its way to another worker. Clean, with nothing unread or unsent.
pub struct Handover {
    pub(in crate::upstream) fd: OwnedFd,
    pub(in crate::upstream) session: BackendSession,
    pub(in crate::upstream) born: Tick,
    pub(in crate::upstream) uses: u32,
    pub(in crate::upstream) taken: u32,
    pub(in crate::upstream) strain: Strain,
    pub(in crate::upstream) owner: Option<Box<Owner>>,
    pub(in crate::upstream) permit: Permit,
}

impl Handover {
    /// The waiter that it was meant for has gone: gives it to the next one, or closes it.
    pub(in crate::upstream) fn pass_on(self: Box<Self>) {
        let mut handover = self;
        loop {
            let backend = handover.permit.backend();
            let Some(waiter) = backend.queue.next_for(backend) else {
                break;
            };
            match waiter.grant(Grant::Handover(handover)) {
                Err(Grant::Handover(back)) => handover = back,
                _ => return,
            }
        }
        farewell(handover.fd);
    }
}

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handover").field(&self.permit).finish()
    }
}

/// Says QUIT to an idle connection and closes it. Its send buffer is empty, so this does not wait.
pub(in crate::upstream) fn farewell(fd: OwnedFd) {
    let _ = TcpStream::from(fd).write(b"QUIT\r\n");
}
