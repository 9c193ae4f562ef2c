//! A client by hand, messages with stamps, and a few lines of HTTP.

use gatepost_load::{
    sink::{Behaviour, Changes, Handle, Options},
    stamp::{RunId, Stamp, sum},
};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A sink on free ports, with a control port.
pub fn sink(changes: &str) -> Handle {
    sink_with(changes, |_| {})
}

/// The same, with other options changed.
pub fn sink_with(changes: &str, change: impl FnOnce(&mut Options)) -> Handle {
    let changes: Changes = serde_json::from_str(changes).unwrap();
    let mut options = Options {
        control: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        behaviour: Behaviour::of(changes),
        ..Options::default()
    };
    change(&mut options);
    gatepost_load::sink::start(options).unwrap()
}

/// Waits until it is so.
pub fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A message with a stamp.
pub fn message(run: u64, number: u32, rest: &str) -> Vec<u8> {
    let stamp = Stamp {
        run: RunId(run),
        number,
        sum: sum(rest.as_bytes()),
        octets: rest.len() as u64,
    };
    let mut octets = Vec::new();
    stamp.write(&mut octets);
    octets.extend_from_slice(rest.as_bytes());
    octets
}

/// A client.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects, and reads nothing.
    pub fn connect(sink: &Handle) -> Client {
        let stream = TcpStream::connect(sink.addresses()[0]).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client {
            stream: BufReader::new(stream),
        }
    }

    /// Connects and says EHLO.
    pub fn greeted(sink: &Handle) -> Client {
        let mut client = Client::connect(sink);
        client.expect("220");
        client.ask("EHLO client.example", "250");
        client
    }

    /// Sends octets.
    pub fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(octets.as_ref()).unwrap();
    }

    /// Sends octets to a sink that may hang up meanwhile.
    pub fn try_send(&mut self, octets: impl AsRef<[u8]>) {
        let _ = self.stream.get_mut().write_all(octets.as_ref());
    }

    /// The next reply, all its lines; `None` where there is none because the connection is over.
    pub fn reply(&mut self) -> Option<String> {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            match self.stream.read_line(&mut reply) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("no reply in time")
                }
                Err(_) => return None,
            }
            if reply.as_bytes().get(start + 3) != Some(&b'-') {
                return Some(reply);
            }
        }
    }

    /// The next reply begins so.
    pub fn expect(&mut self, start: &str) -> String {
        let reply = self.reply().unwrap_or_default();
        assert!(reply.starts_with(start), "{start} was due, not {reply:?}");
        reply
    }

    /// A command and the start of its reply.
    pub fn ask(&mut self, command: &str, start: &str) -> String {
        self.send(format!("{command}\r\n"));
        self.expect(start)
    }

    /// The connection is over.
    pub fn expect_end(&mut self) {
        assert_eq!(self.reply(), None);
    }

    /// MAIL and RCPT for so many recipients.
    pub fn envelope(&mut self, recipients: usize) {
        self.ask("MAIL FROM:<a@a.example>", "250");
        for number in 0..recipients {
            self.ask(&format!("RCPT TO:<r{number}@b.example>"), "250");
        }
    }

    /// A message by DATA, up to its final reply.
    pub fn data(&mut self, payload: &[u8], start: &str) {
        self.envelope(1);
        self.ask("DATA", "354");
        self.body(payload);
        self.expect(start);
    }

    /// A stuffed body with its dot.
    pub fn body(&mut self, payload: &[u8]) {
        let text = String::from_utf8(payload.to_vec()).unwrap();
        let stuffed = text.replace("\r\n.", "\r\n..");
        self.try_send(format!("{stuffed}.\r\n"));
    }
}

/// One request to a control port: status and body.
pub fn http(sink: &Handle, method: &str, path: &str, body: &str) -> (u16, String) {
    http_with(sink, method, path, "", body)
}

/// The same with a further header line.
pub fn http_with(
    sink: &Handle,
    method: &str,
    path: &str,
    header: &str,
    body: &str,
) -> (u16, String) {
    let mut stream = TcpStream::connect(sink.control().unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: sink\r\nConnection: close\r\nContent-Length: {length}\r\n{header}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_string())
}
