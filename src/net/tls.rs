//! TLS of a stream, without the stream: rustls's state, what waits to be decrypted, and where in a record the input stands.

use super::{buffer::Filling, sys};
use crate::tls::{Acceptor, TlsFacts};
use rustls::{Connection, PeerMisbehaved, ProtocolVersion};
use std::io::{self, BufRead, Read};

/// Octets that rustls is given at a time; it takes no more.
const STEP: usize = 4096;
/// Octets of a client's last flight in TLS 1.3, where it shows no certificate: a ChangeCipherSpec, and a Finished with the
/// longest hash and a little padding. A certificate takes more.
const FINISHED_MAX: usize = 160;
/// Records without plaintext that a peer may send in one go, those of its handshake included. Honest ones need a handful: a
/// chain of certificates cut into records of 512 octets takes 64.
const EMPTY_MAX: usize = 256;
/// Octets of plaintext after which one more such record may come.
const EMPTY_EACH: usize = 4096;

/// What a stream that speaks TLS owns beside its socket.
pub(super) struct Tls {
    pub(super) connection: Connection,
    pub(super) facts: TlsFacts,
    /// Until a handshake with a client is over: what it is answered with.
    acceptor: Option<Acceptor>,
    /// Ciphertext that no plaintext has been made of yet.
    pub(super) rest: Vec<u8>,
    records: Records,
    empty: Empty,
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
    /// `acceptor` is there where the peer is a client.
    pub(super) fn new(mut connection: Connection, acceptor: Option<Acceptor>) -> Tls {
        // What one send encrypts is limited by `secure::SEND_MAX`.
        connection.set_buffer_limit(None);
        Tls {
            facts: TlsFacts::default(),
            connection,
            acceptor,
            rest: Vec::new(),
            records: Records::default(),
            empty: Empty::default(),
            unread: false,
            patient: false,
            input: Side::Open,
            output: Side::Open,
        }
    }

    /// Does this piece of a handshake make us compute keys or signatures? Nothing is computed before a record is whole, and
    /// what ends a handshake of TLS 1.3 costs little where no certificate comes with it. A client cuts its octets as it
    /// likes, so a short piece alone says nothing: it may be the rest of a second ClientHello, or of a certificate.
    pub(super) fn is_dear(&self, bytes: &[u8]) -> bool {
        let finishes = bytes.len() <= FINISHED_MAX && self.awaits_finished();
        !finishes && self.records.clone().pass(bytes).1
    }

    /// Is a client's Finished all that is left of the handshake? Our keys are agreed only once our own flight is made; a
    /// HelloRetryRequest agrees none.
    fn awaits_finished(&self) -> bool {
        let modern = self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let agreed = self.connection.negotiated_key_exchange_group().is_some();
        let shows_none = matches!(&self.acceptor, Some(acceptor) if !acceptor.asks());
        modern && agreed && shows_none
    }

    /// Takes in a piece of the handshake; what is behind its end is kept.
    pub(super) fn greet(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while self.connection.is_handshaking() && !bytes.is_empty() {
            self.step(&mut bytes)?;
        }
        if !self.connection.is_handshaking() {
            // Here, since a client's certificate is believed only after computing.
            self.facts = match self.acceptor.take() {
                Some(acceptor) => acceptor.facts(&self.connection),
                // A server's certificate was verified by the connector, or is not to be.
                None => TlsFacts::of(&self.connection, |_| true),
            };
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

    /// Gives rustls the next octets, of one record at most. What it had decrypted has been fetched.
    fn step(&mut self, bytes: &mut &[u8]) -> io::Result<()> {
        let (len, _) = self.records.clone().pass(&bytes[..bytes.len().min(STEP)]);
        let mut piece = &bytes[..len];
        let taken = self.connection.read_tls(&mut piece)?;
        let (_, ended) = self.records.pass(&bytes[..taken]);
        *bytes = &bytes[taken..];
        let state = self.connection.process_new_packets().map_err(invalid)?;
        if state.peer_has_closed() {
            self.input = Side::Closed;
        }
        match state.plaintext_bytes_to_read() {
            0 if ended => self.empty.note(),
            plain => {
                self.empty.allow(plain);
                Ok(())
            }
        }
    }

    /// How many records without plaintext came since this was last asked.
    pub(super) fn take_empty(&mut self) -> usize {
        std::mem::take(&mut self.empty.fresh)
    }

    /// Why there is no more input.
    pub(super) fn failure(&mut self) -> io::Error {
        match (self.empty.check(), self.connection.process_new_packets()) {
            (Err(error), _) => error,
            (Ok(()), Err(error)) => invalid(error),
            (Ok(()), Ok(_)) => io::ErrorKind::InvalidData.into(),
        }
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
    /// Goes on by these octets, up to the end of a record: how many were taken, and whether one ended with them.
    fn pass(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while at < bytes.len() {
            if self.left > 0 {
                let taken = self.left.min(bytes.len() - at);
                self.left -= taken;
                at += taken;
            } else {
                self.header[self.seen] = bytes[at];
                self.seen += 1;
                at += 1;
                if self.seen == self.header.len() {
                    self.seen = 0;
                    let [_, _, _, high, low] = self.header;
                    self.left = usize::from(u16::from_be_bytes([high, low]));
                }
            }
            if self.is_between() {
                return (at, true);
            }
        }
        (at, false)
    }

    fn is_between(&self) -> bool {
        self.seen == 0 && self.left == 0
    }
}

/// Records that brought no plaintext (KeyUpdates, alerts, empty ones, pieces of a handshake): each costs us what many octets
/// of plaintext cost, so a peer may send few of them beside its plaintext.
#[derive(Default)]
struct Empty {
    /// Octets of plaintext that are owed for them.
    owed: usize,
    /// Those that were not charged yet.
    fresh: usize,
}

impl Empty {
    /// One has come.
    ///
    /// # Errors
    /// It is one too many.
    fn note(&mut self) -> io::Result<()> {
        self.fresh += 1;
        self.owed += EMPTY_EACH;
        self.check()
    }

    /// So much plaintext has come.
    fn allow(&mut self, plain: usize) {
        self.owed = self.owed.saturating_sub(plain);
    }

    fn check(&self) -> io::Result<()> {
        match self.owed > EMPTY_MAX * EMPTY_EACH {
            true => Err(invalid(PeerMisbehaved::TooManyKeyUpdateRequests.into())),
            false => Ok(()),
        }
    }
}

/// No input for now.
struct Nothing;

impl Read for Nothing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tls::testing::{asking, identity};
    use rustls::{
        ClientConfig, ClientConnection, Error, NamedGroup,
        crypto::{
            ActiveKeyExchange, SharedSecret, SupportedKxGroup,
            aws_lc_rs::{default_provider, kx_group::SECP256R1},
        },
        pki_types::ServerName,
    };
    use std::sync::Arc;

    /// A group that only this client knows: it is asked for another one.
    #[derive(Debug)]
    struct Unknown;

    impl SupportedKxGroup for Unknown {
        fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
            SECP256R1.start().map(|key| Box::new(Key(key)) as Box<_>)
        }

        fn name(&self) -> NamedGroup {
            NamedGroup::secp521r1
        }
    }

    struct Key(Box<dyn ActiveKeyExchange>);

    impl ActiveKeyExchange for Key {
        fn complete(self: Box<Self>, theirs: &[u8]) -> Result<SharedSecret, Error> {
            self.0.complete(theirs)
        }

        fn pub_key(&self) -> &[u8] {
            self.0.pub_key()
        }

        fn group(&self) -> NamedGroup {
            NamedGroup::secp521r1
        }
    }

    fn client(groups: &[&'static dyn SupportedKxGroup]) -> Connection {
        let mut provider = default_provider();
        provider.kx_groups = groups.to_vec();
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(crate::tls::unverified())
            .with_no_client_auth();
        let name = ServerName::try_from("mx.example.net").unwrap();
        ClientConnection::new(Arc::new(config), name)
            .unwrap()
            .into()
    }

    fn server(acceptor: &Acceptor) -> Tls {
        Tls::new(acceptor.begin().unwrap(), Some(acceptor.clone()))
    }

    /// What it has to say.
    fn flight(connection: &mut Connection) -> Vec<u8> {
        let mut out = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut out).unwrap();
        }
        out
    }

