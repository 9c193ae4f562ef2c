//! What the process may do: another user, Landlock, seccomp.

use crate::{
    backend::Backend,
    client::Client,
    delivery::pool,
    harness::{Gatepost, Running, free_address, home, http, leave_out, wait_until},
};
use nix::unistd::{Uid, setfsuid};
use std::{
    fs,
    io::{Read, Write},
    net::SocketAddr,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, chown},
        net::UnixStream,
    },
    path::Path,
    process::{Command, Stdio},
};

pub const NOBODY: u32 = 65534;

pub fn is_root() -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    if !root {
        leave_out("tests of another user: only root can become one");
    }
    root
}

/// The values of a field in `/proc/PID/task/*/status`, a thread each.
pub fn of_threads(pid: u32, field: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok())
        .filter_map(|status| {
            let line = status.lines().find(|line| line.starts_with(field))?;
            Some(line.split_once(':')?.1.trim().to_string())
        })
        .collect()
}

/// A folder of the user `nobody`.
pub fn nobodys_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("root may");
    folder
}

/// Waits until it has said what is left of its rights: ports are bound long before.
fn confined(gatepost: &Gatepost) -> String {
    wait_until("it says what it may do", || {
        let said = gatepost.errors();
        (said.contains("seccomp") || said.contains("sandbox off")).then_some(said)
    })
}

/// `NAME.pem` and `NAME.key`, for root alone.
pub fn certificate(folder: &Path, name: &str) {
    let made = rcgen::generate_simple_self_signed(vec!["edge.example".to_string()]).expect("made");
    for (ending, text) in [
        ("pem", made.cert.pem()),
        ("key", made.signing_key.serialize_pem()),
    ] {
        let file = folder.join(name).with_extension(ending);
        fs::write(&file, text).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("set");
    }
}

fn reload(gatepost: &Gatepost) -> (u16, String) {
    http(gatepost.admin, "POST", "/reload")
}

