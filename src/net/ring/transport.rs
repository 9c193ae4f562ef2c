//! A stream's part of this engine: a receive that stays armed, with an inbox for what it brings.
//!
//! The receive is armed by the first read that finds nothing, and from then on bytes come unasked. So that a peer can't
//! fill memory while its session is busy elsewhere, the receive is cancelled when [`UNREAD_MAX`] octets wait unread. Until
//! the cancel has taken hold bytes still come; they are kept, in their order. A peer that sends that much sends in bulk: reads
//! are direct calls into larger buffers from then on, which wait for POLLIN where there is nothing, until one finds less
//! than a buffer of the ring holds. Then the receive is armed again.
//!
//! Where the buffers have run dry, the receive ends and the waiting task is woken, to arm it anew: by then the turn that ran
//! them dry has given half of them back, so no task waits for what a third one holds.
//!
//! Sends that don't pass at once wait for POLLOUT and go on with direct calls. Rejected: a queued send, which would pin
//! the bytes until the kernel is done with them, also at the end of the worker, for the sake of what is rare.

use super::{
    buffers,
    reactor::{Done, Operation, OperationKey, Reactor},
};
use crate::net::{buffer::Chunk, socket::Socket, sys};
use io_uring::{opcode, types::Fd};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    io,
    net::Shutdown,
    os::fd::{AsFd, AsRawFd},
    rc::Rc,
    task::{Context, Poll, Waker},
};

/// Octets that may wait unread before the receive is cancelled. What one turn brings may come on top: at most what the
/// peer's window held.
const UNREAD_MAX: usize = 32 * 1024;

/// Octets of a chunk that is cheaper to copy than to keep.
const SMALL: usize = 1024;

/// A stream's part of this engine.
pub(in crate::net) struct Transport {
    /// Taken by the drop and by `into_socket` alone.
    socket: Option<Rc<Socket>>,
    inbox: Rc<Inbox>,
}

/// What a stream and its armed receive share.
#[derive(Default)]
struct Inbox(RefCell<State>);

#[derive(Default)]
struct State {
    /// The chunk to be read next, mostly the only one: it has no need of the queue's memory.
    next: Option<Chunk>,
    rest: VecDeque<Chunk>,
    /// Octets of both.
    unread: usize,
    /// How the input ended: 0, or an error of the kernel.
    end: Option<i32>,
    armed: Option<Armed>,
    /// The peer sends in bulk.
    bulk: bool,
    reader: Option<Waker>,
}

#[derive(Clone, Copy)]
struct Armed {
    key: OperationKey,
    /// See [`Reactor::is_past`].
    round: u64,
    cancelled: bool,
    /// It only waits for something to read.
    waits: bool,
}

impl State {
    /// Keeps a chunk. A small one is copied after the last, where it fits: a peer that sends an octet a segment would
    /// otherwise take a buffer of the ring, or an allocation, for each.
    fn push(&mut self, chunk: Chunk) {
        self.unread += chunk.len();
        let Some(last) = self.rest.back_mut().or(self.next.as_mut()) else {
            self.next = Some(chunk);
            return;
        };
        if chunk.len() > SMALL || !last.append(&chunk, buffers::SIZE) {
            self.rest.push_back(chunk);
        }
    }

    fn pop(&mut self) -> Option<Chunk> {
        let chunk = self.next.take()?;
        self.unread -= chunk.len();
        self.next = self.rest.pop_front();
        if self.next.is_none() && self.rest.capacity() > 0 {
            self.rest = VecDeque::new();
        }
        Some(chunk)
    }

    fn cancel(&mut self, io: &Reactor) {
        if let Some(armed) = &mut self.armed
            && !std::mem::replace(&mut armed.cancelled, true)
        {
            io.cancel(armed.key);
        }
    }
}

impl Operation for Inbox {
    fn complete(&self, io: &Reactor, done: Done) {
        let state = &mut *self.0.borrow_mut();
        let waited = state.armed.is_some_and(|armed| armed.waits);
        if done.is_last() {
            state.armed = None;
        }
        let len = usize::try_from(done.result).unwrap_or(0);
        let chunk = done
            .buffer()
            .map(|id| Chunk::lent(io.buffers().take(id, len)));
        if done.result == -libc::ENOBUFS {
            io.buffers().ran_dry(io.round());
        }
        match (done.result, chunk) {
            (1.., Some(chunk)) => state.push(chunk),
            // What it is, the call says.
            (0.., None) if waited => {}
            // Out of buffers, or cancelled: not the socket's fault. The waiting task arms it again.
            (error, _) if is_passing(error) => {}
            (end, _) => state.end = Some(-end),
        }
        if state.unread > UNREAD_MAX {
            state.bulk = true;
            state.cancel(io);
        }
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }
}

/// Did the receive end for a reason that is no end of the stream?
fn is_passing(result: i32) -> bool {
    matches!(
        -result,
        libc::ENOBUFS | libc::ECANCELED | libc::EINTR | libc::EAGAIN
    )
}

impl Transport {
    pub(in crate::net) fn new(socket: Rc<Socket>) -> Transport {
        Transport {
            socket: Some(socket),
            inbox: Rc::default(),
        }
    }

    pub(in crate::net) fn socket(&self) -> &Rc<Socket> {
        self.socket
            .as_ref()
            .expect("nothing uses it once it is taken")
    }

    fn io(&self) -> &Reactor {
        &self.socket().worker.ring().io
    }

