//! The thread that writes.

use super::Batch;
use crossbeam::channel::{Receiver, Sender, bounded};
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Appended to a file.
    File(PathBuf),
}

impl Target {
    /// Reads `log.to`: `stdout`, `stderr`, `off`, else a path.
    #[must_use]
    pub fn parse(text: &str) -> Target {
        match text {
            "off" => Target::Off,
            "stdout" | "-" => Target::Stdout,
            "stderr" => Target::Stderr,
            path => Target::File(path.into()),
        }
    }
}

/// The writer thread and the way to it. Dropping it writes what is queued and ends the thread, once every
/// worker's end of the queue is gone.
#[derive(Debug)]
pub struct Writer {
    queue: Option<Sender<Batch>>,
    reopen: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Opens the target and starts the thread. `batches` is how many buffers may wait. Errors: the file
    /// can't be opened for appending.
    pub fn start(target: &Target, batches: usize) -> io::Result<Writer> {
        let reopen = Arc::new(AtomicBool::new(false));
        let output = match target {
            Target::Off => {
                return Ok(Writer {
                    queue: None,
                    reopen,
                    thread: None,
                });
            }
            Target::Stdout => Output::Stream(Box::new(io::stdout())),
            Target::Stderr => Output::Stream(Box::new(io::stderr())),
            Target::File(path) => Output::File(open(path)?, path.clone()),
        };
        let (queue, lines) = bounded(batches.max(1));
        let again = Arc::clone(&reopen);
        let thread = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write_all(&lines, output, &again))?;
        Ok(Writer {
            queue: Some(queue),
            reopen,
            thread: Some(thread),
        })
    }

    /// The queue that workers send to; `None` when the log is off.
    #[must_use]
    pub fn queue(&self) -> Option<Sender<Batch>> {
        self.queue.clone()
    }

    /// Opens the file again before the next line (a rotation moved it away).
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // The thread ends when the last sender is gone; a panic there has been printed by it.
            let _ = thread.join();
        }
    }
}

enum Output {
    Stream(Box<dyn Write + Send>),
    File(File, PathBuf),
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn write_all(lines: &Receiver<Batch>, mut output: Output, again: &AtomicBool) {
    while let Ok(batch) = lines.recv() {
        if again.swap(false, Ordering::Relaxed)
            && let Output::File(file, path) = &mut output
        {
            match open(path) {
                Ok(new) => *file = new,
                Err(why) => super::say!(
                    Warn,
                    "log: {}: {why}; writing on to the old file",
                    path.display()
                ),
            }
        }
        let done = match &mut output {
            Output::Stream(stream) => stream.write_all(&batch.text).and_then(|()| stream.flush()),
            Output::File(file, _) => file.write_all(&batch.text),
        };
        // A closed pipe or a full disk must not end the service: the lines are lost, mail is not.
        if let Err(why) = done {
            super::say!(
                Debug,
                "log: {} lines could not be written: {why}",
                batch.lines
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Lines;

    #[test]
    fn lines_reach_the_file_also_after_a_rotation() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mail.log");
        let writer = Writer::start(&Target::File(path.clone()), 16).expect("opens");
        let lines = Lines::new(writer.queue());
        lines.push(|out| out.extend_from_slice(b"one\n"));
        assert_eq!(lines.hand_over(), 0);
        while std::fs::read(&path).expect("there").is_empty() {
            std::thread::yield_now();
        }
        std::fs::rename(&path, folder.path().join("mail.log.1")).expect("moves");
        writer.reopen();
        lines.push(|out| out.extend_from_slice(b"two\n"));
        lines.hand_over();
        drop(lines);
        drop(writer);
        assert_eq!(std::fs::read(&path).expect("made again"), b"two\n");
        assert_eq!(
            std::fs::read(folder.path().join("mail.log.1")).expect("kept"),
            b"one\n"
        );
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        assert!(Writer::start(&Target::File("/nowhere/at/all.log".into()), 4).is_err());
        assert!(
            Writer::start(&Target::Off, 4)
                .expect("nothing to open")
                .queue()
                .is_none()
        );
    }
}
