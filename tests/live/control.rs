//! Starting, stopping, reloading; and what it says when it can't.

use crate::{
    backend::{Act, Backend, EXTENSIONS},
    client::Client,
    delivery::pool,
    harness::{Gatepost, PATIENCE, free_address, http, wait_until},
};
use std::{fs, net::TcpListener, process::Command, time::Instant};

/// Waits for the end of the process: its exit code.
fn ended(gatepost: &mut Gatepost) -> Option<i32> {
    wait_until("gatepost ends", || {
        gatepost.process.0.try_wait().expect("a child")
    })
    .code()
}

/// Runs the program to its end: exit code, and what it wrote on standard error.
fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_gatepost"))
        .args(arguments)
        .output()
        .expect("runs");
    (
        out.status.code(),
        String::from_utf8_lossy(&out.stderr).into_owned(),
    )
}

crate::on_all_engines! {
    fn sigterm_lets_a_running_message_finish(engine) {
        let backend = Backend::good(free_address());
        let mut gatepost = Gatepost::start(engine, &pool(&[&backend], ""));
        let mut busy = Client::hello(gatepost.smtp);
        busy.expect("MAIL FROM:<a@sender.example>", "250");
        busy.expect("RCPT TO:<b@example.net>", "250");
        busy.expect("DATA", "354");
        busy.raw(b"Subject: slow\r\n\r\nhalf\r\n");
        let mut idle = Client::hello(gatepost.smtp);
        gatepost.process.signal("TERM");
        wait_until("it says so", || gatepost.errors().contains("draining").then_some(()));
        let told = idle.rest();
        assert!(told.starts_with("421 4.3.2"), "{told}");
        busy.raw(b"whole\r\n.\r\n");
        assert!(busy.reply().starts_with("250"));
        assert!(busy.rest().starts_with("421 4.3.2"));
        assert_eq!(ended(&mut gatepost), Some(0));
        assert_eq!(backend.messages()[0].payload(), "Subject: slow\r\n\r\nhalf\r\nwhole\r\n");
    }

    fn a_drain_has_an_end(engine) {
        let backend = Backend::good(free_address());
        let mut gatepost = Gatepost::start(engine, &(pool(&[&backend], "") + "[timeouts]\ndrain = \"300ms\"\n"));
        let mut busy = Client::hello(gatepost.smtp);
        busy.expect("MAIL FROM:<a@sender.example>", "250");
        gatepost.process.signal("TERM");
        assert_eq!(ended(&mut gatepost), Some(0));
        assert!(gatepost.errors().contains("took too long"));
        busy.rest();
    }

    fn what_the_end_of_a_drain_cuts_off_is_told_and_logged(engine) {
        let hangs = |_, command: &str| match command == "BODY" {
            true => Act::Hang,
            false => Act::Usual,
        };
        let backend = Backend::start(free_address(), EXTENSIONS, hangs);
        let config = pool(&[&backend], "") + "[timeouts]\ndrain = \"300ms\"\n";
        let mut gatepost = Gatepost::start(engine, &config);
        let mut client = Client::in_data(gatepost.smtp);
        client.raw(b"Subject: x\r\n\r\nx\r\n.\r\n");
        let mut slow = Client::in_data(gatepost.smtp);
        slow.raw(b"Subject: half\r\n");
        wait_until("the backend has the message", || {
            let commands = backend.commands();
            let has = commands.iter().any(|(_, said)| said == "DATA");
            has.then_some(())
        });
        gatepost.process.signal("TERM");
        let reply = client.reply();
        assert!(reply.starts_with("451 4.4.2"), "it may have been delivered: {reply}");
        assert!(slow.rest().starts_with("421 4.3.2"));
        client.rest();
        assert_eq!(ended(&mut gatepost), Some(0));
        gatepost.log_line(&["verdict=defer", "code=451", "status=4.4.2"]);
        gatepost.log_line(&["verdict=abandon", "code=421"]);
        assert!(!gatepost.errors().contains("left out"), "{}", gatepost.errors());
    }

    fn a_second_sigterm_ends_at_once(engine) {
        let backend = Backend::good(free_address());
        let mut gatepost = Gatepost::start(engine, &pool(&[&backend], ""));
        let mut busy = Client::hello(gatepost.smtp);
        busy.expect("MAIL FROM:<a@sender.example>", "250");
        let begun = Instant::now();
        gatepost.process.signal("TERM");
        wait_until("it says so", || gatepost.errors().contains("draining").then_some(()));
        gatepost.process.signal("TERM");
        assert_eq!(ended(&mut gatepost), Some(0));
        assert!(begun.elapsed() < PATIENCE, "the drain deadline is a minute");
        busy.rest();
    }

    fn sighup_applies_a_changed_file_to_new_sessions(engine) {
        let (one, two) = (Backend::good(free_address()), Backend::good(free_address()));
        let gatepost = Gatepost::start(engine, &pool(&[&one], ""));
        let mut old = Client::hello(gatepost.smtp);
        let text = fs::read_to_string(gatepost.file()).expect("there");
        let text = text.replace(&one.address.to_string(), &two.address.to_string());
        fs::write(gatepost.file(), text.replace("example.net", "example.org")).expect("written");
        let names = |backend: &Backend| gatepost.get("/metrics").1.contains(&backend.address.to_string());
        assert!(names(&one));
        gatepost.process.signal("HUP");
        wait_until("the reload", || gatepost.errors().contains("reloaded").then_some(()));
        assert!(names(&two) && !names(&one), "a backend that left the file leaves the metrics");
        let mut new = Client::hello(gatepost.smtp);
        assert!(new.send("a@sender.example", &["b@example.org"], "new\r\n").starts_with("250"));
        assert_eq!((one.messages().len(), two.messages().len()), (0, 1));
        // The session that was open goes on, under what it began with.
        old.expect("MAIL FROM:<a@sender.example>", "250");
        old.expect("RCPT TO:<b@example.org>", "550 5.7.1");
        old.expect("QUIT", "221");
    }

    // INV-RELOAD
    fn a_broken_file_changes_nothing(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &pool(&[&backend], ""));
        let text = fs::read_to_string(gatepost.file()).expect("there");
        fs::write(gatepost.file(), text + "\n[limitz]\n").expect("written");
        let (status, body) = http(gatepost.admin, "POST", "/reload");
        assert_eq!(status, 422, "{body}");
        assert!(body.contains("limitz") && body.contains("limits"), "{body}");
        wait_until("it says so", || gatepost.errors().contains("nothing was changed").then_some(()));
        let mut client = Client::hello(gatepost.smtp);
        assert!(client.send("a@sender.example", &["b@example.net"], "x\r\n").starts_with("250"));
    }

    /// What a rotation moved away will be removed.
    fn the_log_is_opened_again_also_where_the_configuration_is_refused(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &pool(&[&backend], ""));
        let send = |sender: &str| {
            let reply = Client::hello(gatepost.smtp).send(sender, &["b@example.net"], "x\r\n");
            assert!(reply.starts_with("250"), "{reply}");
        };
        let text = fs::read_to_string(gatepost.file()).expect("there");
        fs::write(gatepost.file(), text + "\n[limitz]\n").expect("written");
        for (round, by_signal) in [(1, true), (2, false)] {
            send(&format!("before{round}@sender.example"));
            gatepost.log_line(&[&format!("from=before{round}@sender.example")]);
            let old = gatepost.folder.path().join(format!("mail.log.{round}"));
            fs::rename(gatepost.folder.path().join("mail.log"), &old).expect("moved");
            match by_signal {
                true => gatepost.process.signal("HUP"),
                false => assert_eq!(http(gatepost.admin, "POST", "/reload").0, 422),
            }
            wait_until("it says so", || {
                (gatepost.errors().matches("nothing was changed").count() == round).then_some(())
            });
            send(&format!("after{round}@sender.example"));
            gatepost.log_line(&[&format!("from=after{round}@sender.example")]);
            assert!(!fs::read_to_string(old).expect("there").contains(&format!("after{round}")));
        }
    }

    fn metrics_and_percentiles_tell_of_a_message(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &pool(&[&backend], ""));
        let mut client = Client::hello(gatepost.smtp);
        for _ in 0..3 {
            client.send("a@sender.example", &["b@example.net"], "x\r\n");
        }
        client.expect("QUIT", "221");
        let label = "listener=\"mx\"";
        assert_eq!(gatepost.metric("gatepost_messages_total", &format!("{label},verdict=\"accepted\"")), 3.0);
        assert_eq!(gatepost.metric("gatepost_connections_accepted_total", ""), 1.0);
        assert!(gatepost.get("/metrics").1.contains(&format!("engine=\"{engine}\"")));
        let (status, text) = gatepost.get("/stages");
        assert_eq!(status, 200);
        for stage in ["banner", "command_hello", "command_mail", "command_rcpt", "command_data", "command_quit",
            "check", "verify", "body", "window_wait", "lease_hit", "backend_envelope", "commit", "final_reply",
            "transaction", "session"] {
            assert!(text.contains(&format!("\"{stage}\"")), "{stage} in {text}");
        }
        assert_eq!(gatepost.get("/health").0, 200);
        assert_eq!(gatepost.get("/ready").0, 200);
    }

    fn json_lines_are_json(engine) {
        let backend = Backend::good(free_address());
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lines");
        let config = pool(&[&backend], "") + &format!("[log]\nto = \"{}\"\nformat = \"json\"\n", path.display());
        let gatepost = Gatepost::start(engine, &config);
        let mut client = Client::hello(gatepost.smtp);
        client.send("\"q\\\"x\"@sender.example", &["b@example.net", "c@example.net"], "x\r\n");
        client.expect("MAIL FROM:<z@sender.example>", "250");
        client.expect("RSET", "250");
        client.expect("QUIT", "221");
        let lines = wait_until("two lines", || {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<serde_json::Value> = text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
            (lines.iter().filter(|line| line["from"].is_string()).count() == 2).then_some(lines)
        });
        let accepted = lines.iter().find(|line| line["verdict"] == "accept").expect("a message");
        assert_eq!(accepted["to"], serde_json::json!(["b@example.net", "c@example.net"]));
        assert_eq!(accepted["delays_us"].as_array().map(Vec::len), Some(4));
        assert_eq!(accepted["rcpt"], 2);
        assert!(lines.iter().any(|line| line["from"] == "z@sender.example" && line["verdict"] == "abandon"));
    }
}

