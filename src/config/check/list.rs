//! Lists and the files that hold their entries.

use crate::config::{List, NamedList, document::Document, entry, nearest::nearest, open_file};
use std::{
    io::Read,
    path::{Path, PathBuf},
};

/// A list file larger than this is refused: it is read into memory at each reload.
const FILE_MAX: u64 = 64 << 20;

/// What the entries of a list are.
#[derive(Clone, Copy)]
pub enum Entries {
    /// Addresses and networks.
    Networks,
    /// Domains and regular expressions.
    Hosts,
    /// Domains, addresses of mail, regular expressions.
    Names,
    /// All of these.
    Any,
}

impl Entries {
    fn check(self, text: &str) -> Result<(), String> {
        // As in the tables of other servers, with an action in a second column.
        let mut words = text.split_whitespace();
        if let (Some(first), Some(_)) = (words.next(), words.next())
            && !text.starts_with('/')
            && self.check(first).is_ok()
        {
            return Err(format!(
                "write \"{first}\" alone: what is done with all entries is the list's `then`"
            ));
        }
        match self {
            Entries::Networks => entry::network(text).map(drop),
            Entries::Any if entry::is_address_or_network(text) => entry::network(text).map(drop),
            Entries::Hosts if text.contains('@') && !text.starts_with('/') => {
                Err("a HELO name has no @".into())
            }
            Entries::Hosts | Entries::Names | Entries::Any => entry::name_entry(text),
        }
    }
}

pub fn check(
    section: &str,
    lists: &[List],
    entries: Entries,
    named: &[NamedList],
    at: &mut Document,
) {
    super::names(section, lists.iter().map(|list| &*list.name), at);
    for (i, list) in lists.iter().enumerate() {
        let path = format!("{section}[{i}]");
        if list.list.is_empty() || !list.entries.is_empty() || !list.files.is_empty() {
            one(&path, &list.entries, &list.files, entries, at);
        }
        if !list.list.is_empty() {
            known(&format!("{path}.list"), &list.list, named, at);
            let shared = named.iter().position(|named| named.name == list.list);
            let has_no_network = |place: usize| {
                named[place].has_no_network() && !is_unread(&path, &format!("[{place}]"), at)
            };
            if matches!(entries, Entries::Networks) && shared.is_some_and(has_no_network) {
                let message = format!(
                    "the list \"{}\" has no address, so no client is in it",
                    list.list
                );
                at.warning(&format!("{path}.list"), message, None);
            }
        }
        if section.ends_with("recipient_list") {
            local_parts(&path, &list.entries, at);
        }
    }
}

/// Mailboxes that every domain has (RFC 2142, RFC 5321 section 4.5.1), or many.
const LOCAL_PARTS: [&str; 8] = [
    "abuse",
    "hostmaster",
    "info",
    "noc",
    "postmaster",
    "root",
    "security",
    "webmaster",
];

/// Entries that mean mailboxes, and are taken for domains.
fn local_parts(path: &str, entries: &[String], at: &mut Document) {
    for (j, text) in entries.iter().enumerate() {
        let text = text.trim();
        if LOCAL_PARTS
            .iter()
            .any(|part| text.eq_ignore_ascii_case(part))
        {
            let message = format!("\"{text}\" is taken for a domain");
            let hint = format!("write \"{text}@example.net\", or \"/^{text}@/\" for all domains");
            at.warning(&format!("{path}.entries[{j}]"), message, hint);
        }
    }
}

/// Whether `part` of the lists that a key can name (all, or the element at a place) could not be read. The lists are those of
/// `[policy]`, or of the policy that the key at `path` is in.
fn is_unread(path: &str, part: &str, at: &Document) -> bool {
    let base = path.find(".policy.").map_or("", |end| &path[..=end]);
    at.is_broken(&format!("policy.list{part}")) || at.is_broken(&format!("{base}policy.list{part}"))
}

/// Whether there is a list of this name.
pub fn known(path: &str, name: &str, named: &[NamedList], at: &mut Document) {
    let names = named.iter().map(|list| &*list.name);
    // One whose name could not be read may be meant.
    if !is_unread(path, "", at) && !names.clone().any(|known| known == name) {
        let hint = match nearest(name, names) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "add it as a `[[policy.list]]`".into(),
        };
        at.error(path, format!("there is no list \"{name}\""), hint);
    }
}

/// The lists that rules name.
pub fn named(section: &str, lists: &[NamedList], at: &mut Document) {
    super::names(section, lists.iter().map(|list| &*list.name), at);
    for (i, list) in lists.iter().enumerate() {
        let path = format!("{section}[{i}]");
        one(&path, &list.entries, &list.files, Entries::Any, at);
    }
}

fn one(path: &str, texts: &[String], files: &[PathBuf], entries: Entries, at: &mut Document) {
    if texts.is_empty() && files.is_empty() {
        let hint = "give it `entries` or `files`".to_string();
        at.error(
            &format!("{path}.entries"),
            format!("`{path}` is empty"),
            hint,
        );
    }
    for (j, text) in texts.iter().enumerate() {
        if let Err(hint) = entries.check(text.trim()) {
            at.error(
                &format!("{path}.entries[{j}]"),
                format!("\"{text}\" can't be an entry of this list"),
                hint,
            );
        }
    }
    for (j, file) in files.iter().enumerate() {
        read(file, &format!("{path}.files[{j}]"), entries, at);
    }
}

fn read(file: &Path, path: &str, entries: Entries, at: &mut Document) {
    let size = match std::fs::metadata(file) {
        Ok(facts) if facts.is_dir() => {
            at.error(path, format!("{} is a directory", file.display()), None);
            return;
        }
        Ok(facts) => facts.len(),
        Err(why) => {
            at.error(
                path,
                format!("can't read {}: {why}", file.display()),
                missing(file),
            );
            return;
        }
    };
    if size > FILE_MAX {
        at.error(
            path,
            format!("{} has {size} octets, more than {FILE_MAX}", file.display()),
            None,
        );
        return;
    }
    let mut text = String::new();
    let read = open_file(file).and_then(|mut open| open.read_to_string(&mut text));
    match read {
        Err(why) => at.error(path, format!("can't read {}: {why}", file.display()), None),
        Ok(_) => {
            for (number, line) in text.lines().enumerate() {
                let text = entry::of_line(line);
                if let Some(hint) = (!text.is_empty())
                    .then(|| entries.check(text).err())
                    .flatten()
                {
                    let message = format!("\"{text}\" can't be an entry of this list");
                    at.error_in(file, number + 1, line, path, message, Some(hint));
                }
            }
        }
    }
}

fn missing(file: &Path) -> Option<String> {
    let from = std::env::current_dir().ok()?;
    file.is_relative().then(|| {
        format!(
            "relative paths start in the working directory, {}",
            from.display()
        )
    })
}