crate::on_all_engines! {
    fn root_gives_everything_up_and_still_reloads(engine) {
        if !is_root() { return }
        let backend = Backend::good(free_address());
        let logs = nobodys_folder();
        let low = SocketAddr::new(home(), 25);
        let log = logs.path().join("mail.log");
        let gatepost = Gatepost::start(engine, &format!(
            "workers = 2\n[process]\nuser = \"nobody\"\n[log]\nto = \"{}\"\n{}[[listener]]\nname = \"low\"\naddress = [\"{low}\"]\n",
            log.display(), pool(&[&backend], ""),
        ));
        confined(&gatepost);
        let pid = gatepost.process.0.id();
        for (field, expected) in [
            ("Uid", "65534\t65534\t65534\t65534"),
            ("Gid", "65534\t65534\t65534\t65534"),
            ("CapEff", "0000000000000000"),
            ("CapPrm", "0000000000000000"),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
        ] {
            let found = of_threads(pid, &format!("{field}:"));
            assert!(found.len() >= 4, "the control thread, the log's, two workers: {found:?}");
            assert!(found.iter().all(|value| value == expected), "{field}: {found:?}");
        }
        let groups = of_threads(pid, "Groups:");
        assert!(groups.iter().all(|group| !group.split(' ').any(|id| id == "0")), "{groups:?}");
        let said = gatepost.errors();
        assert!(said.contains("user nobody, no capabilities") && said.contains("seccomp on"), "{said}");
        assert!(Client::hello(low).send("a@sender.example", &["b@example.net"], "x\r\n").starts_with("250"));
        assert!(fs::read_to_string(&log).is_ok());
        // Neither the file nor its folder is open to it any more.
        let file = gatepost.file();
        fs::set_permissions(gatepost.folder.path(), fs::Permissions::from_mode(0o700)).expect("set");
        let text = fs::read_to_string(&file).expect("readable");
        fs::write(&file, text.replace("name = \"low\"", "name = \"low\"\nbanner = \"anew\"")).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("set");
        let (status, answer) = reload(&gatepost);
        assert_eq!(status, 200, "{answer}");
        let (mut client, greeting) = Client::greeted(low);
        assert!(greeting.contains("anew"), "{greeting}");
        client.expect("QUIT", "221");
        // Keys are root's too, also new ones.
        certificate(gatepost.folder.path(), "first");
        let text = fs::read_to_string(&file).expect("readable");
        let secured = |text: &str, name: &str| {
            let at = gatepost.folder.path().join(name);
            let table = format!("[[certificate]]\nchain = \"{0}.pem\"\nkey = \"{0}.key\"\n", at.display());
            text.replace("banner = \"anew\"", "tls = \"starttls\"") + "\n" + &table
        };
        fs::write(&file, secured(&text, "first")).expect("written");
        let (status, answer) = reload(&gatepost);
        assert_eq!(status, 200, "{answer}");
        let (mut client, _) = Client::greeted(low);
        assert!(client.expect("EHLO client.example", "250").contains("STARTTLS"));
        certificate(gatepost.folder.path(), "second");
        let accounts = gatepost.folder.path().join("accounts");
        fs::write(&accounts, "cid -\n").expect("written");
        fs::set_permissions(&accounts, fs::Permissions::from_mode(0o600)).expect("set");
        let listener = "tls = \"starttls\"\nauth = [\"plain\"]\nauth_requires_tls = false";
        let source = format!("[[credentials]]\nname = \"staff\"\nsource = \"file\"\nfile = \"{}\"\n", accounts.display());
        let with_accounts = secured(&text, "second").replace("tls = \"starttls\"", listener) + &source;
        fs::write(&file, with_accounts).expect("written");
        let (status, answer) = reload(&gatepost);
        assert_eq!(status, 200, "{answer}");
        let (mut client, _) = Client::greeted(low);
        assert!(client.expect("EHLO client.example", "250").contains("AUTH PLAIN"));
        // A user that can write the file could have any other read: then none is.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("set");
        let (status, answer) = reload(&gatepost);
        assert!(status == 422 && answer.contains("others than root can write it"), "{status} {answer}");
        assert!(Client::hello(low).send("a@sender.example", &["b@example.net"], "x\r\n").starts_with("250"));
    }

    fn other_users_of_the_machine_may_only_look(engine) {
        if !is_root() { return }
        let backend = Backend::good(free_address());
        let log = "[log]\nto = \"off\"\n";
        let gatepost = Gatepost::start(engine, &format!("[process]\nuser = \"nobody\"\n{log}{}", pool(&[&backend], "")));
        confined(&gatepost);
        for (user, status) in [(1, 403), (0, 200), (NOBODY, 200)] {
            let ask = |method, path| as_user(user, || http(gatepost.admin, method, path));
            for (method, path) in [("POST", "/reload"), ("GET", "/explain")] {
                let (said, answer) = ask(method, path);
                assert_eq!(said, status, "{path} of {user}: {answer}");
            }
            for path in ["/ready", "/metrics"] {
                assert_eq!(ask("GET", path).0, 200, "{path} of {user}");
            }
        }
    }

    fn a_key_reader_that_is_killed_is_started_anew(engine) {
        if !is_root() { return }
        let backend = Backend::good(free_address());
        let log = "[log]\nto = \"off\"\nlevel = \"debug\"\n";
        let gatepost = Gatepost::start(engine, &format!("[process]\nuser = \"nobody\"\n{log}{}", pool(&[&backend], "")));
        confined(&gatepost);
        fs::set_permissions(gatepost.folder.path(), fs::Permissions::from_mode(0o700)).expect("set");
        assert_eq!(reload(&gatepost).0, 200);
        let [keeper] = children(gatepost.process.0.id())[..] else { panic!("one child") };
        let reader = || wait_until("there is a reader", || children(keeper).first().copied());
        let first = reader();
        // Signals for the service end neither.
        for pid in [keeper, first] {
            for signal in ["HUP", "TERM", "INT", "USR1"] {
                kill(pid, signal);
            }
        }
        assert_eq!(reload(&gatepost).0, 200);
        assert_eq!(reader(), first);
        for round in 0..3 {
            let before = reader();
            kill(before, "KILL");
            let (status, answer) = reload(&gatepost);
            assert_eq!(status, 200, "{round}: {answer}");
            assert_ne!(reader(), before);
        }
        wait_until("it says so", || gatepost.errors().contains("the key reader has ended").then_some(()));
        // Without its keeper the reader goes on; without both a reload says what to do, and mail flows.
        let last = reader();
        kill(keeper, "KILL");
        wait_until("the end is told", || gatepost.errors().contains("the keeper of the key reader has ended").then_some(()));
        assert!(children(gatepost.process.0.id()).is_empty(), "no zombie");
        assert_eq!(reload(&gatepost).0, 200);
        kill(last, "KILL");
        let (status, answer) = reload(&gatepost);
        assert!(status == 422 && answer.contains("restart the service"), "{status} {answer}");
        assert!(Client::hello(gatepost.smtp).send("a@sender.example", &["b@example.net"], "x\r\n").starts_with("250"));
    }

    fn the_sandbox_holds_and_can_be_off(engine) {
        let backend = Backend::good(free_address());
        let (inside, outside) = (tempfile::tempdir().expect("made"), tempfile::tempdir().expect("made"));
        for folder in [&inside, &outside] {
            fs::write(folder.path().join("list"), "203.0.113.0/24\n").expect("written");
        }
        let list = |folder: &Path| format!(
            "[[policy.client_list]]\nname = \"blocked\"\nfiles = [\"{}/list\"]\n", folder.display()
        );
        for (sandbox, allowed, seccomp) in [("auto", 422, "2"), ("off", 200, "0")] {
            let process = format!("[process]\nsandbox = \"{sandbox}\"\n");
            let gatepost = Gatepost::start(engine, &(process + &list(inside.path()) + &pool(&[&backend], "")));
            let said = confined(&gatepost);
            let landlock = said.contains("landlock on (files, ports)");
            if sandbox == "off" {
                assert!(said.contains("sandbox off"), "{said}");
            } else if !landlock {
                leave_out("what landlock refuses: the kernel has none, or not all of it");
                continue;
            }
            let found = of_threads(gatepost.process.0.id(), "Seccomp:");
            assert!(found.iter().all(|mode| mode == seccomp), "{found:?}");
            // A list is replaced by renaming: the folder counts, not the file.
            fs::write(inside.path().join("new"), "198.51.100.0/24\n").expect("written");
            fs::rename(inside.path().join("new"), inside.path().join("list")).expect("renamed");
            assert_eq!(reload(&gatepost).0, 200);
            let text = fs::read_to_string(gatepost.file()).expect("readable");
            let (from, to) = (inside.path().display().to_string(), outside.path().display().to_string());
            fs::write(gatepost.file(), text.replace(&from, &to)).expect("written");
            let (status, answer) = reload(&gatepost);
            assert_eq!(status, allowed, "{answer}");
            assert!(Client::hello(gatepost.smtp).send("a@sender.example", &["b@example.net"], "x\r\n").starts_with("250"));
        }
    }
}

