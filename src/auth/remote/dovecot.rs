//! Dovecot's auth client socket: lines of words parted by tabs, questions with numbers, answers in any order.
//!
//! One connection carries all questions. It is made when it is first needed, kept, and made anew when Dovecot has
//! closed it; a question that was lost with it is asked once more, since asking twice changes nothing.
//!
//! A connection can fall silent without being closed: Dovecot hangs, or its host or a firewall between has lost it. So one that has left
//! a question without an answer, and has said nothing at all since it was asked, is given up at the next question.
//!
//! Source: Dovecot's "Authentication Protocol v1.2".

use super::{
    owned::Owned,
    sasl::{self, Saying},
};
use crate::{
    auth::{Attempt, Outcome},
    config::Credentials,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    sync::{Mutex, mpsc, oneshot},
    time::timeout,
};

/// Octets of a line at most, ours and Dovecot's.
const LINE_MAX: usize = 8192;

/// Lines that Dovecot may introduce itself with.
const GREETING_MAX: usize = 200;

/// How long Dovecot takes for a no (`auth_failure_delay`, 2 s), and some.
const NO_TAKES: Duration = Duration::from_secs(3);

/// Abandoned questions that are kept at most, before they are forgotten.
const FORGOTTEN_MAX: usize = 1024;

/// Dovecot as a source.
#[derive(Debug)]
pub struct Dovecot {
    place: Place,
    owned: Owned,
    /// How long it may take to read a question.
    patience: Duration,
    link: Mutex<Option<Link>>,
}

#[derive(Debug)]
enum Place {
    Path(PathBuf),
    Port(String),
}

/// A connection that is up.
#[derive(Clone, Debug)]
struct Link {
    questions: mpsc::Sender<Question>,
    mechanisms: std::sync::Arc<[Box<str>]>,
}

/// What is asked, after `AUTH` and its number; and the waiting caller.
#[derive(Debug)]
struct Question {
    words: Vec<u8>,
    answer: oneshot::Sender<Answer>,
}

/// The last word on a question.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Yes(Fields),
    No(Fields),
}

/// Words after an answer's number: `key=value`, or a key alone.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fields(Vec<(String, String)>);

impl Fields {
    fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| &**value)
    }
}

impl Dovecot {
    /// Connects to nothing yet.
    pub fn new(credentials: &Credentials, owned: Owned) -> Dovecot {
        let socket = &credentials.socket;
        Dovecot {
            place: match socket.contains('/') {
                true => Place::Path(socket.into()),
                false => Place::Port(socket.clone()),
            },
            owned,
            patience: credentials.timeout.0,
            link: Mutex::default(),
        }
    }

    /// Asks Dovecot.
    pub async fn check(&self, attempt: &Attempt) -> Outcome {
        let mut lost = String::new();
        for _ in 0..2 {
            let link = match self.link().await {
                Ok(link) => link,
                Err(why) => return Outcome::Unavailable(why),
            };
            let offers = |name: &str| link.mechanisms.iter().any(|has| **has == *name);
            let words = match sasl::saying(attempt, offers) {
                Err(why) => return Outcome::Unavailable(why),
                Ok(None) => return Outcome::Denied,
                Ok(Some(saying)) => words(attempt, &saying),
            };
            if words.len() > LINE_MAX - 32 {
                return Outcome::Denied;
            }
            let (answer, waits) = oneshot::channel();
            let asked = link.questions.send(Question { words, answer }).await;
            // What was not taken holds the other end of the answer.
            if asked.is_ok()
                && let Ok(answer) = waits.await
            {
                return self.judge(&answer);
            }
            lost = "the connection was lost before an answer came".into();
        }
        Outcome::Unavailable(lost)
    }

    fn judge(&self, answer: &Answer) -> Outcome {
        match answer {
            Answer::Yes(fields) => match fields.get("user") {
                Some(name) => self.owned.grant(name, fields.get("addresses")),
                None => Outcome::Unavailable("it said yes, but to whom?".into()),
            },
            Answer::No(fields) => {
                let failed =
                    fields.get("temp").is_some() || fields.get("code") == Some("temp_fail");
                match failed {
                    true => Outcome::Unavailable(
                        fields.get("reason").unwrap_or("it failed inside").into(),
                    ),
                    false => Outcome::Denied,
                }
            }
        }
    }

