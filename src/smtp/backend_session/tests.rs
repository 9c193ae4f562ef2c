//! The client against a backend that answers as it likes: what the client believes is what happened.

#![allow(clippy::unwrap_used)]
use super::super::envelope::{MailParams, Recipient};
use super::super::span::Span;
use super::*;
use proptest::prelude::*;
use std::fmt::Write as _;

/// A backend that keeps to the protocol and holds its client to it: commands one at a time where it does
/// not pipeline, nothing behind EHLO and DATA, no command inside a body.
struct Model {
    lmtp: bool,
    pipelining: bool,
    chunking: bool,
    /// One for each answer, again and again.
    moods: Vec<u8>,
    answers: usize,
    input: Vec<u8>,
    open: bool,
    accepted: Vec<usize>,
    recipients: usize,
    body: Vec<u8>,
    in_data: bool,
    broken: bool,
    closed: bool,
    delivered: Vec<(Vec<usize>, Vec<u8>)>,
}

impl Model {
    fn mood(&mut self) -> u8 {
        self.answers += 1;
        self.moods[self.answers % self.moods.len()]
    }

    /// An answer, and whether it was a good one.
    fn answer(&mut self, good: &str, possible: bool, replies: &mut String) -> bool {
        let mood = self.mood();
        let (text, yes) = match mood {
            _ if !possible => ("503 5.5.1 no", false),
            0 => ("550-5.7.1 no\r\n550 5.7.1 never", false),
            1 => ("450 4.2.1 later", false),
            2 => ("421 4.3.2 closing", false),
            _ => (good, true),
        };
        self.closed |= text.starts_with("421");
        write!(replies, "{text}\r\n").unwrap();
        yes
    }

    /// What came in one write; says what is answered to it.
    fn read(&mut self, bytes: &[u8]) -> String {
        self.input.extend_from_slice(bytes);
        let mut replies = String::new();
        let mut commands = 0;
        while !self.closed {
            if self.in_data {
                if !self.read_data(&mut replies) {
                    break;
                }
                continue;
            }
            let Some(end) = memchr::memmem::find(&self.input, b"\r\n") else {
                break;
            };
            let line = String::from_utf8(self.input[..end].to_vec()).unwrap();
            if let Some(chunk) = line.strip_prefix("BDAT ") {
                let size: usize = chunk.split(' ').next().unwrap().parse().unwrap();
                if self.input.len() < end + 2 + size {
                    break;
                }
                self.input.drain(..end + 2);
                let payload: Vec<u8> = self.input.drain(..size).collect();
                self.chunk(&payload, chunk.ends_with(" LAST"), &mut replies);
            } else {
                self.input.drain(..end + 2);
                self.command(&line, &mut replies);
            }
            commands += 1;
        }
        assert!(self.pipelining || commands <= 1, "pipelined, unoffered");
        replies
    }

    fn command(&mut self, line: &str, replies: &mut String) {
        match &line[..4] {
            "EHLO" | "LHLO" => {
                assert!(self.input.is_empty(), "pipelined behind EHLO");
                assert_eq!(&line[..4] == "LHLO", self.lmtp);
                replies.push_str("250-mx\r\n");
                for (offered, name) in
                    [(self.pipelining, "PIPELINING"), (self.chunking, "CHUNKING")]
                {
                    if offered {
                        write!(replies, "250-{name}\r\n").unwrap();
                    }
                }
                replies.push_str("250 SIZE\r\n");
            }
            "MAIL" => {
                assert!(!self.open, "MAIL in a transaction");
                self.body.clear();
                self.accepted.clear();
                self.recipients = 0;
                self.broken = false;
                self.open = self.answer("250 2.1.0 ok", true, replies);
            }
            "RCPT" => {
                if self.answer("250 2.1.5 ok", self.open, replies) {
                    self.accepted.push(self.recipients);
                }
                self.recipients += 1;
            }
            "DATA" => {
                assert!(self.input.is_empty(), "pipelined behind DATA");
                // Some take DATA for nobody, and say so only after the dot.
                let possible =
                    self.open && (!self.accepted.is_empty() || self.mood().is_multiple_of(2));
                self.in_data = self.answer("354 go", possible, replies);
            }
            "RSET" => {
                self.open = false;
                replies.push_str("250 2.0.0 ok\r\n");
            }
            _ => panic!("what is {line:?}?"),
        }
    }

