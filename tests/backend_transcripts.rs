//! Dialogues with backends as text: what the client machine writes and what it makes of the answers.
//!
//! Each file of `tests/backend_transcripts/` holds dialogues, parted by lines of `---`:
//!
//! ```text
//! # a comment
//! @ lmtp no-chunking no-pipelining     settings of this dialogue; `whole`: don't run it split; `tls`, `tls-always`,
//!                                      `tls-first`
//! S: 220 mx.example                    the backend's line (consecutive ones come in one segment)
//! S= 220 mx\r\n                        its bytes, with escapes
//! C: EHLO gate.example                 what is written next, exactly and in this order
//! C= BDAT 2\r\nab                      the same with escapes
//! E: Ready                             the next event, with code, enhanced code and text
//! > open from=a@a.example to=b@b.example,c@b.example size=10 …
//! > body a\r\nb\r\n                    an action; `body` is a piece, `last` the last one
//! > introduce ADDR=192.0.2.7 HELO=x    what the backend is told of the client; `forward` the same by XFORWARD
//! > confirm                            asks whether the yes was one to the message; `avoid-chunks` has bodies go by DATA
//! > authenticate PLAIN eA==           AUTH, with its initial response; `respond` says one alone
//! = idle                               a fact: a state, or clean, dirty, sent, unsent, certain, uncertain,
//!                                      takes, full, accepted 0 2, waits, waits-not, secured, clear, told, untold
//! ```
//!
//! Between two segments everything that was written must have been expected, and every event told. Each
//! dialogue runs whole, one byte at a time, and split in two at every byte.

#![allow(clippy::unwrap_used)]

use gatepost::smtp::{
    BackendError, BackendSession, BackendSettings, Envelope, Event, Load, Span, To,
    backend_session::{Abort, BackendState, StartTls, identity::Attributes},
    envelope::{BodyKind, MailParams, Notify, Path, Recipient, Ret},
};
use std::{fs, sync::Arc};

struct Run<'a> {
    client: BackendSession,
    /// What the backend has said and the client may see from now on; `hidden` bytes of it come later.
    input: Vec<u8>,
    hidden: usize,
    out: Vec<u8>,
    said: usize,
    /// The client has failed and that was told, by an event or by what an action returned.
    over: bool,
    split: &'a dyn Fn(usize) -> bool,
}

