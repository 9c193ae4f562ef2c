//! A Dovecot of a test's own that takes mail over LMTP.

use crate::harness::{Running, free_address, greets, leave_out, need, wait_until};
use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    process::{Command, Stdio},
};

/// A Dovecot of its own: configuration, log and mailboxes in a folder. Stopped when dropped.
pub struct Dovecot {
    pub folder: tempfile::TempDir,
    pub address: SocketAddr,
    _master: Running,
}

const CONFIG: &str = "
base_dir = ROOT/run
state_dir = ROOT/run/state
log_path = ROOT/log
protocols = lmtp
ssl = no
mail_location = maildir:%h
first_valid_uid = 1
hostname = dovecot.example
postmaster_address = postmaster@example.net
userdb {
  driver = passwd-file
  args = ROOT/users
}
passdb {
  driver = passwd-file
  args = ROOT/users
}
service lmtp {
  inet_listener lmtp {
    address = ADDRESS
    port = PORT
  }
  unix_listener lmtp {
    mode = 0
  }
}
service stats {
  unix_listener stats-writer {
    mode = 0666
  }
}
";

impl Dovecot {
    /// Starts it with mailboxes for `good0` to `good9` at `example.net`. `None`, and a note, where it can't.
    pub fn start() -> Option<Dovecot> {
        let program = need("dovecot")?;
        if !Path::new("/usr/lib/dovecot/lmtp").is_file() {
            leave_out("tests with Dovecot's LMTP: dovecot-lmtpd is not installed");
            return None;
        }
        if fs::metadata("/proc/self").map(|me| me.uid()).ok() != Some(0) {
            leave_out("tests with Dovecot's LMTP: only root can start it");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).expect("set");
        for name in ["run", "mail"] {
            fs::create_dir(root.join(name)).expect("made");
        }
        chown(root.join("mail"), Some(65534), Some(65534)).expect("root may");
        let user = |n| {
            let root = root.display();
            format!("good{n}@example.net:{{PLAIN}}x:65534:65534::{root}/mail/good{n}::\n")
        };
        let users: String = (0..10).map(user).collect();
        fs::write(root.join("users"), users).expect("written");
        let address = free_address();
        let config = CONFIG
            .replace("ROOT", &root.display().to_string())
            .replace("ADDRESS", &address.ip().to_string())
            .replace("PORT", &address.port().to_string());
        fs::write(root.join("dovecot.conf"), config).expect("written");
        let mut command = Command::new(program);
        command
            .args(["-F", "-c"])
            .arg(root.join("dovecot.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let master = Running::start(&mut command);
        wait_until("Dovecot greets", || greets(address));
        Some(Dovecot {
            folder,
            address,
            _master: master,
        })
    }
}
