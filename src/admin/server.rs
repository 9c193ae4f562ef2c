//! Binds the endpoint's sockets and serves them, within limits.

use super::{
    collector::Collector,
    routes::{Door, router},
};
use crate::{
    config::{Admin, AdminListen},
    http::{self, Limits, Listener},
    log::say,
};
use hyper_util::service::TowerToHyperService;
use nix::unistd::setfsgid;
use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, chownat, fstat},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with},
    process::geteuid,
};
use std::{
    fs, io,
    net::SocketAddr,
    os::{
        fd::AsRawFd,
        unix::{
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// A scraper, a load balancer and a person at a browser are often all on this machine: one address may have half.
pub(super) const LIMITS: Limits = Limits {
    connections: 64,
    per_client: 32,
    // No page reads a body.
    head: 16 * 1024,
    head_time: Duration::from_secs(75),
    life: Duration::from_secs(15 * 60),
    keep_alive: true,
};

/// Owner and group of a Unix socket may use it. Until it is set, the process's umask lets in fewer.
const SOCKET_MODE: u32 = 0o660;

/// A socket that the endpoint is to be served on.
#[derive(Clone, Debug)]
pub struct Place {
    key: &'static str,
    listen: AdminListen,
    door: Door,
}

/// `admin.listen` and `admin.public`, as far as they are on.
#[must_use]
pub fn places(admin: &Admin) -> Vec<Place> {
    let all = [
        ("admin.listen", &admin.listen, Door::Control),
        ("admin.public", &admin.public, Door::Public),
    ];
    let on = all.into_iter().filter_map(|(key, listen, network)| {
        let door = match (listen, network) {
            (AdminListen::Off, _) => return None,
            (AdminListen::Unix(_), Door::Control) => Door::Local,
            (_, door) => door,
        };
        Some(Place {
            key,
            listen: listen.clone(),
            door,
        })
    });
    on.collect()
}

impl Place {
    /// What is shown there.
    #[must_use]
    pub fn door(&self) -> Door {
        self.door
    }

    /// Its port, on the network.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.listen.address().map(|address| address.port())
    }

    /// Its folder, in the file system.
    #[must_use]
    pub fn folder(&self) -> Option<PathBuf> {
        match &self.listen {
            AdminListen::Unix(path) => path.parent().map(Path::to_path_buf),
            AdminListen::Off | AdminListen::At(_) => None,
        }
    }

    /// Binds it. `owner`: user and group of a socket in the file system, where they are others than the process's. Blocks where
    /// there is such a socket already.
    ///
    /// # Errors
    /// Those of binding, in words that name the key and say what to do.
    pub fn bind(&self, owner: Option<(u32, u32)>) -> io::Result<Listener> {
        let key = self.key;
        match &self.listen {
            AdminListen::Off => Err(io::ErrorKind::NotFound.into()),
            AdminListen::At(address) => {
                let instead = "is another gatepost running? Choose another port, or \"off\"";
                Ok(http::bind(key, *address, instead)?.into())
            }
            AdminListen::Unix(path) => {
                let listener = bind_unix(path, owner).map_err(|error| {
                    let place = path.display();
                    io::Error::new(error.kind(), format!("{key} = \"unix:{place}\": {error}"))
                })?;
                Ok(listener.into())
            }
        }
    }
}

/// Listens on a socket in the file system; replaces one that a process left behind.
fn bind_unix(path: &Path, owner: Option<(u32, u32)>) -> io::Result<UnixListener> {
    if let Ok(about) = fs::symlink_metadata(path)
        && about.file_type().is_socket()
    {
        match connect(path, about.gid()) {
            Ok(_) => {
                let why = "it is in use: is another gatepost running?";
                return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
            }
            Err(why) if why.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            Err(why) => {
                let advice = "remove it if no other gatepost runs";
                let text = format!("whether it is in use can't be found out ({why}): {advice}");
                return Err(io::Error::new(why.kind(), text));
            }
        }
    }
    let listener = UnixListener::bind(path)?;
    hand_over(path, owner)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Connects to a socket, as a member of its group if need be: without CAP_DAC_OVERRIDE, which the unit leaves out, root may not
/// use one of `process.user` ([`SOCKET_MODE`]), but may take any group (CAP_SETGID).
fn connect(path: &Path, group: u32) -> io::Result<UnixStream> {
    let connected = reach(path);
    if !matches!(&connected, Err(why) if why.kind() == io::ErrorKind::PermissionDenied) {
        return connected;
    }
    // Of this thread alone, and only for its use of files. Where it is not allowed nothing changes.
    let before = setfsgid(nix::unistd::Gid::from_raw(group));
    let connected = reach(path);
    setfsgid(before);
    connected
}

/// Connects without waiting: another process may listen there and accept nothing, and mail must not wait for that. Where its queue
/// is full this fails, and whether the socket is in use is not known.
fn reach(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}

/// Gives the socket that was just bound its owner and its mode. What is changed is the file that was looked at, by its
/// descriptor: a user that can write the folder may have put a link in its place by now, or another name of a socket elsewhere.
fn hand_over(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    let facts = fstat(&file)?;
    let is_ours = FileType::from_raw_mode(facts.st_mode) == FileType::Socket
        && facts.st_uid == geteuid().as_raw()
        && facts.st_nlink == 1;
    if !is_ours {
        let why = "something else has taken its place: others can write in its folder";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    // First the mode, which only the owner may set without CAP_FOWNER. The kernel has no fchmod for a descriptor that only
    // names a file.
    let named = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::set_permissions(named, fs::Permissions::from_mode(SOCKET_MODE))?;
    let Some((user, group)) = owner else {
        return Ok(());
    };
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    match chownat(&file, "", Some(user), Some(group), AtFlags::EMPTY_PATH) {
        Err(Errno::PERM) => say!(
            Warn,
            "{} stays root's, and only root can use it: add CAP_CHOWN to CapabilityBoundingSet in the unit",
            path.display()
        ),
        done => done?,
    }
    Ok(())
}

/// A warning where any host that reaches the address can reload and drain.
#[must_use]
pub fn exposure(address: SocketAddr, token: bool) -> Option<String> {
    (!token && !address.ip().to_canonical().is_loopback()).then(|| {
        format!(
            "admin.listen = \"{address}\" is not a loopback address, and admin.token is not set: every host that \
             reaches it can reload and drain"
        )
    })
}

/// A socket in the file system that we listen on. Dropping it removes the file, unless another one has its name by now.
struct SocketFile {
    path: PathBuf,
    id: FileId,
}

/// Device, number, and time of creation, for the number of a file that has gone is used again.
type FileId = (u64, u64, i64, i64);

impl SocketFile {
    fn of(listener: &Listener) -> Option<SocketFile> {
        let Listener::Unix(listener) = listener else {
            return None;
        };
        let path = listener.local_addr().ok()?.as_pathname()?.to_owned();
        let id = SocketFile::id(&path)?;
        Some(SocketFile { path, id })
    }

    fn id(path: &Path) -> Option<FileId> {
        let about = fs::symlink_metadata(path).ok()?;
        let made = (about.mtime(), about.mtime_nsec());
        Some((about.dev(), about.ino(), made.0, made.1))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if SocketFile::id(&self.path) == Some(self.id) {
            // Where the folder is not ours it stays, and the next start replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Serves one socket until `stop` is ready, then lets requests under way finish (5 s at most). Then the file of a Unix socket
/// is removed.
///
/// # Errors
/// The listener can't be registered with the runtime.
pub async fn serve(
    listener: Listener,
    door: Door,
    collector: Arc<Collector>,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let _file = SocketFile::of(&listener);
    let pages = TowerToHyperService::new(router(collector, door));
    http::serve(listener, LIMITS, pages, stop).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_leaves_no_file_and_that_of_another_process_stays() {
        let name = |end: &str| format!("gatepost-admin-{}{end}", std::process::id());
        let (path, moved) = (
            std::env::temp_dir().join(name("")),
            std::env::temp_dir().join(name(".moved")),
        );
        let bound = || Listener::from(bind_unix(&path, None).expect("bound"));
        let listener = bound();
        drop(SocketFile::of(&listener));
        assert!(!path.exists());
        let listener = bound();
        let file = SocketFile::of(&listener).expect("it has one");
        fs::rename(&path, &moved).expect("ours");
        let _other = bound();
        drop(file);
        assert!(path.exists());
        for left in [path, moved] {
            fs::remove_file(left).expect("ours");
        }
    }

    #[test]
    fn a_socket_stays_where_it_is_not_known_that_nothing_listens() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("datagrams");
        let _other = std::os::unix::net::UnixDatagram::bind(&path).expect("bound");
        let why = bind_unix(&path, None).expect_err("of another kind");
        assert!(why.to_string().contains("can't be found out"), "{why}");
        assert!(path.exists());
    }

    /// As a stopped process leaves it, or any user in a folder that is everybody's.
    #[test]
    fn a_socket_whose_queue_is_full_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("full");
        let full = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        );
        let full = full.expect("a socket");
        rustix::net::bind(&full, &SocketAddrUnix::new(&path).expect("short")).expect("bound");
        rustix::net::listen(&full, 0).expect("listens");
        let _waits: Vec<UnixStream> = std::iter::from_fn(|| reach(&path).ok()).collect();
        let why = bind_unix(&path, None).expect_err("something listens");
        assert!(why.to_string().contains("can't be found out"), "{why}");
        assert!(path.exists());
    }

    #[test]
    fn a_link_in_the_place_of_a_socket_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let mode = |path: &Path| fs::metadata(path).expect("it is there").mode() & 0o777;
        fs::write(at("file"), "for its owner").expect("written");
        let elsewhere = UnixListener::bind(at("elsewhere")).expect("bound");
        for name in ["file", "elsewhere"] {
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o600)).expect("set");
            std::os::unix::fs::symlink(at(name), at(&format!("link-{name}"))).expect("made");
            fs::hard_link(at(name), at(&format!("name-{name}"))).expect("made");
            for place in [format!("link-{name}"), format!("name-{name}")] {
                let why = hand_over(&at(&place), None).expect_err(&place);
                assert_eq!(
                    why.kind(),
                    io::ErrorKind::PermissionDenied,
                    "{place}: {why}"
                );
                assert_eq!(mode(&at(name)), 0o600, "{place}");
            }
        }
        drop(elsewhere);
    }
}
