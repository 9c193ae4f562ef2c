//! What a list answers: return codes, filters on them, and the codes that mean "something is wrong".
//!
//! A filter is written in one of these forms:
//!
//! | form | matches |
//! |---|---|
//! | `127.0.0.2` | this code |
//! | `127.0.0.2-11` | an octet as a range |
//! | `127.0.[0;2].[1;3;5..9]` | postscreen's form: numbers and ranges, for each octet |
//! | `127.0.0.2-127.0.0.11` | from one address to another |
//! | `127.0.0.4/30` | a network |
//! | `bits:8`, `bits:0x18` | codes of 127/8 that have one of these bits: lists that put several lists into one (SURBL, URIBL) |

use std::{fmt, net::Ipv4Addr};

/// Octets of a filter as written.
pub const FILTER_MAX: usize = 256;
/// Values lie in 127.0.0.0/8 (RFC 5782 section 2.1).
const LOOPBACK: u8 = 127;

/// A filter on return codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Codes {
    /// Every code of 127/8.
    Any,
    /// A set of values for each octet.
    Octets(Box<[Octets; 4]>),
    /// From the first to the last, both included.
    Span(Ipv4Addr, Ipv4Addr),
    /// One of these bits is set.
    Bits(u32),
}

/// A set of octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Octets([u64; 4]);

impl Octets {
    fn add(&mut self, octet: u8) {
        self.0[usize::from(octet >> 6)] |= 1 << (octet & 63);
    }

    fn contains(&self, octet: u8) -> bool {
        self.0[usize::from(octet >> 6)] >> (octet & 63) & 1 == 1
    }

    fn only(&self, octet: u8) -> bool {
        self.contains(octet) && self.0.iter().map(|word| word.count_ones()).sum::<u32>() == 1
    }
}

impl Codes {
    /// Whether the filter matches.
    #[must_use]
    pub fn contains(&self, code: Ipv4Addr) -> bool {
        let octets = code.octets();
        octets[0] == LOOPBACK
            && match self {
                Codes::Any => true,
                Codes::Octets(sets) => sets.iter().zip(octets).all(|(set, o)| set.contains(o)),
                Codes::Span(first, last) => (*first..=*last).contains(&code),
                Codes::Bits(bits) => code.to_bits() & bits != 0,
            }
    }

    /// Reads a filter of return codes that mean "listed".
    ///
    /// # Errors
    /// In words, if it is none, or could only match what is never a listing ([`ListError`]).
    pub fn parse(text: &str) -> Result<Codes, String> {
        let codes = Codes::parse_any(text)?;
        match codes.is_error_only() {
            true => Err(format!(
                "{text:?}: 127.0.0.1 and 127.255.255.0/24 are error codes, never a listing"
            )),
            false => Ok(codes),
        }
    }

    /// Reads a filter of return codes, of errors too.
    ///
    /// # Errors
    /// In words, if it is none.
    pub fn parse_any(text: &str) -> Result<Codes, String> {
        if text.len() > FILTER_MAX {
            return Err(format!(
                "a filter of codes has at most {FILTER_MAX} characters"
            ));
        }
        let codes = if let Some(bits) = text.strip_prefix("bits:") {
            bits_of(bits)
        } else if let Some((network, length)) = text.split_once('/') {
            network_of(network, length)
        } else {
            match text.split_once('-').map(|(a, b)| (a.parse(), b.parse())) {
                Some((Ok(first), Ok(last))) => span_of(first, last),
                _ => octets_of(text),
            }
        };
        codes.map_err(|why| format!("{text:?}: {why}"))
    }

    fn is_error_only(&self) -> bool {
        match self {
            Codes::Any | Codes::Bits(_) => false,
            Codes::Span(first, last) => first == last && *first == REFUSED || in_error_net(*first),
            Codes::Octets(sets) => {
                sets[1].only(255) && sets[2].only(255)
                    || sets[1].only(0) && sets[2].only(0) && sets[3].only(1)
            }
        }
    }
}

fn bits_of(text: &str) -> Result<Codes, String> {
    let bits = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    match bits {
        Some(bits @ 1..=0xff_ffff) if !text.starts_with('+') => Ok(Codes::Bits(bits)),
        _ => Err("the bits are a number of 1 to 16777215, or 0x1 to 0xffffff".into()),
    }
}

