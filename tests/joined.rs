//! Two machines joined in memory: what the client is given, the server gets, byte for byte; by DATA and by
//! BDAT, pipelined and not, however the bytes between them are cut, and whoever is refused.

#![allow(clippy::unwrap_used)]

use gatepost::smtp::{
    BackendSession, BackendSettings, Envelope, Event, Extensions, Load, Reply, Server, Span,
    Status, Tick, To,
    backend_session::Abort,
    envelope::{BodyKind, MailParams, Notify, Path, Recipient, Ret},
    server::{Action, Answer, Question, Settings},
};
use proptest::prelude::*;
use std::sync::Arc;

/// A message as a test gives it, and as the other side got it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Message {
    sender: String,
    /// Path, NOTIFY, ORCPT.
    recipients: Vec<(String, Option<u8>, String)>,
    eight_bit: bool,
    utf8: bool,
    ret: Option<Ret>,
    envid: String,
    body: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Plan {
    message: Message,
    /// Octets of a piece of the body.
    piece: usize,
    /// The body is sent ahead of the answers where that can be.
    ahead: bool,
    /// Which recipients the server refuses, as bits.
    refused: u8,
    /// The server refuses the message at its end.
    bounced: bool,
    /// The client leaves behind so many pieces.
    leave: Option<usize>,
}

struct Joint {
    client: BackendSession,
    server: Server,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    /// Octets that come at a time.
    grain: usize,
    plan: Option<Plan>,
    /// RCPT commands of the transaction.
    tried: usize,
    body: Vec<u8>,
    delivered: Vec<Message>,
}

impl Joint {
    fn new(extensions: Extensions, client: BackendSettings, grain: usize) -> Joint {
        let mut settings = Settings::new("mx.example");
        settings.extensions = extensions;
        settings.limits.errors = 0;
        Joint {
            client: BackendSession::new(Arc::new(client)),
            server: Server::new(Arc::new(settings), Tick(1)),
            to_server: Vec::new(),
            to_client: Vec::new(),
            grain,
            plan: None,
            tried: 0,
            body: Vec::new(),
            delivered: Vec::new(),
        }
    }

    /// The client's next event; `Read` where neither side has anything to say.
    fn next(&mut self, out: &mut Vec<u8>) -> Event {
        let mut seen = 0;
        loop {
            let step = self.client.step(&self.to_client[..seen], out);
            self.to_client.drain(..step.consumed);
            seen -= step.consumed;
            if step.event != Event::Read {
                return step.event;
            }
            self.to_server.append(out);
            self.serve();
            if seen == self.to_client.len() {
                return Event::Read;
            }
            seen = (seen + self.grain).min(self.to_client.len());
        }
    }

    /// Lets the server work until it has nothing to read.
    fn serve(&mut self) {
        let mut seen = 0;
        loop {
            let input = &self.to_server[..seen];
            let step = self.server.step(Tick(1), input, &mut self.to_client);
            if let Action::Body(span) = step.action {
                self.body.extend_from_slice(span.of(input));
            }
            self.to_server.drain(..step.consumed);
            seen -= step.consumed;
            match step.action {
                Action::Body(_) => {}
                Action::Insert(octets) => self.body.extend_from_slice(octets),
                Action::Discard => self.body.clear(),
                Action::Ask(question) => {
                    let answer = self.judge(question);
                    self.server.answer(answer, &mut self.to_client);
                }
                Action::End => {
                    let answer = self.commit();
                    self.server.answer(answer, &mut self.to_client);
                }
                Action::Read if seen == self.to_server.len() => return,
                Action::Read => seen = (seen + self.grain).min(self.to_server.len()),
                Action::Refused(_) => {}
                Action::StartTls | Action::Close => panic!("{:?}", step.action),
            }
        }
    }

    fn judge(&mut self, question: Question) -> Answer {
        match question {
            Question::Mail => {
                self.tried = 0;
                self.body.clear();
            }
            Question::Rcpt => {
                let plan = self.plan.as_ref().unwrap();
                self.tried += 1;
                if is_refused(plan, self.tried - 1) {
                    return Answer::Refuse(Reply::fixed(550, Status(5, 1, 1), "Who?"));
                }
            }
            _ => {}
        }
        Answer::Accept
    }

