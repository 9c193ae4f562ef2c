//! The texts that a configuration is made of: a file or standard input, and the files that it includes.
//!
//! Included files are parsed by themselves and then joined to one tree: tables are merged, lists of tables (`[[pool]]`)
//! are appended in the order of the files, and a key that two files set is an error. All texts lie one after the other
//! in the [`Document`], so that a place in the tree is an offset whichever file it came from.

use super::{Problem, document::Document};
use std::{
    io::{self, Read},
    ops::Range,
    path::{Path, PathBuf},
    sync::OnceLock,
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// A file larger than this is no configuration (a device, or a mailbox, was named by mistake).
const FILE_MAX: u64 = 4 << 20;
/// Files of one configuration at most, and how deep they may include each other.
const FILES_MAX: usize = 256;
const DEPTH_MAX: usize = 8;
/// What `-c -` is called in messages.
const STANDARD_INPUT: &str = "standard input";

/// One file's text.
#[derive(Clone, Debug)]
pub struct Text {
    /// What problems call it.
    pub name: String,
    /// Where it was read; `None` for standard input and for flags alone.
    pub path: Option<PathBuf>,
    /// What it holds, without a byte-order mark.
    pub text: String,
}

/// Whether this path means standard input.
#[must_use]
pub fn is_standard_input(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// What reads a file.
pub type Reader<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// Reads a file (`-` is standard input) and all that it includes, in order.
///
/// # Errors
/// A file can't be read or is no text, an `include` that is no list of texts or leads nowhere.
pub fn gather(file: &Path, reader: Reader<'_>) -> Result<Vec<Text>, Vec<Problem>> {
    let first = match is_standard_input(file) {
        true => standard_input(),
        false => read(file, reader),
    };
    let first = first.map_err(|problem| vec![*problem])?;
    let mut all = Vec::new();
    include(first, &mut all, 0, reader)?;
    Ok(all)
}

fn include(
    text: Text,
    all: &mut Vec<Text>,
    depth: usize,
    reader: Reader<'_>,
) -> Result<(), Vec<Problem>> {
    let mut document = Document::new(&text.name, &text.text);
    let patterns = patterns(&text.text, &mut document);
    let folder = text.path.as_deref().and_then(Path::parent);
    let folder = folder.unwrap_or(Path::new("")).to_path_buf();
    all.push(text);
    for (pattern, span) in patterns {
        let found = match matching(&folder, &pattern) {
            Ok(found) => found,
            Err((message, hint)) => {
                document.error_at(span, "include", message, hint);
                continue;
            }
        };
        for path in found {
            if all.iter().any(|known| known.path.as_ref() == Some(&path)) {
                let message = format!("{} is included twice", path.display());
                document.error_at(span.clone(), "include", message, None);
            } else if depth == DEPTH_MAX || all.len() == FILES_MAX {
                let message = format!("more than {FILES_MAX} files, or more than {DEPTH_MAX} deep");
                document.error_at(span.clone(), "include", message, None);
            } else {
                let text = read(&path, reader).map_err(|problem| vec![*problem])?;
                include(text, all, depth + 1, reader)?;
            }
        }
    }
    match document.is_sound() {
        true => Ok(()),
        false => Err(document.into_problems()),
    }
}

/// What `include` names. A text with errors of syntax names nothing: those are told by the caller's own parse.
fn patterns(text: &str, document: &mut Document) -> Vec<(String, Range<usize>)> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let Some((_, value)) = tree.get_ref().iter().find(|(key, _)| is_include(key)) else {
        return found;
    };
    let hint = || Some("write include = [\"conf.d/*.toml\"]".to_string());
    let DeValue::Array(items) = value.get_ref() else {
        let message = "`include` must be a list of files".into();
        document.error_at(value.span(), "include", message, hint());
        return found;
    };
    for item in items {
        match item.get_ref() {
            DeValue::String(pattern) => found.push((pattern.to_string(), item.span())),
            _ => {
                let message = "`include` must be a list of files".into();
                document.error_at(item.span(), "include", message, hint());
            }
        }
    }
    found
}

fn is_include(key: &Spanned<std::borrow::Cow<'_, str>>) -> bool {
    key.get_ref() == "include"
}

type Fault = (String, Option<String>);

/// The files of a pattern, which starts in the folder of the file that names it: in the order of their names. A `*`
/// stands for anything in the last part of the path; such a pattern may match nothing.
fn matching(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, Fault> {
    let path = folder.join(pattern);
    let last = path.file_name().and_then(|name| name.to_str());
    let Some(last) = last.filter(|name| name.contains('*')) else {
        return Ok(vec![path]);
    };
    let parent = path.parent().unwrap_or(Path::new(""));
    if parent.to_string_lossy().contains('*') {
        let hint = Some("`*` may stand in the last part alone: \"conf.d/*.toml\"".into());
        return Err((format!("\"{pattern}\" has a `*` in a folder's name"), hint));
    }
    let searched = match parent.as_os_str().is_empty() {
        true => Path::new("."),
        false => parent,
    };
    let failed = |why: io::Error| (format!("can't list {}: {why}", searched.display()), None);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(searched).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let Some(name) = name.to_str() else { continue };
        // A hidden file is an editor's, or a package's that waits.
        if !name.starts_with('.') && fits(last, name) {
            found.push(parent.join(name));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a name is of a pattern in which `*` stands for anything.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// The tree of all texts, with the places that the document gives them. `None` where a text has errors of syntax; these, and what
/// two texts set both, are told to the document.
pub fn join<'a>(texts: &'a [Text], document: &mut Document) -> Option<Spanned<DeTable<'a>>> {
    let mut whole: DeTable<'a> = DeTable::new();
    let mut sound = true;
    for (number, text) in texts.iter().enumerate() {
        let base = match number {
            0 => 0,
            _ => document.append(&text.name, &text.text),
        };
        let (tree, errors) = DeTable::parse_recoverable(&text.text);
        let tree = shifted(tree.into_inner(), base);
        super::hidden::mark(&tree, document);
        if !errors.is_empty() {
            super::syntax::tell(&text.text, base, &errors, document);
            sound = false;
            continue;
        }
        let tree = tree.into_iter().filter(|(key, _)| !is_include(key));
        merge(&mut whole, tree.collect(), "", document);
    }
    sound.then(|| Spanned::new(0..0, whole))
}

fn shifted(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    let place = |span: Range<usize>| span.start + by..span.end + by;
    table
        .into_iter()
        .map(|(key, value)| {
            let key = Spanned::new(place(key.span()), key.into_inner());
            (key, shifted_value(value, by))
        })
        .collect()
}

fn shifted_value(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let span = value.span();
    let value = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(shifted(table, by)),
        DeValue::Array(items) => {
            let items = items.into_iter();
            DeValue::Array(items.map(|item| shifted_value(item, by)).collect())
        }
        other => other,
    };
    Spanned::new(span.start + by..span.end + by, value)
}

/// Lays a file's tree over that of the files before it. What both set is told, and stays as it is.
fn merge<'a>(whole: &mut DeTable<'a>, more: DeTable<'a>, path: &str, document: &mut Document) {
    for (key, value) in more {
        let here = super::shape::join(path, key.get_ref());
        let Some(known) = whole.get_mut(&key) else {
            whole.insert(key, value);
            continue;
        };
        let before = known.span();
        match (known.get_mut(), value.into_inner()) {
            (DeValue::Table(known), DeValue::Table(more)) => merge(known, more, &here, document),
            (DeValue::Array(known), DeValue::Array(more)) if all_tables(known, &more) => {
                more.into_iter().for_each(|item| known.push(item));
            }
            (known, _) => {
                let is_list = matches!(known, DeValue::Array(items) if !items.is_empty() && all_tables(items, &[]));
                twice(key.span(), &here, is_list, before, document);
            }
        }
    }
}

