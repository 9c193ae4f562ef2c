//! Reads and runs transcripts; the form is described in `tests/transcripts.rs`.

mod shell;

use gatepost::smtp::{BareNewline, Extensions, Reply, Server, Settings, Status, Tick};
use shell::Shell;
use std::{collections::VecDeque, fmt::Write, net::IpAddr, sync::Arc};

/// How the client's bytes are cut.
#[derive(Clone, Copy, Debug)]
pub enum Split {
    Whole,
    At(usize),
    Bytes,
    Lines,
}

/// What the client sends, and what must come of it.
#[derive(Default)]
struct Exchange {
    line: usize,
    input: Vec<u8>,
    expected: Vec<Expected>,
}

enum Expected {
    Says(String),
    Begins(String),
    Nothing,
    Does(String),
}

/// A transcript.
pub struct Script {
    name: String,
    settings: Arc<Settings>,
    rights: Rights,
    /// Begins before the greeting; else after a silent greeting and EHLO.
    from_connect: bool,
    exchanges: Vec<Exchange>,
    answers: VecDeque<(String, String)>,
}

/// What the shell grants, and to which clients besides the first one.
#[derive(Clone, Default)]
struct Rights {
    /// XCLIENT, XFORWARD.
    extensions: Extensions,
    proxies: Vec<IpAddr>,
}

/// What came of one exchange: lines that were said, and things that were done, each in its order.
#[derive(Default)]
struct Outcome {
    said: Vec<String>,
    done: Vec<String>,
}

pub struct Run(Vec<Outcome>);

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        out.push(match chars.next() {
            Some('r') => b'\r',
            Some('n') => b'\n',
            Some('t') => b'\t',
            Some('0') => 0,
            Some('\\') => b'\\',
            Some('x') => {
                let digits: String = chars.by_ref().take(2).collect();
                u8::from_str_radix(&digits, 16).expect("two hex digits behind \\x")
            }
            other => panic!("unknown escape {other:?} in {text}"),
        });
    }
    out
}

