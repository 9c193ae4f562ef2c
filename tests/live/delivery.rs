//! Mail goes through: byte for byte, once, with one trace field, and the client is told what the backend said.

use crate::{
    backend::{Act, Backend, EXTENSIONS},
    client::Client,
    harness::{Gatepost, free_address},
};

/// A pool with these backends for `example.net`.
pub fn pool(backends: &[&Backend], more: &str) -> String {
    let list: Vec<String> = backends
        .iter()
        .map(|backend| format!("\"{}\"", backend.address))
        .collect();
    format!(
        "[[pool]]\nname = \"cluster\"\nbackends = [{}]\n{more}\n[[route]]\ndomains = [\"example.net\"]\npool = \"cluster\"\n",
        list.join(", ")
    )
}

pub const CHUNKING: &[&str] = &[
    "PIPELINING",
    "SIZE",
    "8BITMIME",
    "SMTPUTF8",
    "DSN",
    "CHUNKING",
];
const BARE: &[&str] = &["8BITMIME"];

/// Every dot, an empty line, a line of dots, 8-bit data, no newline trouble.
const BODY: &str = "Subject: dots\r\n\r\n..\r\n..x\r\n\r\n...\r\nx.\r\ngr\u{fc}n\r\n";
const PAYLOAD: &str = "Subject: dots\r\n\r\n.\r\n.x\r\n\r\n..\r\nx.\r\ngr\u{fc}n\r\n";

