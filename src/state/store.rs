//! The file of a snapshot. It is replaced as a whole: a process that dies while it writes leaves the one before.

use super::Snapshot;
use crate::files;
use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// Entries that are read whatever the tables hold, so that tables that were small before may be smaller now.
const ENTRIES_MIN: usize = 4 << 20;
/// How many times as many entries are read as the tables hold: tables may have been larger before.
const TIMES_LARGER: usize = 4;

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

    /// Reads what was kept, for tables that hold so many entries. What can't be used is moved out of the way.
    #[must_use]
    pub fn load(&self, entries: usize) -> Loaded {
        let file = self.file();
        match read(&file, entries) {
            Ok(Ok(snapshot)) => Loaded::Snapshot(Box::new(snapshot)),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Loaded::Nothing,
            Err(why) => Loaded::Unreadable(why),
            Ok(Err(why)) => {
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
        // Only the process reads it: with the secret in it a stranger could choose keys that share a line.
        let octets = snapshot.encode();
        files::replace(&self.file(), files::OWN, |file| file.write_all(&octets)).map(drop)
    }
}

/// Reads a file; inside, what is wrong with one that can't be used. Nothing but its head is read of one that can't be ours.
// INV-LIMIT
fn read(file: &Path, entries: usize) -> io::Result<Result<Snapshot, String>> {
    let mut file = match files::open(file) {
        Err(why) if why.kind() == io::ErrorKind::InvalidData => return Ok(Err(why.to_string())),
        file => file?,
    };
    let entries = entries.saturating_mul(TIMES_LARGER).max(ENTRIES_MIN);
    let most = Snapshot::octets_max(entries);
    let mut octets = Vec::new();
    let head = Snapshot::HEAD as u64;
    (&mut file).take(head).read_to_end(&mut octets)?;
    if let Err(why) = Snapshot::look_at_head(&octets) {
        return Ok(Err(why));
    }
    let length = file.metadata()?.len();
    if length > most {
        return Ok(Err(format!(
            "it has {length} octets, and what is remembered takes {most} at most"
        )));
    }
    file.take(most - head).read_to_end(&mut octets)?;
    Ok(Snapshot::decode(&octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Secret, Section};
    use std::{
        fs::File,
        os::unix::fs::{FileExt, PermissionsExt, symlink},
    };

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
        assert!(matches!(store.load(10), Loaded::Nothing));
        for made in [1, 2] {
            let kept = snapshot(made);
            store.save(&kept).expect("it can be written");
            match store.load(10) {
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
        assert!(matches!(store.load(10), Loaded::Snapshot(kept) if kept.made == 1));
        store.save(&snapshot(2)).expect("it can be written");
        assert!(matches!(store.load(10), Loaded::Snapshot(kept) if kept.made == 2));
    }

    #[test]
    fn what_is_damaged_is_set_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path());
        fs::write(store.file(), b"noise").expect("it can be written");
        match store.load(10) {
            Loaded::SetAside(why, Ok(aside)) => {
                assert!(why.contains("no such file"), "{why}");
                assert_eq!(fs::read(aside).expect("it is there"), b"noise");
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(store.load(10), Loaded::Nothing));
    }

    #[test]
    // INV-LIMIT
    fn what_can_t_be_ours_is_set_aside_unread() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path());
        let told = || match store.load(10) {
            Loaded::SetAside(why, Ok(aside)) => {
                fs::remove_file(aside).expect("it is there");
                why
            }
            other => panic!("{other:?}"),
        };
        let mode = nix::sys::stat::Mode::S_IRWXU;
        nix::unistd::mkfifo(&store.file(), mode).expect("made");
        assert_eq!(told(), "it is a FIFO, not a file");
        symlink("/dev/zero", store.file()).expect("made");
        assert_eq!(told(), "it is a symbolic link, not a file");
        // More than any machine has memory for.
        let file = File::create(store.file()).expect("made");
        file.set_len(1 << 42).expect("a file with a hole");
        assert_eq!(told(), "it is no such file");
        store.save(&snapshot(1)).expect("it can be written");
        let file = File::options().write(true).open(store.file());
        let file = file.expect("it is there");
        file.set_len(1 << 42).expect("a file with a hole");
        file.write_all_at(b"x", 100).expect("written");
        let why = told();
        assert!(why.starts_with("it has 4398046511104 octets"), "{why}");
        assert!(matches!(store.load(10), Loaded::Nothing));
    }

    #[test]
    fn a_disk_that_is_full_is_told_and_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path());
        store.save(&snapshot(1)).expect("it can be written");
        // A name that can't be written to, whoever asks.
        fs::create_dir(folder.path().join("state.new")).expect("a folder");
        assert!(store.save(&snapshot(2)).is_err());
        assert!(matches!(store.load(10), Loaded::Snapshot(kept) if kept.made == 1));
    }
}
