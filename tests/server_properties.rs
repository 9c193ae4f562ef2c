//! What holds of the server machine whatever comes in: the master property, bounded memory, sane spans,
//! deadlines and interrupts; and the fuzz targets of server, paths and parameters, run for a bounded time
//! (`cargo bolero test` runs them without bound).

use bolero::check;
use gatepost::smtp::{
    Action, Answer, BareNewline, Envelope, Extensions, Interrupt, Question, Reply, Server,
    Settings, Status, Tick, params, path, server::Phase,
};
use proptest::prelude::*;
use std::{sync::Arc, time::Duration};

/// What a run came to, with everything that may depend on the cuts taken out.
#[derive(Debug, Default, PartialEq)]
struct Trace {
    out: Vec<u8>,
    done: Vec<String>,
}

fn settings(normalize: bool) -> Settings {
    let mut settings = Settings::new("mx.example");
    settings.extensions = Extensions(u32::MAX);
    settings.size_max = 60;
    settings.limits.line = 30;
    settings.limits.recipients = 2;
    settings.limits.errors = 6;
    settings.limits.junk = 8;
    settings.limits.messages = 3;
    settings.limits.resync = 3_000;
    if normalize {
        settings.bare_newline = BareNewline::Normalize;
    }
    settings
}

/// The shell's will: a function of what is asked, so that it is the same for every cut.
fn decide(question: Question, envelope: &Envelope) -> Answer {
    let no = || Reply::fixed(550, Status(5, 7, 1), "No");
    match question {
        Question::Rcpt => {
            let last = envelope.recipients().last().expect("asked about one");
            match envelope.path(last.path).local.first() {
                Some(b'n') => Answer::Refuse(no()),
                Some(b'k') => Answer::Close(no()),
                _ => Answer::Accept,
            }
        }
        Question::Mail if envelope.sender().local.starts_with(b"n") => Answer::Refuse(no()),
        Question::Body if envelope.sender().local.starts_with(b"m") => Answer::Refuse(no()),
        _ => Answer::Accept,
    }
}

fn run<'a>(settings: &Arc<Settings>, pieces: impl Iterator<Item = &'a [u8]>) -> Trace {
    let mut server = Server::new(settings.clone(), Tick(0));
    let mut trace = Trace::default();
    let mut payload = Vec::new();
    let mut now = 0;
    for piece in std::iter::once(&b""[..]).chain(pieces) {
        let mut rest = piece;
        let mut steps = 0;
        loop {
            now += 1;
            steps += 1;
            assert!(steps < 10 * piece.len() + 20, "comes to rest");
            let step = server.step(Tick(now), rest, &mut trace.out);
            let given = rest;
            rest = &rest[step.consumed..];
            assert!(server.deadline() > Tick(now));
            match step.action {
                Action::Read => {
                    assert!(rest.is_empty());
                    break;
                }
                Action::Close => {
                    assert!(rest.is_empty() && server.phase() == Phase::Closed);
                    trace.done.push("close".into());
                    return trace;
                }
                Action::Ask(question) => {
                    trace.done.push(format!("{question:?}"));
                    let answer = decide(question, server.envelope());
                    server.answer(answer, &mut trace.out);
                }
                Action::Body(span) => {
                    assert!(!span.is_empty() && span.end as usize <= step.consumed);
                    payload.extend_from_slice(span.of(given));
                }
                Action::Insert(octets) => payload.extend_from_slice(octets),
                Action::Refused(reply) => {
                    let mut written = Vec::new();
                    reply.write(&mut written);
                    assert!(trace.out.windows(written.len()).any(|part| part == written));
                    trace.done.push(reply.to_string());
                }
                Action::Discard => {
                    payload.clear();
                    trace.done.push("discard".into());
                }
                Action::End => {
                    assert_eq!(server.body_facts().size, payload.len() as u64);
                    trace.done.push(format!("end {}", payload.escape_ascii()));
                    payload.clear();
                    let reply = Reply::fixed(250, Status(2, 0, 0), "Taken");
                    server.answer(Answer::AcceptWith(reply), &mut trace.out);
                }
                Action::StartTls => {
                    trace.done.push("tls".into());
                    return trace; // what follows in the same piece is lost, so it depends on the cuts
                }
            }
        }
    }
    trace
}

/// A payload that reached nobody is no difference: where a dead body was cut off depends on the cuts.
fn same(settings: &Arc<Settings>, input: &[u8], cuts: &[usize]) {
    let whole = run(settings, std::iter::once(input));
    let bytes = run(settings, input.chunks(1));
    assert_eq!(whole, bytes, "{}", input.escape_ascii());
    let mut pieces = Vec::new();
    let mut rest = input;
    for cut in cuts {
        let (piece, tail) = rest.split_at(cut % (rest.len() + 1));
        pieces.push(piece);
        rest = tail;
    }
    pieces.push(rest);
    let cut = run(settings, pieces.into_iter());
    assert_eq!(whole, cut, "{} {cuts:?}", input.escape_ascii());
}

