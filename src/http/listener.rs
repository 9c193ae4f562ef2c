//! Where connections come from: the network, or a socket in the file system.

use super::ends::Ends;
use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    sync::Arc,
};
use tokio::io::{AsyncRead, AsyncWrite};

/// A listening socket. Non-blocking.
#[derive(Debug)]
pub enum Listener {
    /// The network.
    Tcp(TcpListener),
    /// This machine alone, through a socket in the file system.
    Unix(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Listener {
        Listener::Tcp(listener)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Listener {
        Listener::Unix(listener)
    }
}

impl Listener {
    /// The network address, if it has one.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(_) => None,
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listener::Tcp(listener) => match listener.local_addr() {
                Ok(address) => write!(f, "{address}"),
                Err(_) => f.write_str("an unknown address"),
            },
            Listener::Unix(listener) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                write!(f, "unix:{}", path.unwrap_or("?".as_ref()).display())
            }
        }
    }
}

/// A connection of either kind.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// A listener at the runtime.
pub(super) enum Accepting {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Accepting {
    /// Registers it. Errors: outside a runtime's reach.
    pub(super) fn from_std(listener: Listener) -> io::Result<Accepting> {
        match listener {
            Listener::Tcp(tcp) => tokio::net::TcpListener::from_std(tcp).map(Accepting::Tcp),
            Listener::Unix(unix) => tokio::net::UnixListener::from_std(unix).map(Accepting::Unix),
        }
    }

    /// The next connection, its client's address, and its ends where it comes over the network and is still there. All clients of
    /// a Unix socket have the loopback's address: those that its mode lets in share their places.
    pub(super) async fn accept(&self) -> io::Result<(Box<dyn Wire>, IpAddr, Option<Arc<Ends>>)> {
        match self {
            Accepting::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // One that was reset meanwhile is no fault of the listener, which would pause.
                let ends = Ends::of(&stream, peer).ok().map(Arc::new);
                Ok((Box::new(stream), peer.ip(), ends))
            }
            Accepting::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Box::new(stream), Ipv4Addr::LOCALHOST.into(), None))
            }
        }
    }
}