    fn hear(connection: &mut Connection, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            connection.read_tls(&mut bytes).unwrap();
            connection.process_new_packets().unwrap();
        }
    }

    #[test]
    fn the_end_of_a_second_hello_is_dear_and_a_finished_is_not() {
        let acceptor = Acceptor::new(&identity(&["mx.example.net"])).unwrap();
        let (mut client, mut server) = (client(&[&Unknown, SECP256R1]), server(&acceptor));
        let hello = flight(&mut client);
        assert!(server.is_dear(&hello));
        server.greet(&hello).unwrap();
        hear(&mut client, &flight(&mut server.connection));
        let again = flight(&mut client);
        let (first, rest) = again.split_at(again.len() - 100);
        server.greet(first).unwrap();
        assert!(!server.connection.wants_write(), "nothing is computed yet");
        assert!(server.is_dear(rest), "its keys and its signature");
        server.greet(rest).unwrap();
        hear(&mut client, &flight(&mut server.connection));
        let finished = flight(&mut client);
        assert!(!server.is_dear(&finished));
        assert_eq!(server.facts, TlsFacts::default());
        server.greet(&finished).unwrap();
        assert_eq!(server.facts.version, "TLSv1.3");
    }

    #[test]
    fn what_may_end_a_certificate_is_dear() {
        let acceptor = asking(&["mx.example.net"]);
        let (mut client, mut server) = (client(&[SECP256R1]), server(&acceptor));
        server.greet(&flight(&mut client)).unwrap();
        hear(&mut client, &flight(&mut server.connection));
        let last = flight(&mut client);
        assert!(last.len() <= FINISHED_MAX, "without a certificate");
        assert!(server.is_dear(&last));
        server.greet(&last).unwrap();
        assert!(server.facts.peer_names.is_empty());
    }

    #[test]
    fn records_are_counted_one_by_one() {
        let mut records = Records::default();
        let bytes = [23, 3, 3, 0, 2, 7, 7, 23, 3, 3, 0, 0, 23, 3];
        assert_eq!(records.pass(&bytes), (7, true));
        assert_eq!(records.pass(&bytes[7..]), (5, true));
        assert_eq!(records.pass(&bytes[12..]), (2, false));
        assert!(!records.is_between());
        assert_eq!(records.pass(&[3, 0, 1]), (3, false));
        assert_eq!(records.pass(&[9]), (1, true));
        assert!(records.is_between());
        assert_eq!(records.pass(&[]), (0, false));
    }

    #[test]
    fn plaintext_pays_for_records_without() {
        let mut empty = Empty::default();
        for _ in 0..EMPTY_MAX {
            empty.note().unwrap();
        }
        empty.allow(EMPTY_EACH - 1);
        assert!(empty.note().is_err());
        empty.allow(1);
        assert!(empty.check().is_ok());
        empty.allow(usize::MAX);
        assert_eq!((empty.owed, empty.fresh), (0, EMPTY_MAX + 1));
    }
}
