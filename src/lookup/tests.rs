//! What is asked of a server that answers by the name: `found`, `nodata`, `none`, `failed`, `silent`, `long`.

mod floods;
mod forged;
mod lies;

use super::{
    dns::{Asked, Dns},
    records::{RECORDS_MAX, TXT_MAX},
    shares::SHARE_MAX,
    waiter::{Arrived, Waiter},
};
use crate::{
    config::{self, Time},
    dns::{Answer, Question, Record, RecordType, Unknown},
    net::mailbox::{Receiver, mailbox},
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Strings of a TXT record that no datagram takes.
const STRINGS: usize = 20;

/// The answer to a question; none where the name says so. `datagram`: what is long is cut.
fn answer(question: &[u8], datagram: bool) -> Option<Vec<u8>> {
    let zero = question[12..].iter().position(|octet| *octet == 0)?;
    let end = 12 + zero + 5;
    let name = String::from_utf8_lossy(&question[12..12 + zero]).to_ascii_lowercase();
    let is = |word: &str| name.contains(word);
    if is("silent") {
        return None;
    }
    let cut = is("long") && datagram;
    let (code, record): (u8, Option<Vec<u8>>) = match () {
        () if is("none") => (3, None),
        () if is("failed") => (2, None),
        () if is("long") && !datagram => {
            let text = [&[200u8][..], &[b'x'; 200]].concat().repeat(STRINGS);
            (
                0,
                Some(
                    [
                        &[0, 16][..],
                        &[0, 1, 0, 0, 14, 16],
                        &(text.len() as u16).to_be_bytes(),
                        &text,
                    ]
                    .concat(),
                ),
            )
        }
        () if is("found") => (0, Some(vec![0, 1, 0, 1, 0, 0, 14, 16, 0, 4, 192, 0, 2, 25])),
        () => (0, None),
    };
    let mut out = Vec::from(&question[..2]);
    out.extend([0x81 | u8::from(cut) << 1, 0x80 | code, 0, 1]);
    out.extend([0, u8::from(record.is_some()), 0, 0, 0, 0]);
    out.extend(&question[12..end]);
    if let Some(record) = record {
        out.extend([0xc0, 12]);
        out.extend(record);
    }
    Some(out)
}

/// A port for UDP, and the same for TCP.
fn both_ports() -> (UdpSocket, TcpListener) {
    (0..100)
        .find_map(|_| {
            let udp = UdpSocket::bind("127.0.0.1:0").expect("bound");
            let tcp = TcpListener::bind(udp.local_addr().expect("bound")).ok()?;
            Some((udp, tcp))
        })
        .expect("a port that is free for both")
}

/// Answers the questions of each connection.
fn answer_streams(tcp: &TcpListener, answer: impl Fn(&[u8]) -> Vec<u8> + Clone + Send + 'static) {
    for stream in tcp.incoming() {
        let Ok(mut stream) = stream else { return };
        let answer = answer.clone();
        thread::spawn(move || {
            let mut length = [0; 2];
            while stream.read_exact(&mut length).is_ok() {
                let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                if stream.read_exact(&mut question).is_err() {
                    return;
                }
                let out = answer(&question);
                let length = u16::try_from(out.len()).expect("a message of TCP");
                let _ = stream.write_all(&length.to_be_bytes());
                let _ = stream.write_all(&out);
            }
        });
    }
}

/// Answers over UDP and TCP on one port.
fn serve() -> SocketAddr {
    let (udp, tcp) = both_ports();
    let address = udp.local_addr().expect("bound");
    thread::spawn(move || {
        let mut room = [0; 512];
        while let Ok((length, peer)) = udp.recv_from(&mut room) {
            if let Some(out) = answer(&room[..length], true) {
                let _ = udp.send_to(&out, peer);
            }
        }
    });
    thread::spawn(move || {
        answer_streams(&tcp, |question| {
            answer(question, false).expect("what is silent is so over UDP")
        });
    });
    address
}

/// One that asks there, on a thread of its own.
fn dns(server: SocketAddr, timeout: Time) -> Arc<Dns> {
    attended(config::Dns {
        servers: vec![server],
        timeout,
        ..config::Dns::default()
    })
}

/// The same with these settings.
fn attended(settings: config::Dns) -> Arc<Dns> {
    let dns = Dns::new(&settings, None);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let control = runtime.handle().clone();
    thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    dns.attend(move |task| drop(control.spawn(task)));
    dns
}

fn question(name: &str, record_type: RecordType) -> Question {
    Question {
        name: name.into(),
        record_type,
    }
}

/// A client with a mailbox.
struct Client {
    key: u128,
    inbox: Receiver<Arrived>,
    to: crate::net::mailbox::Sender<Arrived>,
}

impl Client {
    fn new(key: u128) -> Client {
        let (to, inbox) = mailbox(4096);
        Client { key, inbox, to }
    }

    fn ask(&self, dns: &Arc<Dns>, question: &Question) -> Asked {
        let waiter = Waiter {
            docket: 1,
            client: self.key,
            to: self.to.clone(),
        };
        dns.ask(question, waiter)
    }

    fn hears(&mut self) -> Answer {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let heard = async { tokio::time::timeout(PATIENCE, self.inbox.recv()).await };
        let arrived = runtime.block_on(heard).expect("an answer in time");
        arrived.expect("the sender is here").answer
    }

    fn learns(&mut self, dns: &Arc<Dns>, name: &str, record_type: RecordType) -> Answer {
        match self.ask(dns, &question(name, record_type)) {
            Asked::Cached(answer) => answer,
            Asked::Sent | Asked::Joined => self.hears(),
            Asked::Refused(why) => Answer::Unknown(why),
        }
    }
}

#[test]
fn what_a_server_says_is_told_and_kept() {
    let (dns, mut client) = (dns(serve(), Time::secs(5)), Client::new(1));
    let found = Answer::Found([Record::A([192, 0, 2, 25].into())].into());
    for (name, expected) in [
        ("found.example", found.clone()),
        ("nodata.example", Answer::NoRecords),
        ("none.example", Answer::NoName),
        ("failed.example", Answer::Unknown(Unknown::Broken)),
    ] {
        assert_eq!(client.learns(&dns, name, RecordType::A), expected, "{name}");
        let again = client.ask(&dns, &question(name, RecordType::A));
        assert_eq!(again, Asked::Cached(expected), "{name}");
    }
}

#[test]
fn what_no_datagram_takes_comes_over_tcp() {
    let (dns, mut client) = (dns(serve(), Time::secs(5)), Client::new(1));
    let text = vec![b'x'; 200 * STRINGS];
    let expected = Answer::Found([Record::Txt(text.into())].into());
    let told = client.learns(&dns, "long.example", RecordType::Txt);
    assert_eq!(told, expected);
}

#[test]
fn equal_questions_share_a_flight() {
    let (dns, mut one, mut other) = (dns(serve(), Time::secs(1)), Client::new(1), Client::new(2));
    let asked = question("silent.example", RecordType::A);
    assert_eq!(one.ask(&dns, &asked), Asked::Sent);
    assert_eq!(other.ask(&dns, &asked), Asked::Joined);
    for client in [&mut one, &mut other] {
        assert_eq!(client.hears(), Answer::Unknown(Unknown::Timeout));
    }
}

#[test]
fn one_client_does_not_take_all() {
    let (dns, greedy, mut other) = (dns(serve(), Time::secs(5)), Client::new(1), Client::new(2));
    let silent = |number| question(&format!("{number}.silent.example"), RecordType::A);
    for number in 0..SHARE_MAX {
        assert_eq!(greedy.ask(&dns, &silent(number)), Asked::Sent);
    }
    let refused = greedy.ask(&dns, &silent(SHARE_MAX));
    assert_eq!(refused, Asked::Refused(Unknown::Overload));
    // It may still wait for what others ask.
    assert_eq!(greedy.ask(&dns, &silent(0)), Asked::Joined);
    let found = other.learns(&dns, "found.example", RecordType::A);
    assert!(matches!(found, Answer::Found(_)), "{found:?}");
}

#[test]
fn a_share_is_given_back() {
    let (dns, mut client) = (dns(serve(), Time::secs(5)), Client::new(1));
    for number in 0..SHARE_MAX * 2 {
        let name = format!("{number}.found.example");
        let found = client.learns(&dns, &name, RecordType::A);
        assert!(matches!(found, Answer::Found(_)), "{found:?}");
    }
}

#[test]
fn silent_domains_of_a_stranger_stop_nobodys_questions() {
    let (dns, mut client) = (dns(serve(), Time::millis(200)), Client::new(1));
    for round in 0..3 {
        for number in 0..20 {
            let name = format!("{round}-{number}.silent.example");
            client.ask(&dns, &question(&name, RecordType::A));
        }
        for _ in 0..20 {
            assert_eq!(client.hears(), Answer::Unknown(Unknown::Timeout));
        }
    }
    thread::sleep(Duration::from_millis(500));
    let found = client.learns(&dns, "found.example", RecordType::A);
    assert!(matches!(found, Answer::Found(_)), "{found:?}");
}

#[test]
fn while_no_server_answers_nothing_is_asked() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let server = silent.local_addr().expect("bound");
    let (dns, client) = (dns(server, Time::millis(100)), Client::new(1));
    let due = Instant::now() + PATIENCE;
    for number in 0.. {
        let name = format!("{number}.example");
        match client.ask(&dns, &question(&name, RecordType::A)) {
            Asked::Refused(why) => {
                assert_eq!(why, Unknown::Broken);
                break;
            }
            asked => assert_eq!(asked, Asked::Sent),
        }
        assert!(Instant::now() < due, "it goes on asking");
        thread::sleep(Duration::from_millis(10));
    }
}
