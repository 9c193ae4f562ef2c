//! Binds the admin address and serves it, within limits.

use super::{collector::Collector, routes::router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::TcpStream,
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// Octets of a request's head. No page reads a body.
const HEAD_MAX: usize = 16 * 1024;
/// Until a request's head is whole, idle time before it included.
const HEAD_TIME: Duration = Duration::from_secs(75);
/// A connection's life, so that one that takes its answer a byte a minute does not stay for ever.
const LIFE: Duration = Duration::from_secs(15 * 60);
/// How long a connection may take to finish when its life, or the server's, ends.
const FAREWELL: Duration = Duration::from_secs(5);
/// Pause after an accept that failed, most likely for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Binds the address of `[admin] listen`.
///
/// # Errors
/// Those of binding, in words that name the key and say what to do.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).map_err(|error| {
        let port = address.port();
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => format!(
                "port {port} is taken: is another gatepost running? Choose another port, or \"off\""
            ),
            io::ErrorKind::AddrNotAvailable => {
                format!("{} is no address of this machine", address.ip())
            }
            io::ErrorKind::PermissionDenied => {
                format!("no permission for port {port}; ports below 1024 need CAP_NET_BIND_SERVICE")
            }
            _ => error.to_string(),
        };
        io::Error::new(
            error.kind(),
            format!("admin.listen = \"{address}\": {advice}"),
        )
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A warning where the address can be reached from other machines.
#[must_use]
pub fn exposure(address: SocketAddr) -> Option<String> {
    (!address.ip().to_canonical().is_loopback()).then(|| {
        format!(
            "admin.listen = \"{address}\" is not a loopback address, and the admin endpoint has no \
             password: whoever reaches it can reload and drain"
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
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let router = router(collector);
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (stopping, stopped) = watch::channel(());
    let accept = async {
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else {
                break; // Never: the semaphore is not closed.
            };
            let Ok((stream, _)) = listener.accept().await else {
                sleep(PAUSE).await;
                continue;
            };
            let (router, stopped) = (router.clone(), stopped.clone());
            tokio::spawn(async move {
                converse(stream, router, stopped).await;
                drop(permit);
            });
        }
    };
    tokio::select! {
        () = accept => {}
        () = stop => {}
    }
    drop((listener, stopped));
    let _ = stopping.send(());
    // Every connection holds a receiver until it is done.
    let _ = timeout(FAREWELL, stopping.closed()).await;
    Ok(())
}

/// One connection, until its peer, its life or the server ends it.
async fn converse(stream: TcpStream, router: axum::Router, mut stopped: watch::Receiver<()>) {
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(HEAD_MAX)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
    );
    // What goes wrong with a connection is its peer's affair.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = sleep(LIFE) => {}
        _ = stopped.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(FAREWELL, connection).await;
}
