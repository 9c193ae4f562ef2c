//! The forms in which names and addresses of accounts are compared.
//!
//! A user types a name on a keyboard that composes accents or doesn't, that is wide or narrow, in any case. SASLprep (RFC
//! 4013, which PLAIN, RFC 4616 §2, and SCRAM, RFC 5802 §5.1, apply to names) makes one of these; case is folded on top
//! of it, as RFC 8265 §3.3 (UsernameCaseMapped) does; the domain of a name that is an address is compared by its
//! A-labels (RFC 5891 §4.4). So all mechanisms know the same names.

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use std::borrow::Cow;
use stringprep::{saslprep, tables};
use unicode_normalization::UnicodeNormalization;

/// A name as a source is asked about it: prepared, in the case that was typed. `None`: it holds what no name may (RFC
/// 4013 §2.3 and §2.4: controls, private use, directions that contradict each other).
#[must_use]
pub fn prepared(name: &str) -> Option<Cow<'_, str>> {
    match saslprep(name) {
        Ok(name) => Some(name),
        // RFC 4013 ends with Unicode 3.2. A character that is newer is no fault of a name's.
        Err(_) if name.chars().any(tables::unassigned_code_point) => {
            let older: String = name
                .chars()
                .filter(|c| !tables::unassigned_code_point(*c))
                .collect();
            let mapped = name
                .chars()
                .filter(|c| !tables::commonly_mapped_to_nothing(*c));
            saslprep(&older)
                .ok()
                .map(|_| Cow::Owned(mapped.nfkc().collect()))
        }
        Err(_) => None,
    }
}

/// The form in which names are compared. A name that may not be one stays as it is, and equals none that is.
#[must_use]
pub fn folded(name: &str) -> String {
    let name = name.trim_matches([' ', '\t']);
    match prepared(name) {
        Some(prepared) => address(&prepared),
        None => name.to_string(),
    }
}

/// An address, `@domain`, or any other text, in the form in which it is compared.
#[must_use]
pub fn address(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((local, own)) => format!("{}@{}", lower(local), domain(own)),
        None => lower(text),
    }
}

/// A domain's A-labels, in lower case; what is no domain, in lower case.
#[must_use]
pub fn domain(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let uts46 = Uts46::new();
    let labels = uts46.to_ascii(
        text.as_bytes(),
        AsciiDenyList::EMPTY,
        Hyphens::Allow,
        DnsLength::Ignore,
    );
    labels.map_or_else(|_| lower(text), |labels| labels.to_ascii_lowercase())
}

/// In lower case, and composed again where that took a letter apart.
fn lower(text: &str) -> String {
    match text.is_ascii() {
        true => text.to_ascii_lowercase(),
        false => text.to_lowercase().nfkc().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_one_name_are_one() {
        for (one, other) in [
            ("jos\u{e9}", "jose\u{301}"),
            ("JOS\u{c9}", "jos\u{e9}"),
            ("amy", "\u{ff21}\u{ff4d}\u{ff59}"),
            ("amy", "a\u{ad}my"),
            ("IX", "\u{2168}"),
            ("Amy@B\u{fc}cher.example", "amy@xn--bcher-kva.EXAMPLE"),
            ("amy@bu\u{308}cher.example", "amy@b\u{fc}cher.example"),
            (" amy ", "amy"),
            // Newer than RFC 4013.
            ("\u{1f511}Amy", "\u{1f511}amy"),
        ] {
            assert_eq!(folded(one), folded(other), "{one} {other}");
        }
        for (one, other) in [("jose", "jos\u{e9}"), ("amy", "am"), ("a b", "ab")] {
            assert_ne!(folded(one), folded(other), "{one} {other}");
        }
    }

    #[test]
    fn folding_twice_changes_nothing() {
        for name in [
            "\u{130}stanbul",
            "\u{3a3}\u{3a3}",
            "Stra\u{df}e",
            "\u{1e9e}",
            "\u{212a}",
            "x@\u{130}.example",
        ] {
            let once = folded(name);
            assert_eq!(folded(&once), once, "{name}");
        }
    }

    #[test]
    fn what_no_name_may_hold_is_seen() {
        for name in [
            "a\u{7}",
            "a\u{200e}b",
            "a\u{fffd}",
            "\u{e000}",
            "a\u{85}",
            "\u{627}a",
            "\u{1f511}\u{202e}x",
        ] {
            assert_eq!(prepared(name), None, "{name:?}");
            assert_ne!(folded(name), "a");
        }
        assert_eq!(prepared("Jose\u{301}").as_deref(), Some("Jos\u{e9}"));
        assert_eq!(prepared("amy").as_deref(), Some("amy"));
    }
}
