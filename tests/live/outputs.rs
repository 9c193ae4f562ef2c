//! Standard output and standard error that take nothing more: mail, signals and the end of the process don't wait for them.

use crate::harness::{Gatepost, PATIENCE, Running, free_address, greets, http, wait_until};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::{
        fd::AsRawFd,
        unix::{fs::OpenOptionsExt, process::ExitStatusExt},
    },
    process::{Command, Stdio},
};

/// A pipe that has no room left, and that nothing reads.
fn full_pipe() -> (io::PipeReader, io::PipeWriter) {
    let (reader, writer) = io::pipe().expect("a pipe");
    // An open file of its own, so that the other one stays blocking.
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let mut filler = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .expect("opens");
    for size in [4096, 1] {
        while filler.write(&vec![b'x'; size]).is_ok() {}
    }
    (reader, writer)
}

/// Gatepost with these outputs, once it greets: its process, its address, that of its admin endpoint.
fn start(
    folder: &tempfile::TempDir,
    output: Stdio,
    errors: Stdio,
    tables: &str,
) -> (Running, SocketAddr, SocketAddr) {
    start_with("", folder, output, errors, tables)
}

/// The same with these keys of `[admin]`.
fn start_with(
    keys: &str,
    folder: &tempfile::TempDir,
    output: Stdio,
    errors: Stdio,
    tables: &str,
) -> (Running, SocketAddr, SocketAddr) {
    let (smtp, admin, backend) = (free_address(), free_address(), free_address());
    let file = folder.path().join("gatepost.toml");
    let text = format!(
        "workers = 1\nhostname = \"edge.example\"\ntrusted = []\n[admin]\nlisten = \"{admin}\"\n{keys}\n\
         [[listener]]\nname = \"mx\"\naddress = [\"{smtp}\"]\n[[pool]]\nname = \"p\"\nbackends = [\"{backend}\"]\n\
         [[route]]\ndomains = [\"example.net\"]\npool = \"p\"\nrecipients = \"accept\"\n[timeouts]\ndrain = \"1s\"\n{tables}"
    );
    fs::write(&file, text).expect("written");
    let process = Running::start(
        Command::new(env!("CARGO_BIN_EXE_gatepost"))
            .args(["run", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors),
    );
    wait_until("it greets", || greets(smtp));
    (process, smtp, admin)
}

/// A session that says QUIT; true if it had its 221.
fn session(smtp: SocketAddr) -> bool {
    let stream = TcpStream::connect(smtp).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
    // A client that talks before the greeting is refused.
    assert!(lines.next().is_some_and(|line| line.starts_with("220")));
    (&stream).write_all(b"QUIT\r\n").expect("sent");
    lines.any(|line| line.starts_with("221"))
}

fn ends(mut process: Running) {
    process.signal("TERM");
    let status = wait_until("it ends", || process.0.try_wait().expect("a child"));
    assert_eq!((status.code(), status.signal()), (Some(0), None));
}

#[test]
fn a_full_standard_error_holds_nothing_up() {
    let folder = tempfile::tempdir().expect("a folder");
    // Full from the start on, with lines of every kind to come.
    let (mut reader, writer) = full_pipe();
    let (process, smtp, admin) = start(
        &folder,
        Stdio::null(),
        writer.into(),
        "[log]\nlevel = \"debug\"\n",
    );
    assert!(session(smtp));
    assert_eq!(http(admin, "POST", "/reload").0, 200);
    assert!(session(smtp), "after lines of the service");
    ends(process);
    let mut seen = String::new();
    reader
        .read_to_string(&mut seen)
        .expect("what was filled in");
    assert!(!seen.contains("gatepost"), "it was full");
}

#[test]
fn a_full_standard_output_holds_nothing_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_reader, writer) = full_pipe();
    let (process, smtp, _) = start(&folder, writer.into(), Stdio::null(), "");
    for _ in 0..3 {
        assert!(session(smtp));
    }
    ends(process);
}

#[test]
fn what_waits_is_written_before_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let errors = folder.path().join("errors");
    let output = folder.path().join("output");
    let create = |path| Stdio::from(File::create(path).expect("made"));
    let (process, smtp, _) = start(&folder, create(&output), create(&errors), "");
    assert!(session(smtp));
    ends(process);
    let said = fs::read_to_string(errors).expect("text");
    assert!(
        said.lines()
            .next()
            .is_some_and(|line| line.contains("Z gatepost ")),
        "{said}"
    );
    assert!(said.ends_with("gatepost info: ended\n"), "{said}");
    let logged = fs::read_to_string(output).expect("text");
    assert!(logged.contains("listener=mx"), "{logged}");
}

#[test]
fn lines_for_a_full_device_and_a_closed_pipe_are_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let full = OpenOptions::new().write(true).open("/dev/full");
    let (reader, closed) = io::pipe().expect("a pipe");
    drop(reader);
    let output = Stdio::from(full.expect("every Linux has it"));
    let (process, smtp, admin) = start(&folder, output, closed.into(), "");
    assert!(session(smtp));
    for log in ["transactions", "service"] {
        let series = format!("gatepost_log_lines_dropped_total{{log=\"{log}\",reason=\"write\"}} ");
        wait_until(&series, || {
            let (_, text) = http(admin, "GET", "/metrics");
            let line = text.lines().find(|line| line.starts_with(&series))?;
            (!line.ends_with(" 0")).then_some(())
        });
    }
    ends(process);
}

#[test]
fn service_lines_are_json_where_the_log_is() {
    let gatepost = Gatepost::start(
        "epoll",
        "[[pool]]\nname = \"p\"\nbackends = [\"127.0.0.1:9\"]\n[[route]]\ndomains = [\"example.net\"]\npool = \"p\"\n[log]\nformat = \"json\"\n",
    );
    let line = wait_until("a line of the service", || {
        let errors = gatepost.errors();
        errors
            .lines()
            .find(|line| line.contains("listening on"))
            .map(str::to_string)
    });
    let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(value["level"], "info");
    assert!(value["time"].is_string() && value["message"].is_string());
}

/// Opening it would wait for a reader that may never come.
#[test]
fn a_fifo_that_no_process_reads_holds_nothing_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("made");
    let told = folder.path().join("stderr");
    let said = || fs::read_to_string(&told).expect("there");
    let keys = format!("histogram_log = \"{}\"", fifo.display());
    let errors = File::create(&told).expect("made");
    let (process, smtp, admin) = start_with(
        &keys,
        &folder,
        Stdio::null(),
        errors.into(),
        "[log]\nto = \"off\"\n",
    );
    wait_until("it is told", || {
        said()
            .contains("a FIFO that no process reads")
            .then_some(())
    });
    assert_eq!(http(admin, "GET", "/health").0, 200);
    process.signal("HUP");
    wait_until("the reload", || said().contains("reloaded").then_some(()));
    assert!(session(smtp));
    ends(process);
    // The log of mail is needed: the start is refused, and says why.
    let file = folder.path().join("gatepost.toml");
    let text = fs::read_to_string(&file).expect("there");
    let text = text.replace("to = \"off\"", &format!("to = \"{}\"", fifo.display()));
    fs::write(&file, text.replace(&keys, "")).expect("written");
    let ended = Command::new(env!("CARGO_BIN_EXE_gatepost"))
        .args(["run", "-c"])
        .arg(&file)
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(69), "{said}");
    assert!(
        said.contains("log.to = ") && said.contains("a FIFO that no process reads"),
        "{said}"
    );
}
