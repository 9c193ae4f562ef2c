//! Sessions in memory: a server that is fed what a client sends, a client that is fed what a backend sends, and
//! both as the proxy joins them, with the policy between. No socket, no clock: what is left is user space.

use super::{
    judge::{Judge, KEPT},
    parse::CAPABILITIES,
    text,
};
use gatepost::{
    policy::At,
    smtp::{
        BackendSession, BackendSettings, Envelope, Event, Load, Reply, Span, Status, Tick, To,
        envelope::{MailParams, Path, Recipient},
        server::{Action, Answer, Question, Server, Settings},
    },
};
use std::{net::IpAddr, sync::Arc};

const MAIL: &[u8] = b"MAIL FROM:<someone@client.example> SIZE=4096 BODY=8BITMIME\r\n";
const RCPT: &[u8] = b"RCPT TO:<somebody.else@ours.example>\r\n";
const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

/// How a client sends its messages; each piece is one read of the server.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// MAIL, RCPT, DATA and the body, each after the reply to the one before.
    Steps,
    /// The envelope with DATA at once (PIPELINING), then the body.
    Pipelined,
    /// The envelope and BDAT with the body at once.
    Chunk,
}

/// The reads that one message of `size` octets makes.
pub fn reads(way: Way, size: usize) -> Vec<Vec<u8>> {
    match way {
        Way::Steps => vec![
            MAIL.into(),
            RCPT.into(),
            b"DATA\r\n".into(),
            text::data(size),
        ],
        Way::Pipelined => vec![[MAIL, RCPT, b"DATA\r\n"].concat(), text::data(size)],
        Way::Chunk => {
            let payload = text::payload(size);
            let bdat = format!("BDAT {} LAST\r\n", payload.len());
            vec![[MAIL, RCPT, bdat.as_bytes(), &payload].concat()]
        }
    }
}

/// The server's side of a session.
pub struct Front {
    server: Server,
    /// What it has to say.
    pub out: Vec<u8>,
    /// The message so far.
    pub body: Vec<u8>,
    now: u64,
}

impl Front {
    /// A session that has said EHLO.
    pub fn new() -> Front {
        let mut front = Front {
            server: Server::new(Arc::new(Settings::new("edge.ours.example")), Tick(0)),
            out: Vec::new(),
            body: Vec::new(),
            now: 0,
        };
        let yes = |_: &Server, _: &[u8], _: Action| Answer::Accept;
        front.read(b"EHLO mail.client.example\r\n", yes);
        front
    }

    /// What came with one read; `judge` answers.
    ///
    /// # Panics
    /// If the session ends.
    fn read(&mut self, mut input: &[u8], mut judge: impl FnMut(&Server, &[u8], Action) -> Answer) {
        self.now += 10;
        loop {
            let step = self.server.step(Tick(self.now), input, &mut self.out);
            match step.action {
                Action::Body(span) => self.body.extend_from_slice(span.of(input)),
                Action::Insert(octets) => self.body.extend_from_slice(octets),
                Action::Ask(_) | Action::End => {
                    let answer = judge(&self.server, &self.body, step.action);
                    self.server.answer(answer, &mut self.out);
                }
                Action::Read => return,
                other => panic!("{other:?}"),
            }
            input = &input[step.consumed..];
        }
    }

    /// A message, every question answered with yes.
    ///
    /// # Panics
    /// If it is not taken.
    pub fn message(&mut self, reads: &[Vec<u8>]) {
        self.body.clear();
        for input in reads {
            self.out.clear();
            self.read(input, |_, _, _| Answer::Accept);
        }
        assert!(self.out.ends_with(b"250 2.0.0 Ok\r\n"));
    }
}

/// The client's side of a session with a backend.
pub struct Back {
    client: BackendSession,
    /// What it has to say.
    pub out: Vec<u8>,
}

impl Back {
    /// A session that is ready. `chunking`: whether the backend offers it, beside PIPELINING.
    ///
    /// # Panics
    /// If it isn't.
    pub fn new(chunking: bool) -> Back {
        let settings = BackendSettings {
            chunking,
            ..BackendSettings::new("edge.ours.example")
        };
        let mut back = Back {
            client: BackendSession::new(Arc::new(settings)),
            out: Vec::new(),
        };
        assert_eq!(back.hear(b"220 mx.ours.example ESMTP\r\n"), Event::Read);
        assert_eq!(back.hear(CAPABILITIES), Event::Ready);
        back
    }

