//! Names to ask for, of text that strangers wrote.
//!
//! Any printable ASCII may be in a label: a domain-spec may hold `:`, `/` and, by its macros, spaces (RFC 7208
//! section 7.1). Names without a dot are never asked for: a resolver might complete them from its search list.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

/// Octets of a name without its last dot (RFC 1035 section 2.3.4, RFC 7208 section 7.3).
pub(super) const NAME_OCTETS_MAX: usize = 253;
const LABEL_OCTETS_MAX: usize = 63;

/// The name that an expanded domain-spec or a record gives; `None` where it can't be one. A longer text loses labels at
/// its left until it fits (RFC 7208 section 7.3).
pub(super) fn of_target(text: &[u8]) -> Option<Arc<str>> {
    let mut text = text.strip_suffix(b".").unwrap_or(text);
    while text.len() > NAME_OCTETS_MAX {
        let dot = text.iter().position(|octet| *octet == b'.')?;
        text = &text[dot + 1..];
    }
    let mut lower = [0; NAME_OCTETS_MAX];
    let lower = &mut lower[..text.len()];
    lower.copy_from_slice(text);
    lower.make_ascii_lowercase();
    let mut labels = 0;
    for label in lower.split(|octet| *octet == b'.') {
        let fits = (1..=LABEL_OCTETS_MAX).contains(&label.len());
        if !fits || !label.iter().all(|octet| matches!(octet, b' '..=b'~')) {
            return None;
        }
        labels += 1;
    }
    let name = str::from_utf8(lower).ok()?;
    (labels > 1).then(|| Arc::from(name))
}

/// The domain of a sender or a HELO name, where it can have a record: no address, no name of one label (RFC 7208
/// section 4.3).
pub(super) fn of_sender(domain: &[u8]) -> Option<Arc<str>> {
    if domain.len() > NAME_OCTETS_MAX + 1 || !domain.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    let name = of_target(domain)?;
    let top = name.rsplit('.').next()?;
    let is_number = top.bytes().all(|octet| octet.is_ascii_digit());
    (!is_number && !name.starts_with('[')).then_some(name)
}

/// The name of a record. Most are in the right form already, and then share their text.
pub(super) fn of_record(name: &Arc<str>) -> Option<Arc<str>> {
    let of_target = of_target(name.as_bytes())?;
    Some(match of_target == *name {
        true => Arc::clone(name),
        false => of_target,
    })
}

/// Whether the name is the domain or one below it.
pub(super) fn is_within(name: &str, domain: &str) -> bool {
    let (name, domain) = (name.as_bytes(), domain.as_bytes());
    let Some(start) = name.len().checked_sub(domain.len()) else {
        return false;
    };
    name[start..].eq_ignore_ascii_case(domain) && (start == 0 || name[start - 1] == b'.')
}

/// The name that holds the names of an address (RFC 1035 section 3.5, RFC 3596 section 2.5).
pub(super) fn of_address(address: IpAddr) -> Arc<str> {
    let mut name = String::with_capacity(72);
    // Writing to a string can't fail.
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            let _ = write!(name, "{d}.{c}.{b}.{a}.in-addr.arpa");
        }
        IpAddr::V6(address) => {
            for octet in address.octets().iter().rev() {
                let _ = write!(name, "{:x}.{:x}.", octet & 15, octet >> 4);
            }
            name.push_str("ip6.arpa");
        }
    }
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_can_be_asked_for() {
        let long = format!("{}example.com", "abc.".repeat(80));
        for (text, name) in [
            ("A.Example.", Some("a.example")),
            ("foo:bar/baz.example.com", Some("foo:bar/baz.example.com")),
            ("a b.example", Some("a b.example")),
            ("a..example", None),
            (".example.com", None),
            ("a.example..", None),
            ("localhost", None),
            ("", None),
            (".", None),
            ("ü.example", None),
            ("a\0.example", None),
        ] {
            assert_eq!(of_target(text.as_bytes()).as_deref(), name, "{text}");
        }
        let cut = of_target(long.as_bytes()).expect("labels can go");
        assert!(cut.len() > NAME_OCTETS_MAX - 4 && cut.len() <= NAME_OCTETS_MAX);
        assert!(long.ends_with(&*cut) && cut.starts_with("abc."));
        assert_eq!(of_target("a".repeat(300).as_bytes()), None);
        assert!(of_target(format!("{}.b", "a".repeat(63)).as_bytes()).is_some());
        assert!(of_target(format!("{}.b", "a".repeat(64)).as_bytes()).is_none());
    }

    #[test]
    fn domains_that_can_have_a_record() {
        for (domain, can) in [
            ("a.example", true),
            ("_x.a.example", true),
            ("[192.0.2.1]", false),
            ("192.0.2.1", false),
            ("a b.example", false),
            ("example", false),
        ] {
            assert_eq!(of_sender(domain.as_bytes()).is_some(), can, "{domain}");
        }
        let long = format!("{}example.com", "abc.".repeat(80));
        assert_eq!(of_sender(long.as_bytes()), None, "not cut: section 4.3");
    }

    #[test]
    fn names_within_a_domain() {
        assert!(is_within("a.Example", "a.example") && is_within("b.a.example", "a.example"));
        assert!(!is_within("ba.example", "a.example") && !is_within("example", "a.example"));
    }

    #[test]
    fn names_of_addresses() {
        let name = |text: &str| of_address(text.parse().expect("an address"));
        assert_eq!(&*name("192.0.2.3"), "3.2.0.192.in-addr.arpa");
        assert_eq!(
            &*name("2001:db8::cb01"),
            "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
        );
    }
}
