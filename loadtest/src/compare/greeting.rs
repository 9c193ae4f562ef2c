//! A port for a server that is started, and the wait until it greets.

use crate::tls::{self, Mode};
use std::{
    io,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread::sleep,
    time::{Duration, Instant},
};

/// How long a server may take until it greets.
const START: Duration = Duration::from_secs(30);

/// A loopback port that is free just now.
pub(super) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// A connection to a server that greets, over TLS where that is implicit.
pub(super) fn connect(address: SocketAddr, mode: Mode) -> io::Result<Box<dyn Conversation>> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(match mode {
        Mode::Implicit => Box::new(tls::plain_stream(stream)?),
        Mode::None | Mode::StartTls => Box::new(stream),
    })
}

/// Something that is read and written.
pub(super) trait Conversation: io::Read + io::Write {}

impl<T: io::Read + io::Write> Conversation for T {}

/// Waits until a server greets there.
pub(super) fn wait_for_greeting(
    address: SocketAddr,
    mode: Mode,
    mut alive: impl FnMut() -> io::Result<()>,
) -> io::Result<()> {
    let end = Instant::now() + START;
    while Instant::now() < end {
        alive()?;
        if let Ok(stream) = connect(address, mode) {
            let mut line = String::new();
            let mut stream = BufReader::new(stream);
            if stream.read_line(&mut line).is_ok() && line.starts_with("220") {
                let _ = stream.get_mut().write_all(b"QUIT\r\n");
                return Ok(());
            }
        }
        sleep(Duration::from_millis(50));
    }
    Err(io::Error::other(format!("nothing greets at {address}")))
}
