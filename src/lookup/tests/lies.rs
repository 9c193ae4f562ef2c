//! Servers that lie, and strangers that answer in their place: what is believed, and what it comes to.

use super::*;

/// What is said to one question.
enum Sent {
    Here(Vec<u8>),
    /// From another port than the one that was asked.
    Elsewhere(Vec<u8>),
}

/// What is sent for a question over UDP.
type Datagrams = fn(&[u8]) -> Vec<Sent>;
/// And over TCP.
type Stream = fn(&[u8]) -> Vec<u8>;

const TRUE: [u8; 4] = [192, 0, 2, 25];
const FALSE: [u8; 4] = [203, 0, 113, 66];

/// The end of the question section.
fn end(question: &[u8]) -> usize {
    let zero = question[12..].iter().position(|octet| *octet == 0);
    12 + zero.expect("a name") + 5
}

/// A message with the ID and the question section of `question`, these flags and answers.
fn message(question: &[u8], flags: [u8; 2], answers: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::from(&question[..2]);
    out.extend(flags);
    let count = u16::try_from(answers.len()).expect("it fits").to_be_bytes();
    out.extend([0, 1, count[0], count[1], 0, 0, 0, 0]);
    out.extend(&question[12..end(question)]);
    out.extend(answers.concat());
    out
}

const ANSWER: [u8; 2] = [0x81, 0x80];
const CUT: [u8; 2] = [0x83, 0x80];

/// A record of the name that is asked about.
fn record(record_type: u8, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).expect("it fits").to_be_bytes();
    let mut out = vec![0xc0, 12, 0, record_type, 0, 1, 0, 0, 14, 16];
    out.extend(length);
    out.extend(data);
    out
}

fn address(octets: [u8; 4]) -> Vec<u8> {
    record(1, &octets)
}

fn good(question: &[u8]) -> Vec<u8> {
    message(question, ANSWER, &[address(TRUE)])
}

fn bad(question: &[u8]) -> Vec<u8> {
    message(question, ANSWER, &[address(FALSE)])
}

/// One name of three labels that ends in `example`.
fn named(first: &str) -> Vec<u8> {
    let mut name = vec![u8::try_from(first.len()).expect("a label")];
    name.extend(first.as_bytes());
    name.extend(b"\x04case\x07example\0");
    name
}

/// Two names that lead to each other.
fn circle(question: &[u8]) -> Vec<u8> {
    let other = match question[13].to_ascii_lowercase() {
        b'a' => named("b"),
        _ => named("a"),
    };
    message(question, ANSWER, &[record(5, &other)])
}

/// Over UDP these, and over TCP this where there is something.
fn serve_lies(datagrams: Datagrams, stream: Option<Stream>) -> SocketAddr {
    let (udp, tcp) = both_ports();
    let address = udp.local_addr().expect("bound");
    let elsewhere = UdpSocket::bind("127.0.0.1:0").expect("bound");
    thread::spawn(move || {
        let mut room = [0; 512];
        while let Ok((length, peer)) = udp.recv_from(&mut room) {
            for sent in datagrams(&room[..length]) {
                let _ = match sent {
                    Sent::Here(octets) => udp.send_to(&octets, peer),
                    Sent::Elsewhere(octets) => elsewhere.send_to(&octets, peer),
                };
            }
        }
    });
    let Some(stream) = stream else {
        return address;
    };
    thread::spawn(move || answer_streams(&tcp, stream));
    address
}

/// What is believed of such a server about a name.
fn believed(server: SocketAddr, name: &str, record_type: RecordType) -> Answer {
    let (dns, mut client) = (dns(server, Time::secs(3)), Client::new(1));
    client.learns(&dns, name, record_type)
}

