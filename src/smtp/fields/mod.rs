//! What stands in the body of a header field: encoded words, address lists, the name of a server.
//!
//! The readers here serve decisions about trust, so each asks what *any* program down the line may read in a field,
//! not only what the grammar says. Where programs differ, the reading that is worse for the sender counts.
//!
//! Rejected: a general mail parser. It gives the one reading that its authors prefer, and a forgery lives on the others.

mod host;
pub mod mailboxes;
pub mod results;
pub mod words;

/// Where a comment ends whose `(` stands before `at` (RFC 5322 §3.2.2): one past its `)`. Comments nest. `escapes`: a
/// backslash quotes the octet after it. `None`: the comment has no end.
fn comment_end(text: &[u8], mut at: usize, escapes: bool) -> Option<usize> {
    let mut depth = 1usize;
    while depth > 0 {
        match text.get(at)? {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b'\\' if escapes => at += 1,
            _ => {}
        }
        at += 1;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of them together take some tenths of a second. A reader that looks at the rest of the text for each piece would take
    /// minutes.
    #[test]
    fn readers_walk_over_hostile_fields_once() {
        const SIZE: usize = 256 * 1024;
        let pieces = [
            " ",
            "\t\r\n ",
            "(",
            "()",
            "( ",
            "\\",
            "\"",
            "[",
            "@[",
            "@[]",
            "<",
            "<>",
            "@",
            ",",
            ";",
            "g:a@b.cc,;",
            "a@b.cc,",
            "=?",
            "?=",
            "=?a?q?",
            "=?a?q?x",
            "=??q?x",
            "=?a?b?",
            "=?a?q?= ",
            "=?utf-8?q?a?= ",
            ".",
            "-",
            "a.",
            "\u{1}",
            "\u{e9}",
        ];
        let frames = [
            ("", ""),
            ("mx.", " y"),
            ("mx. (", " y"),
            ("\"", "\""),
            ("=?a?q?x?= mx.", "()"),
            ("", "?="),
        ];
        for piece in pieces {
            for (before, after) in frames {
                let mut body = before.as_bytes().to_vec();
                while body.len() < SIZE {
                    body.extend_from_slice(piece.as_bytes());
                }
                body.extend_from_slice(after.as_bytes());
                assert!(!results::claims(&body, b"mx.example.net"), "{piece:?}");
                let mut decoded = Vec::new();
                words::decode(&body, &mut decoded);
                assert!(decoded.len() <= 4 * body.len());
                // Without the limit of what is read of a field.
                let _ = mailboxes::read(&body);
            }
        }
    }
}
