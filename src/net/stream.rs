//! A connection: receive, send, a deadline, and the ways to end it.

use super::{
    budget::Budget,
    buffer::Chunk,
    clock::now,
    deadline::{Expiry, Wait},
    engine::Engine,
    epoll, ring,
    socket::{Socket, Waiting},
    sys,
    tls::Tls,
    uring,
    worker::Worker,
};
use crate::smtp::tick::Tick;
use std::{
    fmt,
    future::poll_fn,
    io,
    net::{Shutdown, SocketAddr},
    os::fd::{AsFd, OwnedFd},
    rc::{Rc, Weak},
    task::{Context, Poll},
    time::Duration,
};

/// A connected TCP stream of this worker.
///
/// One task uses it. Dropping it closes it, also with a read in flight: nothing is leaked, and the peer sees the end.
pub struct Stream {
    pub(super) io: Transport,
    /// Received, and given back by [`Stream::unread`]: comes before all else.
    unread: Option<Box<Chunk>>,
    peer: SocketAddr,
    pub(super) budget: Budget,
    /// There once it speaks TLS.
    pub(super) tls: Option<Box<Tls>>,
}

/// The engine's part.
pub(super) enum Transport {
    Epoll(epoll::Transport),
    Uring(uring::Transport),
    Ring(ring::Transport),
}

