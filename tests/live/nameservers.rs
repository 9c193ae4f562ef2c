//! DNS servers of a test's own: rbldnsd with lists of its own (`tests/data/dns/zones`), unbound before it as the resolver, and
//! one that says nothing.

use crate::harness::{Running, free_address, leave_out, need, wait_until};
use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

/// What rbldnsd serves: the zone, the kind of list, the file.
const ZONES: &[&str] = &[
    "bl.test:ip4set:bl4",
    "bl.test:ip4set:bl4-more",
    "bl.test:ip6trie:bl6",
    "key123.dq.test:ip4set:bl4",
    "rhs.test:dnset:rhs",
    "wl.test:ip4set:wl4",
    "errors.test:ip4set:errors",
    "all.test:ip4set:all",
    "refused.test:ip4set:bl4",
    "refused.test:acl:refuse",
    "mail.test:generic:mail",
];

/// Both servers; they end with the test.
pub struct Nameservers {
    /// Where unbound answers.
    pub resolver: SocketAddr,
    unbound: Running,
    _lists: Running,
    _folder: tempfile::TempDir,
}

impl Nameservers {
    /// Starts both. `None`, and a note, where they can't be started.
    pub fn start() -> Option<Nameservers> {
        let (rbldnsd, unbound) = (need("rbldnsd")?, need("unbound")?);
        if fs::metadata("/proc/self").map(|me| me.uid()).ok() != Some(0) {
            leave_out("tests with rbldnsd and unbound: only root can start them");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("set");
        fs::create_dir(folder.path().join("zones")).expect("made");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dns");
        for file in fs::read_dir(source.join("zones")).expect("it is there") {
            let file = file.expect("a file");
            let copy = folder.path().join("zones").join(file.file_name());
            fs::copy(file.path(), copy).expect("copied");
        }
        let (lists, resolver) = (free_address(), free_address());
        let rbldnsd = Running::start(
            Command::new(rbldnsd)
                // In the foreground.
                .args(["-n", "-u", "rbldns", "-t", "60"])
                .arg("-b")
                .arg(format!("{}/{}", lists.ip(), lists.port()))
                .arg("-w")
                .arg(folder.path().join("zones"))
                .args(ZONES)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(fs::File::create(folder.path().join("rbldnsd.log")).expect("made")),
        );
        let log = folder.path().join("unbound.log");
        fs::write(&log, "").expect("written");
        let user = user_of("unbound");
        chown(&log, Some(user), None).expect("root may");
        let config = fs::read_to_string(source.join("unbound.conf")).expect("it is there");
        let config = config
            .replace("@DIR@", &folder.path().display().to_string())
            .replace("@ADDRESS@", &resolver.ip().to_string())
            .replace("@PORT@", &resolver.port().to_string())
            .replace("@LISTS@", &lists.port().to_string())
            .replace("@USER@", "unbound");
        let file = folder.path().join("unbound.conf");
        fs::write(&file, config).expect("written");
        let unbound = Running::start(
            Command::new(unbound)
                .args(["-d", "-c"])
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        let started = Nameservers {
            resolver,
            unbound,
            _lists: rbldnsd,
            _folder: folder,
        };
        wait_until("the lists answer", || {
            started.answers().then_some(()).or_else(|| {
                std::thread::sleep(Duration::from_millis(20));
                None
            })
        });
        Some(started)
    }

    /// `[dns]` for these, with more keys.
    pub fn config(&self, more: &str) -> String {
        format!("[dns]\nservers = [\"{}\"]\n{more}\n", self.resolver)
    }

    /// The resolver does nothing from here on, and its port stays open.
    pub fn stand_still(&self) {
        self.unbound.signal("STOP");
    }

    /// It goes on.
    pub fn go_on(&self) {
        self.unbound.signal("CONT");
    }

    /// Whether a listed address is found through both.
    fn answers(&self) -> bool {
        // 2.0.0.127.bl.test. A, asked by hand.
        let mut question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
        for label in ["2", "0", "0", "127", "bl", "test"] {
            question.push(label.len() as u8);
            question.extend_from_slice(label.as_bytes());
        }
        question.extend_from_slice(b"\x00\x00\x01\x00\x01");
        let socket = UdpSocket::bind((self.resolver.ip(), 0)).expect("a port");
        let wait = Some(Duration::from_millis(500));
        socket.set_read_timeout(wait).expect("set");
        let mut answer = [0; 512];
        socket.send_to(&question, self.resolver).is_ok()
            && socket
                .recv(&mut answer)
                .is_ok_and(|octets| octets > 12 && answer[3] & 0x0f == 0 && answer[6..8] != [0, 0])
    }
}

fn user_of(name: &str) -> u32 {
    let users = fs::read_to_string("/etc/passwd").expect("it is there");
    let line = users
        .lines()
        .find(|line| line.split(':').next() == Some(name));
    line.and_then(|line| line.split(':').nth(2)?.parse().ok())
        .expect("the package makes its user")
}

/// A server that reads nothing and says nothing. Dropped, its port is closed.
pub fn silent() -> (UdpSocket, SocketAddr) {
    let address = free_address();
    (UdpSocket::bind(address).expect("it is free"), address)
}
