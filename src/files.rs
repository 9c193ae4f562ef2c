//! Files of our own in folders that others may be able to write in: what lies there under a name of ours, a link or a FIFO, is
//! neither followed nor waited for.

mod folder;

pub use folder::{Folder, InPlaceOf};

use std::{
    fs::{self, File, FileType, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
};

/// Of a file that only the process reads.
pub const OWN: u32 = 0o600;
/// Of a file that its group may read as well.
pub const GROUP: u32 = 0o640;

/// Writes a whole file in place of another: beside it, on the disk, then under its name, and that on the disk too. A process
/// that dies meanwhile leaves the one before. Gives the new file, for a caller that goes on writing.
///
/// # Errors
/// What the file system or `write` said. The file before is as it was, unless only its folder could not be synced.
pub fn replace(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<File> {
    let file = place(path, mode, write)?;
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    sync_folder(folder.unwrap_or(Path::new(".")))?;
    Ok(file)
}

/// The same for one of many files in a folder: the caller has to call [`sync_folder`] after the last of them. Until then a
/// machine that stops may lose the file's new name, but not what a file that has the name holds.
///
/// # Errors
/// What the file system or `write` said. The file before is as it was.
pub fn place(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<File> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    // What a crash or another user left there may be a link, or have any mode.
    match fs::remove_file(beside) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(mode).open(beside);
    let written = opened.and_then(|mut file| {
        write(&mut file)?;
        file.sync_all()?;
        fs::rename(beside, path)?;
        Ok(file)
    });
    // On a full disk it would take the room of the next one. That it is not there either is no news.
    written.inspect_err(|_| drop(fs::remove_file(beside)))
}

/// Puts the names of a folder's files on the disk: a name is as durable as the folder that it stands in.
///
/// # Errors
/// What the file system said.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Opens a file that we have written, for reading.
///
/// # Errors
/// As for any file; of the kind [`io::ErrorKind::InvalidData`] where it is none.
pub fn open(path: &Path) -> io::Result<File> {
    open_with(path, OpenOptions::new().read(true))
}

/// Opens a file for appending, and makes it where there is none. Its name may be a link: the operator chose it.
///
/// # Errors
/// As for any file; of the kind [`io::ErrorKind::InvalidData`] where it is none.
pub fn append(path: &Path, mode: u32) -> io::Result<File> {
    regular(append_to_any(path, mode)?)
}

/// The same also for a device, and for a FIFO that a process reads. Where none does, opening it would wait for one.
///
/// # Errors
/// As for [`append`].
pub fn append_to_any(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(mode);
    match options.custom_flags(libc::O_NONBLOCK).open(path) {
        Err(why) if why.raw_os_error() == Some(libc::ENXIO) => {
            let kind = fs::metadata(path)?.file_type();
            Err(match kind.is_fifo() {
                true => no_file("a FIFO that no process reads"),
                false => what(kind).map_or(why, no_file),
            })
        }
        opened => opened,
    }
}

/// Opens a file to lock, and makes it where there is none. What it holds stays.
///
/// # Errors
/// As for [`open`].
pub fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    open_with(path, options.write(true).create(true).mode(OWN))
}

fn open_with(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // Without O_NONBLOCK, opening a FIFO waits for its other end. It changes nothing for a file.
    let opened = options
        .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
        .open(path);
    match opened {
        Err(why) if why.raw_os_error() == Some(libc::ELOOP) => Err(no_file("a symbolic link")),
        opened => regular(opened?),
    }
}

/// The file, if it is one: a FIFO's writer may never come, and a device may never end.
///
/// # Errors
/// It is none; the kind is [`io::ErrorKind::InvalidData`].
pub fn regular(file: File) -> io::Result<File> {
    match what(file.metadata()?.file_type()) {
        None => Ok(file),
        Some(what) => Err(no_file(what)),
    }
}

fn no_file(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("it is {what}, not a file"),
    )
}

/// What it is if it's no file.
fn what(kind: FileType) -> Option<&'static str> {
    if kind.is_file() {
        return None;
    }
    Some(match kind {
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a FIFO",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::Write,
        os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    };

    #[test]
    fn no_link_is_written_through() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("target"), "precious").expect("written");
        for name in ["kept", "kept.new"] {
            symlink(at("target"), at(name)).expect("made");
        }
        let mut file = replace(&at("kept"), OWN, |file| file.write_all(b"one")).expect("written");
        file.write_all(b" and more")
            .expect("it is open for writing");
        let read = |name: &str| fs::read_to_string(at(name)).expect("there");
        assert_eq!(
            (&*read("kept"), &*read("target")),
            ("one and more", "precious")
        );
        let facts = fs::symlink_metadata(at("kept")).expect("there");
        assert!(facts.is_file());
        assert_eq!(facts.permissions().mode() & 0o777, OWN);

        symlink(at("target"), at("lock")).expect("made");
        let why = open_lock(&at("lock")).expect_err("a link");
        assert!(why.to_string().contains("symbolic link"), "{why}");
        fs::remove_file(at("lock")).expect("there");
        fs::hard_link(at("target"), at("lock")).expect("made");
        assert!(open_lock(&at("lock")).is_ok());
        assert_eq!(read("target"), "precious", "nothing is cut off");
        assert_eq!(fs::metadata(at("target")).expect("there").nlink(), 2);
    }

    #[test]
    fn a_write_that_fails_leaves_the_file_before_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("kept");
        replace(&path, GROUP, |file| file.write_all(b"one")).expect("written");
        let failed = replace(&path, GROUP, |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("full"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).expect("there"), b"one");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("made");
        for (path, word) in [
            (&*fifo, "FIFO"),
            (folder.path(), "folder"),
            (Path::new("/dev/zero"), "device"),
        ] {
            let why = open(path).expect_err("it is no file");
            assert_eq!(why.kind(), io::ErrorKind::InvalidData);
            assert!(why.to_string().contains(word), "{why}");
        }
        assert!(open_lock(&fifo).is_err());
        for open in [append, append_to_any] {
            let why = open(&fifo, OWN).expect_err("no reader");
            assert!(why.to_string().contains("a FIFO that no process"), "{why}");
        }
        let _reader = File::options().read(true).write(true).open(&fifo);
        assert!(append_to_any(&fifo, OWN).is_ok());
        assert!(append_to_any(Path::new("/dev/null"), OWN).is_ok());
        let why = append(&fifo, OWN).expect_err("it is no file");
        assert!(why.to_string().contains("a FIFO, not a file"), "{why}");
        symlink(folder.path().join("log"), folder.path().join("link")).expect("made");
        assert!(append(&folder.path().join("link"), OWN).is_ok());
        assert!(folder.path().join("log").is_file());
    }
}
