//! An Exim of a test's own, with the limits that it has by default.

use crate::harness::{Running, free_address, greets, leave_out, need, program, wait_until};
use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    process::{Command, Stdio},
};

/// An Exim of its own: configuration, queue, log and mailboxes in a folder. Stopped when dropped.
pub struct Exim {
    pub folder: tempfile::TempDir,
    pub address: SocketAddr,
    _daemon: Running,
}

/// The access rules are those of the file that Exim is shipped with, as far as they concern recipients.
const CONFIG: &str = "
exim_path = PROGRAM
primary_hostname = exim.example
spool_directory = ROOT/spool
log_file_path = ROOT/log/%slog
pid_file_path = ROOT/exim.pid
domainlist local_domains = example.net
never_users =
keep_environment =
tls_advertise_hosts =
host_lookup =
acl_smtp_rcpt = acl_check_rcpt
acl_smtp_data = acl_check_data
begin acl
acl_check_rcpt:
  deny    local_parts = members
          ! senders = amy@sender.example
          message = members only
  require message = relay not permitted
          domains = +local_domains
  require verify = recipient
  accept
acl_check_data:
  accept
begin routers
mailboxes:
  driver = accept
  local_parts = ^good : members
  transport = boxes
begin transports
boxes:
  driver = appendfile
  directory = ROOT/boxes/all
  maildir_format
  create_directory
  user = nobody
  group = GROUP
";

impl Exim {
    /// Starts it for `example.net`, where names that begin with `good` have a mailbox, and `members` takes mail from
    /// `amy@sender.example` alone. `None`, and a note, where it can't.
    pub fn start() -> Option<Exim> {
        // Debian's package can't be installed beside Postfix, so it may be unpacked below target/.
        let unpacked =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/exim/usr/sbin/exim4");
        let daemon = match unpacked.is_file() {
            true => unpacked,
            false => need("exim4")?,
        };
        program("unshare")?;
        if fs::metadata("/proc/self").map(|me| me.uid()).ok() != Some(0) {
            leave_out("tests with Exim: only root can start it");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).expect("set");
        let (user, group) = (65534, "nogroup");
        for name in ["spool", "log", "boxes"] {
            fs::create_dir(root.join(name)).expect("made");
            chown(root.join(name), Some(user), Some(user)).expect("root may");
        }
        let config = CONFIG
            .replace("ROOT", &root.display().to_string())
            .replace("PROGRAM", &daemon.display().to_string())
            .replace("GROUP", group);
        fs::write(root.join("exim.conf"), config).expect("written");
        // It is compiled for a user of its own, which may not exist here: it gets one in files that it alone sees.
        for (file, line) in [
            ("passwd", "Debian-exim:x:65534:65534::/:/bin/false\n"),
            ("group", "Debian-exim:x:65534:\n"),
        ] {
            let known = fs::read_to_string(format!("/etc/{file}")).expect("there is one");
            let more = match known.contains("Debian-exim:") {
                true => "",
                false => line,
            };
            fs::write(root.join(file), known + more).expect("written");
        }
        let address = free_address();
        let script = "mount --bind \"$1/passwd\" /etc/passwd && mount --bind \"$1/group\" /etc/group && \
                      exec \"$0\" -C \"$1/exim.conf\" -bdf -oX \"$2\"";
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", script])
            .arg(&daemon)
            .arg(root)
            .arg(format!("[{}]:{}", address.ip(), address.port()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(root.join("errors")).expect("made"));
        let mut running = Running::start(&mut command);
        wait_until("Exim greets", || {
            match running.0.try_wait().expect("a child") {
                Some(_) => Some(Err(
                    fs::read_to_string(root.join("errors")).unwrap_or_default()
                )),
                None => greets(address).map(Ok),
            }
        })
        .map_err(|why| leave_out(&format!("tests with Exim: it does not start: {why}")))
        .ok()?;
        Some(Exim {
            folder,
            address,
            _daemon: running,
        })
    }
}
