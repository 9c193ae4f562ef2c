//! The invariants of docs/architecture.md have names, `INV-…`. The code that keeps one names it, and so does the test that
//! would notice; nothing names one that is not in the document.

use super::{report, sources};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// The names in a text: `INV-` and capitals, digits and hyphens.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("INV-").map(|(at, _)| {
        let name = &text[at..];
        let end = name
            .find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-'))
            .unwrap_or(name.len());
        name[..end].trim_end_matches('-')
    })
}

/// Whether a file is of tests, and where in it tests begin.
fn tests_from(path: &Path, text: &str) -> usize {
    let whole = path.to_string_lossy();
    let all = whole.starts_with("tests/")
        || whole.contains("/tests/")
        || whole.ends_with("tests.rs")
        || whole.ends_with("/testing.rs");
    match all {
        true => 0,
        false => text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len()),
    }
}

#[test]
fn invariants_are_named_kept_and_tested() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("docs/architecture.md")).expect("readable");
    let section = document
        .split("\n## ")
        .find_map(|part| part.strip_prefix("Invariants\n"))
        .expect("a section on invariants");
    // An item of the list: `1. **INV-NAME: …`.
    let items = section.lines().filter(|line| {
        line.split_once(". **")
            .is_some_and(|(number, _)| number.parse::<u32>().is_ok())
    });
    let mut bad = Vec::new();
    let mut defined = BTreeSet::new();
    for item in items {
        match item.split_once(". **INV-") {
            Some((number, _)) => {
                let name = named(item).next().expect("it begins with one");
                if !defined.insert(name) {
                    bad.push(format!("{name} is defined twice"));
                }
                if number.parse() != Ok(defined.len()) {
                    bad.push(format!("{name} is item {number} and stands elsewhere"));
                }
            }
            None => bad.push(format!("has no name: {item}")),
        }
    }
    assert!(defined.len() > 20, "{defined:?}");

    let (mut kept, mut proved) = (BTreeMap::new(), BTreeMap::new());
    for folder in ["src", "loadtest/src", "loadtest/tests", "benches", "tests"] {
        for (path, text) in sources(folder) {
            if path.starts_with("tests/tidy/invariants.rs") {
                continue;
            }
            let (code, tests) = text.split_at(tests_from(&path, &text));
            for (part, places) in [(code, &mut kept), (tests, &mut proved)] {
                for name in named(part) {
                    places
                        .entry(name.to_string())
                        .or_insert_with(|| path.clone());
                }
            }
        }
    }
    for (name, path) in kept.iter().chain(&proved) {
        if !defined.contains(&**name) {
            bad.push(format!(
                "{}: {name} is not in docs/architecture.md",
                path.display()
            ));
        }
    }
    for name in defined {
        if !kept.contains_key(name) {
            bad.push(format!("{name}: no code says that it keeps it"));
        }
        if !proved.contains_key(name) {
            bad.push(format!("{name}: no test says that it proves it"));
        }
    }
    report("invariants", &bad);
}
