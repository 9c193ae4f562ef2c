//! Another user of the machine listens where Gatepost's admin endpoint should: mail goes on, and no token goes there.

use crate::{
    backend::Backend,
    client::Client,
    delivery::pool,
    harness::{Running, free_address, greets, http, wait_until},
    rights::{NOBODY, is_root},
};
use nix::unistd::{Uid, setfsuid};
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    os::unix::{fs::chown, net::UnixListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

/// A process whose admin endpoint is taken.
struct Site {
    process: Running,
    smtp: SocketAddr,
    folder: tempfile::TempDir,
}

impl Site {
    fn start(engine: &str, backend: &Backend, admin: &str, tables: &str) -> Site {
        let folder = tempfile::tempdir().expect("a folder");
        let smtp = free_address();
        let file = folder.path().join("gatepost.toml");
        let text = format!(
            "io = \"{engine}\"\nworkers = 1\nhostname = \"edge.example\"\n[admin]\n{admin}\n[log]\nto = \"off\"\n\
             [[listener]]\nname = \"mx\"\naddress = [\"{smtp}\"]\n{tables}\n{}",
            pool(&[backend], "")
        );
        fs::write(&file, text).expect("written");
        let errors = fs::File::create(folder.path().join("stderr")).expect("made");
        let process = Running::start(
            Command::new(env!("CARGO_BIN_EXE_gatepost"))
                .args(["run", "-c"])
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(errors),
        );
        let site = Site {
            process,
            smtp,
            folder,
        };
        wait_until("it greets", || greets(smtp));
        site
    }

    fn errors(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).expect("there")
    }

    fn delivers(&self) {
        let mut client = Client::hello(self.smtp);
        let reply = client.send("a@sender.example", &["b@example.net"], "x\r\n");
        assert!(reply.starts_with("250"), "{reply}");
    }
}

crate::on_all_engines! {
    fn an_admin_address_that_is_taken_stops_no_mail(engine) {
        let backend = Backend::good(free_address());
        let taken = TcpListener::bind(free_address()).expect("free");
        let public = TcpListener::bind(free_address()).expect("free");
        let address = |listener: &TcpListener| listener.local_addr().expect("bound");
        let (control, shown) = (address(&taken), address(&public));
        let admin = format!("listen = \"{control}\"\npublic = \"{shown}\"");
        // The rights are gone, and the sandbox is closed, when they come free.
        let user = if is_root() { "[process]\nuser = \"nobody\"" } else { "" };
        let mut site = Site::start(engine, &backend, &admin, user);
        site.delivers();
        let said = wait_until("it says so", || {
            let said = site.errors();
            (said.contains("admin.listen = ") && said.contains("admin.public = ")).then_some(said)
        });
        assert!(said.contains("error: admin.listen") && said.contains("shows by which process"), "{said}");
        drop(public);
        wait_until("the one is served", || site.errors().contains("health for others on").then_some(()));
        let (status, metrics) = http(shown, "GET", "/metrics");
        assert_eq!(status, 200);
        let count = metrics.lines().find_map(|line| line.strip_prefix("gatepost_admin_bind_failures_total "));
        assert!(count.is_some_and(|count| count != "0"), "{count:?}");
        drop(taken);
        wait_until("the other is served", || site.errors().contains("metrics on http://").then_some(()));
        assert_eq!(http(control, "GET", "/health").0, 200);
        site.delivers();
        site.process.signal("TERM");
        let status = wait_until("it ends", || site.process.0.try_wait().expect("a child"));
        assert_eq!(status.code(), Some(0), "{}", site.errors());
    }
}

#[test]
fn an_admin_socket_that_is_taken_stops_no_mail() {
    let backend = Backend::good(free_address());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let taken = UnixListener::bind(&path).expect("bound");
    if is_root() {
        for place in [folder.path(), &path] {
            chown(place, Some(NOBODY), Some(NOBODY)).expect("root may");
        }
    }
    let user = match is_root() {
        true => "[process]\nuser = \"nobody\"",
        false => "",
    };
    let admin = format!("listen = \"unix:{}\"", path.display());
    let site = Site::start("epoll", &backend, &admin, user);
    site.delivers();
    let said = site.errors();
    assert!(said.contains("is another gatepost running"), "{said}");
    drop(taken);
    let served = "metrics, health and control on unix:";
    wait_until("it is served", || {
        site.errors().contains(served).then_some(())
    });
}

