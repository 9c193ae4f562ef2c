//! What is counted under which key.
//!
//! One holder of an IPv6 network has 2^64 addresses at least, so a /64 counts as one address and a /48, the
//! usual site, as its prefix (RFC 6177); for IPv4 it is the address and its /24.

use std::net::IpAddr;

const V6_ADDRESS: u128 = !0 << 64;
const V6_PREFIX: u128 = !0 << 80;
const V4_PREFIX: u128 = !0 << 8;

/// The address as 128 bits, IPv4 in its mapped form (RFC 4291 §2.5.5.2).
fn bits(ip: IpAddr) -> (u128, bool) {
    match ip.to_canonical() {
        IpAddr::V4(v4) => (u128::from(v4.to_ipv6_mapped()), true),
        IpAddr::V6(v6) => (u128::from(v6), false),
    }
}

/// An account of a key. The bits from 48 to 63 are 0 in every key, of an IPv4 address and of an IPv6 network, so
/// the account's number has room there and one number is all that need be hashed.
pub fn account(key: u128, of: u8) -> u128 {
    key | u128::from(of) << 48
}

/// The key of an address.
pub fn address(ip: IpAddr) -> u128 {
    match bits(ip) {
        (v4, true) => v4,
        (v6, false) => v6 & V6_ADDRESS,
    }
}

/// The key of its prefix.
pub fn prefix(ip: IpAddr) -> u128 {
    match bits(ip) {
        (v4, true) => v4 & V4_PREFIX,
        (v6, false) => v6 & V6_PREFIX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_a_key() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_ne!(address(ip("192.0.2.1")), address(ip("192.0.2.2")));
        assert_eq!(prefix(ip("192.0.2.1")), prefix(ip("192.0.2.255")));
        assert_ne!(prefix(ip("192.0.2.1")), prefix(ip("192.0.3.1")));
        assert_eq!(address(ip("192.0.2.1")), address(ip("::ffff:192.0.2.1")));
        assert_eq!(address(ip("2001:db8::1")), address(ip("2001:db8::ffff:1")));
        assert_ne!(
            address(ip("2001:db8:0:1::1")),
            address(ip("2001:db8:0:2::1"))
        );
        assert_eq!(prefix(ip("2001:db8:0:1::1")), prefix(ip("2001:db8:0:2::1")));
        assert_ne!(prefix(ip("2001:db8:1::1")), prefix(ip("2001:db8:2::1")));
    }

    #[test]
    fn accounts_of_all_keys_are_apart() {
        let mut seen = std::collections::HashSet::new();
        for text in [
            "192.0.2.1",
            "255.255.255.255",
            "2001:db8:1::1",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ] {
            let ip = text.parse::<IpAddr>().expect("an address");
            for (kind, key) in [address(ip), prefix(ip)].into_iter().enumerate() {
                assert_eq!(key & 0xffff << 48, 0, "{text}");
                for of in [0, 1, 2, 255] {
                    assert!(seen.insert((kind, account(key, of))), "{text} {of}");
                }
            }
        }
    }
}
