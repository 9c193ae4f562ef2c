//! The io_uring engine: tokio-uring's runtime with operations of our own, submitted through its `UnsubmittedOneshot`.
//!
//! - The ring waits (POLL), accepts, and carries on a send that the socket did not take at once; bytes that are there
//!   are received with a direct call. So a dropped `recv` has no bytes to lose, and no buffer is pinned anywhere.
//! - What an operation refers to (descriptor, buffer, address) is owned by the operation until it is over. At the end
//!   of the runtime tokio-uring frees that before the kernel is done; then it goes to the worker's grave instead.
//!
//! Rejected, by measurement (echo of 4 KiB, 32 and 150 connections, Linux 6.18, instructions in the kernel a request):
//! a queued RECV into a provided-buffer ring, 18,200 and 19,000; the same with POLL_FIRST, 18,300; POLL and a direct
//! recv, 17,400 and 17,600. A queued receive pays off only as a multishot one, which tokio-uring cannot take. Also
//! tokio-uring's own `TcpStream`: it pins a buffer for each idle session and passes no flags to a send.

use super::{
    buffer::Chunk,
    engine::{EngineRefusal, Setup, is_memory, patiently, try_all},
    host,
    socket::Socket,
    sys::{self, Address},
    worker::Worker,
};
use io_uring::{
    IoUring, cqueue, opcode,
    squeue::Entry,
    types::{CancelBuilder, Fd},
};
use std::{
    future::Future,
    io,
    marker::PhantomData,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};
use tokio_uring::{InFlightOneshot, OneshotOutputTransform, UnsubmittedOneshot};

/// Entries of the submission queue: what one turn of the loop may queue before it has to be flushed early.
const ENTRIES: u32 = 4096;

/// The most octets that one queued send is given.
const SEND_MAX: usize = 1 << 30;

/// Runs a worker's thread.
pub(super) fn run<F>(
    worker: &Rc<Worker>,
    setup: Setup,
    main: impl FnOnce() -> F,
) -> io::Result<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let flags = flags(setup);
    let mut builder = tokio_uring::builder();
    builder.entries(ENTRIES).uring_builder(&flags);
    let runtime = patiently(|| tokio_uring::Runtime::new(&builder), is_memory)?;
    let _ending = worker.ending();
    Ok(runtime.block_on(host::run_main(worker, main)))
}

fn flags(setup: Setup) -> io_uring::Builder {
    let mut flags = tokio_uring::uring_builder();
    setup.apply(&mut flags);
    flags
}

/// Builds the rings of so many workers, all at once; all of it is gone when this returns, or some milliseconds later.
pub(super) fn try_rings(setup: Setup, workers: usize) -> Result<(), EngineRefusal> {
    try_all(workers, || -> io::Result<IoUring> {
        flags(setup).build(ENTRIES)
    })
}

/// What the kernel said, with what the operation owned.
struct Done<D> {
    data: D,
    result: io::Result<usize>,
}

/// Makes a [`Done`] of a completion.
struct Finish<D>(PhantomData<D>);

impl<D> OneshotOutputTransform for Finish<D> {
    type Output = Done<D>;
    type StoredData = D;

    fn transform_oneshot_output(self, data: D, cqe: cqueue::Entry) -> Done<D> {
        Done {
            data,
            result: usize::try_from(cqe.result())
                .map_err(|_| io::Error::from_raw_os_error(-cqe.result())),
        }
    }
}

/// An operation on its way. Dropped, it goes on to its end all the same, with its data.
type InFlight<D> = InFlightOneshot<D, Finish<D>>;

/// Queues an operation, which owns `data` until it is over: everything that `entry` points to must be in there.
fn submit<D: Unpin>(data: D, entry: Entry) -> InFlight<D> {
    UnsubmittedOneshot::new(data, Finish(PhantomData), entry).submit()
}

fn poll<D: Unpin>(op: &mut InFlight<D>, cx: &mut Context<'_>) -> Poll<Done<D>> {
    Pin::new(op).poll(cx)
}

