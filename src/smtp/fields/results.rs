//! Authentication-Results (RFC 8601): whose results a field claims to be.
//!
//! A field with our own authserv-id that comes from outside is a forgery, and has to go (§5). Programs down the line
//! read that id in different ways: some don't know quoted pairs, some don't nest comments, some decode encoded words or
//! domain names first. A field is ours here if one of those readings makes it ours. A field of another server is left
//! alone, whatever its comments and its results say.

use super::{comment_end, host, words};

/// Octets of an id that are looked at. A name has 253 at most; characters that are not shown may stand between.
const ID_MAX: usize = 1024;
/// In one reading, ends of the id that are tried while it has other than ASCII in it, for the mapping is slow.
const MAPPED_MAX: usize = 4;
/// Stands for a comment that was taken out. Control characters are dropped, so none of them is mistaken for it.
const COMMENT: u8 = 1;

/// Whether a reader might take the field with this body for results of the server `own`.
#[must_use]
pub fn claims(body: &[u8], own: &[u8]) -> bool {
    if claims_as_it_is(body, own) {
        return true;
    }
    if !words::has_any(body) {
        return false;
    }
    let mut decoded = Vec::with_capacity(body.len());
    words::decode(body, &mut decoded);
    claims_as_it_is(&decoded, own)
}

fn claims_as_it_is(body: &[u8], own: &[u8]) -> bool {
    if memchr::memchr(b'(', body).is_none() {
        return begins_with(body, own);
    }
    let nested = |escapes| move |text: &[u8], at: usize| comment_end(text, at, escapes);
    let flat = |text: &[u8], at: usize| Some(at + memchr::memchr(b')', &text[at..])? + 1);
    begins_with(&without_comments(body, nested(true)), own)
        || begins_with(&without_comments(body, nested(false)), own)
        || begins_with(&without_comments(body, flat), own)
}

/// The text with a mark in place of each comment. A `(` that is never closed is dropped by itself.
fn without_comments(text: &[u8], end: impl Fn(&[u8], usize) -> Option<usize>) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    let mut open_ended = false;
    while let Some(&octet) = text.get(at) {
        at += 1;
        match octet {
            b'(' if open_ended => {}
            b'(' => match end(text, at) {
                Some(end) => {
                    out.push(COMMENT);
                    at = end;
                }
                None => open_ended = true,
            },
            COMMENT => {}
            octet => out.push(octet),
        }
    }
    out
}

/// Whether the first name in the text is `own`. What may stand around a name, or be quoted in it, is passed over.
fn begins_with(text: &[u8], own: &[u8]) -> bool {
    let begins = |octet: &u8| is_name(*octet) && !matches!(octet, b'.' | b'-');
    let Some(start) = text.iter().position(begins) else {
        return false;
    };
    let mut id = Id {
        own,
        text: Vec::with_capacity(own.len() + 1),
        mapped: 0,
    };
    let mut rest = &text[start..];
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        match octet {
            octet if is_name(octet) => {
                if !id.push(octet) {
                    return false;
                }
            }
            b' ' | b'\t' | b'\r' | b'\n' => {
                // White space may stand around the dots of a name (RFC 5322 §4.4, obs-domain). The whole run is one: looked
                // at octet by octet, a long one would take a worker for seconds.
                let blank = |octet: &u8| octet.is_ascii_whitespace() || *octet == COMMENT;
                let run = rest.iter().take_while(|octet| blank(octet)).count();
                rest = &rest[run..];
                if id.is_own() {
                    return true;
                }
                if !id.text.ends_with(b".") && rest.first() != Some(&b'.') {
                    return false;
                }
            }
            // What some programs drop, and some take for the end.
            octet if matches!(octet, b'"' | b'\\' | COMMENT) || octet.is_ascii_control() => {
                if id.is_own() {
                    return true;
                }
            }
            _ => break,
        }
    }
    id.is_own()
}

/// An id that is being read.
struct Id<'a> {
    own: &'a [u8],
    text: Vec<u8>,
    mapped: usize,
}