/// Fragments of dialogues, sound and broken.
const WORDS: &[&[u8]] = &[
    b"EHLO a.example\r\n",
    b"HELO a\r\n",
    b"MAIL FROM:<a@b.example>\r\n",
    b"MAIL FROM:<m@b.example>\r\n",
    b"MAIL FROM:<n@b.example> SIZE=10\r\n",
    b"MAIL FROM:<> BODY=BINARYMIME\r\n",
    b"RCPT TO:<c@d.example>\r\n",
    b"RCPT TO:<n@d.example>\r\n",
    b"RCPT TO:<k@d.example>\r\n",
    b"DATA\r\n",
    b"DATA\r\nhello\r\n.\r\n",
    b"BDAT 6\r\nabcd\r\n",
    b"BDAT 3\r\na\r\n",
    b"BDAT 5 LAST\r\nabc\r\n",
    b"BDAT 70\r\n",
    b"BDAT 0 LAST\r\n",
    b"BDAT x\r\n",
    b"RSET\r\n",
    b"NOOP x\r\n",
    b"VRFY x\r\n",
    b"QUIT\r\n",
    b"STARTTLS\r\n",
    b"AUTH PLAIN =\r\n",
    b".\r\n",
    b"\r\n.\r\n",
    b"\n.\n",
    b"\r.\r",
    b"\r\n.\r\r\n",
    b"..\r\n",
    b"\r\n",
    b"\r",
    b"\n",
    b".",
    b"a line\r\n",
    b"a line that is longer than the limit\r\n",
    b"\xff\x00",
    b"GET / HTTP/1.1\r\n",
    b"Subject: x\r\n",
];

/// Where a dialogue begins.
const STARTS: &[&[u8]] = &[
    b"",
    b"EHLO a\r\n",
    b"EHLO a\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n",
    b"EHLO a\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n",
];

