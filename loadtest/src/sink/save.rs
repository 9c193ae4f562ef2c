//! Keeps messages in a Maildir, for looking at: as they came, below a `Return-Path:` and one `Delivered-To:` for each
//! recipient. Not durable: nothing is synced.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

/// A Maildir that takes so many messages and no more.
#[derive(Debug)]
pub(super) struct Saver {
    folder: PathBuf,
    max: u64,
    count: AtomicU64,
}

/// A message under way, in `tmp`; removed when it is dropped.
pub(super) struct Draft {
    folder: PathBuf,
    name: String,
    file: BufWriter<File>,
    failed: Option<io::Error>,
    kept: bool,
}

impl Saver {
    /// Makes the folders. Errors: they can't be made.
    pub fn new(folder: &Path, max: u64) -> io::Result<Saver> {
        for part in ["tmp", "new", "cur"] {
            fs::create_dir_all(folder.join(part)).map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("cannot save to {}: {error}", folder.display()),
                )
            })?;
        }
        Ok(Saver {
            folder: folder.to_path_buf(),
            max,
            count: AtomicU64::new(0),
        })
    }

    /// Opens a file for a message; `None` where the limit is reached, or it can't be opened.
    pub fn draft<'a>(
        &self,
        sender: &[u8],
        recipients: impl Iterator<Item = &'a [u8]>,
    ) -> Option<Draft> {
        if self.count.load(Relaxed) >= self.max {
            return None;
        }
        let number = self.count.fetch_add(1, Relaxed);
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_micros());
        let process = std::process::id();
        let name = format!("{}.P{process}Q{number}.sink", time / 1_000_000);
        let file = match File::create_new(self.folder.join("tmp").join(&name)) {
            Ok(file) => file,
            Err(error) => {
                eprintln!("gatepost-load: a message could not be saved: {error}");
                return None;
            }
        };
        let mut draft = Draft {
            folder: self.folder.clone(),
            name,
            file: BufWriter::new(file),
            failed: None,
            kept: false,
        };
        draft.line("Return-Path", sender);
        for recipient in recipients {
            draft.line("Delivered-To", recipient);
        }
        Some(draft)
    }
}

impl Draft {
    fn line(&mut self, field: &str, path: &[u8]) {
        for piece in [field.as_bytes(), b": <", path, b">\r\n"] {
            self.write(piece);
        }
    }

    /// Appends octets of the payload.
    pub fn write(&mut self, octets: &[u8]) {
        if self.failed.is_none()
            && let Err(error) = self.file.write_all(octets)
        {
            self.failed = Some(error);
        }
    }

    /// The message was taken: it appears in `new`. False where something failed, which is said once here.
    pub fn keep(mut self) -> bool {
        let result = match self.failed.take() {
            Some(error) => Err(error),
            None => self.file.flush(),
        };
        let result = result.and_then(|()| {
            let (tmp, new) = (self.folder.join("tmp"), self.folder.join("new"));
            fs::rename(tmp.join(&self.name), new.join(&self.name))
        });
        self.kept = result.is_ok();
        if let Err(error) = result {
            eprintln!("gatepost-load: a message could not be saved: {error}");
        }
        self.kept
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept {
            // Nothing else to be done about a file that can't be removed.
            let _ = fs::remove_file(self.folder.join("tmp").join(&self.name));
        }
    }
}
