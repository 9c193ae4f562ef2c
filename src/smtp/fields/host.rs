//! Whether two spellings name one host: any case, A-labels or U-labels (RFC 5890 §2.3.2.1), a dot at the end or none.

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// Whether both name the same host.
pub fn same(one: &[u8], other: &[u8]) -> bool {
    let (one, other) = (without_dots(one), without_dots(other));
    if one.eq_ignore_ascii_case(other) {
        return !one.is_empty();
    }
    if one.is_ascii() && other.is_ascii() {
        return false;
    }
    match (ascii(one), ascii(other)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

/// The A-labels of a name, in lower case. The mapping of UTS 46 makes one of wide letters, of characters that are not
/// shown, and of the full stops of other scripts.
fn ascii(name: &[u8]) -> Option<String> {
    let uts46 = Uts46::new();
    let name = uts46.to_ascii(
        name,
        AsciiDenyList::EMPTY,
        Hyphens::Allow,
        DnsLength::Ignore,
    );
    let name = name.ok()?.trim_end_matches('.').to_ascii_lowercase();
    Some(name)
}

fn without_dots(mut name: &[u8]) -> &[u8] {
    while let Some(shorter) = name.strip_suffix(b".") {
        name = shorter;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn spellings_of_one_host() {
        for (one, other) in [
            ("mx.example.net", "MX.Example.NET"),
            ("mx.example.net", "mx.example.net."),
            ("mx.bücher.example", "mx.xn--bcher-kva.example"),
            ("mx.xn--bcher-kva.example", "mx.BÜCHER.example."),
            ("mx.example.net", "ｍｘ．example。net"),
            ("mx.example.net", "mx.exam\u{200b}ple.net"),
            ("mx.example.net", "mx.exam\u{ad}ple.net"),
        ] {
            assert!(same(one.as_bytes(), other.as_bytes()), "{one} {other}");
        }
        for (one, other) in [
            ("mx.example.net", "mx.example.org"),
            ("mx.example.net", "mx.exämple.net"),
            ("mx.example.net", "amx.example.net"),
            ("", ""),
            ("", "."),
        ] {
            assert!(!same(one.as_bytes(), other.as_bytes()), "{one} {other}");
        }
        assert!(!same(b"mx.example.net", b"\xff"));
    }
}
