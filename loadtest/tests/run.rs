//! `run` against a server that knows nothing of us: Postfix's smtp-sink, where it is installed.
#![allow(clippy::unwrap_used)]

use gatepost_load::{
    ledger::{Entry, Fate},
    run::{Hooks, Plan, execute},
};
use std::{
    io::Read as _,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A running smtp-sink; gone when dropped.
struct Sink {
    child: Child,
    address: String,
}

impl Sink {
    /// `None` where it is not installed.
    fn start(more: &[&str]) -> Option<Sink> {
        let program = ["/usr/sbin/smtp-sink", "/usr/libexec/postfix/smtp-sink"]
            .into_iter()
            .find(|path| Path::new(path).exists());
        let Some(program) = program else {
            eprintln!("smtp-sink is not installed: nothing was tested");
            return None;
        };
        for _ in 0..5 {
            let address = free_address();
            let mut command = Command::new(program);
            // It refuses to run as root, and takes no other user from anybody else.
            if rustix::process::geteuid().is_root() {
                command.args(["-u", "nobody"]);
            }
            command.args(more).args([&address, "1000"]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let child = command.spawn().unwrap();
            let mut sink = Sink { child, address };
            if sink.is_up() {
                return Some(sink);
            }
        }
        panic!("smtp-sink does not start");
    }

    fn is_up(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) {
            if TcpStream::connect(&self.address).is_ok() {
                return true;
            }
            if self.child.try_wait().unwrap().is_some() {
                return false; // somebody else took the port
            }
            thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn plan(text: &str, sink: &Sink) -> Plan {
    let text = format!("targets = ['{}']\n{text}", sink.address);
    Plan::new(toml::from_str(&text).unwrap()).unwrap()
}

#[test]
fn a_closed_loop_sends_all_its_messages() {
    let Some(sink) = Sink::start(&[]) else { return };
    for (more, recipients, connections) in [
        ("", 1, 4),
        ("pipelining = 'off'\nsize = '100KiB'", 1, 4),
        ("messages_per_session = 1\nrecipients = 3", 3, 300),
        ("workers = 2\nsize = 'lognormal:median=8KiB,sigma=1'", 1, 4),
        (
            "io = 'epoll'\nsize = '1MiB'\nmessages_per_session = 50",
            1,
            8,
        ),
    ] {
        let text = format!("closed = true\nsessions = 4\nmessages = 300\n{more}");
        let (result, ledger) = execute(&plan(&text, &sink), &Hooks::default()).unwrap();
        let totals = result.totals;
        assert_eq!((totals.begun, totals.acknowledged), (300, 300), "{more}");
        assert_eq!(result.latency.count, 300);
        assert!(
            totals.connections.abs_diff(connections) <= 4,
            "{more}: {totals:?}"
        );
        let entry = Entry {
            fate: Fate::Acknowledged,
            recipients,
        };
        assert_eq!(ledger.entries, vec![entry; 300], "{more}");
        for step in [
            "connect", "greeting", "hello", "mail", "rcpt", "data", "body", "service",
        ] {
            assert!(result.steps.contains_key(step), "{more}: {step}");
        }
        let spread: u64 = result.intervals.iter().map(|i| i.acknowledged).sum();
        assert_eq!(spread, 300);
    }
}

#[test]
fn an_open_loop_sends_each_message_that_is_due() {
    let Some(sink) = Sink::start(&[]) else { return };
    for (more, spread) in [
        ("rate = 200\nduration = '2s'", 0),
        (
            "rate = 200\narrivals = 'poisson'\nduration = '2s'\nworkers = 2",
            120,
        ),
        ("ramp = '0..400:2s'\nworkers = 2\nio = 'epoll'", 2),
        ("burst = '700:500ms/1s'\nrate = 100\nmessages = 400", 0),
    ] {
        let (result, ledger) = execute(&plan(more, &sink), &Hooks::default()).unwrap();
        let totals = result.totals;
        assert!(
            totals.intended.abs_diff(400) <= spread,
            "{more}: {totals:?}"
        );
        // A slow machine is late, and begins them all the same, unless the end comes first.
        assert!(totals.begun <= totals.intended && totals.begun > 0);
        assert_eq!(
            totals.acknowledged, totals.begun,
            "{more}: {:?}",
            result.errors
        );
        let acknowledged = ledger
            .entries
            .iter()
            .filter(|e| e.fate == Fate::Acknowledged);
        assert_eq!(acknowledged.count() as u64, totals.acknowledged);
    }
}

fn command(args: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_gatepost-load");
    Command::new(program)
        .arg("run")
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn a_target_that_is_not_there_is_told() {
    let free = free_address();
    for load in ["--closed", "--rate=100"] {
        let out = command(&[&free, load, "-d", "60s"]);
        assert_eq!(out.status.code(), Some(69), "{load}");
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(
            text.contains("not reachable") && text.contains(&free),
            "{text}"
        );
    }
}

#[test]
fn wrong_usage_ends_with_64() {
    for args in [
        &["--rate", "1", "--closed"][..],
        &["--nonsense"],
        &["--scenario", "stedy"],
    ] {
        assert_eq!(command(args).status.code(), Some(64), "{args:?}");
    }
}

/// What a client that connects to a silent server says first.
fn first_words(more: &str) -> (Vec<u8>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let text =
        format!("targets = ['{address}']\nclosed = true\nsessions = 1\nmessages = 1\n{more}");
    let plan = Plan::new(toml::from_str(&text).unwrap()).unwrap();
    let run = thread::spawn(move || execute(&plan, &Hooks::default()).unwrap());
    let (mut stream, peer) = listener.accept().unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    let (result, _) = run.join().unwrap();
    assert_eq!(
        result.errors["greeting timed out"], 1,
        "{:?}",
        result.errors
    );
    assert_eq!(result.totals.failed, 1);
    (said, peer)
}

#[test]
fn a_server_that_says_nothing_is_left_at_the_deadline() {
    let (said, peer) = first_words("timeout = '300ms'\nsource = '127.7.0.0/16'");
    assert!(said.is_empty());
    assert!(peer.ip().to_string().starts_with("127.7."), "{peer}");
}

#[test]
fn a_proxy_header_comes_before_the_greeting() {
    let (said, _) =
        first_words("timeout = '300ms'\nproxy_header = 'v1'\nproxy_from = '192.0.2.0/24'");
    let said = String::from_utf8(said).unwrap();
    assert!(
        said.starts_with("PROXY TCP4 192.0.2.1 127.0.0.1 "),
        "{said}"
    );
    let (said, _) = first_words("timeout = '300ms'\nproxy_header = 'v2'");
    assert_eq!(said.len(), 28);
}