fn escape(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\r' => out.push_str("\\r"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\0' => out.push_str("\\0"),
                '\\' => out.push_str("\\\\"),
                c if c.is_control() => {
                    let _ = write!(out, "\\x{:02x}", u32::from(c));
                }
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// `550 5.1.1 text` to a reply.
fn reply(text: &str) -> Reply {
    let code = text.get(..3).and_then(|c| c.parse().ok()).expect("a code");
    let rest = text.get(4..).unwrap_or_default();
    match Status::parse(rest.as_bytes()) {
        Some((status, length)) => Reply::owned(code, status, rest[length..].to_string()),
        None => Reply::owned(code, Status::NONE, rest.to_string()),
    }
}

fn extension(name: &str) -> Extensions {
    match name {
        "STARTTLS" => Extensions::STARTTLS,
        "BINARYMIME" => Extensions::BINARYMIME,
        "CHUNKING" => Extensions::CHUNKING,
        "SMTPUTF8" => Extensions::SMTPUTF8,
        "REQUIRETLS" => Extensions::REQUIRETLS,
        "DSN" => Extensions::DSN,
        "AUTH" => Extensions::AUTH,
        "XCLIENT" => Extensions::XCLIENT,
        "XFORWARD" => Extensions::XFORWARD,
        "LIMITS" => Extensions::LIMITS,
        "8BITMIME" => Extensions::EIGHTBITMIME,
        "PIPELINING" => Extensions::PIPELINING,
        "ALL" => Extensions(u32::MAX),
        other => panic!("unknown extension {other}"),
    }
}

fn set(settings: &mut Settings, rights: &mut Rights, key: &str, value: &str) {
    let number = || value.parse::<u32>().expect("a number");
    match key {
        "size_max" => settings.size_max = number().into(),
        "line" => settings.limits.line = number(),
        "recipients" => settings.limits.recipients = number(),
        "errors" => settings.limits.errors = number(),
        "junk" => settings.limits.junk = number(),
        "messages" => settings.limits.messages = number(),
        "resync" => settings.limits.resync = number(),
        "banner" => settings.banner = value.to_string(),
        "grant" => rights.extensions = rights.extensions | extension(value),
        "proxy" => rights.proxies.push(value.parse().expect("an address")),
        "auth" => settings.auth.mechanisms = value.split(' ').map(str::to_string).collect(),
        "auth_requires_tls" => settings.auth.requires_tls = value == "yes",
        "auth_required" => settings.auth.required = value == "yes",
        "requires_tls" => settings.requires_tls = value == "yes",
        "bare_newline" if value == "normalize" => settings.bare_newline = BareNewline::Normalize,
        "extensions" => match value.split_at(1) {
            ("+", name) => settings.extensions = settings.extensions | extension(name),
            ("-", name) => settings.extensions = settings.extensions.without(extension(name)),
            _ => panic!("+NAME or -NAME"),
        },
        _ => panic!("unknown setting {key}"),
    }
}

impl Script {
    pub fn parse(name: &str, text: &str) -> Script {
        let mut settings = Settings::new("mx.example");
        let mut exchanges = vec![Exchange::default()];
        let mut answers = VecDeque::new();
        let mut from_connect = false;
        let mut rights = Rights::default();
        for (at, line) in text.lines().enumerate() {
            let last = exchanges.last_mut().expect("one at least");
            let fresh = !last.expected.is_empty();
            let (mark, rest) = line.split_at_checked(2).unwrap_or((line, ""));
            let rest = rest.strip_prefix(' ').unwrap_or(rest);
            let sent = match mark {
                "C:" => [unescape(rest), b"\r\n".to_vec()].concat(),
                "c:" => unescape(rest),
                "C*" => {
                    let (times, text) = rest.split_once(' ').expect("C* n text");
                    unescape(text).repeat(times.parse().expect("a number"))
                }
                _ => Vec::new(),
            };
            if !sent.is_empty() {
                if fresh {
                    exchanges.push(Exchange::default());
                }
                let last = exchanges.last_mut().expect("one at least");
                last.input.extend_from_slice(&sent);
                continue;
            }
            last.line = at + 1;
            match mark {
                "S:" if rest.is_empty() => last.expected.push(Expected::Nothing),
                "S:" => last.expected.push(Expected::Says(rest.to_string())),
                "S~" => last.expected.push(Expected::Begins(rest.to_string())),
                "! " => last.expected.push(Expected::Does(rest.to_string())),
                "? " => {
                    let (what, answer) = rest.split_once(' ').expect("? question answer");
                    answers.push_back((what.to_string(), answer.to_string()));
                }
                "= " => {
                    let (key, value) = rest.split_once(' ').expect("= setting value");
                    if (key, value) == ("start", "connect") {
                        from_connect = true;
                        continue;
                    }
                    set(&mut settings, &mut rights, key, value);
                }
                _ => assert!(
                    line.is_empty() || line.starts_with('#'),
                    "{name}:{}: {line}",
                    at + 1
                ),
            }
        }
        Script {
            name: name.to_string(),
            settings: Arc::new(settings),
            rights,
            from_connect,
            exchanges,
            answers,
        }
    }

    /// The longest input of one exchange.
    pub fn longest(&self) -> usize {
        self.exchanges
            .iter()
            .map(|e| e.input.len())
            .max()
            .unwrap_or(0)
    }

    pub fn run(&self, split: Split) -> Run {
        let server = Server::new(self.settings.clone(), Tick(0));
        let mut shell = Shell::around(server, self.rights.clone());
        let mut outcomes = Vec::new();
        if self.from_connect {
            shell.answers = self.answers.clone();
        }
        shell.feed(b""); // the question at connect
        if !self.from_connect {
            shell.feed(b"EHLO client.example\r\n");
            shell.collect();
            shell.answers = self.answers.clone();
        }
        for exchange in &self.exchanges {
            let input = &exchange.input[..];
            match split {
                Split::Whole => shell.feed(input),
                Split::At(at) => {
                    let (head, tail) = input.split_at(at.min(input.len()));
                    shell.feed(head);
                    shell.feed(tail);
                }
                Split::Bytes => input.chunks(1).for_each(|piece| shell.feed(piece)),
                Split::Lines => input
                    .split_inclusive(|byte| *byte == b'\n')
                    .for_each(|piece| shell.feed(piece)),
            }
            outcomes.push(shell.collect());
        }
        Run(outcomes)
    }

    /// Holds a run against what the file expects. Pipelining shows only where nothing is cut.
    pub fn compare(&self, run: &Run, split: Split) {
        for (exchange, outcome) in self.exchanges.iter().zip(&run.0) {
            let whole = matches!(split, Split::Whole);
            let mut said = outcome.said.iter();
            // Where a file mentions no question, questions are not its point; everything else is.
            let asks = exchange
                .expected
                .iter()
                .any(|e| matches!(e, Expected::Does(text) if is_question(text)));
            let mut done = outcome.done.iter().filter(|done| {
                (whole || !done.starts_with("signal")) && (asks || !is_question(done))
            });
            let fail = |expected: &str, found: Option<&String>| -> ! {
                panic!(
                    "{}:{} {split:?}: expected {expected:?}, found {found:?}\n  sent {}\n  said {:#?}\n  done {:#?}",
                    self.name,
                    exchange.line,
                    escape(&exchange.input[..exchange.input.len().min(400)]),
                    outcome.said,
                    outcome.done
                )
            };
            for expected in &exchange.expected {
                match expected {
                    Expected::Nothing => {}
                    Expected::Says(text) => match said.next() {
                        Some(line) if line == text => {}
                        found => fail(text, found),
                    },
                    Expected::Begins(text) => match said.next() {
                        Some(line) if line.starts_with(text.as_str()) => {}
                        found => fail(text, found),
                    },
                    Expected::Does(text) if text.starts_with("signal") && !whole => {}
                    Expected::Does(text) => match done.next() {
                        Some(deed) if matches(deed, text) => {}
                        found => fail(text, found),
                    },
                }
            }
            if let Some(more) = said.next() {
                fail("no more to be said", Some(more));
            }
            if let Some(more) = done.next() {
                fail("no more to be done", Some(more));
            }
        }
    }
}

fn is_question(deed: &str) -> bool {
    let word = deed.split(' ').next().unwrap_or_default();
    matches!(
        word,
        "connect" | "client" | "hello" | "mail" | "rcpt" | "body" | "auth"
    )
}

fn matches(deed: &str, expected: &str) -> bool {
    match expected.strip_prefix("payload# ") {
        Some(size) => deed
            .strip_prefix("payload ")
            .is_some_and(|text| unescape(text).len().to_string() == size),
        None => deed == expected,
    }
}
