//! The PROXY header that a connection to a backend begins with, where the pool wants one.

use super::origin::Origin;
use crate::{
    config::PoolIdentity,
    net::proxy_header::{self, Version},
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
    proxy_header::write(version, ends, out);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn header(kind: PoolIdentity, client: &str, listener: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let origin = Origin {
            client: client.parse().unwrap(),
            listener: listener.parse().ok(),
            hello: b"a.example",
            extended: true,
            login: None,
            message: b"",
        };
        write(kind, Some(&origin), || None, &mut out);
        out
    }

    #[test]
    fn version_1_is_a_line() {
        for (client, listener, line) in [
            (
                "192.0.2.7:4711",
                "198.51.100.1:25",
                "PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n",
            ),
            (
                "[2001:db8::7]:4711",
                "[::1]:25",
                "PROXY TCP6 2001:db8::7 ::1 4711 25\r\n",
            ),
            (
                "[2001:db8::7]:4711",
                "127.0.0.1:25",
                "PROXY TCP6 2001:db8::7 ::ffff:127.0.0.1 4711 25\r\n",
            ),
            (
                "[::ffff:192.0.2.7]:1",
                "127.0.0.1:25",
                "PROXY TCP4 192.0.2.7 127.0.0.1 1 25\r\n",
            ),
            (
                "192.0.2.7:4711",
                "",
                "PROXY TCP4 192.0.2.7 0.0.0.0 4711 0\r\n",
            ),
        ] {
            let made = header(PoolIdentity::ProxyV1, client, listener);
            assert_eq!(String::from_utf8(made).unwrap(), line);
            assert!(ppp::v1::Header::try_from(line.as_bytes()).is_ok(), "{line}");
        }
    }

    #[test]
    fn version_2_is_read_by_another_reader() {
        use ppp::v2::{Addresses, Command, Header};
        let four = header(PoolIdentity::ProxyV2, "192.0.2.7:4711", "198.51.100.1:25");
        let read = Header::try_from(&*four).unwrap();
        assert_eq!((read.command, four.len()), (Command::Proxy, 16 + 12));
        let Addresses::IPv4(ends) = read.addresses else {
            panic!("{:?}", read.addresses)
        };
        assert_eq!(
            (ends.source_address.octets(), ends.source_port),
            ([192, 0, 2, 7], 4711)
        );
        assert_eq!(ends.destination_port, 25);
        let six = header(
            PoolIdentity::ProxyV2,
            "[2001:db8::7]:4711",
            "198.51.100.1:25",
        );
        let Addresses::IPv6(ends) = Header::try_from(&*six).unwrap().addresses else {
            panic!("{six:?}")
        };
        assert_eq!(ends.source_address.to_string(), "2001:db8::7");
        assert_eq!(ends.destination_address.to_string(), "::ffff:198.51.100.1");
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