fn sends_byte_for_byte(engine: &str, extensions: &[&'static str], bdat: bool) {
    let backend = Backend::start(free_address(), extensions, |_, _| Act::Usual);
    let gatepost = Gatepost::start(engine, &pool(&[&backend], ""));
    let mut client = Client::hello(gatepost.smtp);
    for round in 0..3 {
        let reply = client.send(
            "a@sender.example",
            &["b@example.net", "c@example.net"],
            BODY,
        );
        assert!(reply.starts_with("250 2.0.0 Ok: "), "{reply}");
        let messages = backend.messages();
        assert_eq!(messages.len(), round + 1);
        let message = &messages[round];
        assert_eq!(message.payload(), PAYLOAD);
        assert_eq!(message.bdat, bdat);
        assert_eq!(message.rcpt.len(), 2);
        assert!(
            message.mail.starts_with("MAIL FROM:<a@sender.example>"),
            "{}",
            message.mail
        );
        let id = reply.trim_end().rsplit(' ').next().expect("an id");
        assert!(
            message.text().contains(&format!("id {id};")),
            "{} in {}",
            id,
            message.text()
        );
        gatepost.log_line(&[
            "verdict=accept",
            id,
            "from=a@sender.example",
            "to=c@example.net",
            "code=250",
        ]);
    }
    client.expect("QUIT", "221");
    let first = backend.messages()[0].connection;
    assert!(
        backend
            .messages()
            .iter()
            .all(|message| message.connection == first),
        "one warm connection for all"
    );
}

crate::on_all_engines! {
    // INV-OCTETS
    fn arrives_byte_for_byte_by_data(engine) {
        sends_byte_for_byte(engine, EXTENSIONS, false);
    }

    fn arrives_byte_for_byte_by_bdat(engine) {
        sends_byte_for_byte(engine, CHUNKING, true);
    }

    fn arrives_byte_for_byte_step_by_step(engine) {
        sends_byte_for_byte(engine, BARE, false);
    }

    fn a_pipelined_batch_is_two_messages(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &pool(&[&backend], ""));
        let mut client = Client::hello(gatepost.smtp);
        client.expect("MAIL FROM:<x@sender.example>", "250");
        client.expect("RCPT TO:<b@example.net>", "250");
        client.expect("DATA", "354");
        client.raw(b"one\r\n.\r\nMAIL FROM:<y@sender.example>\r\nRCPT TO:<b@example.net>\r\nBDAT 5 LAST\r\ntwo\r\nQUIT\r\n");
        let replies = client.rest();
        let codes: Vec<&str> = replies.lines().map(|line| &line[..3]).collect();
        assert_eq!(codes, ["250", "250", "250", "250", "221"], "{replies}");
        let payloads: Vec<String> = backend.messages().iter().map(|m| m.payload()).collect();
        assert_eq!(payloads, ["one\r\n", "two\r\n"]);
    }

    fn a_refused_recipient_is_told_at_rcpt(engine) {
        let backend = Backend::start(free_address(), EXTENSIONS, |_, command| {
            match command.contains("nobody@") {
                true => Act::say("550 5.1.1 no such user here"),
                false => Act::Usual,
            }
        });
        let gatepost = Gatepost::start(engine, &pool(&[&backend], ""));
        let mut client = Client::hello(gatepost.smtp);
        client.expect("MAIL FROM:<a@sender.example>", "250");
        let reply = client.expect("RCPT TO:<nobody@example.net>", "550 5.1.1");
        assert!(reply.contains("no such user here"), "{reply}");
        client.expect("RCPT TO:<nobody@EXAMPLE.NET>", "550 5.1.1");
        client.expect("RCPT TO:<b@example.net>", "250");
        client.expect("DATA", "354");
        client.raw(b"x\r\n.\r\n");
        assert!(client.reply().starts_with("250"));
        let asked = backend.commands().iter().filter(|(_, c)| c.contains("nobody")).count();
        assert_eq!(asked, 1, "the refusal is remembered");
        assert_eq!(backend.messages()[0].rcpt, ["RCPT TO:<b@example.net>"]);
    }

    // INV-RELAY
    fn nobody_relays(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &pool(&[&backend], ""));
        let mut client = Client::hello(gatepost.smtp);
        client.expect("MAIL FROM:<a@sender.example>", "250");
        for recipient in ["x@other.example", "x%other.example@other.example", "@example.net:x@other.example", "x@[127.0.0.1]"] {
            client.expect(&format!("RCPT TO:<{recipient}>"), "550 5.7.1");
        }
        client.expect("RCPT TO:<postmaster>", "250");
        client.expect("RCPT TO:<PostMaster>", "250");
    }

    fn a_trusted_client_may_send_anywhere(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &format!("trusted = [\"127.0.0.0/8\"]\n{}", pool(&[&backend], "")));
        let mut client = Client::hello(gatepost.smtp);
        let reply = client.send("a@example.net", &["x@other.example"], "hello\r\n");
        assert!(reply.starts_with("250"), "{reply}");
    }

    // INV-TAIL
    fn a_client_that_goes_before_the_dot_leaves_nothing(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &pool(&[&backend], ""));
        for ending in ["", ".", ".\r", "\r\n."] {
            let mut client = Client::hello(gatepost.smtp);
            client.expect("MAIL FROM:<a@sender.example>", "250");
            client.expect("RCPT TO:<b@example.net>", "250");
            client.expect("DATA", "354");
            client.raw(format!("half a message\r\n{ending}").as_bytes());
            client.half_close();
            assert_eq!(client.rest(), "");
        }
        gatepost.log_line(&["verdict=abandon", "end=client@body"]);
        assert_eq!(backend.messages(), []);
    }

    fn a_half_close_behind_the_dot_gets_its_reply(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &pool(&[&backend], ""));
        let mut client = Client::hello(gatepost.smtp);
        client.expect("MAIL FROM:<a@sender.example>", "250");
        client.expect("RCPT TO:<b@example.net>", "250");
        client.expect("DATA", "354");
        client.raw(b"whole\r\n.\r\n");
        client.half_close();
        let rest = client.rest();
        assert!(rest.starts_with("250 2.0.0"), "{rest}");
        assert_eq!(backend.messages().len(), 1);
    }

    fn results_that_claim_to_be_ours_are_removed(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &pool(&[&backend], ""));
        let mut client = Client::hello(gatepost.smtp);
        let body = "A: 1\r\nAuthentication-Results: edge.example;\r\n\tspf=pass\r\nB: 2\r\nauthentication-results: other.example; spf=fail\r\n\
            Authentication-Results : (a\\) b) \"edge\\.EXAMPLE.\" 1; spf=pass\r\n\
            Authentication-Results\0:\r\n edge.example; spf=pass\r\n\
            ARC-Authentication-Results: i=1; edge.example; spf=pass\r\n\r\nx\r\n";
        client.send("a@sender.example", &["b@example.net"], body);
        assert_eq!(
            backend.messages()[0].payload(),
            "A: 1\r\nB: 2\r\nauthentication-results: other.example; spf=fail\r\n\
            ARC-Authentication-Results: i=1; edge.example; spf=pass\r\n\r\nx\r\n"
        );
    }

    /// White space in front of the first field would make it a part of the last field that we put on top.
    fn nothing_continues_a_field_of_ours(engine) {
        let backend = Backend::good(free_address());
        let limits = "recipients = \"accept\"\n[limits]\nwindow = \"4KiB\"\nheader = \"4KiB\"\n";
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + limits));
        let mut client = Client::hello(gatepost.smtp);
        for lines in [1, 2_000] {
            let rest = format!("From: a@bank.example\r\n\r\n{}", "  x\r\n".repeat(lines));
            let forged = "\t; dmarc=pass header.from=bank.example\r\n \r\nAuthentication-Results: edge.example;\r\n\tspf=pass\r\n";
            client.send("a@sender.example", &["b@example.net"], &format!("{forged}{rest}"));
            let messages = backend.messages();
            let last = messages.last().expect("one");
            assert!(last.payload() == rest, "{lines}: {}", last.text());
            assert!(!last.text().contains("=pass"), "{lines}: {}", last.text());
        }
        assert_eq!(gatepost.metric("gatepost_messages_streamed_total", ""), 1.0);
    }

    /// One read holds more than the window, so the first piece of a body may bring its whole header.
    fn a_window_smaller_than_a_read_takes_mail_all_the_same(engine) {
        let backend = Backend::good(free_address());
        let limits = "recipients = \"accept\"\n[limits]\nwindow = \"4KiB\"\nheader = \"4KiB\"\n";
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + limits));
        let mut client = Client::hello(gatepost.smtp);
        let forged = "Authentication-Results: edge.example; spf=pass\r\n";
        for (header, lines) in [(0, 0), (0, 10), (0, 60), (0, 3000), (40, 3000), (48, 100)] {
            let fields = "X-Filler: 0123456789012345678901234567890123456789012345678901234567\r\n".repeat(header);
            let body = "Not much, but there are many lines of it, each as long as the others.\r\n".repeat(lines);
            let reply = client.send("a@sender.example", &["b@example.net"], &format!("Subject: x\r\n{forged}{fields}\r\n{body}"));
            assert!(reply.starts_with("250"), "{header} {lines}: {reply}");
            let messages = backend.messages();
            let payload = messages.last().expect("one").payload();
            assert!(payload == format!("Subject: x\r\n{fields}\r\n{body}"), "{header} {lines}: {payload}");
        }
        assert_eq!(backend.messages().len(), 6);
        let long = "X-Filler: 0123456789\r\n".repeat(200);
        for lines in [0, 1000] {
            let text = format!("{long}\r\n{}", "x\r\n".repeat(lines));
            let reply = client.send("a@sender.example", &["b@example.net"], &text);
            assert!(reply.starts_with("552 5.3.4"), "{lines}: {reply}");
        }
        assert_eq!(backend.messages().len(), 6);
    }

    fn a_loop_is_broken(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &pool(&[&backend], ""));
        let mut client = Client::hello(gatepost.smtp);
        let hops = |n: usize| "Received: from a by b; now\r\n".repeat(n) + "\r\nx\r\n";
        assert!(client.send("a@sender.example", &["b@example.net"], &hops(100)).starts_with("250"));
        assert!(client.send("a@sender.example", &["b@example.net"], &hops(101)).starts_with("554 5.4.6"));
        assert_eq!(backend.messages().len(), 1);
    }

    fn routes_keep_domains_apart(engine) {
        let (one, two) = (Backend::good(free_address()), Backend::good(free_address()));
        let config = format!(
            "[[pool]]\nname = \"one\"\nbackends = [\"{}\"]\n[[pool]]\nname = \"two\"\nbackends = [\"{}\"]\n\
             [[route]]\ndomains = [\"one.example\"]\npool = \"one\"\n[[route]]\ndomains = [\".two.example\"]\npool = \"two\"\n",
            one.address, two.address
        );
        let gatepost = Gatepost::start(engine, &config);
        let mut client = Client::hello(gatepost.smtp);
        client.expect("MAIL FROM:<a@sender.example>", "250");
        client.expect("RCPT TO:<x@ONE.example>", "250");
        client.expect("RCPT TO:<x@mail.two.example>", "452 4.5.3");
        client.expect("RCPT TO:<x@two.example>", "550");
        client.expect("DATA", "354");
        client.raw(b"to one\r\n.\r\n");
        assert!(client.reply().starts_with("250"));
        client.send("a@sender.example", &["x@mail.two.example"], "to two\r\n");
        assert_eq!(one.messages()[0].payload(), "to one\r\n");
        assert_eq!(two.messages()[0].payload(), "to two\r\n");
    }

    fn an_lmtp_pool_takes_one_recipient_a_message(engine) {
        let backend = Backend::start(free_address(), EXTENSIONS, |_, command| match command.starts_with("LHLO") {
            true => Act::say("250-backend.example\r\n250-PIPELINING\r\n250 8BITMIME"),
            false => Act::Usual,
        });
        let gatepost = Gatepost::start(engine, &pool(&[&backend], "protocol = \"lmtp\""));
        let mut client = Client::hello(gatepost.smtp);
        client.expect("MAIL FROM:<a@sender.example>", "250");
        client.expect("RCPT TO:<b@example.net>", "250");
        client.expect("RCPT TO:<c@example.net>", "452 4.5.3");
        client.expect("DATA", "354");
        client.raw(b"x\r\n.\r\n");
        assert!(client.reply().starts_with("250"));
        assert_eq!(backend.messages().len(), 1);
        assert!(backend.commands().iter().all(|(_, command)| !command.starts_with("EHLO")));
    }

    /// Whatever a body looks like, beyond the window or in it, the backend sees one message or none.
    fn nothing_is_smuggled_past_the_backend(engine) {
        let smuggled = "MAIL FROM:<evil@sender.example>\r\nRCPT TO:<b@example.net>\r\nDATA\r\nevil\r\n";
        let filler = "a line of a large message\r\n".repeat(20_000);
        for extensions in [EXTENSIONS, CHUNKING] {
            let backend = Backend::start(free_address(), extensions, |_, _| Act::Usual);
            let gatepost = Gatepost::start(engine, &pool(&[&backend], ""));
            let mut normal = pool(&[&backend], "");
            normal.push_str("[limits]\nbare_newline = \"normalize\"\n");
            let normalizing = Gatepost::start(engine, &normal);
            let mut sent = 0;
            for end in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\r\r\n.\r\r\n"] {
                for before in ["", &filler] {
                    let body = format!("Subject: x\r\n\r\n{before}text{end}{smuggled}");
                    let reply = Client::hello(gatepost.smtp).send("a@sender.example", &["b@example.net"], &body);
                    assert!(reply.starts_with("550 5.6.11"), "{end:?}: {reply}");
                    assert_eq!(backend.messages().len(), sent, "{end:?}");
                    let reply = Client::hello(normalizing.smtp).send("a@sender.example", &["b@example.net"], &body);
                    assert!(reply.starts_with("250"), "{end:?}: {reply}");
                    sent += 1;
                    let messages = backend.messages();
                    assert_eq!(messages.len(), sent, "{end:?}");
                    assert!(messages[sent - 1].text().ends_with("DATA\r\nevil\r\n"), "{end:?}");
                    assert!(messages.iter().all(|message| !message.mail.contains("evil")));
                }
            }
        }
    }
}
