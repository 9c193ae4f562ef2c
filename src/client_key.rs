//! The key that a client's shares and counts are kept under, and that of its network.
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

/// The key of an address.
#[must_use]
pub fn address(ip: IpAddr) -> u128 {
    match bits(ip) {
        (v4, true) => v4,
        (v6, false) => v6 & V6_ADDRESS,
    }
}

/// The key of its prefix.
#[must_use]
pub fn prefix(ip: IpAddr) -> u128 {
    match bits(ip) {
        (v4, true) => v4 & V4_PREFIX,
        (v6, false) => v6 & V6_PREFIX,
    }
}

/// The key of the prefix of an address whose key this is.
#[must_use]
pub fn prefix_of(address: u128) -> u128 {
    match address >> 32 == 0xffff {
        true => address & V4_PREFIX,
        false => address & V6_PREFIX,
    }
}
