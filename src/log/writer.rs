//! The thread that writes.

use super::{
    Batch, Sink, say, sink,
    thread::{Event, Running, spawn},
};
use crossbeam::channel::{Sender, bounded};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// How often a failing output is spoken of.
const REPEAT: Duration = Duration::from_secs(60);

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Lines are dropped before they are written: `log.to = "off"`.
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

/// The writer thread of the transaction log and the way to it. Dropping it ends the thread once every worker's end of the
/// queue is gone and what is queued is written, or leaves it to the end of the process when its output is stuck.
#[derive(Debug)]
pub struct Writer {
    queue: Option<Sender<Batch>>,
    reopen: Arc<AtomicBool>,
    thread: Option<Running>,
}

impl Writer {
    /// Opens the target and starts the thread. `batches` is how many buffers may wait; `lost` is told of lines that could
    /// not be written. Errors: the file can't be opened for appending.
    pub fn start(
        target: &Target,
        batches: usize,
        lost: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Writer> {
        let reopen = Arc::new(AtomicBool::new(false));
        let (sink, path) = match target {
            Target::Off => {
                return Ok(Writer {
                    queue: None,
                    reopen,
                    thread: None,
                });
            }
            Target::Stdout => (Sink::stdout()?, None),
            Target::Stderr => (Sink::stderr()?, None),
            Target::File(path) => (Arc::new(Mutex::new(Sink::file(path)?)), Some(path.clone())),
        };
        let (queue, lines) = bounded(batches.max(1));
        let again = Arc::clone(&reopen);
        let mut report = Report::new(path.as_deref());
        let thread = spawn("log", lines, sink, move |event| match event {
            Event::Next(sink) => {
                if let Some(path) = &path
                    && again.swap(false, Relaxed)
                {
                    lost(replace(sink, path));
                }
            }
            Event::Written => report.works(),
            Event::Lost(loss) => {
                lost(loss.lines);
                report.fails(&loss);
            }
        })?;
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
        self.reopen.store(true, Relaxed);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            thread.finish();
        }
    }
}

/// Opens the file by its name again. Gives the number of lines that are lost by that: the one that was cut.
fn replace(sink: &mut Sink, path: &Path) -> u64 {
    match Sink::file(path) {
        Ok(new) => u64::from(std::mem::replace(sink, new).is_torn()),
        Err(why) => {
            say!(
                Warn,
                "log: {}: {why}; the old file stays in use",
                path.display()
            );
            0
        }
    }
}

/// Tells the service's log that the transaction log can't be written, and that it can again; once a minute at most, as a
/// nearly full disk changes its mind with each line.
struct Report {
    name: String,
    lost: u64,
    due: Instant,
}

impl Report {
    fn new(path: Option<&Path>) -> Report {
        let name = path.map_or_else(
            || "the standard stream".into(),
            |path| path.display().to_string(),
        );
        Report {
            name,
            lost: 0,
            due: Instant::now(),
        }
    }

    fn fails(&mut self, loss: &sink::Loss) {
        self.lost += loss.lines;
        let now = Instant::now();
        if now >= self.due {
            self.due = now + REPEAT;
            say!(
                Warn,
                "log: {}: {}; lines are lost, mail is not",
                self.name,
                loss.why
            );
        }
    }

    fn works(&mut self) {
        if self.lost > 0 && Instant::now() >= self.due {
            say!(
                Info,
                "log: {} is written again; {} lines were lost",
                self.name,
                self.lost
            );
            self.lost = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Lines;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    fn start(target: &Target, batches: usize) -> io::Result<Writer> {
        Writer::start(target, batches, |_| {})
    }

    #[test]
    fn lines_reach_the_file_also_after_a_rotation() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mail.log");
        let writer = start(&Target::File(path.clone()), 16).expect("opens");
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
        assert!(start(&Target::File("/nowhere/at/all.log".into()), 4).is_err());
        assert!(
            start(&Target::Off, 4)
                .expect("nothing to open")
                .queue()
                .is_none()
        );
    }

    #[test]
    fn lines_lost_to_a_full_device_are_counted() {
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        let writer = Writer::start(&Target::File("/dev/full".into()), 16, move |lines| {
            counted.fetch_add(lines, SeqCst);
        })
        .expect("it opens");
        let lines = Lines::new(writer.queue());
        for _ in 0..3 {
            lines.push(|out| out.extend_from_slice(b"x\n"));
            lines.hand_over();
        }
        drop(lines);
        drop(writer);
        assert_eq!(lost.load(SeqCst), 3);
    }
}
