//! Starts and stops what the live tests use: Gatepost itself, smtp-sink, Postfix, addresses and folders.
//!
//! Each test runs in a process of its own and listens on loopback addresses of its own (made from the
//! process id), so tests never meet, also when the whole run is started twice at once. What a test started
//! is stopped by its pid when the value is dropped.

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

/// How long anything may take before a test gives up on it. Far above what a loaded machine needs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A loopback address that no other process of the test run uses.
pub fn home() -> IpAddr {
    let pid = std::process::id();
    IpAddr::V4(Ipv4Addr::new(
        127,
        1 + (pid >> 16 & 0x7f) as u8,
        (pid >> 8 & 0xff) as u8,
        (pid & 0xff) as u8,
    ))
}

/// A port that is free on this test's own address. Below the range that the kernel takes for outgoing
/// connections: a connection to a port in that range where nobody listens may meet itself.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(10_000);
    loop {
        let address = SocketAddr::new(home(), NEXT.fetch_add(1, Ordering::Relaxed));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// Notes for the run's summary that this test left something out, and says so.
pub fn leave_out(what: &str) {
    eprintln!("left out: {what}");
    if let Some(path) = std::env::var_os("GATEPOST_LEFT_OUT")
        && let Ok(mut file) = fs::OpenOptions::new().append(true).create(true).open(path)
    {
        let _ = writeln!(file, "{what}");
    }
}

/// The path of a program, also of those that only root's PATH has.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin:/usr/local/sbin";
    path.split(':')
        .map(|folder| Path::new(folder).join(name))
        .find(|file| file.is_file())
}

/// The program, or a note that the test was left out for want of it.
pub fn need(name: &str) -> Option<PathBuf> {
    let found = program(name);
    if found.is_none() {
        leave_out(&format!("tests with {name}: it is not installed"));
    }
    found
}

/// Calls `probe` until it gives something.
pub fn wait_until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        sleep(Duration::from_millis(20));
    }
}

/// A process that ends with the test.
pub struct Running(pub Child);

impl Running {
    /// Starts it.
    pub fn start(command: &mut Command) -> Running {
        Running(
            command
                .spawn()
                .unwrap_or_else(|why| panic!("{command:?}: {why}")),
        )
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .expect("kill runs")
                .success()
        );
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Gatepost under test.
pub struct Gatepost {
    pub process: Running,
    pub smtp: SocketAddr,
    pub admin: SocketAddr,
    pub folder: tempfile::TempDir,
}

impl Gatepost {
    /// Starts it with one listener `mx`, an admin endpoint, `log.to` in its folder, and `config` after
    /// those: tables (`[[pool]]` …) as the test wants them; lines before the first table are top-level keys.
    pub fn start(engine: &str, config: &str) -> Gatepost {
        Gatepost::start_behind("", engine, config)
    }

    /// [`Gatepost::start`] from a shell that has run the command `first` (`ulimit -n 64`).
    pub fn start_behind(first: &str, engine: &str, config: &str) -> Gatepost {
        let (smtp, admin) = (free_address(), free_address());
        let folder = tempfile::tempdir().expect("a folder");
        let (top, tables) = config.split_at(match config.starts_with('[') {
            true => 0,
            false => config.find("\n[").unwrap_or(config.len()),
        });
        let workers = if top.contains("workers") {
            ""
        } else {
            "workers = 1\n"
        };
        let trusted = if top.contains("trusted") {
            ""
        } else {
            "trusted = []\n"
        };
        let log = if tables.contains("[log]") {
            String::new()
        } else {
            format!(
                "[log]\nto = \"{}\"\nlevel = \"debug\"\n",
                folder.path().join("mail.log").display()
            )
        };
        let listener = if tables.contains("name = \"mx\"") {
            String::new()
        } else {
            format!("[[listener]]\nname = \"mx\"\naddress = [\"{smtp}\"]\n")
        };
        let tables = tables.replace("SMTP_ADDRESS", &smtp.to_string());
        let text = format!(
            "io = \"{engine}\"\nhostname = \"edge.example\"\n{workers}{trusted}{top}\n[admin]\nlisten = \"{admin}\"\n{listener}{tables}\n{log}"
        );
        let file = folder.path().join("gatepost.toml");
        fs::write(&file, text).expect("written");
        let errors = fs::File::create(folder.path().join("stderr")).expect("made");
        let process = Running::start(
            Command::new("sh")
                .arg("-c")
                .arg(format!("{first}\nexec \"$0\" run -c \"$1\""))
                .arg(env!("CARGO_BIN_EXE_gatepost"))
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(errors),
        );
        let mut started = Gatepost {
            process,
            smtp,
            admin,
            folder,
        };
        let begun = Instant::now();
        // The admin endpoint is bound after the listeners. Nothing is tried there: that would be a session, which the
        // worker may take and count at any later time.
        while !started.has_admin() {
            if let Some(status) = started.process.0.try_wait().expect("a child") {
                panic!("gatepost ended with {status}: {}", started.errors());
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "gatepost does not listen: {}",
                started.errors()
            );
            sleep(Duration::from_millis(20));
        }
        started
    }