fn network_of(network: &str, length: &str) -> Result<Codes, String> {
    let address: Ipv4Addr = network
        .parse()
        .map_err(|_| format!("{network:?} is not an IPv4 address"))?;
    let length = match length.parse::<u32>() {
        Ok(value @ 0..=32) if length == value.to_string() => value,
        _ => return Err(format!("{length:?} is not a prefix length of 0 to 32")),
    };
    let host_bits = u32::MAX.checked_shr(length).unwrap_or(0);
    let start = Ipv4Addr::from_bits(address.to_bits() & !host_bits);
    if start != address {
        return Err(format!("the network is written {start}/{length}"));
    }
    span_of(start, Ipv4Addr::from_bits(start.to_bits() | host_bits))
}

fn span_of(first: Ipv4Addr, last: Ipv4Addr) -> Result<Codes, String> {
    if first > last {
        return Err(format!("the range runs backwards: {first} is above {last}"));
    }
    if [first, last].iter().any(|end| end.octets()[0] != LOOPBACK) {
        return Err(NOT_LOOPBACK.into());
    }
    Ok(Codes::Span(first, last))
}

const NOT_LOOPBACK: &str = "return codes lie in 127.0.0.0/8";

fn octets_of(text: &str) -> Result<Codes, String> {
    let mut sets = Box::new([Octets::default(); 4]);
    let mut parts = 0;
    let mut rest = Some(text);
    while let Some(from) = rest {
        // Dots inside of brackets are ranges.
        let (part, after) = match from.strip_prefix('[') {
            Some(inner) => {
                let (inner, after) = inner
                    .split_once(']')
                    .ok_or("a bracket is not closed".to_string())?;
                match after.strip_prefix('.') {
                    Some(after) => (inner, Some(after)),
                    None if after.is_empty() => (inner, None),
                    None => return Err("after a bracket comes a dot".into()),
                }
            }
            None => match from.split_once('.') {
                Some((part, after)) => (part, Some(after)),
                None => (from, None),
            },
        };
        let set = sets
            .get_mut(parts)
            .ok_or("a code has four octets, and here are more".to_string())?;
        *set = set_of(part)?;
        parts += 1;
        rest = after;
    }
    match parts {
        4 if sets[0].only(LOOPBACK) => Ok(Codes::Octets(sets)),
        4 => Err(NOT_LOOPBACK.into()),
        _ => Err(format!("a code has four octets, and here are {parts}")),
    }
}

/// `1;3;5..9`.
fn set_of(text: &str) -> Result<Octets, String> {
    let mut set = Octets::default();
    for item in text.split([';', ',']) {
        let item = item.trim();
        let (first, last) = match item.split_once("..").or_else(|| item.split_once('-')) {
            Some((first, last)) => (octet(first)?, octet(last)?),
            None => (octet(item)?, octet(item)?),
        };
        if first > last {
            return Err(format!("the range {item:?} runs backwards"));
        }
        (first..=last).for_each(|octet| set.add(octet));
    }
    Ok(set)
}

fn octet(text: &str) -> Result<u8, String> {
    let plain = text.bytes().all(|octet| octet.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'));
    match text.parse() {
        Ok(octet) if plain => Ok(octet),
        _ => Err(format!("{text:?} is not an octet of 0 to 255")),
    }
}

const REFUSED: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn in_error_net(code: Ipv4Addr) -> bool {
    code.octets()[..3] == [LOOPBACK, 255, 255]
}

/// An answer that is no listing: the list, or the way to it, is not in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListError {
    /// Outside of 127/8: a domain that was given up, or a resolver that puts its own answers in (RFC 5782 section 5).
    Outside(Ipv4Addr),
    /// 127.0.0.1: URIBL and SURBL say so to resolvers that they refuse; no list lists by it (RFC 5782 section 5).
    Refused,
    /// 127.255.255.252: the zone's name is mistyped.
    ZoneName,
    /// 127.255.255.254: the question came by a public resolver.
    PublicResolver,
    /// 127.255.255.255: too many questions.
    OverQuota,
    /// Others of 127.255.255.0/24: keys that are not valid, and what comes later.
    Other(Ipv4Addr),
    /// 127.0.1.255: a list of names was asked for an address.
    AddressAsked,
    /// 127.0.0.255: an allow list refuses the resolver (dnswl.org).
    AllowRefused,
    /// One that the configuration calls an error.
    Declared(Ipv4Addr),
}