    /// The connection, made if it isn't there.
    async fn link(&self) -> Result<Link, String> {
        let mut link = self.link.lock().await;
        if let Some(link) = link.as_ref().filter(|link| !link.questions.is_closed()) {
            return Ok(link.clone());
        }
        let made = match &self.place {
            Place::Path(path) => match UnixStream::connect(path).await {
                Ok(stream) => greet(stream, self.patience).await,
                Err(why) => Err(format!("can't connect to {}: {why}", path.display())),
            },
            Place::Port(address) => match TcpStream::connect(&**address).await {
                Ok(stream) => greet(stream, self.patience).await,
                Err(why) => Err(format!("can't connect to {address}: {why}")),
            },
        };
        let made = made?;
        *link = Some(made.clone());
        Ok(made)
    }
}

/// What is said of a client, and its credential.
fn words(attempt: &Attempt, saying: &Saying) -> Vec<u8> {
    let client = attempt.client.to_canonical();
    // We do the slowing down: Dovecot's own, by address, would count ours where it can't see the client's.
    let mut words = format!(
        "\t{}\tservice=smtp\tnologin\tno-penalty\trip={client}",
        saying.mechanism.as_str()
    );
    if attempt.secured {
        words += "\tsecured";
    }
    words += "\tresp=";
    STANDARD.encode_string(saying.response.octets(), &mut words);
    words.push('\n');
    words.into_bytes()
}

/// A number for a connection that no other of Dovecot's clients has: it refuses a second one with the same.
fn client_number() -> u32 {
    static CONNECTIONS: AtomicU32 = AtomicU32::new(0);
    let count = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
    // A process id has 22 bits at most.
    (std::process::id() & 0x3f_ffff) | (count << 22)
}

/// Introduces ourselves, hears what Dovecot offers, and starts the task that keeps the connection.
async fn greet<S>(mut stream: S, patience: Duration) -> Result<Link, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let hello = format!("VERSION\t1\t2\nCPID\t{}\n", client_number());
    let failed = |why: io::Error| format!("it does not greet: {why}");
    stream.write_all(hello.as_bytes()).await.map_err(failed)?;
    let mut lines = Lines::default();
    let mut mechanisms: Vec<Box<str>> = Vec::new();
    for _ in 0..GREETING_MAX {
        let line = loop {
            match lines.next() {
                Some(line) => break line,
                None => lines.fill(&mut stream).await.map_err(failed)?,
            }
        };
        let mut parts = line.split('\t');
        match (parts.next(), parts.next()) {
            (Some("VERSION"), Some(major)) if major != "1" => {
                return Err(format!(
                    "it speaks version {major} of the protocol, we speak 1"
                ));
            }
            (Some("MECH"), Some(name)) => mechanisms.push(name.to_ascii_uppercase().into()),
            (Some("DONE"), _) => {
                let (questions, asked) = mpsc::channel(64);
                tokio::spawn(keep(stream, lines, asked, patience));
                return Ok(Link {
                    questions,
                    mechanisms: mechanisms.into(),
                });
            }
            _ => {}
        }
    }
    Err("it greets without an end".into())
}

/// Lines out of what has been read.
#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    from: usize,
}

impl Lines {
    fn next(&mut self) -> Option<String> {
        let rest = &self.bytes[self.from..];
        let end = memchr::memchr(b'\n', rest)?;
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        self.from += end + 1;
        Some(line)
    }

