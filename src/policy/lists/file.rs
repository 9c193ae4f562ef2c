//! Entries of a list, from the configuration and from its files, one a line.
//!
//! What an entry is, and where a comment starts, is said once, in `config/entry.rs`.

use crate::{
    config::{entry, open_file},
    policy::builder::Builder,
};
use std::{
    io::Read,
    path::{Path, PathBuf},
};

/// Mistakes reported for one list; more are only counted.
const FAULTS_MAX: usize = 20;

/// Hands each entry of a list to `add`, and reports what it does not take, with file and line.
pub fn read(
    builder: &mut Builder<'_>,
    key: &str,
    entries: &[String],
    files: &[PathBuf],
    add: &mut dyn FnMut(&str) -> Result<(), String>,
) {
    let mut faults = Faults {
        builder,
        key,
        count: 0,
    };
    for entry in entries {
        if let Err(why) = add(entry.trim()) {
            faults.report(why);
        }
    }
    for file in files {
        read_file(file, &mut faults, add);
    }
    if faults.count > FAULTS_MAX {
        let message = format!("and {} more mistakes", faults.count - FAULTS_MAX);
        faults.builder.fault(key, message);
    }
}

struct Faults<'a, 'b> {
    builder: &'a mut Builder<'b>,
    key: &'a str,
    count: usize,
}

impl Faults<'_, '_> {
    fn report(&mut self, why: String) {
        self.count += 1;
        if self.count <= FAULTS_MAX {
            self.builder.fault(self.key, why);
        }
    }
}

fn read_file(
    file: &Path,
    faults: &mut Faults<'_, '_>,
    add: &mut dyn FnMut(&str) -> Result<(), String>,
) {
    let mut bytes = Vec::new();
    let read = open_file(file).and_then(|mut open| open.read_to_end(&mut bytes));
    match read {
        Ok(_) => {}
        Err(error) => return faults.report(format!("{}: {error}", file.display())),
    };
    for (at, line) in bytes.split(|octet| *octet == b'\n').enumerate() {
        let taken = match std::str::from_utf8(line) {
            Ok(line) => match entry::of_line(line) {
                "" => Ok(()),
                entry => add(entry),
            },
            Err(_) => Err("not UTF-8".to_string()),
        };
        if let Err(why) = taken {
            faults.report(format!("{}:{}: {why}", file.display(), at + 1));
        }
    }
}
