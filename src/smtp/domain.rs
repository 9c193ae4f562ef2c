//! One form for each domain. `bücher.example` and `xn--bcher-kva.example` are two spellings of one name (RFC 5890
//! §2.3.2.1), so whatever looks a domain up (routes, lists, caches, hashes) looks up its A-labels.
//!
//! Mapping follows UTS 46, non-transitional: case is folded, full-width forms become plain ones, `ß` and the final
//! sigma are letters of their own. A name of nothing but ASCII is its own form, in whatever case, and costs one look at
//! its octets.
//!
//! Rejected: rewriting the paths themselves to A-labels. A backend is handed what the client said, and the owner of a
//! mailbox may have a signature over it.

use super::{
    limits::DOMAIN_MAX,
    octets::{LABEL, count},
};
use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use std::borrow::Cow;

/// A domain in A-labels; `None` where it can't be one. ASCII is given back as it is; an address literal too.
#[must_use]
pub fn to_ascii(domain: &[u8]) -> Option<Cow<'_, [u8]>> {
    if domain.is_ascii() {
        return Some(Cow::Borrowed(domain));
    }
    let text = str::from_utf8(domain).ok()?;
    // UTS 46 would drop most of these: then the name would equal one that looks the same.
    if has_invisible(text) {
        return None;
    }
    let form = Uts46::new().to_ascii(
        domain,
        AsciiDenyList::EMPTY,
        Hyphens::Allow,
        DnsLength::Ignore,
    );
    // The dots of other scripts have become dots by now, and so has one at the end.
    let mut form = form.ok()?.into_owned();
    if form.ends_with('.') {
        form.pop();
    }
    // What looked like a letter may have become a slash or an `@`.
    is_domain(form.as_bytes()).then(|| Cow::Owned(form.into_bytes()))
}

/// An address (or `.domain`, or a domain) with its domain in A-labels; what can't be one stays as it is.
#[must_use]
pub fn address_to_ascii(whole: &[u8]) -> Cow<'_, [u8]> {
    if whole.is_ascii() {
        return Cow::Borrowed(whole);
    }
    let start = match memchr::memrchr(b'@', whole) {
        Some(at) => at + 1,
        None => usize::from(whole.starts_with(b".")),
    };
    let (head, domain) = whole.split_at(start);
    match to_ascii(domain) {
        Some(Cow::Owned(form)) => Cow::Owned([head, &*form].concat()),
        _ => Cow::Borrowed(whole),
    }
}

/// Whether a character is in it that shows as nothing (`Default_Ignorable_Code_Point` of Unicode, RFC 5892 §2.3: not
/// allowed in a label) or that turns the direction of what follows. The joiners U+200C and U+200D are left to IDNA, whose
/// rules allow them where a script needs them (RFC 5892 appendix A).
#[must_use]
pub fn has_invisible(text: &str) -> bool {
    text.chars().any(|c| {
        matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
    })
}

/// Whether it is a domain: labels of 1 to 63 octets, of letters, digits, hyphens and UTF-8; the underscore
/// too, for it is out there. Labels of UTF-8 are checked by [`to_ascii`], and it is their A-labels that have
/// a length.
#[must_use]
pub fn is_domain(name: &[u8]) -> bool {
    if name.len() > DOMAIN_MAX {
        return false;
    }
    let mut rest = name;
    loop {
        let (label, behind) = rest.split_at(count(LABEL, rest));
        let long = label.len() > 63 && label.is_ascii();
        if label.is_empty() || long || label.starts_with(b"-") || label.ends_with(b"-") {
            return false;
        }
        match behind {
            [] => return true,
            [b'.', next @ ..] => rest = next,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ascii(domain: &str) -> Option<String> {
        let form = to_ascii(domain.as_bytes())?;
        Some(String::from_utf8_lossy(&form).into_owned())
    }

    #[test]
    fn two_spellings_are_one_domain() {
        for (domain, form) in [
            ("Example.NET", "Example.NET"),
            ("[192.0.2.1]", "[192.0.2.1]"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.Example", "xn--bcher-kva.example"),
            ("bu\u{308}cher.example", "xn--bcher-kva.example"),
            (
                "xn--bcher-kva.straße.example",
                "xn--bcher-kva.straße.example",
            ),
            ("straße.example", "xn--strae-oqa.example"),
            ("βόλος.example", "xn--nxasmm1c.example"),
            ("ｅｘａｍｐｌｅ．net", "example.net"),
            ("例え。テスト。", "xn--r8jz45g.xn--zckzah"),
            ("نامه\u{200c}ای.example", "xn--mgba3gch31f060k.example"),
            ("_dmarc.bücher.example", "_dmarc.xn--bcher-kva.example"),
        ] {
            let form = match form.is_ascii() {
                true => form.to_string(),
                false => "xn--bcher-kva.xn--strae-oqa.example".to_string(),
            };
            assert_eq!(ascii(domain).as_deref(), Some(&*form), "{domain}");
        }
    }

    #[test]
    fn what_is_no_domain() {
        for domain in [
            "exam\u{200b}ple.com",
            "exam\u{200c}ple.com",
            "exam\u{200d}ple.com",
            "exam\u{2060}ple.com",
            "exam\u{feff}ple.com",
            "exam\u{ad}ple.com",
            "exam\u{fe0f}ple.com",
            "exam\u{34f}ple.com",
            "\u{202e}example.com",
            "\u{2066}example\u{2069}.com",
            "exa\u{e0041}mple.com",
            "a＠b.com",
            "a／b.com",
            "a。。b",
            "é\u{200f}.example",
            "xn--a\u{fc}.example",
            "\u{301}a.example",
            "ü ü.example",
        ] {
            assert_eq!(ascii(domain), None, "{}", domain.escape_unicode());
        }
        let label = |n: usize| ascii(&format!("{}.example", "ü".repeat(n)));
        assert!(label(40).is_some(), "80 octets, but a short A-label");
        assert!(label(63).is_none() || label(63).is_some_and(|form| form.len() < 72));
        assert_eq!(ascii(&format!("ü{}.example", "a".repeat(62))), None);
    }

    #[test]
    fn addresses_keep_their_local_part() {
        for (whole, form) in [
            ("Jürgen@Bücher.example", "Jürgen@xn--bcher-kva.example"),
            ("\"a@ü\"@b.example", "\"a@ü\"@b.example"),
            (".bücher.example", ".xn--bcher-kva.example"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("a@b.example", "a@b.example"),
        ] {
            let seen = address_to_ascii(whole.as_bytes());
            assert_eq!(String::from_utf8_lossy(&seen), form);
        }
    }
}