#[test]
fn flags_alone_are_a_configuration() {
    let backend = Backend::start(free_address(), EXTENSIONS, |_, _| Act::Usual);
    let address = free_address();
    let arguments = [
        "run",
        "--listen",
        &address.to_string(),
        "--backend",
        &backend.address.to_string(),
        "--domain",
        "example.net",
        "--admin",
        &free_address().to_string(),
    ];
    let _gatepost = crate::harness::Running::start(
        Command::new(env!("CARGO_BIN_EXE_gatepost"))
            .args(arguments)
            .stdout(std::process::Stdio::null()),
    );
    wait_until("it greets", || crate::harness::greets(address));
    let mut client = Client::hello(address);
    assert!(
        client
            .send("a@sender.example", &["b@example.net"], "x\r\n")
            .starts_with("250")
    );
}

#[test]
fn a_port_in_use_is_told() {
    let taken = TcpListener::bind(free_address()).expect("free");
    let address = taken.local_addr().expect("bound").to_string();
    let (code, text) = run(&[
        "run",
        "--listen",
        &address,
        "--backend",
        "127.0.0.1:1",
        "--admin",
        "off",
    ]);
    assert_eq!(code, Some(69), "{text}");
    assert!(
        text.contains(&address) && text.contains("shows by which process"),
        "{text}"
    );
}

#[test]
fn a_wrong_file_is_told_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wrong.toml");
    fs::write(
        &file,
        "workers = \"many\"\n[[listener]]\naddres = [\"127.0.0.1:1\"]\n",
    )
    .expect("written");
    let path = file.display().to_string();
    for command in ["check", "run"] {
        let (code, text) = run(&[command, "-c", &path]);
        assert_eq!(code, Some(78), "{text}");
        assert!(
            text.contains("wrong.toml:1:11") && text.contains("wrong.toml:3:1"),
            "{text}"
        );
        assert!(text.contains("address"), "the nearest key: {text}");
    }
    let (code, text) = run(&["check", "-c", "/nowhere/at/all.toml"]);
    assert_eq!(code, Some(78));
    assert!(text.contains("/nowhere/at/all.toml"), "{text}");
}