/// Does it with the sockets of another user: the kernel notes who makes one, by the user of the thread for files.
fn as_user<T>(user: u32, work: impl FnOnce() -> T) -> T {
    let before = setfsuid(Uid::from_raw(user));
    let done = work();
    setfsuid(before);
    done
}

/// The processes that a process has started.
fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok())
        .flat_map(|text| {
            let pids: Vec<u32> = text
                .split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect();
            pids
        })
        .collect()
}

fn kill(pid: u32, signal: &str) {
    let pid = pid.to_string();
    let status = Command::new("kill").args(["-s", signal, &pid]).status();
    assert!(status.expect("runs").success(), "kill -s {signal} {pid}");
}

/// Asks a key reader as the service does: a length and a path; an octet, a length, and the file or the reason.
fn asked(way: &mut UnixStream, path: &Path) -> (bool, String) {
    let path = path.as_os_str().as_bytes();
    let length = u32::try_from(path.len()).expect("short").to_be_bytes();
    way.write_all(&[&length, path].concat()).expect("sent");
    let (mut yes, mut length) = ([0], [0; 4]);
    way.read_exact(&mut yes).expect("an answer");
    way.read_exact(&mut length).expect("an answer");
    let mut text = vec![0; u32::from_be_bytes(length) as usize];
    way.read_exact(&mut text).expect("an answer");
    (yes == [1], String::from_utf8(text).expect("text"))
}

