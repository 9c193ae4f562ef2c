//! What a trusted sealer says of a message in its ARC-Authentication-Results (RFC 8617 §4.1.1).

use super::arc::Arc;

/// Whether the newest seal is by one of `sealers`, and says that DMARC passed there: what has changed since is what that
/// sealer does to messages (RFC 8617 §7.2.1).
pub fn vouches(arc: Option<&Arc>, sealers: &[Box<str>]) -> bool {
    let seal = arc.and_then(|arc| arc.sealed_by(sealers.iter().map(|sealer| &**sealer)));
    seal.is_some_and(|seal| says_pass(&seal.results, b"dmarc"))
}

/// Whether a field says that this method passed, and nothing else of it. Words in comments and quoted strings, which may be
/// a stranger's, don't count.
fn says_pass(field: &[u8], method: &[u8]) -> bool {
    let plain = without_comments_and_strings(field);
    let mut of_method = plain.split(|octet| *octet == b';').filter_map(|entry| {
        let entry = entry.trim_ascii();
        let at = memchr::memchr(b'=', entry)?;
        let (name, result) = (entry[..at].trim_ascii(), entry[at + 1..].trim_ascii());
        let version = memchr::memchr(b'/', name).unwrap_or(name.len());
        let name = name[..version].trim_ascii();
        let end = result.iter().position(u8::is_ascii_whitespace);
        let word = &result[..end.unwrap_or(result.len())];
        name.eq_ignore_ascii_case(method)
            .then(|| word.eq_ignore_ascii_case(b"pass"))
    });
    of_method.next() == Some(true) && of_method.all(|passed| passed)
}

/// What is open to the end is left out too.
fn without_comments_and_strings(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let (mut depth, mut quoted) = (0usize, false);
    let mut octets = text.iter();
    while let Some(octet) = octets.next() {
        match octet {
            b'\\' => drop(octets.next()),
            b'"' if depth == 0 => quoted = !quoted,
            _ if quoted => {}
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            octet => plain.push(*octet),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_sealers_own_word_counts() {
        for (field, passes) in [
            (
                " lists.example.net; spf=pass smtp.mailfrom=a.example; dmarc=pass (p=reject) header.from=a.example",
                true,
            ),
            (" x; DMARC / 1 = Pass", true),
            (" x; dmarc=fail", false),
            (" x; dmarc=passed", false),
            (" x; dmarc=pass; dmarc=fail", false),
            (" x; spf=pass (; dmarc=pass) smtp.mailfrom=a", false),
            (" x; spf=pass smtp.mailfrom=\"a; dmarc=pass\"", false),
            (" x; spf=pass (\\) ; dmarc=pass )", false),
            (" x; spf=pass (a (b) ; dmarc=pass", false),
            (" x; spf=pass \"a\\\"; dmarc=pass", false),
            (" x; xdmarc=pass", false),
            ("", false),
        ] {
            assert_eq!(says_pass(field.as_bytes(), b"dmarc"), passes, "{field}");
        }
    }
}
