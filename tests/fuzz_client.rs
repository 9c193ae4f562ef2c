//! Fuzz targets of the backend side: `cargo bolero test replies` (or `client`) runs one without end; the
//! ordinary test run gives each a moment.

#![allow(clippy::unwrap_used)]

use bolero::{TypeGenerator, check};
use gatepost::{
    delivery::{Step, replies::reply_of},
    smtp::{
        BackendError, BackendSession, BackendSettings, Envelope, Event, Load, ReplyLimits, Span,
        To,
        backend_session::BackendState,
        envelope::{MailParams, Path, Recipient},
        reply_parse::{Progress, ReplyReader},
    },
    upstream::BackendReply,
};
use std::{sync::Arc, time::Duration};

const MOMENT: Duration = Duration::from_millis(900);

#[test]
fn replies() {
    check!().with_test_time(MOMENT).for_each(|bytes: &[u8]| {
        let limits = ReplyLimits {
            line_max: 40,
            lines_max: 5,
            octets_max: 100,
        };
        let read = |grain: usize| {
            let mut reader = ReplyReader::new(limits);
            let mut seen = Vec::new();
            for mut piece in bytes.chunks(grain.max(1)) {
                loop {
                    match reader.read(piece) {
                        Ok(Progress::More) => break,
                        Ok(Progress::Done(n)) => {
                            assert!(n > 0 && n <= piece.len());
                            piece = &piece[n..];
                            let reply = reader.reply();
                            assert!((200..600).contains(&reply.head.code));
                            assert!(!reply.text().contains(&b'\r'));
                            let mut wire = Vec::new();
                            let said = BackendReply::from(reply);
                            reply_of(&said, Step::Message).write(&mut wire);
                            seen.push(Ok(wire));
                        }
                        Err(error) => {
                            seen.push(Err(error));
                            return seen;
                        }
                    }
                }
                assert!(reader.memory() < 512, "{}", reader.memory());
            }
            seen
        };
        assert_eq!(read(bytes.len()), read(1));
    });
}

/// What happens to a client, from either side.
#[derive(Clone, Debug, TypeGenerator)]
enum Happening {
    Line(u8, u8),
    Bytes(Vec<u8>),
    Capable(u8),
    Open(u8),
    Body(Vec<u8>, bool),
    Verify,
    Abort,
    Quit,
}

struct Outcome {
    events: Vec<Event>,
    written: Vec<u8>,
}

fn run(happenings: &[Happening], lmtp: bool, whole: bool) -> Outcome {
    let mut settings = BackendSettings::new("gate.example");
    settings.lmtp = lmtp;
    let mut client = BackendSession::new(Arc::new(settings));
    let mut input = Vec::new();
    let (mut events, mut written, mut terminators) = (Vec::new(), Vec::new(), 0);
    for happening in happenings {
        let mut said = Vec::new();
        match happening {
            Happening::Line(code, hyphen) => {
                let codes = ["250", "354", "550", "450", "421", "220", "25"];
                said.extend_from_slice(codes[*code as usize % codes.len()].as_bytes());
                said.extend_from_slice(if hyphen % 16 == 0 {
                    b"-x\r\n"
                } else {
                    b" x\r\n"
                });
            }
            Happening::Bytes(bytes) => said.extend_from_slice(bytes),
            Happening::Capable(which) => {
                said.extend_from_slice(b"220 x\r\n");
                drive(
                    &mut client,
                    &mut input,
                    &said,
                    whole,
                    &mut events,
                    &mut written,
                );
                said.clear();
                said.extend_from_slice(b"250-x\r\n");
                for (bit, name) in [(1, "PIPELINING"), (2, "CHUNKING"), (4, "SIZE 9")] {
                    if which & bit != 0 {
                        said.extend_from_slice(format!("250-{name}\r\n").as_bytes());
                    }
                }
                said.extend_from_slice(b"250 DSN\r\n");
            }
            Happening::Open(recipients) => {
                let envelope = envelope(usize::from(*recipients));
                let _ = client.open(&envelope, To::All, Load::default(), &mut written);
            }
            Happening::Body(bytes, last) => {
                client.body(&[bytes], *last, &mut written);
                terminators += usize::from(*last);
            }
            Happening::Verify => {
                let _ = client.verify(b"", Path::split(b"b@b.example"), false, &mut written);
            }
            Happening::Abort => client.reset(&mut written),
            Happening::Quit => client.quit(&mut written),
        }
        drive(
            &mut client,
            &mut input,
            &said,
            whole,
            &mut events,
            &mut written,
        );
        let good = events
            .iter()
            .filter(|event| matches!(event, Event::Final(head) if head.is_positive()));
        assert!(good.count() <= terminators, "accepted before its end");
        assert!(!client.is_clean() || !client.awaits_reply());
        assert!(!client.is_clean() || !client.terminator_sent());
        assert!(!client.is_uncertain() || client.terminator_sent());
        assert!(client.memory() < 64 * 1024, "{}", client.memory());
    }
    Outcome { events, written }
}

fn drive(
    client: &mut BackendSession,
    input: &mut Vec<u8>,
    said: &[u8],
    whole: bool,
    events: &mut Vec<Event>,
    out: &mut Vec<u8>,
) {
    let grain = if whole { said.len().max(1) } else { 1 };
    let mut pieces = said.chunks(grain);
    loop {
        let step = client.step(input, out);
        assert!(step.consumed <= input.len());
        input.drain(..step.consumed);
        if matches!(step.event, Event::Failed(_)) {
            if events.last() != Some(&step.event) {
                events.push(step.event);
            }
            assert_eq!(client.state(), BackendState::Failed);
            input.clear();
            return;
        }
        if step.event != Event::Read {
            events.push(step.event);
            continue;
        }
        assert!(input.is_empty(), "Read, and bytes left");
        match pieces.next() {
            Some(piece) => input.extend_from_slice(piece),
            None => return,
        }
    }
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

#[test]
fn client() {
    check!()
        .with_type::<(u8, bool, Vec<Happening>)>()
        .with_test_time(MOMENT)
        .for_each(|(which, lmtp, happenings)| {
            // Most of what is interesting comes after a good start.
            let mut all = vec![Happening::Capable(*which), Happening::Open(which % 5)];
            all.extend_from_slice(happenings);
            let whole = run(&all, *lmtp, true);
            let single = run(&all, *lmtp, false);
            let unasked = Event::Failed(BackendError::Unasked);
            if !whole.events.contains(&unasked) && !single.events.contains(&unasked) {
                assert_eq!(whole.events, single.events);
                assert_eq!(whole.written, single.written);
            }
        });
}
