//! Connecting to a backend.

use super::{stream::Stream, sys, worker::Worker};
use crate::smtp::tick::Tick;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, OwnedFd},
};

impl Stream {
    /// Connects to `address`. The deadline stays on the stream until a new one is set, so it covers the greeting too.
    ///
    /// # Errors
    /// `TimedOut` at the deadline; `ConnectionRefused` and the rest as the kernel says; EMFILE and the like where a
    /// socket is not to be had.
    ///
    /// # Panics
    /// Outside a worker.
    pub async fn connect(address: SocketAddr, deadline: Tick) -> io::Result<Stream> {
        Stream::connect_from(None, address, deadline).await
    }

    /// [`Stream::connect`] from one of this machine's addresses; `None` leaves it to the kernel.
    ///
    /// # Errors
    /// As `connect`; `AddrNotAvailable` where `source` is not ours.
    ///
    /// # Panics
    /// Outside a worker.
    pub async fn connect_from(
        source: Option<IpAddr>,
        address: SocketAddr,
        deadline: Tick,
    ) -> io::Result<Stream> {
        // Non-blocking for the connect alone: see `sys`.
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new_raw(Domain::for_address(address), kind, Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        if let Some(source) = source {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        let begun = socket.connect(&address.into());
        sys::set_blocking(socket.as_fd());
        let mut stream = Stream::new(Worker::current(), OwnedFd::from(socket), address);
        stream.set_deadline(deadline);
        match begun {
            Ok(()) => Ok(stream),
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
                stream.connected().await?;
                Ok(stream)
            }
            Err(error) => Err(error),
        }
    }
}
