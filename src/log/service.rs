//! What the service says of itself: started, reloaded, a backend left out. Few lines, on standard error.
//!
//! Any thread may say something, workers among them, and standard error may have no reader. So a line goes into a
//! bounded queue that a thread of its own writes from; where that is full, the line is counted and dropped. The queue
//! exists from [`queue_up`] on, which the service calls before all else. Commands that don't run the service never call
//! it, and their lines are written at once.

use super::{
    Batch, Line, Rarely, Sink,
    thread::{Event, Running, spawn},
};
use crate::characters::is_hidden;
use crossbeam::channel::{Receiver, Sender, bounded};
use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, Write},
    os::{fd::AsFd, unix::fs::MetadataExt},
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

/// Lines that wait to be written at most.
const QUEUE_MAX: usize = 1024;
/// Octets of a line's text at most: what a backend or a library says may be part of it.
const TEXT_MAX: usize = 4096;
/// How long the end of the process waits for room in the queue, to say that it is over.
const ROOM_WAIT: Duration = Duration::from_secs(1);

/// How much a line matters; a level shows itself and those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something is broken and needs a person.
    Error = 0,
    /// Something is wrong and handled.
    Warn = 1,
    /// Starts, stops, reloads, backends that fail and come back.
    Info = 2,
    /// Details, to find a fault.
    Debug = 3,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }

    /// The priority before a line that systemd's journal reads: `SD_ERR`, … of sd-daemon(3).
    fn priority(self) -> &'static str {
        match self {
            Level::Error => "<3>",
            Level::Warn => "<4>",
            Level::Info => "<6>",
            Level::Debug => "<7>",
        }
    }
}

/// Why a line was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The queue was full.
    Queue,
    /// It could not be written.
    Write,
}

struct Queue {
    lines: Sender<Batch>,
    waiting: Receiver<Batch>,
    /// The thread, once it is started.
    running: OnceLock<Running>,
    counted: OnceLock<Counted>,
}

/// Is told why lines were lost, and how many.
type Counted = Box<dyn Fn(Lost, u64) + Send + Sync>;

impl Queue {
    fn lose(&self, why: Lost, lines: u64) {
        if let Some(counted) = self.counted.get() {
            counted(why, lines);
        }
    }
}

static SHOWN: AtomicU8 = AtomicU8::new(Level::Info as u8);
static JSON: AtomicBool = AtomicBool::new(false);
static QUEUE: OnceLock<Queue> = OnceLock::new();

/// Shows lines up to `level` from now on.
pub fn set_level(level: Level) {
    SHOWN.store(level as u8, Relaxed);
}

/// Writes lines as JSON objects from now on, or as text.
pub fn set_json(json: bool) {
    JSON.store(json, Relaxed);
}

/// Whether a line of this level is shown.
#[must_use]
pub fn shows(level: Level) -> bool {
    level as u8 <= SHOWN.load(Relaxed)
}

/// Lines wait in the queue from now on, also what a panic says. No thread is started yet.
pub fn queue_up() {
    let (lines, waiting) = bounded(QUEUE_MAX);
    let queue = Queue {
        lines,
        waiting,
        running: OnceLock::new(),
        counted: OnceLock::new(),
    };
    if QUEUE.set(queue).is_ok() {
        std::panic::set_hook(Box::new(panicked));
    }
}

/// Starts the thread that writes what waits in the queue; `counted` is told of lines that are lost. Errors: it can't be
/// started, or standard error is closed.
pub fn start(counted: impl Fn(Lost, u64) + Send + Sync + 'static) -> io::Result<()> {
    let Some(queue) = QUEUE.get() else {
        return Ok(());
    };
    // A second one would be a second service; there is one.
    let _ = queue.counted.set(Box::new(counted));
    run(queue)
}

fn run(queue: &'static Queue) -> io::Result<()> {
    if queue.running.get().is_some() {
        return Ok(());
    }
    let tell = |event: Event<'_>| {
        if let Event::Lost(loss) = event {
            queue.lose(Lost::Write, loss.lines);
        }
    };
    let thread = spawn("log-service", queue.waiting.clone(), Sink::stderr()?, tell)?;
    // The start and the end are on one thread: there is no second one yet.
    let _ = queue.running.set(thread);
    Ok(())
}

/// Has what waits written, before the process ends; waits some seconds at most where standard error is stuck.
pub fn finish() {
    let Some(queue) = QUEUE.get() else { return };
    // Where it can't start, nothing can be said.
    if run(queue).is_err() {
        return;
    }
    if queue
        .lines
        .send_timeout(Batch::default(), ROOM_WAIT)
        .is_ok()
        && let Some(thread) = queue.running.get()
    {
        thread.finish();
    }
}

/// Writes one line; use it through [`say!`](crate::log::say).
pub fn write(level: Level, text: &str) {
    let mut line = Vec::new();
    render(
        &mut line,
        level,
        text,
        JSON.load(Relaxed),
        goes_to_journal(),
    );
    pass_on(line);
}