/// Tells that a key is set in a file before this one. `is_list`: as a list of tables.
fn twice(
    key: Range<usize>,
    here: &str,
    is_list: bool,
    before: Range<usize>,
    document: &mut Document,
) {
    let before = document.place_of(before);
    // A list lacks an element then, which has no number: those that are there are looked at.
    let lost = match is_list {
        true => format!("{here}[]"),
        false => here.to_string(),
    };
    let (message, hint) = match is_list {
        true => (
            format!("`{here}` is a list of tables, the first in {before}"),
            list_hint(here),
        ),
        false => (
            format!("`{here}` is set in {before} already"),
            "lists of tables are joined; any other key may be set once".into(),
        ),
    };
    document.error_at(key, &lost, message, Some(hint));
    document.mark_broken(&lost);
}

/// What to write where a table adds to an element of a list in another file, which has no name that TOML knows.
fn list_hint(list: &str) -> String {
    let one_more = format!("write `[[{list}]]` for one more");
    match list {
        "listener" => format!(
            "{one_more}; what is judged on a listener of another file can stand in a `[[profile]]` that it names (profile = \"…\")"
        ),
        _ => format!("{one_more}; the keys of one element stand in one file"),
    }
}

fn all_tables(known: &[Spanned<DeValue<'_>>], more: &[Spanned<DeValue<'_>>]) -> bool {
    let mut both = known.iter().chain(more);
    both.all(|item| matches!(item.get_ref(), DeValue::Table(_)))
}

