//! TLS on a stream: handshakes, and what becomes of `recv` and `send` after them.
//!
//! rustls is given what the engine received and says what to send; the reads, the sends tried at once, the deadlines and
//! the close are those of a plain stream. Bounds: ciphertext is taken from the engine only when the session asks for more,
//! one chunk at a time, records without plaintext are counted, and plaintext goes out in a worker's buffer; what does not fit
//! waits here, at most one chunk and one record. Between records a stream owns rustls's state and its smallest read buffer (4 KiB).
//!
//! What the end of a handshake leaves to be sent (a client's Finished, a server's tickets) goes with the next send of the
//! session, which saves one on each side.

use super::{
    buffer::Chunk,
    mailbox::mailbox,
    stream::Stream,
    sys,
    tls::{Side, Tls, invalid},
};
use crate::{
    threads::Threads,
    tls::{Acceptor, Connector, TlsFacts},
};
use rustls::Connection;
use std::{
    io::{self, IoSlice, Write},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    task::{Context, Poll},
};

/// Octets that are encrypted for one send at most.
const SEND_MAX: usize = 256 * 1024;

impl Stream {
    /// Answers a client's handshake. Ends at the stream's deadline.
    ///
    /// # Errors
    /// `InvalidData` with a `rustls::Error` where the handshake fails, after an alert; `UnexpectedEof` where the client
    /// goes; `ResourceBusy` where too many handshakes wait to be computed; otherwise as `recv` and `send`. The stream is
    /// of no more use then.
    pub async fn accept_tls(&mut self, acceptor: &Acceptor) -> io::Result<()> {
        self.handshake(acceptor.begin(), Some(acceptor)).await
    }

    /// Begins a handshake with a backend. Ends at the stream's deadline.
    ///
    /// # Errors
    /// As `accept_tls`; a certificate that does not pass is `InvalidData` too.
    pub async fn connect_tls(&mut self, connector: &Connector) -> io::Result<()> {
        self.handshake(connector.begin(), None).await
    }

