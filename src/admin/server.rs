//! Binds the admin address and serves it, within limits.

use super::{collector::Collector, routes::router};
use crate::http::{self, Limits};
use hyper_util::service::TowerToHyperService;
use std::{
    io,
    net::{SocketAddr, TcpListener},
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

/// Binds the address of `[admin] listen`.
///
/// # Errors
/// Those of binding, in words that name the key and say what to do.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let taken = ": is another gatepost running? Choose another port, or \"off\"";
    http::bind("admin.listen", address, taken)
}

/// A warning where the address can be reached from other machines.
#[must_use]
pub fn exposure(address: SocketAddr) -> Option<String> {
    (!address.ip().to_canonical().is_loopback()).then(|| {
        format!(
            "admin.listen = \"{address}\" is not a loopback address, and the admin endpoint has no \
             password: any client that reaches it can reload and drain"
        )
    })
}

/// Serves until `stop` is ready, then lets requests under way finish (5 s at most).
///
/// # Errors
/// Where the listener can't be registered with the runtime.
pub async fn serve(
    listener: TcpListener,
    collector: Arc<Collector>,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let pages = TowerToHyperService::new(router(collector));
    http::serve(listener, LIMITS, pages, stop).await
}
