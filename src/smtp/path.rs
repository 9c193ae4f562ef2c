//! Paths (RFC 5321 §4.1.2): where mail comes from and where it goes.
//!
//! A path is read, checked and handed on as it came: case is kept, nothing is decoded. But a quoted local part is kept in one
//! form ([`super::local_part`]), for `"amy"`, `"\a\my"` and `amy` are one mailbox (§4.1.2), and no list or rule must miss it for
//! its quotes. A source route is dropped (§3.3, appendix C), and the dot of the root at the end of a domain.
//! What is lax, is so because Postfix is: brackets may be missing, blanks may follow the colon, dots may stand anywhere in a local part (large
//! Japanese providers gave out such addresses). What is strict, is so because a backend might read it in
//! another way than we do: no second `@` outside quotes, no control character, no foreign domain syntax.

use super::{
    command::is_blank,
    domain::{self, is_domain},
    envelope::Path,
    limits::PATH_MAX,
    octets::{ENDING, LOCAL, count, is},
};
use core::net::{Ipv4Addr, Ipv6Addr};

/// A path and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// The path; null for `<>`.
    pub path: Path<'a>,
    /// Whether it is not all ASCII, so that it needs SMTPUTF8 (RFC 6531).
    pub utf8: bool,
    /// What follows: parameters.
    pub rest: &'a [u8],
}

/// Reads the path of MAIL (`<>` is the null one). `None`: it is not a path.
#[must_use]
pub fn sender(text: &[u8]) -> Option<Parsed<'_>> {
    parse(text)
}

/// Reads the path of RCPT: it has a domain, or is `<postmaster>`. A local part alone gives no hint which
/// host it means (and `h!u` is one), so it is refused.
#[must_use]
pub fn recipient(text: &[u8]) -> Option<Parsed<'_>> {
    parse(text).filter(|parsed| {
        !parsed.path.domain.is_empty() || parsed.path.local.eq_ignore_ascii_case(b"postmaster")
    })
}

fn parse(text: &[u8]) -> Option<Parsed<'_>> {
    let start = text.iter().position(|byte| !is_blank(*byte))?;
    let text = &text[start..];
    let bracketed = text[0] == b'<';
    let inner = if bracketed { &text[1..] } else { text };
    let end = end_of_path(inner, bracketed)?;
    let (inside, rest) = (&inner[..end], &inner[end + usize::from(bracketed)..]);
    if rest.first().is_some_and(|byte| !is_blank(*byte)) || inside.len() + 2 > PATH_MAX {
        return None;
    }
    if inside.is_empty() {
        let utf8 = false;
        let path = Path::split(inside);
        return bracketed.then_some(Parsed { path, utf8, rest });
    }
    let whole = without_route(inside)?;
    let path = split(whole)?;
    if !bracketed && is_parameter(path) {
        return None;
    }
    let utf8 = !path.whole.is_ascii();
    if utf8 && !(is_clean_utf8(path.whole) && domain::to_ascii(path.domain).is_some()) {
        return None;
    }
    Some(Parsed { path, utf8, rest })
}

/// Whether a path without brackets is a parameter of a command that lacks its path: `MAIL FROM: BODY=8BITMIME`. An address
/// without a domain that looks like one is not meant.
fn is_parameter(path: Path<'_>) -> bool {
    let Some(equals) = memchr::memchr(b'=', path.local) else {
        let flags = [&b"SMTPUTF8"[..], b"REQUIRETLS"];
        return path.domain.is_empty() && flags.iter().any(|f| path.local.eq_ignore_ascii_case(f));
    };
    let keywords = [
        &b"SIZE"[..],
        b"BODY",
        b"AUTH",
        b"RET",
        b"ENVID",
        b"NOTIFY",
        b"ORCPT",
    ];
    let name = &path.local[..equals];
    path.domain.is_empty() || keywords.iter().any(|k| name.eq_ignore_ascii_case(k))
}

