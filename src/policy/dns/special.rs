//! Addresses that no mail exchanger on the internet can have (RFC 6890, and IANA's two registries of special-purpose
//! addresses).
//!
//! What Postfix's users write into a table of `check_sender_mx_access`. A domain whose exchangers have such addresses
//! alone can't be answered; spammers set them to make bounces harmless.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks of IPv4: first address, prefix length, what they are for.
const V4: &[([u8; 4], u32, &str)] = &[
    ([0, 0, 0, 0], 8, "this network"),            // RFC 1122
    ([10, 0, 0, 0], 8, "private"),                // RFC 1918
    ([100, 64, 0, 0], 10, "carrier's NAT"),       // RFC 6598
    ([127, 0, 0, 0], 8, "loopback"),              // RFC 1122
    ([169, 254, 0, 0], 16, "link-local"),         // RFC 3927
    ([172, 16, 0, 0], 12, "private"),             // RFC 1918
    ([192, 0, 0, 0], 24, "protocol assignments"), // RFC 6890
    ([192, 0, 2, 0], 24, "documentation"),        // RFC 5737
    ([192, 88, 99, 0], 24, "6to4 relay"),         // RFC 7526
    ([192, 168, 0, 0], 16, "private"),            // RFC 1918
    ([198, 18, 0, 0], 15, "benchmarks"),          // RFC 2544
    ([198, 51, 100, 0], 24, "documentation"),     // RFC 5737
    ([203, 0, 113, 0], 24, "documentation"),      // RFC 5737
    ([224, 0, 0, 0], 4, "multicast"),             // RFC 5771
    ([240, 0, 0, 0], 4, "reserved"),              // RFC 1112, RFC 919
];

/// The same of IPv6. The longer prefix comes first where one lies in the other.
const V6: &[(u128, u32, &str)] = &[
    (0, 128, "unspecified"),                     // RFC 4291
    (1, 128, "loopback"),                        // RFC 4291
    (0, 96, "IPv4-compatible"),                  // RFC 4291 section 2.5.5.1
    (0x0064_ff9b_0001 << 80, 48, "translation"), // RFC 8215
    (0x0100 << 112, 64, "discard"),              // RFC 6666
    (0x2001_0000 << 96, 32, "Teredo"),           // RFC 4380
    (0x2001_0002 << 96, 48, "benchmarks"),       // RFC 5180
    (0x2001_0010 << 96, 28, "ORCHID"),           // RFC 4843
    (0x2001_0020 << 96, 28, "ORCHID"),           // RFC 7343
    (0x2001_0db8 << 96, 32, "documentation"),    // RFC 3849
    (0x3fff << 112, 20, "documentation"),        // RFC 9637
    (0x5f00 << 112, 16, "segment routing"),      // RFC 9602
    (0xfc00 << 112, 7, "private"),               // RFC 4193
    (0xfe80 << 112, 10, "link-local"),           // RFC 4291
    (0xfec0 << 112, 10, "site-local"),           // RFC 3879
    (0xff00 << 112, 8, "multicast"),             // RFC 4291
];

/// What the address is for, where that is not the internet.
#[must_use]
pub fn purpose(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(v4) => purpose_v4(v4),
        IpAddr::V6(v6) => purpose_v6(v6),
    }
}

fn purpose_v4(address: Ipv4Addr) -> Option<&'static str> {
    let bits = address.to_bits();
    V4.iter()
        .find(|(first, length, _)| (bits ^ Ipv4Addr::from(*first).to_bits()) >> (32 - length) == 0)
        .map(|(_, _, purpose)| *purpose)
}

fn purpose_v6(address: Ipv6Addr) -> Option<&'static str> {
    let bits = address.to_bits();
    let low = Ipv4Addr::from_bits(bits as u32);
    // NAT64 (RFC 6052 section 2.1) and 6to4 (RFC 3056 section 2) lead to the IPv4 address within.
    if bits >> 32 == 0x0064_ff9b_u128 << 64 {
        return purpose_v4(low);
    }
    if bits >> 112 == 0x2002 {
        return purpose_v4(Ipv4Addr::from_bits((bits >> 80) as u32));
    }
    V6.iter()
        .find(|(first, length, _)| (bits ^ first) >> (128 - length) == 0)
        .map(|(_, _, purpose)| *purpose)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::dns::testing::ip;
    use proptest::prelude::*;

    #[test]
    fn addresses_and_what_they_are_for() {
        for (address, what) in [
            ("0.0.0.0", Some("this network")),
            ("10.255.0.1", Some("private")),
            ("100.64.0.1", Some("carrier's NAT")),
            ("100.128.0.1", None),
            ("127.9.9.9", Some("loopback")),
            ("169.254.1.1", Some("link-local")),
            ("172.16.0.1", Some("private")),
            ("172.31.255.255", Some("private")),
            ("172.32.0.1", None),
            ("192.0.0.8", Some("protocol assignments")),
            ("192.0.1.1", None),
            ("192.0.2.1", Some("documentation")),
            ("192.168.7.7", Some("private")),
            ("198.19.0.1", Some("benchmarks")),
            ("198.20.0.1", None),
            ("224.0.0.1", Some("multicast")),
            ("255.255.255.255", Some("reserved")),
            ("8.8.8.8", None),
            ("223.255.255.255", None),
            ("::", Some("unspecified")),
            ("::1", Some("loopback")),
            ("::2", Some("IPv4-compatible")),
            ("::ffff:10.0.0.1", Some("private")),
            ("::ffff:8.8.8.8", None),
            ("64:ff9b::10.0.0.1", Some("private")),
            ("64:ff9b::8.8.8.8", None),
            ("64:ff9b:1::8.8.8.8", Some("translation")),
            ("2002:7f00:1::1", Some("loopback")),
            ("2002:808:808::1", None),
            ("100::1", Some("discard")),
            ("2001::1", Some("Teredo")),
            ("2001:db8::1", Some("documentation")),
            ("2001:4860:4860::8888", None),
            ("2a00:1450::1", None),
            ("3fff:fff::1", Some("documentation")),
            ("3fff:1000::1", None),
            ("fd00::1", Some("private")),
            ("fe80::1", Some("link-local")),
            ("fec0::1", Some("site-local")),
            ("ff02::1", Some("multicast")),
        ] {
            assert_eq!(purpose(ip(address)), what, "{address}");
        }
    }

    proptest! {
        #[test]
        fn mapped_addresses_are_ipv4(bits: u32) {
            let v4 = Ipv4Addr::from_bits(bits);
            prop_assert_eq!(purpose(v4.into()), purpose(v4.to_ipv6_mapped().into()));
        }
    }
}