    /// Reads more; may be dropped, what was read stays.
    async fn fill(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
        self.bytes.drain(..self.from);
        self.from = 0;
        if self.bytes.len() > LINE_MAX {
            return Err(io::Error::other("a line has no end"));
        }
        match stream.read_buf(&mut self.bytes).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// A question that was sent.
#[derive(Debug)]
struct Open {
    answer: oneshot::Sender<Answer>,
    /// How many reads had brought something before it.
    heard: u64,
    sent: Instant,
}

impl Open {
    /// Its caller has waited in vain, and longer than a no takes. `heard`: how many reads have brought something by now.
    fn is_silent(&self, heard: u64, patience: Duration) -> bool {
        let after = (patience / 2).max(NO_TAKES);
        self.heard == heard && self.answer.is_closed() && self.sent.elapsed() >= after
    }
}

/// Keeps a connection: sends questions, hands answers to their callers. Ends, and with it every question that is open,
/// when Dovecot closes, breaks the protocol, or is silent; or when the source is gone and no question waits.
async fn keep<S>(
    stream: S,
    mut lines: Lines,
    mut asked: mpsc::Receiver<Question>,
    patience: Duration,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut from, mut to) = tokio::io::split(stream);
    let mut open: HashMap<u32, Open> = HashMap::new();
    let (mut number, mut more, mut heard) = (0u32, true, 0u64);
    while more || !open.is_empty() {
        if !more {
            // A reload has taken the source away: what no caller waits for any more is not waited for here.
            open.retain(|_, open| !open.answer.is_closed());
        }
        let mut out = Vec::new();
        tokio::select! {
            question = asked.recv(), if more => match question {
                None => more = false,
                Some(Question { words, answer }) => {
                    if open.values().any(|open| open.is_silent(heard, patience)) {
                        // Before the question is lost: it is asked again over a new connection.
                        asked.close();
                        return;
                    }
                    number = number.wrapping_add(1).max(1);
                    if open.len() >= FORGOTTEN_MAX {
                        open.retain(|_, open| !open.answer.is_closed());
                    }
                    open.insert(number, Open { answer, heard, sent: Instant::now() });
                    out = [format!("AUTH\t{number}").as_bytes(), &words].concat();
                }
            },
            read = timeout(patience, lines.fill(&mut from)) => {
                match read {
                    Ok(Ok(())) => {}
                    // None is asked: it may be silent for as long as it likes.
                    Err(_) => continue,
                    Ok(Err(_)) => return,
                }
                heard += 1;
                while let Some(line) = lines.next() {
                    hear(&line, &mut open, &mut out);
                }
            }
        }
        // One that hangs reads nothing in the end.
        if !out.is_empty() && !matches!(timeout(patience, to.write_all(&out)).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// Takes one line of Dovecot's.
fn hear(line: &str, open: &mut HashMap<u32, Open>, out: &mut Vec<u8>) {
    let mut parts = line.split('\t');
    let (Some(word), Some(number)) = (parts.next(), parts.next()) else {
        return;
    };
    let Ok(number) = number.parse::<u32>() else {
        return;
    };
    let fields = || {
        let pair = |part: &str| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            (key.to_string(), unescaped(value))
        };
        Fields(parts.map(pair).collect())
    };
    let answer = match word {
        "OK" => Answer::Yes(fields()),
        "FAIL" => Answer::No(fields()),
        "CONT" => {
            // Why a token is no good (RFC 7628 §3.2.2). An answer that says nothing brings the FAIL.
            out.extend_from_slice(format!("CONT\t{number}\tAQ==\n").as_bytes());
            return;
        }
        _ => return,
    };
    if let Some(open) = open.remove(&number) {
        // The caller may have gone.
        let _ = open.answer.send(answer);
    }
}

/// Dovecot's quoting: `\x01` and a letter for what a line can't hold.
fn unescaped(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        plain.push(match c {
            '\x01' => match rest.next() {
                Some('0') => '\0',
                Some('1') => '\x01',
                Some('t') => '\t',
                Some('r') => '\r',
                Some('n') => '\n',
                Some(other) => other,
                None => break,
            },
            c => c,
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_go_to_who_asked() {
        let mut open = HashMap::new();
        let mut out = Vec::new();
        let (one, mut first) = oneshot::channel();
        let (two, mut second) = oneshot::channel();
        for (number, answer) in [(1, one), (2, two)] {
            let sent = Instant::now();
            open.insert(
                number,
                Open {
                    answer,
                    heard: 0,
                    sent,
                },
            );
        }
        for line in [
            "",
            "OK",
            "OK\tx",
            "OK\t3\tuser=eve",
            "NEWS\t1",
            "CONT\t2\te30=",
        ] {
            hear(line, &mut open, &mut out);
        }
        assert_eq!(out, b"CONT\t2\tAQ==\n");
        hear("FAIL\t2\tuser=b\ttemp", &mut open, &mut out);
        hear("OK\t1\tuser=a\x01tb\taddresses=x@y=z", &mut open, &mut out);
        let Ok(Answer::Yes(fields)) = first.try_recv() else {
            panic!("no yes");
        };
        assert_eq!(fields.get("user"), Some("a\tb"));
        assert_eq!(fields.get("addresses"), Some("x@y=z"));
        let Ok(Answer::No(fields)) = second.try_recv() else {
            panic!("no no");
        };
        assert!(fields.get("temp").is_some() && open.is_empty());
    }

    #[test]
    fn each_connection_has_a_number_of_its_own() {
        let (one, two) = (client_number(), client_number());
        assert!(one != two && one != 0 && two != 0);
    }
}
