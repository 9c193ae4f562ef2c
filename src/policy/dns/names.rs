//! Domain names in the form of a question, and addresses written backwards as names.

use crate::{
    decimal::push_decimal,
    dns::{Question, RecordType},
};
use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

/// Octets of a name in text form (RFC 1035 section 2.3.4: 255 on the wire).
pub const NAME_MAX: usize = 253;
/// Octets of a label (RFC 1035 section 2.3.4).
pub const LABEL_MAX: usize = 63;
/// Octets of the longest reversed address with its dot: 32 nibbles (RFC 5782 section 2.4).
pub const REVERSED_MAX: usize = 64;
/// The same of an IPv4 address.
const REVERSED_V4_MAX: usize = 16;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// The name in the form that [`Question::name`] has, where it is a host name that can be asked for.
///
/// As Postfix's `valid_hostname`: letters, digits, hyphens inside of labels, and underscores, which RFC 1123 section 2.1
/// forbids and real clients have. The last label is not a number, for that would be an address. Names in UTF-8
/// must have been turned into A-labels before (RFC 5891); here they are invalid.
#[must_use]
pub fn host(name: &[u8]) -> Option<Arc<str>> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let text = std::str::from_utf8(name).ok()?;
    is_host(text).then(|| Arc::from(text.to_ascii_lowercase()))
}

/// The same of a name that a record holds; mostly it is in that form already, and shared.
#[must_use]
pub fn host_in(name: &Arc<str>) -> Option<Arc<str>> {
    match is_host(name) && !name.bytes().any(|octet| octet.is_ascii_uppercase()) {
        true => Some(name.clone()),
        false => host(name.as_bytes()),
    }
}

/// Whether `name`, without a dot at its end, is a host name.
#[must_use]
pub fn is_host(name: &str) -> bool {
    // By octets: each connection has several names looked at, and to search for a character costs more than to look at it.
    let mut last: &[u8] = &[];
    let mut labels = name.as_bytes().split(|octet| *octet == b'.');
    (1..=NAME_MAX).contains(&name.len())
        && labels.all(|label| {
            last = label;
            is_label_of(label)
        })
        && !last.iter().all(u8::is_ascii_digit)
}

/// Whether this is one label of a host name.
#[must_use]
pub fn is_label(label: &str) -> bool {
    is_label_of(label.as_bytes())
}

fn is_label_of(label: &[u8]) -> bool {
    (1..=LABEL_MAX).contains(&label.len())
        && label.first() != Some(&b'-')
        && label.last() != Some(&b'-')
        && label
            .iter()
            .all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
}

/// The address backwards, before `suffix`: `7.2.0.192.bl.example` (RFC 5782 section 2.1), or 32 nibbles
/// (section 2.4). An IPv4-mapped address is the IPv4 address that it stands for.
#[must_use]
pub fn reversed(address: IpAddr, suffix: &str) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            // Without the formatting machinery: each connection is asked about by several such names.
            let mut name = Vec::with_capacity(REVERSED_V4_MAX + suffix.len());
            for octet in v4.octets().into_iter().rev() {
                push_decimal(octet.into(), &mut name);
                name.push(b'.');
            }
            ascii(name) + suffix
        }
        IpAddr::V6(v6) => reversed_v6(v6, suffix),
    }
}

/// The same of an IPv6 address as it is written, IPv4-mapped or not.
#[must_use]
pub fn reversed_v6(address: Ipv6Addr, suffix: &str) -> String {
    let mut name = Vec::with_capacity(REVERSED_MAX + suffix.len());
    for octet in address.octets().into_iter().rev() {
        for nibble in [octet & 15, octet >> 4] {
            name.extend_from_slice(&[HEX[usize::from(nibble)], b'.']);
        }
    }
    ascii(name) + suffix
}

/// Digits and dots as text.
fn ascii(name: Vec<u8>) -> String {
    String::from_utf8(name).expect("digits and dots are ASCII")
}

/// The name whose PTR records are the names of `address` (RFC 1035 section 3.5, RFC 3596 section 2.5).
#[must_use]
pub fn pointer(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(_) => reversed(address, "in-addr.arpa"),
        IpAddr::V6(_) => reversed(address, "ip6.arpa"),
    }
}

/// A question.
pub(crate) fn question(name: impl Into<Arc<str>>, record_type: RecordType) -> Question {
    Question {
        name: name.into(),
        record_type,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::dns::testing::ip;
    use proptest::prelude::*;

    #[test]
    fn names_that_can_be_asked_for() {
        for (name, host_name) in [
            ("Mail.Example.NET.", Some("mail.example.net")),
            ("localhost", Some("localhost")),
            ("_dmarc.a-b.example", Some("_dmarc.a-b.example")),
            ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            ("1.2.3.4a", Some("1.2.3.4a")),
            ("", None),
            (".", None),
            ("a..b", None),
            (".a", None),
            ("a..", None),
            ("-a.example", None),
            ("a-.example", None),
            ("192.0.2.1", None),
            ("192.0.2.1.", None),
            ("[192.0.2.1]", None),
            ("2001:db8::1", None),
            ("b\u{fc}cher.example", None),
            ("a b.example", None),
            ("a\0b.example", None),
            ("a\\.b.example", None),
            ("a\r\nb.example", None),
        ] {
            assert_eq!(host(name.as_bytes()).as_deref(), host_name, "{name:?}");
        }
        assert!(host(&[0xff, b'.', b'a']).is_none());
    }

    #[test]
    fn names_have_limits() {
        let label = "a".repeat(LABEL_MAX);
        assert!(is_host(&label));
        assert!(!is_host(&format!("{label}a")));
        let long = format!("{label}.{label}.{label}.{}", &label[..61]);
        assert_eq!((long.len(), is_host(&long)), (NAME_MAX, true));
        assert!(!is_host(&format!("{long}a")));
        assert!(host(&[b'a'; 70_000]).is_none());
    }

    #[test]
    fn addresses_backwards() {
        for (address, name) in [
            ("192.0.2.7", "7.2.0.192.bl.example"),
            ("::ffff:192.0.2.7", "7.2.0.192.bl.example"),
            (
                "2001:db8::567:89ab",
                "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example",
            ),
        ] {
            assert_eq!(reversed(ip(address), "bl.example"), name);
        }
        assert_eq!(pointer(ip("192.0.2.7")), "7.2.0.192.in-addr.arpa");
        assert!(pointer(ip("::1")).ends_with(".0.ip6.arpa"));
    }

    proptest! {
        #[test]
        fn any_octets_are_a_name_or_none(name: Vec<u8>) {
            if let Some(name) = host(&name) {
                prop_assert!(is_host(&name) && name.len() <= NAME_MAX);
                prop_assert_eq!(host(name.as_bytes()), Some(name.clone()));
                prop_assert_eq!(host_in(&name), Some(name.clone()));
            }
        }
    }
}
