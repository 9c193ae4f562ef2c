//! Under a service manager: the unit file that comes with the program, the sockets that it is lent, and what the manager
//! hears of it.

use crate::{
    backend::Backend,
    client::Client,
    delivery::pool,
    harness::{PATIENCE, Running, free_address, greets, home, leave_out, need, wait_until},
    rights::{NOBODY, certificate, is_root, of_threads},
};
use std::{
    fs,
    io::ErrorKind,
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{MetadataExt, PermissionsExt, chown},
            net::{UnixDatagram, UnixStream},
        },
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const UNIT: &str = include_str!("../../config/gatepost.service");
const MANUAL: &str = include_str!("../../docs/operations.md");
/// Another user who isn't root, and not who we become.
const DAEMON: u32 = 1;
const PROGRAM: &str = env!("CARGO_BIN_EXE_gatepost");

/// The first value of a key in the unit.
fn unit(key: &str) -> &'static str {
    let begin = format!("{key}=");
    let value = UNIT.lines().find_map(|line| line.strip_prefix(&*begin));
    value.unwrap_or_else(|| panic!("the unit has no {key}"))
}

/// For setpriv: the unit's capabilities without these.
fn bounding(without: &[&str]) -> String {
    let names = unit("CapabilityBoundingSet").split(' ');
    let names = names.filter(|name| !without.contains(name));
    let words = names.map(|name| format!(",+{}", name.trim_start_matches("CAP_").to_lowercase()));
    format!("-all{}", words.collect::<String>())
}

/// The unit's command with our program in it, and with this file.
fn command(file: &Path) -> Vec<String> {
    let line = unit("ExecStart");
    assert!(
        line.contains("/usr/local/bin/gatepost ") && line.contains("/etc/gatepost/gatepost.toml")
    );
    let line = line.replace("/usr/local/bin/gatepost", PROGRAM);
    let file = file.display().to_string();
    let line = line.replace("/etc/gatepost/gatepost.toml", &file);
    line.split(' ').map(str::to_string).collect()
}

/// What stands for the manager: the socket that it is told things by.
struct Manager {
    hears: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn start(folder: &Path) -> Manager {
        let path = folder.join("notify");
        let hears = UnixDatagram::bind(&path).expect("bound");
        // Whoever serves may be another user by the time that it speaks.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("set");
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("set");
        hears.set_read_timeout(Some(PATIENCE)).expect("set");
        Manager { hears, path }
    }

    fn next(&self) -> String {
        let mut room = [0; 1024];
        // A signal of a child that ended may come between.
        let length = loop {
            match self.hears.recv(&mut room) {
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                heard => break heard.expect("it says something"),
            }
        };
        String::from_utf8_lossy(&room[..length]).into_owned()
    }

    fn awaits(&self, what: &str) {
        while !self.next().contains(what) {}
    }

    /// Asks for a reload and for the end, as `Type=notify-reload` does.
    fn through_its_life(&self, running: &mut Running) {
        self.awaits("WATCHDOG=1");
        running.signal("HUP");
        self.awaits("RELOADING=1\nMONOTONIC_USEC=");
        self.awaits("READY=1");
        running.signal("TERM");
        self.awaits("STOPPING=1");
        assert!(running.0.wait().expect("a child").success());
    }
}

crate::on_all_engines! {
    fn a_service_manager_lends_sockets_and_hears_how_it_goes(engine) {
        let backend = Backend::good(free_address());
        let folder = tempfile::tempdir().expect("a folder");
        let manager = Manager::start(folder.path());
        // Held by us, so that nobody could bind it anew.
        let lent = TcpListener::bind(free_address()).expect("bound");
        let address = lent.local_addr().expect("bound");
        let file = folder.path().join("gatepost.toml");
        let text = format!(
            "io = \"{engine}\"\nhostname = \"edge.example\"\nworkers = 2\n[admin]\nlisten = \"off\"\n\
             [[listener]]\nname = \"mx\"\naddress = [\"{address}\"]\n{}[log]\nto = \"off\"\n",
            pool(&[&backend], "")
        );
        fs::write(&file, text).expect("written");
        let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=mx exec \"$@\"";
        let mut running = Running::start(
            Command::new("sh").args(["-c", script, "sh"]).args(command(&file))
                .env("NOTIFY_SOCKET", &manager.path)
                .env("WATCHDOG_USEC", "60000000")
                .stdin(Stdio::from(OwnedFd::from(lent.try_clone().expect("cloned"))))
                .stdout(Stdio::null()),
        );
        manager.awaits("READY=1");
        wait_until("it greets", || greets(address));
        for _ in 0..4 {
            assert!(Client::hello(address).send("a@sender.example", &["b@example.net"], "x\r\n").starts_with("250"));
        }
        manager.through_its_life(&mut running);
        // The manager's socket is not shut: what comes now waits for the next one.
        drop(TcpStream::connect(address).expect("it still listens"));
    }

    /// The unit's command with the unit's capabilities: enough for a port below 1024, the change of the user, and a key
    /// that only its owner, who isn't root, may read.
    fn the_units_rights_are_enough(engine) {
        if !is_root() { return }
        let Some(setpriv) = need("setpriv") else { return };
        let backend = Backend::good(free_address());
        let folder = tempfile::tempdir().expect("a folder");
        let manager = Manager::start(folder.path());
        let address = SocketAddr::new(home(), 25);
        let file = folder.path().join("gatepost.toml");
        certificate(folder.path(), "own");
        chown(folder.path().join("own.key"), Some(DAEMON), None).expect("root may");
        let own = folder.path().join("own");
        let text = format!(
            "io = \"{engine}\"\nhostname = \"edge.example\"\nworkers = 1\n[process]\nuser = \"nobody\"\n[admin]\nlisten = \"off\"\n\
             [[listener]]\nname = \"mx\"\naddress = [\"{address}\"]\ntls = \"starttls\"\n\
             [[certificate]]\nchain = \"{0}.pem\"\nkey = \"{0}.key\"\n{1}[log]\nto = \"off\"\n",
            own.display(), pool(&[&backend], "")
        );
        fs::write(&file, text).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("set");
        let bounding = bounding(&[]);
        let watchdog: u64 = unit("WatchdogSec").parse().expect("seconds");
        let mut running = Running::start(
            Command::new(setpriv).args(["--bounding-set", &bounding, "--no-new-privs"]).args(command(&file))
                .env("NOTIFY_SOCKET", &manager.path)
                .env("WATCHDOG_USEC", (watchdog * 1_000_000).to_string())
                .stdin(Stdio::null())
                .stdout(Stdio::null()),
        );
        manager.awaits("READY=1");
        let pid = running.0.id();
        let users = of_threads(pid, "Uid:");
        assert!(users.iter().all(|ids| ids.split('\t').all(|id| id == NOBODY.to_string())), "{users:?}");
        for field in ["CapEff:", "CapPrm:"] {
            let left = of_threads(pid, field);
            assert!(left.iter().all(|set| set == "0000000000000000"), "{field} {left:?}");
        }
        assert!(Client::hello(address).send("a@sender.example", &["b@example.net"], "x\r\n").starts_with("250"));
        manager.through_its_life(&mut running);
    }
}

