//! Listening sockets: bound once, by the supervisor; accepted from by each worker.

use super::{engine::Engine, epoll, ring, stream::Stream, uring, worker::Worker};
use crate::bind_error;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    cell::{Cell, RefCell},
    fmt,
    future::poll_fn,
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

/// What a listening socket is bound with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindOptions<'a> {
    /// Lets every worker bind a socket of its own to the address, and the kernel spread the connections
    /// (`SO_REUSEPORT`). The processes must belong to one user.
    pub reuse_port: bool,
    /// What names the address for the operator, as far as that is known: a key, or an option of a command.
    pub key: &'a str,
}

impl Default for BindOptions<'_> {
    fn default() -> Self {
        BindOptions {
            reuse_port: true,
            key: "",
        }
    }
}

/// A socket that listens but belongs to no worker yet.
///
/// Connections are queued on it from now on. It may be kept, cloned (the same queue) and handed to another process;
/// the queue lives until the last copy is closed.
#[derive(Debug)]
pub struct Bound {
    fd: OwnedFd,
    address: SocketAddr,
}

impl Bound {
    /// Binds and listens. An IPv6 address takes IPv6 alone, so that `[::]:25` and `0.0.0.0:25` go together.
    ///
    /// # Errors
    /// The kernel's error kind, in the words of [`bind_error`].
    pub fn new(address: SocketAddr, backlog: u32, options: BindOptions<'_>) -> io::Result<Bound> {
        Bound::bind(address, backlog, options.reuse_port)
            .map_err(|error| bind_error::explain(options.key, address, &error, ""))
    }

    fn bind(address: SocketAddr, backlog: u32, reuse_port: bool) -> io::Result<Bound> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        if reuse_port {
            socket.set_reuse_port(true)?;
        }
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // Inherited by what is accepted. Replies are written whole, so Nagle could only delay them.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        Bound::from_fd(socket.into())
    }

    /// Takes in a socket that listens already: inherited from another process.
    ///
    /// # Errors
    /// It is no listening TCP socket.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Bound> {
        let socket = socket2::SockRef::from(&fd);
        if !socket.is_listener()? {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let address = socket.local_addr()?.as_socket();
        let address = address.ok_or(io::ErrorKind::InvalidInput)?;
        socket.set_nonblocking(true)?;
        Ok(Bound { fd, address })
    }

    /// Another handle to the same queue.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn try_clone(&self) -> io::Result<Bound> {
        Ok(Bound {
            fd: self.fd.try_clone()?,
            address: self.address,
        })
    }

    /// Where it listens; the port that the kernel chose where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl AsFd for Bound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Bound> for OwnedFd {
    fn from(bound: Bound) -> OwnedFd {
        bound.fd
    }
}

/// A listening socket in the hands of a worker. One task owns it and accepts.
pub struct Listener {
    io: Acceptor,
    stop: Rc<Stop>,
    address: SocketAddr,
}

/// The engine's part.
enum Acceptor {
    Epoll(epoll::Acceptor),
    Uring(uring::Acceptor),
    Ring(ring::Acceptor),
}

#[derive(Default)]
struct Stop {
    stopped: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Listener {
    /// Takes a bound socket over for this worker.
    ///
    /// # Errors
    /// The reactor refuses it (no memory).
    ///
    /// # Panics
    /// Outside a worker.
    pub fn adopt(bound: Bound) -> io::Result<Listener> {
        let Bound { fd, address } = bound;
        let worker = Worker::current();
        Ok(Listener {
            io: match worker.engine {
                Engine::Epoll => Acceptor::Epoll(epoll::Acceptor::new(fd)?),
                Engine::Uring(_) => Acceptor::Uring(uring::Acceptor::new(worker, fd)),
                Engine::Ring => Acceptor::Ring(ring::Acceptor::new(worker, fd)),
            },
            stop: Rc::default(),
            address,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What ends [`Listener::accept`].
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(Rc::clone(&self.stop))
    }

    /// The next connection; `None` once it was stopped. A connection that the kernel handed over before that is still
    /// returned. Those still in the kernel's queue stay there, for the other holders of the socket.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM, ENOBUFS: the listener is sound, pause a little and call again. A connection that was
    /// aborted before it was accepted is skipped without an error.
    pub async fn accept(&mut self) -> io::Result<Option<(Stream, SocketAddr)>> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<(Stream, SocketAddr)>>> {
        loop {
            let stopped = self.stop.stopped.get();
            let accepted = match &mut self.io {
                Acceptor::Epoll(_) if stopped => return Poll::Ready(Ok(None)),
                Acceptor::Uring(io) if stopped => match ready!(io.poll_stop(cx)) {
                    Some(last) => Poll::Ready(Ok(last)),
                    None => return Poll::Ready(Ok(None)),
                },
                Acceptor::Ring(io) if stopped => match ready!(io.poll_stop(cx)) {
                    Some(last) => Poll::Ready(last),
                    None => return Poll::Ready(Ok(None)),
                },
                Acceptor::Epoll(io) => io.poll_accept(cx),
                Acceptor::Uring(io) => io.poll_accept(cx),
                Acceptor::Ring(io) => io.poll_accept(cx),
            };
            match accepted {
                Poll::Pending => {
                    self.stop.waker.replace(Some(cx.waker().clone()));
                    return Poll::Pending;
                }
                Poll::Ready(Ok((fd, peer))) => {
                    let stream = Stream::new(Worker::current(), fd, peer);
                    return Poll::Ready(Ok(Some((stream, peer))));
                }
                Poll::Ready(Err(error)) if is_of_the_peer(&error) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({})", self.address)
    }
}

/// Did the connection fail rather than the listener? accept(2) passes on what the network did to it.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EPERM
                | libc::EPROTO
                | libc::ENETDOWN
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EINTR
        )
    )
}

/// Ends a listener's `accept`, from the same worker. The socket is not shut down: others may share it.
#[derive(Clone)]
pub struct Stopper(Rc<Stop>);

impl Stopper {
    /// From now on `accept` returns `None`.
    pub fn stop(&self) {
        self.0.stopped.set(true);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }
}

impl fmt::Debug for Stopper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stopper({})", self.0.stopped.get())
    }
}
