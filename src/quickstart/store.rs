//! The folder: a message is written to `tmp`, made durable, and moved to `new` (Maildir).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

/// The folder.
pub(super) struct Store {
    directory: PathBuf,
    counter: AtomicU64,
}

/// A message under way, in `tmp`; removed when it is dropped.
pub(super) struct Draft {
    path: PathBuf,
    file: File,
    failed: Option<io::Error>,
}

impl Store {
    /// Makes the three folders of a Maildir below `directory`, where they are missing.
    pub(super) fn open(directory: &Path) -> io::Result<Store> {
        for part in ["tmp", "new", "cur"] {
            fs::create_dir_all(directory.join(part))?;
        }
        Ok(Store {
            directory: directory.to_path_buf(),
            counter: AtomicU64::new(0),
        })
    }

    /// A file in `tmp` with a name of its own: time, process, counter.
    pub(super) fn draft(&self) -> io::Result<Draft> {
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_micros());
        let count = self.counter.fetch_add(1, Relaxed);
        let name = format!(
            "{}.M{}P{}Q{count}.gatepost",
            time / 1_000_000,
            time % 1_000_000,
            std::process::id()
        );
        let path = self.directory.join("tmp").join(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok(Draft {
            path,
            file,
            failed: None,
        })
    }
}

impl Draft {
    pub(super) fn write(&mut self, piece: &[u8]) {
        if self.failed.is_none()
            && let Err(why) = self.file.write_all(piece)
        {
            self.failed = Some(why);
        }
    }

    /// Makes it durable and moves it to `new`: its name.
    pub(super) fn keep(mut self, store: &Store) -> io::Result<String> {
        if let Some(why) = self.failed.take() {
            return Err(why);
        }
        self.file.sync_all()?;
        let name = self
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let new = store.directory.join("new");
        fs::rename(&self.path, new.join(&name))?;
        // The rename is durable once the folder is.
        File::open(new)?.sync_all()?;
        Ok(name)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone already where it was kept.
        let _ = fs::remove_file(&self.path);
    }
}
