//! The shell around the machine: feeds it, answers its questions as the script says, and notes what it does.

use super::{Outcome, Rights, escape, reply, unescape};
use gatepost::smtp::{
    Action, Answer, Extensions, Question, Reply, Server, Span, Tick,
    command::Verb,
    server::{Phase, Signals, XclientAttributes, XclientValue},
};
use std::collections::VecDeque;

pub(super) struct Shell {
    pub(super) server: Server,
    pub(super) answers: VecDeque<(String, String)>,
    rights: Rights,
    payload: Vec<u8>,
    seen: Signals,
    outcome: Outcome,
    out: Vec<u8>,
    /// Refusals that the machine wrote by itself, or as it was answered, and told or was told.
    refusals: usize,
    /// Up to where replies were looked through for those.
    looked: usize,
    /// STARTTLS was said: what comes before the handshake is lost.
    deaf: bool,
}

impl Shell {
    /// Around a machine that has been told nothing yet.
    pub(super) fn around(mut server: Server, rights: Rights) -> Shell {
        server.grant(rights.extensions);
        Shell {
            server,
            rights,
            answers: VecDeque::new(),
            payload: Vec::new(),
            seen: Signals::NONE,
            outcome: Outcome::default(),
            out: Vec::new(),
            refusals: 0,
            looked: 0,
            deaf: false,
        }
    }

    /// Gives the machine a piece of input and does as it says until it wants more.
    pub(super) fn feed(&mut self, mut input: &[u8]) {
        if self.deaf {
            return;
        }
        for _ in 0..100_000 {
            let step = self.server.step(Tick(0), input, &mut self.out);
            let given = input;
            input = &input[step.consumed..];
            self.signals();
            match step.action {
                Action::Read => {
                    assert!(input.is_empty(), "Read leaves nothing behind");
                    return;
                }
                Action::Close => {
                    self.done("close".to_string());
                    return;
                }
                Action::Ask(question) => self.ask(question),
                Action::Body(span) => self.body(span, given, step.consumed),
                Action::Insert(octets) => self.payload.extend_from_slice(octets),
                Action::Refused(reply) => self.refused(&reply),
                Action::Discard => {
                    self.payload.clear();
                    self.done("discard".to_string());
                }
                Action::End => {
                    let payload = std::mem::take(&mut self.payload);
                    self.done(format!("payload {}", escape(&payload)));
                    self.done("end".to_string());
                    assert_eq!(self.server.phase(), Phase::Commit);
                    let facts = self.server.body_facts();
                    assert_eq!(facts.size, payload.len() as u64);
                    let answer = self.answer_to("end");
                    self.server.answer(answer, &mut self.out);
                }
                Action::StartTls => {
                    self.done("starttls".to_string());
                    assert!(input.is_empty(), "what follows STARTTLS is discarded");
                    self.deaf = true;
                    return;
                }
            }
        }
        panic!("the machine doesn't come to rest");
    }

    fn body(&mut self, span: Span, given: &[u8], consumed: usize) {
        assert!(span.end as usize <= consumed, "a span lies within consumed");
        assert!(!span.is_empty());
        self.payload.extend_from_slice(span.of(given));
        if self
            .answers
            .front()
            .is_some_and(|(what, _)| what == "discard")
        {
            let (_, text) = self.answers.pop_front().expect("looked at");
            self.payload.clear();
            self.server.discard(reply(&text));
        }
    }

    /// What the machine says that it refused, it wrote after what it said so of before.
    fn refused(&mut self, told: &Reply) {
        let mut written = Vec::new();
        told.write(&mut written);
        let rest = &self.out[self.looked..];
        let at = rest
            .windows(written.len())
            .position(|part| part == written)
            .expect("it was written");
        self.looked += at + written.len();
        self.refusals += usize::from(told.code >= 400);
    }

    fn done(&mut self, deed: String) {
        self.outcome.done.push(deed);
    }

    fn signals(&mut self) {
        for (signal, name) in [
            (Signals::PAST_HELLO, "hello"),
            (Signals::PAST_DATA, "data"),
            (Signals::PAST_STARTTLS, "starttls"),
            (Signals::PAST_AUTH, "auth"),
            (Signals::UNOFFERED, "unoffered"),
            (Signals::PAST_QUIT, "quit"),
        ] {
            if self.server.signals().has(signal) && !self.seen.has(signal) {
                self.done(format!("signal {name}"));
            }
        }
        self.seen = self.server.signals();
    }

