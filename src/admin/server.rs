//! Binds the endpoint's sockets and serves them, within limits.

use super::{
    collector::Collector,
    routes::{Door, router},
};
use crate::{
    config::{Admin, AdminListen},
    http::{self, Limits, Listener},
};
use hyper_util::service::TowerToHyperService;
use std::{
    fs, io,
    net::SocketAddr,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::Arc,
    time::Duration,
};

/// A scraper, a load balancer and a person at a browser are often all on this machine: one address may have half.
const LIMITS: Limits = Limits {
    connections: 64,
    per_client: 32,
    // No page reads a body.
    head: 16 * 1024,
    head_time: Duration::from_secs(75),
    life: Duration::from_secs(15 * 60),
    keep_alive: true,
};

/// Owner and group of a Unix socket may use it.
const SOCKET_MODE: u32 = 0o660;

/// Binds `admin.listen` and `admin.public`, as far as they are on.
///
/// # Errors
/// Those of binding, in words that name the key and say what to do.
pub fn bind(admin: &Admin) -> io::Result<Vec<(Door, Listener)>> {
    let mut doors = Vec::new();
    for (key, place, network) in [
        ("admin.listen", &admin.listen, Door::Control),
        ("admin.public", &admin.public, Door::Public),
    ] {
        match place {
            AdminListen::Off => {}
            AdminListen::At(address) => {
                let instead = "is another gatepost running? Choose another port, or \"off\"";
                doors.push((network, http::bind(key, *address, instead)?.into()));
            }
            AdminListen::Unix(path) => {
                let door = match network {
                    Door::Public => Door::Public,
                    Door::Control | Door::Local => Door::Local,
                };
                let listener = bind_unix(path).map_err(|error| {
                    let place = path.display();
                    io::Error::new(error.kind(), format!("{key} = \"unix:{place}\": {error}"))
                })?;
                doors.push((door, listener.into()));
            }
        }
    }
    Ok(doors)
}

/// Listens on a socket in the file system; replaces one that a process left behind.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if fs::symlink_metadata(path).is_ok_and(|about| about.file_type().is_socket()) {
        if UnixStream::connect(path).is_ok() {
            let why = "it is in use: is another gatepost running?";
            return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
        }
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
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

/// Serves one socket until `stop` is ready, then lets requests under way finish (5 s at most).
///
/// # Errors
/// The listener can't be registered with the runtime.
pub async fn serve(
    listener: Listener,
    door: Door,
    collector: Arc<Collector>,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let pages = TowerToHyperService::new(router(collector, door));
    http::serve(listener, LIMITS, pages, stop).await
}
