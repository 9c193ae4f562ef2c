//! A backend that misbehaves as told, and remembers what it was given.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// What to do at a command instead of the usual.
pub enum Act {
    /// The usual reply.
    Usual,
    /// These bytes, and the command has no other effect.
    Say(Vec<u8>),
    /// Close the connection.
    Close,
    /// Reset it.
    Reset,
    /// Never answer.
    Hang,
    /// The usual reply, after this long.
    Late(Duration),
    /// A yes to STARTTLS, these bytes as the answer to what comes then, and the end.
    Break(&'static [u8]),
}

impl Act {
    pub fn say(line: &str) -> Act {
        Act::Say(format!("{line}\r\n").into_bytes())
    }
}

/// One message that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub connection: usize,
    pub mail: String,
    pub rcpt: Vec<String>,
    pub body: Vec<u8>,
    pub bdat: bool,
}

impl Message {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    /// The body below the header field that the proxy added.
    pub fn payload(&self) -> String {
        let text = self.text();
        assert!(text.starts_with("Received: "), "{text}");
        let mut rest = text.as_str();
        loop {
            let (_, after) = rest.split_once("\r\n").expect("lines");
            if !after.starts_with('\t') {
                return after.to_string();
            }
            rest = after;
        }
    }
}

/// Asked at each step with the connection's number and the command: `CONNECT`, `EHLO x` …, `BODY` (the
/// message is complete).
pub type Script = dyn Fn(usize, &str) -> Act + Send + Sync;

/// The running backend.
pub struct Backend {
    pub address: SocketAddr,
    state: Arc<State>,
    listening: Mutex<Option<thread::JoinHandle<()>>>,
}

struct State {
    script: Box<Script>,
    ehlo: Mutex<Vec<&'static str>>,
    messages: Mutex<Vec<Message>>,
    commands: Mutex<Vec<(usize, String)>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    open_max: AtomicUsize,
    stop: AtomicBool,
    sockets: Mutex<HashMap<usize, TcpStream>>,
}

/// What the usual backend offers.
pub const EXTENSIONS: &[&str] = &[
    "PIPELINING",
    "SIZE 104857600",
    "8BITMIME",
    "SMTPUTF8",
    "DSN",
    "ENHANCEDSTATUSCODES",
];

impl Backend {
    /// A well-behaved backend.
    pub fn good(address: SocketAddr) -> Backend {
        Backend::start(address, EXTENSIONS, |_, _| Act::Usual)
    }

    /// A backend that offers `ehlo` and asks `script` at each step.
    pub fn start(
        address: SocketAddr,
        ehlo: &[&'static str],
        script: impl Fn(usize, &str) -> Act + Send + Sync + 'static,
    ) -> Backend {
        let listener = TcpListener::bind(address).expect("the address is free");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(State {
            script: Box::new(script),
            ehlo: Mutex::new(ehlo.to_vec()),
            messages: Mutex::default(),
            commands: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            open_max: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            sockets: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        let listening = thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                // Without it, Nagle and delayed ACKs hold replies back for 40 ms.
                let _ = stream.set_nodelay(true);
                let state = Arc::clone(&shared);
                // First, so that none is known that is not counted.
                state.open.fetch_add(1, Ordering::SeqCst);
                let number = state.connections.fetch_add(1, Ordering::SeqCst);
                let copy = stream.try_clone().expect("cloned");
                state.sockets.lock().expect("no panic").insert(number, copy);
                thread::spawn(move || {
                    let farewell = state.serve(number, stream.try_clone().expect("cloned"));
                    state.open.fetch_sub(1, Ordering::SeqCst);
                    let last = state.sockets.lock().expect("no panic").remove(&number);
                    // Said when it's no longer counted: a client that has read it may open another.
                    if let Ok(Some(reply)) = farewell {
                        let _ = (&stream).write_all(&reply);
                    }
                    // Both copies of the descriptor: only now does the other side see the end.
                    drop((stream, last));
                });
            }
        });
        Backend {
            address,
            state,
            listening: Mutex::new(Some(listening)),
        }
    }

    /// Looks at the accepted messages where they are.
    pub fn with_messages<T>(&self, look: impl FnOnce(&[Message]) -> T) -> T {
        look(&self.state.messages.lock().expect("no panic"))
    }