/// Where the path ends: at its `>`, or without brackets at a blank or the end; not inside quotes.
fn end_of_path(text: &[u8], bracketed: bool) -> Option<usize> {
    let mut quoted = false;
    let mut at = 0;
    while at < text.len() {
        let octet = text[at];
        if is(ENDING, octet) {
            match octet {
                b'"' => quoted = !quoted,
                b'\\' if quoted => at += 1,
                b'>' if !quoted => return bracketed.then_some(at),
                b' ' | b'\t' if !quoted => return (!bracketed).then_some(at),
                _ => {}
            }
        }
        at += 1;
    }
    (!bracketed && !quoted).then_some(text.len())
}

/// The mailbox after a source route, `@a,@b:user@c`.
fn without_route(path: &[u8]) -> Option<&[u8]> {
    if path[0] != b'@' {
        return Some(path);
    }
    let colon = memchr::memchr(b':', path)?;
    let sound = path[..colon].split(|byte| *byte == b',').all(|hop| {
        hop.split_first()
            .is_some_and(|(at, name)| *at == b'@' && is_domain(name))
    });
    let mailbox = &path[colon + 1..];
    (sound && !mailbox.is_empty()).then_some(mailbox)
}

/// Local part and domain of a mailbox, both checked.
fn split(whole: &[u8]) -> Option<Path<'_>> {
    let end = if whole[0] == b'"' {
        end_of_quoted(whole)?
    } else {
        count(LOCAL, whole)
    };
    let (local, rest) = whole.split_at(end);
    if local.is_empty() {
        return None;
    }
    let domain = match rest {
        // Without a domain an empty local part would be the null path to some readers.
        [] if local != b"\"\"" => rest,
        // The dot of the root (RFC 1034 §3.1) means nothing, and not every reader knows that.
        [b'@', domain @ .., b'.'] if is_domain(domain) => domain,
        [b'@', domain @ ..] if is_domain(domain) || is_literal(domain) => domain,
        _ => return None,
    };
    Some(Path {
        whole: &whole[..local.len() + usize::from(!rest.is_empty()) + domain.len()],
        local,
        domain,
    })
}

/// One past the closing quote of a quoted string (RFC 5321 §4.1.2, `Quoted-string`).
fn end_of_quoted(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match *text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => {
                at += 1;
                if !matches!(text.get(at)?, 0x20..=0x7e) {
                    return None;
                }
            }
            0x20..=0x7e | 0x80.. => {}
            _ => return None,
        }
        at += 1;
    }
}

/// Whether it is an address literal, `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 §4.1.3).
#[must_use]
pub fn is_literal(text: &[u8]) -> bool {
    let Some(inner) = text.strip_prefix(b"[").and_then(|t| t.strip_suffix(b"]")) else {
        return false;
    };
    let Ok(inner) = str::from_utf8(inner) else {
        return false;
    };
    match inner.split_at_checked(5) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6:") => {
            address.parse::<Ipv6Addr>().is_ok()
        }
        _ => inner.parse::<Ipv4Addr>().is_ok(),
    }
}

/// Whether it is an address in brackets as clients write it in HELO: an address literal, or one without the tag of
/// IPv6, or with a zone (RFC 4007 §11), as programs do that print what their system calls the address. Which of them is
/// the client's own, policy knows.
#[must_use]
pub fn is_bracketed_address(text: &[u8]) -> bool {
    if is_literal(text) {
        return true;
    }
    let inner = text.strip_prefix(b"[").and_then(|t| t.strip_suffix(b"]"));
    let Some(Ok(inner)) = inner.map(str::from_utf8) else {
        return false;
    };
    let bare = match inner.split_at_checked(5) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6:") => address,
        _ => inner,
    };
    let (address, zone) = bare.split_once('%').unwrap_or((bare, "0"));
    let sound = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_');
    address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() && zone.bytes().all(sound)
}

