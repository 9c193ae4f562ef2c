//! A backend that follows a script: std threads, no code of ours but the wire.

use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

/// How long a `!wait` takes.
const WAIT: Duration = Duration::from_millis(30);

/// What it says. A command without an entry is answered as a mail server should; `!close` closes instead, and a text
/// that ends in `!close` closes afterwards. What follows `!wait` is said later.
#[derive(Clone, Default)]
pub struct Script {
    offers: Vec<&'static str>,
    /// By command; `GREETING`, and `END` for the end of data.
    on: HashMap<&'static str, Vec<&'static str>>,
    /// So many connections at once; more are greeted with 421.
    limit: Option<usize>,
    /// So long it counts a connection that has ended.
    lingers: Duration,
    /// So long it takes to greet a connection that it doesn't turn away.
    greets_after: Duration,
    /// It closes at the MAIL after so many messages.
    messages: Option<usize>,
    /// It reads a PROXY header, and does not greet where that has this in it.
    shuns: Option<&'static str>,
}

impl Script {
    pub fn offering(offers: &[&'static str]) -> Script {
        Script {
            offers: offers.to_vec(),
            ..Script::default()
        }
    }

    /// Takes so many connections at once.
    pub fn at_most(mut self, connections: usize) -> Script {
        self.limit = Some(connections);
        self
    }

    /// Counts a connection for so long after its end.
    pub fn lingering(mut self, time: Duration) -> Script {
        self.lingers = time;
        self
    }

    /// Greets so late, and turns away at once.
    pub fn greeting_after(mut self, time: Duration) -> Script {
        self.greets_after = time;
        self
    }

    /// Closes at the MAIL after so many messages on a connection.
    pub fn closing_after(mut self, messages: usize) -> Script {
        self.messages = Some(messages);
        self
    }

    /// Reads a PROXY header before it greets, and does not greet where that has this in it.
    pub fn shunning(mut self, text: &'static str) -> Script {
        self.shuns = Some(text);
        self
    }

    /// Says this to the command instead. Called again for the same command: this the next time; the last one stays.
    pub fn on(mut self, command: &'static str, says: &'static str) -> Script {
        self.on.entry(command).or_default().push(says);
        self
    }
}

struct Shared {
    script: Mutex<Script>,
    stopped: AtomicBool,
    connections: AtomicUsize,
    open: AtomicUsize,
    late: AtomicUsize,
    bodies: Mutex<Vec<Vec<u8>>>,
    commands: Mutex<Vec<String>>,
    sockets: Mutex<HashMap<usize, TcpStream>>,
}

/// A backend on a loopback port. Dropping it closes the port and all connections.
pub struct Peer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    listening: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Peer {
    pub fn new(script: Script) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shared = Arc::new(Shared {
            script: Mutex::new(script),
            stopped: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            late: AtomicUsize::new(0),
            bodies: Mutex::default(),
            commands: Mutex::default(),
            sockets: Mutex::default(),
        });
        let address = listener.local_addr().unwrap();
        let serving = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.stopped.load(SeqCst) {
                    return;
                }
                let shared = Arc::clone(&serving);
                thread::spawn(move || shared.serve(stream.unwrap()));
            }
        });
        Peer {
            address,
            shared,
            listening: Mutex::new(Some(thread)),
        }
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

    /// Closes all connections.
    pub fn cut(&self) {
        for socket in self.shared.sockets.lock().unwrap().values() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Follows another script on the connections to come.
    pub fn follow(&self, script: Script) {
        *self.shared.script.lock().unwrap() = script;
    }

    /// Connections that it ever had.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(SeqCst)
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.shared.open.load(SeqCst)
    }

    /// How often it has said what stands after a `!wait`.
    pub fn late(&self) -> usize {
        self.shared.late.load(SeqCst)
    }

    /// The commands that it heard, on all connections.
    pub fn commands(&self) -> Vec<String> {
        self.shared.commands.lock().unwrap().clone()
    }

    /// The messages that it took.
    pub fn bodies(&self) -> Vec<Vec<u8>> {
        self.shared.bodies.lock().unwrap().clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One connection's place in the script.
struct Dialogue<'a> {
    shared: &'a Shared,
    script: Script,
    out: TcpStream,
    body: Vec<u8>,
    has_sender: bool,
    /// Recipients that it has taken.
    recipients: usize,
    /// Messages that it has taken.
    messages: usize,
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let number = self.connections.fetch_add(1, SeqCst);
        let open = self.open.fetch_add(1, SeqCst) + 1;
        let kept = stream.try_clone().unwrap();
        self.sockets.lock().unwrap().insert(number, kept);
        let mut dialogue = Dialogue {
            shared: self,
            script: self.script.lock().unwrap().clone(),
            out: stream,
            body: Vec::new(),
            has_sender: false,
            recipients: 0,
            messages: 0,
        };
        let is_full = dialogue.script.limit.is_some_and(|limit| open > limit);
        // The other side may go at any moment.
        let _ = match is_full {
            true => dialogue.write("421 4.7.0 too many connections\r\n"),
            false => dialogue.talk(),
        };
        let _ = dialogue.out.shutdown(Shutdown::Both);
        self.sockets.lock().unwrap().remove(&number);
        if !is_full {
            thread::sleep(dialogue.script.lingers);
        }
        self.open.fetch_sub(1, SeqCst);
    }
}

