//! Local parts (RFC 5321 §4.1.2) in one form: `"amy"`, `"\a\my"` and `amy` are one mailbox, so no list, rule or count may
//! miss one of them for its quotes. Only one with dots where the RFC allows them in quotes alone (`a..b`) stays as it came,
//! for a server may take it in that form and in no other.

use super::octets::{LOCAL, is};

/// Appends a checked local part in one form: without quotes where none are needed (`Dot-string`), otherwise with a backslash
/// only where one is. Never longer than it was. As Postfix does, which keeps all addresses unquoted.
pub fn push(local: &[u8], out: &mut Vec<u8>) {
    let quoted = local.strip_prefix(b"\"");
    let Some(inner) = quoted.and_then(|rest| rest.strip_suffix(b"\"")) else {
        out.extend_from_slice(local);
        return;
    };
    if is_dot_string(inner) {
        out.extend(plain(inner));
        return;
    }
    out.push(b'"');
    for octet in plain(inner) {
        if matches!(octet, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(octet);
    }
    out.push(b'"');
}

/// What stands between quotes, without the backslashes of quoted pairs.
fn plain(inner: &[u8]) -> impl Iterator<Item = u8> {
    let mut escaped = false;
    inner.iter().copied().filter(move |octet| {
        escaped = *octet == b'\\' && !escaped;
        !escaped
    })
}

/// Whether it needs no quotes.
fn is_dot_string(inner: &[u8]) -> bool {
    // As if a dot stood before it: none may follow another, or end it.
    let mut last = b'.';
    let sound = plain(inner).all(|octet| {
        let before = std::mem::replace(&mut last, octet);
        is(LOCAL, octet) && !(before == b'.' && octet == b'.')
    });
    sound && last != b'.'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_part_has_one_form() {
        for (local, wanted) in [
            ("amy", "amy"),
            ("\"amy\"", "amy"),
            ("\"\\a\\my\"", "amy"),
            ("\"a.m.y\"", "a.m.y"),
            ("\"a..y\"", "\"a..y\""),
            ("\".a\"", "\".a\""),
            ("\"\"", "\"\""),
            ("\"a b\"", "\"a b\""),
            ("\"a\\ \\b\"", "\"a b\""),
            ("\"a\\\"b\\\\c\"", "\"a\\\"b\\\\c\""),
            ("\"a@b\"", "\"a@b\""),
            ("\"\\@\"", "\"@\""),
            ("\"p\u{e9}\"", "p\u{e9}"),
            ("a..b", "a..b"),
        ] {
            let mut out = b"<".to_vec();
            push(local.as_bytes(), &mut out);
            assert_eq!(out, format!("<{wanted}").into_bytes(), "{local}");
            let mut again = b"<".to_vec();
            push(wanted.as_bytes(), &mut again);
            assert_eq!(out, again, "it stays so");
            assert!(wanted.len() <= local.len());
        }
    }
}
