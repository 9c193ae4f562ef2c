//! The rules of the house, enforced: import direction, no circles of imports, size of files and functions, a doc on each
//! module, nothing that only tests use, invariants by name.

mod circles;
mod dead;
mod invariants;
mod rooms;

use rooms::ROOMS;
use std::{
    fs,
    path::{Path, PathBuf},
};

const LINES_PER_FILE_MAX: usize = 500;
const LINES_PER_FUNCTION_MAX: usize = 70;

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        for entry in entries {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("readable");
                found.push((path, text));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    walk(&root.join(folder), &mut found);
    for (path, _) in &mut found {
        *path = path
            .strip_prefix(root)
            .expect("below the root")
            .to_path_buf();
    }
    found
}

fn report(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

/// The room of `src/room.rs` or `src/room/…`.
fn room(path: &Path) -> String {
    let part = path
        .components()
        .nth(1)
        .expect("src/…")
        .as_os_str()
        .to_string_lossy();
    part.trim_end_matches(".rs").to_string()
}

/// The line without a comment at its end.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// The rooms that a file names after `crate::` or `gatepost::`, alone or in a group, each with its line.
fn rooms_named(text: &str) -> Vec<(usize, String)> {
    let clean: String = text
        .lines()
        .map(|line| code(line).replace("gatepost::", "crate::") + "\n")
        .collect();
    let word = |from: &str| -> String {
        from.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let mut named = Vec::new();
    for (at, found) in clean.match_indices("crate::") {
        let line = clean[..at].matches('\n').count() + 1;
        let rest = &clean[at + found.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            named.push((line, word(rest)));
            continue;
        };
        // The names at the first depth of the braces.
        let (mut depth, mut fresh) = (0, true);
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => fresh = true,
                c if fresh && depth == 0 && !c.is_whitespace() => {
                    fresh = false;
                    named.push((line, word(&group[i..])));
                }
                _ => {}
            }
        }
    }
    named
}

#[test]
fn imports_point_downwards() {
    let mut bad = Vec::new();
    for (path, text) in sources("src") {
        let here = room(&path);
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == here) else {
            continue;
        };
        for (line, target) in rooms_named(&text) {
            let known = ROOMS.iter().any(|(name, _)| *name == target);
            if known && target != here && !allowed.contains(&&*target) {
                bad.push(format!(
                    "{}:{line}: {here} must not know {target}",
                    path.display()
                ));
            }
        }
    }
    report("imports that point upwards", &bad);
}

#[test]
fn grouped_imports_are_seen() {
    let text =
        "use crate::{\n    a::{b, c},\n    d, // crate::x\n    e::f,\n};\nlet y = crate::g::h;\n";
    let names: Vec<String> = rooms_named(text)
        .into_iter()
        .map(|(_, name)| name)
        .collect();
    assert_eq!(names, ["a", "d", "e", "g"]);
}

#[test]
// INV-ENGINE
fn engine_types_stay_in_their_rooms() {
    let mut bad = Vec::new();
    for (path, text) in sources("src") {
        // `auth/remote` lives on the control thread: HTTP and sockets of others, never a session's.
        let remote = path.starts_with("src/auth/remote");
        if remote
            || matches!(
                &*room(&path),
                "net" | "http" | "admin" | "acme" | "lookup" | "supervisor"
            )
        {
            continue;
        }
        for (at, line) in text.lines().enumerate() {
            if code(line).contains("tokio::") || code(line).contains("tokio_uring") {
                bad.push(format!("{}:{}", path.display(), at + 1));
            }
        }
    }
    report(
        "tokio outside net, http, admin, acme, lookup, supervisor and auth/remote",
        &bad,
    );
}

#[test]
// INV-PURE
fn the_core_is_pure() {
    let mut bad = Vec::new();
    for (path, text) in sources("src/smtp") {
        for (at, line) in text.lines().enumerate() {
            for word in [
                "std::net",
                "std::io",
                "std::fs",
                "Instant",
                "SystemTime",
                "thread::",
            ] {
                if code(line).contains(word) {
                    bad.push(format!("{}:{}: {word}", path.display(), at + 1));
                }
            }
        }
    }
    report("I/O or a clock in smtp/", &bad);
}

