//! The PROXY protocol's header, written: a line of text (version 1), or 16 octets and two addresses (version 2, §2.2).
//!
//! By hand: the crates for it read more than they write.

use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr},
};

/// The first octets of version 2 (§2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// How a header is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// As a line of text.
    V1,
    /// In binary.
    V2,
}

/// Appends a header that tells of a connection from the first address to the second. `None`: the connection is the
/// writer's own, or whose it is can't be said (LOCAL, UNKNOWN).
pub fn write(version: Version, ends: Option<(SocketAddr, SocketAddr)>, out: &mut Vec<u8>) {
    match (version, ends.map(|(from, to)| of_one_family(from, to))) {
        (Version::V1, Some((from, to))) => {
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            let (port, to_port) = (from.port(), to.port());
            let (from, to) = (from.ip(), to.ip());
            // Writing to a Vec can't fail.
            let _ = write!(out, "PROXY {family} {from} {to} {port} {to_port}\r\n");
        }
        (Version::V1, None) => out.extend_from_slice(b"PROXY UNKNOWN\r\n"),
        (Version::V2, Some((from, to))) => {
            out.extend_from_slice(SIGNATURE);
            // Version 2 and the command PROXY; family and STREAM; how much follows.
            out.extend_from_slice(match from.is_ipv4() {
                true => &[0x21, 0x11, 0, 12],
                false => &[0x21, 0x21, 0, 36],
            });
            for end in [from, to] {
                match end.ip() {
                    IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
                    IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
                }
            }
            out.extend_from_slice(&from.port().to_be_bytes());
            out.extend_from_slice(&to.port().to_be_bytes());
        }
        (Version::V2, None) => {
            out.extend_from_slice(SIGNATURE);
            // The command LOCAL, and nothing follows.
            out.extend_from_slice(&[0x20, 0, 0, 0]);
        }
    }
}

/// Both ends in one family: a header has but one. A mapped address says the same as the other one.
fn of_one_family(from: SocketAddr, to: SocketAddr) -> (SocketAddr, SocketAddr) {
    let (from_ip, to_ip) = (from.ip().to_canonical(), to.ip().to_canonical());
    let (from_ip, to_ip) = match (from_ip, to_ip) {
        (IpAddr::V4(_), to) if to.is_unspecified() => (from_ip, IpAddr::from([0, 0, 0, 0])),
        (IpAddr::V4(from), IpAddr::V6(_)) => (from.to_ipv6_mapped().into(), to_ip),
        (IpAddr::V6(_), IpAddr::V4(to)) => (from_ip, to.to_ipv6_mapped().into()),
        same => same,
    };
    (
        SocketAddr::new(from_ip, from.port()),
        SocketAddr::new(to_ip, to.port()),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn header(version: Version, client: &str, server: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let ends = Some((client.parse().unwrap(), server.parse().unwrap()));
        write(version, ends, &mut out);
        out
    }

    #[test]
    fn version_1_is_a_line() {
        for (client, server, line) in [
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
                "[::]:0",
                "PROXY TCP4 192.0.2.7 0.0.0.0 4711 0\r\n",
            ),
        ] {
            let made = header(Version::V1, client, server);
            assert_eq!(String::from_utf8(made).unwrap(), line);
            assert!(ppp::v1::Header::try_from(line.as_bytes()).is_ok(), "{line}");
        }
    }

    #[test]
    fn version_2_is_read_by_another_reader() {
        use ppp::v2::{Addresses, Command, Header};
        let four = header(Version::V2, "192.0.2.7:4711", "198.51.100.1:25");
        let read = Header::try_from(&*four).unwrap();
        assert_eq!((read.command, four.len()), (Command::Proxy, 16 + 12));
        let Addresses::IPv4(ends) = read.addresses else {
            panic!("{:?}", read.addresses)
        };
        assert_eq!(
            (ends.source_address.octets(), ends.source_port),
            ([192, 0, 2, 7], 4711)
        );
        assert_eq!(
            (ends.destination_address.octets(), ends.destination_port),
            ([198, 51, 100, 1], 25)
        );
        let six = header(Version::V2, "[2001:db8::7]:4711", "198.51.100.1:25");
        let Addresses::IPv6(ends) = Header::try_from(&*six).unwrap().addresses else {
            panic!("{six:?}")
        };
        assert_eq!((six.len(), ends.source_port), (16 + 36, 4711));
        assert_eq!(ends.source_address.to_string(), "2001:db8::7");
        assert_eq!(ends.destination_address.to_string(), "::ffff:198.51.100.1");
    }
}
