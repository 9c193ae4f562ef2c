//! TLS of a stream, without the stream: rustls's state, what waits to be decrypted, and where in a record the input stands.

use super::{buffer::Filling, sys};
use crate::tls::TlsFacts;
use rustls::{Connection, ProtocolVersion};
use std::io::{self, BufRead, Read};

/// Octets that rustls is given at a time; it takes no more.
const STEP: usize = 4096;
/// Octets of a client's last flight in TLS 1.3, where it shows no certificate: a ChangeCipherSpec, and a Finished with the
/// longest hash and a little padding. A certificate takes more.
const FINISHED_MAX: usize = 160;

/// What a stream that speaks TLS owns beside its socket.
pub(super) struct Tls {
    pub(super) connection: Connection,
    pub(super) facts: TlsFacts,
    /// Ciphertext that no plaintext has been made of yet.
    pub(super) rest: Vec<u8>,
    records: Records,
    /// rustls holds plaintext that was not fetched.
    pub(super) unread: bool,
    /// What is to be sent is nothing that the peer waits for.
    pub(super) patient: bool,
    pub(super) input: Side,
    pub(super) output: Side,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Open,
    /// Ended by a close_notify.
    Closed,
    /// Ended by an error, about which there is no more to say.
    Failed,
}

impl Tls {
    pub(super) fn new(mut connection: Connection) -> Tls {
        // What one send encrypts is limited by `secure::SEND_MAX`.
        connection.set_buffer_limit(None);
        Tls {
            facts: TlsFacts::default(),
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
    pub(super) fn is_dear(&self, bytes: &[u8]) -> bool {
        let modern = self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let finishes = modern && matches!(self.connection, Connection::Server(_));
        !(finishes && bytes.len() <= FINISHED_MAX) && self.records.clone().pass(bytes)
    }

    /// Takes in a piece of the handshake; what is behind its end is kept.
    pub(super) fn greet(&mut self, mut bytes: &[u8]) -> io::Result<()> {
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

    /// Must what is there to be sent leave now? Not after the end of a handshake, where the peer waits for nothing of it
    /// but the session's next words; a TLS 1.2 client does wait, for Finished.
    pub(super) fn must_send(&mut self) -> bool {
        if self.connection.is_handshaking() {
            return true;
        }
        let modern = self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let serving = matches!(self.connection, Connection::Server(_));
        self.patient = serving && modern;
        serving && !modern
    }

    pub(super) fn decrypt(&mut self, mut bytes: &[u8], plain: &mut Filling) -> io::Result<()> {
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

    pub(super) fn end_output(&mut self) {
        self.connection.send_close_notify();
        self.output = Side::Closed;
    }

    /// Gives memory back that only a record under way needs.
    pub(super) fn slim(&mut self) {
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

pub(super) fn invalid(error: rustls::Error) -> io::Error {
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

/// No input for now.
struct Nothing;

impl Read for Nothing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}
