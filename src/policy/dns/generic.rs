//! Names that look as if a provider's machine had made them: `h-192-0-2-7.dsl.example.net`. A mail server has a name
//! that its operator chose; home connections, which should not send mail, have names like this one. A hint for the score, never a proof.
//!
//! What users of other programs expect of it:
//!
//! - Haraka (`fcrdns`, `helo.checks`: `is_generic_rdns`, `dynamic`): two adjacent octets of the address in the part of the
//!   name below the registered domain, in either order, or all of it in hexadecimal. Here two octets count only as the
//!   last two and with four digits together, for `mx1-2` is a common name of a mail server.
//! - rspamd (`hfilter`): words in the labels, `dsl`, `dynamic`, `pool`, `ppp`, each with a weight; `static` lowers it.
//! - Postfix: a table of patterns by `check_reverse_client_hostname_access`, written by hand.
//!
//! The registered domain is taken to be the last two labels; the caller that has a list of public suffixes cuts it off by
//! itself and uses [`of_host_part`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Octets of a name that are looked at.
const LOOKED_AT_MAX: usize = super::names::NAME_MAX;
/// Digits that the last two octets of an address must have together.
const PAIR_DIGITS_MIN: usize = 4;
/// Groups of an IPv6 address that must stand together in the name.
const GROUPS_MIN: usize = 4;

/// Why a name looks generic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generic {
    /// The client's address is in it.
    Address,
    /// This word is in it.
    Word(&'static str),
}

/// Words of dynamic and residential connections, as whole words of a label.
const WORDS: &[&str] = &[
    "adsl",
    "broadband",
    "cable",
    "cablemodem",
    "catv",
    "cpe",
    "customer",
    "customers",
    "dhcp",
    "dial",
    "dialin",
    "dialup",
    "docsis",
    "dorm",
    "dsl",
    "dslam",
    "dyn",
    "dynamic",
    "dynamicip",
    "dynip",
    "fiber",
    "ftth",
    "fttx",
    "gprs",
    "gpon",
    "home",
    "homeuser",
    "hotspot",
    "lte",
    "modem",
    "pool",
    "ppp",
    "pppoe",
    "residential",
    "resnet",
    "sdsl",
    "unassigned",
    "unused",
    "user",
    "users",
    "vdsl",
    "wifi",
    "wimax",
    "wireless",
    "xdsl",
];

/// Words that say the address is one customer's for long: other words don't count then.
const STATIC: &[&str] = &["static", "fixed", "business", "biz"];

/// Why this name of the address looks generic, if it does.
#[must_use]
pub fn of(name: &str, address: IpAddr) -> Option<Generic> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let dots: Vec<usize> = name.match_indices('.').map(|(at, _)| at).collect();
    let end = match dots.as_slice() {
        [] => return None,
        [only] => *only,
        [.., last_but_one, _] => *last_but_one,
    };
    of_host_part(&name[..end], address)
}

/// The same of the part of a name below the registered domain.
#[must_use]
pub fn of_host_part(part: &str, address: IpAddr) -> Option<Generic> {
    let mut part = part.to_ascii_lowercase();
    if part.len() > LOOKED_AT_MAX {
        return None;
    }
    // What is no letter and no digit parts words, also octets that are not ASCII.
    part = part
        .chars()
        .map(|char| {
            if char.is_ascii_alphanumeric() {
                char
            } else {
                '-'
            }
        })
        .collect();
    let has_address = match address.to_canonical() {
        IpAddr::V4(v4) => has_v4(&part, v4),
        IpAddr::V6(v6) => has_v6(&part, v6),
    };
    if has_address {
        return Some(Generic::Address);
    }
    let words = || part.split(|char: char| !char.is_ascii_lowercase());
    if words().any(|word| STATIC.contains(&word)) {
        return None;
    }
    words()
        .find_map(|word| WORDS.iter().find(|generic| **generic == word))
        .map(|word| Generic::Word(word))
}

