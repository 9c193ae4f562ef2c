//! Each way of misbehaving, as told and no other.

use crate::harness::{Client, message, sink, sink_with, wait_until};
use gatepost_load::{sink::Handle, stamp::RunId};
use std::time::{Duration, Instant};

fn change(sink: &Handle, changes: &str) {
    sink.change(serde_json::from_str(changes).unwrap());
}

#[test]
fn refusals_come_where_they_were_asked_for() {
    let sink = sink(r#"{"refuse": "connect=421:100%"}"#);
    let mut client = Client::connect(&sink);
    client.expect("421 Not now");
    client.expect_end();
    change(&sink, r#"{"refuse": "hello=550 5.7.1 Not you:100%"}"#);
    let mut client = Client::connect(&sink);
    client.expect("220");
    client.ask("EHLO x", "550 Not you");
    change(&sink, r#"{"refuse": "mail=550 5.7.1 No:100%"}"#);
    client.ask("EHLO x", "250");
    client.ask("MAIL FROM:<a@a.example>", "550 5.7.1 No\r\n");
    client.ask("RCPT TO:<a@a.example>", "503");
    change(&sink, r#"{"refuse": "rcpt=450:100%"}"#);
    client.ask("MAIL FROM:<a@a.example>", "250");
    client.ask("RCPT TO:<a@a.example>", "450 4.2.0");
    client.ask("DATA", "554");
    change(&sink, r#"{"refuse": "data=451:100%"}"#);
    client.ask("RCPT TO:<a@a.example>", "250");
    client.ask("DATA", "451 4.3.0");
    // A refused chunk spoils the message: what follows is swallowed until RSET.
    client.ask("BDAT 5\r\nabc", "451");
    client.ask("BDAT 5 LAST\r\nabc", "503");
    client.ask("RSET", "250");
    change(&sink, r#"{"refuse": "body=452:100%"}"#);
    client.data(&message(1, 0, "x\r\n"), "452 4.3.1");
    change(&sink, r#"{"refuse": "body=421:100%"}"#);
    client.data(&message(1, 0, "x\r\n"), "421 4.3.2");
    client.expect_end();
    let summary = sink.summary();
    let refused: Vec<_> = summary
        .refused
        .iter()
        .map(|(at, count)| (&**at, *count))
        .collect();
    let expected = [
        ("body", 2),
        ("connect", 1),
        ("data", 2),
        ("hello", 1),
        ("mail", 1),
        ("rcpt", 1),
    ];
    assert_eq!(refused, expected);
    assert_eq!(summary.messages, 0);
    assert!(sink.tally(RunId(1)).is_none());
}

#[test]
fn it_hangs_up_where_it_was_told_to() {
    let sink = sink("{}");
    let mut expected = Vec::new();
    for place in [
        "connect",
        "hello",
        "mail",
        "rcpt",
        "data",
        "body-middle",
        "before-commit",
        "before-reply",
    ] {
        change(&sink, &format!(r#"{{"drop": "{place}:100%"}}"#));
        let mut client = Client::connect(&sink);
        let steps = [
            "EHLO x",
            "MAIL FROM:<a@a.example>",
            "RCPT TO:<a@a.example>",
            "DATA",
        ];
        let before = match place {
            "connect" => 0,
            "hello" => 1,
            "mail" => 2,
            "rcpt" => 3,
            "data" => 4,
            _ => 5,
        };
        for step in 0..before {
            client.expect(["220", "250", "250", "250", "354"][step]);
            if let Some(command) = steps.get(step) {
                client.try_send(format!("{command}\r\n"));
            }
        }
        if before == 5 {
            client.body(&message(1, 0, "x\r\n"));
        }
        client.expect_end();
        expected.push((place.to_string(), 1));
    }
    wait_until("all are gone", || sink.summary().connections_open == 0);
    let summary = sink.stop();
    expected.sort();
    assert_eq!(summary.dropped.into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(summary.messages, 1, "the one before whose reply it hung up");
    assert_eq!(summary.runs[0].messages, 1);
}

#[test]
fn what_was_said_before_a_drop_still_arrives() {
    let sink = sink(r#"{"drop": "data:100%"}"#);
    let mut client = Client::greeted(&sink);
    client.send("MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n");
    client.expect("250 2.1.0");
    client.expect("250 2.1.5");
    client.expect_end();
}

#[test]
fn garbled_replies_are_no_replies() {
    let sink = sink(r#"{"garble": "mail:100%,body:100%"}"#);
    let mut client = Client::greeted(&sink);
    client.ask("MAIL FROM:<a@a.example>", "?garbled");
    client.ask("RCPT TO:<a@a.example>", "250");
    client.ask("DATA", "354");
    client.body(&message(1, 0, "x\r\n"));
    client.expect("?garbled");
    let summary = sink.summary();
    assert_eq!((summary.garbled["mail"], summary.garbled["body"]), (1, 1));
    assert_eq!(summary.messages, 1);
}

#[test]
fn delays_come_before_the_reply_and_nowhere_else() {
    let wait = Duration::from_millis(120);
    let sink = sink(
        r#"{"delay": "connect=120ms,hello=120ms,mail=120ms,rcpt=120ms,data=120ms,body=120ms"}"#,
    );
    let took = |begun: Instant| assert!(begun.elapsed() >= wait, "{:?}", begun.elapsed());
    let begun = Instant::now();
    let mut client = Client::connect(&sink);
    client.expect("220");
    took(begun);
    for (command, start) in [
        ("EHLO x", "250"),
        ("MAIL FROM:<a@a.example>", "250"),
        ("RCPT TO:<a@a.example>", "250"),
        ("DATA", "354"),
        (".", "250"),
    ] {
        let begun = Instant::now();
        client.ask(command, start);
        took(begun);
    }
    // What was said before the wait is sent before the wait.
    change(&sink, r#"{"delay": "rcpt=1h"}"#);
    client.send("MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n");
    client.expect("250 2.1.0");
    assert_eq!(sink.stop().commands["rcpt"], 2);
}

#[test]
fn a_stall_stops_every_connection() {
    let sink = sink_with("{}", |options| options.workers = 2);
    let mut clients: Vec<_> = (0..4).map(|_| Client::greeted(&sink)).collect();
    let begun = Instant::now();
    sink.stall(Duration::from_millis(300));
    clients
        .iter_mut()
        .for_each(|client| client.send("NOOP\r\n"));
    let mut late = Client::connect(&sink);
    clients.iter_mut().for_each(|client| {
        client.expect("250");
    });
    late.expect("220");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    // A stall of nearly all the time, by the clock.
    change(&sink, r#"{"stall": "every=250ms,for=240ms"}"#);
    let begun = Instant::now();
    for _ in 0..4 {
        clients[0].ask("NOOP", "250");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(begun.elapsed() >= Duration::from_millis(250));
    change(&sink, r#"{"stall": "off"}"#);
    clients[1].ask("NOOP", "250");
}

#[test]
fn a_slow_reader_takes_its_time() {
    let sink = sink(r#"{"read_rate": "256KiB"}"#);
    let mut client = Client::greeted(&sink);
    let begun = Instant::now();
    client.data(&message(1, 0, &"x\r\n".repeat(24 * 1024)), "250");
    assert!(
        begun.elapsed() >= Duration::from_millis(250),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(sink.summary().damaged, 0);
}

#[test]
fn limits_have_their_replies() {
    let sink = sink(
        r#"{"size_max": "2KiB", "connections_max": 2, "recipients_max": 2, "unknown": "^(nobody|none)@"}"#,
    );
    let mut client = Client::connect(&sink);
    client.expect("220");
    let hello = client.ask("EHLO x", "250");
    assert!(hello.contains("SIZE 2048"), "{hello}");
    client.ask("MAIL FROM:<a@a.example> SIZE=2049", "552 5.3.4");
    client.ask("MAIL FROM:<a@a.example> SIZE=2048", "250");
    client.ask("RCPT TO:<nobody@b.example>", "550 5.1.1");
    client.ask("RCPT TO:<a@b.example>", "250");
    client.ask("RCPT TO:<b@b.example>", "250");
    client.ask("RCPT TO:<c@b.example>", "452 4.5.3");
    client.ask("DATA", "354");
    client.body(&message(1, 0, &"x\r\n".repeat(1000)));
    client.expect("552 5.3.4");
    let _second = Client::greeted(&sink);
    let mut third = Client::connect(&sink);
    third.expect("421");
    third.expect_end();
    drop(client);
    wait_until("a place is free", || sink.summary().connections_open == 1);
    Client::greeted(&sink).data(&message(1, 0, "x\r\n"), "250");
    assert_eq!(sink.summary().messages, 1);
}

#[test]
fn the_same_seed_has_the_same_fate() {
    let fates = |seed: u64| -> Vec<String> {
        let sink = sink_with(r#"{"refuse": "rcpt=450:50%,body=451:50%"}"#, |options| {
            options.seed = seed;
        });
        let mut replies = Vec::new();
        for _ in 0..3 {
            let mut client = Client::greeted(&sink);
            client.ask("MAIL FROM:<a@a.example>", "250");
            for _ in 0..20 {
                client.send("RCPT TO:<a@b.example>\r\n");
                replies.push(client.reply().unwrap());
            }
        }
        replies
    };
    assert_eq!(fates(1), fates(1));
    assert_ne!(fates(1), fates(2));
    let refused = fates(3)
        .iter()
        .filter(|reply| reply.starts_with("450"))
        .count();
    assert!((15..45).contains(&refused), "{refused} of 60");
}
