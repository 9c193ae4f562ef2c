//! The epoll engine: tokio's current-thread runtime with a `LocalSet`, and its reactor under our own system calls.
//!
//! `AsyncFd` and not tokio's `TcpStream`: it lets us take a buffer only once the socket is readable, ask for
//! writability only where a send could not pass (a fresh socket would be reported writable, a wake-up for nothing), and
//! treat a short read as an empty socket (no second `recv` that returns EAGAIN).

use super::{buffer::Chunk, host, socket::Socket, sys, worker::Worker};
use std::{
    future::Future,
    io,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    pin::pin,
    rc::Rc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    runtime::Builder,
    task::LocalSet,
};

/// Runs a worker's thread.
pub(super) fn run<F>(worker: &Rc<Worker>, main: impl FnOnce() -> F) -> io::Result<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    let _ending = worker.ending();
    Ok(runtime.block_on(tasks.run_until(host::run_main(worker, main))))
}

/// Puts `fd` under the reactor's watch.
fn register<T: AsFd + AsRawFd>(fd: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: `T` is `Rc<Socket>` or `OwnedFd`: both own the descriptor for as long as they live, and name the same
    // one all the time.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}

/// Wakes the task once the reactor has been looked at. A wake from within the task would not do: tokio polls a task that
/// wakes itself some sixty times in a row.
pub(super) fn wake_later(cx: &mut Context<'_>) {
    // Its first poll leaves the waker with the runtime, and there is no second.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

/// A stream's part of this engine.
pub(super) struct Transport {
    socket: Rc<Socket>,
    /// Known to the reactor from the first wait on.
    io: Option<AsyncFd<Rc<Socket>>>,
    asks_writable: bool,
}

impl Transport {
    pub(super) fn new(socket: Rc<Socket>) -> Transport {
        Transport {
            socket,
            io: None,
            asks_writable: false,
        }
    }

    pub(super) fn socket(&self) -> &Rc<Socket> {
        &self.socket
    }

    pub(super) fn into_socket(mut self) -> Result<Socket, Transport> {
        self.io = None;
        Rc::try_unwrap(self.socket).map_err(Transport::new)
    }

    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Chunk>>> {
        let io = match &self.io {
            Some(io) => io,
            None => self
                .io
                .insert(register(Rc::clone(&self.socket), Interest::READABLE)?),
        };
        loop {
            let mut guard = ready!(io.poll_read_ready(cx))?;
            let pool = &self.socket.worker.pool;
            match pool.recv(self.socket.as_fd()) {
                Ok((chunk, full)) => {
                    if !full {
                        guard.clear_ready();
                    }
                    return Poll::Ready(Ok(chunk));
                }
                Err(error) if sys::would_block(&error) => guard.clear_ready(),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// The registration, with writability asked for.
    fn io_writable(&mut self) -> io::Result<&AsyncFd<Rc<Socket>>> {
        if !self.asks_writable {
            // The reactor has no way to widen a registration: it is made anew, and reports afresh what is there.
            self.io = None;
            self.asks_writable = true;
        }
        match &mut self.io {
            Some(io) => Ok(io),
            none => Ok(none.insert(register(
                Rc::clone(&self.socket),
                Interest::READABLE | Interest::WRITABLE,
            )?)),
        }
    }

    /// Waits until the socket can be written to, or has failed.
    pub(super) async fn writable(&mut self) -> io::Result<()> {
        let mut guard = self.io_writable()?.writable().await?;
        guard.retain_ready();
        Ok(())
    }

    /// Sends `bytes` from `sent` on, as the peer reads.
    pub(super) async fn send_rest(
        &mut self,
        bytes: Vec<u8>,
        mut sent: usize,
    ) -> (io::Result<()>, Vec<u8>) {
        let io = match self.io_writable() {
            Ok(io) => io,
            Err(error) => return (Err(error), bytes),
        };
        while sent < bytes.len() {
            let mut guard = match io.writable().await {
                Ok(guard) => guard,
                Err(error) => return (Err(error), bytes),
            };
            match sys::send(io.as_fd(), &bytes[sent..]) {
                Ok(n) => {
                    sent += n;
                    // A part means that the socket is full.
                    if sent < bytes.len() {
                        guard.clear_ready();
                    }
                }
                Err(error) if sys::would_block(&error) => guard.clear_ready(),
                Err(error) => return (Err(error), bytes),
            }
        }
        (Ok(()), bytes)
    }
}

/// A listener's part of this engine.
pub(super) struct Acceptor {
    io: AsyncFd<OwnedFd>,
}

impl Acceptor {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Acceptor> {
        Ok(Acceptor {
            io: register(fd, Interest::READABLE)?,
        })
    }

    pub(super) fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(OwnedFd, SocketAddr)>> {
        loop {
            let mut guard = ready!(self.io.poll_read_ready(cx))?;
            match sys::accept(self.io.as_fd()) {
                Err(error) if sys::would_block(&error) => guard.clear_ready(),
                other => return Poll::Ready(other),
            }
        }
    }
}