    pub(in crate::net) fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Chunk>>> {
        let state = &mut *self.inbox.0.borrow_mut();
        if let Some(chunk) = state.pop() {
            return Poll::Ready(Ok(Some(chunk)));
        }
        match state.end {
            Some(0) => return Poll::Ready(Ok(None)),
            Some(error) => {
                // Said once; after that the input is over.
                state.end = Some(0);
                return Poll::Ready(Err(io::Error::from_raw_os_error(error)));
            }
            None => {}
        }
        if state.armed.is_none()
            && state.bulk
            && let Some(received) = self.recv_bulk()
        {
            state.bulk = matches!(&received, Ok(Some(chunk)) if chunk.len() >= buffers::SIZE);
            return Poll::Ready(received);
        }
        if state.armed.is_none() {
            state.armed = Some(self.arm(state.bulk));
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// What a direct call receives; `None` where there is nothing.
    fn recv_bulk(&self) -> Option<io::Result<Option<Chunk>>> {
        let socket = self.socket();
        match socket.worker.pool.recv(socket.as_fd()) {
            Ok((chunk, _)) => Some(Ok(chunk)),
            Err(error) if sys::would_block(&error) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Arms a receive, or a wait for something to receive.
    fn arm(&self, waits: bool) -> Armed {
        let io = self.io();
        let inbox: Rc<Inbox> = Rc::clone(&self.inbox);
        let fd = Fd(self.socket().as_raw_fd());
        let entry = match waits {
            true => opcode::PollAdd::new(fd, libc::POLLIN as u32).build(),
            false => opcode::RecvMulti::new(fd, buffers::GROUP).build(),
        };
        Armed {
            key: io.submit(inbox, entry),
            round: io.round(),
            cancelled: false,
            waits,
        }
    }

    /// Is there nothing to read, neither here nor in the kernel?
    pub(in crate::net) fn is_quiet(&self) -> bool {
        if !self.is_empty() {
            return false;
        }
        if self.is_watched() {
            if self.io().is_calm() {
                return true;
            }
            // Something has happened, to whomever. The entry that the next turn would make for it is made now: it tells
            // of this stream too, for the price of a peek. Where the ring breaks here, the next turn says so.
            let _ = self.io().flush();
            if !self.is_empty() {
                return false;
            }
            if self.is_watched() && self.io().is_calm() {
                return true;
            }
        }
        sys::is_quiet(self.socket().as_fd())
    }

    /// Is there nothing to read here?
    fn is_empty(&self) -> bool {
        let state = self.inbox.0.borrow();
        state.next.is_none() && state.end.is_none()
    }

    /// Would what comes raise the ring's flag? Yes, once the receive is armed.
    fn is_watched(&self) -> bool {
        let armed = self.inbox.0.borrow().armed;
        armed.is_some_and(|armed| self.io().is_past(armed.round))
    }

    /// Takes the socket out, with the receive disarmed; back where bytes have come.
    pub(in crate::net) fn into_socket(mut self) -> Result<Socket, Transport> {
        let armed = self.inbox.0.borrow().armed.is_some();
        if armed {
            self.inbox.0.borrow_mut().cancel(self.io());
            // An armed receive is only waiting: its cancel is over with the call that hands it over. Where the ring
            // breaks here, the next turn says so.
            let _ = self.io().flush();
        }
        if !self.is_empty() || self.inbox.0.borrow().armed.is_some() {
            return Err(self);
        }
        let socket = self.socket.take().expect("taken only here");
        Rc::try_unwrap(socket).map_err(|socket| {
            self.socket = Some(socket);
            self
        })
    }

    /// Waits until the socket can be written to, or has failed.
    pub(in crate::net) async fn writable(&mut self) -> io::Result<()> {
        let poll = Rc::new(Once::default());
        let fd = Fd(self.socket().as_raw_fd());
        let entry = opcode::PollAdd::new(fd, libc::POLLOUT as u32).build();
        let shared: Rc<Once> = Rc::clone(&poll);
        self.io().submit(shared, entry);
        // Dropped half way, the wait goes on until the socket is shut down, which its dropper does.
        poll_fn(|cx| poll.poll(cx)).await
    }

    /// Sends `bytes` from `sent` on, as the peer reads.
    pub(in crate::net) async fn send_rest(
        &mut self,
        bytes: Vec<u8>,
        mut sent: usize,
    ) -> (io::Result<()>, Vec<u8>) {
        while sent < bytes.len() {
            if let Err(error) = self.writable().await {
                return (Err(error), bytes);
            }
            match sys::send(self.socket().as_fd(), &bytes[sent..]) {
                Ok(n) => sent += n,
                Err(error) if sys::would_block(&error) => {}
                Err(error) => return (Err(error), bytes),
            }
        }
        (Ok(()), bytes)
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        let Some(socket) = self.socket.take() else {
            return;
        };
        let worker = Rc::clone(&socket.worker);
        let io = &worker.ring().io;
        self.inbox.0.borrow_mut().cancel(io);
        // The two leave together. No other task holds the socket: a send that waits borrows us.
        match Rc::try_unwrap(socket) {
            Ok(socket) => io.close(socket.into_fd()),
            Err(socket) => socket.shutdown(Shutdown::Both),
        }
    }
}

/// A wait for one completion.
#[derive(Default)]
struct Once {
    result: Cell<Option<i32>>,
    waker: Cell<Option<Waker>>,
}

impl Once {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.result.take() {
            None => {
                self.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
            Some(error) if error < 0 => Poll::Ready(Err(io::Error::from_raw_os_error(-error))),
            Some(_) => Poll::Ready(Ok(())),
        }
    }
}

impl Operation for Once {
    fn complete(&self, _: &Reactor, done: Done) {
        self.result.set(Some(done.result));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