impl Dialogue<'_> {
    fn talk(&mut self) -> io::Result<()> {
        let mut input = BufReader::new(self.out.try_clone()?);
        thread::sleep(self.script.greets_after);
        let mut header = String::new();
        if let Some(text) = self.script.shuns
            && input.read_line(&mut header)? > 0
            && header.contains(text)
        {
            // Until the other side goes.
            return input.read_to_string(&mut header).map(drop);
        }
        self.say("GREETING", "220 peer.example ESMTP\r\n")?;
        let mut line = String::new();
        loop {
            line.clear();
            if input.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let verb = line.get(..4).unwrap_or("").to_ascii_uppercase();
            self.shared.commands.lock().unwrap().push(line.clone());
            match &*verb {
                "EHLO" | "LHLO" => {
                    let offers = self.script.offers.iter();
                    let lines: String = offers.map(|o| format!("250-{o}\r\n")).collect();
                    let text = format!("250-peer.example\r\n{lines}250 ENHANCEDSTATUSCODES\r\n");
                    self.say("EHLO", &text)?;
                }
                "RCPT" if !self.has_sender => self.write("503 5.5.1 MAIL first\r\n")?,
                "RCPT" if line.contains("<bad") => {
                    self.say("BAD", "550 5.1.1 no such user\r\n")?;
                }
                "RCPT" if line.contains("<later") => {
                    self.say("LATER", "450 4.2.1 not now\r\n")?;
                }
                "RCPT" => {
                    let text = self.next("RCPT", "250 2.1.5 fine\r\n");
                    self.recipients += usize::from(text.starts_with('2'));
                    self.write(&text)?;
                }
                "MAIL"
                    if self
                        .script
                        .messages
                        .is_some_and(|most| self.messages >= most) =>
                {
                    return Ok(());
                }
                "MAIL" => {
                    self.body.clear();
                    self.recipients = 0;
                    let text = self.next("MAIL", "250 2.1.0 fine\r\n");
                    let mut lines = text.split("\r\n");
                    self.has_sender =
                        lines.any(|line| line.trim_start_matches("!wait").starts_with('2'));
                    self.write(&text)?;
                }
                "DATA" => self.data(&mut input)?,
                "BDAT" => self.chunk(&line, &mut input)?,
                "XCLI" => self.say("XCLIENT", "220 peer.example ESMTP\r\n")?,
                "QUIT" => return self.say("QUIT", "221 2.0.0 bye\r\n"),
                _ => self.say("OTHER", "250 2.0.0 fine\r\n")?,
            }
        }
    }

    fn data(&mut self, input: &mut impl BufRead) -> io::Result<()> {
        let text = self.next("DATA", "354 go\r\n");
        self.write(&text)?;
        if !text.starts_with('3') {
            return Ok(());
        }
        let mut line = Vec::new();
        loop {
            line.clear();
            if input.read_until(b'\n', &mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line == b".\r\n" {
                return self.end();
            }
            self.body.extend_from_slice(&line);
        }
    }

    fn chunk(&mut self, line: &str, input: &mut impl Read) -> io::Result<()> {
        let mut words = line.split_whitespace().skip(1);
        let size: usize = words.next().and_then(|w| w.parse().ok()).unwrap_or(0);
        let last = words.next().is_some();
        let from = self.body.len();
        self.body.resize(from + size, 0);
        input.read_exact(&mut self.body[from..])?;
        match last {
            // RFC 3030 §2: without a recipient there is no message.
            true if self.recipients == 0 => self.write("503 5.5.1 no recipient\r\n"),
            true => self.end(),
            false => self.say("BDAT", "250 2.0.0 octets\r\n"),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        let mut text = self.next("END", "");
        if text.is_empty() || text.starts_with('2') {
            let mut bodies = self.shared.bodies.lock().unwrap();
            bodies.push(std::mem::take(&mut self.body));
            self.messages += 1;
            if text.is_empty() {
                text = format!("250 2.0.0 queued as {}\r\n", bodies.len());
            }
        }
        self.write(&text)
    }

    fn say(&mut self, command: &str, usual: &str) -> io::Result<()> {
        let text = self.next(command, usual);
        self.write(&text)
    }

    fn next(&mut self, command: &str, usual: &str) -> String {
        match self.script.on.get_mut(command) {
            Some(texts) if texts.len() > 1 => texts.remove(0).to_string(),
            Some(texts) => texts[0].to_string(),
            None => usual.to_string(),
        }
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        let (text, closes) = match text.strip_suffix("!close") {
            Some(text) => (text, true),
            None => (text, false),
        };
        for (n, part) in text.split("!wait").enumerate() {
            if n > 0 {
                thread::sleep(WAIT);
            }
            self.out.write_all(part.as_bytes())?;
            self.shared.late.fetch_add(usize::from(n > 0), SeqCst);
        }
        match closes {
            true => Err(io::ErrorKind::ConnectionAborted.into()),
            false => Ok(()),
        }
    }
}