#[test]
fn only_the_answer_to_the_question_is_believed() {
    let cases: &[(&str, Datagrams)] = &[
        ("another ID", |question| {
            let mut lie = bad(question);
            lie[0] ^= 1;
            vec![Sent::Here(lie), Sent::Here(good(question))]
        }),
        ("another name", |question| {
            let mut lie = bad(question);
            lie[13] = b'x';
            vec![Sent::Here(lie), Sent::Here(good(question))]
        }),
        ("another type", |question| {
            let mut lie = bad(question);
            let end = end(question);
            lie[end - 3] = 28;
            vec![Sent::Here(lie), Sent::Here(good(question))]
        }),
        ("another port", |question| {
            vec![Sent::Elsewhere(bad(question)), Sent::Here(good(question))]
        }),
        ("a question", |question| {
            let mut lie = bad(question);
            lie[2] &= 0x7f;
            vec![Sent::Here(lie), Sent::Here(good(question))]
        }),
        ("noise", |question| {
            let mut lie = bad(question);
            lie.truncate(end(question) + 7);
            vec![
                Sent::Here(b"x".to_vec()),
                Sent::Here(lie),
                Sent::Here(good(question)),
            ]
        }),
    ];
    let truth = Answer::Found([Record::A(TRUE.into())].into());
    for (what, lies) in cases {
        let told = believed(serve_lies(*lies, None), "name.case.example", RecordType::A);
        assert!(
            told == truth || matches!(told, Answer::Unknown(_)),
            "{what}: {told:?}"
        );
    }
}

#[test]
fn an_answer_in_another_case_is_not_believed() {
    // Someone who has guessed the ID and the port, and does not see the question (draft-vixie-dnsext-dns0x20).
    let blind = |question: &[u8]| {
        let mut lie = bad(question);
        let name = 12..end(question) - 4;
        lie[name].make_ascii_lowercase();
        vec![Sent::Here(lie)]
    };
    let long = "a-name-of-many-letters-that-is-hard-to-guess.case.example";
    let told = believed(serve_lies(blind, None), long, RecordType::A);
    assert!(matches!(told, Answer::Unknown(_)), "{told:?}");
}

#[test]
fn what_is_cut_is_no_answer() {
    let cut = |question: &[u8]| vec![Sent::Here(message(question, CUT, &[address(FALSE)]))];
    // Nothing listens for TCP.
    let told = believed(serve_lies(cut, None), "name.case.example", RecordType::A);
    assert!(matches!(told, Answer::Unknown(_)), "{told:?}");
    let told = believed(
        serve_lies(cut, Some(good)),
        "name.case.example",
        RecordType::A,
    );
    assert_eq!(told, Answer::Found([Record::A(TRUE.into())].into()));
    // It is cut there as well.
    let again = |question: &[u8]| message(question, CUT, &[address(FALSE)]);
    let told = believed(
        serve_lies(cut, Some(again)),
        "name.case.example",
        RecordType::A,
    );
    assert!(matches!(told, Answer::Unknown(_)), "{told:?}");
}

#[test]
fn names_that_lead_to_each_other_have_no_records() {
    let server = serve_lies(|question| vec![Sent::Here(circle(question))], Some(circle));
    let told = believed(server, "a.case.example", RecordType::A);
    // The library follows eight steps and then says this; a resolver says SERVFAIL.
    assert!(
        matches!(told, Answer::NoRecords | Answer::Unknown(_)),
        "{told:?}"
    );
}

#[test]
fn what_is_too_much_is_cut() {
    fn text(question: &[u8]) -> Vec<u8> {
        let string = [&[255u8][..], &[b'x'; 255]].concat();
        message(question, ANSWER, &[record(16, &string.repeat(60))])
    }
    fn many(question: &[u8]) -> Vec<u8> {
        message(question, ANSWER, &vec![address(TRUE); 250])
    }
    let cut = |question: &[u8]| vec![Sent::Here(message(question, CUT, &[]))];
    let told = believed(
        serve_lies(cut, Some(text)),
        "text.case.example",
        RecordType::Txt,
    );
    let Answer::Found(records) = told else {
        panic!("{told:?}");
    };
    assert!(matches!(&records[..], [Record::Txt(text)] if text.len() == TXT_MAX));
    let told = believed(
        serve_lies(cut, Some(many)),
        "many.case.example",
        RecordType::A,
    );
    let Answer::Found(records) = told else {
        panic!("{told:?}");
    };
    assert_eq!(records.len(), RECORDS_MAX);
}