    /// What came with one read: its last event.
    fn hear(&mut self, mut input: &[u8]) -> Event {
        let mut last = Event::Read;
        loop {
            let step = self.client.step(input, &mut self.out);
            input = &input[step.consumed..];
            if step.event == Event::Read {
                return last;
            }
            last = step.event;
        }
    }

    /// A message that the backend takes; its final reply is the client's then.
    ///
    /// # Panics
    /// If it isn't taken.
    pub fn message(&mut self, envelope: &Envelope, trace: &[u8], body: &[u8]) {
        self.out.clear();
        let load = Load {
            size: (trace.len() + body.len()) as u64,
            eight_bit: false,
            whole: true,
        };
        let opened = self.client.open(envelope, To::All, load, &mut self.out);
        assert_eq!(opened, Ok(()));
        let envelope_ok = b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n";
        if self.client.chunks() {
            self.client.body(&[trace, body], true, &mut self.out);
            self.hear(envelope_ok);
        } else {
            self.hear(envelope_ok);
            let go = self.hear(b"354 End data with <CR><LF>.<CR><LF>\r\n");
            assert_eq!(go, Event::Go);
            self.out.clear();
            self.client.body(&[trace, body], true, &mut self.out);
        }
        let last = self.hear(b"250 2.0.0 Ok: queued as 4ZxY7k1qW2z5vQk\r\n");
        assert!(matches!(last, Event::Final(head) if head.is_positive()));
    }
}

/// The envelope that the reads above make.
pub fn envelope() -> Envelope {
    let mut envelope = Envelope::new();
    let sender = envelope.keep_path(Path::split(b"someone@client.example"));
    envelope.set_sender(sender, MailParams::default());
    let recipient = Recipient {
        path: envelope.keep_path(Path::split(b"somebody.else@ours.example")),
        notify: None,
        orcpt: Span::default(),
    };
    envelope.push_recipient(recipient);
    envelope
}

/// Trace fields as the proxy puts them on top.
pub const TRACE: &[u8] = b"Received: from mail.client.example (unknown [192.0.2.7])\r\n\
    \tby edge.ours.example (Gatepost) with ESMTP id 0123456789abcdef\r\n\
    \tfor <somebody.else@ours.example>; Mon, 1 Jan 2024 00:00:00 +0000\r\n";

/// Both sides of the proxy, and its policy.
pub struct Whole {
    front: Front,
    back: Back,
    judge: Judge,
}

impl Whole {
    /// A session of a client, a connection to a backend, and a policy.
    pub fn new(chunking: bool, policy: &str) -> Whole {
        Whole {
            front: Front::new(),
            back: Back::new(chunking),
            judge: Judge::new(policy),
        }
    }

    /// A message on its whole way, but for the sockets: read, judged, sent to the backend, its reply given.
    ///
    /// # Panics
    /// If it isn't taken.
    pub fn message(&mut self, reads: &[Vec<u8>]) {
        let Whole { front, back, judge } = self;
        front.body.clear();
        for input in reads {
            front.out.clear();
            front.read(input, |server, body, action| match action {
                Action::Ask(Question::Mail) => accepted(judge, At::Mail),
                Action::Ask(Question::Rcpt) => accepted(judge, At::Rcpt),
                Action::End => {
                    accepted(judge, KEPT[2]);
                    back.message(server.envelope(), TRACE, body);
                    let said = String::from_utf8_lossy(back.client.reply().text());
                    Answer::AcceptWith(Reply::owned(250, Status(2, 0, 0), said.into_owned()))
                }
                _ => Answer::Accept,
            });
        }
        assert!(
            front
                .out
                .ends_with(b"250 2.0.0 Ok: queued as 4ZxY7k1qW2z5vQk\r\n")
        );
    }
}

fn accepted(judge: &mut Judge, at: At) -> Answer {
    judge.ask(CLIENT, &[at]);
    Answer::Accept
}
