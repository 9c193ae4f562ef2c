//! What a server that validates (DNSSEC) says of forged answers: SERVFAIL, and the answer to those that want it unchecked.

use super::*;
use crate::{config::Dnssec, lookup::validation};
use hickory_resolver::proto::rr;

/// AD and CD in the fourth octet of a header.
const AUTHENTIC: u8 = 0x20;
const UNCHECKED: u8 = 0x10;

/// A server, and whether it validates: names with `forged` in them are.
fn validating(validates: bool) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let address = socket.local_addr().expect("bound");
    thread::spawn(move || {
        let mut room = [0; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut room) {
            let question = &room[..length];
            let Some(mut said) = answer(question, true) else {
                continue;
            };
            let name = String::from_utf8_lossy(question).to_ascii_lowercase();
            if validates && name.contains("forged") && question[3] & UNCHECKED == 0 {
                // No record, and SERVFAIL.
                (said[3], said[7]) = (0x82, 0);
                said.truncate(
                    12 + question[12..]
                        .iter()
                        .position(|octet| *octet == 0)
                        .expect("a name")
                        + 5,
                );
            } else if validates {
                said[3] |= question[3] & AUTHENTIC;
            }
            let _ = socket.send_to(&said, peer);
        }
    });
    address
}

fn asking(server: SocketAddr, dnssec: Dnssec) -> Arc<Dns> {
    attended(config::Dns {
        servers: vec![server],
        dnssec,
        ..config::Dns::default()
    })
}

#[test]
fn what_is_forged_is_no_answer_and_is_called_so() {
    let server = validating(true);
    for (dnssec, forged, count) in [
        (Dnssec::Off, Unknown::Broken, 0),
        (Dnssec::Resolver, Unknown::Bogus, 1),
    ] {
        let (dns, mut client) = (asking(server, dnssec), Client::new(1));
        for (name, why) in [
            ("forged.found.example", forged),
            ("failed.example", Unknown::Broken),
        ] {
            let told = client.learns(&dns, name, RecordType::A);
            assert_eq!(told, Answer::Unknown(why), "{name} {dnssec}");
            let again = client.ask(&dns, &question(name, RecordType::A));
            assert_eq!(again, Asked::Cached(told), "{name} {dnssec}");
        }
        let found = client.learns(&dns, "found.example", RecordType::A);
        assert!(matches!(found, Answer::Found(_)), "{found:?} {dnssec}");
        assert_eq!((dns.take_bogus(), dns.take_bogus()), (count, 0), "{dnssec}");
    }
}

#[test]
fn all_servers_are_asked_at_once_whether_an_answer_was_forged() {
    let sockets = [(); 3].map(|()| UdpSocket::bind("127.0.0.1:0").expect("bound"));
    let servers = sockets.each_ref().map(|socket| {
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        socket.local_addr().expect("bound")
    });
    let asking = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let name = rr::Name::from_ascii("forged.found.example.").expect("a name");
        let until = Instant::now() + 4 * PATIENCE;
        let asked = validation::is_bogus(&servers, name, rr::RecordType::A, until.into());
        runtime.block_on(asked)
    });
    // The first server answers when the last one has been asked as well, which is asked no later for its silence.
    let mut room = [0; 512];
    for (number, socket) in sockets.iter().enumerate().rev() {
        let (length, peer) = socket.recv_from(&mut room).expect("it is asked");
        if number == 0 {
            let said = answer(&room[..length], true).expect("it says something");
            socket.send_to(&said, peer).expect("sent");
        }
    }
    assert!(asking.join().expect("it ends"));
}

#[test]
fn a_reload_loses_no_count_of_what_was_forged() {
    let dns = asking(validating(true), Dnssec::Resolver);
    let reloaded = Dns::new(
        &config::Dns {
            timeout: Time::secs(5),
            ..dns.settings().clone()
        },
        Some(&dns),
    );
    let mut client = Client::new(1);
    client.learns(&dns, "forged.found.example", RecordType::A);
    assert_eq!(reloaded.take_bogus(), 1);
}

#[test]
fn a_server_shows_whether_it_validates() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let silent = silent.local_addr().expect("bound");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for (server, expected) in [
        (validating(true), Some(true)),
        (validating(false), Some(false)),
        (silent, None),
    ] {
        let dns = asking(server, Dnssec::Resolver);
        assert_eq!(runtime.block_on(dns.validates(server)), expected);
    }
}
