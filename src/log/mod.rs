//! Where lines go: the transaction log and what the service says of itself.
//!
//! Log output never blocks a worker. A worker renders its lines into a buffer of its own ([`Lines`]), hands the buffer
//! over a bounded queue a few times a second, and a writer thread does the writing. When the disk or the reader of a pipe
//! is slow, the queue fills, and further lines are counted and dropped. What the service says of itself ([`say!`](say))
//! takes the same way through a queue and a thread of its own, so that each can be stuck without the other. The end of the
//! process waits for both, but not for an output that takes nothing.
//!
//! This room knows nothing of mail: what a line says is decided where the thing happens (`proxy::trace`).
//!
//! Rejected: a channel operation for each transaction's line (it wakes the writer each time, about as dear as a send); the
//! `tracing` crate on the path of a message (a line costs several µs there; ours is one append); non-blocking standard
//! streams (the mode belongs to the open file, which the shell and other programs share).

pub mod field;
mod rarely;
mod service;
mod sink;
mod thread;
mod writer;

pub use field::Line;
pub use rarely::Rarely;
pub use service::{
    Level, Lost, finish, queue_up, say, set_json, set_level, shows, start,
    write as write_service_line, write_plain,
};
use sink::Sink;
pub use writer::{Target, Writer};

use crossbeam::channel::{Sender, TrySendError};
use std::cell::RefCell;

/// Bytes after which a worker's buffer is handed over before its time.
pub const HAND_OVER_BYTES: usize = 32 * 1024;

/// One worker's end of the log.
#[derive(Debug)]
pub struct Lines {
    queue: Option<Sender<Batch>>,
    pending: RefCell<Batch>,
}

/// Rendered lines on their way to the writer.
#[derive(Debug, Default)]
pub struct Batch {
    /// Whole lines, each with its newline.
    pub text: Vec<u8>,
    /// How many.
    pub lines: u32,
}

impl Lines {
    /// Lines that go to `queue`; `None` throws them away (`log.to = "off"`).
    #[must_use]
    pub fn new(queue: Option<Sender<Batch>>) -> Lines {
        Lines {
            queue,
            pending: RefCell::default(),
        }
    }

    /// Whether the log is on; where it is off, don't render lines.
    #[must_use]
    pub fn wanted(&self) -> bool {
        self.queue.is_some()
    }

    /// Renders one line with `render` and keeps it until the next [`Lines::hand_over`]. Returns the number
    /// of lines that were lost because the queue was full (0 nearly always).
    pub fn push(&self, render: impl FnOnce(&mut Vec<u8>)) -> u32 {
        let full = {
            let mut pending = self.pending.borrow_mut();
            render(&mut pending.text);
            pending.lines += 1;
            pending.text.len() >= HAND_OVER_BYTES
        };
        if full { self.hand_over() } else { 0 }
    }

    /// Hands the kept lines to the writer. Returns how many were lost because the queue was full.
    pub fn hand_over(&self) -> u32 {
        let mut pending = self.pending.borrow_mut();
        if pending.lines == 0 {
            return 0;
        }
        let room = pending.text.len();
        let batch = std::mem::take(&mut *pending);
        let Some(queue) = &self.queue else { return 0 };
        match queue.try_send(batch) {
            Ok(()) => {
                pending.text.reserve(room.min(HAND_OVER_BYTES));
                0
            }
            Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) => batch.lines,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (queue, reader) = crossbeam::channel::bounded(1);
        let lines = Lines::new(Some(queue));
        for round in 0..3 {
            lines.push(|out| out.extend_from_slice(b"x\n"));
            lines.push(|out| out.extend_from_slice(b"y\n"));
            let lost = lines.hand_over();
            assert_eq!(lost, if round == 0 { 0 } else { 2 });
        }
        assert_eq!(reader.recv().expect("one batch").text, b"x\ny\n");
    }
}
