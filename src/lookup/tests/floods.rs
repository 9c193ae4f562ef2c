//! Strangers that have much asked and large answers sent: what they get, and that others get theirs.

use super::*;
use crate::lookup::{Thread, transport};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Answers by the first letter of the name, all over TCP: `t` one record of 20 KiB, `n` more records than are decoded, `m` many
/// records with long names, within the limits. Others are answered as [`answer`] does.
fn serve_much() -> SocketAddr {
    let (udp, tcp) = both_ports();
    let address = udp.local_addr().expect("bound");
    thread::spawn(move || {
        let mut room = [0; 512];
        while let Ok((length, peer)) = udp.recv_from(&mut room) {
            let question = &room[..length];
            let out = match much(question) {
                // TC: it is to be asked over TCP.
                Some(_) => {
                    let mut cut = Vec::from(&question[..12 + end(question)]);
                    cut[2..12].copy_from_slice(&[0x83, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
                    Some(cut)
                }
                None => answer(question, true),
            };
            if let Some(out) = out {
                let _ = udp.send_to(&out, peer);
            }
        }
    });
    thread::spawn(move || {
        answer_streams(&tcp, |question| {
            let small = || answer(question, false).expect("what is silent is so over UDP");
            much(question).unwrap_or_else(small)
        });
    });
    address
}

/// Octets of the question section.
fn end(question: &[u8]) -> usize {
    let zero = question[12..].iter().position(|octet| *octet == 0);
    zero.expect("a name") + 5
}

fn much(question: &[u8]) -> Option<Vec<u8>> {
    let (count, record_type, data) = match question[13].to_ascii_lowercase() {
        b't' => (1, 16, [&[200u8][..], &[b'x'; 200]].concat().repeat(100)),
        b'n' => {
            let most = u16::try_from(transport::RECORDS_MAX).expect("small");
            (most + 1, 1, vec![192, 0, 2, 25])
        }
        // 10, and a name of 41 octets before the one that was asked about, where it is to be read on.
        b'm' => {
            let data = [&[0, 10][..], &b"\x01a".repeat(20), &[0xc0, 12]].concat();
            (200, 15, data)
        }
        _ => return None,
    };
    let mut out = Vec::from(&question[..12 + end(question)]);
    let [high, low] = u16::to_be_bytes(count);
    out[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, high, low, 0, 0, 0, 0]);
    let length = u16::try_from(data.len()).expect("small").to_be_bytes();
    let head = [0xc0, 12, 0, record_type, 0, 1, 0, 0, 14, 16];
    for _ in 0..count {
        out.extend([&head[..], &length, &data].concat());
    }
    Some(out)
}

#[test]
fn what_is_too_large_is_not_decoded_and_others_are_answered() {
    let (dns, mut client) = (dns(serve_much(), Time::secs(5)), Client::new(1));
    for round in 0..3 {
        for (name, record_type) in [("text", RecordType::Txt), ("number", RecordType::A)] {
            let name = format!("{name}.{round}.example");
            let told = client.learns(&dns, &name, record_type);
            assert_eq!(told, Answer::Unknown(Unknown::TooLarge), "{name}");
        }
        let told = client.learns(&dns, &format!("long.{round}.example"), RecordType::Txt);
        assert!(matches!(told, Answer::Found(_)), "{told:?}");
    }
}

#[test]
fn a_client_with_large_answers_may_ask_less_at_once() {
    let (dns, mut greedy) = (dns(serve_much(), Time::secs(5)), Client::new(1));
    let mut other = Client::new(1 << 100);
    // 200 records whose names have some 40 and 200 octets.
    let label = "x".repeat(60);
    for number in 0..40 {
        let name = format!("m{number}.{label}.{label}.example");
        let told = greedy.learns(&dns, &name, RecordType::Mx);
        assert!(
            matches!(told, Answer::Found(_) | Answer::Unknown(Unknown::Overload)),
            "{told:?}"
        );
    }
    let silent = |number: u32| question(&format!("{number}.silent.example"), RecordType::A);
    let sent = (0..SHARE_MAX).filter(|number| greedy.ask(&dns, &silent(*number)) == Asked::Sent);
    let sent = sent.count();
    assert!(sent < SHARE_MAX as usize / 2, "{sent}");
    let found = other.learns(&dns, "found.example", RecordType::A);
    assert!(matches!(found, Answer::Found(_)), "{found:?}");
}

#[test]
fn all_is_asked_on_the_thread_that_asks() {
    let (asking, sent) = (
        Thread::start().expect("a thread"),
        Arc::new(AtomicUsize::new(0)),
    );
    let settings = config::Dns {
        servers: vec![serve()],
        ..config::Dns::default()
    };
    let dns = Dns::new(&settings, None);
    let (spawn, counted) = (asking.spawner(), Arc::clone(&sent));
    dns.attend(move |task| {
        let counted = Arc::clone(&counted);
        spawn(Box::pin(async move {
            assert_eq!(thread::current().name(), Some("dns"));
            counted.fetch_add(1, Relaxed);
            task.await;
        }));
    });
    let control = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let found = control.block_on(dns.resolve(&question("found.example", RecordType::A)));
    assert!(matches!(found, Answer::Found(_)), "{found:?}");
    let mut client = Client::new(1);
    let found = client.learns(&dns, "other.found.example", RecordType::A);
    assert!(matches!(found, Answer::Found(_)), "{found:?}");
    assert_eq!(sent.load(Relaxed), 2);
}
