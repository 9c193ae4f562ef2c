//! A backend that does as it's told: std threads, no code of ours but the wire.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

/// What a peer does with a connection. Read when it's accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// As a mail server should.
    #[default]
    Good,
    /// Greets with 421 and closes.
    Unavailable,
    /// Says something that is no SMTP.
    Garbage,
    /// Takes the connection and says nothing.
    Silent,
    /// Takes the connection and closes it.
    Closing,
    /// Answers MAIL twice.
    Doubles,
    /// Closes the connection when MAIL comes the second time.
    Stale,
    /// Says 421 to MAIL.
    Refusing,
    /// Says 421 to RCPT of a path that begins with `odd`.
    Odd,
    /// Answers no RCPT but that of its postmaster.
    HangsAtRecipient,
    /// Answers everything but the end of data.
    HangsAtEnd,
    /// Closes in answer to the end of data.
    ClosesAtEnd,
    /// Says 451 to the end of data.
    Defers,
    /// Says 554 to MAIL FROM:<>.
    NoNull,
    /// Takes one recipient a message, and says 452 to the others.
    OneRecipient,
    /// Answers QUIT once the other side has ended its part of the connection, as Exim does.
    WaitsForEnd,
    /// Closes after the refusal of a recipient.
    ClosesAfterRefusal,
}

#[derive(Default)]
struct Gate {
    held: Mutex<bool>,
    opened: Condvar,
}

/// What it has seen.
#[derive(Default)]
pub struct Seen {
    pub connections: AtomicUsize,
    pub open: AtomicUsize,
    /// The most that the other side had open when it said EHLO.
    pub open_max: AtomicUsize,
    pub messages: AtomicUsize,
    pub quits: AtomicUsize,
    pub resets: AtomicUsize,
    /// The path of each RCPT.
    pub recipients: Mutex<Vec<String>>,
}

struct Shared {
    mode: Mutex<Mode>,
    offers: Mutex<Vec<&'static str>>,
    seen: Seen,
    gate: Gate,
    sockets: Mutex<HashMap<usize, TcpStream>>,
    stopped: AtomicBool,
}

/// A backend on a loopback port. Dropping it closes the port and all connections.
pub struct Peer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    listening: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Peer {
    pub fn new() -> Peer {
        Peer::with(Mode::Good)
    }

    pub fn with(mode: Mode) -> Peer {
        let mut peer = Peer {
            address: "127.0.0.1:0".parse().unwrap(),
            shared: Arc::new(Shared {
                mode: Mutex::new(mode),
                offers: Mutex::new(vec!["PIPELINING", "SIZE 1000000", "8BITMIME"]),
                seen: Seen::default(),
                gate: Gate::default(),
                sockets: Mutex::default(),
                stopped: AtomicBool::new(true),
            }),
            listening: Mutex::default(),
        };
        peer.address = peer.listen(peer.address);
        peer
    }