    /// Whether the admin endpoint listens.
    fn has_admin(&self) -> bool {
        TcpStream::connect(self.admin).is_ok()
    }

    /// Its configuration file.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("gatepost.toml")
    }

    /// What it wrote on standard error.
    pub fn errors(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    /// The transaction log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("mail.log")).unwrap_or_default()
    }

    /// Waits for a log line that holds all of `parts`.
    pub fn log_line(&self, parts: &[&str]) -> String {
        wait_until(
            &format!("a log line with {parts:?} in\n{}", self.log()),
            || {
                self.log()
                    .lines()
                    .find(|line| parts.iter().all(|part| line.contains(part)))
                    .map(str::to_string)
            },
        )
    }

    /// A GET on the admin endpoint: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        http(self.admin, "GET", path)
    }

    /// The sum of a metric over all label sets that hold `labels`.
    pub fn metric(&self, name: &str, labels: &str) -> f64 {
        let (_, text) = self.get("/metrics");
        text.lines()
            .filter(|line| {
                line.starts_with(name)
                    && line[name.len()..].starts_with(['{', ' '])
                    && labels.split(',').all(|label| line.contains(label))
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Descriptors that it holds.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.0.id()))
            .expect("it runs")
            .count()
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.process.0.id())).expect("it runs");
        let line = status
            .lines()
            .find(|l| l.starts_with("VmRSS:"))
            .expect("VmRSS is always there");
        line.split_whitespace()
            .nth(1)
            .and_then(|n| n.parse().ok())
            .expect("a number")
    }
}

/// `gatepost check` of a file.
pub fn check(file: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gatepost"))
        .args(["check", "-c"])
        .arg(file)
        .output()
        .expect("runs")
}

/// `gatepost check` of a configuration, which is written to `checked.toml` in `folder`.
pub fn checked(text: &str, folder: &Path) -> Output {
    let file = folder.join("checked.toml");
    fs::write(&file, text).expect("written");
    check(&file)
}

/// One HTTP request: status and body.
pub fn http(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the admin endpoint listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .expect("a status");
    (
        status,
        text.split_once("\r\n\r\n")
            .map(|(_, body)| body.to_string())
            .unwrap_or_default(),
    )
}

/// Postfix's smtp-sink.
pub struct Sink {
    pub process: Running,
    pub address: SocketAddr,
}

impl Sink {
    /// Starts it on `address` with more flags in front.
    pub fn start(address: SocketAddr, flags: &[&str]) -> Option<Sink> {
        let mut command = Command::new(need("smtp-sink")?);
        // It refuses to run as root.
        if fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0)
        {
            command.args(["-u", "nobody"]);
        }
        command
            .args(flags)
            .arg(address.to_string())
            .arg("1024")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Running::start(&mut command);
        wait_until("smtp-sink greets", || greets(address));
        Some(Sink { process, address })
    }
}

/// Whether an SMTP server greets there.
pub fn greets(address: SocketAddr) -> Option<()> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    let mut start = [0; 3];
    stream.read_exact(&mut start).ok()?;
    (&start == b"220").then_some(())
}

/// Runs smtp-source against `address`: its output, and whether it ended well.
pub fn smtp_source(address: SocketAddr, flags: &[&str]) -> Option<(bool, String)> {
    let out = Command::new(need("smtp-source")?)
        .args(flags)
        .arg(address.to_string())
        .output()
        .expect("runs");
    Some((
        out.status.success(),
        String::from_utf8_lossy(&out.stderr).into_owned(),
    ))
}

/// Runs the same test on every engine; those that the machine refuses are left out.
#[macro_export]
macro_rules! on_all_engines {
    ($($(#[$meta:meta])* fn $name:ident($engine:ident) $body:block)*) => {$(
        $(#[$meta])*
        mod $name {
            use super::*;
            fn test($engine: &str) $body
            #[test]
            fn epoll() { test("epoll"); }
            #[test]
            fn uring() {
                if $crate::harness::has_engine("uring") { test("uring"); }
            }
            #[test]
            fn ring() {
                if $crate::harness::has_engine("ring") { test("ring"); }
            }
        }
    )*};
}

/// Whether this machine lets a process have this engine.
pub fn has_engine(engine: &str) -> bool {
    let io = engine.parse().expect("an engine");
    match gatepost::net::probe(io, 1) {
        Ok(_) => true,
        Err(why) => {
            leave_out(&format!("tests on {engine}: {why}"));
            false
        }
    }
}

impl Drop for Gatepost {
    /// A test that fails shows what the proxy had to say.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let status = self.process.0.try_wait();
            eprintln!(
                "gatepost at {} ({status:?}) said:\n{}",
                self.smtp,
                self.errors()
            );
        }
    }
}
