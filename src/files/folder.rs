//! A folder by its descriptor: files in it are read, made and replaced without a path that others could lead elsewhere meanwhile.
//!
//! A command that root calls may be told a file in a folder of another user: an account file that the service's user keeps, say. That
//! user can rename and link there at any moment, also between two steps of ours. So each name on the way is looked up once, and a link is
//! followed only where root laid it: it is root's, and stands in a folder of root's in which no other user can replace it. From then
//! on everything happens in the one descriptor, and owner and mode are those of files that are open. For callers other than root, links are
//! followed as always: they can reach nothing that isn't theirs.

use super::{OWN, no_file, regular};
use rustix::{
    fs::{
        AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, fstat, linkat, open, openat,
        readlinkat, renameat, renameat_with, unlinkat,
    },
    io::Errno,
    process::geteuid,
};
use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::{File, Permissions},
    hash::{BuildHasher, RandomState},
    io,
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStringExt,
            fs::{MetadataExt, PermissionsExt, fchown},
        },
    },
    path::{Component, Path, PathBuf},
};

/// Links on the way to a file, as the kernel has it.
const LINKS_MAX: usize = 40;
/// Names that are tried for a file that is being written.
const NAMES_MAX: usize = 16;
/// Permission bits by which others than the owner write.
const OTHERS_WRITE: u32 = 0o022;
/// Only an entry's owner may take it away.
const STICKY: u32 = 0o1000;
/// Permission bits of the file before that the new one has too.
const KEPT_MODE: u32 = 0o640;

/// A folder that stays the same wherever its path leads later.
#[derive(Debug)]
pub struct Folder(OwnedFd);

/// What a new file takes the place of.
#[derive(Clone, Copy, Debug)]
pub enum InPlaceOf<'a> {
    /// This one, whose owner and mode it gets.
    File(&'a File),
    /// Whatever has the name; the new file has this mode.
    Any(u32),
    /// Nothing: a file that has the name is left, and that is an error (`AlreadyExists`).
    Nothing(u32),
}

impl Folder {
    /// The folder that a file stands in, or will, and its name there. A link in the file's place is followed as well.
    ///
    /// # Errors
    /// What the file system said; or a link on the way is not root's, and root asks.
    pub fn of(path: &Path) -> io::Result<(Folder, OsString)> {
        match walk(path, true)? {
            (folder, Some(name)) => Ok((Folder(folder), name)),
            _ => Err(no_file("a folder")),
        }
    }

    /// A folder that is there.
    ///
    /// # Errors
    /// As for [`Folder::of`].
    pub fn open(path: &Path) -> io::Result<Folder> {
        walk(path, false).map(|(folder, _)| Folder(folder))
    }

    /// Opens a file of the folder for reading.
    ///
    /// # Errors
    /// What the file system said; the kind is [`io::ErrorKind::InvalidData`] where it is no file.
    pub fn read(&self, name: &OsStr) -> io::Result<File> {
        // Without O_NONBLOCK, opening a FIFO waits for its other end.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let with = |access| openat(&self.0, name, flags | access, Mode::empty());
        // Network file systems lock only what is open for writing.
        let opened = match with(OFlags::RDWR) {
            Err(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::ISDIR) => with(OFlags::RDONLY),
            opened => opened,
        };
        match opened {
            Err(Errno::LOOP) => Err(no_file("a symbolic link")),
            opened => regular(File::from(opened?)),
        }
    }

    /// Makes a file that isn't there yet.
    ///
    /// # Errors
    /// What the file system said.
    pub fn create(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let made = openat(&self.0, name, flags | OFlags::NOFOLLOW, Mode::from(mode))?;
        Ok(File::from(made))
    }

