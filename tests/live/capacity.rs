//! Counts that are held: sessions, descriptors, connections to a backend. What is above them is told to come
//! again, and what was taken is given back.

use crate::{
    backend::{Act, Backend, EXTENSIONS},
    client::Client,
    harness::{Gatepost, PATIENCE, free_address, http, leave_out, wait_until},
    resources::config,
};
use std::{
    collections::HashSet,
    io::Read,
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

/// Sends one message, whatever it takes.
fn serves_again(gatepost: &Gatepost) {
    wait_until("it serves again", || {
        let (mut client, greeting) = Client::greeted(gatepost.smtp);
        if !greeting.starts_with("220") {
            return None;
        }
        client.expect("EHLO client.example", "250");
        let reply = client.send("a@sender.example", &["b@example.net"], "x\r\n");
        reply.starts_with("250").then_some(())
    });
}

/// Fills a limit of three sessions; the fourth is told, and the place of one that went is free.
fn three_sessions(engine: &str, listener: &str, tables: &str) {
    let backend = Backend::good(free_address());
    let listener =
        format!("[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\n{listener}\n");
    let gatepost = Gatepost::start(engine, &config(&backend, "", &(listener + tables)));
    let mut inside: Vec<Client> = Vec::new();
    for _ in 0..3 {
        let (client, greeting) = Client::greeted(gatepost.smtp);
        assert!(greeting.starts_with("220"), "{greeting}");
        inside.push(client);
    }
    let (mut fourth, greeting) = Client::greeted(gatepost.smtp);
    assert!(greeting.starts_with("421 4.3.2"), "{greeting}");
    assert_eq!(fourth.rest(), "", "and closed");
    assert!(gatepost.metric("gatepost_connections_refused_total", "sessions") >= 1.0);
    inside[0].expect("EHLO client.example", "250");
    let reply = inside[0].send("a@sender.example", &["b@example.net"], "x\r\n");
    assert!(reply.starts_with("250"), "{reply}");
    inside.pop().expect("three").expect("QUIT", "221");
    serves_again(&gatepost);
}

crate::on_all_engines! {
    fn a_listener_has_so_many_sessions(engine) {
        three_sessions(engine, "sessions_max = 3", "");
    }

    fn a_worker_has_so_many_sessions(engine) {
        three_sessions(engine, "", "[limits]\nsessions = 3\n");
    }

    fn out_of_descriptors_it_pauses_and_recovers(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start_behind("ulimit -n 64", engine, &config(&backend, "", ""));
        let mut inside = Client::hello(gatepost.smtp);
        let waiting: Vec<TcpStream> = (0..150)
            .map(|_| TcpStream::connect(gatepost.smtp).expect("the backlog takes it"))
            .collect();
        wait_until("it has said so", || gatepost.errors().contains("connections are closed at once").then_some(()));
        let said = gatepost.errors();
        assert!(said.contains("each of 1 workers takes 28 sessions at most"), "{said}");
        // What must go on has descriptors: a message under way, the admin endpoint, a reload.
        let reply = inside.send("a@sender.example", &["b@example.net"], "x\r\n");
        assert!(reply.starts_with("250"), "{reply}");
        assert_eq!(backend.messages().len(), 1);
        assert_eq!(gatepost.get("/health").0, 200);
        let (status, answer) = http(gatepost.admin, "POST", "/reload");
        assert_eq!(status, 200, "{answer}");
        drop(waiting);
        serves_again(&gatepost);
        let pauses = wait_until("metrics", || {
            let pauses = gatepost.metric("gatepost_accept_pauses_total", "");
            (pauses > 0.0).then_some(pauses)
        });
        eprintln!("{pauses} pauses");
        assert_eq!(gatepost.metric("gatepost_panics_total", ""), 0.0);
        assert_eq!(gatepost.errors().matches("closed at once").count(), 1, "said once: {}", gatepost.errors());
    }

    fn the_soft_limit_of_descriptors_is_raised(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start_behind("ulimit -Sn 64", engine, &config(&backend, "", ""));
        let waiting: Vec<TcpStream> = (0..150)
            .map(|_| TcpStream::connect(gatepost.smtp).expect("the backlog takes it"))
            .collect();
        for stream in &waiting {
            let mut start = [0; 3];
            stream.set_read_timeout(Some(PATIENCE)).expect("set");
            (&*stream).read_exact(&mut start).expect("a greeting");
            assert_eq!(&start, b"220");
        }
    }

    fn aborted_sessions_leave_no_descriptor(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &config(&backend, "", "[limits]\nwindow = \"16KiB\"\nheader = \"16KiB\"\n"));
        serves_again(&gatepost);
        let sessions = || gatepost.metric("gatepost_sessions_open", "");
        wait_until("the sessions are over", || (sessions() == 0.0).then_some(()));
        let (before, memory) = (gatepost.descriptors(), gatepost.resident_kib());
        let large = "Subject: x\r\n\r\n".to_string() + &"a line of it\r\n".repeat(4000);
        thread::scope(|scope| {
            for part in 0..4 {
                let (address, large) = (gatepost.smtp, &large);
                scope.spawn(move || for number in 0..500 {
                    let mut client = Client::silent(address);
                    match (number + part) % 5 {
                        0 => {}
                        1 => drop(client.reply()),
                        2 => client.raw(b"EHLO x.example\r\nMAIL FROM:<a@sender.example>\r\nRC"),
                        3 => {
                            client = Client::in_data(address);
                            client.raw(b"half a message\r\n.");
                        }
                        // Large enough to be on its way to the backend.
                        _ => {
                            client = Client::in_data(address);
                            client.raw(large.as_bytes());
                        }
                    }
                    if number % 2 == 0 {
                        client.reset();
                    }
                });
            }
        });
        wait_until("the sessions are over", || (sessions() == 0.0).then_some(()));
        wait_until("the descriptors are back", || (gatepost.descriptors() <= before + 2).then_some(()));
        wait_until("the leases are back", || {
            (gatepost.metric("gatepost_backend_connections", "state=\"leased\"") == 0.0).then_some(())
        });
        eprintln!("{memory} KiB before, {} KiB after", gatepost.resident_kib());
        assert!(gatepost.resident_kib() - memory < 24 * 1024);
        serves_again(&gatepost);
        assert_eq!(backend.messages().len(), 2, "and none of them delivered anything");
    }

    fn a_backend_gets_so_many_connections(engine) {
        const SENDERS: usize = 40;
        const EACH: usize = 8;
        let backend = Backend::start(free_address(), EXTENSIONS, |_, command| match command {
            "BODY" => Act::Late(Duration::from_millis(2)),
            _ => Act::Usual,
        });
        // Recipients are verified, each of them new: that takes connections as well.
        let more = "connections = 3\nmessages = 5\nlease_wait = \"60s\"\nhealth = { interval = \"300ms\" }";
        let config = config(&backend, more, "").replace("\"accept\"", "\"verify\"");
        let gatepost = Gatepost::start(engine, &format!("workers = 2\n{config}"));
        thread::scope(|scope| {
            for sender in 0..SENDERS {
                let address = gatepost.smtp;
                scope.spawn(move || {
                    let mut client = Client::hello(address);
                    for number in 0..EACH {
                        let to = format!("{sender}-{number}@example.net");
                        let reply = client.send("a@sender.example", &[&to], "x\r\n");
                        assert!(reply.starts_with("250"), "{reply}");
                    }
                });
            }
        });
        let messages = backend.messages();
        let recipients: HashSet<_> = messages.iter().map(|message| &message.rcpt[0]).collect();
        assert_eq!((messages.len(), recipients.len()), (SENDERS * EACH, SENDERS * EACH));
        eprintln!("{} connections at most, {} in all", backend.open_max(), backend.connections());
        assert!(backend.open_max() <= 3, "{}", backend.open_max());
    }

    fn ipv6_is_served(engine) {
        let Ok(address) = TcpListener::bind("[::1]:0").and_then(|socket| socket.local_addr()) else {
            leave_out("tests on IPv6: this machine has no ::1");
            return;
        };
        let backend = Backend::good(free_address());
        let listener = format!("[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\", \"{address}\"]\n");
        let gatepost = Gatepost::start(engine, &config(&backend, "", &listener));
        for (address, origin) in [(address, "[IPv6:::1]"), (gatepost.smtp, "[127.")] {
            let (mut client, greeting) = Client::greeted(address);
            assert!(greeting.starts_with("220"), "{greeting}");
            client.expect("EHLO [IPv6:::1]", "250");
            let reply = client.send("a@sender.example", &["b@example.net"], "x\r\n");
            assert!(reply.starts_with("250"), "{reply}");
            let text = backend.messages().last().expect("it came").text();
            assert!(text.contains(origin), "{text}");
        }
        let SocketAddr::V6(_) = address else { panic!("{address}") };
        gatepost.log_line(&["client=::1", "verdict=accept"]);
    }
}