/// Whether it is UTF-8 without control characters (C0, DEL, C1) and line separators.
#[must_use]
pub fn is_clean_utf8(text: &[u8]) -> bool {
    str::from_utf8(text).is_ok_and(|text| {
        !text
            .chars()
            .any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &[u8]) -> Option<String> {
        let found = recipient(text)?;
        Some(String::from_utf8_lossy(found.path.whole).into_owned())
    }

    #[test]
    fn takes_what_is_a_path() {
        for (text, expected) in [
            ("<a@b.example>", "a@b.example"),
            (" \t<a@b.example> SIZE=1", "a@b.example"),
            ("a@b.example SIZE=1", "a@b.example"),
            ("<@x.example,@y:a@b>", "a@b"),
            ("<\"a b@c\"@d.example>", "\"a b@c\"@d.example"),
            ("<\"a\\\"> b\"@d.example>", "\"a\\\"> b\"@d.example"),
            ("<a..b.@docomo.example>", "a..b.@docomo.example"),
            ("<u%h@d>", "u%h@d"),
            ("<h!u@d>", "h!u@d"),
            ("<a@[192.0.2.1]>", "a@[192.0.2.1]"),
            ("<a@b.example.>", "a@b.example"),
            ("a@b.example. SIZE=1", "a@b.example"),
            ("<\"a b\"@b.>", "\"a b\"@b"),
            ("<\"\"@c>", "\"\"@c"),
            ("<SIZE=1@c>", "SIZE=1@c"),
            ("a=b@c", "a=b@c"),
            ("<a@[ipv6:::1]>", "a@[ipv6:::1]"),
            ("<PostMaster>", "PostMaster"),
            ("<пример@пример.example>", "пример@пример.example"),
        ] {
            assert_eq!(whole(text.as_bytes()).as_deref(), Some(expected), "{text}");
        }
        for text in [
            &b" BODY=8BITMIME SIZE=1"[..],
            b"SIZE=1",
            b" smtputf8 BODY=7BIT",
        ] {
            assert_eq!(sender(text), None, "{}", text.escape_ascii());
        }
        assert_eq!(
            sender(b"<> BODY=7BIT").map(|p| p.rest),
            Some(&b" BODY=7BIT"[..])
        );
        let quoted = sender(b"<\"x@y\"@z>").expect("a path").path;
        assert_eq!((quoted.local, quoted.domain), (&b"\"x@y\""[..], &b"z"[..]));
    }

    #[test]
    fn refuses_what_is_not() {
        for text in [
            &b""[..],
            b" ",
            b"<",
            b"<>",
            b"<a@b",
            b"a@b>",
            b"<a@b>x",
            b"<a@b>>",
            b"<<a@b>>",
            b"<@>",
            b"<a@>",
            b"<@b>",
            b"<@a:>",
            b"<@a,b:c@d>",
            b"<a@b@c>",
            b"<a b@c>",
            b"<a\tb@c>",
            b"<a\0b@c>",
            b"<a\x7f@c>",
            b"<a@b\0>",
            b"<a@b..c>",
            b"<a@.b>",
            b"<a@b..>",
            b"<a@.>",
            b"<a@[192.0.2.1].>",
            b"<\"\">",
            b"BODY=8BITMIME@c",
            b"envid=x@c",
            b"SMTPUTF8",
            "<a@exam\u{200b}ple.example>".as_bytes(),
            "<a@\u{202e}b>".as_bytes(),
            "<a@b／c>".as_bytes(),
            b"<a@-b>",
            b"<a@b-.c>",
            b"<a@b/c>",
            b"<a@[1.2.3]>",
            b"<a@[IPv6:1]>",
            b"<a@[x]>",
            b"<a@b,c@d>",
            b"<a(b)@c>",
            b"<\"a@c>",
            b"<\"a\"b@c>",
            b"<\"a\x01\"@c>",
            b"<\"a\\\"@c>",
            b"<h!u>",
            b"<nobody>",
            b"<\xff@b>",
            b"<a@b\xc3>",
            "<a\u{85}@b>".as_bytes(),
        ] {
            assert_eq!(whole(text), None, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn lengths_have_their_limits() {
        let path = |local: usize, domain: usize| {
            let label = "d".repeat(60);
            let mut name = [&*label; 5].join(".");
            name.truncate(domain);
            whole(format!("<{}@{name}>", "l".repeat(local)).as_bytes()).is_some()
        };
        assert!(path(64, 189) && !path(64, 190));
        assert!(path(153, 100) && !path(154, 100));
        assert!(path(1, 252) && !path(1, 253));
        assert!(!is_domain(&[b'd'; 64]) && is_domain(&[b'd'; 63]));
    }
}