    /// What the handshake brought, where the stream speaks TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsFacts> {
        self.tls.as_ref().map(|tls| &tls.facts)
    }

    /// The stream is plain until the handshake is over, so that a deadline and a failed one leave nothing half done.
    async fn handshake(
        &mut self,
        connection: Result<Connection, rustls::Error>,
        acceptor: Option<&Acceptor>,
    ) -> io::Result<()> {
        if self.tls.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let mut tls = Box::new(Tls::new(connection.map_err(invalid)?, acceptor.cloned()));
        let mut result = Ok(());
        loop {
            // An alert about a failure goes out as well.
            if tls.connection.wants_write() && (result.is_err() || tls.must_send()) {
                let sent = self.transmit(&mut tls, false).await;
                result = result.and(sent);
            }
            result?;
            if !tls.connection.is_handshaking() {
                break;
            }
            result = match self.recv_raw().await? {
                Some(chunk) => match self.io.socket().worker.helpers.get() {
                    Some(helpers) if tls.is_dear(&chunk) => {
                        let helpers = Arc::clone(helpers);
                        let (back, result) = greet_elsewhere(&helpers, tls, &chunk).await?;
                        tls = back;
                        result
                    }
                    _ => tls.greet(&chunk),
                },
                None => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
        self.tls = Some(tls);
        Ok(())
    }

    /// `poll_recv` of a stream with `tls`.
    pub(super) fn poll_recv_tls(
        &mut self,
        tls: &mut Tls,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Chunk>>> {
        loop {
            if tls.unread || !tls.rest.is_empty() {
                let rest = std::mem::take(&mut tls.rest);
                if let Some(chunk) = self.decrypt(tls, &rest)? {
                    return Poll::Ready(Ok(Some(chunk)));
                }
            }
            match tls.input {
                Side::Open => {}
                Side::Closed => return Poll::Ready(Ok(None)),
                Side::Failed => return Poll::Ready(Err(tls.failure())),
            }
            if tls.connection.wants_write() && !tls.patient {
                self.transmit_now(tls, 0);
            }
            let Poll::Ready(read) = self.poll_recv_raw(cx) else {
                tls.slim();
                return Poll::Pending;
            };
            match read? {
                Some(chunk) => {
                    if let Some(chunk) = self.decrypt(tls, &chunk)? {
                        return Poll::Ready(Ok(Some(chunk)));
                    }
                }
                // Without a close_notify an attacker may have cut the stream here (INV-CUT).
                None => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            }
        }
    }

    /// Makes plaintext of `bytes`, as much as one chunk holds; what is left of them is kept.
    fn decrypt(&mut self, tls: &mut Tls, bytes: &[u8]) -> io::Result<Option<Chunk>> {
        let mut plain = self.io.socket().worker.pool.filling();
        let result = tls.decrypt(bytes, &mut plain);
        self.budget.charge_empty(tls.take_empty());
        if result.is_err() {
            tls.input = Side::Failed;
            self.transmit_now(tls, 0);
            tls.output = Side::Failed;
        }
        result.map(|()| plain.done())
    }

    /// `send` of a stream with `tls`; with `last`, a close_notify goes with it.
    pub(super) async fn send_tls(
        &mut self,
        tls: &mut Tls,
        bytes: &[u8],
        last: bool,
    ) -> io::Result<()> {
        if tls.output != Side::Open {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut pieces = bytes.chunks(SEND_MAX).peekable();
        loop {
            if let Some(piece) = pieces.next() {
                tls.connection.writer().write_all(piece)?;
            }
            let ends = pieces.peek().is_none();
            if ends && last {
                tls.end_output();
            }
            self.transmit(tls, last && ends).await?;
            if ends {
                return Ok(());
            }
        }
    }

    /// Sends what rustls has for the peer, as the peer reads.
    async fn transmit(&mut self, tls: &mut Tls, held: bool) -> io::Result<()> {
        tls.patient = false;
        let flags = if held { libc::MSG_MORE } else { 0 };
        let mut wire = Wire(self.io.socket().as_fd(), flags);
        let mut result = Ok(());
        while result.is_ok() && tls.connection.wants_write() {
            result = tls.connection.write_tls(&mut wire).map(|_| ());
        }
        match result {
            Err(error) if sys::would_block(&error) => {
                let mut rest = Vec::new();
                while tls.connection.wants_write() {
                    tls.connection.write_tls(&mut rest)?;
                }
                self.send_rest(rest, 0).await.0
            }
            other => other.map_err(|error| self.blame(error)),
        }
    }

    /// Sends of it what the socket takes at once.
    fn transmit_now(&self, tls: &mut Tls, flags: libc::c_int) {
        let mut wire = Wire(self.io.socket().as_fd(), flags);
        // An error shows in the next read or send.
        while tls.connection.wants_write() && tls.connection.write_tls(&mut wire).is_ok() {}
    }

    /// Says the end of our output, if that is still due; with `flags` as for the send.
    pub(super) fn say_end(&mut self, flags: libc::c_int) {
        if let Some(mut tls) = self.tls.take() {
            if tls.output == Side::Open {
                tls.end_output();
                self.transmit_now(&mut tls, flags);
            }
            self.tls = Some(tls);
        }
    }
}

/// [`Tls::greet`] on another thread.
///
/// Clients decide how many handshakes there are on their side, so there is an end to that. Those with backends are few, and
/// to fail one would say something about the backend: where too many wait, it is computed here.
///
/// # Errors
/// `ResourceBusy` where too many handshakes wait already, or the thread failed.
async fn greet_elsewhere(
    helpers: &Threads,
    mut tls: Box<Tls>,
    bytes: &[u8],
) -> io::Result<(Box<Tls>, io::Result<()>)> {
    let (reply, mut answer) = mailbox(1);
    let ours = matches!(tls.connection, Connection::Client(_));
    let bytes = bytes.to_vec();
    let given = helpers.run(move || {
        let result = tls.greet(&bytes);
        // The receiver is gone where the session has been dropped.
        let _ = reply.try_send((tls, result));
    });
    if let Err(job) = given
        && ours
    {
        job();
    }
    // A job that was dropped has dropped its reply.
    let answer = answer.recv().await;
    answer.ok_or_else(|| io::ErrorKind::ResourceBusy.into())
}

/// The socket as rustls writes to it: several records leave in one send.
struct Wire<'a>(BorrowedFd<'a>, libc::c_int);

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        sys::send_slices(self.0, &[IoSlice::new(bytes)], self.1)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        sys::send_slices(self.0, slices, self.1)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