/// The socket is the user's, who may not remove it from root's folder: the next start must find out by itself whether it is
/// in use, without the right to use it.
#[test]
fn the_units_rights_are_enough_for_the_admin_socket() {
    if !is_root() {
        return;
    }
    let Some(setpriv) = need("setpriv") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("set");
    let (file, socket) = (
        folder.path().join("gatepost.toml"),
        folder.path().join("admin.sock"),
    );
    let start = |without: &[&str], errors: &str| {
        let text = format!(
            "hostname = \"edge.example\"\nworkers = 1\n[process]\nuser = \"nobody\"\n\
             [admin]\nlisten = \"unix:{}\"\n[[listener]]\nname = \"mx\"\naddress = [\"{}\"]\n{}[log]\nto = \"off\"\n",
            socket.display(),
            free_address(),
            "[[pool]]\nname = \"mta\"\nbackends = [\"127.0.0.1:2600\"]\n\
             [[route]]\ndomains = [\"example.net\"]\npool = \"mta\"\n",
        );
        fs::write(&file, text).expect("written");
        let errors = fs::File::create(folder.path().join(errors)).expect("made");
        let mut command = Command::new(&setpriv);
        command.args(["--bounding-set", &bounding(without), "--no-new-privs"]);
        command.args(self::command(&file)).stdin(Stdio::null());
        Running::start(command.stdout(Stdio::null()).stderr(errors))
    };
    let said = |errors: &str| fs::read_to_string(folder.path().join(errors)).unwrap_or_default();
    let serves = |errors: &str, owner: u32| {
        wait_until("it serves", || {
            said(errors).contains("no capabilities").then_some(())
        });
        let about = fs::metadata(&socket).expect("it is there");
        let found = (about.uid(), about.gid(), about.mode() & 0o777);
        assert_eq!(found, (owner, owner, 0o660), "{}", said(errors));
    };
    let first = start(&[], "first");
    serves("first", NOBODY);
    // Another one serves mail without it, and leaves it to the first.
    let second = start(&[], "second");
    wait_until("the second serves mail", || {
        let said = said("second");
        (said.contains("it is in use") && said.contains("no capabilities")).then_some(())
    });
    assert!(UnixStream::connect(&socket).is_ok());
    drop(second);
    // Killed, it leaves the socket.
    drop(first);
    let third = start(&[], "third");
    serves("third", NOBODY);
    drop(third);
    // A unit from before.
    let _older = start(&["CAP_CHOWN"], "older");
    serves("older", 0);
    assert!(said("older").contains("add CAP_CHOWN"), "{}", said("older"));
}

/// Whether the installed systemd has this version at least.
fn is_systemd(program: &Path, least: u32) -> bool {
    let out = Command::new(program)
        .arg("--version")
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let number = text.split([' ', '.', '~']).nth(1);
    let number: u32 = number.and_then(|word| word.parse().ok()).expect("a number");
    number >= least
}

#[test]
fn systemd_understands_the_unit_and_the_socket() {
    let Some(program) = need("systemd-analyze") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let service = UNIT.replace("/usr/local/bin/gatepost", PROGRAM);
    let socket = MANUAL.split("```ini\n[Socket]").nth(1);
    let socket = socket.and_then(|rest| rest.split("```").next());
    let socket = format!("[Socket]{}", socket.expect("the manual shows one"));
    let mut said = String::new();
    for (name, text) in [("gatepost.service", &service), ("gatepost.socket", &socket)] {
        let file = folder.path().join(name);
        fs::write(&file, text).expect("written");
        let out = Command::new(&program)
            .args(["verify", "--man=no"])
            .arg(&file)
            .output()
            .expect("runs");
        said += &String::from_utf8_lossy(&[out.stdout, out.stderr].concat());
        assert!(out.status.success(), "{said}");
    }
    // An older one keeps to the line before.
    let known = is_systemd(&program, 253);
    if !known {
        leave_out("what systemd says of Type=notify-reload: this one is older than 253");
    }
    let complaints: Vec<&str> = said
        .lines()
        .filter(|line| known || !line.ends_with("ignoring: notify-reload"))
        .collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}