/// Listens as a user, takes what comes, and answers that the message is known.
fn listens(user: u32) -> (SocketAddr, mpsc::Receiver<String>) {
    let (give, take) = mpsc::channel();
    let (told, address) = mpsc::channel();
    thread::spawn(move || {
        // Of this thread alone: a socket's user is the one that makes it.
        setfsuid(Uid::from_raw(user));
        let listener = TcpListener::bind(free_address()).expect("free");
        told.send(listener.local_addr().expect("bound"))
            .expect("waited for");
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let octets = stream.read(&mut request).unwrap_or(0);
            let _ = give.send(String::from_utf8_lossy(&request[..octets]).into_owned());
            let _ = stream.write_all(
                b"HTTP/1.1 404 Not Found\r\n\r\n{\"error\":\"unknown \\u001b[31m\\u202e\"}",
            );
        }
    });
    (address.recv().expect("it listens"), take)
}

fn explain(file: &Path) -> (Option<i32>, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_gatepost"))
        .args(["explain", "-c"])
        .arg(file)
        .arg("0123456789ABC")
        .output()
        .expect("runs");
    (
        out.status.code(),
        String::from_utf8_lossy(&out.stderr).into_owned(),
    )
}

fn with_token(folder: &Path, admin: &str, process: &str) -> PathBuf {
    let token = folder.join("token");
    fs::write(&token, "s3cr3t-token").expect("written");
    let token = format!("token = {{ file = \"{}\" }}", token.display());
    configured(folder, admin, &token, process)
}

fn configured(folder: &Path, admin: &str, token: &str, process: &str) -> PathBuf {
    let file = folder.join("gatepost.toml");
    let text = format!(
        "[admin]\nlisten = \"{admin}\"\n{token}\n{process}\n[[listener]]\nname = \"mx\"\n\
         address = [\"127.0.0.1:25\"]\n[[pool]]\nname = \"p\"\nbackends = [\"127.0.0.1:26\"]\n\
         [[route]]\ndomains = [\"example.net\"]\npool = \"p\"\n"
    );
    fs::write(&file, text).expect("written");
    file
}

#[test]
fn the_token_goes_to_no_other_users_socket() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let as_nobody = "[process]\nuser = \"nobody\"";
    for (user, process, is_sent) in [
        (NOBODY, "", false),
        (NOBODY, as_nobody, true),
        (0, "", true),
        (1, as_nobody, false),
    ] {
        let (address, requests) = listens(user);
        let file = with_token(folder.path(), &address.to_string(), process);
        let (code, said) = explain(&file);
        let request = requests.recv().unwrap_or_default();
        let heard = request.contains("Bearer s3cr3t-token");
        assert_eq!(heard, is_sent, "{user} {process}: {request:?} {said}");
        if is_sent {
            assert_eq!(code, Some(65), "{said}");
        } else {
            assert!(request.is_empty(), "{request}");
            assert_eq!(code, Some(69), "{said}");
            assert!(said.contains("it is not sent the token"), "{said}");
        }
    }
}

/// Also where there is no token, what another user's process says is not taken for Gatepost's, and moves no terminal.
#[test]
fn another_users_socket_is_not_believed() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let as_nobody = "[process]\nuser = \"nobody\"";
    for (user, process, code, warns) in [
        (NOBODY, "", Some(65), true),
        (NOBODY, as_nobody, Some(65), false),
        (0, "", Some(65), false),
        (1, as_nobody, Some(69), true),
    ] {
        let (address, requests) = listens(user);
        let file = configured(folder.path(), &address.to_string(), "", process);
        let (ended, said) = explain(&file);
        assert_eq!(ended, code, "{user} {process}: {said}");
        assert_eq!(
            said.contains("belongs to the user"),
            warns,
            "{user} {process}: {said}"
        );
        assert!(
            !said.contains('\u{1b}') && !said.contains('\u{202e}'),
            "{said:?}"
        );
        assert_eq!(
            said.contains("unknown \\u001b[31m"),
            ended == Some(65),
            "{said}"
        );
        let request = requests.recv().unwrap_or_default();
        assert_eq!(request.is_empty(), ended == Some(69), "{request}");
    }
}

#[test]
fn the_token_goes_to_no_other_users_socket_in_the_file_system() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    // The kernel notes who listens: another process, of another user.
    let script = "import os, socket, sys\nos.setuid(65534)\ns = socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\n\
                  s.listen()\nprint(flush=True)\nc = s.accept()[0]\nprint(len(c.recv(999)))\n";
    chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("root may");
    let mut child = Command::new("python3")
        .args(["-c", script])
        .arg(&path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("runs");
    let mut out = child.stdout.take().expect("piped");
    out.read_exact(&mut [0]).expect("it listens");
    let place = format!("unix:{}", path.display());
    let (code, said) = explain(&with_token(folder.path(), &place, ""));
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("belongs to the user nobody"), "{said}");
    let mut heard = String::new();
    out.read_to_string(&mut heard).expect("it ends");
    assert_eq!(heard.trim(), "0", "nothing was sent");
    child.wait().expect("it ends");
}