    /// Takes a file away.
    ///
    /// # Errors
    /// What the file system said.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Whether this open file has the name now.
    ///
    /// # Errors
    /// What the file system said.
    pub fn holds(&self, name: &OsStr, file: &File) -> io::Result<bool> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let there = match openat(&self.0, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(false),
            found => fstat(found?)?,
        };
        let own = fstat(file)?;
        Ok((there.st_dev, there.st_ino) == (own.st_dev, own.st_ino))
    }

    /// Writes a whole file beside the name, puts it on the disk, then under the name, and that on the disk too.
    ///
    /// # Errors
    /// What the file system or `write` said. The file before is as it was, unless only the folder could not be synced.
    pub fn put(
        &self,
        name: &OsStr,
        place: InPlaceOf<'_>,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        let mode = match place {
            InPlaceOf::File(_) => OWN,
            InPlaceOf::Any(mode) | InPlaceOf::Nothing(mode) => mode,
        };
        let (beside, mut file) = self.beside(name, mode)?;
        let written = self
            .write(&mut file, place, write)
            .and_then(|()| match place {
                InPlaceOf::Nothing(_) => self.name(&beside, name),
                _ => Ok(renameat(&self.0, &beside, &self.0, name)?),
            });
        if written.is_err() {
            // On a full disk it would take the room of the next one.
            let _ = self.remove(&beside);
        }
        written?;
        self.sync()
    }

    fn write(
        &self,
        file: &mut File,
        place: InPlaceOf<'_>,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        if let InPlaceOf::File(before) = place {
            let facts = before.metadata()?;
            // Only root may give a file away; for others it is theirs already.
            let _ = fchown(&*file, Some(facts.uid()), Some(facts.gid()));
            file.set_permissions(Permissions::from_mode(facts.mode() & KEPT_MODE))?;
        }
        write(file)?;
        file.sync_all()
    }

    /// Gives a file a name that nothing may have.
    fn name(&self, beside: &OsStr, name: &OsStr) -> io::Result<()> {
        let folder = &self.0;
        match renameat_with(folder, beside, folder, name, RenameFlags::NOREPLACE) {
            // Network file systems don't know it.
            Err(Errno::INVAL | Errno::NOSYS) => {
                linkat(folder, beside, folder, name, AtFlags::empty())?;
                self.remove(beside)
            }
            done => Ok(done?),
        }
    }

    /// A file for what is being written, with a name that can't be foreseen.
    fn beside(&self, name: &OsStr, mode: u32) -> io::Result<(OsString, File)> {
        for _ in 0..NAMES_MAX {
            let mut beside = OsString::from(".");
            beside.push(name);
            beside.push(format!(".{:016x}", RandomState::new().hash_one(0)));
            match self.create(&beside, mode) {
                Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {}
                made => return Ok((beside, made?)),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn sync(&self) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        File::from(openat(&self.0, ".", flags, Mode::empty())?).sync_all()
    }
}

/// Goes to a folder name by name; with `keeps_last`, to the one that the last name stands in.
fn walk(path: &Path, keeps_last: bool) -> io::Result<(OwnedFd, Option<OsString>)> {
    let mut folder = start(path)?;
    let mut left = names(path);
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        let is_kept = keeps_last && left.is_empty() && name != "..";
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = match openat(&folder, &name, flags, Mode::empty()) {
            Err(Errno::NOENT) if is_kept => return Ok((folder, Some(name))),
            found => found?,
        };
        let facts = fstat(&found)?;
        match FileType::from_raw_mode(facts.st_mode) {
            FileType::Symlink => {
                links += 1;
                if links > LINKS_MAX {
                    return Err(Errno::LOOP.into());
                }
                check_link(&name, &facts, &fstat(&folder)?)?;
                let target = readlinkat(&found, "", Vec::new())?.into_bytes();
                let target = PathBuf::from(OsString::from_vec(target));
                if target.is_absolute() {
                    folder = start(&target)?;
                }
                for name in names(&target).into_iter().rev() {
                    left.push_front(name);
                }
            }
            _ if is_kept => return Ok((folder, Some(name))),
            FileType::Directory => folder = found,
            _ => return Err(io::ErrorKind::NotADirectory.into()),
        }
    }
    Ok((folder, None))
}

/// Where a path begins.
fn start(path: &Path) -> io::Result<OwnedFd> {
    let from = if path.is_absolute() { "/" } else { "." };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(open(from, flags, Mode::empty())?)
}

