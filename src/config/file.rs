//! Opening the files that a configuration names, so that none of them can make a reload wait for ever.

use std::{
    fs::{File, FileType, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
};

/// Where a shell puts what a process is given to read (`-c <(…)`): pipes, which are no files but end.
const GIVEN: [&str; 3] = ["/dev/fd/", "/dev/stdin", "/proc/self/fd/"];

/// Opens a file for reading. A FIFO is refused, whose writer may never come, and so is a device, which may never end.
///
/// # Errors
/// As for any file, or it is none.
pub fn open_file(path: &Path) -> io::Result<File> {
    if GIVEN
        .iter()
        .any(|place| path.starts_with(place.trim_end_matches('/')))
    {
        return File::open(path);
    }
    // Without the flag, opening a FIFO waits for its writer. It changes nothing for a file.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    match what(file.metadata()?.file_type()) {
        None => Ok(file),
        Some(what) => Err(io::Error::other(format!("it is {what}, not a file"))),
    }
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

    #[test]
    fn only_files_are_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("made");
        let plain = folder.path().join("plain");
        std::fs::write(&plain, "x").expect("written");
        assert!(open_file(&plain).is_ok());
        for (path, word) in [
            (&*fifo, "FIFO"),
            (folder.path(), "folder"),
            (Path::new("/dev/zero"), "device"),
        ] {
            let told = open_file(path).expect_err("it is no file").to_string();
            assert!(told.contains(word), "{told}");
        }
    }
}
