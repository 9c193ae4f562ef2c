//! What leaves no line in the log, and a configuration that is no file.

use crate::{
    backend::Backend,
    client::Client,
    delivery::pool,
    harness::{Gatepost, Running, free_address, greets, wait_until},
};
use std::{
    fs::{self, File},
    io::Write,
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
};

type Look = fn(SocketAddr);

/// What a load balancer does that looks whether a mail server is well.
const LOOKS: [(&str, Look); 5] = [
    // HAProxy without `option smtpchk`, Kubernetes' `tcpSocket`.
    ("the port alone", |address| {
        drop(TcpStream::connect(address).expect("it listens"));
    }),
    ("greeting, reset", |address| {
        Client::greeted(address).0.reset();
    }),
    ("greeting, QUIT", |address| {
        Client::greeted(address).0.expect("QUIT", "221");
    }),
    // HAProxy's `option smtpchk EHLO localhost`.
    ("EHLO, QUIT", |address| {
        Client::hello(address).expect("QUIT", "221");
    }),
    ("EHLO, NOOP", |address| {
        Client::hello(address).expect("NOOP", "250");
    }),
];

crate::on_all_engines! {
    fn health_checks_of_load_balancers_do_not_fill_the_log(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &format!("trusted = [\"127.0.0.0/8\"]\n{}", pool(&[&backend], "")));
        let counted = || gatepost.metric("gatepost_health_checks_total", "") as usize;
        for (at, (name, look)) in LOOKS.iter().enumerate() {
            look(gatepost.smtp);
            wait_until(name, || (counted() == at + 1).then_some(()));
        }
        // One that was refused something is no health check, nor is one that sends.
        let mut client = Client::hello(gatepost.smtp);
        client.expect("XYZZY", "500");
        client.expect("QUIT", "221");
        gatepost.log_line(&["verdict=none", "500 5.5.2"]);
        let mut client = Client::hello(gatepost.smtp);
        assert!(client.send("a@sender.example", &["b@example.net"], "x\r\n").starts_with("250"));
        gatepost.log_line(&["verdict=accept"]);
        assert_eq!(gatepost.log().lines().count(), 2, "{}", gatepost.log());
        assert_eq!(counted(), LOOKS.len());
    }

    fn strangers_that_ask_for_nothing_are_logged(engine) {
        let backend = Backend::good(free_address());
        let gatepost = Gatepost::start(engine, &pool(&[&backend], ""));
        let mut client = Client::hello(gatepost.smtp);
        client.expect("QUIT", "221");
        gatepost.log_line(&["verdict=none", "helo=client.example"]);
        assert_eq!(gatepost.metric("gatepost_health_checks_total", ""), 0.0);
    }

    fn standard_input_is_a_configuration(engine) {
        let backend = Backend::good(free_address());
        let (smtp, admin) = (free_address(), free_address());
        let folder = tempfile::tempdir().expect("a folder");
        let text = format!(
            "io = \"{engine}\"\nworkers = 1\ntrusted = []\n[admin]\nlisten = \"{admin}\"\n\
             [[listener]]\nname = \"mx\"\naddress = [\"{smtp}\"]\n{}",
            pool(&[&backend], "")
        );
        let errors = folder.path().join("stderr");
        let mut process = Running::start(
            Command::new(env!("CARGO_BIN_EXE_gatepost"))
                .args(["run", "-c", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(File::create(&errors).expect("made")),
        );
        let mut input = process.0.stdin.take().expect("piped");
        input.write_all(text.as_bytes()).expect("it reads");
        drop(input);
        wait_until("it greets", || greets(smtp));
        let send = || {
            let mut client = Client::hello(smtp);
            client.send("a@sender.example", &["b@example.net"], "x\r\n").starts_with("250")
        };
        assert!(send());
        // It can't be read twice: a reload works with what it said, and reads the files that it names again.
        process.signal("HUP");
        wait_until("it is applied", || fs::read_to_string(&errors).ok()?.contains("reload").then_some(()));
        assert!(send());
        assert!(process.0.try_wait().expect("a child").is_none());
    }
}

#[test]
fn mistakes_on_standard_input_are_told_with_their_place() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gatepost"))
        .args(["check", "-c", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    let mut input = child.stdin.take().expect("piped");
    input
        .write_all(b"workers = 1\nhostnam = \"x\"\n")
        .expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(
        said.contains("standard input:2") && said.contains("did you mean `hostname`?"),
        "{said}"
    );
}
