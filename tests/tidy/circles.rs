//! No circle of imports between files, but the knots that are named here with their reasons.
//!
//! It reads paths, not meaning: `crate::`, `super::`, `self::` and the names of a module's children, in `use` and
//! elsewhere, each followed through the re-exports of `mod.rs` to the file that has the name. Tests don't count.

use super::{code, report, sources};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// The files that may name each other in a circle, a row for each knot. Each is explained in the `mod.rs` of its folder.
const KNOTS: &[&[&str]] = &[
    &[
        "src/upstream/pooling/backend.rs",
        "src/upstream/pooling/budget.rs",
        "src/upstream/pooling/handover.rs",
        "src/upstream/pooling/queue.rs",
    ],
    &["src/net/ring/executor.rs", "src/net/ring/wake.rs"],
    &[
        "src/policy/spf/explanation.rs",
        "src/policy/spf/machine.rs",
        "src/policy/spf/mechanisms.rs",
        "src/policy/spf/reverse.rs",
    ],
];

/// The modules of a crate by their paths.
type Modules = BTreeMap<Vec<String>, Module>;

#[derive(Default)]
struct Module {
    file: String,
    /// Its code, without comments and tests.
    text: String,
    /// What it has by `use`: the name, and the whole path. The name `*` stands for all of a module.
    names: Vec<(String, Vec<String>)>,
}

/// The module of a file below `root`.
fn module_path(file: &Path, root: &str) -> Vec<String> {
    let below = file.strip_prefix(root).expect("a file below the root");
    let mut path: Vec<String> = below
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if matches!(path.last().map(|last| &**last), Some("mod" | "lib")) {
        path.pop();
    }
    path
}

/// Code without comments, and without what `#[cfg(test)]` stands before.
fn without_tests(text: &str) -> String {
    let mut out = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            out += code(line);
            out.push('\n');
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        for line in lines.by_ref() {
            let same = line.len() - line.trim_start().len() == indent;
            let ends = line.ends_with([';', '}']) && !line.trim_start().starts_with("#[");
            if same && ends {
                break;
            }
        }
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The paths that `text` begins with, as `a::{b, c::D}` has two; `prefix` is what stands before. The rest follows.
fn paths<'a>(text: &'a str, prefix: &[String], found: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = paths(rest, prefix, found).trim_start();
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
        }
    }
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    let (word, rest) = match text.strip_prefix('*') {
        Some(rest) => ("*", rest),
        None => text.split_at(end),
    };
    let mut path = prefix.to_vec();
    if word.is_empty() {
        return rest;
    }
    if word != "self" || prefix.is_empty() {
        path.push(word.to_string());
    }
    if let Some(rest) = rest.strip_prefix("::") {
        return paths(rest, &path, found);
    }
    let other = rest.trim_start().strip_prefix("as ").map(str::trim_start);
    found.push(path);
    other.map_or(rest, |other| other.trim_start_matches(is_word))
}

/// All paths in the code of the module `here` that lead to modules of this crate: whole, each with whether it stands in
/// a `use`.
fn all_paths(modules: &Modules, here: &[String]) -> Vec<(bool, Vec<String>)> {
    let text = &modules[here].text;
    let children: BTreeSet<&str> = modules
        .keys()
        .filter(|path| path.len() == here.len() + 1 && path.starts_with(here))
        .map(|path| &**path.last().expect("a child has a name"))
        .collect();
    let mut all = Vec::new();
    let mut at = 0;
    while let Some(next) = text[at..].find("::") {
        let colons = at + next;
        at = colons + 2;
        let start = text[..colons].rfind(|c| !is_word(c)).map_or(0, |i| i + 1);
        let head = &text[start..colons];
        let known = matches!(head, "crate" | "super" | "self") || children.contains(head);
        if !known || text[..start].ends_with("::") {
            continue;
        }
        let statement = text[..start].rfind([';', '}']).map_or(0, |i| i + 1);
        let in_use = text[statement..start]
            .split_whitespace()
            .any(|w| w == "use");
        let mut found = Vec::new();
        let rest = paths(&text[start..], &[], &mut found);
        at = at.max(text.len() - rest.len());
        for path in found {
            let mut whole = match &*path[0] {
                "crate" => Vec::new(),
                "super" | "self" => here.to_vec(),
                _ => [here, &path[..1]].concat(),
            };
            if path[0] == "super" {
                whole.pop();
            }
            for part in &path[1..] {
                match &**part {
                    "super" => drop(whole.pop()),
                    part => whole.push(part.to_string()),
                }
            }
            all.push((in_use, whole));
        }
    }
    all
}

/// The module that has what `path` names, through re-exports.
fn home(modules: &Modules, path: &[String], depth: usize) -> Option<Vec<String>> {
    let length = (0..=path.len())
        .rev()
        .find(|n| modules.contains_key(&path[..*n]))?;
    let (module, rest) = path.split_at(length);
    let Some(name) = rest.first().filter(|_| depth > 0) else {
        return (!module.is_empty()).then(|| module.to_vec());
    };
    let handed = modules[module]
        .names
        .iter()
        .find(|(known, _)| known == name);
    match handed {
        Some((_, target)) if target != path => home(modules, target, depth - 1),
        _ => (!module.is_empty()).then(|| module.to_vec()),
    }
}

