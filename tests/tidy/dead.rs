//! Declarations that nothing but a test uses. The compiler finds the private ones; those that are `pub` in a library it
//! has to believe in.
//!
//! By name: a function, type, constant, field or variant whose name stands nowhere in the code but where it is declared.
//! So a dead one that shares its name with a living one is not found, and none is reported that is in use.

use super::{report, sources};
use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
};

const SPOOL: &str =
    "the spool's interface, for sessions that will hand it messages (docs/architecture.md)";

/// Names that are declared for a reader outside the code that is looked at, with the reason.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("ALLOCATOR", "named by its attribute: `#[global_allocator]`"),
    (
        "is_accepted",
        "delivery's interface, for callers other than the proxy (docs/architecture.md)",
    ),
    ("begin_body", SPOOL),
    ("write_body", SPOOL),
    ("finish_body", SPOOL),
    ("EIGHT_BIT", SPOOL),
    ("BINARY", SPOOL),
    ("UTF8", SPOOL),
    ("REQUIRE_TLS", SPOOL),
    ("AUTHENTICATED", SPOOL),
    ("SENDER_PROVEN", SPOOL),
    ("RET_FULL", SPOOL),
    ("RET_HEADERS", SPOOL),
    (
        "terminator_sent",
        "the state that dialogues in tests/backend_transcripts ask for",
    ),
];

/// Words, strings and single characters of Rust text, without comments.
fn tokens(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let is_word = |at: usize| {
        bytes
            .get(at)
            .is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_' || *b >= 0x80)
    };
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let from = at;
        let rest = &text[at..];
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        if bytes[at].is_ascii_whitespace() {
            at += 1;
            continue;
        }
        if is_word(at) {
            while is_word(at) {
                at += 1;
            }
            let hashes = text[at..].bytes().take_while(|b| *b == b'#').count();
            let raw = matches!(&text[from..at], "r" | "br" | "cr")
                && text[at + hashes..].starts_with('"');
            if raw {
                let end = format!("\"{}", "#".repeat(hashes));
                let body = at + hashes + 1;
                at = body + text[body..].find(&end).expect("it compiles") + end.len();
            }
        } else if bytes[at] == b'"' {
            at += 1;
            while bytes[at] != b'"' {
                at += 1 + usize::from(bytes[at] == b'\\');
            }
            at += 1;
        } else if bytes[at] == b'\'' {
            // A character, or the mark of a lifetime.
            let escaped = bytes.get(at + 1) == Some(&b'\\');
            let first = text[at + 1..].chars().next().map_or(1, char::len_utf8);
            if escaped {
                at += 3 + text[at + 3..].find('\'').expect("it compiles") + 1;
            } else if bytes.get(at + 1 + first) == Some(&b'\'') {
                at += first + 2;
            } else {
                at += 1;
                while is_word(at) {
                    at += 1;
                }
            }
        } else {
            at += 1;
        }
        found.push(&text[from..at]);
    }
    found
}

/// The place after the group that opens at or after `at`, or after the `;` or `,` that comes before one.
fn after_item(tokens: &[&str], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while at < tokens.len() {
        match tokens[at] {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && tokens[at] == "}" {
                    return at + 1;
                }
            }
            ";" | "," if depth == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    at
}

/// Without what is compiled for tests alone, and without `use`, which is no use.
fn without_tests_and_imports<'a>(tokens: &[&'a str]) -> Vec<&'a str> {
    const FOR_TESTS: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at..].starts_with(&FOR_TESTS) {
            at = after_item(tokens, at + FOR_TESTS.len());
        } else if tokens[at] == "use" {
            while tokens[at] != ";" {
                at += 1;
            }
        } else {
            kept.push(tokens[at]);
            at += 1;
        }
    }
    kept
}

fn is_name(token: &str) -> bool {
    token
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
}

/// Names of the fields or variants between braces: the first name of each part at the first depth.
fn members<'a>(tokens: &[&'a str], open: usize) -> Vec<&'a str> {
    let end = after_item(tokens, open);
    let (mut depth, mut fresh) = (0, true);
    let mut found = Vec::new();
    for at in open..end {
        match tokens[at] {
            "{" | "(" | "[" | "<" => depth += 1,
            ">" if matches!(tokens[at - 1], "-" | "=") => {}
            "}" | ")" | "]" | ">" => depth -= 1,
            "," if depth == 1 => fresh = true,
            "pub" | "#" => {}
            name if fresh && depth == 1 && is_name(name) => {
                fresh = false;
                found.push(name);
            }
            _ => {}
        }
    }
    found
}

