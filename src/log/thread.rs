//! A thread that writes batches to an output, and tells how it goes.

use super::{Batch, Sink, sink};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

/// How long the end of the process waits for an output that takes nothing.
const STUCK_MAX: Duration = Duration::from_secs(1);
/// How long it waits for one that takes what it is given, but slowly.
const FINISH_MAX: Duration = Duration::from_secs(5);
/// What the thread meets.
pub(super) enum Event<'a> {
    /// A batch is to be written to this.
    Next(&'a mut Sink),
    /// It was.
    Written,
    /// It was not, or not all of it.
    Lost(sink::Loss),
}

/// A thread that writes.
#[derive(Debug)]
pub(super) struct Running {
    /// Never sends; disconnected when the thread has ended.
    ended: Receiver<()>,
    /// Octets written.
    progress: Arc<AtomicU64>,
}

/// Starts a thread that writes batches to `sink`, until all senders are gone or a batch without lines comes.
pub(super) fn spawn(
    name: &str,
    lines: Receiver<Batch>,
    sink: Arc<Mutex<Sink>>,
    mut tell: impl FnMut(Event<'_>) + Send + 'static,
) -> io::Result<Running> {
    let (alive, ended) = bounded(0);
    let progress = Arc::new(AtomicU64::new(0));
    let written = Arc::clone(&progress);
    let work = move || {
        let _alive: Sender<()> = alive;
        while let Ok(batch) = lines.recv()
            && batch.lines > 0
        {
            let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
            tell(Event::Next(&mut sink));
            let result = sink.write(&batch.text);
            drop(sink);
            written.fetch_add(1 + batch.text.len() as u64, SeqCst);
            tell(match result {
                Ok(()) => Event::Written,
                Err(loss) => Event::Lost(loss),
            });
        }
    };
    std::thread::Builder::new().name(name.into()).spawn(work)?;
    Ok(Running { ended, progress })
}

impl Running {
    /// Waits until the thread has ended, [`STUCK_MAX`] as long as it gets nothing written and [`FINISH_MAX`] in all. A
    /// thread that is still in its write then ends with the process.
    pub(super) fn finish(&self) {
        let due = Instant::now() + FINISH_MAX;
        let mut before = self.progress.load(SeqCst);
        while Instant::now() < due
            && self.ended.recv_timeout(STUCK_MAX) == Err(RecvTimeoutError::Timeout)
        {
            let now = self.progress.load(SeqCst);
            if now == before {
                return;
            }
            before = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_full_pipe_holds_the_end_up_for_a_short_time_only() {
        let (mut reader, output) = io::pipe().expect("a pipe");
        let output = std::fs::File::from(std::os::fd::OwnedFd::from(output));
        let (queue, lines) = bounded(4);
        let sink = Arc::new(Mutex::new(Sink::new(output)));
        let thread = spawn("log", lines, sink, |_| {}).expect("starts");
        let text = [&[b'x'; 1 << 20][..], b"\n"].concat();
        queue
            .send(Batch { text, lines: 1 })
            .expect("it takes more than a pipe holds");
        drop(queue);
        let begun = Instant::now();
        thread.finish();
        assert!(begun.elapsed() < FINISH_MAX, "it takes nothing");
        // It is read again: the thread goes on, and its end is seen.
        let mut seen = Vec::new();
        reader.read_to_end(&mut seen).expect("read");
        assert_eq!(seen.len(), (1 << 20) + 1);
        thread.finish();
        assert_eq!(
            thread.ended.recv_timeout(FINISH_MAX),
            Err(RecvTimeoutError::Disconnected)
        );
    }
}