fn dialogue() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        8 => proptest::sample::select(WORDS).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 1..8),
        1 => (1usize..3_500).prop_map(|n| vec![b'x'; n]),
    ];
    let start = proptest::sample::select(STARTS);
    (start, proptest::collection::vec(word, 0..14))
        .prop_map(|(start, words)| [start.to_vec(), words.concat()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    // INV-SPLIT
    fn any_split_gives_the_same(
        input in dialogue(),
        cuts in proptest::collection::vec(0usize..200, 0..6),
        normalize in any::<bool>(),
    ) {
        same(&Arc::new(settings(normalize)), &input, &cuts);
    }
}

#[test]
fn fuzz_server() {
    let settings = [Arc::new(settings(false)), Arc::new(settings(true))];
    check!()
        .with_test_time(Duration::from_millis(1_500))
        .for_each(|input: &[u8]| {
            // Raw bytes rarely make a dialogue: half of them choose words, the others are taken as they are.
            let mut dialogue = b"EHLO a\r\n".to_vec();
            for byte in input.iter().take(60) {
                match WORDS.get(*byte as usize / 4) {
                    Some(word) => dialogue.extend_from_slice(word),
                    None => dialogue.push(*byte),
                }
            }
            let cut = input.first().map_or(0, |byte| *byte as usize);
            for settings in &settings {
                same(settings, &dialogue, &[cut]);
                same(settings, input, &[cut]);
            }
        });
}

#[test]
fn fuzz_path_and_params() {
    check!()
        .with_test_time(Duration::from_millis(800))
        .for_each(|input: &[u8]| {
            for parsed in [path::sender(input), path::recipient(input)]
                .into_iter()
                .flatten()
            {
                let path = parsed.path;
                assert!(path.whole.len() <= 254);
                assert!(gatepost::smtp::domain::to_ascii(path.domain).is_some());
                assert!(!path.whole.iter().any(u8::is_ascii_control));
                assert!(str::from_utf8(path.whole).is_ok());
                assert_eq!(parsed.utf8, !path.whole.is_ascii());
                if !path.domain.is_empty() {
                    assert_eq!(path.local.len() + 1 + path.domain.len(), path.whole.len());
                    assert!(!path.domain.contains(&b'@'));
                }
                // What was taken is taken again, in brackets and alone: a backend sees what we saw.
                let again = [b"<", path.whole, b">"].concat();
                assert_eq!(path::sender(&again).map(|p| p.path), Some(path));
            }
            let all = Extensions(u32::MAX);
            if let Ok(said) = params::mail(input, all) {
                for text in [said.envid, said.auth].map(params::xtext) {
                    assert!(text.iter().all(u8::is_ascii_graphic));
                }
            }
            if let Ok(said) = params::rcpt(input, all, true) {
                assert!(
                    !said
                        .orcpt
                        .iter()
                        .any(|b| b.is_ascii_control() || *b == b' ')
                );
            }
        });
}

/// Steps and accepts until the machine wants more.
fn feed(server: &mut Server, now: Tick, mut input: &[u8], out: &mut Vec<u8>) -> Action {
    loop {
        let step = server.step(now, input, out);
        input = &input[step.consumed..];
        match step.action {
            Action::Ask(_) | Action::End => server.answer(Answer::Accept, out),
            Action::Read | Action::Close | Action::StartTls => return step.action,
            Action::Body(_) | Action::Insert(_) | Action::Discard | Action::Refused(_) => {}
        }
    }
}

const SECOND: u64 = 1_000_000;

#[test]
fn a_byte_now_and_then_is_no_command() {
    let mut out = Vec::new();
    let mut server = Server::new(Arc::new(Settings::new("mx.example")), Tick(0));
    feed(&mut server, Tick(0), b"EHLO a\r\n", &mut out);
    let deadline = server.deadline();
    assert_eq!(deadline, Tick(300 * SECOND));
    for at in 1..200 {
        feed(&mut server, Tick(at * SECOND), b"N", &mut out);
        assert_eq!(server.deadline(), deadline);
    }
    server.interrupt(Interrupt::Timeout, &mut out);
    assert!(out.ends_with(b"421 4.4.2 Timeout exceeded; closing\r\n"));
    assert_eq!(feed(&mut server, deadline, b"", &mut out), Action::Close);
}

#[test]
fn a_slow_body_has_an_end() {
    let mut out = Vec::new();
    let mut server = Server::new(Arc::new(Settings::new("mx.example")), Tick(0));
    let head = b"EHLO a\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n";
    feed(&mut server, Tick(0), head, &mut out);
    let mut now = 0;
    while server.deadline() > Tick(now) {
        now += 10 * SECOND;
        feed(&mut server, Tick(now), b"x", &mut out);
        assert!(
            now < 400 * SECOND,
            "one octet in ten seconds goes on for ever"
        );
    }
    assert_eq!(server.phase().as_str(), "body");
}

#[test]
fn drain_waits_for_the_transaction() {
    let mut out = Vec::new();
    let mut server = Server::new(Arc::new(Settings::new("mx.example")), Tick(0));
    let head = b"EHLO a\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n";
    feed(&mut server, Tick(0), head, &mut out);
    server.interrupt(Interrupt::Drain, &mut out);
    assert_eq!(feed(&mut server, Tick(1), b"x\r\n", &mut out), Action::Read);
    assert_eq!(
        feed(&mut server, Tick(2), b".\r\n", &mut out),
        Action::Close
    );
    assert!(out.ends_with(b"250 2.0.0 Ok\r\n421 4.3.2 Service is shutting down; try again\r\n"));

    let mut idle = Server::new(Arc::new(Settings::new("mx.example")), Tick(0));
    feed(&mut idle, Tick(0), b"", &mut out);
    idle.interrupt(Interrupt::Drain, &mut out);
    assert_eq!(idle.phase(), Phase::Closed);
}

#[test]
// INV-LIMIT
fn refused_recipients_take_no_memory() {
    let mut settings = Settings::new("mx.example");
    settings.limits.errors = 0;
    let mut server = Server::new(Arc::new(settings), Tick(0));
    let mut out = Vec::new();
    feed(
        &mut server,
        Tick(0),
        b"EHLO a\r\nMAIL FROM:<a@b.example>\r\n",
        &mut out,
    );
    for _ in 0..10_000 {
        let mut input = &b"RCPT TO:<somebody.with.a.long.name@d.example>\r\n"[..];
        loop {
            let step = server.step(Tick(0), input, &mut out);
            input = &input[step.consumed..];
            match step.action {
                Action::Ask(_) => {
                    let no = Reply::fixed(550, Status(5, 1, 1), "No");
                    server.answer(Answer::Refuse(no), &mut out);
                }
                _ => break,
            }
        }
        out.clear();
    }
    let at = server.envelope().clone().keep(b"x");
    assert!(at.end < 100, "the arena holds {} octets", at.end);
}

#[test]
fn a_verdict_takes_no_time_of_the_clients() {
    let mut out = Vec::new();
    let mut server = Server::new(Arc::new(Settings::new("mx.example")), Tick(0));
    feed(&mut server, Tick(0), b"EHLO a\r\n", &mut out);
    let input = b"MAIL FROM:<a@b.example>\r\n";
    let step = server.step(Tick(0), input, &mut out);
    assert_eq!(step.action, Action::Ask(Question::Mail));
    assert_eq!(server.deadline(), Tick::FAR);
    server.answer(Answer::Accept, &mut out); // after 100 s
    assert_eq!(
        feed(&mut server, Tick(100 * SECOND), b"", &mut out),
        Action::Read
    );
    assert_eq!(server.deadline(), Tick(400 * SECOND));
}
