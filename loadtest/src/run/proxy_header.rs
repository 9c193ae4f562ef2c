//! The PROXY header (haproxy's proxy-protocol.txt, versions 1 and 2): who the client behind us is said to be.
//!
//! Written by hand: it is a line of text, or 16 octets and two addresses; the crates for it read more than they write.

use super::value::ProxyVersion;
use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr},
};

/// The first octets of version 2 (§2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Writes a header: a connection from `client` to `server`.
pub fn write(version: ProxyVersion, client: SocketAddr, server: SocketAddr, out: &mut Vec<u8>) {
    // Both of one family; a mapped address says the same as the other one.
    let (from, to) = match (client.ip(), server.ip()) {
        (IpAddr::V4(from), IpAddr::V6(to)) => (from.to_ipv6_mapped().into(), IpAddr::V6(to)),
        (IpAddr::V6(from), IpAddr::V4(to)) => (IpAddr::V6(from), to.to_ipv6_mapped().into()),
        same => same,
    };
    let ports = (client.port(), server.port());
    match version {
        ProxyVersion::V1 => {
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            write!(
                out,
                "PROXY {family} {from} {to} {} {}\r\n",
                ports.0, ports.1
            )
            .expect("a Vec takes all that is written to it");
        }
        ProxyVersion::V2 => {
            out.extend_from_slice(SIGNATURE);
            // Version 2, command PROXY; then family and STREAM, and the length of what follows.
            match (from, to) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    out.extend_from_slice(&[0x21, 0x11, 0, 12]);
                    out.extend_from_slice(&from.octets());
                    out.extend_from_slice(&to.octets());
                }
                (from, to) => {
                    out.extend_from_slice(&[0x21, 0x21, 0, 36]);
                    for address in [from, to] {
                        if let IpAddr::V6(address) = address {
                            out.extend_from_slice(&address.octets());
                        }
                    }
                }
            }
            out.extend_from_slice(&ports.0.to_be_bytes());
            out.extend_from_slice(&ports.1.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn header(version: ProxyVersion, client: &str, server: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let (client, server) = (client.parse().unwrap(), server.parse().unwrap());
        write(version, client, server, &mut out);
        out
    }

    #[test]
    fn version_1_is_a_line() {
        let line = header(ProxyVersion::V1, "198.18.0.1:1024", "127.0.0.1:25");
        assert_eq!(line, b"PROXY TCP4 198.18.0.1 127.0.0.1 1024 25\r\n");
        let line = header(ProxyVersion::V1, "[2001:db8::1]:1024", "[::1]:25");
        assert_eq!(line, b"PROXY TCP6 2001:db8::1 ::1 1024 25\r\n");
    }

    #[test]
    fn version_2_has_its_lengths() {
        let four = header(ProxyVersion::V2, "198.18.0.1:258", "127.0.0.1:25");
        assert_eq!(four.len(), 16 + 12);
        assert_eq!(four[12..16], [0x21, 0x11, 0, 12]);
        assert_eq!(four[16..], [198, 18, 0, 1, 127, 0, 0, 1, 1, 2, 0, 25]);
        let six = header(ProxyVersion::V2, "198.18.0.1:258", "[::1]:25");
        assert_eq!((six.len(), six[15]), (16 + 36, 36));
        assert_eq!(six[16..28], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
    }
}
