//! Domain names in the form of [`Question::name`](crate::dns::Question): lower case, A-labels, no dot at the end.

use crate::dns::{Question, RecordType};
use crate::smtp::domain;

/// Octets of a name (RFC 1035 §2.3.4).
pub const NAME_MAX: usize = 253;

/// A name in that form. `None`: it is none. Internationalized names become A-labels (RFC 8616 §4).
pub fn normal(name: &[u8]) -> Option<Box<str>> {
    let name = name.trim_ascii();
    let name = name.strip_suffix(b".").unwrap_or(name);
    // Nothing that is longer becomes shorter, and mapping takes time.
    if name.len() > 4 * NAME_MAX {
        return None;
    }
    let form = domain::to_ascii(name)?;
    let form = str::from_utf8(&form).ok()?.to_ascii_lowercase();
    is_name(&form).then(|| form.into_boxed_str())
}

/// Whether it is a name of letters, digits, hyphens and underscores, with labels of 1 to 63 octets.
fn is_name(name: &str) -> bool {
    let of_label = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(of_label);
    name.len() <= NAME_MAX && name.split('.').all(is_label)
}

/// Whether `name` is `domain` or lies below it. Both are in normal form.
#[must_use]
pub fn under(name: &str, domain: &str) -> bool {
    let above = name.strip_suffix(domain);
    above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
}

/// The name without its first label. `None`: it has only one.
pub fn parent(name: &str) -> Option<&str> {
    name.split_once('.').map(|(_, parent)| parent)
}

/// How many labels a name has.
pub fn labels(name: &str) -> usize {
    name.split('.').count()
}

/// A question for the text at a name. `None`: the name would be too long.
pub fn text_at(name: &str) -> Option<Question> {
    let fits = name.len() <= NAME_MAX;
    fits.then(|| Question {
        name: name.into(),
        record_type: RecordType::Txt,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_one_form() {
        assert_eq!(normal(b" Example.ORG. ").as_deref(), Some("example.org"));
        assert_eq!(
            normal("bücher.example".as_bytes()).as_deref(),
            Some("xn--bcher-kva.example")
        );
        for bad in [
            &b""[..],
            b".",
            b"a..b",
            b".a",
            b"a b",
            b"a@b",
            b"a\0",
            b"[192.0.2.1]",
            &[b'a'; 64],
        ] {
            assert_eq!(normal(bad), None, "{bad:?}");
        }
        assert!(under("a.example.org", "example.org") && under("example.org", "example.org"));
        assert!(!under("badexample.org", "example.org") && !under("org", "example.org"));
        assert_eq!(
            (labels("a.b.c"), parent("a.b"), parent("a")),
            (3, Some("b"), None)
        );
    }
}
