//! The backend is told who the client is: a real Postfix logs the client's own address.

use crate::{
    backend::{Act, Backend, EXTENSIONS},
    client::Client,
    delivery::pool,
    harness::{Gatepost, free_address, wait_until},
    postfix::Postfix,
    who::listening,
};
use std::net::IpAddr;

/// Addresses of clients; all of 127.0.0.0/8 is this machine's.
const AMY: &str = "127.77.1.7";
const BOB: &str = "127.77.2.9";

fn from(client: &str, gatepost: &Gatepost) -> Client {
    let client: IpAddr = client.parse().expect("an address");
    Client::hello_from(client, gatepost.smtp)
}

/// Gatepost before `postfix`, one connection to it at a time.
fn before(engine: &str, postfix: &Postfix, identity: &str) -> Gatepost {
    let config = format!(
        "trusted = [\"127.0.0.0/8\"]\n[[pool]]\nname = \"postfix\"\nbackends = [\"{}\"]\nconnections = 1\n\
         identity = \"{identity}\"\n[[route]]\ndomains = [\"example.net\"]\npool = \"postfix\"\n\
         recipients = \"accept\"\n",
        postfix.address
    );
    Gatepost::start(engine, &config)
}

fn send(client: &mut Client, subject: &str) -> String {
    let body = format!("Subject: {subject}\r\n\r\nx\r\n");
    client.send("a@sender.example", &["b@example.net"], &body)
}

/// Amy sends, Bob sends, Amy sends again on the connection that she kept.
fn three_messages(gatepost: &Gatepost, postfix: &Postfix) {
    let (mut amy, mut bob) = (from(AMY, gatepost), from(BOB, gatepost));
    for (client, subject) in [(&mut amy, "one"), (&mut bob, "two")] {
        let reply = send(client, subject);
        assert!(reply.starts_with("250"), "{reply}\n{}", postfix.log());
    }
    let reply = send(&mut amy, "three");
    assert!(reply.starts_with("250"), "{reply}\n{}", postfix.log());
}

/// The topmost Received field, Postfix's own, of the message with this subject.
fn seen(postfix: &Postfix, subject: &str) -> String {
    let message = wait_until("it is delivered", || {
        let subject = format!("\nSubject: {subject}\n");
        postfix
            .messages()
            .into_iter()
            .find(|m| m.contains(&subject))
    });
    let from = message.find("Received: ").expect("it was traced");
    message[from..].lines().next().expect("a line").to_owned()
}

fn connections(postfix: &Postfix) -> usize {
    postfix.log().matches("]: connect from ").count()
}

/// Does the server's side of SMTP find fault with us? Other parts of Postfix warn of the clock, at the turn of a second.
fn complains(log: &str) -> bool {
    const COMPLAINTS: [&str; 4] = [
        "warning:",
        "error:",
        "fatal:",
        "improper command pipelining",
    ];
    log.lines()
        .filter(|line| line.contains("postfix/smtpd["))
        .any(|line| COMPLAINTS.iter().any(|word| line.contains(word)))
}

fn is_seen_as_the_client(engine: &str, postfix: Option<Postfix>, identity: &str) {
    let Some(postfix) = postfix else { return };
    let gatepost = before(engine, &postfix, identity);
    three_messages(&gatepost, &postfix);
    for (subject, client) in [("one", AMY), ("two", BOB), ("three", AMY)] {
        let trace = seen(&postfix, subject);
        assert!(
            trace.contains(&format!("({client}")) || trace.contains(&format!("[{client}]")),
            "{subject} is not from {client}: {trace}\n{}",
            postfix.log()
        );
    }
    // Its log is written by a process of its own.
    wait_until("all are logged", || {
        let lines = postfix.log().matches(": client=unknown[").count();
        (lines >= 3).then_some(())
    });
    // The look whether it listens says no header.
    let log = postfix.log().replace("warning: haproxy read: EOF", "");
    assert_eq!(
        log.matches(&format!(": client=unknown[{AMY}]")).count(),
        2,
        "{log}"
    );
    assert_eq!(
        log.matches(&format!(": client=unknown[{BOB}]")).count(),
        1,
        "{log}"
    );
    assert!(!complains(&log), "{log}");
    assert!(gatepost.metric("gatepost_backend_identity_total", "result=\"told\"") >= 2.0);
    assert_eq!(
        gatepost.metric("gatepost_backend_identity_total", "result=\"refused\""),
        0.0
    );
}

fn proxied(engine: &str, identity: &str) {
    let header = "-o smtpd_upstream_proxy_protocol=haproxy";
    let postfix = Postfix::start_as(|_| String::new(), header);
    is_seen_as_the_client(engine, postfix, identity);
}

/// A scripted backend that offers what can be told.
fn scripted(script: impl Fn(usize, &str) -> Act + Send + Sync + 'static) -> Backend {
    let offers = [
        "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT",
        "XFORWARD NAME ADDR",
    ];
    Backend::start(free_address(), &[EXTENSIONS, &offers].concat(), script)
}

fn xclients(backend: &Backend) -> Vec<String> {
    let all = backend.commands().into_iter().map(|(_, command)| command);
    all.filter(|command| command.starts_with("XCLIENT"))
        .collect()
}

