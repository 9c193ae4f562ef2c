//! The disk as the spool needs it: one directory of files, and what makes their contents and names durable.
//!
//! [`Directory`] is the real one. The tests put a simulated disk in its place, which loses what was not synced.
//!
//! Rejected: `std::fs::File` everywhere and faults injected below it (a FUSE file system, an `LD_PRELOAD`). Neither is
//! deterministic, and neither runs a hundred thousand crashes in a test.

use rustix::fs::{FlockOperation, Mode, OFlags};
use std::{
    fs::{self, File},
    io::{self, IoSlice},
    os::unix::fs::{DirBuilderExt, FileExt},
    path::{Path, PathBuf},
};

/// The unit in which a disk writes: what was synced in one sector is not touched by a write to another. Octets.
pub const SECTOR: u32 = 512;

/// One directory of files. Names have no slash.
pub trait Disk: Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;
    /// Ownership of the directory, until it is dropped.
    type Lock: Send + Sync + 'static;

    /// Takes ownership of the directory.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where another process (or another spool of this one) has it.
    fn lock(&self) -> io::Result<Self::Lock>;

    /// The names of all files, in no order.
    ///
    /// # Errors
    /// What the file system said.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file for reading and writing. Its name is durable after [`Disk::sync_directory`].
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`], or what the file system said.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`], or what the file system said.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Renames a file, in place of any that has the new name. Durable after [`Disk::sync_directory`].
    ///
    /// # Errors
    /// What the file system said.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name. Durable after [`Disk::sync_directory`].
    ///
    /// # Errors
    /// What the file system said.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes every name durable that was made, changed or removed before.
    ///
    /// # Errors
    /// What the file system said. After that, no earlier change of a name may be relied on.
    fn sync_directory(&self) -> io::Result<()>;

    /// How many octets are free for this process.
    ///
    /// # Errors
    /// What the file system said.
    fn free(&self) -> io::Result<u64>;

    /// Octets that a sender of mail can't guess.
    ///
    /// # Errors
    /// What the kernel said.
    fn random(&self) -> io::Result<u64>;
}

/// An open file of a [`Disk`]. Every position is given: there is no cursor, so that several threads may read at once.
pub trait DiskFile: Send + Sync + 'static {
    /// How many octets the file has.
    ///
    /// # Errors
    /// What the file system said.
    fn octets(&self) -> io::Result<u64>;

    /// Writes all pieces, one after the other. Consumes the slices. Durable after [`DiskFile::sync`].
    ///
    /// # Errors
    /// What the file system said; any part may have been written then.
    fn write_at(&self, pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// Reads up to `into.len()` octets; fewer only where the file ends.
    ///
    /// # Errors
    /// What the file system said.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Makes what was written durable, and the file's size.
    ///
    /// # Errors
    /// What the file system said. After that, none of what was written since the last success may be relied on, whatever
    /// a later call returns: the kernel tells of a failure once, and marks the pages clean.
    fn sync(&self) -> io::Result<()>;
}