    fn commit(&mut self) -> Answer {
        let envelope = self.server.envelope();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let params = envelope.params();
        let recipients = envelope.recipients().iter().map(|recipient| {
            let path = text(envelope.path(recipient.path).whole);
            let notify = recipient.notify.map(|notify| notify.0);
            (path, notify, text(envelope.text(recipient.orcpt)))
        });
        let message = Message {
            sender: text(envelope.sender().whole),
            recipients: recipients.collect(),
            eight_bit: params.body == BodyKind::EightBitMime,
            utf8: params.smtputf8,
            ret: params.ret,
            envid: text(envelope.text(params.envid)),
            body: std::mem::take(&mut self.body),
        };
        if self.plan.as_ref().unwrap().bounced {
            return Answer::Refuse(Reply::fixed(554, Status(5, 7, 1), "Not this"));
        }
        self.delivered.push(message);
        Answer::AcceptWith(Reply::fixed(250, Status(2, 0, 0), "Queued"))
    }
}

fn is_refused(plan: &Plan, at: usize) -> bool {
    plan.refused >> (at % 8) & 1 == 1
}

fn envelope(message: &Message) -> Envelope {
    let mut envelope = Envelope::new();
    let params = MailParams {
        size: 0,
        body: if message.eight_bit {
            BodyKind::EightBitMime
        } else {
            BodyKind::SevenBit
        },
        smtputf8: message.utf8,
        ret: message.ret,
        envid: envelope.keep(message.envid.as_bytes()),
        ..MailParams::default()
    };
    let sender = envelope.keep_path(Path::split(message.sender.as_bytes()));
    envelope.set_sender(sender, params);
    for (path, notify, orcpt) in &message.recipients {
        let recipient = Recipient {
            path: envelope.keep_path(Path::split(path.as_bytes())),
            notify: notify.map(Notify),
            orcpt: match orcpt.as_str() {
                "" => Span::default(),
                text => envelope.keep(text.as_bytes()),
            },
        };
        envelope.push_recipient(recipient);
    }
    envelope
}

/// Sends one message. Whether the backend took it, or `None` where the connection is gone.
fn send(joint: &mut Joint, plan: &Plan) -> Option<bool> {
    joint.plan = Some(plan.clone());
    let message = &plan.message;
    let load = Load {
        size: message.body.len() as u64,
        eight_bit: !message.body.is_ascii(),
        whole: true,
    };
    let mut out = Vec::new();
    let sent = joint
        .client
        .open(&envelope(message), To::All, load, &mut out);
    sent.unwrap();
    let mut pieces: Vec<&[u8]> = message.body.chunks(plan.piece).collect();
    if pieces.is_empty() || plan.piece.is_multiple_of(2) {
        pieces.push(b""); // the end by itself
    }
    let (mut at, mut go, mut took) = (0, plan.ahead, false);
    loop {
        while go && joint.client.takes_body() && at < pieces.len() {
            if plan.leave == Some(at) {
                if joint.client.abort(&mut out) == Abort::Close {
                    return None;
                }
                break;
            }
            let last = at + 1 == pieces.len();
            joint.client.body(&[pieces[at]], last, &mut out);
            at += 1;
        }
        match joint.next(&mut out) {
            Event::Go => go = true,
            Event::Sender(head) => assert!(head.is_positive()),
            Event::Recipient(at, head) => assert_eq!(head.is_positive(), !is_refused(plan, at)),
            Event::Chunk => {}
            Event::Final(head) if head.is_positive() => {
                took = true;
                let accepted: Vec<usize> = joint.client.accepted().collect();
                let wanted = (0..message.recipients.len()).filter(|at| !is_refused(plan, *at));
                assert_eq!(accepted, wanted.collect::<Vec<_>>());
                break;
            }
            Event::Final(_) | Event::Refused => joint.client.reset(&mut out),
            Event::Reset => break,
            Event::Failed(_) => return None,
            event => panic!("{event:?}"),
        }
    }
    assert!(joint.client.is_clean() && joint.to_client.is_empty() && joint.to_server.is_empty());
    Some(took)
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let octet = prop_oneof![
        4 => Just(b'.'),
        8 => (1u8..=127).prop_filter("no newline", |c| !matches!(c, b'\r' | b'\n')),
        1 => 128u8..=255,
    ];
    proptest::collection::vec(octet, 0..20)
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,20}@[a-z]{1,20}\\.example",
        Just("\"two words\"@b.example".to_owned()),
        Just("\"at@home\"@b.example".to_owned()),
        Just("x@[192.0.2.1]".to_owned()),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let recipient = (path(), proptest::option::of(0u8..8), any::<bool>());
    (
        prop_oneof![3 => path(), 1 => Just(String::new())],
        proptest::collection::vec(recipient, 1..6),
        proptest::collection::vec(line(), 0..12),
        any::<bool>(),
        proptest::option::of(prop_oneof![Just(Ret::Full), Just(Ret::Hdrs)]),
        "[A-Za-z0-9]{0,10}",
    )
        .prop_map(|(sender, recipients, lines, utf8, ret, envid)| {
            let mut body = lines.join(&b"\r\n"[..]);
            if !lines.is_empty() {
                body.extend_from_slice(b"\r\n");
            }
            let orcpt = |has| if has { "rfc822;x@y.example" } else { "" }.to_owned();
            Message {
                sender,
                recipients: recipients
                    .into_iter()
                    .map(|(path, notify, has)| (path, notify, orcpt(has)))
                    .collect(),
                eight_bit: !body.is_ascii(),
                utf8,
                ret,
                envid,
                body,
            }
        })
}