impl Run<'_> {
    fn say(&mut self, bytes: &[u8]) {
        // A client that failed says so for ever.
        let told = self.over;
        let event = self.event().filter(|_| !told);
        assert_eq!(event, None, "not expected before the backend speaks");
        assert!(self.out.is_empty(), "was also written: {}", show(&self.out));
        self.input.extend_from_slice(bytes);
        self.hidden = self.input.len();
    }

    /// The next event other than Read; none where the input is used up.
    fn event(&mut self) -> Option<String> {
        loop {
            let visible = self.input.len() - self.hidden;
            let step = self.client.step(&self.input[..visible], &mut self.out);
            self.input.drain(..step.consumed);
            if step.event != Event::Read {
                self.over = self.client.state() == BackendState::Failed;
                return Some(self.show(step.event));
            }
            assert_eq!(step.consumed, visible, "Read, and bytes left");
            if self.hidden == 0 {
                return None;
            }
            while self.hidden > 0 {
                self.hidden -= 1;
                self.said += 1;
                if (self.split)(self.said) {
                    break;
                }
            }
        }
    }

    fn show(&self, event: Event) -> String {
        let (name, head) = match event {
            Event::Sender(head) => ("Sender".to_owned(), Some(head)),
            Event::Recipient(at, head) => (format!("Recipient {at}"), Some(head)),
            Event::Final(head) => ("Final".to_owned(), Some(head)),
            Event::FinalFor(at, head) => (format!("FinalFor {at}"), Some(head)),
            Event::Authenticated(head) => ("Authenticated".to_owned(), Some(head)),
            Event::Verified(head) => ("Verified".to_owned(), Some(head)),
            Event::Failed(BackendError::Nonsense(error)) => (format!("Failed {error:?}"), None),
            Event::Failed(error) => {
                let name = format!("{error:?}");
                let name = name.split('(').next().unwrap();
                (format!("Failed {name}"), error.head())
            }
            event => (format!("{event:?}"), None),
        };
        let Some(head) = head else { return name };
        assert_eq!(self.client.reply().head, head);
        let text = show(self.client.reply().text());
        format!("{name} {head} {text}").trim_end().to_owned()
    }

    fn expect_written(&mut self, bytes: &[u8]) {
        if self.out.is_empty() {
            let event = self.event();
            assert_eq!(event, None, "expected {}", show(bytes));
        }
        let written = show(&self.out);
        assert!(self.out.starts_with(bytes), "{written} was written");
        self.out.drain(..bytes.len());
    }

    fn act(&mut self, action: &str) {
        let (verb, rest) = action.split_once(' ').unwrap_or((action, ""));
        let (client, out) = (&mut self.client, &mut self.out);
        match verb {
            "open" => {
                let (envelope, load, these) = envelope(rest);
                let to = these.as_deref().map_or(To::All, To::These);
                client.open(&envelope, to, load, out).unwrap();
            }
            "unsupported" => {
                let (wanted, rest) = rest.split_once(' ').unwrap();
                let (envelope, load, _) = envelope(rest);
                let error = client.open(&envelope, To::All, load, out).unwrap_err();
                assert_eq!(format!("{error:?}"), wanted);
                assert!(out.is_empty() && client.is_clean());
            }
            "body" => client.body(&[&unescape(rest)], false, out),
            "last" => client.body(&[&unescape(rest)], true, out),
            "verify" => client
                .verify(b"", Path::split(rest.as_bytes()), !rest.is_ascii(), out)
                .unwrap(),
            "secured" => client.secured(out),
            "authenticate" => {
                let (mechanism, initial) = rest.split_once(' ').unwrap_or((rest, ""));
                let fits = client.authenticate(mechanism, initial.as_bytes(), out);
                assert_eq!(fits, !initial.is_empty());
            }
            "authenticate-long" => {
                let initial = [b'x'; 512 - "AUTH PLAIN \r\n".len() + 1];
                assert!(!client.authenticate("PLAIN", &initial, out));
            }
            "respond" => client.respond(rest.as_bytes(), out),
            "introduce" => {
                let (facts, hello) = facts(rest);
                let facts: Vec<_> = facts.iter().map(|(of, value)| (*of, &**value)).collect();
                assert!(client.introduce(&facts, &hello, out));
            }
            "introduce-not" => {
                assert!(!client.introduce(&[], b"", out) && out.is_empty());
            }
            "forward" => {
                let (facts, _) = facts(rest);
                let facts: Vec<_> = facts.iter().map(|(of, value)| (*of, &**value)).collect();
                assert_eq!(client.forward(&facts), !facts.is_empty());
            }
            "forward-not" => {
                assert!(!client.forward(&[(Attributes::ADDR, b"192.0.2.7")]));
            }
            "reset" => client.reset(out),
            "confirm" => client.confirm(out),
            "avoid-chunks" => client.avoid_chunks(true),
            "quit" => client.quit(out),
            "abort" => {
                let abort = client.abort(out);
                assert_eq!(format!("{abort:?}"), rest);
                assert!(abort == Abort::Reset || out.is_empty());
                self.over = abort == Abort::Close;
            }
            verb => panic!("no action {verb}"),
        }
    }

    fn check(&self, fact: &str) {
        let client = &self.client;
        let (word, rest) = fact.split_once(' ').unwrap_or((fact, ""));
        let holds = match word {
            "clean" => client.is_clean() && client.is_idle(),
            "dirty" => client.is_idle() && !client.is_clean(),
            "sent" => client.terminator_sent(),
            "unsent" => !client.terminator_sent(),
            "uncertain" => client.is_uncertain(),
            "certain" => !client.is_uncertain(),
            "takes" => client.takes_body(),
            "full" => !client.takes_body(),
            "waits" => client.awaits_reply(),
            "waits-not" => !client.awaits_reply(),
            "secured" => client.is_secured(),
            "clear" => !client.is_secured(),
            "told" => !client.forward_refused(),
            "untold" => client.forward_refused(),
            "accepted" => {
                let accepted: Vec<_> = client.accepted().map(|at| at.to_string()).collect();
                accepted.join(" ") == rest
            }
            state => state_word(client.state()) == state,
        };
        assert!(holds, "it is {:?}", client.state());
    }
}