#[test]
fn the_key_reader_gives_out_keys_alone() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    certificate(folder.path(), "mx");
    fs::write(at("secret"), "for root alone\n").expect("written");
    for name in ["logs", "keys"] {
        fs::create_dir(at(name)).expect("made");
        std::os::unix::fs::symlink(at("secret"), at(name).join("link")).expect("made");
        chown(at(name), Some(NOBODY), Some(NOBODY)).expect("root may");
    }
    std::os::unix::fs::symlink(at("mx.key"), at("live.key")).expect("made");
    let shown = |name: &str| at(name).display().to_string();
    let text = format!(
        "[[listener]]\nname = \"mx\"\naddress = [\"127.0.0.1:2525\"]\nbanner = \"{}\"\n\
         [[certificate]]\nchain = \"{}\"\nkey = \"{}\"\n[[certificate]]\nchain = \"{}\"\nkey = \"{}\"\n\
         [[policy.client_list]]\nname = \"list\"\nfiles = [\"{}\"]\n[log]\nto = \"{}\"\n",
        shown("secret"),
        shown("mx.pem"),
        shown("mx.key"),
        shown("keys/link"),
        shown("live.key"),
        shown("secret"),
        shown("logs/link"),
    );
    let file = at("gatepost.toml");
    fs::write(&file, &text).expect("written");
    let (mut ours, theirs) = UnixStream::pair().expect("sockets");
    let mut reader = Command::new(env!("CARGO_BIN_EXE_gatepost"))
        .args(["serve-files", "-c"])
        .arg(&file)
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .spawn()
        .expect("runs");
    for name in ["mx.key", "mx.pem", "live.key", "gatepost.toml"] {
        let (given, said) = asked(&mut ours, &at(name));
        assert!(given, "{name}: {said}");
        assert_eq!(
            said,
            fs::read_to_string(at(name)).expect("readable"),
            "{name}"
        );
    }
    for (name, why) in [
        ("secret", "doesn't name it as a key"),
        ("logs/link", "doesn't name it as a key"),
        ("keys/../mx.key", "doesn't name it as a key"),
        ("keys/link", "others than root can write it"),
    ] {
        let (given, said) = asked(&mut ours, &at(name));
        assert!(!given && said.contains(why), "{name}: {said}");
    }
    for (broken, why) in [("[log", "has errors"), ("nonsense = 1\n", "has errors")] {
        fs::write(&file, format!("{text}{broken}")).expect("written");
        let (given, said) = asked(&mut ours, &at("mx.key"));
        assert!(!given && said.contains(why), "{said}");
    }
    fs::write(&file, &text).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).expect("set");
    let (given, said) = asked(&mut ours, &at("mx.key"));
    assert!(
        !given && said.contains("others than root can write it"),
        "{said}"
    );
    drop(ours);
    assert!(reader.wait().expect("it ends").success());
}

#[test]
fn a_socket_that_root_makes_belongs_to_the_user() {
    if !is_root() {
        return;
    }
    let folder = nobodys_folder();
    let (file, socket) = (
        folder.path().join("gatepost.toml"),
        folder.path().join("admin.sock"),
    );
    let text = format!(
        "hostname = \"edge.example\"\nworkers = 1\n[admin]\nlisten = \"unix:{}\"\n\
         [process]\nuser = \"nobody\"\n[log]\nto = \"off\"\n[[listener]]\nname = \"mx\"\naddress = [\"{}\"]\n\
         [[pool]]\nname = \"mta\"\nbackends = [\"127.0.0.1:2600\"]\n\
         [[route]]\ndomains = [\"example.net\"]\npool = \"mta\"\n",
        socket.display(),
        free_address()
    );
    fs::write(&file, text).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.args(["run", "-c"]).arg(&file).stdin(Stdio::null());
    let _running = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let is_theirs = |about: fs::Metadata| {
        (about.uid(), about.gid(), about.mode() & 0o777) == (NOBODY, NOBODY, 0o660)
    };
    wait_until("the socket is theirs", || {
        fs::metadata(&socket).is_ok_and(is_theirs).then_some(())
    });
}

#[test]
fn a_user_that_cannot_be_stops_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("gatepost.toml");
    let run = |process: &str| {
        let text = format!(
            "hostname = \"edge.example\"\n[admin]\nlisten = \"off\"\n[process]\n{process}\n[[listener]]\nname = \"mx\"\n\
             address = [\"{}\"]\n[[pool]]\nname = \"mta\"\nbackends = [\"127.0.0.1:2600\"]\n\
             [[route]]\ndomains = [\"example.net\"]\npool = \"mta\"\n",
            free_address()
        );
        fs::write(&file, text).expect("written");
        let ran = Command::new(env!("CARGO_BIN_EXE_gatepost"))
            .args(["run", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .output()
            .expect("runs");
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        (ran.status.code(), said)
    };
    for (process, words) in [
        ("user = \"no-such-user\"", "there is no such user"),
        (
            "user = \"nobody\"\ngroup = \"no-such\"",
            "there is no such group",
        ),
        ("user = \"root\"", "that is root itself"),
        ("group = \"nogroup\"", "write `user` too"),
    ] {
        let (code, said) = run(process);
        assert!(code == Some(78) && said.contains(words), "{code:?} {said}");
    }
}
