//! The served side of the key reader: how this process, which is to become another user, has keys read as root.
//!
//! [`start`] starts a keeper, which starts the reader and starts it anew if it ends. A question that met a reader's end is
//! asked once more. One that has no answer in time costs the reader its place, so that a late answer is never taken for
//! that of the next question.

use super::{
    KEEP,
    keeper::{self, program},
    reader,
};
use crate::{config::set_reader, log::say};
use rustix::net::RecvFlags;
use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

/// How long an answer may take (a file on a network can be slow), and how long the next reader.
const PATIENCE: Duration = Duration::from_secs(30);

/// The keeper's process, which has to be waited for.
#[derive(Debug)]
pub struct Keeper(Child);

/// The ways to the keeper and to the reader that it has last started.
struct Ways {
    keeper: UnixStream,
    reader: Option<UnixStream>,
}

/// Starts the keeper, and has secrets read through its reader.
///
/// # Errors
/// It can't be started.
pub fn start(config: &Path) -> io::Result<Keeper> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_read_timeout(Some(PATIENCE))?;
    let keeper = Command::new(program())
        .arg(super::COMMAND)
        .arg(KEEP)
        .arg("-c")
        .arg(config)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .spawn()?;
    let ways = Mutex::new(Ways {
        keeper: ours,
        reader: None,
    });
    set_reader(move |path| {
        let mut ways = ways.lock().unwrap_or_else(PoisonError::into_inner);
        ways.read(path)
    });
    Ok(Keeper(keeper))
}

impl Keeper {
    /// Waits for its end on a thread of its own, so that the end is told and leaves no zombie. Call it once the process
    /// is what it is to be: the thread inherits that.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn watch(self) -> io::Result<()> {
        let Keeper(mut keeper) = self;
        let work = move || {
            let how = match keeper.wait() {
                Ok(status) => status.to_string(),
                Err(why) => why.to_string(),
            };
            say!(
                Error,
                "the keeper of the key reader has ended ({how}): if the reader ends too, keys that only root may read \
                 can't be reloaded until a restart"
            );
        };
        thread::Builder::new().name("keeper".into()).spawn(work)?;
        Ok(())
    }
}

impl Ways {
    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        match self.ask(path) {
            Err(why) if is_end(&why) => self.ask(path),
            answer => answer,
        }
    }

    fn ask(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let lost = |why: io::Error| io::Error::new(why.kind(), format!("the key reader: {why}"));
        let reader = self.reader().map_err(lost)?;
        match reader::ask(reader, path) {
            Ok(answer) => answer.map_err(io::Error::other),
            Err(why) => {
                self.reader = None;
                Err(lost(why))
            }
        }
    }

    /// The way to the reader that is there.
    fn reader(&mut self) -> io::Result<&mut UnixStream> {
        // The keeper hands one over for each reader that it starts; the last one counts.
        while let Ok(Some(newer)) = keeper::take(&self.keeper, RecvFlags::DONTWAIT) {
            self.reader = Some(newer);
        }
        if self.reader.is_none() {
            self.reader = keeper::take(&self.keeper, RecvFlags::empty())?;
        }
        let gone = || io::Error::other("it is gone, and so is its keeper: restart the service");
        let reader = self.reader.as_mut().ok_or_else(gone)?;
        reader.set_read_timeout(Some(PATIENCE))?;
        reader.set_write_timeout(Some(PATIENCE))?;
        Ok(reader)
    }
}

/// Whether this is how a reader's end looks, rather than its silence.
fn is_end(why: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(why.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}
