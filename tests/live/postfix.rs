//! A Postfix of a test's own.

use crate::harness::{Running, free_address, greets, leave_out, need, wait_until};
use std::{
    fs,
    net::{SocketAddr, TcpStream},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// A Postfix of its own: configuration, queue, log and mailbox in a folder. Stopped with its master.
pub struct Postfix {
    pub folder: tempfile::TempDir,
    pub address: SocketAddr,
    master: Option<Running>,
}

/// The queue manager is woken each second: a message that a queue run met at the moment of its deferral goes back to the
/// incoming queue, which is looked at only then.
const MASTER: &str = "
ADDRESS   inet  n - n - - smtpd OPTIONS
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 1 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
smtp      unix  - - n - - smtp
error     unix  - - n - - error
retry     unix  - - n - - error
virtual   unix  - n n - - virtual
anvil     unix  - - n - 1 anvil
proxymap  unix  - - n - - proxymap
tlsmgr    unix  - - n 1000? 1 tlsmgr
postlog   unix-dgram n - n - 1 postlogd
";

impl Postfix {
    /// Starts it for `example.net`, all of whose mail goes to one Maildir. `None`, and a note, where it can't.
    pub fn start() -> Option<Postfix> {
        Postfix::start_with("")
    }

    /// The same with more lines of main.cf.
    pub fn start_with(more: &str) -> Option<Postfix> {
        Postfix::start_as(|_| more.to_owned(), "")
    }

    /// The same with lines that may name files in its folder, and with options for its `smtpd`.
    pub fn start_as(more: impl FnOnce(&Path) -> String, options: &str) -> Option<Postfix> {
        let program = need("postfix")?;
        if fs::metadata("/proc/self").map(|me| me.uid()).ok() != Some(0) {
            leave_out("tests with Postfix: only root can start it");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("set");
        let mut postfix = Postfix {
            address: free_address(),
            folder,
            master: None,
        };
        let (etc, boxes) = (postfix.path("etc"), postfix.path("boxes"));
        for made in [&etc, &boxes, &postfix.path("queue")] {
            fs::create_dir(made).expect("made");
        }
        std::os::unix::fs::chown(&boxes, Some(65534), Some(65534)).expect("root may");
        let root = postfix.folder.path().display();
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {root}/queue\ndata_directory = {root}/data\n\
             maillog_file = {root}/log\nmaillog_file_prefixes = {root}\nmyhostname = postfix.example\n\
             mydestination =\ninet_interfaces = loopback-only\ninet_protocols = ipv4\nmynetworks = 127.0.0.0/8\n\
             alias_maps =\nalias_database =\nlocal_recipient_maps =\nsmtputf8_enable = yes\n\
             virtual_mailbox_domains = example.net\nvirtual_mailbox_base = {root}/boxes\n\
             virtual_mailbox_maps = static:all/\nvirtual_minimum_uid = 1\nvirtual_uid_maps = static:65534\n\
             virtual_gid_maps = static:65534\nsmtpd_recipient_restrictions = permit_mynetworks, reject\n"
        );
        // What the test wants instead.
        let more = more(postfix.folder.path());
        let key = |line: &str| line.split(" =").next().map(str::to_owned);
        let named: Vec<_> = more.lines().map(key).collect();
        let kept = main.lines().filter(|line| !named.contains(&key(line)));
        let main: String = kept.map(|line| format!("{line}\n")).collect::<String>() + &more;
        fs::write(etc.join("main.cf"), main).expect("written");
        fs::write(
            etc.join("master.cf"),
            MASTER
                .replace("ADDRESS", &postfix.address.to_string())
                .replace("OPTIONS", options),
        )
        .expect("written");
        let checked = runs(Command::new(program).arg("-c").arg(&etc).arg("check"));
        assert_eq!(checked, "", "it makes what the queue lacks");
        let programs = runs(Command::new("postconf").args(["-h", "daemon_directory"]));
        // Not by `postfix start`: in a session of its own it would outlive a test that is broken off.
        let mut master = Command::new(Path::new(programs.trim()).join("master"));
        master.arg("-d").arg("-c").arg(&etc).stdin(Stdio::null());
        postfix.master = Some(Running::start(&mut master));
        // One that waits for a PROXY header or a handshake greets nobody.
        match options {
            "" => wait_until("Postfix greets", || greets(postfix.address)),
            _ => drop(wait_until("Postfix listens", || {
                TcpStream::connect(postfix.address).ok()
            })),
        }
        Some(postfix)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The delivered messages.
    pub fn messages(&self) -> Vec<String> {
        let Ok(folder) = fs::read_dir(self.path("boxes/all/new")) else {
            return vec![];
        };
        let read = |file: fs::DirEntry| {
            Some(String::from_utf8_lossy(&fs::read(file.path()).ok()?).into_owned())
        };
        folder.filter_map(|file| read(file.ok()?)).collect()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if let Some(mut master) = self.master.take() {
            master.signal("TERM");
            let _ = master.0.wait();
        }
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs a client to its end; it must end well.
#[track_caller]
pub fn runs(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("runs");
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    text(&output)
}
