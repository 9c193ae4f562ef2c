//! TLS on a stream: handshakes, and what becomes of `recv` and `send` behind them.
//!
//! rustls is given what the engine received and says what to send; the reads, the sends tried at once, the deadlines and
//! the close are those of a plain stream. Bounds: ciphertext is taken from the engine only when the session asks for more,
//! one chunk at a time, and plaintext goes out in a worker's buffer; what does not fit waits here, at most one chunk and one
//! record. Between records a stream owns rustls's state and its smallest read buffer (4 KiB).
//!
//! What the end of a handshake leaves to be sent (a client's Finished, a server's tickets) goes with the next send of the
//! session, which saves one on each side.

use super::{
    buffer::{Chunk, Filling},
    mailbox::mailbox,
    stream::Stream,
    sys,
};
use crate::{
    threads::Threads,
    tls::{Acceptor, Connector, Facts},
};
use rustls::{Connection, ProtocolVersion};
use std::{
    io::{self, BufRead, IoSlice, Read, Write},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    task::{Context, Poll},
};

/// Octets that are encrypted for one send at most.
const SEND_MAX: usize = 256 * 1024;
/// Octets that rustls is given at a time; it takes no more.
const STEP: usize = 4096;
/// Octets of a client's last flight in TLS 1.3, where it shows no certificate: a ChangeCipherSpec, and a Finished with the
/// longest hash and a little padding. A certificate takes more.
const FINISHED_MAX: usize = 160;

/// What a stream that speaks TLS owns beside its socket.
pub(super) struct Tls {
    connection: Connection,
    facts: Facts,
    /// Ciphertext that no plaintext has been made of yet.
    rest: Vec<u8>,
    records: Records,
    /// rustls holds plaintext that was not fetched.
    unread: bool,
    /// What is to be sent is nothing that the peer waits for.
    patient: bool,
    input: Side,
    output: Side,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Open,
    /// Ended by a close_notify.
    Closed,
    /// Ended by an error, about which there is no more to say.
    Failed,
}

impl Stream {
    /// Answers a client's handshake. Ends at the stream's deadline.
    ///
    /// # Errors
    /// `InvalidData` with a `rustls::Error` where the handshake fails, after an alert; `UnexpectedEof` where the client
    /// goes; `ResourceBusy` where too many handshakes wait to be computed; otherwise as `recv` and `send`. The stream is
    /// of no more use then.
    pub async fn accept_tls(&mut self, acceptor: &Acceptor) -> io::Result<()> {
        let facts = |connection: &Connection| acceptor.facts(connection);
        self.handshake(acceptor.begin(), facts).await
    }

    /// Begins a handshake with a backend. Ends at the stream's deadline.
    ///
    /// # Errors
    /// As `accept_tls`; a certificate that does not pass is `InvalidData` too.
    pub async fn connect_tls(&mut self, connector: &Connector) -> io::Result<()> {
        // A server's certificate was verified by the connector, or is not to be.
        let facts = |connection: &Connection| Facts::of(connection, |_| true);
        self.handshake(connector.begin(), facts).await
    }