    /// Messages accepted so far.
    pub fn messages(&self) -> Vec<Message> {
        self.state.messages.lock().expect("no panic").clone()
    }
    /// Commands seen so far, each with its connection's number.
    pub fn commands(&self) -> Vec<(usize, String)> {
        self.state.commands.lock().expect("no panic").clone()
    }
    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }
    /// Connections open now.
    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }
    /// The most connections that the other side had open when it said EHLO.
    pub fn open_max(&self) -> usize {
        self.state.open_max.load(Ordering::SeqCst)
    }
    /// Says this on every open connection, unasked, and closes it.
    pub fn say_on_all(&self, bytes: &[u8]) {
        for socket in self.state.sockets.lock().expect("no panic").values_mut() {
            let _ = socket.write_all(bytes);
        }
        self.cut();
    }
    /// Closes every open connection, from this side, at once.
    pub fn cut(&self) {
        for (_, socket) in self.state.sockets.lock().expect("no panic").drain() {
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
    }
    /// Stops listening and cuts every connection, as a killed process does; what it was given can still be
    /// looked at. Another one may start on the address at once.
    pub fn stop(&self) {
        self.state.stop.store(true, Ordering::SeqCst);
        if let Some(listening) = self.listening.lock().expect("no panic").take() {
            let _ = TcpStream::connect(self.address);
            let _ = listening.join();
        }
        self.cut();
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop();
    }
}

impl State {
    /// Serves one connection; the reply to QUIT is left to be said.
    fn serve(&self, number: usize, stream: TcpStream) -> std::io::Result<Option<Vec<u8>>> {
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        let mut message = Message {
            connection: number,
            mail: String::new(),
            rcpt: vec![],
            body: vec![],
            bdat: false,
        };
        if !self
            .act(
                &mut writer,
                number,
                "CONNECT",
                b"220 backend.example ESMTP\r\n",
            )?
            .0
        {
            return Ok(None);
        }
        loop {
            let mut line = Vec::new();
            if reader.read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            let command = String::from_utf8_lossy(&line).trim_end().to_string();
            self.commands
                .lock()
                .expect("no panic")
                .push((number, command.clone()));
            let verb = command
                .split([' ', ':'])
                .next()
                .unwrap_or_default()
                .to_ascii_uppercase();
            let fresh = || Message {
                connection: number,
                mail: String::new(),
                rcpt: vec![],
                body: vec![],
                bdat: false,
            };
            if verb == "QUIT" && matches!((self.script)(number, &command), Act::Usual) {
                return Ok(Some(b"221 2.0.0 Bye\r\n".to_vec()));
            }
            let usual: Vec<u8> = match verb.as_str() {
                "EHLO" => {
                    self.count_open();
                    self.ehlo_reply()
                }
                "HELO" => b"250 backend.example\r\n".to_vec(),
                "MAIL" => b"250 2.1.0 Ok\r\n".to_vec(),
                "RCPT" => b"250 2.1.5 Ok\r\n".to_vec(),
                "DATA" if message.rcpt.is_empty() => b"554 5.5.1 no valid recipients\r\n".to_vec(),
                "DATA" => b"354 go\r\n".to_vec(),
                "BDAT" => b"250 2.0.0 chunk\r\n".to_vec(),
                _ => b"250 2.0.0 Ok\r\n".to_vec(),
            };
            if verb == "BDAT" {
                message.bdat = true;
                let size: u64 = command
                    .split(' ')
                    .nth(1)
                    .and_then(|n| n.parse().ok())
                    .expect("BDAT n");
                (&mut reader).take(size).read_to_end(&mut message.body)?;
                if command.ends_with("LAST") {
                    if !self.finish(
                        &mut writer,
                        number,
                        std::mem::replace(&mut message, fresh()),
                    )? {
                        return Ok(None);
                    }
                    continue;
                }
            }
            let (on, done) = self.act(&mut writer, number, &command, &usual)?;
            if !on {
                return Ok(None);
            }
            match verb.as_str() {
                "MAIL" if done => message.mail = command,
                "RCPT" if done => message.rcpt.push(command),
                "RSET" | "EHLO" => message = fresh(),
                // A refused chunk ends the transaction (RFC 3030 §4.2).
                "BDAT" if !done => message = fresh(),
                "DATA" if done && !message.rcpt.is_empty() => {
                    let whole = read_data(&mut reader, &mut message.body)?;
                    let message = std::mem::replace(&mut message, fresh());
                    let on = whole && self.finish(&mut writer, number, message)?;
                    if !on {
                        return Ok(None);
                    }
                }
                _ => {}
            }
        }
    }

