//! What has been seen in an interval, on disk: a process that is killed loses what it has seen since the last write.
//!
//! A file of lines: the first says which interval it is about, each other what a domain has published, or adds messages to
//! a row of a domain. What is published may be longer than many rows, so it is written once, and again when it has changed.
//! A line that is not whole (the disk was full, the machine stopped) is left out.

use super::{
    seen::{Published, Row, Seen},
    table::{DOMAINS_MAX, TABLE_OCTETS_MAX, Table},
};
use crate::files;
use rustc_hash::FxBuildHasher;
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    hash::BuildHasher,
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

/// A file that has grown beyond this, and beyond four times what it stands for, is written anew.
const OCTETS_MIN: u64 = 1 << 20;
/// Octets of a line that is read: more than any row takes.
const LINE_MAX: u64 = 64 * 1024;
/// Octets of a file that are read: more than one that is written anew in time has.
const READ_MAX: u64 = 8 * TABLE_OCTETS_MAX as u64;

/// The interval that a journal is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// The first second.
    pub begin: u64,
    /// The last second.
    pub end: u64,
    /// In the names of its reports: letters and digits.
    pub id: String,
}

/// A line after the first.
#[derive(Debug, Serialize, Deserialize)]
enum Entry<'a> {
    /// What a domain has published, for the rows that follow.
    #[serde(rename = "published")]
    Published(Cow<'a, Published>),
    /// A row of that domain, and how many messages it stands for.
    #[serde(rename = "seen")]
    Seen {
        domain: Cow<'a, str>,
        row: Cow<'a, Row>,
        count: u64,
    },
}

/// A journal that is written.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// `None`: what is there can't be added to, because a write failed half-way.
    file: Option<File>,
    /// Octets that the file has.
    octets: u64,
    /// A hash of what the file says that each domain has published.
    published: HashMap<Box<str>, u64>,
}

impl Journal {
    /// A journal at this place. Nothing is written yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Journal {
        Journal {
            path,
            file: None,
            octets: 0,
            published: HashMap::new(),
        }
    }

    /// Adds messages; `whole` is all that the journal stands for once it has them.
    ///
    /// # Errors
    /// It could not be written; the next call writes all of it anew.
    pub fn add(&mut self, interval: &Interval, fresh: &Table, whole: &Table) -> io::Result<()> {
        if fresh.is_empty() && self.file.is_some() {
            return Ok(());
        }
        let limit = OCTETS_MIN.max(4 * whole.octets() as u64);
        let written = match self.file.take().filter(|_| self.octets < limit) {
            Some(mut file) => {
                let octets = append(&mut file, fresh, None, &mut self.published)?;
                file.sync_data().map(|()| (file, octets))
            }
            None => self.write_anew(interval, whole),
        };
        let (file, octets) = written?;
        (self.file, self.octets) = (Some(file), octets);
        Ok(())
    }

    fn write_anew(&mut self, interval: &Interval, whole: &Table) -> io::Result<(File, u64)> {
        self.published.clear();
        let mut octets = 0;
        let file = files::replace(&self.path, files::GROUP, |file| {
            octets = append(file, whole, Some(interval), &mut self.published)?;
            Ok(())
        })?;
        Ok((file, octets))
    }

    /// Gives the file another name: its interval is over.
    ///
    /// # Errors
    /// It can't be renamed.
    pub fn close(&mut self, name: &Path) -> io::Result<()> {
        self.file = None;
        fs::rename(&self.path, name)
    }
}

/// Adds lines. Octets that the file has then.
fn append(
    file: &mut File,
    table: &Table,
    interval: Option<&Interval>,
    known: &mut HashMap<Box<str>, u64>,
) -> io::Result<u64> {
    let mut out = BufWriter::new(file);
    let mut line = |value: serde_json::Result<Vec<u8>>| -> io::Result<()> {
        out.write_all(&value?)?;
        out.write_all(b"\n")
    };
    if let Some(interval) = interval {
        line(serde_json::to_vec(interval))?;
    }
    for report in table.reports() {
        let published = &report.published;
        let hash = FxBuildHasher.hash_one(published);
        if known.insert(published.domain.clone(), hash) != Some(hash) {
            let entry = Entry::Published(Cow::Borrowed(published));
            line(serde_json::to_vec(&entry))?;
        }
        for (row, count) in &report.rows {
            let entry = Entry::Seen {
                domain: Cow::Borrowed(&published.domain),
                row: Cow::Borrowed(row),
                count: *count,
            };
            line(serde_json::to_vec(&entry))?;
        }
    }
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(file.metadata()?.len())
}

/// Reads a journal. `None`: there is none that says which interval it is about. What others have put in its place, such as a
/// link, is none either: a new journal replaces it.
///
/// # Errors
/// It can't be read.
pub fn read(path: &Path) -> io::Result<Option<(Interval, Table)>> {
    use io::ErrorKind::{InvalidData, NotFound};
    let file = match files::open(path) {
        Err(why) if matches!(why.kind(), NotFound | InvalidData) => return Ok(None),
        file => file?,
    };
    let mut lines = BufReader::new(io::Read::take(file, READ_MAX));
    let mut line = Vec::new();
    let mut next = |line: &mut Vec<u8>| -> io::Result<bool> {
        line.clear();
        Ok(io::Read::take(&mut lines, LINE_MAX).read_until(b'\n', line)? > 0)
    };
    next(&mut line)?;
    let interval = match serde_json::from_slice::<Interval>(&line) {
        Ok(interval) if is_name(&interval.id) => interval,
        _ => return Ok(None),
    };
    let mut table = Table::default();
    let mut known: BTreeMap<Box<str>, Published> = BTreeMap::new();
    while next(&mut line)? {
        match serde_json::from_slice(&line) {
            Ok(Entry::Published(published)) => {
                // A file of another's making must not take more than the table may hold.
                let has_room = known.len() < DOMAINS_MAX || known.contains_key(&published.domain);
                if has_room && is_name(&published.domain) {
                    known.insert(published.domain.clone(), published.into_owned());
                }
            }
            Ok(Entry::Seen { domain, row, count }) => {
                let Some(published) = known.get(&*domain).cloned() else {
                    continue;
                };
                let row = row.into_owned();
                // What has no room now had none before.
                let _ = table.add_again(Seen { published, row }, count);
            }
            Err(_) => {}
        }
    }
    Ok(Some((interval, table)))
}

/// Whether it can be a part of a file's name: one with a slash would lead to another folder.
fn is_name(text: &str) -> bool {
    !text.contains(|c: char| c == '/' || c.is_control())
}