fn has_v4(part: &str, address: Ipv4Addr) -> bool {
    let octets = address.octets();
    let mut backwards = octets;
    backwards.reverse();
    // 192-0-2-7, and 007 for 7.
    let numbers: Vec<Option<u8>> = part
        .split(|char: char| !char.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .map(|digits| digits.parse().ok())
        .collect();
    let has = |wanted: &[u8]| {
        let mut windows = numbers.windows(wanted.len());
        windows.any(|window| {
            window
                .iter()
                .zip(wanted)
                .all(|(is, octet)| *is == Some(*octet))
        })
    };
    let three = [&octets[..3], &octets[1..], &backwards[..3], &backwards[1..]];
    if three.iter().any(|wanted| has(wanted)) {
        return true;
    }
    let digits = |octet: u8| octet.to_string().len();
    let long_enough = digits(octets[2]) + digits(octets[3]) >= PAIR_DIGITS_MIN;
    if long_enough && (has(&octets[2..]) || has(&backwards[..2])) {
        return true;
    }
    // 192000002007, c0000207.
    [octets, backwards].iter().any(|[a, b, c, d]| {
        part.contains(&format!("{a:03}{b:03}{c:03}{d:03}"))
            || part.contains(&format!("{a:02x}{b:02x}{c:02x}{d:02x}"))
    })
}

fn has_v6(part: &str, address: Ipv6Addr) -> bool {
    let hex = format!("{:032x}", address.to_bits());
    let plain: String = part.chars().filter(char::is_ascii_hexdigit).collect();
    // The interface identifier (RFC 4291 section 2.5.1) in a piece, or nibble by nibble backwards; `::1` has none.
    let identifier = &hex[16..];
    let backwards: String = identifier.chars().rev().collect();
    if address.to_bits() as u64 > u64::from(u16::MAX)
        && (part.contains(identifier) || plain.contains(&backwards))
    {
        return true;
    }
    let groups: Vec<Option<u16>> = part
        .split('-')
        .filter(|group| !group.is_empty())
        .map(|group| u16::from_str_radix(group, 16).ok())
        .collect();
    let mut windows = groups.windows(GROUPS_MIN);
    windows.any(|window| {
        let segments = address.segments();
        let mut wanted = segments.windows(GROUPS_MIN);
        wanted.any(|wanted| {
            wanted.iter().any(|group| *group != 0)
                && window
                    .iter()
                    .zip(wanted)
                    .all(|(is, group)| *is == Some(*group))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::dns::testing::ip;
    use proptest::prelude::*;

    #[test]
    fn names_that_look_generated() {
        use Generic::{Address, Word};
        for (name, address, why) in [
            ("h-192-0-2-7.example.net", "192.0.2.7", Some(Address)),
            ("7.2.0.192.rev.example.net", "192.0.2.7", Some(Address)),
            ("192.0.2.7.example.net", "192.0.2.7", Some(Address)),
            ("ip192-0-2.static.example.net", "192.0.2.7", Some(Address)),
            (
                "pool-192.000.002.007.example.net",
                "192.0.2.7",
                Some(Address),
            ),
            ("x192000002007.example.net", "192.0.2.7", Some(Address)),
            ("C0000207.cust.example.net", "192.0.2.7", Some(Address)),
            ("070200c0.example.net", "192.0.2.7", Some(Address)),
            ("h-30-244.example.net", "192.0.30.244", Some(Address)),
            ("h-244-30.example.net", "192.0.30.244", Some(Address)),
            ("1-2-3-4.example", "1.2.3.4", Some(Address)),
            ("mx2-7.example.net", "192.0.2.7", None),
            ("mx7.example.net", "192.0.2.7", None),
            ("a-198-51-100-9.example.net", "192.0.2.7", None),
            ("adsl-1.example.net", "192.0.2.7", Some(Word("adsl"))),
            (
                "12ab.Dynamic.example.net",
                "192.0.2.7",
                Some(Word("dynamic")),
            ),
            ("dyn12.example.net", "192.0.2.7", Some(Word("dyn"))),
            ("dsl-static-9.example.net", "192.0.2.7", None),
            ("mail.dsl.net", "192.0.2.7", None),
            ("mail.dynamics.example.net", "192.0.2.7", None),
            ("mail.example.net", "192.0.2.7", None),
            ("localhost", "192.0.2.7", None),
            ("", "192.0.2.7", None),
            (
                "2001-db8-1-2-3-4-5-6.example.net",
                "2001:db8:1:2:3:4:5:6",
                Some(Address),
            ),
            (
                "p20010db8000100020003000400050006.example.net",
                "2001:db8:1:2:3:4:5:6",
                Some(Address),
            ),
            (
                "6.0.0.0.5.0.0.0.4.0.0.0.3.0.0.0.example.net",
                "2001:db8:1:2:3:4:5:6",
                Some(Address),
            ),
            ("mx1.example.net", "2001:db8::1", None),
            ("mail.example.net", "2001:db8::1", None),
        ] {
            assert_eq!(of(name, ip(address)), why, "{name} {address}");
        }
    }

    proptest! {
        #[test]
        fn no_name_panics(name in "\\PC{0,60}|[0-9a-f.-]{0,300}", bits: u128, v4: u32) {
            let _ = of(&name, Ipv6Addr::from_bits(bits).into());
            let _ = of(&name, Ipv4Addr::from_bits(v4).into());
        }

        #[test]
        fn an_address_in_a_name_is_found(v4: u32) {
            let [a, b, c, d] = Ipv4Addr::from_bits(v4).octets();
            let name = format!("x{a}-{b}-{c}-{d}.example.net");
            prop_assert_eq!(of(&name, Ipv4Addr::from_bits(v4).into()), Some(Generic::Address));
        }
    }
}
