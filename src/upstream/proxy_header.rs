//! The PROXY header that a connection to a backend begins with, where the pool wants one.

use super::origin::Origin;
use crate::{
    config::PoolIdentity,
    proxy_protocol::{self, Version},
};
use std::net::{Ipv6Addr, SocketAddr};

/// Appends the header of a pool's kind; nothing where it wants none. A connection of our own (a probe, a question about
/// a recipient), whose ends are `ours`, says that it is one: by LOCAL in version 2. Of version 1 Postfix takes no
/// `UNKNOWN`, so the header says what is true anyway: the connection's own ends.
pub(super) fn write(
    kind: PoolIdentity,
    origin: Option<&Origin<'_>>,
    ours: impl FnOnce() -> Option<(SocketAddr, SocketAddr)>,
    out: &mut Vec<u8>,
) {
    let ends = match (origin, kind) {
        (Some(origin), _) => {
            // Where the address that it came to isn't known, the unspecified one says so.
            let nowhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
            Some((origin.client, origin.listener.unwrap_or(nowhere)))
        }
        (None, PoolIdentity::ProxyV1) => ours(),
        (None, _) => None,
    };
    let version = match kind {
        PoolIdentity::ProxyV1 => Version::V1,
        PoolIdentity::ProxyV2 => Version::V2,
        PoolIdentity::None | PoolIdentity::Xclient | PoolIdentity::Xforward => return,
    };
    proxy_protocol::write(version, ends, out);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_clients_connection_is_told_as_the_pool_wants_it() {
        let origin = |listener| Origin {
            client: ([192, 0, 2, 7], 4711).into(),
            listener,
            hello: b"a.example",
            extended: true,
            login: None,
            message: b"",
        };
        let listener = Some(([198, 51, 100, 1], 25).into());
        for (kind, listener, start) in [
            (
                PoolIdentity::ProxyV1,
                listener,
                &b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n"[..],
            ),
            (
                PoolIdentity::ProxyV1,
                None,
                b"PROXY TCP4 192.0.2.7 0.0.0.0 4711 0\r\n",
            ),
            (
                PoolIdentity::ProxyV2,
                listener,
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07",
            ),
            (PoolIdentity::Xforward, listener, b""),
        ] {
            let mut out = Vec::new();
            write(kind, Some(&origin(listener)), || None, &mut out);
            assert_eq!(out[..start.len()], *start);
            assert_eq!(out.is_empty(), start.is_empty());
        }
    }

    #[test]
    fn a_connection_of_our_own_says_so() {
        let mut out = Vec::new();
        let ours = || Some(("10.0.0.1:40000".parse().ok()?, "10.0.0.2:25".parse().ok()?));
        write(PoolIdentity::ProxyV1, None, ours, &mut out);
        assert_eq!(out, b"PROXY TCP4 10.0.0.1 10.0.0.2 40000 25\r\n");
        out.clear();
        write(PoolIdentity::ProxyV1, None, || None, &mut out);
        assert_eq!(out, b"PROXY UNKNOWN\r\n");
        out.clear();
        write(PoolIdentity::ProxyV2, None, || None, &mut out);
        let read = ppp::v2::Header::try_from(&*out).unwrap();
        assert_eq!(read.command, ppp::v2::Command::Local);
        out.clear();
        write(PoolIdentity::Xclient, None, || None, &mut out);
        assert!(out.is_empty());
    }
}
