//! One term of a record (RFC 7208 sections 4.6.1, 5, 6 and 12): a directive, or a modifier.

use super::{ResultCode, macros};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why a term is none.
pub(super) type Fault = &'static str;

/// One term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Term<'a> {
    /// A mechanism, and the result if it matches.
    Directive(ResultCode, Mechanism<'a>),
    /// `redirect=`, with its domain-spec.
    Redirect(&'a [u8]),
    /// `exp=`, with its domain-spec.
    Explanation(&'a [u8]),
    /// Any other modifier: it is ignored (section 6).
    UnknownModifier,
}

/// One mechanism (section 5). A domain-spec of `None` is the domain of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism<'a> {
    /// `all`.
    All,
    /// `include`.
    Include(&'a [u8]),
    /// `a`.
    A(Option<&'a [u8]>, Prefixes),
    /// `mx`.
    Mx(Option<&'a [u8]>, Prefixes),
    /// `ptr`.
    Ptr(Option<&'a [u8]>),
    /// `ip4` or `ip6`: the network, and the length of its prefix.
    Ip(IpAddr, u8),
    /// `exists`.
    Exists(&'a [u8]),
}

impl Mechanism<'_> {
    /// Whether it matches; `None` where the DNS has to be asked.
    pub(super) fn matches_alone(&self, client_ip: IpAddr) -> Option<bool> {
        match *self {
            Mechanism::All => Some(true),
            Mechanism::Ip(network, bits) => Some(contains(network, bits, client_ip)),
            _ => None,
        }
    }
}

/// How many leading bits of an address count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefixes {
    v4: u8,
    v6: u8,
}

impl Prefixes {
    /// Whether the addresses are in one network.
    pub(super) fn contain(self, network: IpAddr, address: IpAddr) -> bool {
        let bits = match network {
            IpAddr::V4(_) => self.v4,
            IpAddr::V6(_) => self.v6,
        };
        contains(network, bits, address)
    }
}

/// Whether the address is in the network. One of IPv4 is never in one of IPv6 (section 5).
fn contains(network: IpAddr, bits: u8, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let differs = network.to_bits() ^ address.to_bits();
            u32::from(bits) <= differs.leading_zeros()
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let differs = network.to_bits() ^ address.to_bits();
            u32::from(bits) <= differs.leading_zeros()
        }
        _ => false,
    }
}

/// Reads a term, which has no spaces and is not empty.
pub(super) fn parse(term: &[u8]) -> Result<Term<'_>, Fault> {
    let delimiter = term.iter().position(|octet| b"=:/".contains(octet));
    if let Some(equals) = delimiter.filter(|at| term[*at] == b'=') {
        return modifier(&term[..equals], &term[equals + 1..]);
    }
    let (code, rest) = match term.split_first() {
        Some((b'+', rest)) => (ResultCode::Pass, rest),
        Some((b'-', rest)) => (ResultCode::Fail, rest),
        Some((b'~', rest)) => (ResultCode::SoftFail, rest),
        Some((b'?', rest)) => (ResultCode::Neutral, rest),
        _ => (ResultCode::Pass, term),
    };
    let end = rest.iter().position(|octet| b":/".contains(octet));
    let (name, argument) = rest.split_at(end.unwrap_or(rest.len()));
    Ok(Term::Directive(code, mechanism(name, argument)?))
}

fn modifier<'a>(name: &[u8], value: &'a [u8]) -> Result<Term<'a>, Fault> {
    let is_inner = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_.".contains(octet);
    let starts = name.first().is_some_and(u8::is_ascii_alphabetic);
    if !starts || !name.iter().all(is_inner) {
        return Err("no valid modifier");
    }
    if name.eq_ignore_ascii_case(b"redirect") {
        macros::check_domain_spec(value)?;
        Ok(Term::Redirect(value))
    } else if name.eq_ignore_ascii_case(b"exp") {
        macros::check_domain_spec(value)?;
        Ok(Term::Explanation(value))
    } else {
        macros::check(value, false)?;
        Ok(Term::UnknownModifier)
    }
}

