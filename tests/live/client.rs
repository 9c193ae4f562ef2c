//! A client that sends just what it is told.

use crate::harness::PATIENCE;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

/// One SMTP connection.
pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    /// Connects and reads the greeting, which is returned with it.
    pub fn greeted(address: SocketAddr) -> (Client, String) {
        let mut client = Client::silent(address);
        let greeting = client.reply();
        (client, greeting)
    }

    /// Connects, expects 220, says EHLO.
    pub fn hello(address: SocketAddr) -> Client {
        let (mut client, greeting) = Client::greeted(address);
        assert!(greeting.starts_with("220 "), "{greeting}");
        client.expect("EHLO client.example", "250");
        client
    }

    /// Connects from an address of this machine's, expects 220, says EHLO.
    pub fn hello_from(source: IpAddr, address: SocketAddr) -> Client {
        let mut client = Client::silent_from(source, address);
        let greeting = client.reply();
        assert!(greeting.starts_with("220 "), "{greeting}");
        client.expect("EHLO client.example", "250");
        client
    }

    /// Connects from an address of this machine's and reads nothing.
    pub fn silent_from(source: IpAddr, address: SocketAddr) -> Client {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::STREAM,
            None,
        );
        let socket = socket.expect("a socket");
        socket
            .bind(&SocketAddr::new(source, 0).into())
            .expect("it is ours");
        socket.connect(&address.into()).expect("connects");
        Client::on(socket.into())
    }

    /// Connects and reads nothing.
    pub fn silent(address: SocketAddr) -> Client {
        Client::on(TcpStream::connect(address).expect("connects"))
    }

    fn on(stream: TcpStream) -> Client {
        stream.set_nodelay(true).expect("set");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.set_write_timeout(Some(PATIENCE)).expect("set");
        Client {
            reader: BufReader::new(stream),
        }
    }

    /// What is below, for TLS. Nothing may wait to be read.
    pub fn into_stream(self) -> TcpStream {
        assert!(self.reader.buffer().is_empty());
        self.reader.into_inner()
    }

    /// Sends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).expect("sent");
    }

    /// Sends bytes; whether they could be sent.
    pub fn try_raw(&mut self, bytes: &[u8]) -> bool {
        self.reader.get_mut().write_all(bytes).is_ok()
    }

    /// Our end of the connection.
    pub fn address(&self) -> SocketAddr {
        self.reader.get_ref().local_addr().expect("connected")
    }

    /// One reply, all its lines; empty where the connection ended.
    pub fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = Vec::new();
            if self.reader.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
                return reply;
            }
            reply.push_str(&String::from_utf8_lossy(&line));
            if line.get(3) != Some(&b'-') {
                return reply;
            }
        }
    }

    /// Sends a command, returns its reply.
    pub fn command(&mut self, command: &str) -> String {
        self.raw(format!("{command}\r\n").as_bytes());
        self.reply()
    }

    /// Sends a command whose reply must start with `code`.
    #[track_caller]
    pub fn expect(&mut self, command: &str, code: &str) -> String {
        let reply = self.command(command);
        assert!(
            reply.starts_with(code),
            "{command}: {reply:?} instead of {code}"
        );
        reply
    }

    /// A connection with a transaction on it that waits for its body.
    pub fn in_data(address: SocketAddr) -> Client {
        let mut client = Client::hello(address);
        client.raw(b"MAIL FROM:<a@sender.example>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n");
        for code in ["250", "250", "354"] {
            let reply = client.reply();
            assert!(reply.starts_with(code), "{reply:?} instead of {code}");
        }
        client
    }

    /// A whole transaction; `body` is stuffed already and gets its final dot here. The final reply.
    #[track_caller]
    pub fn send(&mut self, from: &str, to: &[&str], body: &str) -> String {
        self.expect(&format!("MAIL FROM:<{from}>"), "250");
        for recipient in to {
            self.expect(&format!("RCPT TO:<{recipient}>"), "250");
        }
        self.expect("DATA", "354");
        self.raw(body.as_bytes());
        self.raw(b".\r\n");
        self.reply()
    }

    /// Whether a reply, or the end, comes within `wait`. It's left to be read.
    pub fn hears(&mut self, wait: Duration) -> bool {
        let stream = self.reader.get_ref();
        stream.set_read_timeout(Some(wait)).expect("set");
        let heard = self.reader.fill_buf().is_ok();
        let stream = self.reader.get_ref();
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        heard
    }

    /// Resets the connection.
    pub fn reset(self) {
        let _ = socket2::SockRef::from(self.reader.get_ref()).set_linger(Some(Duration::ZERO));
    }

    /// Says that nothing more comes.
    pub fn half_close(&mut self) {
        self.reader
            .get_ref()
            .shutdown(Shutdown::Write)
            .expect("open");
    }

    /// Everything until the other side closes.
    pub fn rest(&mut self) -> String {
        let mut all = Vec::new();
        let _ = self.reader.read_to_end(&mut all);
        String::from_utf8_lossy(&all).into_owned()
    }
}
