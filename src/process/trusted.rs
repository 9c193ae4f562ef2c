//! Opens a file as root whose path only root can have created.
//!
//! A path that leads through a folder of another user is that user's word: a link there, or a folder renamed, makes root
//! read any file of the machine. So each folder on the way must be root's and closed to other writers, looked at by its
//! descriptor, one component at a time (no time passes between the look and the use). A link is followed only where it
//! stands in such a folder itself, so that root made it: `/etc/letsencrypt/live` is full of them. What is opened is a
//! regular file, without waiting (a FIFO would hold the reader).
//!
//! A folder where everybody may write but only take away what is their own (`/tmp`, the sticky bit) may be passed
//! through to a folder of root's; files and links that stand in it are refused.
//!
//! Rejected: `openat2` with `RESOLVE_NO_SYMLINKS` alone. It doesn't look at owners, so the components have to be walked
//! in any case, and the walk needs nothing of the kernel that the oldest supported one lacks.

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::{
        fd::OwnedFd,
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Component, Path, PathBuf},
};

/// Links on the way to a file, as the kernel has it.
const LINKS_MAX: usize = 40;
/// Permission bits by which others than the owner write.
const OTHERS_WRITE: u32 = 0o022;
/// Only an entry's owner may take it away.
const STICKY: u32 = 0o1000;

/// A folder on the way.
struct Folder {
    descriptor: OwnedFd,
    path: PathBuf,
    /// Any user may add entries.
    shared: bool,
}

/// Reads a whole file of at most `max` octets.
///
/// # Errors
/// As for any read; others than root can lay the path; it is no regular file, or larger.
pub(super) fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    contents(open(path)?, max)
}

/// The same for a file that only root may write.
///
/// # Errors
/// The same, and where others can write it.
pub(super) fn read_own(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let facts = fstat(&file)?;
    if facts.st_uid != 0 || facts.st_mode & OTHERS_WRITE != 0 {
        return refuse(format!(
            "{}: others than root can write it, so no file is read for it",
            path.display()
        ));
    }
    contents(file, max)
}

fn contents(file: File, max: u64) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    file.take(max + 1).read_to_end(&mut octets)?;
    match octets.len() as u64 > max {
        true => refuse(format!("it is larger than {} MiB", max >> 20)),
        false => Ok(octets),
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut way = vec![root()?];
    let mut left = names(&std::path::absolute(path)?);
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            if way.len() > 1 {
                way.truncate(way.len() - 1);
            }
            continue;
        }
        let Some(folder) = way.last() else {
            break; // Never: the root stays.
        };
        let shown = folder.path.join(&name);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = openat(&folder.descriptor, &name, flags, Mode::empty())?;
        let facts = fstat(&found)?;
        match FileType::from_raw_mode(facts.st_mode) {
            FileType::Directory => way.push(Folder::checked(found, shown, &facts)?),
            _ if folder.shared => {
                return refuse(format!(
                    "{} stands in a folder that everybody can write to, so root does not read it",
                    shown.display()
                ));
            }
            FileType::Symlink => {
                links += 1;
                if links > LINKS_MAX {
                    return refuse(format!("{}: too many links", path.display()));
                }
                let target = readlinkat(&found, "", Vec::new())?.into_bytes();
                let target = PathBuf::from(OsString::from_vec(target));
                if target.is_absolute() {
                    way.truncate(1);
                }
                for name in names(&target).into_iter().rev() {
                    left.push_front(name);
                }
            }
            FileType::RegularFile if left.is_empty() => {
                // Only root can have put another file here since.
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file = openat(&folder.descriptor, &name, flags, Mode::empty())?;
                return Ok(File::from(file));
            }
            FileType::RegularFile => return Err(io::ErrorKind::NotADirectory.into()),
            _ => return refuse(format!("{} is no regular file", shown.display())),
        }
    }
    Err(io::ErrorKind::IsADirectory.into())
}

fn root() -> io::Result<Folder> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let found = rustix::fs::open("/", flags, Mode::empty())?;
    let facts = fstat(&found)?;
    Folder::checked(found, "/".into(), &facts)
}