/// The argument begins with `:` or `/`, or is empty.
fn mechanism<'a>(name: &[u8], argument: &'a [u8]) -> Result<Mechanism<'a>, Fault> {
    let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
    if is("ip4") {
        let (address, bits) = network(argument, 32)?;
        let address: Ipv4Addr = address.parse().map_err(|_| "no valid IPv4 address")?;
        return Ok(Mechanism::Ip(address.into(), bits));
    }
    if is("all") {
        return match argument {
            [] => Ok(Mechanism::All),
            _ => Err("an argument of all"),
        };
    }
    if is("include") {
        return Ok(Mechanism::Include(domain_spec(argument)?));
    }
    if is("exists") {
        return Ok(Mechanism::Exists(domain_spec(argument)?));
    }
    if is("ptr") {
        return Ok(Mechanism::Ptr(optional_domain_spec(argument)?));
    }
    if is("ip6") {
        let (address, bits) = network(argument, 128)?;
        let address: Ipv6Addr = address.parse().map_err(|_| "no valid IPv6 address")?;
        return Ok(Mechanism::Ip(address.into(), bits));
    }
    if is("a") || is("mx") {
        let (argument, prefixes) = dual_cidr(argument)?;
        let spec = optional_domain_spec(argument)?;
        return Ok(match is("a") {
            true => Mechanism::A(spec, prefixes),
            false => Mechanism::Mx(spec, prefixes),
        });
    }
    Err("an unknown mechanism")
}

fn domain_spec(argument: &[u8]) -> Result<&[u8], Fault> {
    let spec = argument.strip_prefix(b":").ok_or("no domain")?;
    macros::check_domain_spec(spec)?;
    Ok(spec)
}

fn optional_domain_spec(argument: &[u8]) -> Result<Option<&[u8]>, Fault> {
    match argument {
        [] => Ok(None),
        _ => domain_spec(argument).map(Some),
    }
}

/// The address and the prefix length of `ip4` and `ip6`.
fn network(argument: &[u8], bits_max: u8) -> Result<(&str, u8), Fault> {
    let argument = argument.strip_prefix(b":").ok_or("no address")?;
    let text = str::from_utf8(argument).map_err(|_| "no valid address")?;
    match text.split_once('/') {
        Some((address, bits)) => Ok((address, prefix_length(bits.as_bytes(), bits_max)?)),
        None => Ok((text, bits_max)),
    }
}

/// Takes `/24`, `//64` or `/24//64` from the end. A domain-spec may hold slashes too, but can't end in one and digits.
fn dual_cidr(argument: &[u8]) -> Result<(&[u8], Prefixes), Fault> {
    let mut prefixes = Prefixes { v4: 32, v6: 128 };
    let Some((before, digits)) = take_length(argument) else {
        return Ok((argument, prefixes));
    };
    let Some(before) = before.strip_suffix(b"/") else {
        prefixes.v4 = prefix_length(digits, 32)?;
        return Ok((before, prefixes));
    };
    prefixes.v6 = prefix_length(digits, 128)?;
    let Some((before, digits)) = take_length(before) else {
        return Ok((before, prefixes));
    };
    prefixes.v4 = prefix_length(digits, 32)?;
    Ok((before, prefixes))
}

/// What is before the last slash, and the digits after it.
fn take_length(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = text.iter().rposition(|octet| *octet == b'/')?;
    let digits = &text[slash + 1..];
    let are_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    are_digits.then_some((&text[..slash], digits))
}

