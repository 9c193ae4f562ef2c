//! The io_uring engine.

use super::{buffer::Chunk, engine::Setup, stream::Socket, worker::Worker};
use std::{
    future::Future,
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    rc::Rc,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

static RINGS: Mutex<()> = Mutex::new(());

/// Held while a ring is made.
pub(super) fn rings_are_counted() -> MutexGuard<'static, ()> {
    RINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a worker's thread.
pub(super) fn run<F: Future>(
    _: &Rc<Worker>,
    _: Setup,
    _: impl FnOnce() -> F,
) -> io::Result<F::Output> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) struct Ring;

impl Ring {
    pub(super) unsafe fn bytes(&self, _: u16, _: usize) -> &[u8] {
        &[]
    }
    pub(super) fn give_back(&self, _: u16) {}
}

pub(super) struct Transport(Rc<Socket>);

impl Transport {
    pub(super) fn new(socket: Rc<Socket>) -> Transport {
        Transport(socket)
    }

    pub(super) fn socket(&self) -> &Rc<Socket> {
        &self.0
    }

    pub(super) fn into_socket(self) -> Result<Socket, Transport> {
        Err(self)
    }

    pub(super) fn poll_recv(&mut self, _: &mut Context<'_>) -> Poll<io::Result<Option<Chunk>>> {
        Poll::Ready(Ok(None))
    }

    pub(super) async fn writable(&mut self) -> io::Result<()> {
        Ok(())
    }

    pub(super) async fn send_rest(
        &mut self,
        bytes: Vec<u8>,
        _: usize,
    ) -> (io::Result<()>, Vec<u8>) {
        (Ok(()), bytes)
    }
}

pub(super) struct Acceptor;

impl Acceptor {
    pub(super) fn new(_: OwnedFd) -> io::Result<Acceptor> {
        Ok(Acceptor)
    }

    pub(super) fn poll_accept(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<io::Result<(OwnedFd, SocketAddr)>> {
        Poll::Pending
    }

    pub(super) fn poll_stop(&mut self, _: &mut Context<'_>) -> Poll<Option<(OwnedFd, SocketAddr)>> {
        Poll::Ready(None)
    }
}