/// The names of a path; a root in front and single dots say nothing.
fn names(path: &Path) -> VecDeque<OsString> {
    let named = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        Component::ParentDir => Some(OsStr::from_bytes(b"..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    named.map(OsStr::to_os_string).collect()
}

impl Folder {
    fn checked(descriptor: OwnedFd, path: PathBuf, facts: &Stat) -> io::Result<Folder> {
        let (owner, mode) = (facts.st_uid, facts.st_mode & 0o7777);
        let open = mode & OTHERS_WRITE != 0;
        if owner != 0 || (open && mode & STICKY == 0) {
            return refuse(format!(
                "the folder {}: others than root can write it (owner {owner}, mode {mode:04o}), so root reads no file \
                 below it; chown root and chmod go-w the folder, or let the user that the service runs as read the file",
                path.display()
            ));
        }
        Ok(Folder {
            descriptor,
            path,
            shared: open,
        })
    }
}

fn refuse<T>(why: String) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{PermissionsExt, chown, symlink},
    };

    const MAX: u64 = 1 << 20;
    const ANOTHER: u32 = 65534;

    /// A folder of root's, below one that is shared or root's alone. `None`: these are not root's tests to run.
    fn folder() -> Option<tempfile::TempDir> {
        let folder = tempfile::tempdir().expect("a folder");
        let ours = rustix::process::geteuid().is_root()
            && open(folder.path()).is_err_and(|why| why.kind() == io::ErrorKind::IsADirectory);
        if !ours {
            eprintln!("left out: not root, or the temporary folder isn't root's");
        }
        ours.then_some(folder)
    }

    fn text(path: &Path) -> Result<String, String> {
        let octets = read(path, MAX).map_err(|why| why.to_string())?;
        Ok(String::from_utf8(octets).expect("text"))
    }

    #[test]
    fn a_path_that_root_laid_is_followed_and_its_links_too() {
        let Some(folder) = folder() else { return };
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("archive/mx")).expect("made");
        fs::create_dir_all(at("live/mx")).expect("made");
        fs::write(at("archive/mx/key1.pem"), "the key").expect("written");
        symlink("../../archive/mx/key1.pem", at("live/mx/key.pem")).expect("made");
        symlink(at("live"), at("absolute")).expect("made");
        for name in [
            "archive/mx/key1.pem",
            "archive/../archive/./mx/key1.pem",
            "live/mx/key.pem",
            "absolute/mx/key.pem",
        ] {
            assert_eq!(text(&at(name)).as_deref(), Ok("the key"), "{name}");
        }
        assert!(text(&at("live")).is_err(), "a folder");
        assert!(text(&at("archive/mx/key1.pem/x")).is_err());
        symlink(at("round"), at("round")).expect("made");
        assert!(text(&at("round")).expect_err("no end").contains("links"));
        assert!(read(&at("archive/mx/key1.pem"), 6).is_err(), "too large");
    }

    #[test]
    fn a_path_through_the_folder_of_another_is_refused() {
        let Some(folder) = folder() else { return };
        let at = |name: &str| folder.path().join(name);
        fs::write(at("secret"), "for root").expect("written");
        for name in ["theirs", "open"] {
            fs::create_dir_all(at(name).join("deeper")).expect("made");
            fs::write(at(name).join("deeper/key"), "x").expect("written");
            symlink(at("secret"), at(name).join("link")).expect("made");
        }
        chown(at("theirs"), Some(ANOTHER), Some(ANOTHER)).expect("root may");
        fs::set_permissions(at("open"), Permissions::from_mode(0o775)).expect("set");
        symlink(at("theirs/deeper"), at("mine")).expect("made");
        for name in [
            "theirs/deeper/key",
            "theirs/link",
            "open/deeper/key",
            "open/link",
            "mine/key",
        ] {
            let why = text(&at(name)).expect_err(name);
            assert!(
                why.contains("others than root can write it"),
                "{name}: {why}"
            );
        }
        // As in /tmp: what stands there may be anybody's, folders of root's below it are root's.
        fs::set_permissions(at("open"), Permissions::from_mode(0o1777)).expect("set");
        assert!(
            text(&at("open/link"))
                .expect_err("a link")
                .contains("everybody")
        );
        assert_eq!(text(&at("open/deeper/key")).as_deref(), Ok("x"));
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let Some(folder) = folder() else { return };
        let socket = folder.path().join("socket");
        let _bound = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
        assert!(
            text(&socket)
                .expect_err("a socket")
                .contains("no regular file")
        );
        assert!(text(Path::new("/dev/zero")).is_err());
        assert!(text(&folder.path().join("none")).is_err());
    }

    #[test]
    fn a_file_that_others_can_write_is_not_roots_own() {
        let Some(folder) = folder() else { return };
        let file = folder.path().join("gatepost.toml");
        fs::write(&file, "x").expect("written");
        fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("set");
        assert_eq!(read_own(&file, MAX).expect("root's"), b"x");
        fs::set_permissions(&file, Permissions::from_mode(0o664)).expect("set");
        assert!(read_own(&file, MAX).is_err());
        fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("set");
        chown(&file, Some(ANOTHER), None).expect("root may");
        assert!(read_own(&file, MAX).is_err());
    }
}