/// Which file names which, in the crate that has these sources below `root`.
fn imports(root: &str, sources: Vec<(PathBuf, String)>) -> BTreeMap<String, BTreeSet<String>> {
    let mut modules = Modules::new();
    for (file, text) in sources {
        let path = module_path(&file, root);
        if path
            .iter()
            .any(|part| matches!(&**part, "tests" | "testing" | "main") || part.ends_with("_tests"))
        {
            continue;
        }
        let module = Module {
            file: file.display().to_string(),
            text: without_tests(&text),
            names: Vec::new(),
        };
        modules.insert(path, module);
    }
    let every: Vec<Vec<String>> = modules.keys().cloned().collect();
    let named: Vec<_> = every.iter().map(|here| all_paths(&modules, here)).collect();
    for (here, named) in every.iter().zip(&named) {
        let names = named.iter().filter(|(in_use, _)| *in_use);
        let names = names.filter_map(|(_, path)| Some((path.last()?.clone(), path.clone())));
        modules.get_mut(here).expect("it is one of them").names = names.collect();
    }
    let mut imports = BTreeMap::new();
    for (here, named) in every.iter().zip(named) {
        let text = &modules[here].text;
        let targets: BTreeSet<String> = named
            .into_iter()
            // A face that hands on the names of its rooms does not need them.
            .filter(|(in_use, path)| !(*in_use && path.starts_with(here) && !is_used(text, path)))
            .filter_map(|(_, path)| home(&modules, &path, 8))
            // What a folder's own `mod.rs` defines is common to its files.
            .filter(|target| !here.starts_with(target))
            .map(|target| modules[&target].file.clone())
            .collect();
        imports.insert(modules[here].file.clone(), targets);
    }
    imports
}

/// Whether the last name of `path` stands in the text more than once.
fn is_used(text: &str, path: &[String]) -> bool {
    let name = path.last().expect("a path has a name");
    let whole =
        |at: usize| !text[..at].ends_with(is_word) && !text[at + name.len()..].starts_with(is_word);
    text.match_indices(&**name)
        .filter(|(at, _)| whole(*at))
        .count()
        > 1
}

/// The files that each file leads to, and that lead back to it.
fn circles(imports: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<Vec<String>> {
    let reach = |from: &str| {
        let mut seen = BTreeSet::new();
        let mut left = vec![from];
        while let Some(file) = left.pop() {
            for next in imports.get(file).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    left.push(next);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<String>> =
        imports.keys().map(|file| (file, reach(file))).collect();
    let circle = |file: &String| -> Vec<String> {
        reached[file]
            .iter()
            .filter(|other| reached.get(*other).is_some_and(|back| back.contains(file)))
            .cloned()
            .collect()
    };
    imports
        .keys()
        .map(circle)
        .filter(|circle| circle.len() > 1)
        .collect()
}

#[test]
fn files_import_each_other_in_no_circle() {
    let mut bad = Vec::new();
    for root in ["src", "loadtest/src"] {
        let imports = imports(root, sources(root));
        for circle in circles(&imports) {
            if KNOTS
                .iter()
                .any(|knot| circle.iter().all(|file| knot.contains(&&**file)))
            {
                continue;
            }
            let mut ties = String::new();
            for from in &circle {
                for to in imports[from].iter().filter(|to| circle.contains(to)) {
                    ties += &format!("\n    {from} -> {to}");
                }
            }
            bad.push(format!("{} files{ties}", circle.len()));
        }
    }
    report("circles of imports", &bad);
}

#[test]
fn a_circle_is_found() {
    let file = |path: &str, text: &str| (PathBuf::from(path), text.to_string());
    let found = |files: &[(PathBuf, String)]| circles(&imports("src", files.to_vec()));
    let mut files = vec![
        file("src/lib.rs", "pub mod a;\npub mod b;\n"),
        // A face hands `C` on, and has something of its own.
        file(
            "src/a/mod.rs",
            "mod c;\nmod d;\npub use c::C;\npub struct Own;\n",
        ),
        file(
            "src/a/c.rs",
            "use super::{Own, d::{self, D}};\npub struct C(D);\n",
        ),
        file(
            "src/a/d.rs",
            "use super::Own;\npub struct D(Own);\n#[cfg(test)]\nmod tests {\n    use crate::b::B;\n}\n",
        ),
        file(
            "src/b.rs",
            "use crate::a::C;\n// crate::b::B\npub struct B(C);\n",
        ),
    ];
    assert!(found(&files).is_empty(), "{:?}", found(&files));
    let tied = "use super::Own;\npub struct D(Own, crate::b::B);\n";
    files[3].1 = tied.into();
    let circle = ["src/a/c.rs", "src/a/d.rs", "src/b.rs"].map(String::from);
    assert_eq!(found(&files).into_iter().collect::<Vec<_>>(), [circle]);
}