crate::on_all_engines! {
    fn postfix_sees_the_client_by_xclient(engine) {
        let Some(postfix) = Postfix::start_with("smtpd_authorized_xclient_hosts = 127.0.0.0/8\n") else { return };
        is_seen_as_the_client(engine, Some(postfix), "xclient");
    }

    fn postfix_logs_the_client_by_xforward(engine) {
        let Some(postfix) = Postfix::start_with("smtpd_authorized_xforward_hosts = 127.0.0.0/8\n") else { return };
        let gatepost = before(engine, &postfix, "xforward");
        three_messages(&gatepost, &postfix);
        let log = wait_until("all are logged", || Some(postfix.log()).filter(|log| log.matches("orig_client=").count() == 3));
        assert_eq!(log.matches(&format!("orig_client=unknown[{AMY}]")).count(), 2, "{log}");
        assert_eq!(log.matches(&format!("orig_client=unknown[{BOB}]")).count(), 1, "{log}");
        // The look whether it greets, the probe, and one for all three: a transaction's own word needs no more.
        assert_eq!(connections(&postfix), 3, "{log}");
        assert!(!complains(&log), "{log}");
    }

    fn postfix_sees_the_client_by_a_proxy_header_of_version_1(engine) { proxied(engine, "proxy-v1"); }
    fn postfix_sees_the_client_by_a_proxy_header_of_version_2(engine) { proxied(engine, "proxy-v2"); }

    /// As with Postfix, a client that was named names no other: each has a connection of its own.
    fn gatepost_sees_the_clients_of_another_gatepost(engine) {
        let backend = Backend::good(free_address());
        let inner = listening(engine, &backend, "", "xclient_from = [\"127.0.0.1\"]");
        let config = format!(
            "[[pool]]\nname = \"inner\"\nbackends = [\"{}\"]\nconnections = 1\nidentity = \"xclient\"\n\
             [[route]]\ndomains = [\"example.net\"]\npool = \"inner\"\n", inner.smtp
        );
        let outer = Gatepost::start(engine, &config);
        let (mut amy, mut bob) = (from(AMY, &outer), from(BOB, &outer));
        for (client, sender) in [(&mut amy, "one@sender.example"), (&mut bob, "two@sender.example")] {
            let reply = client.send(sender, &["b@example.net"], "x\r\n");
            assert!(reply.starts_with("250"), "{reply}\n{}", inner.log());
        }
        let reply = amy.send("three@sender.example", &["b@example.net"], "x\r\n");
        assert!(reply.starts_with("250"), "{reply}\n{}", inner.log());
        for (sender, client) in [("one", AMY), ("two", BOB), ("three", AMY)] {
            inner.log_line(&["verdict=accept", &format!("from={sender}@"), &format!("client={client} ")]);
        }
    }

    /// XCLIENT is not for anybody: a Postfix that doesn't know us offers none, and the message goes its way.
    fn a_backend_that_offers_nothing_is_told_nothing(engine) {
        let Some(postfix) = Postfix::start() else { return };
        let gatepost = before(engine, &postfix, "xclient");
        let reply = send(&mut from(AMY, &gatepost), "one");
        assert!(reply.starts_with("250"), "{reply}");
        assert_eq!(gatepost.metric("gatepost_backend_identity_total", "result=\"unoffered\""), 1.0);
        wait_until("it is told", || gatepost.errors().contains("offers no xclient").then_some(()));
    }

    fn a_connection_is_introduced_again_and_never_mistaken(engine) {
        let backend = scripted(|_, _| Act::Usual);
        let config = pool(&[&backend], "connections = 1\nidentity = \"xclient\"") + "recipients = \"accept\"\n";
        let gatepost = Gatepost::start(engine, &config);
        let mut amy = from(AMY, &gatepost);
        for _ in 0..2 {
            assert!(send(&mut amy, "x").starts_with("250"));
        }
        let mut bob = from(BOB, &gatepost);
        assert!(send(&mut bob, "x").starts_with("250"));
        let told = |client: &str, port: u16| format!(
            "XCLIENT NAME=[UNAVAILABLE] ADDR={client} PORT={port} PROTO=ESMTP HELO=client.example LOGIN=[UNAVAILABLE] DESTADDR={} DESTPORT={}",
            gatepost.smtp.ip(), gatepost.smtp.port()
        );
        assert_eq!(xclients(&backend), [told(AMY, amy.address().port()), told(BOB, bob.address().port())]);
        let messages = backend.messages();
        assert!(messages.iter().all(|message| message.connection == messages[0].connection));
    }

    /// What a backend says of a recipient is remembered for all, so it must not be asked in somebody's name.
    fn recipients_are_verified_in_nobodys_name(engine) {
        let backend = scripted(|_, _| Act::Usual);
        let config = pool(&[&backend], "identity = \"xclient\"");
        let gatepost = Gatepost::start(engine, &config);
        let mut amy = from(AMY, &gatepost);
        assert!(send(&mut amy, "x").starts_with("250"));
        amy.expect("MAIL FROM:<a@sender.example>", "250");
        amy.expect("RCPT TO:<c@example.net>", "250");
        let commands = backend.commands();
        for (at, (connection, command)) in commands.iter().enumerate() {
            if command == "MAIL FROM:<>" {
                let before = &commands[..at];
                let introduced = before.iter().any(|(c, said)| c == connection && said.starts_with("XCLIENT"));
                assert!(!introduced, "{commands:?}");
            }
        }
        let asked = commands.iter().filter(|(_, command)| command == "MAIL FROM:<>").count();
        assert_eq!((asked, xclients(&backend).len()), (2, 1), "{commands:?}");
    }

    /// Else a client could get all backends ejected.
    fn a_client_that_a_backend_turns_away_does_the_backend_no_harm(engine) {
        let backend = scripted(|_, command| match command.contains(AMY) {
            true => Act::say("521 5.7.1 not you"),
            false => Act::Usual,
        });
        let config = pool(&[&backend], "identity = \"xclient\"") + "recipients = \"accept\"\n";
        let gatepost = Gatepost::start(engine, &config);
        let reply = send(&mut from(AMY, &gatepost), "x");
        assert!(reply.starts_with("451 4.4.1"), "{reply}");
        assert_eq!(gatepost.metric("gatepost_backend_up", ""), 1.0);
        assert!(send(&mut from(BOB, &gatepost), "x").starts_with("250"));
        assert_eq!(backend.messages().len(), 1);
        assert_eq!(gatepost.metric("gatepost_backend_identity_total", "result=\"refused\""), 1.0);
    }

    /// Said at XCLIENT, as with `smtpd_delay_reject = no`, or at RCPT: it's the same refusal.
    fn a_client_that_postfix_does_not_want_hears_it_from_postfix(engine) {
        for delayed in ["no", "yes"] {
            let Some(postfix) = Postfix::start_with(&format!(
                "smtpd_authorized_xclient_hosts = 127.0.0.0/8\nsmtpd_delay_reject = {delayed}\n\
                 smtpd_client_restrictions = check_client_access inline:{{{{{AMY}=REJECT not you}}}}\n"
            )) else { return };
            let gatepost = before(engine, &postfix, "xclient");
            let reply = send(&mut from(AMY, &gatepost), "one");
            assert!(reply.starts_with("554 5.7.1") && reply.contains("not you"), "{delayed}: {reply}\n{}", postfix.log());
            let at_once = if delayed == "no" { 1.0 } else { 0.0 };
            assert_eq!(gatepost.metric("gatepost_backend_identity_total", "result=\"refused\""), at_once);
            let reply = send(&mut from(BOB, &gatepost), "two");
            assert!(reply.starts_with("250"), "{delayed}: {reply}\n{}", postfix.log());
            assert_eq!(gatepost.metric("gatepost_backend_up", ""), 1.0);
        }
    }

    fn only_a_554_to_xclient_is_about_the_client(engine) {
        for (said, heard) in [
            ("554 5.7.1 not you", "554 5.7.1 not you\r\n"),
            ("554 not you", "554 5.0.0 not you\r\n"),
            ("550 5.7.0 you may not say so", "451 4.4.1"),
            ("501 5.5.4 what?", "451 4.4.1"),
            ("521 5.7.1 not you", "451 4.4.1"),
            ("451 4.7.1 not now", "451 4.4.1"),
            ("421 4.7.0 bye", "451 4.4.1"),
        ] {
            let script = move |_: usize, command: &str| match command.contains(AMY) {
                true => Act::say(said),
                false => Act::Usual,
            };
            let (one, two) = (scripted(script), scripted(script));
            let config = pool(&[&one, &two], "identity = \"xclient\"") + "recipients = \"accept\"\n";
            let gatepost = Gatepost::start(engine, &config);
            let reply = send(&mut from(AMY, &gatepost), "x");
            assert!(reply.starts_with(heard), "{said}: {reply}");
            // An answer ends the search.
            let asked = xclients(&one).len() + xclients(&two).len();
            assert_eq!(asked, if heard.starts_with("554") { 1 } else { 2 }, "{said}");
            assert_eq!(gatepost.metric("gatepost_backend_up", ""), 2.0);
            let reply = send(&mut from(BOB, &gatepost), "x");
            assert!(reply.starts_with("250"), "{said}: {reply}");
        }
    }

    fn a_stale_connection_is_found_out_by_the_introduction(engine) {
        let backend = scripted(|connection, command| {
            // The second one: the probe is the first.
            if connection == 1 && command.contains(BOB) { Act::Close } else { Act::Usual }
        });
        let config = pool(&[&backend], "identity = \"xclient\"") + "recipients = \"accept\"\n";
        let gatepost = Gatepost::start(engine, &config);
        wait_until("it was probed", || (backend.connections() == 1 && backend.open() == 0).then_some(()));
        assert!(send(&mut from(AMY, &gatepost), "x").starts_with("250"));
        assert!(send(&mut from(BOB, &gatepost), "x").starts_with("250"));
        assert_eq!(backend.messages().len(), 2);
        assert_eq!(gatepost.metric("gatepost_backend_up", ""), 1.0);
    }
}
