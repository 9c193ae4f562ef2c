//! What the process may do: another user, Landlock, seccomp.

use crate::{
    backend::Backend,
    client::Client,
    delivery::pool,
    harness::{Gatepost, free_address, home, http, leave_out, wait_until},
};
use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
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

/// A folder that nobody may write to.
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
        // Whoever can write the file could have any other read: then none is.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("set");
        let (status, answer) = reload(&gatepost);
        assert!(status == 422 && answer.contains("others than root can write it"), "{status} {answer}");
        assert!(Client::hello(low).send("a@sender.example", &["b@example.net"], "x\r\n").starts_with("250"));
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
