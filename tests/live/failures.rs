//! Backends that fail: another one is tried, or the client is told to come again; never a `250` without one.

use crate::{
    backend::{Act, Backend, EXTENSIONS, Script},
    client::Client,
    delivery::pool,
    harness::{Gatepost, PATIENCE, free_address, wait_until},
};
use std::sync::{Mutex, mpsc};

/// No verification, so that each script sees only the delivery.
fn accepting(backends: &[&Backend]) -> String {
    pool(backends, "balance = \"first-available\"") + "recipients = \"accept\"\n"
}

/// The final reply to one message.
fn send(gatepost: &Gatepost) -> String {
    Client::hello(gatepost.smtp).send("a@sender.example", &["b@example.net"], "x\r\n")
}

/// What a backend may do to a message before it has it, at `step`.
fn misbehaviours(step: &'static str) -> Vec<Box<Script>> {
    let acts: Vec<fn() -> Act> = vec![
        || Act::Close,
        || Act::Reset,
        || Act::Hang,
        || Act::say("421 4.3.2 going down"),
        || Act::say("2200 what"),
        || Act::say("850 what"),
        || Act::say("hello there"),
        || Act::Say([b'2'; 1 << 20].to_vec()),
        || Act::say("250-mixed\r\n550 codes"),
    ];
    acts.into_iter()
        .map(|act| -> Box<Script> {
            Box::new(move |_, command| {
                if command.starts_with(step) {
                    act()
                } else {
                    Act::Usual
                }
            })
        })
        .collect()
}

fn fails_over(engine: &str, step: &'static str) {
    for (i, script) in misbehaviours(step).into_iter().enumerate() {
        let bad = Backend::start(free_address(), EXTENSIONS, script);
        let good = Backend::good(free_address());
        // One of them never answers; the good one has as long.
        let waits = "[timeouts]\nconnect = \"2s\"\nbackend = \"2s\"\n";
        let gatepost = Gatepost::start(engine, &(accepting(&[&bad, &good]) + waits));
        let reply = send(&gatepost);
        assert!(
            reply.starts_with("250"),
            "{step}, {i}: {reply}\n{}",
            gatepost.errors()
        );
        assert_eq!(
            (bad.messages().len(), good.messages().len()),
            (0, 1),
            "{step}, {i}"
        );
    }
}

fn defers_alone(engine: &str, step: &'static str) {
    for (i, script) in misbehaviours(step).into_iter().enumerate() {
        let bad = Backend::start(free_address(), EXTENSIONS, script);
        let waits = "[timeouts]\nconnect = \"500ms\"\nbackend = \"500ms\"\ncommit = \"800ms\"\n";
        let config = pool(&[&bad], "lease_wait = \"1s\"") + "recipients = \"accept\"\n" + waits;
        let gatepost = Gatepost::start(engine, &config);
        let reply = send(&gatepost);
        assert!(reply.starts_with("451 4."), "{step}, {i}: {reply}");
        assert!(
            !reply.contains("what") && reply.len() < 512,
            "{step}, {i}: {reply}"
        );
        assert_eq!(bad.messages().len(), 0, "{step}, {i}");
    }
}

/// A backend that refuses with `line` at `step`: the reply to the client.
fn refusal(engine: &str, step: &'static str, line: &'static str) -> String {
    let bad = Backend::start(free_address(), EXTENSIONS, move |_, command| {
        if command.starts_with(step) {
            Act::say(line)
        } else {
            Act::Usual
        }
    });
    let gatepost = Gatepost::start(engine, &accepting(&[&bad]));
    let reply = send(&gatepost);
    assert_eq!(bad.messages().len(), 0);
    reply
}

