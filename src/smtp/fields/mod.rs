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
