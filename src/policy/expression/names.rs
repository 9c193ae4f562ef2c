//! Domains and mail addresses compared as DNS does: in any case (ASCII), in both IDN forms, without the dot of the root.
//!
//! Names in ASCII are compared where they lie. Others, which only SMTPUTF8 mail has, are converted first, and that
//! allocates.

use crate::smtp::domain;
use std::borrow::Cow;

/// The form in which names of a rule are kept: lower case, A-labels, no dot at the end.
pub fn kept(name: &str) -> Box<[u8]> {
    let mut form = ascii(name.as_bytes()).into_owned();
    form.make_ascii_lowercase();
    form.into_boxed_slice()
}

/// The name in A-labels and without the dot at its end. What is no name stays as it is.
pub fn ascii(name: &[u8]) -> Cow<'_, [u8]> {
    match domain::address_to_ascii(name) {
        Cow::Borrowed(name) => Cow::Borrowed(name.strip_suffix(b".").unwrap_or(name)),
        Cow::Owned(mut name) => {
            if name.ends_with(b".") {
                name.pop();
            }
            Cow::Owned(name)
        }
    }
}

/// Whether `name` is the one that is [`kept`].
pub fn is(name: &[u8], kept: &[u8]) -> bool {
    // What is kept is ASCII wherever it is a name, so a name that equals it needs no conversion.
    let bare = name.strip_suffix(b".").unwrap_or(name);
    bare.eq_ignore_ascii_case(kept) || (!name.is_ascii() && converted_is(name, kept))
}

#[cold]
fn converted_is(name: &[u8], kept: &[u8]) -> bool {
    ascii(name).eq_ignore_ascii_case(kept)
}

/// Whether two names are the same.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    ascii(a).eq_ignore_ascii_case(&ascii(b))
}

/// Whether `name` is `parent` or below it; `parent` is as [`kept`].
pub fn is_under(name: &[u8], parent: &[u8]) -> bool {
    if !name.is_ascii() {
        return converted_is_under(name, parent);
    }
    let name = name.strip_suffix(b".").unwrap_or(name);
    let Some(rest) = name.len().checked_sub(parent.len()) else {
        return false;
    };
    let (head, tail) = name.split_at(rest);
    (head.is_empty() || head.ends_with(b".")) && tail.eq_ignore_ascii_case(parent)
}

#[cold]
fn converted_is_under(name: &[u8], parent: &[u8]) -> bool {
    let form = ascii(name);
    form.is_ascii() && is_under(&form, parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_many_spellings() {
        for (a, b) in [
            ("Example.NET", "example.net."),
            ("BÜCHER.example", "xn--bcher-kva.EXAMPLE"),
            ("a@bücher.example", "A@xn--bcher-kva.example"),
            ("", ""),
            ("[192.0.2.1]", "[192.0.2.1]"),
        ] {
            assert!(same(a.as_bytes(), b.as_bytes()), "{a} {b}");
            assert!(same(&kept(a), b.as_bytes()), "{a} {b}");
            assert!(is(b.as_bytes(), &kept(a)), "{a} {b}");
            assert!(is(a.as_bytes(), &kept(b)), "{a} {b}");
        }
        assert!(!same(b"a.example", b"b.example"));
        assert!(!same(b"\xff", b"\xfe"));
        assert!(same(b"\xff", b"\xff"));
    }

    #[test]
    fn below_means_at_a_dot() {
        for (name, under) in [
            ("example.net", true),
            ("a.b.Example.Net.", true),
            ("badexample.net", false),
            ("net", false),
            ("", false),
        ] {
            assert_eq!(is_under(name.as_bytes(), b"example.net"), under, "{name}");
        }
        assert!(is_under(
            "a.bücher.example".as_bytes(),
            &kept("BÜCHER.example")
        ));
    }
}