    /// A thread may not have seen yet that the other side has closed its connection: the kernel has.
    fn count_open(&self) {
        let sockets = self.sockets.lock().expect("no panic");
        let open = sockets.values().filter(|socket| !has_ended(socket)).count();
        self.open_max.fetch_max(open, Ordering::SeqCst);
    }

    fn ehlo_reply(&self) -> Vec<u8> {
        let mut text = String::from("250-backend.example\r\n");
        for line in self.ehlo.lock().expect("no panic").iter() {
            text.push_str(&format!("250-{line}\r\n"));
        }
        text.push_str("250 HELP\r\n");
        text.into_bytes()
    }

    /// The message is complete: asks the script, keeps it when the usual happens. Whether to go on.
    fn finish(
        &self,
        writer: &mut TcpStream,
        number: usize,
        message: Message,
    ) -> std::io::Result<bool> {
        if message.rcpt.is_empty() {
            writer.write_all(b"503 5.5.1 no recipients\r\n")?;
            return Ok(true);
        }
        let act = (self.script)(number, "BODY");
        if let Act::Late(wait) = act {
            thread::sleep(wait);
        }
        if matches!(act, Act::Usual | Act::Late(_)) {
            // Kept before the reply is written: a client that has read 250 must find it here.
            self.messages.lock().expect("no panic").push(message);
            writer.write_all(b"250 2.0.0 Ok: queued as 4711\r\n")?;
            return Ok(true);
        }
        Ok(self.perform(writer, act, b"")?.0)
    }

    fn act(
        &self,
        writer: &mut TcpStream,
        number: usize,
        command: &str,
        usual: &[u8],
    ) -> std::io::Result<(bool, bool)> {
        let act = (self.script)(number, command);
        self.perform(writer, act, usual)
    }

    /// Whether the connection goes on, and whether the usual happened.
    fn perform(
        &self,
        writer: &mut TcpStream,
        act: Act,
        usual: &[u8],
    ) -> std::io::Result<(bool, bool)> {
        match act {
            Act::Usual => writer.write_all(usual)?,
            Act::Late(wait) => {
                thread::sleep(wait);
                writer.write_all(usual)?;
            }
            Act::Say(bytes) => {
                writer.write_all(&bytes)?;
                return Ok((true, bytes.starts_with(b"2") || bytes.starts_with(b"3")));
            }
            Act::Close => return Ok((false, false)),
            Act::Break(answer) => {
                writer.write_all(b"220 2.0.0 go ahead\r\n")?;
                // All of a client's hello, so that the end isn't a reset.
                let hello = writer.try_clone()?.read(&mut [0; 16_384])?;
                if hello > 0 {
                    writer.write_all(answer)?;
                }
                return Ok((false, false));
            }
            Act::Reset => {
                let _ = socket2::SockRef::from(&*writer).set_linger(Some(Duration::ZERO));
                return Ok((false, false));
            }
            Act::Hang => {
                let mut sink = [0; 4096];
                let mut reader = writer.try_clone()?;
                while reader.read(&mut sink)? > 0 {}
                return Ok((false, false));
            }
        }
        Ok((true, true))
    }
}

/// Whether the other side has ended its part of the connection, read or not what it sent before.
fn has_ended(stream: &TcpStream) -> bool {
    let mut polled = [PollFd::new(stream, PollFlags::RDHUP)];
    poll(&mut polled, Some(&Timespec::default())).expect("it is open");
    !polled[0].revents().is_empty()
}

/// Reads and unstuffs a DATA body; `false` where the client went before the dot.
fn read_data(reader: &mut impl BufRead, body: &mut Vec<u8>) -> std::io::Result<bool> {
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(false);
        }
        if line == b".\r\n" {
            return Ok(true);
        }
        body.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
