//! The documents are right: each piece of configuration in them passes `check`, and what `docs/policy.md` shows of `gatepost
//! explain`, `check` and `config` is what they print.
//!
//! How the blocks of a document are read:
//! - ```` ```toml ```` is a fragment: what a file needs besides is put to it.
//! - ```` ```toml file=NAME ```` (and `text`, `sh` …) is written to that file, in the order of the page; a `.toml` file is not
//!   checked by itself but with the commands that read it.
//! - In ```` ```console ```` each line that begins with `$ ` is a command (`\` at the end: it goes on), and what follows is its
//!   output. Those that [`is_run`] names are run, in one folder for the whole page; times are masked.
//!   `UPDATE_DOCS=1` writes the outputs anew.

use crate::ROOT;
use gatepost::{config, policy};
use regex::Regex;
use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// One fenced block.
pub struct Block {
    /// The line number of its first line of text, from 0.
    first: usize,
    /// The words after the fence.
    info: String,
    /// Its lines, without the block's own indentation.
    lines: Vec<String>,
}

impl Block {
    pub fn language(&self) -> &str {
        self.info.split_whitespace().next().unwrap_or("")
    }

    fn file(&self) -> Option<&str> {
        let mut words = self.info.split_whitespace();
        words.find_map(|word| word.strip_prefix("file="))
    }

    pub fn text(&self) -> String {
        self.lines.iter().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "{line}");
            text
        })
    }
}