impl ListError {
    /// What a code means that is never a listing, whatever the list.
    #[must_use]
    pub fn of(code: Ipv4Addr) -> Option<ListError> {
        match code.octets() {
            [127, 0, 0, 1] => Some(ListError::Refused),
            [127, 255, 255, 252] => Some(ListError::ZoneName),
            [127, 255, 255, 254] => Some(ListError::PublicResolver),
            [127, 255, 255, 255] => Some(ListError::OverQuota),
            [127, 255, 255, _] => Some(ListError::Other(code)),
            [127, ..] => None,
            _ => Some(ListError::Outside(code)),
        }
    }
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListError::Outside(code) => write!(
                f,
                "answers {code}, outside of 127.0.0.0/8: no list answers so, perhaps the zone is gone"
            ),
            ListError::Refused => f.write_str("answers 127.0.0.1: it refuses this resolver"),
            ListError::ZoneName => {
                f.write_str("answers 127.255.255.252: the zone's name is mistyped")
            }
            ListError::PublicResolver => {
                f.write_str("answers 127.255.255.254: it refuses public resolvers")
            }
            ListError::OverQuota => f.write_str("answers 127.255.255.255: over its quota"),
            ListError::Other(code) => write!(f, "answers {code}, an error code"),
            ListError::AddressAsked => {
                f.write_str("answers 127.0.1.255: it is a list of names, not of addresses")
            }
            ListError::AllowRefused => {
                f.write_str("answers 127.0.0.255: it refuses this resolver, or over its quota")
            }
            ListError::Declared(code) => write!(f, "answers {code}, which is set as an error"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn code(text: &str) -> Ipv4Addr {
        text.parse().expect("an address")
    }

    #[test]
    fn filters_and_what_they_match() {
        for (filter, yes, no) in [
            ("127.0.0.2", "127.0.0.2", "127.0.0.3"),
            (
                "127.0.0.2-11",
                "127.0.0.2 127.0.0.11",
                "127.0.0.1 127.0.0.12 127.0.1.5",
            ),
            (
                "127.0.0.[2..11]",
                "127.0.0.2 127.0.0.11",
                "127.0.0.1 127.0.0.12",
            ),
            (
                "127.0.0.[1;3;5..9]",
                "127.0.0.3 127.0.0.7",
                "127.0.0.2 127.0.0.4 127.0.0.10",
            ),
            (
                "127.[0..1].0-3.[4]",
                "127.1.3.4 127.0.0.4",
                "127.2.0.4 127.0.4.4 127.0.0.5",
            ),
            ("127.0.[0..255].3", "127.0.5.3 127.0.255.3", "127.0.5.2"),
            (
                "127.0.0.2-127.0.1.5",
                "127.0.0.255 127.0.1.5",
                "127.0.1.6 127.0.0.1",
            ),
            ("127.0.0.4/30", "127.0.0.4 127.0.0.7", "127.0.0.3 127.0.0.8"),
            (
                "127.0.0.0/8",
                "127.0.0.2 127.9.9.9",
                "126.255.255.255 128.0.0.0",
            ),
            ("127.0.0.2/32", "127.0.0.2", "127.0.0.3"),
            (
                "bits:8",
                "127.0.0.8 127.0.0.12 127.0.0.72",
                "127.0.0.4 8.8.8.8",
            ),
            ("bits:0x18", "127.0.0.16 127.0.0.8", "127.0.0.4"),
        ] {
            let filter = Codes::parse(filter).expect(filter);
            for text in yes.split(' ') {
                assert!(filter.contains(code(text)), "{filter:?} {text}");
            }
            for text in no.split(' ') {
                assert!(!filter.contains(code(text)), "{filter:?} {text}");
            }
        }
        assert!(Codes::Any.contains(code("127.3.2.1")) && !Codes::Any.contains(code("10.0.0.2")));
    }

    #[test]
    fn filters_that_are_none() {
        for (filter, why) in [
            ("", "\"\" is not an octet"),
            ("2", "\"2\" is not"),
            ("127.0.0", "four octets, and here are 3"),
            ("127.0.0.2.3", "here are more"),
            ("127.0.0.256", "\"256\" is not an octet"),
            ("127.0.0.02", "\"02\" is not an octet"),
            ("127.0.0.+2", "\"+2\" is not an octet"),
            ("127.0.0.-2", "\"\" is not an octet"),
            ("127.0.0.11-2", "\"11-2\" runs backwards"),
            ("127.0.0.[11..2]", "runs backwards"),
            ("127.0.0.[2..11", "not closed"),
            ("127.0.0.[2]3", "after a bracket comes a dot"),
            ("127.0.0.[]", "\"\" is not an octet"),
            ("127.0.0.[2;]", "\"\" is not an octet"),
            ("127.0.0.*", "\"*\" is not an octet"),
            ("127.0.0.2-", "\"\" is not an octet"),
            ("127.0.0.9-127.0.0.2", "backwards"),
            ("127.0.0.2-128.0.0.1", "lie in 127.0.0.0/8"),
            ("10.0.0.2", "lie in 127.0.0.0/8"),
            ("[126..127].0.0.2", "lie in 127.0.0.0/8"),
            ("10.0.0.0/8", "lie in 127.0.0.0/8"),
            ("0.0.0.0/0", "lie in 127.0.0.0/8"),
            ("127.0.0.5/30", "is written 127.0.0.4/30"),
            ("127.0.0.4/33", "\"33\" is not a prefix length"),
            ("127.0.0/24", "is not an IPv4 address"),
            ("127.0.0.4/", "\"\" is not a prefix length"),
            ("bits:0", "number of 1"),
            ("bits:x", "number of 1"),
            ("bits:99999999999", "number of 1"),
            ("127.0.0.1", "never a listing"),
            ("127.255.255.254", "never a listing"),
            ("127.255.255.[250..255]", "never a listing"),
            ("127.255.255.0/24", "never a listing"),
            ("::1", "is not an octet"),
            ("\u{661}.0.0.2", "is not an octet"),
        ] {
            let told = Codes::parse(filter).expect_err(filter);
            assert!(
                told.contains(why) || (filter == "2" && told.contains("here are 1")),
                "{filter}: {told}"
            );
        }
    }

    #[test]
    fn errors_have_names() {
        for (answer, words) in [
            ("203.0.113.9", "answers 203.0.113.9, outside of 127.0.0.0/8"),
            ("0.0.0.0", "outside"),
            ("127.0.0.1", "refuses this resolver"),
            ("127.255.255.252", "mistyped"),
            ("127.255.255.254", "public resolvers"),
            ("127.255.255.255", "quota"),
            ("127.255.255.250", "answers 127.255.255.250, an error code"),
            ("127.255.255.0", "an error code"),
        ] {
            let error = ListError::of(code(answer)).expect(answer);
            assert!(error.to_string().contains(words), "{error}");
        }
        for listing in ["127.0.0.2", "127.0.0.0", "127.255.254.255", "127.0.1.255"] {
            assert_eq!(ListError::of(code(listing)), None);
        }
    }

    proptest! {
        #[test]
        fn no_filter_panics(text in "\\PC{0,40}|[0-9.;\\[\\]/-]{0,40}|bits:[0-9a-fx]{0,9}", any: u32) {
            if let Ok(filter) = Codes::parse(&text) {
                let any = Ipv4Addr::from_bits(any);
                prop_assert!(!filter.contains(any) || any.octets()[0] == 127);
            }
        }

        #[test]
        fn ranges_are_what_they_say(a: u8, b: u8, other: u8) {
            let (first, last) = (a.min(b), a.max(b));
            let Ok(filter) = Codes::parse(&format!("127.0.1.[{first}..{last}]")) else {
                panic!("a range");
            };
            prop_assert_eq!(
                filter.contains(Ipv4Addr::new(127, 0, 1, other)),
                (first..=last).contains(&other)
            );
        }
    }
}
