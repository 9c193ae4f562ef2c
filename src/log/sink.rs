//! Where lines are written: a file or a standard stream, in whole lines whatever becomes of a single write.
//!
//! A write may take a part of its octets and fail at the next (a full disk does that). The line that was cut is completed
//! before anything else is written, so a line is never glued to the torn one before it. It counts as lost only if that
//! never succeeds.

use crate::files;
use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::Path,
    sync::{Arc, Mutex, OnceLock},
    thread::sleep,
    time::Duration,
};

/// Pause before the next try where another program made the descriptor non-blocking and it is full.
const PAUSE: Duration = Duration::from_millis(10);

/// Lines that could not be written, and why.
#[derive(Debug)]
pub struct Loss {
    /// How many.
    pub lines: u64,
    /// What the write said.
    pub why: io::Error,
}

/// An output and what is left over of a line that was cut.
#[derive(Debug)]
pub struct Sink<W = File> {
    output: W,
    rest: Vec<u8>,
}

/// The sink of standard error, which the service's lines and perhaps the transaction log share.
static STDERR: OnceLock<Arc<Mutex<Sink>>> = OnceLock::new();

impl Sink {
    /// A file, opened for appending. One that is missing is made, for its owner and group; the mode of another one stays. A
    /// FIFO must have a reader: the start waits for none.
    pub fn file(path: &Path) -> io::Result<Sink> {
        Ok(Sink::new(files::append_to_any(path, files::GROUP)?))
    }

    /// Standard error. All callers get the same one, so that their lines don't mix.
    pub fn stderr() -> io::Result<Arc<Mutex<Sink>>> {
        if let Some(shared) = STDERR.get() {
            return Ok(Arc::clone(shared));
        }
        let file = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        Ok(Arc::clone(
            STDERR.get_or_init(|| Arc::new(Mutex::new(Sink::new(file)))),
        ))
    }

    /// Standard output; the sink of standard error where both are the same pipe or file (`2>&1`).
    pub fn stdout() -> io::Result<Arc<Mutex<Sink>>> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let errors = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        let (one, other) = (file.metadata()?, errors.metadata()?);
        if (one.dev(), one.ino()) == (other.dev(), other.ino()) {
            return Sink::stderr();
        }
        Ok(Arc::new(Mutex::new(Sink::new(file))))
    }
}

impl<W: Write> Sink<W> {
    /// Writes to `output` without a buffer in between.
    pub fn new(output: W) -> Sink<W> {
        Sink {
            output,
            rest: Vec::new(),
        }
    }

    /// Whether a line is cut and waits for its end. It is lost where this sink goes away.
    pub fn is_torn(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Writes `text`, whole lines, after what is left over of the line before. Blocks as long as the output does. Errors:
    /// the lines of `text` that were lost; one that was cut is not among them yet.
    pub fn write(&mut self, text: &[u8]) -> Result<(), Loss> {
        let rest = std::mem::take(&mut self.rest);
        let (written, result) = push(&mut self.output, &rest);
        if let Err(why) = result {
            self.rest = rest[written..].to_vec();
            return Err(Loss {
                lines: count_lines(text),
                why,
            });
        }
        let (written, result) = push(&mut self.output, text);
        result.map_err(|why| {
            let mut lost = &text[written..];
            if written > 0 && text[written - 1] != b'\n' {
                let end = lost.iter().position(|octet| *octet == b'\n');
                let (cut, whole) = lost.split_at(end.map_or(lost.len(), |end| end + 1));
                self.rest = cut.to_vec();
                lost = whole;
            }
            Loss {
                lines: count_lines(lost),
                why,
            }
        })
    }
}

/// How many lines `text` holds, each with its newline.
pub fn count_lines(text: &[u8]) -> u64 {
    text.iter().filter(|octet| **octet == b'\n').count() as u64
}

/// Writes as much as can be written: how many octets, and what ended it before all were.
fn push(output: &mut impl Write, text: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < text.len() {
        match output.write(&text[written..]) {
            Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(why) if why.kind() == ErrorKind::Interrupted => {}
            // A shared pipe or terminal that another program made non-blocking.
            Err(why) if why.kind() == ErrorKind::WouldBlock => sleep(PAUSE),
            Err(why) => return (written, Err(why)),
        }
    }
    (written, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with room for so many octets.
    #[derive(Debug)]
    struct Disk {
        room: usize,
        held: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let some = text.len().min(self.room);
            if some == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.held.extend_from_slice(&text[..some]);
            self.room -= some;
            Ok(some)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Writes three batches, the second to a disk with `room` octets left: what the disk holds, and how many were lost.
    fn written(room: usize) -> (String, u64) {
        let mut sink = Sink::new(Disk {
            room: 100,
            held: Vec::new(),
        });
        let mut lost = 0;
        let mut write = |sink: &mut Sink<Disk>, text: &str| {
            if let Err(loss) = sink.write(text.as_bytes()) {
                lost += loss.lines;
            }
        };
        write(&mut sink, "one\n");
        sink.output.room = room;
        write(&mut sink, "two\nthree\nfour\n");
        write(&mut sink, "five\n");
        sink.output.room = 100;
        write(&mut sink, "six\n");
        assert!(!sink.is_torn());
        let held = String::from_utf8(sink.output.held).expect("ASCII");
        (held, lost)
    }

    #[test]
    fn a_torn_line_is_completed_before_the_next() {
        for (room, held, lost) in [
            (0, "one\nsix\n", 4),
            (2, "one\ntwo\nsix\n", 3),
            (4, "one\ntwo\nsix\n", 3),
            (5, "one\ntwo\nthree\nsix\n", 2),
            (14, "one\ntwo\nthree\nfour\nsix\n", 1),
        ] {
            assert_eq!(written(room), (held.to_owned(), lost), "room {room}");
        }
    }

    #[test]
    fn other_users_do_not_read_a_new_file_and_the_mode_of_an_old_one_stays() {
        let path = std::env::temp_dir().join(format!("gatepost-sink-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let mode = || std::fs::metadata(&path).expect("made").mode() & 0o777;
        Sink::file(&path).expect("made");
        assert_eq!(mode() & 0o027, 0, "{:o}", mode());
        let wide = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&path, wide).expect("ours");
        Sink::file(&path).expect("opened");
        assert_eq!(mode(), 0o644);
        std::fs::remove_file(&path).expect("ours");
    }

    #[test]
    fn a_full_device_and_a_closed_pipe_lose_every_line_and_say_why() {
        let full = File::options().write(true).open("/dev/full");
        let loss = Sink::new(full.expect("every Linux has it"))
            .write(b"a\nb\n")
            .expect_err("full");
        assert_eq!((loss.lines, loss.why.kind()), (2, ErrorKind::StorageFull));
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let loss = Sink::new(writer).write(b"a\n").expect_err("closed");
        assert_eq!((loss.lines, loss.why.kind()), (1, ErrorKind::BrokenPipe));
    }
}
