//! Other people's clients. One that is not installed is left out, by name.

use crate::harness::{sink, sink_with};
use gatepost_load::sink::Handle;
use std::process::{Command, Stdio};

/// Runs a program against a sink; false where it is not installed.
fn run(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else {
        eprintln!("{program} is not installed: left out");
        return false;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {said}{wrong}");
    true
}

fn address(sink: &Handle) -> String {
    sink.addresses()[0].to_string()
}

#[test]
fn smtp_source_sends_many() {
    let sink = sink_with("{}", |options| options.workers = 2);
    let to = address(&sink);
    let common = [
        "-l",
        "4096",
        "-m",
        "300",
        "-f",
        "a@a.example",
        "-t",
        "b@b.example",
    ];
    let kept = [&["-d", "-s", "8"][..], &common, &[&to]].concat();
    let single = [&["-s", "8"][..], &common, &[&to]].concat();
    if !run("smtp-source", &kept) {
        return;
    }
    run("smtp-source", &single);
    run("smtp-source", &[&["-r", "5"][..], &common, &[&to]].concat());
    let summary = sink.stop();
    assert_eq!((summary.messages, summary.unstamped), (900, 900));
    assert_eq!(summary.recipients, 600 + 1500);
    assert!(summary.faults.is_empty(), "{summary:?}");
}

#[test]
fn smtp_source_speaks_lmtp() {
    let sink = sink_with("{}", |options| options.lmtp = true);
    let to = address(&sink);
    let arguments = [
        "-L",
        "-m",
        "50",
        "-r",
        "3",
        "-f",
        "a@a.example",
        "-t",
        "b@b.example",
        &to,
    ];
    if run("smtp-source", &arguments) {
        let summary = sink.stop();
        assert_eq!((summary.messages, summary.recipients), (50, 150));
    }
}

#[test]
fn swaks_sends_one_and_pipelines_another() {
    let sink = sink("{}");
    let to = address(&sink);
    let common = [
        "--server",
        &to,
        "--from",
        "a@a.example",
        "--to",
        "b@b.example,c@b.example",
    ];
    if run("swaks", &common) {
        run("swaks", &[&common[..], &["--pipeline"]].concat());
        let summary = sink.stop();
        assert_eq!((summary.messages, summary.recipients), (2, 4));
        assert!(summary.faults.is_empty(), "{summary:?}");
    }
}

#[test]
fn curl_sends_one() {
    let sink = sink("{}");
    let url = format!("smtp://{}/client.example", address(&sink));
    let arguments = [
        "-sS",
        &url,
        "--mail-from",
        "a@a.example",
        "--mail-rcpt",
        "b@b.example",
        "-T",
        "/etc/hostname",
    ];
    if run("curl", &arguments) {
        assert_eq!(sink.stop().messages, 1);
    }
}

#[test]
fn python_sends_what_smtplib_sends() {
    let sink = sink("{}");
    let port = sink.addresses()[0].port();
    let script = format!(
        "import smtplib, email.message\n\
         m = email.message.EmailMessage()\n\
         m['Subject'] = 'Grüße'\n\
         m.set_content('.a dot\\n..\\nö')\n\
         with smtplib.SMTP('127.0.0.1', {port}) as s:\n\
         \x20   s.send_message(m, 'a@a.example', ['b@b.example', 'c@c.example'])\n"
    );
    if run("python3", &["-c", &script]) {
        let summary = sink.stop();
        assert_eq!((summary.messages, summary.recipients), (1, 2));
    }
}