/// Waits for one of `events` (POLLIN …), or an error or hang-up.
fn submit_poll<D: AsRawFd + Unpin>(data: D, events: libc::c_short) -> InFlight<D> {
    let fd = Fd(data.as_raw_fd());
    let events = u32::from(events.cast_unsigned());
    submit(data, opcode::PollAdd::new(fd, events).build())
}

/// Is it worth another try, unasked?
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINTR | libc::EAGAIN | libc::ECANCELED)
    )
}

/// A stream's part of this engine.
pub(super) struct Transport {
    socket: Rc<Socket>,
    /// The wait for readability, in flight.
    readable: Option<InFlight<Rc<Socket>>>,
    /// The last receive filled its buffer, so the next one need not wait.
    more: bool,
}

impl Transport {
    pub(super) fn new(socket: Rc<Socket>) -> Transport {
        Transport {
            socket,
            readable: None,
            more: false,
        }
    }

    pub(super) fn socket(&self) -> &Rc<Socket> {
        &self.socket
    }

    pub(super) fn into_socket(self) -> Result<Socket, Transport> {
        if self.readable.is_some() {
            return Err(self);
        }
        let socket = Rc::clone(&self.socket);
        drop(self);
        Rc::try_unwrap(socket).map_err(Transport::new)
    }

    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Chunk>>> {
        loop {
            if !std::mem::take(&mut self.more) {
                let op = self
                    .readable
                    .get_or_insert_with(|| submit_poll(Rc::clone(&self.socket), libc::POLLIN));
                let done = ready!(poll(op, cx));
                self.readable = None;
                match done.result {
                    Err(error) if !is_passing(&error) => return Poll::Ready(Err(error)),
                    _ => {}
                }
            }
            match self.socket.worker.pool.recv(self.socket.as_fd()) {
                Ok((chunk, full)) => {
                    self.more = full;
                    return Poll::Ready(Ok(chunk));
                }
                Err(error) if sys::would_block(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// The same by way of the ring, whatever is there: other tasks run until the ring has been looked at.
    pub(super) fn poll_recv_anew(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Chunk>>> {
        self.more = false;
        self.poll_recv(cx)
    }

    /// Waits until the socket can be written to, or has failed.
    pub(super) async fn writable(&mut self) -> io::Result<()> {
        let done = submit_poll(Rc::clone(&self.socket), libc::POLLOUT).await;
        done.result.map(|_| ())
    }

    /// Sends `bytes` from `sent` on, as the peer reads.
    pub(super) async fn send_rest(
        &mut self,
        bytes: Vec<u8>,
        mut sent: usize,
    ) -> (io::Result<()>, Vec<u8>) {
        let mut data = Sending {
            socket: Rc::clone(&self.socket),
            bytes,
        };
        while sent < data.bytes.len() {
            let rest = &data.bytes[sent..];
            let len = rest.len().min(SEND_MAX) as u32;
            let entry = opcode::Send::new(Fd(data.socket.as_raw_fd()), rest.as_ptr(), len)
                .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
                .build();
            let done = submit(data, entry).await;
            data = done.data;
            match done.result {
                Ok(n) => sent += n,
                Err(error) if is_passing(&error) => {}
                Err(error) => return (Err(error), std::mem::take(&mut data.bytes)),
            }
        }
        (Ok(()), std::mem::take(&mut data.bytes))
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        // A wait in flight holds the descriptor open; this ends it, and the peer sees it.
        if self.readable.is_some() {
            self.socket.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// What a queued send owns.
struct Sending {
    socket: Rc<Socket>,
    bytes: Vec<u8>,
}

impl Drop for Sending {
    fn drop(&mut self) {
        if self.socket.worker.is_ending() {
            let bytes = std::mem::take(&mut self.bytes);
            self.socket.worker.bury(Box::new(bytes));
        }
    }
}

/// A listener's part of this engine.
pub(super) struct Acceptor {
    worker: Rc<Worker>,
    fd: Rc<OwnedFd>,
    pending: Option<Pending>,
    /// This kernel fails an accept on a non-blocking listener (before 5.19 or so): wait for readability, then accept.
    polls: bool,
    cancelled: bool,
}

enum Pending {
    Accept(InFlight<Accepting>),
    Poll(InFlight<Rc<OwnedFd>>),
}

/// What a queued accept owns.
struct Accepting {
    worker: Rc<Worker>,
    fd: Rc<OwnedFd>,
    address: Box<Address>,
}

impl Drop for Accepting {
    fn drop(&mut self) {
        if self.worker.is_ending() {
            let address = std::mem::replace(&mut self.address, Box::new(Address::new()));
            self.worker.bury(address);
        }
    }
}

impl Acceptor {
    pub(super) fn new(worker: Rc<Worker>, fd: OwnedFd) -> Acceptor {
        Acceptor {
            worker,
            fd: Rc::new(fd),
            pending: None,
            polls: false,
            cancelled: false,
        }
    }

    pub(super) fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(OwnedFd, SocketAddr)>> {
        loop {
            let pending = match &mut self.pending {
                Some(pending) => pending,
                None => self.pending.insert(if self.polls {
                    Pending::Poll(submit_poll(Rc::clone(&self.fd), libc::POLLIN))
                } else {
                    Pending::Accept(submit_accept(&self.worker, &self.fd))
                }),
            };
            let result = match pending {
                Pending::Accept(op) => finish_accept(ready!(poll(op, cx))),
                Pending::Poll(op) => ready!(poll(op, cx))
                    .result
                    .and_then(|_| sys::accept(self.fd.as_fd())),
            };
            self.pending = None;
            match result {
                Err(error) if sys::would_block(&error) => self.polls = true,
                // Cancelled on behalf of another task that shares the socket.
                Err(error) if is_passing(&error) && !self.cancelled => {}
                other => return Poll::Ready(other),
            }
        }
    }

    /// Cancels the accept in flight and waits for its end; the connection that it got before that.
    pub(super) fn poll_stop(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<(OwnedFd, SocketAddr)>> {
        if self.pending.is_none() {
            return Poll::Ready(None);
        }
        self.cancel();
        if let Some(Pending::Accept(op)) = &mut self.pending {
            let done = ready!(poll(op, cx));
            self.pending = None;
            return Poll::Ready(finish_accept(done).ok());
        }
        self.pending = None;
        Poll::Ready(None)
    }

    fn cancel(&mut self) {
        if !std::mem::replace(&mut self.cancelled, true) {
            let builder = CancelBuilder::fd(Fd(self.fd.as_raw_fd())).all();
            let entry = opcode::AsyncCancel2::new(builder).build();
            drop(submit(Rc::clone(&self.fd), entry));
        }
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        if self.pending.is_none() || self.worker.is_ending() {
            return;
        }
        self.cancel();
        if let Some(Pending::Accept(op)) = self.pending.take() {
            // It may have got a connection, which no task is there to serve.
            host::spawn(async move { drop(finish_accept(op.await)) });
        }
    }
}

fn submit_accept(worker: &Rc<Worker>, fd: &Rc<OwnedFd>) -> InFlight<Accepting> {
    let mut data = Accepting {
        worker: Rc::clone(worker),
        fd: Rc::clone(fd),
        address: Box::new(Address::new()),
    };
    let address = &mut *data.address;
    let entry = opcode::Accept::new(
        Fd(data.fd.as_raw_fd()),
        (&raw mut address.storage).cast(),
        &raw mut address.len,
    )
    .flags(libc::SOCK_CLOEXEC)
    .build();
    submit(data, entry)
}

fn finish_accept(done: Done<Accepting>) -> io::Result<(OwnedFd, SocketAddr)> {
    let fd = done.result? as i32;
    // SAFETY: the kernel has just made this descriptor for us; it has no other owner.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let peer = done.data.address.get().ok_or(io::ErrorKind::InvalidData)?;
    Ok((fd, peer))
}