pub fn blocks(document: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<(Block, usize)> = None;
    for (number, line) in document.lines().enumerate() {
        let bare = line.trim_start();
        match (&mut open, bare.strip_prefix("```")) {
            (None, Some(info)) => {
                let block = Block {
                    first: number + 1,
                    info: info.to_string(),
                    lines: Vec::new(),
                };
                open = Some((block, line.len() - bare.len()));
            }
            (Some(_), Some(_)) => found.extend(open.take().map(|(block, _)| block)),
            (Some((block, indent)), None) => {
                let line = line.get(*indent..).unwrap_or("");
                block.lines.push(line.to_string());
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block without an end");
    found
}

pub fn read(document: &str) -> String {
    fs::read_to_string(format!("{ROOT}/{document}")).expect("the document is there")
}

/// A fragment with what a file needs besides. Lists that it names are there, and empty.
pub fn completed(fragment: &str, folder: &Path) -> String {
    let mut whole = String::new();
    if !fragment.contains("hostname") {
        whole += "hostname = \"mx.example.net\"\n";
    }
    whole += fragment;
    let pool = Regex::new(r#"pool *= *"(\w+)""#).expect("a pattern");
    let pool = pool.captures(fragment).map_or("mta", |found| {
        found.get(1).expect("it is in the pattern").as_str()
    });
    let (listener, pool, route) = (
        "name = \"x\"\naddress = [\"127.0.0.1:1\"]".to_string(),
        format!("name = \"{pool}\"\nbackends = [\"127.0.0.1:2600\"]"),
        format!("domains = [\"example.net\"]\npool = \"{pool}\""),
    );
    for (header, least) in [
        ("[[listener]]", listener),
        ("[[pool]]", pool),
        ("[[route]]", route),
    ] {
        if !fragment.contains(header) {
            let _ = write!(whole, "\n{header}\n{least}\n");
        }
    }
    let has_certificate = fragment.contains("[[certificate]]") || fragment.contains("[acme]");
    if fragment.contains("\"required\"") && !has_certificate {
        whole += "\n[acme]\ndomains = [\"mx.example.net\"]\nagree = true\n";
    }
    let named = Regex::new(r#"^ *files? *=.*"(/etc/gatepost/[\w./-]+)""#).expect("a pattern");
    let named = fragment.lines().filter_map(|line| named.captures(line));
    let files = named.filter_map(|found| found.get(1).map(|file| file.as_str()));
    for file in files {
        let here = folder.join(file.rsplit('/').next().unwrap_or("file"));
        fs::write(&here, "").expect("written");
        whole = whole.replace(file, &here.display().to_string());
    }
    whole
}

#[test]
fn the_configuration_in_the_documents_passes() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut seen = 0;
    for document in ["README.md", "docs/operations.md", "docs/policy.md"] {
        let text = read(document);
        let found = blocks(&text).into_iter();
        for block in found.filter(|block| block.language() == "toml" && block.file().is_none()) {
            let whole = completed(&block.text(), folder.path());
            let place = format!("{document}, line {}:\n{whole}", block.first);
            match config::parse("t.toml", &whole) {
                Err(found) => {
                    let errors: Vec<_> = found.iter().filter(|told| told.is_error()).collect();
                    panic!("{place}\n{errors:?}");
                }
                Ok(loaded) => {
                    let wrong = policy::rule_mistakes(&loaded.config, &|_| false);
                    assert!(wrong.is_empty(), "{place}\n{wrong:?}");
                }
            }
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
}

/// Whether a command of the page is run here: the others need a DNS server or a running process.
fn is_run(command: &str) -> bool {
    let starts = [
        "mkdir ",
        "cp ",
        "sed ",
        "rm ",
        "gatepost check ",
        "gatepost config ",
    ];
    starts.iter().any(|start| command.starts_with(start))
        || (command.starts_with("gatepost explain ") && command.contains(" --answers "))
}

/// A command of a console block, with the lines that the page shows of its output.
struct Shown {
    command: String,
    /// The line numbers of the output in the document.
    first: usize,
    output: Vec<String>,
}

fn commands(block: &Block) -> Vec<Shown> {
    let mut found: Vec<Shown> = Vec::new();
    let mut goes_on = false;
    for (line, number) in block.lines.iter().zip(block.first..) {
        let continued = line.ends_with('\\');
        let part = line.trim_end_matches('\\').trim_end();
        match (line.strip_prefix("$ "), found.last_mut()) {
            (_, Some(last)) if goes_on => {
                last.command = format!("{} {}", last.command, part.trim_start());
                last.first = number + 1;
            }
            (Some(_), _) => {
                found.push(Shown {
                    command: part.trim_start_matches("$ ").to_string(),
                    first: number + 1,
                    output: Vec::new(),
                });
            }
            (None, Some(last)) => last.output.push(line.clone()),
            (None, None) => panic!("line {number}: an output without a command"),
        }
        goes_on = continued && (goes_on || line.starts_with("$ "));
    }
    for shown in &mut found {
        // What parts it from the next command.
        while shown.output.last().is_some_and(String::is_empty) {
            shown.output.pop();
        }
    }
    found
}

/// Standard output and error of a command, as a shell runs it.
pub fn run(command: &str, folder: &Path) -> String {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_gatepost"));
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", program.parent().expect("a folder").display());
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1; {command}")])
        .current_dir(folder)
        .env("PATH", path)
        .output()
        .expect("sh runs");
    let said = String::from_utf8_lossy(&output.stdout);
    said.trim_end().to_string()
}

/// What two runs have in common: no times, and no columns that are as wide as those.
fn masked(output: &str) -> String {
    let times = Regex::new(r"\b\d+(\.\d+)? (ms|us)\b").expect("a pattern");
    let blanks = Regex::new(" +").expect("a pattern");
    let lines = output.lines().map(|line| {
        let line = times.replace_all(line.trim_end(), "T");
        blanks.replace_all(&line, " ").into_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_tour_of_the_policy_is_what_happens() {
    let document = "docs/policy.md";
    let text = read(document);
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let (mut ran, mut moved) = (0, 0_isize);
    for block in blocks(&text) {
        if let Some(file) = block.file() {
            let file = folder.path().join(file);
            fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            fs::write(file, block.text()).expect("written");
        }
        if block.language() != "console" {
            continue;
        }
        for shown in commands(&block)
            .iter()
            .filter(|shown| is_run(&shown.command))
        {
            ran += 1;
            let said = run(&shown.command, folder.path());
            let expected = shown.output.join("\n");
            if masked(&said) == masked(&expected) {
                continue;
            }
            assert!(
                std::env::var_os("UPDATE_DOCS").is_some(),
                "{document}, line {}: `{}` says\n{said}\n(UPDATE_DOCS=1 writes that to the page)",
                shown.first,
                shown.command
            );
            let first = shown.first.saturating_add_signed(moved);
            let new: Vec<String> = said
                .lines()
                .map(|line| line.trim_end().to_string())
                .collect();
            moved += isize::try_from(new.len()).expect("small")
                - isize::try_from(shown.output.len()).expect("small");
            lines.splice(first..first + shown.output.len(), new);
        }
    }
    assert!(ran > 10, "{ran}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(format!("{ROOT}/{document}"), lines.join("\n") + "\n").expect("written");
    }
}
