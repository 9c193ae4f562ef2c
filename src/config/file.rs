//! Opening the files that a configuration names, so that none of them can make a reload wait for ever.

use crate::files;
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
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
    files::regular(file)
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