/// A number without leading zeros (section 12).
fn prefix_length(digits: &[u8], bits_max: u8) -> Result<u8, Fault> {
    const FAULT: Fault = "no valid prefix length";
    let fits = matches!(digits, [b'0'] | [b'1'..=b'9', ..]) && digits.len() <= 3;
    if !fits || !digits.iter().all(u8::is_ascii_digit) {
        return Err(FAULT);
    }
    let bits = digits
        .iter()
        .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    let bits = u8::try_from(bits).map_err(|_| FAULT)?;
    (bits <= bits_max).then_some(bits).ok_or(FAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_that_are_right() {
        use Mechanism::{A, All, Exists, Include, Ip, Mx, Ptr};
        let none = Prefixes { v4: 32, v6: 128 };
        let prefixes = |v4, v6| Prefixes { v4, v6 };
        let ip = |text: &str| text.parse().expect("an address");
        for (term, mechanism) in [
            ("ALL", All),
            ("a", A(None, none)),
            ("A/24", A(None, prefixes(24, 128))),
            ("a//64", A(None, prefixes(32, 64))),
            ("a/24//64", A(None, prefixes(24, 64))),
            ("a:%{d2/}.b/0", A(Some(b"%{d2/}.b"), prefixes(0, 128))),
            (
                "mx:f:b/z.example/8//0",
                Mx(Some(b"f:b/z.example"), prefixes(8, 0)),
            ),
            ("ptr", Ptr(None)),
            ("ptr:%{d}", Ptr(Some(b"%{d}"))),
            ("include:a=b.example", Include(b"a=b.example")),
            ("exists:%{ir}.b.example", Exists(b"%{ir}.b.example")),
            ("ip4:192.0.2.0/24", Ip(ip("192.0.2.0"), 24)),
            ("ip6:2001:db8::", Ip(ip("2001:db8::"), 128)),
            ("ip6:::1.2.3.4/96", Ip(ip("::1.2.3.4"), 96)),
        ] {
            let seen = parse(term.as_bytes());
            assert_eq!(seen, Ok(Term::Directive(ResultCode::Pass, mechanism)));
        }
        for (term, code) in [
            ("+all", ResultCode::Pass),
            ("-all", ResultCode::Fail),
            ("~all", ResultCode::SoftFail),
            ("?all", ResultCode::Neutral),
        ] {
            let seen = parse(term.as_bytes());
            assert_eq!(seen, Ok(Term::Directive(code, All)));
        }
        assert_eq!(parse(b"Redirect=%{d}"), Ok(Term::Redirect(b"%{d}")));
        assert_eq!(parse(b"exp=a.b"), Ok(Term::Explanation(b"a.b")));
        for term in ["x=", "moo.cow-far_out=man:dog/cat", "ra=100", "rp=%{c}"] {
            assert_eq!(parse(term.as_bytes()), Ok(Term::UnknownModifier));
        }
    }

    #[test]
    fn terms_that_are_wrong() {
        for term in [
            "-",
            "--all",
            "all:",
            "all/8",
            "all.",
            "a:",
            "a/",
            "a//",
            "a/33",
            "a//129",
            "a/024",
            "a/24/64",
            "a/24//",
            "a///64",
            "a:/24",
            "a:b",
            "a:b.1",
            "a:b.c:25",
            "a:b.c/8/8",
            "a/999",
            "a/1000",
            "a:\u{e9}.b",
            "mx:",
            "ptr/8",
            "ptr:",
            "include",
            "include:",
            "include:a.b/8",
            "exists",
            "ip4",
            "ip4:",
            "ip4:1.2.3",
            "ip4:1.2.3.4:25",
            "ip4:01.2.3.4",
            "ip4:1.2.3.4//32",
            "ip4:1.2.3.4/",
            "ip4:1.2.3.4/+8",
            "ip6",
            "ip6:1.2.3.4",
            "ip6::CAFE::BABE",
            "ip6:::1//33",
            "ip6:fe80::1%eth0",
            "=all",
            "1up=x",
            "+exp=a.b",
            "redirect:a.b",
            "redirect=",
            "exp=",
            "exp=-all",
            "x=%",
            "x=a\tb",
            "moo",
            "a:%{c}.b",
            "redirect=%{t}",
            "x=%{y}",
            "moo.cow/far=out",
            "ip4/8",
        ] {
            assert!(parse(term.as_bytes()).is_err(), "{term}");
        }
    }

    #[test]
    fn networks_of_each_length() {
        let ip = |text: &str| -> IpAddr { text.parse().expect("an address") };
        let (a, b) = (ip("192.0.2.1"), ip("192.0.2.3"));
        assert!(contains(a, 30, b) && !contains(a, 31, b) && contains(a, 32, a));
        assert!(contains(a, 0, ip("1.2.3.4")) && !contains(ip("::"), 0, a));
        let (a, b) = (ip("cafe:8000::"), ip("cafe:ffff::1"));
        assert!(contains(a, 17, b) && !contains(a, 18, b) && contains(a, 128, a));
    }
}
