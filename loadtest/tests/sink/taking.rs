//! Mail comes in: DATA, BDAT, LMTP; it is verified and counted.

use crate::harness::{Client, message, sink, sink_with};
use gatepost_load::{
    ledger::{Arrival, Entry, Fate, Ledger, reconcile},
    stamp::RunId,
};
use std::net::SocketAddr;

fn arrival(recipients: u16, copies: u8, damaged: u8) -> Arrival {
    Arrival {
        recipients,
        copies,
        damaged,
    }
}

#[test]
fn data_is_unstuffed_verified_and_counted() {
    let sink = sink("{}");
    let mut client = Client::greeted(&sink);
    client.data(
        &message(1, 0, "Subject: x\r\n\r\n.dot\r\n..\r\n.\r\nlast\r\n"),
        "250 2.0.0",
    );
    client.data(&message(1, 2, ""), "250");
    client.data(b"Subject: no stamp\r\n\r\nx\r\n", "250");
    client.ask("QUIT", "221");
    client.expect_end();
    let tally = sink.tally(RunId(1)).unwrap();
    assert_eq!(
        tally.arrivals,
        [arrival(1, 1, 0), arrival(0, 0, 0), arrival(1, 1, 0)]
    );
    assert!(sink.tally(RunId(2)).is_none());
    let summary = sink.stop();
    assert_eq!((summary.messages, summary.unstamped), (3, 1));
    assert_eq!((summary.transactions, summary.recipients), (3, 3));
    assert_eq!((summary.connections, summary.connections_open), (1, 0));
    assert_eq!(summary.commands["mail"], 3);
    assert_eq!(summary.latency.count, 3);
    assert!(summary.faults.is_empty(), "{summary:?}");
}

#[test]
fn damage_and_second_copies_are_told() {
    let sink = sink("{}");
    let mut client = Client::greeted(&sink);
    let sound = message(7, 0, "Subject: x\r\n\r\nbody\r\n");
    client.data(&sound, "250");
    client.data(&sound, "250");
    let mut changed = message(7, 1, "Subject: x\r\n\r\nbody\r\n");
    let at = changed.len() - 3;
    changed[at] = b'X';
    client.data(&changed, "250");
    let longer = [&message(7, 2, "Subject: x\r\n\r\n")[..], b"footer\r\n"].concat();
    client.data(&longer, "250");
    let below = [b"Received: by proxy\r\n", &message(7, 3, "x\r\n")[..]].concat();
    client.data(&below, "250");
    let tally = sink.tally(RunId(7)).unwrap();
    assert_eq!(
        tally.arrivals,
        [
            arrival(2, 2, 0),
            arrival(1, 1, 1),
            arrival(1, 1, 1),
            arrival(1, 1, 0)
        ]
    );
    let summary = sink.stop();
    assert_eq!((summary.duplicates, summary.damaged), (1, 2));
    let entry = Entry {
        fate: Fate::Acknowledged,
        recipients: 1,
    };
    let ledger = Ledger {
        run: RunId(7),
        entries: vec![entry; 5],
    };
    let found = reconcile(&ledger, &tally);
    assert_eq!((found.lost, found.twice, found.damaged), (1, 1, 2));
    assert_eq!(found.lost_numbers, [4]);
}

#[test]
fn chunks_make_a_message_wherever_they_are_cut() {
    let sink = sink("{}");
    let mut client = Client::greeted(&sink);
    let payload = message(1, 0, "Subject: x\r\n\r\n.\r\n..dots are nothing here\r\n");
    for at in 0..=payload.len() {
        let (front, back) = payload.split_at(at);
        // As Gatepost sends it: everything at once.
        let mut all = b"MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\n".to_vec();
        all.extend_from_slice(format!("BDAT {}\r\n", front.len()).as_bytes());
        all.extend_from_slice(front);
        all.extend_from_slice(format!("BDAT {} LAST\r\n", back.len()).as_bytes());
        all.extend_from_slice(back);
        client.send(all);
        for start in ["250 2.1.0", "250 2.1.5", "250 2.0.0", "250 2.0.0"] {
            client.expect(start);
        }
    }
    let copies = payload.len() as u64 + 1;
    let tally = sink.tally(RunId(1)).unwrap();
    assert_eq!(u64::from(tally.arrivals[0].recipients), copies);
    assert_eq!(tally.arrivals[0].damaged, 0);
    assert_eq!(sink.summary().runs[0].copies, copies);
    assert!(sink.summary().faults.is_empty());
}

#[test]
fn commands_in_single_octets_are_the_same() {
    let sink = sink("{}");
    let mut client = Client::connect(&sink);
    client.expect("220");
    let payload = String::from_utf8(message(1, 0, "a\r\n\r\n..b\r\n")).unwrap();
    let dialogue = format!(
        "EHLO x\r\nMAIL FROM:<a@a.example> SIZE=9\r\nRCPT TO:<b@b.example>\r\nDATA\r\n{}.\r\nQUIT\r\n",
        payload.replace("\r\n.", "\r\n..")
    );
    for octet in dialogue.as_bytes() {
        client.send([*octet]);
    }
    for start in ["250", "250", "250", "354", "250", "221"] {
        client.expect(start);
    }
    assert_eq!(sink.tally(RunId(1)).unwrap().arrivals, [arrival(1, 1, 0)]);
}