/// Standard input, read once: a reload takes the same text again.
fn standard_input() -> Result<Text, Box<Problem>> {
    static TEXT: OnceLock<Result<Vec<u8>, String>> = OnceLock::new();
    let octets = TEXT.get_or_init(|| {
        let mut octets = Vec::new();
        let read = io::stdin().take(FILE_MAX + 1).read_to_end(&mut octets);
        read.map(|_| octets).map_err(|why| why.to_string())
    });
    let told = |message: String| Box::new(Problem::of_file(STANDARD_INPUT, message, None));
    let octets = octets
        .clone()
        .map_err(|why| told(format!("can't read it: {why}")))?;
    if octets.len() as u64 > FILE_MAX {
        return Err(told("it is too long for a configuration".into()));
    }
    Ok(Text {
        name: STANDARD_INPUT.into(),
        path: None,
        text: utf8(octets, STANDARD_INPUT)?,
    })
}

fn read(file: &Path, reader: Reader<'_>) -> Result<Text, Box<Problem>> {
    let name = file.display().to_string();
    let told =
        |message: String, hint: Option<String>| Box::new(Problem::of_file(&name, message, hint));
    let failed = |why: io::Error| {
        let hint = match why.kind() {
            io::ErrorKind::NotFound => Some(
                "name another with -c FILE, run where config/quickstart.toml is, or use no file at all: \
                 --listen 127.0.0.1:2525 --backend 127.0.0.1:2600"
                    .into(),
            ),
            _ => None,
        };
        told(format!("can't read the configuration: {why}"), hint)
    };
    // Where it is closed to us by now, it was opened before.
    let size = std::fs::metadata(file).map_or(0, |facts| facts.len());
    if size > FILE_MAX {
        return Err(told(
            format!("{size} octets are too many for a configuration"),
            None,
        ));
    }
    let octets = reader(file).map_err(failed)?;
    Ok(Text {
        text: utf8(octets, &name)?,
        path: Some(file.to_path_buf()),
        name,
    })
}