    fn read_data(&mut self, replies: &mut String) -> bool {
        let Some(end) = memchr::memmem::find(&self.input, b"\r\n") else {
            return false;
        };
        let line: Vec<u8> = self.input.drain(..end + 2).collect();
        if line != b".\r\n" {
            self.body
                .extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            return true;
        }
        assert!(!self.accepted.is_empty(), "a dot for nobody");
        self.in_data = false;
        self.deliver(replies);
        true
    }

    fn chunk(&mut self, payload: &[u8], last: bool, replies: &mut String) {
        let possible = self.open && !self.accepted.is_empty() && !self.broken;
        self.body.extend_from_slice(payload);
        if last && possible {
            self.deliver(replies);
        } else if !self.answer("250 2.0.0 more", possible, replies) {
            self.broken = true;
        }
    }

    fn deliver(&mut self, replies: &mut String) {
        let accepted = std::mem::take(&mut self.accepted);
        let mut took = Vec::new();
        if !self.lmtp {
            if self.answer("250 2.0.0 queued", true, replies) {
                took.extend_from_slice(&accepted);
            }
        } else {
            for at in accepted {
                if !self.closed && self.answer("250 2.1.5 has it", true, replies) {
                    took.push(at);
                }
            }
        }
        self.open = false;
        if !took.is_empty() {
            self.delivered.push((took, std::mem::take(&mut self.body)));
        }
    }
}

/// BackendSession and model, joined. Replies reach the client in pieces of `grain` bytes.
struct Joint {
    client: BackendSession,
    model: Model,
    out: Vec<u8>,
    coming: Vec<u8>,
    seen: usize,
    grain: usize,
}

impl Joint {
    /// The next event; `Read` where nothing more will come.
    fn next(&mut self) -> Event {
        loop {
            let step = self.client.step(&self.coming[..self.seen], &mut self.out);
            self.coming.drain(..step.consumed);
            self.seen -= step.consumed;
            if step.event != Event::Read {
                return step.event;
            }
            self.flush();
            if self.seen == self.coming.len() {
                return Event::Read;
            }
            self.seen = (self.seen + self.grain).min(self.coming.len());
        }
    }

    fn flush(&mut self) {
        let replies = self.model.read(&std::mem::take(&mut self.out));
        self.coming.extend_from_slice(replies.as_bytes());
    }
}

#[derive(Clone, Debug)]
struct Plan {
    recipients: usize,
    pieces: Vec<Vec<u8>>,
    /// Leave at the first refused recipient, or at Go, or after the first piece.
    leave: u8,
}

fn envelope(recipients: usize) -> Envelope {
    let mut envelope = Envelope::new();
    let sender = envelope.keep_path(Path::split(b"a@a.example"));
    envelope.set_sender(sender, MailParams::default());
    for _ in 0..recipients {
        let path = envelope.keep_path(Path::split(b"b@b.example"));
        envelope.push_recipient(Recipient {
            path,
            notify: None,
            orcpt: Span::default(),
        });
    }
    envelope
}

