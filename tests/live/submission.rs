//! What a submission listener adds to the messages of our own users, and what it leaves as it is.

use crate::{
    backend::Backend,
    client::Client,
    harness::{Gatepost, free_address},
    resources::config,
};

/// Gatepost with one listener for submission, before `backend`.
fn submission(engine: &str, backend: &Backend, keys: &str) -> Gatepost {
    let listener = format!(
        "[[listener]]\nname = \"mx\"\naddress = [\"SMTP_ADDRESS\"]\nrole = \"submission\"\n{keys}"
    );
    Gatepost::start(engine, &config(backend, "", &listener))
}

/// Sends a body, as it goes over the wire without its dot; what was put below the Received field and above `payload`.
#[track_caller]
fn added(client: &mut Client, backend: &Backend, wire: &str, payload: &str) -> Vec<String> {
    let reply = client.send("a@example.net", &["b@example.net"], wire);
    assert!(reply.starts_with("250"), "{reply}");
    let message = backend.messages().pop().expect("it arrived").payload();
    let above = message.strip_suffix(payload);
    let above =
        above.unwrap_or_else(|| panic!("below is another text than was sent:\n{message:.2000}"));
    above.lines().map(str::to_string).collect()
}

/// `Date` and `Message-ID`, or fewer of them.
fn names(added: &[String]) -> Vec<&str> {
    let name = |line: &'_ String| line.find(": ").unwrap_or(line.len());
    added.iter().map(|line| &line[..name(line)]).collect()
}

crate::on_all_engines! {
    fn a_message_gets_what_it_lacks(engine) {
        let backend = Backend::good(free_address());
        let gatepost = submission(engine, &backend, "");
        let mut client = Client::hello(gatepost.smtp);
        let mut ids = Vec::new();
        // A header, none, one without an end, nothing at all.
        for text in ["Subject: x\r\n\r\ntext\r\n", "\r\ntext\r\n", "text\r\nDate: no field\r\n", "Subject: x\r\n", ""] {
            let lines = added(&mut client, &backend, text, text);
            assert_eq!(names(&lines), ["Date", "Message-ID"], "{text:?}");
            let date = lines[0].trim_start_matches("Date: ");
            assert!(jiff::fmt::rfc2822::parse(date).is_ok(), "{date}");
            let id = lines[1].trim_start_matches("Message-ID: ").to_string();
            assert!(id.starts_with('<') && id.ends_with("@edge.example>"), "{id}");
            assert!(!ids.contains(&id), "{id} twice");
            ids.push(id);
        }
        for (text, wanted) in [
            ("date: x\r\n\r\ntext\r\n", &["Message-ID"][..]),
            ("MESSAGE-ID: <x>\r\n\r\ntext\r\n", &["Date"]),
            ("Message-ID: <x>\r\nDate: x\r\n\r\n..text\r\n", &[]),
        ] {
            let payload = text.replace("..", ".");
            assert_eq!(names(&added(&mut client, &backend, text, &payload)), wanted, "{text:?}");
        }
    }

    fn a_streamed_message_gets_it_too(engine) {
        let backend = Backend::good(free_address());
        let gatepost = submission(engine, &backend, "");
        let mut client = Client::hello(gatepost.smtp);
        let body = "the line of a large message\r\n".repeat(20_000);
        for (header, wanted) in [
            ("Subject: x\r\n\r\n", &["Date", "Message-ID"][..]),
            ("\r\n", &["Date", "Message-ID"]),
            ("Date: x\r\n\r\n", &["Message-ID"]),
        ] {
            let text = format!("{header}{body}");
            assert_eq!(names(&added(&mut client, &backend, &text, &text)), wanted, "{header:?}");
        }
        assert!(gatepost.metric("gatepost_messages_streamed_total", "") >= 3.0);
    }

    fn nothing_is_added_where_nobody_asked(engine) {
        let backend = Backend::good(free_address());
        let text = "Subject: x\r\n\r\ntext\r\n";
        let off = submission(engine, &backend, "submission_fixes = false\n");
        assert!(added(&mut Client::hello(off.smtp), &backend, text, text).is_empty());
        let mx = Gatepost::start(engine, &config(&backend, "", ""));
        assert!(added(&mut Client::hello(mx.smtp), &backend, text, text).is_empty());
    }
}