/// The word for a state in the dialogues.
fn state_word(state: BackendState) -> &'static str {
    match state {
        BackendState::Connecting => "connect",
        BackendState::Idle => "idle",
        BackendState::Open => "open",
        BackendState::Committing => "commit",
        BackendState::Over => "over",
        BackendState::Resetting => "reset",
        BackendState::Quitting => "quit",
        BackendState::Failed => "failed",
    }
}

fn show(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.replace('\r', "\\r").replace('\n', "\\n")
}

fn unescape(text: &str) -> Vec<u8> {
    let text = text.replace("\\r", "\r").replace("\\n", "\n");
    match text.split_once('*') {
        // `x*70000`: a long run of one character
        Some((c, n)) if n.parse::<usize>().is_ok() => c.repeat(n.parse().unwrap()).into_bytes(),
        _ => text.into_bytes(),
    }
}

/// `ADDR=… HELO=…`: what is known of a client, and the name that it said.
fn facts(words: &str) -> (Vec<(Attributes, Vec<u8>)>, Vec<u8>) {
    let (mut facts, mut hello) = (Vec::new(), Vec::new());
    for word in words.split(' ').filter(|word| !word.is_empty()) {
        let (name, value) = word.split_once('=').unwrap();
        let value = unescape(&value.replace("\\s", " "));
        let attribute = match name {
            "ADDR" => Attributes::ADDR,
            "PORT" => Attributes::PORT,
            "PROTO" => Attributes::PROTO,
            "HELO" => Attributes::HELO,
            "LOGIN" => Attributes::LOGIN,
            "IDENT" => Attributes::IDENT,
            "SOURCE" => Attributes::SOURCE,
            name => panic!("no attribute {name}"),
        };
        if attribute == Attributes::HELO {
            hello.clone_from(&value);
        }
        facts.push((attribute, value));
    }
    (facts, hello)
}

/// `from=… to=a,b key=value…`: the envelope, its load, and which recipients.
fn envelope(words: &str) -> (Envelope, Load, Option<Vec<usize>>) {
    let mut envelope = Envelope::new();
    let mut params = MailParams::default();
    let mut load = Load {
        size: 0,
        eight_bit: false,
        whole: true,
    };
    let (mut sender, mut to, mut these) = ("", "", None);
    let (mut notify, mut orcpt) = (None, "");
    for word in words.split(' ') {
        match word.split_once('=').unwrap_or((word, "")) {
            ("from", path) => sender = path,
            ("to", paths) => to = paths,
            ("these", places) => {
                these = Some(places.split(',').map(|n| n.parse().unwrap()).collect());
            }
            ("size", n) => load.size = n.parse().unwrap(),
            ("8bit", _) => load.eight_bit = true,
            ("stream", _) => load.whole = false,
            ("declared", n) => params.size = n.parse().unwrap(),
            ("8bitmime", _) => params.body = BodyKind::EightBitMime,
            ("binarymime", _) => params.body = BodyKind::BinaryMime,
            ("utf8", _) => params.smtputf8 = true,
            ("requiretls", _) => params.requiretls = true,
            ("ret", "full") => params.ret = Some(Ret::Full),
            ("ret", _) => params.ret = Some(Ret::Hdrs),
            ("envid", id) => params.envid = envelope.keep(&unescape(id)),
            ("notify", bits) => notify = Some(Notify(bits.parse().unwrap())),
            ("orcpt", text) => orcpt = text,
            (word, _) => panic!("no parameter {word}"),
        }
    }
    let sender = envelope.keep_path(Path::split(&unescape(sender)));
    envelope.set_sender(sender, params);
    for path in to.split(',').filter(|path| !path.is_empty()) {
        let recipient = Recipient {
            path: envelope.keep_path(Path::split(&unescape(path))),
            notify,
            orcpt: match orcpt {
                "" => Span::default(),
                text => envelope.keep(text.as_bytes()),
            },
        };
        envelope.push_recipient(recipient);
    }
    (envelope, load, these)
}