    /// What the handshake brought, where the stream speaks TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&Facts> {
        self.tls.as_ref().map(|tls| &tls.facts)
    }

    /// The stream is plain until the handshake is over, so that a deadline and a failed one leave nothing half done.
    async fn handshake(
        &mut self,
        connection: Result<Connection, rustls::Error>,
        facts: impl FnOnce(&Connection) -> Facts,
    ) -> io::Result<()> {
        if self.tls.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let mut tls = Box::new(Tls::new(connection.map_err(invalid)?));
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
        tls.facts = facts(&tls.connection);
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
                Side::Failed => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
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
    fn decrypt(&self, tls: &mut Tls, bytes: &[u8]) -> io::Result<Option<Chunk>> {
        let mut plain = self.io.socket().worker.pool.filling();
        let result = tls.decrypt(bytes, &mut plain);
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

impl Tls {
    fn new(mut connection: Connection) -> Tls {
        // `SEND_MAX` is the limit.
        connection.set_buffer_limit(None);
        Tls {
            facts: Facts::default(),
            connection,
            rest: Vec::new(),
            records: Records::default(),
            unread: false,
            patient: false,
            input: Side::Open,
            output: Side::Open,
        }
    }

    /// Does this piece of a handshake make us compute keys or signatures? A client's last flight doesn't in TLS 1.3, unless
    /// it holds a certificate; and nothing is computed before a record is whole.
    fn is_dear(&self, bytes: &[u8]) -> bool {
        let modern = self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let finishes = modern && matches!(self.connection, Connection::Server(_));
        !(finishes && bytes.len() <= FINISHED_MAX) && self.records.clone().pass(bytes)
    }

    /// Takes in a piece of the handshake; what is behind its end is kept.
    fn greet(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while self.connection.is_handshaking() && !bytes.is_empty() {
            self.step(&mut bytes)?;
        }
        if !self.connection.is_handshaking() {
            self.rest.extend_from_slice(bytes);
            // The last step may have brought some.
            self.unread = true;
        }
        Ok(())
    }

    /// Must what is there to be sent leave now? Not behind the end of a handshake, where the peer waits for nothing of it
    /// but the session's next words; a TLS 1.2 client does wait, for Finished.
    fn must_send(&mut self) -> bool {
        if self.connection.is_handshaking() {
            return true;
        }
        let modern = self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let serving = matches!(self.connection, Connection::Server(_));
        self.patient = serving && modern;
        serving && !modern
    }

    fn decrypt(&mut self, mut bytes: &[u8], plain: &mut Filling) -> io::Result<()> {
        loop {
            self.unread = !fetch(&mut self.connection, plain)?;
            if self.unread || bytes.is_empty() || self.input != Side::Open {
                break;
            }
            self.step(&mut bytes)?;
        }
        // Behind a close_notify there is nothing that counts.
        if self.input == Side::Open {
            self.rest.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Gives rustls the next octets.
    fn step(&mut self, bytes: &mut &[u8]) -> io::Result<()> {
        let mut piece = &bytes[..bytes.len().min(STEP)];
        let taken = self.connection.read_tls(&mut piece)?;
        self.records.pass(&bytes[..taken]);
        *bytes = &bytes[taken..];
        let state = self.connection.process_new_packets().map_err(invalid)?;
        if state.peer_has_closed() {
            self.input = Side::Closed;
        }
        Ok(())
    }

    fn end_output(&mut self) {
        self.connection.send_close_notify();
        self.output = Side::Closed;
    }

    /// Gives memory back that only a record under way needs.
    fn slim(&mut self) {
        if self.records.is_between() {
            // rustls looks at its buffer before it reads.
            let _ = self.connection.read_tls(&mut Nothing);
        }
    }

    /// Octets of ciphertext that wait.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.rest.len()
    }

    /// Is nothing here that was received and not read?
    pub(super) fn is_quiet(&self) -> bool {
        self.rest.is_empty()
            && !self.unread
            && self.input == Side::Open
            && self.output == Side::Open
            && self.records.is_between()
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
        // Nobody waits any more where the session has been dropped.
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

/// Moves what is decrypted into `plain`; whether that was all.
fn fetch(connection: &mut Connection, plain: &mut Filling) -> io::Result<bool> {
    let mut reader = connection.reader();
    loop {
        let taken = match reader.fill_buf() {
            Ok([]) => return Ok(true),
            Ok(bytes) => plain.push(bytes),
            Err(error) if sys::would_block(&error) => return Ok(true),
            Err(error) => return Err(error),
        };
        if taken == 0 {
            return Ok(false);
        }
        reader.consume(taken);
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Where in a record the input stands (RFC 8446 §5.1): rustls doesn't say whether it waits for the rest of one.
#[derive(Clone, Default)]
struct Records {
    header: [u8; 5],
    /// Octets of the header that are there.
    seen: usize,
    /// Octets of the body that are not.
    left: usize,
}

impl Records {
    /// Goes on by these octets; whether a record ended in them.
    fn pass(&mut self, mut bytes: &[u8]) -> bool {
        let mut ended = false;
        while let Some(first) = bytes.first() {
            let mut taken = self.left.min(bytes.len());
            self.left -= taken;
            if taken == 0 {
                taken = 1;
                self.header[self.seen] = *first;
                self.seen += 1;
                if self.seen == self.header.len() {
                    self.seen = 0;
                    let [_, _, _, high, low] = self.header;
                    self.left = usize::from(u16::from_be_bytes([high, low]));
                }
            }
            ended |= self.is_between();
            bytes = &bytes[taken..];
        }
        ended
    }

    fn is_between(&self) -> bool {
        self.seen == 0 && self.left == 0
    }
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

/// No input for now.
struct Nothing;

impl Read for Nothing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}