    fn listen(&self, address: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        self.shared.stopped.store(false, SeqCst);
        let shared = Arc::clone(&self.shared);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopped.load(SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.serve(stream.unwrap()));
            }
        });
        *self.listening.lock().unwrap() = Some(thread);
        address
    }

    /// The port answers no more, and all connections are closed.
    pub fn stop(&self) {
        if let Some(thread) = self.listening.lock().unwrap().take() {
            self.shared.stopped.store(true, SeqCst);
            drop(TcpStream::connect(self.address));
            thread.join().unwrap();
        }
        self.cut();
    }

    /// The port answers again.
    pub fn start(&self) {
        self.listen(self.address);
    }

    /// Closes all connections.
    pub fn cut(&self) {
        for socket in self.shared.sockets.lock().unwrap().values() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Says something on all connections.
    pub fn say(&self, text: &str) {
        for mut socket in self.shared.sockets.lock().unwrap().values() {
            // One that we have just closed may still be in the list.
            let _ = socket.write_all(text.as_bytes());
        }
    }

    /// What it does with the next connections.
    pub fn set(&self, mode: Mode) {
        *self.shared.mode.lock().unwrap() = mode;
    }

    /// What its next EHLO replies say.
    pub fn offer(&self, offers: &[&'static str]) {
        *self.shared.offers.lock().unwrap() = offers.to_vec();
    }

    /// Holds the replies to the end of data back, or lets them go.
    pub fn hold(&self, held: bool) {
        *self.shared.gate.held.lock().unwrap() = held;
        self.shared.gate.opened.notify_all();
    }

    pub fn seen(&self) -> &Seen {
        &self.shared.seen
    }

    pub fn connections(&self) -> usize {
        self.seen().connections.load(SeqCst)
    }

    pub fn messages(&self) -> usize {
        self.seen().messages.load(SeqCst)
    }

    pub fn open(&self) -> usize {
        self.seen().open.load(SeqCst)
    }

    pub fn quits(&self) -> usize {
        self.seen().quits.load(SeqCst)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.hold(false);
        self.stop();
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        // What it says unasked must not wait for the ACK of what it said before.
        stream.set_nodelay(true).unwrap();
        let seen = &self.seen;
        let number = seen.connections.fetch_add(1, SeqCst);
        seen.open.fetch_add(1, SeqCst);
        let kept = stream.try_clone().unwrap();
        self.sockets.lock().unwrap().insert(number, kept);
        let mode = *self.mode.lock().unwrap();
        // The other side may go at any moment.
        let _ = self.talk(stream, mode);
        self.sockets.lock().unwrap().remove(&number);
        seen.open.fetch_sub(1, SeqCst);
    }

    /// A client that has begun is counted among those that are open.
    fn count_open(&self, verb: &str) {
        if verb != "EHLO" {
            return;
        }
        // A thread may not yet have seen that the other side has closed its connection: the kernel has.
        let sockets = self.sockets.lock().unwrap();
        let open = sockets.values().filter(|kept| !has_ended(kept)).count();
        self.seen.open_max.fetch_max(open, SeqCst);
    }

    fn talk(&self, mut out: TcpStream, mode: Mode) -> io::Result<()> {
        let mut input = BufReader::new(out.try_clone()?);
        let mut line = String::new();
        if !greet(&mut out, mode)? {
            return Ok(());
        }
        let (mut mails, mut taken) = (0, 0);
        let mut sender = String::new();
        loop {
            line.clear();
            if input.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let verb = line.get(..4).unwrap_or("").to_ascii_uppercase();
            if matches!(mode, Mode::Silent | Mode::Garbage) {
                continue;
            }
            self.count_open(&verb);
            if verb == "MAIL" {
                (sender, taken, mails) = (path(&line), 0, mails + 1);
                match mode {
                    Mode::Stale if mails == 2 => return out.shutdown(Shutdown::Both),
                    Mode::Doubles => out.write_all(b"250 2.1.0 fine\r\n")?,
                    Mode::Refusing => return out.write_all(b"421 4.3.2 full\r\n"),
                    Mode::NoNull if sender.is_empty() => {
                        out.write_all(b"554 5.7.1 no bounces here\r\n")?;
                        continue;
                    }
                    _ => {}
                }
            }
            if verb == "DATA" {
                out.write_all(b"354 go\r\n")?;
                if !skip_body(&mut input)? {
                    return Ok(());
                }
                match mode {
                    Mode::HangsAtEnd => continue,
                    Mode::ClosesAtEnd => return out.shutdown(Shutdown::Both),
                    Mode::Defers => {
                        out.write_all(b"451 4.3.0 queue file write error\r\n")?;
                        continue;
                    }
                    _ => self.pass_gate(),
                }
                self.seen.messages.fetch_add(1, SeqCst);
            }
            match (&*verb, mode) {
                ("QUIT", Mode::WaitsForEnd) => wait_for_end(&mut input, &mut out)?,
                ("RCPT", Mode::Odd) if is_odd(&line) => return out.write_all(GONE),
                ("RCPT", Mode::HangsAtRecipient) if is_user(&line) => return hang(&mut input),
                ("RCPT", Mode::OneRecipient) if taken > 0 => {
                    out.write_all(b"452 4.5.3 one at a time\r\n")?;
                    continue;
                }
                ("RCPT", _) => taken += 1,
                _ => {}
            }
            let reply = self.reply(&verb, &line, &sender);
            out.write_all(reply.as_bytes())?;
            if mode == Mode::ClosesAfterRefusal && reply.starts_with("550") {
                return out.shutdown(Shutdown::Both);
            }
            if verb == "QUIT" {
                self.seen.quits.fetch_add(1, SeqCst);
                return Ok(());
            }
        }
    }

    fn reply(&self, verb: &str, line: &str, sender: &str) -> String {
        match verb {
            "EHLO" | "LHLO" => {
                let offers = self.offers.lock().unwrap();
                let lines: String = offers.iter().map(|o| format!("250-{o}\r\n")).collect();
                format!("250-peer.example\r\n{lines}250 ENHANCEDSTATUSCODES\r\n")
            }
            "RCPT" => {
                let path = path(line);
                self.seen.recipients.lock().unwrap().push(path.clone());
                match path {
                    path if path.starts_with("bad") => "550 5.1.1 no such user\r\n".into(),
                    path if path.starts_with("later") => "450 4.2.1 not now\r\n".into(),
                    // As Exim does, for whatever reason.
                    path if path.starts_with("bare") => "550 Unrouteable address\r\n".into(),
                    path if path.starts_with("members") && sender != "amy@a.example" => {
                        "550 5.7.1 members only\r\n".into()
                    }
                    _ => "250 2.1.5 fine\r\n".into(),
                }
            }
            "QUIT" => "221 2.0.0 bye\r\n".into(),
            "RSET" => {
                self.seen.resets.fetch_add(1, SeqCst);
                "250 2.0.0 clean\r\n".into()
            }
            _ => "250 2.0.0 fine\r\n".into(),
        }
    }

    fn pass_gate(&self) {
        let mut held = self.gate.held.lock().unwrap();
        while *held {
            held = self.gate.opened.wait(held).unwrap();
        }
    }
}

/// Whether the other side has ended its part of the connection, read or not what it sent before.
fn has_ended(stream: &TcpStream) -> bool {
    let mut polled = [PollFd::new(stream, PollFlags::RDHUP)];
    poll(&mut polled, Some(&Timespec::default())).unwrap();
    !polled[0].revents().is_empty()
}

/// False where that was all.
const GONE: &[u8] = b"421 4.3.0 the filter has gone\r\n";

fn is_odd(line: &str) -> bool {
    path(line).starts_with("odd")
}

fn is_user(line: &str) -> bool {
    path(line) != "postmaster"
}

fn hang(input: &mut impl BufRead) -> io::Result<()> {
    io::copy(input, &mut io::sink()).map(|_| ())
}

fn greet(out: &mut TcpStream, mode: Mode) -> io::Result<bool> {
    match mode {
        Mode::Unavailable => out.write_all(b"421 4.3.2 full\r\n")?,
        Mode::Garbage => out.write_all(b"SSH-2.0-OpenSSH_9.2p1\r\n")?,
        Mode::Closing | Mode::Silent => {}
        _ => out.write_all(b"220 peer.example ESMTP\r\n")?,
    }
    Ok(!matches!(mode, Mode::Unavailable | Mode::Closing))
}

/// Reads up to the end of data; false where the other side has gone.
fn skip_body(input: &mut impl BufRead) -> io::Result<bool> {
    let mut line = String::new();
    while line != ".\r\n" {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Waits until the other side has ended its part, and says the first line of a farewell. Where it no longer listens, that
/// line gets a reset as its answer, and the next line fails.
fn wait_for_end(input: &mut impl BufRead, out: &mut TcpStream) -> io::Result<()> {
    while input.read_line(&mut String::new())? > 0 {}
    out.write_all(b"221-2.0.0 bye\r\n")?;
    thread::sleep(Duration::from_millis(20));
    Ok(())
}

/// The path of MAIL or RCPT.
fn path(line: &str) -> String {
    line.split(['<', '>']).nth(1).unwrap_or("").to_string()
}