/// What the client believes to be delivered, and to whom. `None`: the connection is gone.
fn transact(joint: &mut Joint, plan: &Plan) -> (Vec<usize>, bool) {
    let (mut took, mut sent, mut left) = (Vec::new(), 0, false);
    let load = Load {
        size: 0,
        eight_bit: false,
        whole: true,
    };
    let envelope = envelope(plan.recipients);
    joint
        .client
        .open(&envelope, To::All, load, &mut joint.out)
        .unwrap();
    loop {
        while !left && joint.client.takes_body() && sent < plan.pieces.len() {
            let last = sent + 1 == plan.pieces.len();
            joint
                .client
                .body(&[&plan.pieces[sent]], last, &mut joint.out);
            sent += 1;
        }
        let event = joint.next();
        let leave = match event {
            Event::Failed(_) => return (took, false),
            Event::Reset => return (took, true),
            Event::Final(head) if head.is_positive() => {
                took.extend(joint.client.accepted());
                assert!(joint.client.is_clean());
                return (took, true);
            }
            Event::FinalFor(at, head) => {
                if head.is_positive() {
                    took.push(at);
                }
                if joint.client.is_clean() {
                    return (took, true);
                }
                joint.client.is_idle()
            }
            Event::Final(_) | Event::Refused => true,
            Event::Recipient(_, head) => plan.leave == 1 && !head.is_positive(),
            Event::Go => plan.leave == 2,
            Event::Chunk => plan.leave == 3 && sent < plan.pieces.len(),
            Event::Sender(_) | Event::Read => false,
            event => panic!("{event:?}"),
        };
        assert!(
            event != Event::Read || joint.client.takes_body(),
            "nothing comes, and it waits: {:?}",
            joint.client.state()
        );
        if leave && !left {
            left = true;
            if joint.client.abort(&mut joint.out) == Abort::Close {
                return (took, false);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_client_believes_is_what_happened(
        (lmtp, pipelining, chunking) in any::<(bool, bool, bool)>(),
        moods in proptest::collection::vec(0u8..24, 1..40),
        grain in 1usize..90,
        plans in proptest::collection::vec(
            (
                prop_oneof![1usize..5, 120usize..300],
                proptest::collection::vec(
                    proptest::sample::select(vec![&b""[..], b".", b"\r\n", b".\r\n", b"line\r\n..x"]),
                    1..60,
                ),
                0u8..8,
            ),
            1..4,
        ),
    ) {
        let mut settings = BackendSettings::new("gate.example");
        settings.lmtp = lmtp;
        let model = Model {
            lmtp, pipelining, chunking, moods,
            answers: 0, input: Vec::new(), open: false, accepted: Vec::new(), recipients: 0,
            body: Vec::new(), in_data: false, broken: false, closed: false, delivered: Vec::new(),
        };
        let mut joint = Joint {
            client: BackendSession::new(Arc::new(settings)), model, out: Vec::new(),
            coming: b"220 mx\r\n".to_vec(), seen: 0, grain,
        };
        prop_assert_eq!(joint.next(), Event::Ready);
        for (recipients, pieces, leave) in plans {
            let pieces: Vec<Vec<u8>> = pieces.into_iter().map(<[u8]>::to_vec).collect();
            let mut body = pieces.concat();
            if !chunking && !body.is_empty() && !body.ends_with(b"\r\n") {
                body.extend_from_slice(b"\r\n");
            }
            let plan = Plan { recipients, pieces, leave };
            joint.model.delivered.clear();
            let (took, goes_on) = transact(&mut joint, &plan);
            if joint.client.is_uncertain() {
                // Left after LAST had been sent ahead: it knows that it doesn't know.
                prop_assert!(!goes_on && joint.client.state() == BackendState::Failed);
                break;
            }
            let wanted = if took.is_empty() { vec![] } else { vec![(took, body)] };
            prop_assert_eq!(&joint.model.delivered, &wanted);
            if !goes_on {
                break;
            }
            prop_assert!(joint.client.is_clean());
        }
    }
}

#[test]
fn a_message_in_steady_state_allocates_nothing() {
    let mut settings = BackendSettings::new("gate.example");
    settings.chunking = false;
    let mut client = BackendSession::new(Arc::new(settings));
    let mut out = Vec::with_capacity(4096);
    let _ = client.step(b"220 mx\r\n", &mut out);
    let _ = client.step(b"250-mx\r\n250 PIPELINING\r\n", &mut out);
    let mut sizes = Vec::new();
    for _ in 0..20 {
        out.clear();
        client
            .open(&envelope(3), To::All, Load::default(), &mut out)
            .unwrap();
        let mut replies = &b"250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"[..];
        while client.state() == BackendState::Open && !client.takes_body() {
            replies = &replies[client.step(replies, &mut out).consumed..];
        }
        client.body(&[b"a line\r\n"], true, &mut out);
        let step = client.step(b"250 queued\r\n", &mut out);
        assert!(matches!(step.event, Event::Final(_)) && client.is_clean());
        sizes.push(client.memory());
    }
    assert!(sizes[1..].iter().all(|size| *size == sizes[1]), "{sizes:?}");
}