/// Names that a file declares. What a trait asks for is used by the trait's users.
fn declared<'a>(tokens: &[&'a str]) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut at = 0;
    while at + 1 < tokens.len() {
        let (word, name) = (tokens[at], tokens[at + 1]);
        match word {
            "impl" => {
                // A comma between the parameters of a trait ends nothing.
                let mut depth = 0_i32;
                let ends = |token: &&str| {
                    depth += i32::from(*token == "<") - i32::from(*token == ">");
                    matches!(*token, "{" | ";" | ")") || *token == "," && depth <= 0
                };
                let brace = at + tokens[at..].iter().position(ends).unwrap_or(0);
                let of_trait = tokens[at..brace]
                    .windows(2)
                    .any(|pair| pair[0] == "for" && pair[1] != "<");
                if of_trait && tokens[brace] == "{" {
                    at = after_item(tokens, brace);
                    continue;
                }
            }
            "fn" | "trait" | "static" | "type" if is_name(name) => found.push(name),
            "const" if is_name(name) && !matches!(name, "fn" | "unsafe" | "_") => found.push(name),
            "struct" | "enum" if is_name(name) => {
                found.push(name);
                let open = tokens[at..]
                    .iter()
                    .position(|t| matches!(*t, "{" | ";" | "("))
                    .map_or(at, |n| at + n);
                if tokens[open] == "{" {
                    found.extend(members(tokens, open));
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Names in a text that is a template: `"{name}: {other:?}"`.
fn interpolated(token: &str) -> impl Iterator<Item = &str> {
    let parts = if token.contains('"') { token } else { "" };
    parts.split('{').skip(1).map(|part| {
        let end = part
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(part.len());
        &part[..end]
    })
}

/// The templates of the load generator's pages, which name what they show.
fn pages() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("loadtest/templates");
    let entries = fs::read_dir(folder).expect("the templates");
    entries
        .map(|entry| fs::read_to_string(entry.expect("readable").path()).expect("readable"))
        .collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_'))
}

#[test]
fn nothing_is_declared_for_tests_alone() {
    let ours = ["src", "loadtest/src"];
    let files: Vec<_> = ["src", "loadtest/src", "benches"]
        .into_iter()
        .flat_map(|folder| sources(folder).into_iter().map(move |file| (folder, file)))
        .filter(|(_, (path, _))| {
            let path = path.to_string_lossy();
            !(path.contains("/tests/")
                || path.ends_with("tests.rs")
                || path.ends_with("/testing.rs"))
        })
        .collect();
    let mut uses: HashMap<&str, usize> = HashMap::new();
    let mut declarations: HashMap<&str, Vec<String>> = HashMap::new();
    let pages = pages();
    for word in pages.iter().flat_map(|page| words(page)) {
        *uses.entry(word).or_default() += 1;
    }
    for (folder, (path, text)) in &files {
        let all = tokens(text);
        let all = without_tests_and_imports(&all);
        for token in &all {
            *uses.entry(token).or_default() += 1;
            interpolated(token).for_each(|name| *uses.entry(name).or_default() += 1);
        }
        if ours.contains(folder) {
            for name in declared(&all) {
                let places = declarations.entry(name).or_default();
                places.push(path.display().to_string());
            }
        }
    }
    assert!(
        declarations.len() > 3000,
        "the scan still finds declarations"
    );
    let excepted: HashSet<&str> = EXCEPTIONS.iter().map(|(name, _)| *name).collect();
    let mut bad: Vec<String> = declarations
        .iter()
        .filter(|(name, places)| uses[*name] <= places.len() && !excepted.contains(*name))
        .map(|(name, places)| format!("{name}: {}", places.join(", ")))
        .collect();
    bad.sort();
    report("declared and used by no code but tests", &bad);
    let stale: Vec<String> = excepted
        .iter()
        .filter(|name| {
            declarations
                .get(*name)
                .is_none_or(|places| uses[*name] > places.len())
        })
        .map(ToString::to_string)
        .collect();
    report("exceptions that are needed no more", &stale);
}

#[test]
fn a_declaration_without_a_use_is_seen() {
    let text = r##"
        use crate::{imported, Other};
        pub struct Kept { pub field: Vec<(u8, u8)>, #[serde(default)] other: u8 }
        pub enum Sort { One(u8), Two { inner: u8 }, Three }
        impl Trait for Kept { fn asked_for(&self) {} }
        impl Kept { pub const fn method(&'static self) -> &'static str { "fn quoted() {name}" } }
        fn takes(f: impl Fn(u8)) { let c = '{'; let raw = r#"fn raw() {"#; } // fn comment() {}
        #[cfg(test)] mod tests { fn helper() {} }
        const LIMIT: usize = 1;
    "##;
    let all = tokens(text);
    let all = without_tests_and_imports(&all);
    assert_eq!(
        declared(&all),
        [
            "Kept", "field", "other", "Sort", "One", "Two", "Three", "method", "takes", "LIMIT"
        ]
    );
    let names: Vec<&str> = all.iter().flat_map(|token| interpolated(token)).collect();
    assert!(names.contains(&"name"), "{names:?}");
    assert!(!all.contains(&"imported") && !all.contains(&"helper"));
}