#[test]
fn lmtp_answers_for_each_recipient() {
    let sink = sink_with(r#"{"refuse": "body=452:50%"}"#, |options| {
        options.lmtp = true;
        options.seed = 1;
    });
    let mut client = Client::connect(&sink);
    client.expect("220");
    client.ask("EHLO x", "500");
    client.ask("LHLO x", "250");
    client.envelope(40);
    client.ask("DATA", "354");
    client.body(&message(1, 0, "Subject: x\r\n\r\n"));
    let replies: Vec<_> = (0..40).map(|_| client.reply().unwrap()).collect();
    let taken = replies
        .iter()
        .filter(|reply| reply.starts_with("250"))
        .count();
    assert!((1..40).contains(&taken), "{replies:?}");
    let tally = sink.tally(RunId(1)).unwrap();
    assert_eq!(tally.arrivals, [arrival(taken as u16, 1, 0)]);
    let summary = sink.summary();
    assert_eq!(summary.refused["body"], 40 - taken as u64);
    assert_eq!((summary.messages, summary.recipients), (1, taken as u64));
    // And by BDAT, refused for its size: a reply for each as well.
    sink.change(serde_json::from_str(r#"{"refuse": "", "size_max": "1KiB"}"#).unwrap());
    client.send("RSET\r\n");
    client.expect("250");
    client.envelope(2);
    client.ask(&format!("BDAT 2000 LAST\r\n{}", "x".repeat(1998)), "552");
    client.expect("552");
    client.ask("NOOP", "250");
}

#[test]
fn workers_share_their_books_and_addresses() {
    let sink = sink_with("{}", |options| {
        options.workers = 3;
        options.listen = vec![
            SocketAddr::from(([127, 0, 0, 1], 0)),
            SocketAddr::from(([127, 0, 0, 2], 0)),
        ];
    });
    let mut clients: Vec<_> = (0..12).map(|_| Client::greeted(&sink)).collect();
    for client in &mut clients {
        client.data(&message(1, 0, "x\r\n"), "250");
    }
    let summary = sink.summary();
    assert_eq!((summary.messages, summary.duplicates), (12, 11));
    assert_eq!(
        (summary.connections_open, summary.connections_max),
        (12, 12)
    );
    assert_eq!(sink.addresses().len(), 2);
    assert_eq!(sink.tally(RunId(1)).unwrap().arrivals, [arrival(12, 12, 0)]);
}

#[test]
fn faults_are_counted_and_the_session_goes_on() {
    let sink = sink(r#"{"capabilities": "none"}"#);
    let mut client = Client::greeted(&sink);
    client.send("NOOP\r\nNOOP\r\n");
    client.expect("250");
    client.expect("250");
    client.ask("MAIL FROM:<a@a.example> BODY=8BITMIME", "555");
    client.ask("RCPT TO:<a@a.example>", "503");
    client.ask("WHAT", "500");
    client.envelope(1);
    client.ask("DATA", "354");
    client.send(
        [
            &b"Subject: \xff\n"[..],
            &b"x".repeat(1200),
            b"\r\n\r\n.\r\n",
        ]
        .concat(),
    );
    client.expect("250 Ok");
    let faults = sink.summary().faults;
    let expected = [
        ("8 bits undeclared", 1),
        ("bare newline", 1),
        ("line too long", 1),
        ("parameter not announced", 1),
        ("pipelining not announced", 1),
        ("sequence", 1),
        ("syntax", 1),
    ];
    let expected = expected.map(|(name, count)| (name.to_string(), count));
    assert_eq!(faults.into_iter().collect::<Vec<_>>(), expected);
    client.ask("BDAT 3 LAST\r\nabc", "502");
    client.expect_end();
    assert_eq!(sink.summary().faults["chunking not announced"], 1);
}

#[test]
fn what_is_saved_is_what_came_and_has_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let sink = sink_with("{}", |options| {
        options.save = Some((folder.path().to_path_buf(), 2));
    });
    let mut client = Client::greeted(&sink);
    let payload = message(1, 0, "Subject: x\r\n\r\n.dot\r\n");
    for _ in 0..3 {
        client.data(&payload, "250");
    }
    // One that is never finished leaves nothing.
    client.envelope(1);
    client.ask("DATA", "354");
    client.send("Subject: half");
    drop(client);
    let list = |part: &str| -> Vec<_> {
        let entries = std::fs::read_dir(folder.path().join(part)).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let new = list("new");
    assert_eq!((new.len(), sink.stop().saved), (2, 2));
    assert!(list("tmp").is_empty());
    let saved = std::fs::read(&new[0]).unwrap();
    let top = b"Return-Path: <a@a.example>\r\nDelivered-To: <r0@b.example>\r\n";
    assert_eq!(saved, [&top[..], &payload].concat());
}
