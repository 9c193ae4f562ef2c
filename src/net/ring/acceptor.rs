//! A listener's part of this engine: an accept that stays armed.
//!
//! It is armed by the first call and goes on until it fails or is cancelled; what it got before that is never lost. The
//! kernel gives no addresses with it, so each connection is asked for its peer.

use super::reactor::{Done, Operation, OperationKey, Reactor};
use crate::net::{sys, worker::Worker};
use io_uring::{opcode, types::Fd};
use std::{
    cell::RefCell,
    collections::VecDeque,
    io,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    rc::Rc,
    task::{Context, Poll, Waker},
};

/// A listener's part of this engine.
pub(in crate::net) struct Acceptor {
    worker: Rc<Worker>,
    /// Taken by the drop alone.
    fd: Option<OwnedFd>,
    queue: Rc<Queue>,
}

/// What a listener and its armed accept share.
#[derive(Default)]
struct Queue(RefCell<State>);

#[derive(Default)]
struct State {
    accepted: VecDeque<OwnedFd>,
    /// Why the accept ended, for the next call.
    failed: Option<i32>,
    armed: Option<OperationKey>,
    cancelled: bool,
    /// No more connections will be asked for.
    orphaned: bool,
    waker: Option<Waker>,
}

impl State {
    fn cancel(&mut self, io: &Reactor) {
        if let Some(key) = self.armed
            && !std::mem::replace(&mut self.cancelled, true)
        {
            io.cancel(key);
        }
    }
}

impl Operation for Queue {
    fn complete(&self, _: &Reactor, done: Done) {
        let state = &mut *self.0.borrow_mut();
        if done.is_last() {
            state.armed = None;
        }
        match done.result {
            0.. => {
                // SAFETY: the kernel has just made this descriptor for us; it has no other owner.
                let fd = unsafe { OwnedFd::from_raw_fd(done.result) };
                // An orphan is closed here.
                if !state.orphaned {
                    state.accepted.push_back(fd);
                }
            }
            error if is_passing(error) => {}
            error => state.failed = Some(-error),
        }
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

/// Did the accept end for a reason of its own?
fn is_passing(result: i32) -> bool {
    matches!(-result, libc::ECANCELED | libc::EINTR | libc::EAGAIN)
}

impl Acceptor {
    pub(in crate::net) fn new(worker: Rc<Worker>, fd: OwnedFd) -> Acceptor {
        Acceptor {
            worker,
            fd: Some(fd),
            queue: Rc::default(),
        }
    }

    pub(in crate::net) fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(OwnedFd, SocketAddr)>> {
        let state = &mut *self.queue.0.borrow_mut();
        if let Some(fd) = state.accepted.pop_front() {
            return Poll::Ready(with_peer(fd));
        }
        if let Some(error) = state.failed.take() {
            return Poll::Ready(Err(io::Error::from_raw_os_error(error)));
        }
        if state.armed.is_none() {
            let fd = self.fd.as_ref().expect("taken by the drop alone");
            let entry = opcode::AcceptMulti::new(Fd(fd.as_raw_fd())).flags(libc::SOCK_CLOEXEC);
            let queue: Rc<Queue> = Rc::clone(&self.queue);
            state.armed = Some(self.worker.ring().io.submit(queue, entry.build()));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Cancels the accept and waits for its end; the connections that it got before that, one by one.
    pub(in crate::net) fn poll_stop(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<(OwnedFd, SocketAddr)>>> {
        let state = &mut *self.queue.0.borrow_mut();
        state.cancel(&self.worker.ring().io);
        if let Some(fd) = state.accepted.pop_front() {
            return Poll::Ready(Some(with_peer(fd)));
        }
        if state.armed.is_none() {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        let state = &mut *self.queue.0.borrow_mut();
        state.orphaned = true;
        state.accepted.clear();
        let io = &self.worker.ring().io;
        state.cancel(io);
        // Where nothing is armed, nothing is queued that names the descriptor, and it is closed at once.
        if let Some(fd) = self.fd.take()
            && state.armed.is_some()
        {
            io.close(fd);
        }
    }
}

/// The peer's address.
fn with_peer(fd: OwnedFd) -> io::Result<(OwnedFd, SocketAddr)> {
    match sys::peer(fd.as_fd()) {
        Ok(peer) => Ok((fd, peer)),
        // It has gone again.
        Err(_) => Err(io::Error::from_raw_os_error(libc::ECONNABORTED)),
    }
}
