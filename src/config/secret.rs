//! Reading files that may be closed to the user that the service runs as: the configuration itself, private keys,
//! secrets.
//!
//! Such a file is read with [`read_secret`]. While the process may read everything, or was never more than it
//! is, that is a plain read; once it has given privileges up, the supervisor has put something in the way that still
//! can ([`set_reader`]).

use super::open_file;
use std::{
    io::{self, Read},
    path::Path,
    sync::OnceLock,
};

/// Octets of the largest file that is read so.
pub const SECRET_MAX: u64 = 4 << 20;

type Reader = Box<dyn Fn(&Path) -> io::Result<Vec<u8>> + Send + Sync>;

static READER: OnceLock<Reader> = OnceLock::new();

/// Reads a whole file, of [`SECRET_MAX`] octets at most, with the privileges that the process began with. Blocks.
///
/// # Errors
/// As for any read; the file is larger; or the way to the reader is gone.
pub fn read_secret(path: &Path) -> io::Result<Vec<u8>> {
    match READER.get() {
        Some(read) => read(path),
        None => read_plainly(path),
    }
}

/// The same with the privileges that the process has now.
///
/// # Errors
/// As for any read, or the file is larger.
pub fn read_plainly(path: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    open_file(path)?
        .take(SECRET_MAX + 1)
        .read_to_end(&mut octets)?;
    if octets.len() as u64 > SECRET_MAX {
        return Err(io::Error::other("it is larger than 4 MiB"));
    }
    Ok(octets)
}

/// Has secrets read by `read` from now on. The first call counts.
pub fn set_reader(read: impl Fn(&Path) -> io::Result<Vec<u8>> + Send + Sync + 'static) {
    // A second one would be a second process; there is one.
    let _ = READER.set(Box::new(read));
}