/// Whether a read failed because of what lies at that place, so that other places may well be read.
#[must_use]
pub fn is_unreadable(why: &io::Error) -> bool {
    why.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// What a read gave, or `otherwise` where the octets can't be read.
pub(super) fn unless_unreadable<T>(found: io::Result<T>, otherwise: T) -> io::Result<T> {
    match found {
        Err(why) if is_unreadable(&why) => Ok(otherwise),
        found => found,
    }
}

/// What stands for octets that can't be read: neither a record nor the zeros of a new file.
const UNREADABLE: u8 = 0xee;

/// Reads as [`DiskFile::read_at`] does, sector by sector where some can't be read. Gives how many octets there are, and in
/// how many sectors something else stands for them.
///
/// # Errors
/// What the file system said otherwise.
pub fn read_around(file: &impl DiskFile, into: &mut [u8], offset: u64) -> io::Result<(usize, u64)> {
    match file.read_at(into, offset) {
        Ok(got) => return Ok((got, 0)),
        Err(why) if !is_unreadable(&why) => return Err(why),
        Err(_) => {}
    }
    let length = file.octets()?.saturating_sub(offset);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let octets = into.len().min(length);
    let (mut at, mut unreadable) = (0, 0);
    while at < octets {
        let here = offset + at as u64;
        let sector = u64::from(SECTOR);
        let left = usize::try_from(sector - here % sector).unwrap_or(1);
        let part = &mut into[at..octets.min(at + left)];
        let long = part.len();
        if unless_unreadable(file.read_at(part, here), 0)? < long {
            part.fill(UNREADABLE);
            unreadable += 1;
        }
        at += long;
    }
    Ok((octets, unreadable))
}

static ZEROS: [u8; 65_536] = [0; 65_536];

/// After so many octets of zeros a sync follows: a commit that comes meanwhile waits for these in the disk's queue, not for a
/// whole segment.
const FILL_STEP: u64 = 1 << 20;

/// Fills a new file with zeros up to `octets`, and syncs it: a later write changes no metadata, so that its sync is one
/// write of the disk.
///
/// # Errors
/// What the file system said; the file must not be used then.
pub fn fill(file: &impl DiskFile, octets: u64) -> io::Result<()> {
    let mut at = 0;
    while at < octets {
        let now = (octets - at).min(ZEROS.len() as u64);
        let zeros = &ZEROS[..usize::try_from(now).unwrap_or(ZEROS.len())];
        file.write_at(&mut [IoSlice::new(zeros)], at)?;
        at += now;
        if at.is_multiple_of(FILL_STEP) && at < octets {
            file.sync()?;
        }
    }
    file.sync()
}

/// Zeros for the padding of records.
pub(super) fn zeros(octets: usize) -> &'static [u8] {
    &ZEROS[..octets.min(ZEROS.len())]
}

/// A directory of the file system.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// The directory itself, for its sync.
    handle: File,
}

impl Directory {
    /// Opens a directory, and makes it where there is none.
    ///
    /// # Errors
    /// What the file system said.
    pub fn open(path: &Path) -> io::Result<Directory> {
        if !path.is_dir() {
            // Mail is for its owner's eyes.
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)?;
            if let Some(above) = path.parent().filter(|above| *above != Path::new("")) {
                File::open(above)?.sync_all()?;
            }
        }
        let handle = File::open(path)?;
        Ok(Directory {
            path: path.to_path_buf(),
            handle,
        })
    }

    fn open_with(&self, name: &str, flags: OFlags) -> io::Result<File> {
        // Neither a link nor a FIFO that another user put there is followed or waited for.
        let always = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = File::from(rustix::fs::openat(
            &self.handle,
            name,
            flags | always,
            mode,
        )?);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{name} is not a file"),
            )),
        }
    }
}

/// The name of the file that the owner of a spool has locked.
pub(super) const LOCK: &str = "lock";

impl Disk for Directory {
    type File = File;
    type Lock = File;

    fn lock(&self) -> io::Result<File> {
        let file = self.open_with(LOCK, OFlags::RDWR | OFlags::CREATE)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(file)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is no text is not ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        self.open_with(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        self.open_with(name, OFlags::RDWR)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.handle, from, &self.handle, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let flags = rustix::fs::AtFlags::empty();
        Ok(rustix::fs::unlinkat(&self.handle, name, flags)?)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn free(&self) -> io::Result<u64> {
        let found = rustix::fs::fstatvfs(&self.handle)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn random(&self) -> io::Result<u64> {
        let mut octets = [0; 8];
        rustix::rand::getrandom(&mut octets, rustix::rand::GetRandomFlags::empty())?;
        Ok(u64::from_le_bytes(octets))
    }
}

/// How many pieces one system call takes (Linux: `UIO_MAXIOV`).
const PIECES_MAX: usize = 1024;

impl DiskFile for File {
    fn octets(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn write_at(&self, mut pieces: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        // Empty pieces first in line would look like a write of nothing.
        IoSlice::advance_slices(&mut pieces, 0);
        while !pieces.is_empty() {
            let some = &pieces[..pieces.len().min(PIECES_MAX)];
            match rustix::io::pwritev(self, some, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut pieces, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(why) => return Err(why.into()),
            }
        }
        Ok(())
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut got = 0;
        while got < into.len() {
            match FileExt::read_at(self, &mut into[got..], offset + got as u64) {
                Ok(0) => break,
                Ok(octets) => got += octets,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) => return Err(why),
            }
        }
        Ok(got)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
