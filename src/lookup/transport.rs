//! The way to the servers, below the library: an answer over TCP that is too large is not decoded.
//!
//! A stranger chooses the names that are asked for, and so the answers. Over UDP they are small (EDNS); over TCP one may have
//! 64 KiB, whose names the library writes out in full: 5 to 20 ms of work. No check needs such an answer: what SPF, DKIM, DMARC,
//! MX, PTR and lists have fits many times into [`MESSAGE_MAX`] and [`RECORDS_MAX`].
//!
//! What is too large is read and dropped, and the library gets a message without records in its place, with the code
//! [`TOO_LARGE`]: other questions on the same connection go on.

use hickory_resolver::{
    net::runtime::{
        RuntimeProvider, TokioHandle, TokioRuntimeProvider, TokioTime, iocompat::AsyncIoTokioAsStd,
    },
    proto::op::ResponseCode,
};
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UdpSocket},
};

/// Octets of a message that is decoded.
pub(super) const MESSAGE_MAX: u16 = 16 * 1024;
/// Records of a message that is decoded, all sections together: each may have two names of 255 octets in 16 octets of the
/// message.
pub(super) const RECORDS_MAX: u32 = 256;
/// Stands for an answer that was too large. It is one of dynamic updates (RFC 2136), which no server says to a question.
pub(super) const TOO_LARGE: ResponseCode = ResponseCode::NotZone;

/// The length before a message over TCP (RFC 1035 §4.2.2).
const LENGTH: usize = 2;
/// A message's header (RFC 1035 §4.1.1).
const HEADER: usize = 12;

/// The library's own way, with [`Bounded`] streams.
#[derive(Clone, Default)]
pub(super) struct Transport(TokioRuntimeProvider);

type Connecting<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

impl RuntimeProvider for Transport {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = UdpSocket;
    type Tcp = AsyncIoTokioAsStd<Bounded<TcpStream>>;

    fn create_handle(&self) -> TokioHandle {
        self.0.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        from: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> Connecting<Self::Tcp> {
        let connected = self.0.connect_tcp(server, from, timeout);
        Box::pin(async move { Ok(AsyncIoTokioAsStd(Bounded::new(connected.await?.0))) })
    }

    fn bind_udp(&self, from: SocketAddr, server: SocketAddr) -> Connecting<UdpSocket> {
        self.0.bind_udp(from, server)
    }
}

/// A stream of messages, of which those that are too large come without their records.
pub(super) struct Bounded<S> {
    stream: S,
    /// The length and the header of the message that is being read.
    head: [u8; LENGTH + HEADER],
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    /// So many octets of `head` are there.
    Head(usize),
    /// Those of `head` between these places are to be given out, then so many from the stream.
    Give { from: usize, to: usize, rest: usize },
    /// So many octets of the stream are to be dropped.
    Drop(usize),
}

impl<S> Bounded<S> {
    fn new(stream: S) -> Bounded<S> {
        Bounded {
            stream,
            head: [0; LENGTH + HEADER],
            state: State::Head(0),
        }
    }

    /// Octets of the message that `head` begins.
    fn length(&self) -> usize {
        u16::from_be_bytes([self.head[0], self.head[1]]).into()
    }

    /// What becomes of the message whose head is there.
    fn begun(&self) -> State {
        let header = &self.head[LENGTH..];
        let count = |at: usize| u32::from(u16::from_be_bytes([header[at], header[at + 1]]));
        let records: u32 = [6, 8, 10].into_iter().map(count).sum();
        let rest = self.length() - HEADER;
        match self.length() > MESSAGE_MAX.into() || records > RECORDS_MAX {
            true => State::Drop(rest),
            false => State::Give {
                from: 0,
                to: self.head.len(),
                rest,
            },
        }
    }

