//! What clients can't take: backend connections, memory, and time without end.

use crate::{
    backend::{Act, Backend, EXTENSIONS},
    client::Client,
    harness::{Gatepost, free_address, leave_out, wait_until},
};
use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// Gatepost before `backend`, with no limits for these clients and recipients taken unasked.
pub fn config(backend: &Backend, pool_keys: &str, tables: &str) -> String {
    config_at(backend.address, pool_keys, tables)
}

/// [`config`] for a backend that isn't a [`Backend`].
fn config_at(backend: SocketAddr, pool_keys: &str, tables: &str) -> String {
    format!(
        "trusted = [\"127.0.0.0/8\", \"::1/128\"]\n\
         [[pool]]\nname = \"cluster\"\nbackends = [\"{backend}\"]\n{pool_keys}\n\
         [[route]]\ndomains = [\"example.net\"]\npool = \"cluster\"\nrecipients = \"accept\"\n{tables}"
    )
}

/// A backend that takes a transaction up to its body and then reads no more.
fn stops_reading() -> SocketAddr {
    let listener = TcpListener::bind(free_address()).expect("the address is free");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        let mut frozen = Vec::new();
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let say = |reader: &mut BufReader<TcpStream>, text: &str| {
                reader.get_mut().write_all(text.as_bytes())
            };
            let _ = say(&mut reader, "220 backend.example\r\n");
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|octets| octets > 0) {
                let data = line.starts_with("DATA");
                let _ = say(
                    &mut reader,
                    if data {
                        "354 go\r\n"
                    } else {
                        "250 2.0.0 Ok\r\n"
                    },
                );
                if data {
                    break;
                }
                line.clear();
            }
            frozen.push(reader);
        }
    });
    address
}

/// So many connections as this process may open; fewer than wanted are noted.
fn connections(wanted: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("on Linux");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3)?.parse::<usize>().ok());
    let may = soft.unwrap_or(usize::MAX).saturating_sub(100);
    if may < wanted {
        leave_out(&format!(
            "{wanted} connections: only {may}, for the limit of open files"
        ));
    }
    wanted.min(may)
}

/// Lines of all lengths, many with a dot in front: 64 KiB, as they are and as DATA sends them.
fn block() -> (Vec<u8>, Vec<u8>) {
    let mut plain = Vec::new();
    for number in 0.. {
        let line = format!(
            "{}{}\r\n",
            ".".repeat(number % 3),
            "y".repeat(number * 7 % 900)
        );
        if plain.len() + line.len() > 65_536 {
            break;
        }
        plain.extend_from_slice(line.as_bytes());
    }
    let text = String::from_utf8(plain.clone()).expect("ASCII");
    let stuffed = text.replace("\r\n.", "\r\n..");
    (plain, stuffed.into_bytes())
}

/// What one streamed message may take: its window, the buffers on both sides, and what the allocator rounds up.
const STREAM_KIB: u64 = 24 * 1024;
/// What memory may grow by while nothing is kept: the allocator takes it in steps of 4 MiB.
const SMALL_KIB: u64 = 8 * 1024;

const BLOCKS: usize = 810;
const HEADER: &str = "Subject: large\r\n\r\n";