/// The text, without the byte-order mark that some editors write.
fn utf8(octets: Vec<u8>, name: &str) -> Result<String, Box<Problem>> {
    let mut text = String::from_utf8(octets).map_err(|why| {
        let octets = why.as_bytes();
        let sound = &octets[..why.utf8_error().valid_up_to()];
        let line = sound.split(|octet| *octet == b'\n').count();
        let message = match octets {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "it is UTF-16".to_string(),
            _ => format!("line {line} is not UTF-8"),
        };
        let hint = Some("save the file as UTF-8".into());
        Box::new(Problem::of_file(name, message, hint))
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config;
    use std::fs;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name, fit) in [
            ("*.toml", "a.toml", true),
            ("*.toml", "a.toml.bak", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxc", false),
            ("a*a", "a", false),
            ("*", "anything", true),
            ("10-*.toml", "20-a.toml", false),
        ] {
            assert_eq!(fits(pattern, name), fit, "{pattern} {name}");
        }
    }

    fn written(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    const MAIN: &str = "include = [\"conf.d/*.toml\"]\nhostname = \"mx.example.net\"\n[[listener]]\nname = \"mx\"\n\
        address = [\"127.0.0.1:2525\"]\n[limits]\nsessions = 50\n";
    const POOL: &str = "[[pool]]\nname = \"a\"\nbackends = [\"127.0.0.1:26\"]\n[[route]]\ndomains = [\"a.example\"]\npool = \"a\"\n";

    #[test]
    fn files_are_joined_in_their_order() {
        let second = POOL.replace("\"a", "\"b").replace(":26", ":27");
        let more = format!("{second}[limits]\nrecipients = 7\n");
        let files = [
            ("mx.toml", MAIN),
            ("conf.d/10-a.toml", &format!("\u{feff}{POOL}")),
            ("conf.d/20-b.toml", &more),
            ("conf.d/.20-b.toml.swp", "no toml"),
        ];
        let folder = written(&files);
        let loaded = config::load(&folder.path().join("mx.toml")).unwrap();
        let pools: Vec<&str> = loaded.config.pool.iter().map(|pool| &*pool.name).collect();
        assert_eq!(pools, ["a", "b"]);
        assert_eq!(loaded.config.limits.sessions, 50);
        assert_eq!(loaded.config.limits.recipients, 7);
        assert_eq!(loaded.files().len(), 3);
    }

    #[test]
    fn an_error_is_told_in_the_file_where_it_stands() {
        let wrong = POOL.replace("127.0.0.1:26", "127.0.0.1");
        let folder = written(&[("mx.toml", MAIN), ("conf.d/10-a.toml", &wrong)]);
        let problems = config::load(&folder.path().join("mx.toml")).unwrap_err();
        assert!(problems[0].file.ends_with("10-a.toml"), "{problems:?}");
        assert_eq!((problems[0].line, problems[0].column), (3, 13));
        assert_eq!(problems[0].text, "backends = [\"127.0.0.1\"]");
    }

    #[test]
    fn a_key_is_set_once() {
        let more = format!("hostname = \"other.example\"\n{POOL}");
        let folder = written(&[("mx.toml", MAIN), ("conf.d/10-a.toml", &more)]);
        let problems = config::load(&folder.path().join("mx.toml")).unwrap_err();
        assert!(problems[0].message.contains("mx.toml:2"), "{problems:?}");
        assert_eq!(problems[0].line, 1);
    }

    #[test]
    fn a_file_that_includes_itself_is_told() {
        let folder = written(&[("mx.toml", "include = [\"mx.toml\"]\n")]);
        let problems = config::load(&folder.path().join("mx.toml")).unwrap_err();
        assert!(
            problems[0].message.contains("included twice"),
            "{problems:?}"
        );
    }

    #[test]
    fn a_list_in_one_file_takes_no_table_of_another() {
        let own = "[listener.policy]\nreject_score = 5.0\n[[policy.rule]]\nname = \"a\"\n";
        let files = [
            ("mx.toml", MAIN),
            ("conf.d/10-a.toml", POOL),
            ("conf.d/20-b.toml", own),
        ];
        let folder = written(&files);
        let found = config::load(&folder.path().join("mx.toml")).unwrap_err();
        let told: Vec<&str> = found.iter().map(|problem| &*problem.message).collect();
        // What else is wrong is told as well.
        assert!(
            told.len() > 1
                && told[1..]
                    .iter()
                    .any(|line| line.contains("`policy.rule[0]`")),
            "{told:?}"
        );
        assert!(
            told[0].starts_with("`listener` is a list of tables, the first in "),
            "{told:?}"
        );
        assert!(
            found[0]
                .hint
                .as_deref()
                .is_some_and(|hint| hint.contains("`[[profile]]`"))
        );
    }
}
