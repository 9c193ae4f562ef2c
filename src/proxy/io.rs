//! The connection with a client: what came and was not stepped through yet, and the replies that are due.
//!
//! Replies pile up in `out` and leave in one write when the core wants to read on, so a pipelined batch costs one send.

use super::context::Context;
use crate::{
    metrics::{Counter, Scope, Stage},
    net::{Chunk, Stream, now, sleep, sleep_until},
    smtp::Tick,
};
use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    task::Poll,
    time::Duration,
};

/// Octets that a client may send ahead during a wait before they stay with the kernel.
const AHEAD_MAX: usize = 4096;

/// A client's connection.
pub(super) struct Io {
    /// The stream.
    pub stream: Stream,
    /// What was read and not yet consumed.
    pub input: Input,
    /// Replies that have not been sent. It owns no memory while the session waits for its client.
    pub out: Vec<u8>,
    /// When a final reply was due that has not been sent yet.
    pub reply_due: Option<Tick>,
}

impl Io {
    /// A connection that has just been accepted.
    pub fn new(stream: Stream) -> Io {
        Io {
            stream,
            input: Input::None,
            out: Vec::new(),
            reply_due: None,
        }
    }

    /// Sends the replies that are due, within the time that a client has for taking them; the `last` ones go with the
    /// close that must follow.
    pub async fn write(
        &mut self,
        context: &Context,
        scope: Scope,
        deadline: Tick,
        last: bool,
    ) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        self.stream.set_deadline(deadline);
        let out = std::mem::take(&mut self.out);
        let recorder = &context.recorder;
        recorder.count(Counter::BytesOut, scope, out.len() as u64);
        let (result, out) = match last {
            false => self.stream.send(out).await,
            true => self.stream.send_last(out).await,
        };
        self.out = out;
        if let Some(due) = self.reply_due.take() {
            recorder.record(Stage::Reply, scope, now().micros_since(due));
        }
        result
    }

    /// Waits so long before the greeting; whether the client talks meanwhile. On a listener with implicit TLS that is what
    /// comes inside TLS: the handshake before it is the client's turn (RFC 8314 §3.3). What it says is kept for later. A
    /// client that goes is not waited for any longer.
    pub async fn hears_within(&mut self, delay: Duration) -> bool {
        let mut pause = pin!(sleep(delay));
        let heard = poll_fn(|cx| match self.stream.poll_recv(cx) {
            Poll::Ready(heard) => Poll::Ready(Some(heard)),
            Poll::Pending => pause.as_mut().poll(cx).map(|()| None),
        });
        let Some(Ok(Some(chunk))) = heard.await else {
            return false;
        };
        self.input = Input::Lent(chunk, 0);
        self.input.settle();
        pause.await;
        true
    }

    /// Waits until then, and keeps what the client says meanwhile, up to a limit. Whether the client has stayed: one that has closed is
    /// not waited for any longer.
    pub async fn stays_until(&mut self, due: Tick) -> bool {
        self.input.settle();
        let mut pause = pin!(sleep_until(due));
        loop {
            let listens = self.input.bytes().len() < AHEAD_MAX;
            let heard = poll_fn(|cx| {
                // First, so that a client that never stops talking doesn't lengthen it.
                if pause.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
                match listens {
                    true => self.stream.poll_recv(cx).map(Some),
                    false => Poll::Pending,
                }
            });
            match heard.await {
                None => return true,
                Some(Ok(Some(chunk))) => self.input.append(&chunk),
                Some(_) => return false,
            }
        }
    }

    /// Reads on. Meanwhile the buffer of the replies is the worker's. Where the session is idle, a drain ends the wait;
    /// where places or memory become scarce, it ends sooner in any case.
    pub async fn read(
        &mut self,
        context: &Context,
        deadline: Tick,
        idle: bool,
    ) -> io::Result<Option<Chunk>> {
        match idle {
            true => self.stream.set_idle_deadline(deadline),
            false => self.stream.set_busy_deadline(deadline),
        }
        context.keep(std::mem::take(&mut self.out));
        let read = self.stream.recv().await;
        self.out = context.buffer();
        // From here on it is our turn: a backend may take its ten minutes, and the client is not to blame.
        self.stream.set_deadline(Tick::FAR);
        read
    }
}

/// Bytes that were read and not yet stepped through: lent by the engine, or a copy of the rest of them where
/// a long wait is ahead (a lent buffer is for the moment, not for a backend's ten minutes).
pub(super) enum Input {
    None,
    Lent(Chunk, usize),
    Own(Vec<u8>, usize),
}

impl Input {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Input::None => &[],
            Input::Lent(chunk, at) => &chunk[*at..],
            Input::Own(bytes, at) => &bytes[*at..],
        }
    }

    pub fn consume(&mut self, count: usize) {
        match self {
            Input::None => {}
            Input::Lent(_, at) | Input::Own(_, at) => *at += count,
        }
        if self.bytes().is_empty() {
            *self = Input::None;
        }
    }

    /// Adds a copy of what came next.
    fn append(&mut self, next: &[u8]) {
        *self = Input::Own([self.bytes(), next].concat(), 0);
    }

    /// Gives a loan back before a wait for another than the client.
    pub fn settle(&mut self) {
        if let Input::Lent(..) = self {
            *self = Input::Own(self.bytes().to_vec(), 0);
        }
    }
}