    fn ask(&mut self, question: Question) {
        let envelope = self.server.envelope();
        let text = |bytes: &[u8]| escape(bytes);
        let (word, deed) = match question {
            Question::Connect => ("connect", "connect".to_string()),
            Question::Client => (
                "client",
                format!("client {}", claims(self.server.xclient_attributes())),
            ),
            Question::Hello => {
                let hello = self.server.hello().expect("asked about");
                ("hello", format!("hello {}", text(hello.name)))
            }
            Question::Mail => ("mail", format!("mail <{}>", text(envelope.sender().whole))),
            Question::Rcpt => {
                let last = envelope.recipients().last().expect("asked about");
                (
                    "rcpt",
                    format!("rcpt <{}>", text(envelope.path(last.path).whole)),
                )
            }
            Question::Body => ("body", "body".to_string()),
            Question::Auth => {
                let said = self.server.said().expect("asked about");
                let mechanism = said.mechanism;
                let response = said.response.map(|octets| format!(" {}", text(octets)));
                (
                    "auth",
                    format!("auth {mechanism}{}", response.unwrap_or_default()),
                )
            }
        };
        self.done(deed);
        if question == Question::Client {
            self.server.grant(self.granted());
        }
        if word == "auth"
            && let Some((_, answer)) = self.answers.front()
            && let Some(octets) = answer.strip_prefix("challenge ")
        {
            let octets = unescape(octets);
            self.answers.pop_front();
            self.server.challenge(&octets, &mut self.out);
            return;
        }
        let answer = self.answer_to(word);
        self.server.answer(answer, &mut self.out);
    }

    /// What the client that XCLIENT has named may say of others: where no address was named, it is the first one.
    fn granted(&self) -> Extensions {
        let named = self.server.xclient_attributes();
        let has_right = match named.map(|named| &named.address) {
            None | Some(XclientValue::Unsaid) => true,
            Some(XclientValue::Unknown) => false,
            Some(XclientValue::Is(address)) => self.rights.proxies.contains(address),
        };
        match has_right {
            true => self.rights.extensions,
            false => Extensions::NONE,
        }
    }

    fn answer_to(&mut self, word: &str) -> Answer {
        if self.answers.front().is_none_or(|(what, _)| what != word) {
            return match word {
                "end" => Answer::AcceptWith(reply("250 2.0.0 Ok: taken")),
                _ => Answer::Accept,
            };
        }
        let (_, text) = self.answers.pop_front().expect("looked at");
        // Where it refuses a chunk, it is written at the chunk's end, and told then.
        let chunk = word == "body" && self.server.verb() == Verb::Bdat;
        if !chunk && (text.starts_with("refuse") || text.starts_with("close")) {
            self.refusals += 1;
        }
        match text.split_once(' ') {
            None => Answer::Accept,
            Some(("refuse", text)) => Answer::Refuse(reply(text)),
            Some(("close", text)) => Answer::Close(reply(text)),
            Some(("ok", text)) => Answer::AcceptWith(reply(text)),
            Some(_) => panic!("unknown answer {text}"),
        }
    }

    pub(super) fn collect(&mut self) -> Outcome {
        if std::mem::take(&mut self.deaf) {
            self.server.secured();
        }
        let mut outcome = std::mem::take(&mut self.outcome);
        outcome.done.dedup_by(|a, b| a == "close" && b == "close");
        self.looked = 0;
        let text = String::from_utf8(std::mem::take(&mut self.out)).expect("replies are text");
        outcome.said = text
            .split_inclusive("\r\n")
            .map(|line| line.strip_suffix("\r\n").expect("CRLF").to_string())
            .collect();
        let refusal = |line: &&String| line.starts_with(['4', '5']) && !line[3..].starts_with('-');
        let refusals = outcome.said.iter().filter(refusal).count();
        assert_eq!(refusals, std::mem::take(&mut self.refusals), "each is told");
        outcome
    }
}

/// What XCLIENT said, in a line.
fn claims(claims: Option<&XclientAttributes>) -> String {
    fn part<T>(name: &str, claim: &XclientValue<T>, text: impl Fn(&T) -> String) -> String {
        match claim {
            XclientValue::Unsaid => String::new(),
            XclientValue::Unknown => format!(" {name}=?"),
            XclientValue::Is(value) => format!(" {name}={}", text(value)),
        }
    }
    let claims = claims.expect("asked about");
    [
        part("name", &claims.name, |v| escape(v)),
        part("addr", &claims.address, ToString::to_string),
        part("port", &claims.port, ToString::to_string),
        part("esmtp", &claims.esmtp, ToString::to_string),
        part("helo", &claims.hello, |v| escape(v)),
        part("login", &claims.login, |v| escape(v)),
        part("destaddr", &claims.server_address, ToString::to_string),
        part("destport", &claims.server_port, ToString::to_string),
    ]
    .concat()
    .trim_start()
    .to_string()
}
