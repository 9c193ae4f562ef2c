//! STARTTLS and AUTH line by line.

use crate::harness::{Client, sink, sink_with, wait_until};
use gatepost_load::tls::Mode;

#[test]
fn auth_in_and_out_of_turn() {
    let sink = sink(r#"{"auth": "plain,login", "account": "me:pass", "auth_required": true}"#);
    let mut client = Client::connect(&sink);
    client.expect("220");
    client.ask("AUTH PLAIN AG1lAHBhc3M=", "503");
    let offered = client.ask("EHLO x", "250");
    assert!(offered.contains("AUTH PLAIN LOGIN"), "{offered}");
    client.ask("MAIL FROM:<a@a.example>", "530 5.7.0");
    client.ask("AUTH", "504 5.5.4");
    client.ask("AUTH CRAM-MD5", "504 5.5.4");
    client.ask("AUTH PLAIN", "334 ");
    client.ask("*", "501 5.7.0");
    client.ask("AUTH PLAIN ?", "501 5.5.2");
    client.ask("AUTH PLAIN AG1lAHdyb25n", "535 5.7.8");
    client.ask("AUTH LOGIN", "334 VXNlcm5hbWU6");
    client.ask("bWU=", "334 UGFzc3dvcmQ6");
    client.ask("cGFzcw==", "235 2.7.0");
    client.ask("AUTH PLAIN AG1lAHBhc3M=", "503");
    client.ask("MAIL FROM:<a@a.example>", "250");
    client.ask("QUIT", "221");
    let summary = sink.stop();
    assert_eq!(summary.authenticated, 1);
    assert_eq!((summary.refused["auth"], summary.refused["mail"]), (1, 1));
}

#[test]
fn starttls_in_and_out_of_turn() {
    let sink = sink_with("{}", |options| options.tls = Mode::StartTls);
    let mut client = Client::connect(&sink);
    client.expect("220");
    client.ask("STARTTLS", "502");
    let offered = client.ask("EHLO x", "250");
    assert!(
        offered.contains("STARTTLS") && !offered.contains("AUTH"),
        "{offered}"
    );
    client.ask("STARTTLS now", "501");
    client.ask("MAIL FROM:<a@a.example>", "250");
    client.ask("STARTTLS", "503");
    client.ask("RSET", "250");
    // What stands after it is said in the clear, and not heard.
    client.ask("STARTTLS\r\nMAIL FROM:<b@b.example>", "220");
    client.send("NOOP\r\n");
    wait_until("the handshake has failed", || {
        sink.summary().handshakes_failed == 1
    });
    let summary = sink.stop();
    assert_eq!(summary.transactions, 1);
    assert_eq!(summary.faults["octets behind STARTTLS"], 1);
}

#[test]
fn without_tls_there_is_no_starttls() {
    let sink = sink(r#"{"capabilities": "starttls,auth"}"#);
    let mut client = Client::connect(&sink);
    client.expect("220");
    assert_eq!(client.ask("EHLO x", "250"), "250 sink.example\r\n");
    client.ask("STARTTLS", "502");
    client.ask("AUTH PLAIN", "502");
}