fn plan() -> impl Strategy<Value = Plan> {
    (
        message(),
        prop_oneof![1usize..40, Just(100_000)],
        any::<bool>(),
        prop_oneof![3 => Just(0u8), 1 => any::<u8>()],
        prop_oneof![4 => Just(false), 1 => Just(true)],
        prop_oneof![4 => Just(None), 1 => (0usize..3).prop_map(Some)],
    )
        .prop_map(|(message, piece, ahead, refused, bounced, leave)| Plan {
            message,
            piece,
            ahead,
            refused,
            bounced,
            leave,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    // INV-250
    fn what_goes_in_comes_out(
        (pipelining, chunking, dsn) in any::<(bool, bool, bool)>(),
        grain in prop_oneof![Just(1usize), 2usize..50, Just(100_000)],
        plans in proptest::collection::vec(plan(), 1..4),
    ) {
        let mut extensions = Extensions::SIZE | Extensions::EIGHTBITMIME | Extensions::SMTPUTF8;
        for (offered, extension) in [
            (pipelining, Extensions::PIPELINING),
            (chunking, Extensions::CHUNKING),
            (dsn, Extensions::DSN),
        ] {
            if offered {
                extensions = extensions | extension;
            }
        }
        let mut joint = Joint::new(extensions, BackendSettings::new("gate.example"), grain);
        prop_assert_eq!(joint.next(&mut Vec::new()), Event::Ready);
        for plan in plans {
            let took = send(&mut joint, &plan);
            let mut wanted = plan.message.clone();
            let mut at = 0;
            wanted.recipients.retain(|_| {
                at += 1;
                !is_refused(&plan, at - 1)
            });
            if !dsn {
                wanted.ret = None;
                wanted.envid.clear();
                for recipient in &mut wanted.recipients {
                    (recipient.1, recipient.2) = (None, String::new());
                }
            }
            let wanted = if took == Some(true) { vec![wanted] } else { vec![] };
            prop_assert_eq!(&std::mem::take(&mut joint.delivered), &wanted);
            if took.is_none() {
                break;
            }
        }
    }
}

/// The property would hold of two machines that never deliver anything: these must.
#[test]
fn messages_get_through_by_either_way() {
    let base = Extensions::SIZE | Extensions::EIGHTBITMIME;
    for (extensions, body, arrives) in [
        (base, &b".a\r\n..\r\n"[..], &b".a\r\n..\r\n"[..]),
        (base | Extensions::PIPELINING, b"no end", b"no end\r\n"),
        (base | Extensions::CHUNKING, b".\r\n", b".\r\n"),
        (
            base | Extensions::CHUNKING | Extensions::PIPELINING,
            b"no end",
            b"no end",
        ),
    ] {
        let mut joint = Joint::new(extensions, BackendSettings::new("gate.example"), 7);
        assert_eq!(joint.next(&mut Vec::new()), Event::Ready);
        for piece in [1, 4, 100] {
            let plan = Plan {
                message: Message {
                    sender: "a@a.example".into(),
                    recipients: vec![("b@b.example".into(), None, String::new())],
                    body: body.to_vec(),
                    ..Message::default()
                },
                piece,
                ahead: true,
                refused: 0,
                bounced: false,
                leave: None,
            };
            assert_eq!(send(&mut joint, &plan), Some(true));
            assert_eq!(joint.delivered.pop().unwrap().body, arrives);
        }
    }
}
