//! The file of a snapshot. It is replaced as a whole: a process that dies while it writes leaves the one before.

use super::Snapshot;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Octets of a file that is read at most: far above what the tables of any configuration hold.
const READ_MAX: u64 = 1 << 30;

/// What was found at the start.
#[derive(Debug)]
pub enum Loaded {
    /// There is no file yet.
    Nothing,
    /// A snapshot.
    Snapshot(Box<Snapshot>),
    /// The file can't be used, and was moved out of the way: why, and where to (or why it was not).
    SetAside(String, Result<PathBuf, io::Error>),
    /// The file can't be read.
    Unreadable(io::Error),
}

/// Where snapshots are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// In this folder.
    #[must_use]
    pub fn new(directory: &Path) -> Store {
        Store {
            directory: directory.into(),
        }
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// Reads what was kept. A file that can't be used is moved out of the way.
    #[must_use]
    pub fn load(&self) -> Loaded {
        let file = self.file();
        let octets = match read(&file) {
            Ok(octets) => octets,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Loaded::Nothing,
            Err(why) => return Loaded::Unreadable(why),
        };
        match Snapshot::decode(&octets) {
            Ok(snapshot) => Loaded::Snapshot(Box::new(snapshot)),
            Err(why) => {
                let aside = self.directory.join("state.unusable");
                let moved = fs::rename(&file, &aside).map(|()| aside);
                Loaded::SetAside(why, moved)
            }
        }
    }

    /// Writes a snapshot in place of the one before. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// What the file system said; the file before is as it was.
    pub fn save(&self, snapshot: &Snapshot) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let new = self.directory.join("state.new");
        let written = write(&new, &snapshot.encode()).and_then(|()| fs::rename(&new, self.file()));
        if let Err(why) = written {
            // On a full disk it would take the room of the next one. That it is not there either is no news.
            let _ = fs::remove_file(&new);
            return Err(why);
        }
        // The name is as durable as the folder that it stands in.
        File::open(&self.directory)?.sync_all()
    }
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    File::open(file)?.take(READ_MAX).read_to_end(&mut octets)?;
    Ok(octets)
}

/// Only the process reads it: with the secret in it a stranger could choose keys that share a line.
fn write(file: &Path, octets: &[u8]) -> io::Result<()> {
    // A file of that name that someone else may have made is not written to.
    match fs::remove_file(file) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(file)?;
    file.write_all(octets)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Secret, Section};
    use std::os::unix::fs::PermissionsExt;

    fn snapshot(made: u64) -> Snapshot {
        Snapshot {
            secret: Secret::random(),
            made,
            sections: vec![Section::new("some", 1)],
        }
    }

    #[test]
    fn the_last_one_is_found_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(&folder.path().join("not/there/yet"));
        assert!(matches!(store.load(), Loaded::Nothing));
        for made in [1, 2] {
            let kept = snapshot(made);
            store.save(&kept).expect("it can be written");
            match store.load() {
                Loaded::Snapshot(found) => assert_eq!(*found, kept),
                other => panic!("{other:?}"),
            }
        }
        let mode = fs::metadata(store.file())
            .expect("it is there")
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let names = fs::read_dir(folder.path().join("not/there/yet")).expect("a folder");
        assert_eq!(names.count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_write_that_was_cut_short_leaves_the_one_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path());
        store.save(&snapshot(1)).expect("it can be written");
        fs::write(folder.path().join("state.new"), b"half").expect("it can be written");
        assert!(matches!(store.load(), Loaded::Snapshot(kept) if kept.made == 1));
        store.save(&snapshot(2)).expect("it can be written");
        assert!(matches!(store.load(), Loaded::Snapshot(kept) if kept.made == 2));
    }

    #[test]
    fn what_is_damaged_is_set_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path());
        fs::write(store.file(), b"noise").expect("it can be written");
        match store.load() {
            Loaded::SetAside(why, Ok(aside)) => {
                assert!(why.contains("no such file"), "{why}");
                assert_eq!(fs::read(aside).expect("it is there"), b"noise");
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(store.load(), Loaded::Nothing));
    }

    #[test]
    fn a_disk_that_is_full_is_told_and_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path());
        store.save(&snapshot(1)).expect("it can be written");
        // A name that can't be written to, whoever asks.
        fs::create_dir(folder.path().join("state.new")).expect("a folder");
        assert!(store.save(&snapshot(2)).is_err());
        assert!(matches!(store.load(), Loaded::Snapshot(kept) if kept.made == 1));
    }
}