fn run(name: &str, dialogue: &str, split: &dyn Fn(usize) -> bool) -> usize {
    let mut settings = BackendSettings::new("gate.example");
    for option in options(dialogue) {
        match option {
            "lmtp" => settings.lmtp = true,
            "no-chunking" => settings.chunking = false,
            "no-pipelining" => settings.pipelining = false,
            "tls" => settings.starttls = StartTls::IfOffered,
            "tls-always" | "tls-first" => settings.starttls = StartTls::Always,
            "whole" => {}
            option => panic!("{name}: no option {option}"),
        }
    }
    let first = options(dialogue).any(|option| option == "tls-first");
    let start = if first {
        BackendSession::over_tls
    } else {
        BackendSession::new
    };
    let mut run = Run {
        client: start(Arc::new(settings)),
        input: Vec::new(),
        hidden: 0,
        out: Vec::new(),
        said: 0,
        over: false,
        split,
    };
    let mut segment = Vec::new();
    for line in dialogue.lines().chain([""]) {
        if let Some(said) = line.strip_prefix("S: ") {
            segment.extend_from_slice(format!("{said}\r\n").as_bytes());
            continue;
        }
        if let Some(said) = line.strip_prefix("S= ") {
            segment.extend_from_slice(&unescape(said));
            continue;
        }
        eprintln!("{name}: {line}"); // shown where an assertion fails
        if !segment.is_empty() {
            run.say(&std::mem::take(&mut segment));
        }
        match line.split_at_checked(2) {
            Some(("C:", text)) => {
                run.expect_written(format!("{}\r\n", text.trim_start()).as_bytes())
            }
            Some(("C=", text)) => run.expect_written(&unescape(text.trim_start())),
            Some(("E:", text)) => assert_eq!(run.event().as_deref(), Some(text.trim())),
            Some(("> ", text)) => run.act(text),
            Some(("= ", text)) => run.check(text),
            Some(("# " | "@ ", _)) | None => {}
            _ => panic!("{name}: what is {line:?}?"),
        }
    }
    run.say(b"");
    run.said
}

fn options(dialogue: &str) -> impl Iterator<Item = &str> {
    let lines = dialogue.lines().filter_map(|line| line.strip_prefix("@ "));
    lines.flat_map(str::split_whitespace)
}

#[test]
fn dialogues_go_as_written_however_they_are_split() {
    let mut count = 0;
    for entry in fs::read_dir("tests/backend_transcripts").unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        for (n, dialogue) in text.split("---\n").enumerate() {
            let name = format!("{}#{}", path.file_stem().unwrap().to_string_lossy(), n + 1);
            let octets = run(&name, dialogue, &|_| false);
            count += 1;
            if options(dialogue).any(|option| option == "whole") {
                continue;
            }
            run(&format!("{name} by bytes"), dialogue, &|_| true);
            for at in 1..octets.min(2000) {
                run(&format!("{name} split at {at}"), dialogue, &|n| n == at);
            }
        }
    }
    assert!(count > 30, "only {count} dialogues");
}