/// Writes text that is laid out already, of several lines perhaps, as it is: what is wrong with a configuration.
pub fn write_plain(text: &str) {
    pass_on(format!("{}\n", text.trim_end()).into_bytes());
}

fn pass_on(text: Vec<u8>) {
    let Some(queue) = QUEUE.get() else {
        // Not the service: a reader that doesn't read may stop a command. One write, so that lines don't mix.
        let _ = io::stderr().write_all(&text);
        return;
    };
    let lines = super::sink::count_lines(&text);
    let batch = Batch {
        text,
        lines: u32::try_from(lines).unwrap_or(u32::MAX),
    };
    if queue.lines.try_send(batch).is_err() {
        queue.lose(Lost::Queue, lines);
    }
}

/// Makes a line. The journal has a time and a level for each line, so there the level is its prefix and no time is told.
fn render(out: &mut Vec<u8>, level: Level, text: &str, json: bool, journal: bool) {
    let text = shortened(text);
    // In milliseconds, as in the transaction log.
    let now = || format!("{:.3}", jiff::Timestamp::now());
    if journal {
        out.extend_from_slice(level.priority().as_bytes());
    }
    if json {
        let mut line = Line::start(out, true);
        if !journal {
            line.show("time", now());
        }
        line.text("level", level.name().as_bytes())
            .text("message", text.as_bytes())
            .end();
        return;
    }
    // What acts instead of being shown can't come through: a backend's words may be among these.
    let clean: String = text
        .chars()
        .map(|c| if is_hidden(c) { '?' } else { c })
        .collect();
    let line = if journal {
        format!("{clean}\n")
    } else {
        format!("{} gatepost {}: {clean}\n", now(), level.name())
    };
    out.extend_from_slice(line.as_bytes());
}

/// The text, up to [`TEXT_MAX`] octets of it.
fn shortened(text: &str) -> std::borrow::Cow<'_, str> {
    if text.len() <= TEXT_MAX {
        return text.into();
    }
    format!("{}…", &text[..text.floor_char_boundary(TEXT_MAX)]).into()
}

/// Whether standard error is a stream of systemd's journal, as `JOURNAL_STREAM` says (systemd.exec(5)): device and inode
/// are compared, for a program that the service manager started may have given its child another standard error.
fn goes_to_journal() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
        let errors = io::stderr().as_fd().try_clone_to_owned();
        let Ok(about) = errors
            .map(std::fs::File::from)
            .and_then(|file| file.metadata())
        else {
            return false;
        };
        stream == format!("{}:{}", about.dev(), about.ino())
    })
}

/// What a panic says, as lines of the service: the hook of the standard library would write them to standard error at
/// once, and a worker would wait for its reader.
fn panicked(about: &std::panic::PanicHookInfo<'_>) {
    // A client may have found how to cause it.
    static PANICS: Rarely = Rarely::new();
    let Some(remark) = PANICS.admits() else {
        return;
    };
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed");
    let place = about
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    let text = about.payload_as_str().unwrap_or("(no text)");
    write(
        Level::Error,
        &format!("thread {name} panicked at {place}: {text}{remark}"),
    );
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        for frame in trace.to_string().lines() {
            write(Level::Error, frame);
        }
    }
}

/// `say!(Info, "listening on {address}")`: one line about the service, if its level is shown.
#[macro_export]
#[doc(hidden)]
macro_rules! __say {
    ($level:ident, $($text:tt)*) => {
        if $crate::log::shows($crate::log::Level::$level) {
            $crate::log::write_service_line($crate::log::Level::$level, &format!($($text)*));
        }
    };
}
pub use crate::__say as say;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(level: Level, text: &str, json: bool, journal: bool) -> String {
        let mut out = Vec::new();
        render(&mut out, level, text, json, journal);
        String::from_utf8(out).expect("always UTF-8")
    }

    #[test]
    fn a_line_has_a_time_and_a_level() {
        let seen = line(Level::Warn, "a \x1b[31m\nb", false, false);
        let (time, rest) = seen.split_once(' ').expect("a time first");
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{seen}");
        assert_eq!((time.len(), rest), (24, "gatepost warn: a ?[31m?b\n"));
        let seen = line(Level::Error, "\"a\"\nb", true, false);
        let value: serde_json::Value = serde_json::from_str(&seen).expect("JSON");
        assert_eq!(
            (&value["level"], &value["message"]),
            (&"error".into(), &"\"a\"\nb".into())
        );
        assert!(value["time"].as_str().is_some_and(|time| time.len() == 24));
    }

    #[test]
    fn the_journal_gets_a_priority_and_no_time() {
        assert_eq!(line(Level::Error, "a", false, true), "<3>a\n");
        assert_eq!(line(Level::Info, "a", false, true), "<6>a\n");
        assert_eq!(
            line(Level::Warn, "a", true, true),
            "<4>{\"level\":\"warn\",\"message\":\"a\"}\n"
        );
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let seen = line(Level::Info, &"ü".repeat(TEXT_MAX), false, true);
        assert!(seen.ends_with("ü…\n"));
        assert!(seen.len() < TEXT_MAX + 16);
    }
}