/// The names of a path; a root in front and single dots say nothing.
fn names(path: &Path) -> VecDeque<OsString> {
    let named = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        Component::ParentDir => Some(OsStr::new("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    named.map(OsStr::to_os_string).collect()
}

/// Whether root may follow a link.
fn check_link(name: &OsStr, link: &Stat, folder: &Stat) -> io::Result<()> {
    let open = folder.st_mode & OTHERS_WRITE != 0 && folder.st_mode & STICKY == 0;
    if geteuid().is_root() && (link.st_uid != 0 || folder.st_uid != 0 || open) {
        let why = format!(
            "{} is a link that another user can have laid, and root does not follow it; name the file that it leads to",
            name.display()
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        io::Write,
        os::unix::fs::{chown, symlink},
    };

    const ANOTHER: u32 = 65534;

    fn put(path: &Path, text: &str) -> io::Result<()> {
        let (folder, name) = Folder::of(path)?;
        let before = folder.read(&name);
        let place = match &before {
            Ok(file) => InPlaceOf::File(file),
            Err(_) => InPlaceOf::Nothing(OWN),
        };
        folder.put(&name, place, |file| file.write_all(text.as_bytes()))
    }

    #[test]
    fn a_file_is_replaced_in_its_folder_with_its_mode() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        put(&at("file"), "one").expect("made");
        let mode = |name: &str| fs::metadata(at(name)).expect("there").mode() & 0o7777;
        assert_eq!(mode("file"), OWN);
        fs::set_permissions(at("file"), Permissions::from_mode(0o4646)).expect("ours");
        symlink("file", at("link")).expect("made");
        put(&at("link"), "two").expect("our own link, in our own folder");
        assert!(at("link").is_symlink());
        assert_eq!(fs::read(at("file")).expect("there"), b"two");
        assert_eq!(mode("file"), 0o640);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 2);
    }

    #[test]
    fn a_name_that_is_taken_and_a_write_that_fails_change_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        put(&at("file"), "one").expect("made");
        let (opened, name) = Folder::of(&at("file")).expect("there");
        let why = opened.put(&name, InPlaceOf::Nothing(OWN), |_| Ok(()));
        let why = why.expect_err("it is there");
        assert_eq!(why.kind(), io::ErrorKind::AlreadyExists);
        let full = |_: &mut File| Err(io::Error::other("full"));
        assert!(opened.put(&name, InPlaceOf::Any(OWN), full).is_err());
        assert_eq!(fs::read(at("file")).expect("there"), b"one");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn a_folder_stays_the_one_that_was_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["theirs", "roots"] {
            fs::create_dir(at(name)).expect("made");
        }
        fs::write(at("roots/accounts"), "precious").expect("written");
        let (opened, name) = Folder::of(&at("theirs/accounts")).expect("a folder");
        // Its owner lays a link in its place.
        fs::rename(at("theirs"), at("moved")).expect("ours");
        symlink("roots", at("theirs")).expect("made");
        let put = opened.put(&name, InPlaceOf::Any(OWN), |file| file.write_all(b"x"));
        put.expect("the folder is there");
        assert_eq!(fs::read(at("moved/accounts")).expect("there"), b"x");
        assert_eq!(fs::read(at("roots/accounts")).expect("there"), b"precious");
        // And one in the file's.
        fs::remove_file(at("moved/accounts")).expect("there");
        symlink("../roots/accounts", at("moved/accounts")).expect("made");
        assert!(opened.read(&name).is_err());
        let put = opened.put(&name, InPlaceOf::Any(OWN), |file| file.write_all(b"y"));
        put.expect("the link is replaced");
        assert_eq!(fs::read(at("roots/accounts")).expect("there"), b"precious");
    }

    #[test]
    fn root_follows_no_link_of_another_user() {
        if !geteuid().is_root() {
            eprintln!("left out: not root");
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("theirs")).expect("made");
        fs::create_dir(at("roots")).expect("made");
        fs::write(at("roots/secret"), "for root").expect("written");
        symlink(at("roots/secret"), at("theirs/accounts")).expect("made");
        symlink(at("roots"), at("theirs/further")).expect("made");
        symlink("theirs", at("mine")).expect("made");
        chown(at("theirs"), Some(ANOTHER), Some(ANOTHER)).expect("root may");
        for name in ["theirs/accounts", "theirs/further/secret"] {
            let why = put(&at(name), "x").expect_err("a link in their folder");
            assert_eq!(why.kind(), io::ErrorKind::PermissionDenied, "{why}");
        }
        assert!(Folder::open(&at("theirs/further")).is_err());
        assert_eq!(fs::read(at("roots/secret")).expect("there"), b"for root");
        // A file of theirs is changed, by a link of root's too, and stays theirs.
        fs::write(at("theirs/file"), "one").expect("written");
        chown(at("theirs/file"), Some(ANOTHER), Some(ANOTHER)).expect("root may");
        put(&at("mine/file"), "two").expect("no link of theirs");
        let facts = fs::metadata(at("theirs/file")).expect("there");
        assert_eq!((facts.uid(), facts.gid()), (ANOTHER, ANOTHER));
    }
}