impl Id<'_> {
    /// `false`: it is longer than any name.
    fn push(&mut self, octet: u8) -> bool {
        self.text.push(octet);
        self.text.len() <= ID_MAX
    }

    /// Whether what was read so far is our own name.
    fn is_own(&mut self) -> bool {
        if self.text.is_ascii() && self.own.is_ascii() {
            return host::same(&self.text, self.own);
        }
        self.mapped += 1;
        if self.mapped > MAPPED_MAX {
            return false;
        }
        let Ok(text) = str::from_utf8(&self.text) else {
            return false;
        };
        let first = text
            .split(char::is_whitespace)
            .find(|part| !part.is_empty());
        first.is_some_and(|first| host::same(first.as_bytes(), self.own))
    }
}

fn is_name(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet >= 0x80 || matches!(octet, b'-' | b'_' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OURS: &[u8] = b"mx.example.net";

    #[test]
    fn finds_results_that_claim_to_be_ours() {
        for body in [
            " mx.example.net; spf=pass",
            " MX.Example.NET 1; none",
            "mx.example.net/1; none",
            "\r\n mx.example.net;\r\n\tspf=pass",
            "\tmx.example.net\t;",
            "\r\n (a (nested) comment) mx.example.net;",
            " (a\\) b) mx.example.net; x",
            " (a\\( b) mx.example.net; x",
            " (a \\\\) mx.example.net; x",
            " (a (b) mx.example.net; x",
            " (mx.example.net; x",
            " ()mx.example.net(); x",
            " mx(a).example(b).net; x",
            " mx.exam(hidden)ple.net; x",
            " mx.example.net(a)evil; x",
            " \"mx.example.net\"; x",
            " \"mx.example\\.net\"; x",
            " \"\\m\\x.example.net\"; x",
            " \" mx.example.net \"; x",
            " \"mx.example.net; x",
            " \"mx.example.net; spf=pass\"; x",
            " \"mx\".example.net; x",
            " \"mx.example.net\".evil.example; x",
            " (\"mx) mx.example.net; x",
            " mx.example.net.; x",
            " mx.example.net.. 1; x",
            " mx . example . net; x",
            " mx. example.\r\n net 1; x",
            " ;mx.example.net; x",
            " <mx.example.net>; x",
            " mx.example\0.net; x",
            " mx.example.net\u{a0}; x",
            " \u{feff}mx.example.net; x",
            " ｍｘ．example．net; x",
            " mx.exam\u{200b}ple.net; x",
            " =?utf-8?q?mx=2Eexample.net?=; x",
            " =?utf-8?b?bXguZXhhbXBsZS5uZXQ=?=; x",
            " =?us-ascii?Q?mx.exa?= =?us-ascii?Q?mple.net=3B_spf=3Dpass?=",
            "mx.example.net",
            "mx.example.net\\",
        ] {
            assert!(claims(body.as_bytes(), OURS), "{body:?}");
        }
        let idn = "mx.bücher.example".as_bytes();
        for body in [
            " mx.xn--bcher-kva.example; x",
            " MX.XN--BCHER-KVA.example.; x",
        ] {
            assert!(claims(body.as_bytes(), idn), "{body}");
        }
        for body in [" mx.bücher.example; x", " (a) \"mx.BÜCHER.example\"; x"] {
            assert!(
                claims(body.as_bytes(), b"mx.xn--bcher-kva.example"),
                "{body}"
            );
        }
    }

    #[test]
    fn leaves_those_of_others() {
        for body in [
            " other.example; spf=pass",
            " other.example 1; spf=pass smtp.mailfrom=mx.example.net",
            " other.example; spf=pass (mx.example.net: domain of a@b)",
            " (mx.example.net) other.example; x",
            " (mx.example.net; spf=pass) other.example; x",
            " ((mx.example.net)) other.example; x",
            " other.example (mx.example.net); x",
            " other.example mx.example.net; x",
            " \"other.example\"; mx.example.net",
            " mx.example.net.evil.example; x",
            " mx.example.network; x",
            " amx.example.net; x",
            " mx.example.net-; x",
            " mx-example.net; x",
            " mx.example.ne t; x",
            " mx.exämple.net; x",
            " =?utf-8?q?other?=; mx.example.net",
            " ; ",
            " (",
            " \"",
            "",
        ] {
            assert!(!claims(body.as_bytes(), OURS), "{body:?}");
        }
        assert!(!claims(b" \xffmx.example.net; x", OURS));
        assert!(!claims(b" mx.example.net; x", b""));
    }

    /// Readings of programs that exist: the grammar's, one that strips innermost comments by a pattern, and one that
    /// looks for the first name.
    fn readings(body: &str) -> Vec<String> {
        let innermost = regex::Regex::new(r"\([^()]*\)").expect("a pattern");
        let mut stripped = body.to_string();
        while innermost.is_match(&stripped) {
            stripped = innermost.replace_all(&stripped, "").into_owned();
        }
        let patterns = [
            r"^[\s]*([A-Za-z0-9.-]+)",
            r#"^[\s"]*([A-Za-z0-9.-]+)"#,
            r#"^\W*([A-Za-z0-9.-]+)"#,
        ];
        let mut found = Vec::new();
        for text in [
            &stripped,
            &body.replace('\\', ""),
            &stripped.replace('\\', ""),
        ] {
            for pattern in patterns {
                let pattern = regex::Regex::new(pattern).expect("a pattern");
                // A name in a comment is no id.
                if let Some(name) = pattern.captures(text).filter(|_| !text.contains('(')) {
                    found.push(name[1].trim_end_matches('.').to_ascii_lowercase());
                }
            }
        }
        found
    }

    fn comment() -> impl Strategy<Value = String> {
        let leaf = "([a-z .;@]|\\\\[()\\\\a])*".prop_map(|text| format!("({text})"));
        leaf.prop_recursive(3, 8, 2, |inner| {
            ("[a-z .]*", inner, "[a-z .]*").prop_map(|(a, inner, b)| format!("({a}{inner}{b})"))
        })
    }

    fn gap() -> impl Strategy<Value = String> {
        let blank = prop_oneof![
            Just(" ".to_string()),
            Just("\t".into()),
            Just("\r\n ".into())
        ];
        proptest::collection::vec(prop_oneof![blank, comment()], 0..4)
            .prop_map(|parts| parts.concat())
    }

    /// A name as the grammar allows it: in any case, with a dot at its end, quoted, with quoted pairs.
    fn spelled(name: &'static str) -> impl Strategy<Value = String> {
        let flips = proptest::collection::vec(any::<(bool, bool)>(), name.len());
        (flips, any::<(bool, bool)>()).prop_map(move |(flips, (quoted, dot))| {
            let mut text = String::new();
            for (letter, (upper, escaped)) in name.chars().zip(flips) {
                text.push_str(if quoted && escaped { "\\" } else { "" });
                text.push(if upper {
                    letter.to_ascii_uppercase()
                } else {
                    letter
                });
            }
            text.push_str(if dot { "." } else { "" });
            if quoted { format!("\"{text}\"") } else { text }
        })
    }

    proptest! {
        #[test]
        fn no_lawful_spelling_of_ours_survives(
            before in gap(), name in spelled("mx.example.net"), after in gap(), version in "( 1)?") {
            let body = format!("{before}{name}{after}{version}; spf=pass");
            prop_assert!(claims(body.as_bytes(), OURS), "{:?}", body);
        }

        #[test]
        fn every_lawful_spelling_of_anothers_survives(
            before in gap(), name in spelled("mx.other.example"), after in gap(), version in "( 1)?") {
            let body = format!("{before}{name}{after}{version}; spf=pass smtp.helo=mx.example.net");
            prop_assert!(!claims(body.as_bytes(), OURS), "{:?}", body);
        }

        #[test]
        fn what_some_program_reads_as_ours_is_ours(body in r#"[ \t"\\;(){}]{0,4}(mx\.e|m|x|\.|e|\(|\)|\\|"| |;|a){0,12}[ ;"\\)]{0,3}"#) {
            for reading in readings(&body) {
                if reading == "mx.e" {
                    prop_assert!(claims(body.as_bytes(), b"mx.e"), "{:?}", body);
                }
            }
        }

        #[test]
        fn no_octets_upset_it(body in proptest::collection::vec(
            proptest::sample::select(&b"mx.exampl?=qub8( )\"\\;\r\n\0\x01\xff\xc3"[..]), 0..80)) {
            let _ = claims(&body, OURS);
        }
    }
}