impl Transport {
    pub(super) fn socket(&self) -> &Rc<Socket> {
        match self {
            Transport::Epoll(io) => io.socket(),
            Transport::Uring(io) => io.socket(),
            Transport::Ring(io) => io.socket(),
        }
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Chunk>>> {
        match self {
            Transport::Epoll(io) => io.poll_recv(cx),
            Transport::Uring(io) => io.poll_recv(cx),
            Transport::Ring(io) => io.poll_recv(cx),
        }
    }

    /// The same once what other tasks and the kernel have is handled: the task is polled again then.
    fn poll_recv_later(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Chunk>>> {
        match self {
            Transport::Epoll(_) => {
                epoll::wake_later(cx);
                Poll::Pending
            }
            Transport::Uring(io) => io.poll_recv_anew(cx),
            // The executor runs a task that wakes itself after the next look at the kernel.
            Transport::Ring(_) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

impl Stream {
    pub(super) fn new(worker: Rc<Worker>, fd: OwnedFd, peer: SocketAddr) -> Stream {
        let engine = worker.engine;
        let socket = Rc::new(Socket::new(worker, fd));
        Stream {
            io: match engine {
                Engine::Epoll => Transport::Epoll(epoll::Transport::new(socket)),
                Engine::Uring(_) => Transport::Uring(uring::Transport::new(socket)),
                Engine::Ring => Transport::Ring(ring::Transport::new(socket)),
            },
            unread: None,
            peer,
            budget: Budget::default(),
            tls: None,
        }
    }

    /// Waits until a connection that was begun stands, or has failed; which of them, the socket knows.
    pub(super) async fn connected(&mut self) -> io::Result<()> {
        let waiting = Waiting::new(self.io.socket());
        let result = match &mut self.io {
            Transport::Epoll(io) => io.writable().await,
            Transport::Uring(io) => io.writable().await,
            Transport::Ring(io) => io.writable().await,
        };
        waiting.over();
        if self.io.socket().expiry() != Expiry::Open {
            return Err(io::ErrorKind::TimedOut.into());
        }
        result?;
        match socket2::SockRef::from(&**self.io.socket()).take_error()? {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// The next bytes; `None` is the end of input.
    ///
    /// A read that was begun is finished by the next call, should this future be dropped: no byte is lost. All the
    /// same, don't race it: set a deadline.
    ///
    /// # Errors
    /// `TimedOut` once the deadline has passed; what the socket says otherwise (`ConnectionReset` …). Under TLS also
    /// `InvalidData` for what is no TLS, and `UnexpectedEof` where the input ends without a close_notify.
    pub async fn recv(&mut self) -> io::Result<Option<Chunk>> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// [`Stream::recv`], for a future that watches two things at once.
    ///
    /// # Errors
    /// As `recv`.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Chunk>>> {
        let Some(mut tls) = self.tls.take() else {
            return self.poll_recv_raw(cx);
        };
        let result = self.poll_recv_tls(&mut tls, cx);
        self.tls = Some(tls);
        result
    }

    /// The next bytes of the socket itself.
    // INV-READ
    pub(super) async fn recv_raw(&mut self) -> io::Result<Option<Chunk>> {
        poll_fn(|cx| self.poll_recv_raw(cx)).await
    }

    pub(super) fn poll_recv_raw(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Chunk>>> {
        let result = std::task::ready!(self.poll_wire(cx));
        Poll::Ready(match result {
            // A shutdown by the sweep looks like the end of input.
            Ok(Some(chunk)) => Ok(Some(chunk)),
            other => match self.io.socket().expiry() {
                Expiry::Open => other,
                Expiry::Deaf | Expiry::Dead => Err(io::ErrorKind::TimedOut.into()),
            },
        })
    }

    /// What came over the wire: first what was given back, then what is received.
    fn poll_wire(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Chunk>>> {
        if let Some(chunk) = self.unread.take() {
            return Poll::Ready(Ok(Some(*chunk)));
        }
        let received = match self.budget.is_spent() {
            false => self.io.poll_recv(cx),
            true => self.io.poll_recv_later(cx),
        };
        match &received {
            Poll::Pending => self.budget.renew(),
            Poll::Ready(Ok(Some(chunk))) => self.budget.charge(chunk.len()),
            Poll::Ready(_) => {}
        }
        received
    }

    /// Gives bytes back that were received and belong to another reader: the next `recv` gives them again. For what
    /// comes before a protocol begins, and not while bytes that were given back are still there.
    pub fn unread(&mut self, bytes: &[u8]) {
        debug_assert!(self.unread.is_none(), "in the order in which they came");
        if !bytes.is_empty() {
            self.unread = Some(Box::new(Chunk::copied(bytes)));
        }
    }

    /// Sends all of `bytes`; they come back cleared, with their capacity. At once where the socket takes them,
    /// otherwise as the peer reads, with no more memory than `bytes`.
    ///
    /// Not to be dropped half way: what the peer then has of `bytes` is unknown, so the stream is shut down.
    ///
    /// # Errors
    /// `TimedOut` once the deadline has passed; what the socket says otherwise (`BrokenPipe`, `ConnectionReset` …).
    pub async fn send(&mut self, bytes: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        if self.tls.is_some() {
            return self.send_encrypted(bytes, false).await;
        }
        let first = sys::send(self.io.socket().as_fd(), &bytes);
        self.send_on(bytes, first).await
    }

    /// Like [`Stream::send`], for the last bytes of a connection that is closed right after it: they leave together
    /// with the end, as one packet and one wake-up of the peer. Only where nothing that the peer has sent is unread:
    /// a close would reset the connection, and these bytes with it.
    pub async fn send_last(&mut self, bytes: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        if self.tls.is_some() {
            return self.send_encrypted(bytes, true).await;
        }
        let first = sys::send_held(self.io.socket().as_fd(), &bytes);
        self.send_on(bytes, first).await
    }

    async fn send_on(
        &mut self,
        bytes: Vec<u8>,
        first: io::Result<usize>,
    ) -> (io::Result<()>, Vec<u8>) {
        let sent = match first {
            Ok(sent) => sent,
            Err(error) if sys::would_block(&error) => 0,
            Err(error) => return (Err(self.blame(error)), cleared(bytes)),
        };
        if sent == bytes.len() {
            return (Ok(()), cleared(bytes));
        }
        self.send_rest(bytes, sent).await
    }

    /// Sends `bytes` from `sent` on, as the peer reads.
    pub(super) async fn send_rest(
        &mut self,
        bytes: Vec<u8>,
        sent: usize,
    ) -> (io::Result<()>, Vec<u8>) {
        let waiting = Waiting::new(self.io.socket());
        let (result, bytes) = match &mut self.io {
            Transport::Epoll(io) => io.send_rest(bytes, sent).await,
            Transport::Uring(io) => io.send_rest(bytes, sent).await,
            Transport::Ring(io) => io.send_rest(bytes, sent).await,
        };
        waiting.over();
        (result.map_err(|error| self.blame(error)), cleared(bytes))
    }

    /// Boxed, so that a session which may speak TLS is not larger for it where it doesn't.
    async fn send_encrypted(&mut self, bytes: Vec<u8>, last: bool) -> (io::Result<()>, Vec<u8>) {
        let Some(mut tls) = self.tls.take() else {
            return (Err(io::ErrorKind::NotConnected.into()), bytes);
        };
        let result = Box::pin(self.send_tls(&mut tls, &bytes, last)).await;
        self.tls = Some(tls);
        (result, cleared(bytes))
    }

    /// What a failed send is due to: the deadline, where that has ended it.
    pub(super) fn blame(&self, error: io::Error) -> io::Error {
        match self.io.socket().expiry() {
            Expiry::Dead => io::ErrorKind::TimedOut.into(),
            Expiry::Open | Expiry::Deaf => error,
        }
    }

    /// From when on `recv` and `send` fail with `TimedOut`, within `deadline::RESOLUTION`; those in flight too.
    /// [`Tick::FAR`]: never. Cheap enough for each command. A read that timed out stays timed out.
    ///
    /// After a `recv` timed out, a last reply may be sent, for `deadline::LAST_WORDS` or until a new deadline.
    pub fn set_deadline(&self, due: Tick) {
        self.io.socket().set_deadline(due, Wait::Fixed);
    }

    /// The same for a wait in which the peer has nothing under way, which [`super::end_idle_waits`] may end before.
    pub fn set_idle_deadline(&self, due: Tick) {
        self.io.socket().set_deadline(due, Wait::Idle);
    }

    /// The same for a wait in which the peer has something under way, which only [`super::hasten_waits`] may end before.
    pub fn set_busy_deadline(&self, due: Tick) {
        self.io.socket().set_deadline(due, Wait::Busy);
    }

    /// A handle by which another task can end its input.
    #[must_use]
    pub fn ender(&self) -> Ender {
        Ender(Rc::downgrade(self.io.socket()))
    }

    /// Is there nothing to read, and is the connection still up? For a connection that waits in a pool.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        if self.unread.is_some() || self.tls.as_ref().is_some_and(|tls| !tls.is_quiet()) {
            return false;
        }
        match &self.io {
            Transport::Ring(io) => io.is_quiet(),
            io => sys::is_quiet(io.socket().as_fd()),
        }
    }

    /// Says that nothing more will be sent; the peer may still talk.
    pub fn finish(&mut self) {
        self.say_end(libc::MSG_MORE);
        self.io.socket().shutdown(Shutdown::Write);
    }

    /// Closes at once. Bytes that the peer has sent and that were not read make the kernel send a reset, which may
    /// overtake the last reply: see [`Stream::close_lingering`]. Under TLS a close_notify goes before, which a mere drop
    /// spares: that is how a stream ends that was cut short.
    pub fn close(mut self) {
        self.say_end(libc::MSG_MORE);
    }

    /// Closes so that the last reply arrives: ends our side, then swallows what the peer still sends until it closes
    /// too, for at most `octets_max` and `wait`.
    pub async fn close_lingering(mut self, octets_max: u64, wait: Duration) {
        self.finish();
        self.set_deadline(now().after(wait));
        let mut left = octets_max;
        while let Ok(Some(chunk)) = self.recv().await {
            match left.checked_sub(chunk.len() as u64) {
                Some(rest) if rest > 0 => left = rest,
                _ => break,
            }
        }
    }

    /// The other end's address. An IPv4 client is never shown as an IPv6-mapped one.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Our address; asks the kernel.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn local(&self) -> io::Result<SocketAddr> {
        let address = socket2::SockRef::from(&**self.io.socket()).local_addr()?;
        address
            .as_socket()
            .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    /// The bare descriptor, to hand an idle connection to another worker; [`Stream::from_fd`] takes it in there.
    ///
    /// # Errors
    /// The stream itself, where a read is in flight, unread bytes are there, or it uses TLS.
    pub fn into_fd(self) -> Result<OwnedFd, Stream> {
        if self.unread.is_some() || self.tls.is_some() {
            return Err(self);
        }
        let Stream {
            io,
            peer,
            unread,
            budget,
            tls,
        } = self;
        let io = match io {
            Transport::Epoll(io) => io.into_socket().map_err(Transport::Epoll),
            Transport::Uring(io) => io.into_socket().map_err(Transport::Uring),
            Transport::Ring(io) => io.into_socket().map_err(Transport::Ring),
        };
        match io {
            Ok(socket) => Ok(socket.into_fd()),
            Err(io) => Err(Stream {
                io,
                peer,
                unread,
                budget,
                tls,
            }),
        }
    }

    /// Takes in a connected descriptor that another worker let go.
    ///
    /// # Errors
    /// It is not connected.
    ///
    /// # Panics
    /// Outside a worker.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Stream> {
        let peer = socket2::SockRef::from(&fd).peer_addr()?;
        let peer = peer.as_socket().ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Stream::new(Worker::current(), fd, peer))
    }
}

/// Ends the input of a stream from another task of its worker. It doesn't keep the stream.
pub struct Ender(Weak<Socket>);

impl Ender {
    /// Has the read or the write in flight time out now. One that begins later has its own deadline.
    pub fn end_input(&self, now: Tick) {
        if let Some(socket) = self.0.upgrade() {
            socket.set_deadline(now, Wait::Fixed);
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({})", self.peer)
    }
}

fn cleared(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.clear();
    bytes
}