crate::on_all_engines! {
    fn another_backend_takes_over_at_connect(engine) { fails_over(engine, "CONNECT"); }
    fn another_backend_takes_over_at_ehlo(engine) { fails_over(engine, "EHLO"); }
    fn another_backend_takes_over_at_mail(engine) { fails_over(engine, "MAIL"); }
    fn another_backend_takes_over_at_data(engine) { fails_over(engine, "DATA"); }
    fn a_lone_backend_that_fails_at_connect_means_451(engine) { defers_alone(engine, "CONNECT"); }
    fn a_lone_backend_that_fails_at_rcpt_means_451(engine) { defers_alone(engine, "RCPT"); }
    fn a_lone_backend_that_fails_after_the_dot_means_451(engine) { defers_alone(engine, "BODY"); }

    // INV-REPLY
    fn refusals_are_passed_on_with_their_codes(engine) {
        for (step, line, expected) in [
            ("MAIL", "550 5.7.1 not you", "550 5.7.1 not you"),
            ("MAIL", "452 4.3.1 full", "452 4.3.1 full"),
            ("RCPT", "550 5.1.1 nobody", "550 5.1.1 nobody"),
            ("RCPT", "450 4.2.0 greylisted", "450 4.2.0 greylisted"),
            ("DATA", "554 5.7.1 no", "554 5.7.1 no"),
            ("BODY", "554 5.6.0 spam", "554 5.6.0 spam"),
            ("BODY", "452 not now", "452 4.3.1 not now"),
            ("BODY", "552-5.3.4 too\r\n552 5.3.4 large", "552-5.3.4 too\r\n552 5.3.4 large"),
            ("MAIL", "530 5.7.0 Authentication required", "451 4.3.5"),
            ("MAIL", "502 what", "451 4.3.5"),
        ] {
            let reply = refusal(engine, step, line);
            assert!(reply.starts_with(expected), "{step} {line}: {reply}");
        }
    }

    // INV-ONCE
    fn nothing_is_sent_twice_after_the_dot(engine) {
        let bad = Backend::start(free_address(), EXTENSIONS, |_, command| {
            if command == "BODY" { Act::Close } else { Act::Usual }
        });
        let good = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &accepting(&[&bad, &good]));
        let reply = send(&gatepost);
        assert!(reply.starts_with("451 4.4.2"), "{reply}");
        assert_eq!(good.messages().len(), 0, "the message may be with the first one");
        assert_eq!(gatepost.metric("gatepost_uncertain_total", ""), 1.0);
    }

    fn a_stale_connection_is_not_the_clients_trouble(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &accepting(&[&backend]));
        for round in 1..=3 {
            let reply = send(&gatepost);
            assert!(reply.starts_with("250"), "{round}: {reply}\n{}", gatepost.log());
            assert_eq!(backend.messages().len(), round);
            backend.cut();
        }
    }

    fn a_connection_that_said_421_while_idle_is_not_used(engine) {
        let backend = Backend::start(free_address(), EXTENSIONS, |connection, command| {
            if connection == 0 && command.starts_with("QUIT") { Act::Close } else { Act::Usual }
        });
        let gatepost = Gatepost::start(engine, &accepting(&[&backend]));
        assert!(send(&gatepost).starts_with("250"));
        backend.say_on_all(b"421 4.4.2 idle for too long\r\n");
        assert!(send(&gatepost).starts_with("250"));
        assert_eq!(backend.messages().len(), 2);
        assert_ne!(backend.messages()[0].connection, backend.messages()[1].connection);
    }

    fn some_refused_recipients_get_nobody_the_message(engine) {
        let backend = Backend::start(free_address(), EXTENSIONS, |_, command| {
            if command.starts_with("RCPT TO:<gone@") { Act::say("550 5.1.1 gone") } else { Act::Usual }
        });
        let gatepost = Gatepost::start(engine, &accepting(&[&backend]));
        let mut client = Client::hello(gatepost.smtp);
        let reply = client.send("a@sender.example", &["b@example.net", "gone@example.net"], "x\r\n");
        assert!(reply.starts_with("451 4.5.3") && reply.contains("gone@example.net"), "{reply}");
        assert_eq!(backend.messages().len(), 0);
        // The sender comes again: the one that is gone is refused at once, the other gets the message.
        client.expect("MAIL FROM:<a@sender.example>", "250");
        client.expect("RCPT TO:<b@example.net>", "250");
        client.expect("RCPT TO:<gone@example.net>", "550 5.1.1");
        client.expect("DATA", "354");
        client.raw(b"x\r\n.\r\n");
        assert!(client.reply().starts_with("250"));
        assert_eq!(backend.messages()[0].rcpt, ["RCPT TO:<b@example.net>"]);
    }

    fn an_early_refusal_of_a_large_body_is_told(engine) {
        let backend = Backend::start(free_address(), &["PIPELINING", "CHUNKING", "8BITMIME"], |_, command| {
            if command.starts_with("BDAT") { Act::say("552 5.3.4 too much") } else { Act::Usual }
        });
        let gatepost = Gatepost::start(engine, &accepting(&[&backend]));
        let body = "Subject: large\r\n\r\n".to_string() + &"a line of a large message\r\n".repeat(40_000);
        let reply = Client::hello(gatepost.smtp).send("a@sender.example", &["b@example.net"], &body);
        assert!(reply.starts_with("552 5.3.4"), "{reply}");
        assert_eq!(backend.messages().len(), 0);
    }

    fn a_backend_comes_back(engine) {
        let address = free_address();
        let backend = Backend::good(address);
        let more = "lease_wait = \"1s\"\nhealth = { backoff = \"200ms\", backoff_max = \"400ms\", interval = \"0s\" }";
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], more) + "recipients = \"accept\"\n"));
        assert!(send(&gatepost).starts_with("250"));
        drop(backend);
        let reply = send(&gatepost);
        assert!(reply.starts_with("451"), "{reply}");
        wait_until("not ready", || (gatepost.get("/ready").0 == 503).then_some(()));
        let backend = Backend::good(address);
        wait_until("ready again", || (gatepost.get("/ready").0 == 200).then_some(()));
        assert!(send(&gatepost).starts_with("250"));
        assert_eq!(backend.messages().len(), 1);
    }

    /// The client's own deadlines don't run while a backend thinks.
    fn a_slow_backend_is_waited_for(engine) {
        let ((thinks, thinking), (answer, answers)) = (mpsc::channel(), mpsc::channel::<()>());
        let answers = Mutex::new(answers);
        let backend = Backend::start(free_address(), EXTENSIONS, move |_, command| {
            if command == "BODY" {
                let _ = thinks.send(());
                let _ = answers.lock().expect("no panic").recv();
            }
            Act::Usual
        });
        let waits = "[timeouts]\ncommand = \"2s\"\ndata = \"2s\"\n";
        let config = pool(&[&backend], "") + "recipients = \"accept\"\n" + waits;
        let gatepost = Gatepost::start(engine, &config);
        let mut client = Client::in_data(gatepost.smtp);
        client.raw(b"Subject: x\r\n\r\nx\r\n.\r\n");
        thinking.recv_timeout(PATIENCE).expect("it has the message");
        // Another one that comes only now meets its deadline before the backend answers.
        let (mut later, _) = Client::greeted(gatepost.smtp);
        let end = later.reply();
        assert!(end.starts_with("421 4.4.2"), "{end}");
        answer.send(()).expect("it waits for this");
        let reply = client.reply();
        assert!(reply.starts_with("250"), "{reply}");
    }
}
