//! The control port.

use crate::harness::{Client, http, http_with, message, sink};
use gatepost_load::{ledger::Tally, sink::Summary, stamp::RunId};
use serde_json::Value;

#[test]
fn it_shows_what_came_and_begins_anew() {
    let sink = sink("{}");
    let mut client = Client::greeted(&sink);
    client.data(&message(0xabc, 0, "x\r\n"), "250");
    let (status, text) = http(&sink, "GET", "/summary", "");
    let summary: Summary = serde_json::from_str(&text).unwrap();
    assert_eq!((status, summary.messages), (200, 1));
    assert_eq!(summary.runs[0].run, "0000000000000abc");
    let (status, text) = http(&sink, "GET", "/tally?run=0000000000000abc", "");
    let tally: Tally = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (status, tally.run, tally.arrivals.len()),
        (200, RunId(0xabc), 1)
    );
    assert_eq!(http(&sink, "GET", "/tally?run=1", "").0, 404);
    assert_eq!(http(&sink, "GET", "/tally?run=zz", "").0, 400);
    assert_eq!(http(&sink, "POST", "/reset", "").0, 200);
    assert_eq!(http(&sink, "GET", "/tally?run=abc", "").0, 404);
    let summary = sink.summary();
    assert_eq!((summary.messages, summary.latency.count), (0, 0));
    assert_eq!((summary.connections_open, summary.connections_max), (1, 1));
    client.data(&message(0xabc, 0, "x\r\n"), "250");
    assert_eq!(sink.summary().duplicates, 0);
}

#[test]
fn it_changes_the_behaviour_of_open_connections() {
    let sink = sink(r#"{"delay": "mail=1ms"}"#);
    let mut client = Client::greeted(&sink);
    client.ask("MAIL FROM:<a@a.example>", "250");
    let (status, text) = http(
        &sink,
        "POST",
        "/behaviour",
        r#"{"refuse": "rcpt=550:100%"}"#,
    );
    let shown: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status, 200);
    assert_eq!(shown["refuse"], "rcpt=550 5.1.1 No:100%");
    assert_eq!(shown["delay"], "mail=1ms");
    client.ask("RCPT TO:<a@a.example>", "550 5.1.1 No");
    let (_, again) = http(&sink, "GET", "/behaviour", "");
    assert_eq!(serde_json::from_str::<Value>(&again).unwrap(), shown);
    let (status, text) = http(&sink, "POST", "/behaviour", &again);
    assert_eq!(
        (status, text),
        (200, again),
        "what is shown can be sent back"
    );
    for wrong in [r#"{"dealy": ""}"#, r#"{"delay": "mail"}"#, ""] {
        let (status, why) = http(&sink, "POST", "/behaviour", wrong);
        assert_eq!(status, 400, "{wrong}");
        assert!(why.len() > 10, "{why}");
    }
    client.ask("RCPT TO:<a@a.example>", "550");
    http(
        &sink,
        "POST",
        "/behaviour",
        r#"{"refuse": "", "no": "chunking"}"#,
    );
    client.ask("RCPT TO:<a@a.example>", "250");
    assert!(!client.ask("EHLO x", "250").contains("CHUNKING"));
}

#[test]
fn it_stalls_and_answers_meanwhile() {
    let sink = sink("{}");
    let mut client = Client::greeted(&sink);
    assert_eq!(http(&sink, "POST", "/stall?ms=3600000", "").0, 200);
    client.send("NOOP\r\n");
    assert_eq!(http(&sink, "GET", "/summary", "").0, 200);
    assert_eq!(http(&sink, "POST", "/stall?ms=3600001", "").0, 400);
    assert_eq!(http(&sink, "POST", "/stall", "").0, 400);
    assert_eq!(sink.stop().commands.get("noop"), None);
}

#[test]
fn web_pages_have_no_say() {
    let sink = sink("{}");
    let origin = "Origin: http://evil.example\r\n";
    assert_eq!(http_with(&sink, "POST", "/reset", origin, "").0, 403);
    assert_eq!(http(&sink, "GET", "/nothing", "").0, 404);
    assert!(http(&sink, "GET", "/", "").1.contains("POST /stall"));
}
