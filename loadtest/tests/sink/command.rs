//! The command: its ends, what it prints and writes, what it says when it can't.

use crate::harness::{message, sink};
use gatepost_load::{ledger::Tally, sink::Summary};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
};

/// The command, running.
struct Sink {
    child: Child,
    said: BufReader<ChildStderr>,
    address: String,
}

impl Sink {
    fn start(arguments: &[&str]) -> Sink {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gatepost-load"))
            .args(["sink", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let address = line.trim().rsplit(' ').next().unwrap().to_string();
        Sink {
            child,
            said,
            address,
        }
    }

    /// Sends a message, and reads the replies up to QUIT's.
    fn take(&self, payload: &[u8]) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = "HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@a.example>\r\nDATA\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(payload).unwrap();
        stream.write_all(b".\r\nQUIT\r\n").unwrap();
        let mut replies = String::new();
        stream.read_to_string(&mut replies).unwrap();
        assert!(
            replies.contains("354 ") && replies.contains("221 "),
            "{replies}"
        );
    }

    fn end(mut self) -> (ExitStatus, Summary) {
        let mut text = String::new();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        let status = self.child.wait().unwrap();
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).unwrap();
        let summary = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{rest}"));
        (status, summary)
    }
}

#[test]
fn it_ends_after_so_many_messages_and_writes_the_tally() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tally.json");
    let sink = Sink::start(&["--messages", "3", "--tally", path.to_str().unwrap()]);
    for (run, number) in [(1, 0), (2, 0), (2, 1)] {
        sink.take(&message(run, number, "x\r\n"));
    }
    let (status, summary) = sink.end();
    assert!(status.success());
    assert_eq!((summary.messages, summary.runs.len()), (3, 2));
    let read = |path: &std::path::Path| -> Tally {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    assert_eq!(read(&path).arrivals.len(), 2);
    let first = folder.path().join("tally.json.0000000000000001");
    assert_eq!(read(&first).arrivals.len(), 1);
}

#[test]
fn it_ends_when_clients_are_silent() {
    let sink = Sink::start(&["--idle-exit", "300ms"]);
    sink.take(&message(1, 0, "x\r\n"));
    let (status, summary) = sink.end();
    assert!(status.success());
    assert_eq!(summary.messages, 1);
}

#[test]
fn a_signal_ends_it_with_its_summary_and_damage_is_told_by_the_exit_code() {
    let sink = Sink::start(&[]);
    let mut damaged = message(1, 0, "x\r\n");
    damaged.extend_from_slice(b"y\r\n");
    sink.take(&damaged);
    let pid = sink.child.id().to_string();
    let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(sent.success());
    let (status, summary) = sink.end();
    assert_eq!((status.code(), summary.damaged), (Some(1), 1));
}

#[test]
fn what_is_wrong_is_said() {
    let taken = sink("{}");
    let address = taken.addresses()[0].to_string();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_gatepost-load"))
            .arg("sink")
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    for workers in ["1", "2"] {
        let (code, said) = run(&["--listen", &address, "--workers", workers]);
        assert_eq!(code, Some(69), "{said}");
        assert!(
            said.contains(&address) && said.contains("shows by which process"),
            "{said}"
        );
    }
    let control = taken.control().unwrap().to_string();
    let (code, said) = run(&["--listen", "127.0.0.1:0", "--control", &control]);
    assert!(code == Some(69) && said.contains("control"), "{said}");
    let (_, said) = run(&["--listen", "127.0.0.1:0", "--delay", "bdy=1ms"]);
    assert!(said.contains("bdy") && said.contains("body"), "{said}");
    let (code, said) = run(&["--help"]);
    assert_eq!(code, Some(0), "{said}");
}