#[test]
// INV-UNSAFE
fn unsafe_is_allowed_by_name_and_explained() {
    let mut bad = Vec::new();
    for (path, text) in sources("src") {
        let allowed = room(&path) == "net" || path.to_string_lossy().starts_with("src/smtp/scan");
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            if !(code(line).contains("unsafe {") || code(line).contains("unsafe impl")) {
                continue;
            }
            let explained = lines[at.saturating_sub(6)..=at]
                .iter()
                .any(|l| l.contains("SAFETY:"));
            if !allowed {
                bad.push(format!(
                    "{}:{}: unsafe outside net/ and smtp/scan",
                    path.display(),
                    at + 1
                ));
            } else if !explained {
                bad.push(format!(
                    "{}:{}: unsafe without a SAFETY comment",
                    path.display(),
                    at + 1
                ));
            }
        }
    }
    report("unsafe", &bad);
}

#[test]
fn every_module_says_what_it_is_for() {
    let mut bad = Vec::new();
    for folder in ["src", "tests", "benches", "loadtest/src"] {
        for (path, text) in sources(folder) {
            if !text.starts_with("//!") {
                bad.push(path.display().to_string());
            }
        }
    }
    report("files that don't open with //!", &bad);
}

/// Functions of a file that are too long: a function's head, to the brace at the same depth.
fn long_functions(path: &Path, lines: &[&str], bad: &mut Vec<String>) {
    let mut under_way: Option<(usize, usize)> = None; // its first line, its indent
    for (at, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        match under_way {
            None => {
                let head = trimmed.split('(').next().unwrap_or_default();
                let opens =
                    head.split_whitespace().any(|w| w == "fn") && !trimmed.starts_with("//");
                under_way = (opens && !line.ends_with([';', '}'])).then_some((at, indent));
            }
            Some((from, depth)) if indent == depth && trimmed.starts_with('}') => {
                if at - from + 1 > LINES_PER_FUNCTION_MAX {
                    bad.push(format!(
                        "{}:{}: a function of {} lines",
                        path.display(),
                        from + 1,
                        at - from + 1
                    ));
                }
                under_way = None;
            }
            Some(_) => {}
        }
    }
}

#[test]
fn files_and_functions_stay_small() {
    let mut bad = Vec::new();
    for folder in ["src", "loadtest/src"] {
        for (path, text) in sources(folder) {
            let lines: Vec<&str> = text.lines().collect();
            if lines.len() > LINES_PER_FILE_MAX {
                bad.push(format!("{}: {} lines", path.display(), lines.len()));
            }
            long_functions(&path, &lines, &mut bad);
        }
    }
    report("too long", &bad);
}

#[test]
fn nothing_is_left_open() {
    let mut bad = Vec::new();
    for folder in ["src", "tests", "benches", "loadtest/src"] {
        for (path, text) in sources(folder) {
            if path.starts_with("tests/tidy") {
                continue;
            }
            for (at, line) in text.lines().enumerate() {
                if ["todo!(", "unimplemented!(", "FIXME", "XXX", "#[ignore"]
                    .iter()
                    .any(|w| line.contains(w))
                {
                    bad.push(format!("{}:{}", path.display(), at + 1));
                }
            }
        }
    }
    report("left open", &bad);
}

/// The binary is MIT or Apache-2.0, so nothing in it may ask for more than its name in a notice.
#[test]
fn dependencies_are_licensed_for_us() {
    const FINE: &[&str] = &[
        "MIT",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "Zlib",
        "0BSD",
        "Unlicense",
        "CC0-1.0",
        "Unicode-3.0",
        "BSL-1.0",
        "MIT-0",
        "Apache-2.0 WITH LLVM-exception",
    ];
    // Of what is built: the lock file also names what optional features of others would take.
    let out = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--locked", "--target", "all"])
        .args(["--edges", "all", "--prefix", "none", "--format", "{p}\t{l}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(text.lines().count() > 100, "{text}");
    let mut bad = Vec::new();
    for (name, licence) in text.lines().filter_map(|line| line.split_once('\t')) {
        // What was listed before has a mark after it.
        let licence = licence.trim_end_matches("(*)").trim();
        // One of the alternatives must be fine, and of that every part.
        let plain = licence.replace(['(', ')'], " ");
        let plain = plain.replace('/', " OR ").replace(" or ", " OR ");
        let fine = plain.split(" OR ").any(|choice| {
            choice
                .split(" AND ")
                .all(|part| FINE.contains(&part.trim()))
        });
        if !fine {
            bad.push(format!("{name}: {licence}"));
        }
    }
    bad.sort();
    bad.dedup();
    report("licences to look at", &bad);
}