    /// Makes a message without a body of `head`: its ID, and the code.
    fn replace(&mut self) {
        self.head[..LENGTH].copy_from_slice(&(HEADER as u16).to_be_bytes());
        let flags = &mut self.head[LENGTH + 2..];
        flags.fill(0);
        // QR; RA and the code.
        flags[0] = 0x80;
        flags[1] = 0x80 | TOO_LARGE.low();
    }
}

impl<S: AsyncRead + Unpin> Bounded<S> {
    /// Reads on in `head`, of which so many octets are there. False: the stream ended before a message.
    fn poll_begin(&mut self, cx: &mut Context<'_>, have: usize) -> Poll<io::Result<bool>> {
        let is_short = have >= LENGTH && self.length() < HEADER;
        let whole = match () {
            () if have < LENGTH => LENGTH,
            () if is_short => LENGTH + self.length(),
            () => self.head.len(),
        };
        let given = |to| State::Give {
            from: 0,
            to,
            rest: 0,
        };
        if have == whole {
            self.state = match is_short {
                true => given(whole),
                false => self.begun(),
            };
            return Poll::Ready(Ok(true));
        }
        let mut room = ReadBuf::new(&mut self.head[have..whole]);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room))?;
        let got = room.filled().len();
        self.state = match got {
            // In the middle of a message: what is there shows the library that it is broken.
            0 if have > 0 => given(have),
            got => State::Head(have + got),
        };
        Poll::Ready(Ok(have + got > 0))
    }

    /// Reads the body of a message into `room`, which has so many octets of it left.
    fn poll_rest(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
        rest: usize,
    ) -> Poll<io::Result<()>> {
        let most = rest.min(room.remaining());
        let mut part = ReadBuf::new(room.initialize_unfilled_to(most));
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut part))?;
        let got = part.filled().len();
        room.advance(got);
        self.state = match rest - got {
            0 => State::Head(0),
            rest => State::Give {
                from: 0,
                to: 0,
                rest,
            },
        };
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if room.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            match self.state {
                State::Head(have) => {
                    if !ready!(self.poll_begin(cx, have))? {
                        return Poll::Ready(Ok(()));
                    }
                }
                State::Give { from, to, rest } if from < to => {
                    let given = (to - from).min(room.remaining());
                    room.put_slice(&self.head[from..from + given]);
                    self.state = match from + given == to && rest == 0 {
                        true => State::Head(0),
                        false => State::Give {
                            from: from + given,
                            to,
                            rest,
                        },
                    };
                    return Poll::Ready(Ok(()));
                }
                State::Give { rest, .. } => return self.poll_rest(cx, room, rest),
                State::Drop(0) => {
                    self.replace();
                    self.state = State::Give {
                        from: 0,
                        to: self.head.len(),
                        rest: 0,
                    };
                }
                State::Drop(rest) => {
                    let mut scratch = [0; 4096];
                    let mut dropped = ReadBuf::new(&mut scratch[..rest.min(4096)]);
                    ready!(Pin::new(&mut self.stream).poll_read(cx, &mut dropped))?;
                    match dropped.filled().len() {
                        0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                        got => self.state = State::Drop(rest - got),
                    }
                }
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    /// A message with its length before it.
    fn message(id: u8, length: usize, records: u16) -> Vec<u8> {
        let mut out = Vec::from(u16::try_from(length).expect("small").to_be_bytes());
        let count = records.to_be_bytes();
        let header = [0, id, 0x81, 0x80, 0, 1, count[0], count[1], 0, 0, 0, 0];
        out.extend(header.into_iter().cycle().take(length));
        out
    }

    /// What stands for it where it is too large.
    fn replaced(id: u8) -> Vec<u8> {
        vec![0, 12, 0, id, 0x80, 0x8a, 0, 0, 0, 0, 0, 0, 0, 0]
    }

    /// Gives a piece at each read.
    struct Pieces(Vec<Vec<u8>>);

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            room: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if let Some(piece) = self.0.first_mut() {
                let given = piece.len().min(room.remaining());
                room.put_slice(&piece[..given]);
                piece.drain(..given);
                if piece.is_empty() {
                    self.0.remove(0);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    fn read(octets: &[u8], piece: usize) -> Vec<u8> {
        let pieces = octets.chunks(piece).map(Vec::from).collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let mut out = Vec::new();
        let mut bounded = Bounded::new(Pieces(pieces));
        let got = runtime.block_on(bounded.read_to_end(&mut out));
        got.expect("no error");
        out
    }

    #[test]
    fn what_is_too_large_comes_without_its_records_and_the_rest_as_it_is() {
        let largest = usize::from(MESSAGE_MAX);
        let most = u16::try_from(RECORDS_MAX).expect("small");
        let sent = [
            message(1, 40, 2),
            message(2, largest, most),
            message(3, largest + 1, 1),
            message(4, 40, most + 1),
            message(5, 3, 0),
            message(6, 65_535, u16::MAX),
            message(7, 12, 0),
        ];
        let expected = [
            sent[0].clone(),
            sent[1].clone(),
            replaced(3),
            replaced(4),
            sent[4].clone(),
            replaced(6),
            sent[6].clone(),
        ];
        for piece in [1, 2, 5, 13, 1000, 1 << 20] {
            assert!(read(&sent.concat(), piece) == expected.concat(), "{piece}");
        }
    }

    #[test]
    fn the_end_in_the_middle_of_a_message_is_shown() {
        let sent = message(1, 40, 2);
        for end in [1, 5, 20] {
            assert_eq!(read(&sent[..end], 3), sent[..end], "{end}");
        }
    }
}