/// Sends more than 50 MiB to a backend that offers `extensions`, by BDAT or by DATA; memory stays flat, and
/// not an octet is lost.
fn streams(engine: &str, extensions: &[&'static str], bdat: bool) {
    // A wait at the start shows whether the client is held back or its message piled up.
    let backend = Backend::start(free_address(), extensions, |_, command| {
        match command.starts_with("MAIL") {
            true => Act::Late(Duration::from_millis(300)),
            false => Act::Usual,
        }
    });
    let gatepost = Gatepost::start(
        engine,
        &config(&backend, "", "[limits]\nmessage_size = \"64MiB\"\n"),
    );
    let mut client = Client::hello(gatepost.smtp);
    assert!(
        client
            .send("a@sender.example", &["b@example.net"], "warm\r\n")
            .starts_with("250")
    );
    let (plain, stuffed) = block();
    let before = gatepost.resident_kib();
    let mut most = before;
    client.expect("MAIL FROM:<a@sender.example>", "250");
    client.expect("RCPT TO:<b@example.net>", "250");
    if bdat {
        client.raw(format!("BDAT {}\r\n{HEADER}", HEADER.len()).as_bytes());
        assert!(client.reply().starts_with("250"));
    } else {
        client.expect("DATA", "354");
        client.raw(HEADER.as_bytes());
    }
    for number in 0..BLOCKS {
        let mark = format!("block {number}\r\n");
        if bdat {
            client.raw(format!("BDAT {}\r\n{mark}", mark.len() + plain.len()).as_bytes());
            client.raw(&plain);
            let reply = client.reply();
            assert!(reply.starts_with("250"), "{number}: {reply}");
        } else {
            client.raw(mark.as_bytes());
            client.raw(&stuffed);
        }
        if number % 20 == 0 {
            most = most.max(gatepost.resident_kib());
        }
    }
    client.raw(if bdat { b"BDAT 0 LAST\r\n" } else { b".\r\n" });
    let reply = client.reply();
    assert!(reply.starts_with("250"), "{reply}");
    eprintln!("resident: {before} KiB before, {most} KiB at most");
    assert!(most - before < STREAM_KIB, "from {before} to {most} KiB");
    assert_eq!(gatepost.metric("gatepost_messages_streamed_total", ""), 1.0);
    backend.with_messages(|messages| {
        let message = &messages[1];
        assert_eq!(message.bdat, extensions.contains(&"CHUNKING"));
        let start = memchr::memmem::find(&message.body, HEADER.as_bytes()).expect("our header");
        assert!(start < 500, "one trace field above it");
        let mut rest = &message.body[start + HEADER.len()..];
        for number in 0..BLOCKS {
            rest = rest
                .strip_prefix(format!("block {number}\r\n").as_bytes())
                .expect("the mark");
            rest = rest
                .strip_prefix(&plain[..])
                .unwrap_or_else(|| panic!("block {number}"));
        }
        assert!(rest.is_empty());
    });
}

crate::on_all_engines! {
    fn slow_clients_hold_no_backend_connection(engine) {
        const FAST: usize = 8;
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &config(&backend, "", ""));
        wait_until("the first probe is over", || (backend.open() == 0).then_some(()));
        let honest = || {
            let mut client = Client::hello(gatepost.smtp);
            for _ in 0..50 {
                let reply = client.send("a@sender.example", &["b@example.net"], "fast\r\n");
                assert!(reply.starts_with("250"), "{reply}");
            }
        };
        // Some memory is taken once: tables, buffers kept for the next ones, what is kept of messages for `explain`.
        thread::scope(|scope| (0..FAST).for_each(|_| drop(scope.spawn(honest))));
        let before = gatepost.resident_kib();
        let mut slow: Vec<Client> = (0..connections(1000)).map(|_| Client::in_data(gatepost.smtp)).collect();
        for client in &mut slow {
            client.raw(b"Subject: slow\r\n\r\n");
        }
        assert_eq!(gatepost.metric("gatepost_backend_connections", "state=\"leased\""), 0.0);
        thread::scope(|scope| {
            let fast: Vec<_> = (0..FAST).map(|_| scope.spawn(honest)).collect();
            while !fast.iter().all(|thread| thread.is_finished()) {
                slow.iter_mut().for_each(|client| client.raw(b"x"));
                thread::sleep(Duration::from_millis(20));
            }
        });
        assert_eq!(backend.messages().len(), 2 * 50 * FAST);
        assert!(backend.open_max() <= FAST, "{} connections to the backend", backend.open_max());
        wait_until("only the slow ones are left", || {
            (gatepost.metric("gatepost_sessions_open", "") == slow.len() as f64).then_some(())
        });
        assert_eq!(gatepost.metric("gatepost_backend_connections", "state=\"leased\""), 0.0);
        let grown = gatepost.resident_kib() - before;
        eprintln!("{} slow clients: {grown} KiB", slow.len());
        assert!(grown < 32 * 1024, "{grown} KiB");
        for client in [0, slow.len() - 1] {
            slow[client].raw(b"\r\n.\r\n");
            let reply = slow[client].reply();
            assert!(reply.starts_with("250"), "{reply}");
        }
    }

    fn a_large_message_streams_by_data(engine) {
        streams(engine, EXTENSIONS, false);
    }

    fn a_large_message_streams_by_bdat(engine) {
        streams(engine, &["PIPELINING", "SIZE 104857600", "8BITMIME", "CHUNKING"], true);
    }

    fn a_backend_that_stops_reading_holds_back_the_client(engine) {
        let address = stops_reading();
        let tables = "[limits]\nmessage_size = \"1GiB\"\n[timeouts]\nbackend = \"1s\"\n";
        let gatepost = Gatepost::start(engine, &config_at(address, "", tables));
        let mut client = Client::in_data(gatepost.smtp);
        client.raw(HEADER.as_bytes());
        let (_, stuffed) = block();
        let before = gatepost.resident_kib();
        let mut most = before;
        // More than all socket buffers on the way can hold.
        for _ in 0..1000 {
            client.raw(&stuffed);
            most = most.max(gatepost.resident_kib());
        }
        client.raw(b".\r\n");
        let reply = client.reply();
        assert!(reply.starts_with("451 4.4."), "{reply}");
        assert!(most - before < STREAM_KIB, "from {before} to {most} KiB");
        assert_eq!(gatepost.metric("gatepost_uncertain_total", ""), 0.0, "it never got the end");
        client.expect("NOOP", "250");
    }

    fn body_memory_is_bounded_and_recovers(engine) {
        let backend = Backend::good(free_address());
        let limits = "[limits]\nbody_memory = \"512KiB\"\nwindow = \"64KiB\"\nheader = \"16KiB\"\n";
        let gatepost = Gatepost::start(engine, &config(&backend, "", limits));
        let half = "Subject: half\r\n\r\n".to_string() + &"half a message\r\n".repeat(900);
        let mut held = Vec::new();
        let refused = loop {
            let mut client = Client::hello(gatepost.smtp);
            client.expect("MAIL FROM:<a@sender.example>", "250");
            client.expect("RCPT TO:<b@example.net>", "250");
            let reply = client.command("DATA");
            if !reply.starts_with("354") {
                break reply;
            }
            client.raw(half.as_bytes());
            held.push(client);
            // The budget is charged when the octets are there.
            wait_until("the body is in memory", || {
                let memory = gatepost.metric("gatepost_body_memory_bytes", "");
                (memory >= (held.len() * half.len()) as f64).then_some(())
            });
            assert!(held.len() < 64, "the budget is 512 KiB");
        };
        assert!(refused.starts_with("452 4.3.1"), "{refused}");
        assert_eq!(gatepost.metric("gatepost_bodies_refused_total", ""), 1.0);
        assert!(gatepost.metric("gatepost_body_memory_bytes", "") <= 524_288.0);
        // Who is inside goes on, in a stream where there is no more memory.
        let mut one = held.pop().expect("some came in");
        one.raw("more of it\r\n".repeat(20_000).as_bytes());
        one.raw(b".\r\n");
        assert!(one.reply().starts_with("250"));
        drop(held);
        let reply = Client::hello(gatepost.smtp).send("a@sender.example", &["b@example.net"], "x\r\n");
        assert!(reply.starts_with("250"), "{reply}");
        assert_eq!(backend.messages().len(), 2);
        wait_until("the memory is free", || (gatepost.metric("gatepost_body_memory_bytes", "") == 0.0).then_some(()));
    }

    fn an_endless_command_line_is_cut_off(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &config(&backend, "", ""));
        let mut client = Client::hello(gatepost.smtp);
        let before = gatepost.resident_kib();
        let piece = [b'A'; 4096];
        let mut sent = 0;
        while client.try_raw(&piece) && !client.hears(Duration::from_millis(1)) {
            sent += piece.len();
            assert!(sent < 100 << 20);
        }
        let rest = client.rest();
        assert!(rest.starts_with("500 5.5.2 Line too long; closing"), "{rest}");
        assert_eq!(rest.lines().count(), 1);
        // One that does end is answered, and the session goes on.
        let mut client = Client::hello(gatepost.smtp);
        client.expect(&("NOOP ".to_string() + &"x".repeat(9000)), "500 5.5.2");
        client.expect("NOOP", "250");
        assert!(gatepost.resident_kib() - before < SMALL_KIB);
    }

    fn an_endless_line_of_a_message_is_swallowed(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &config(&backend, "", ""));
        let mut client = Client::in_data(gatepost.smtp);
        client.raw(b"Subject: long\r\n\r\n");
        let before = gatepost.resident_kib();
        let mut most = before;
        for _ in 0..256 {
            client.raw(&[b'x'; 1 << 16]);
            most = most.max(gatepost.resident_kib());
        }
        client.raw(b"\r\n.\r\n");
        let reply = client.reply();
        assert!(reply.starts_with("550 5.6.0"), "{reply}");
        assert!(most - before < SMALL_KIB, "from {before} to {most} KiB");
        let reply = client.send("a@sender.example", &["b@example.net"], "short\r\n");
        assert!(reply.starts_with("250"), "{reply}");
        assert_eq!(backend.messages().len(), 1);
    }

    fn an_endless_header_is_swallowed(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &config(&backend, "", ""));
        let mut client = Client::in_data(gatepost.smtp);
        let fields = "X-Field: and so on\r\n".repeat(3200);
        // Once round all receive buffers, and the huge pages that they lie in: the first touch is no growth.
        for _ in 0..200 {
            client.raw(fields.as_bytes());
        }
        let before = gatepost.resident_kib();
        let mut most = before;
        for _ in 0..256 {
            client.raw(fields.as_bytes());
            most = most.max(gatepost.resident_kib());
        }
        client.raw(b"\r\nbody\r\n.\r\n");
        let reply = client.reply();
        assert!(reply.starts_with("552 5.3.4"), "{reply}");
        assert!(most - before < SMALL_KIB, "from {before} to {most} KiB");
        let reply = client.send("a@sender.example", &["b@example.net"], "short\r\n");
        assert!(reply.starts_with("250"), "{reply}");
        assert_eq!(backend.messages().len(), 1);
    }

    fn a_client_that_never_reads_is_ended(engine) {
        let backend = Backend::good(free_address());
        let tables = "[limits]\njunk = 1000000000\n[timeouts]\nsend = \"1s\"\n";
        let gatepost = Gatepost::start(engine, &config(&backend, "", tables));
        // The first session that ends takes what is taken once: the room for explanations.
        drop(Client::in_data(gatepost.smtp));
        gatepost.log_line(&["end=client@body"]);
        let mut client = Client::hello(gatepost.smtp);
        let before = gatepost.resident_kib();
        let batch = "NOOP\r\n".repeat(10_000);
        let mut sent = 0;
        while client.try_raw(batch.as_bytes()) {
            sent += batch.len();
            assert!(sent < 1 << 30, "it is read without end");
        }
        assert!(gatepost.resident_kib() - before < SMALL_KIB);
        wait_until("the session is over", || (gatepost.metric("gatepost_sessions_open", "") == 0.0).then_some(()));
        gatepost.log_line(&["end=gatepost@", "timeout"]);
        assert!(gatepost.metric("gatepost_timeouts_total", "") >= 1.0);
    }

    fn an_idle_session_is_ended(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &config(&backend, "", "[timeouts]\ncommand = \"1s\"\n"));
        let (mut silent, _) = Client::greeted(gatepost.smtp);
        let mut idle = Client::hello(gatepost.smtp);
        idle.expect("MAIL FROM:<a@sender.example>", "250");
        // A command that never ends is not a sign of life.
        let mut drips = Client::hello(gatepost.smtp);
        let begun = Instant::now();
        while drips.try_raw(b"A") && !drips.hears(Duration::from_millis(100)) {
            assert!(begun.elapsed() < crate::harness::PATIENCE);
        }
        for (who, client) in [("drips", &mut drips), ("silent", &mut silent), ("idle", &mut idle)] {
            let rest = client.rest();
            assert!(rest.starts_with("421 4.4.2"), "{who}: {rest:?}\n{}", gatepost.log());
        }
        assert_eq!(gatepost.metric("gatepost_timeouts_total", ""), 3.0);
    }

    fn a_body_that_stops_or_drips_is_ended(engine) {
        let backend = Backend::good(free_address());
        let tables = "[timeouts]\ndata = \"1s\"\nbody_rate = \"1MiB\"\n[limits]\nwindow = \"16KiB\"\nheader = \"16KiB\"\n";
        let gatepost = Gatepost::start(engine, &config(&backend, "", tables));
        let mut stops = Client::in_data(gatepost.smtp);
        stops.raw(b"Subject: x\r\n\r\nthat is all\r\n");
        // The second one is already on its way to the backend, which must not keep it.
        let mut drips = Client::in_data(gatepost.smtp);
        drips.raw(("Subject: x\r\n\r\n".to_string() + &"line\r\n".repeat(10_000)).as_bytes());
        let begun = Instant::now();
        while drips.try_raw(b"drip\r\n") && !drips.hears(Duration::from_millis(50)) {
            assert!(begun.elapsed() < crate::harness::PATIENCE);
        }
        for client in [&mut drips, &mut stops] {
            let rest = client.rest();
            assert!(rest.starts_with("421 4.4.2"), "{rest:?}");
        }
        wait_until("the backend's connection is given up", || (backend.open() == 0).then_some(()));
        assert_eq!(backend.messages(), []);
    }
}
