//! The spool as a worker uses it: no call here waits for the disk, and each answer comes by a callback, on another thread.
//! The callback must not wait either; it puts the answer into the worker's mailbox.
//!
//! A message whose body is at hand goes to the committer at once. A larger body is written by other threads as it comes:
//! [`Spool::begin_body`], then [`Spool::write_body`] for each piece, then [`Spool::finish_body`]. Each gives the
//! [`BodyWriter`] back with its answer, so there is one piece of a body under way at a time, and a session that waits for the
//! answer takes no more from its client than the disk takes. Dropping the writer gives the body up.

use super::{
    body::{self, BodyReader, BodyWriter},
    committer::{Committer, NotTaken, Submitter},
    disk::Disk,
    index::Entry,
    log::Log,
    message::Accept,
    meter::Metrics,
    payload::{Ending, State},
    read::{ReadError, Stored},
    record::Kind,
    refused::Refused,
    request::Request,
    watermarks::Watermarks,
};
use crate::threads::Threads;
use std::{io, sync::Arc};

/// Threads that read messages and write bodies.
const THREADS: usize = 4;
/// How many reads and pieces of bodies wait for these at most.
pub const DISK_JOBS_MAX: usize = 1_024;

/// Where the answer to a request goes: what came of it, and the request itself with its body.
pub type Told = Box<dyn FnOnce(Result<(), Refused>, Request) + Send>;

/// Too much waits already, or the spool has stopped: nothing was done, and no answer comes. 451 4.3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

/// See the module.
pub struct Spool<D: Disk> {
    submitter: Submitter<D, Told>,
    threads: Arc<Threads>,
}

impl<D: Disk> Clone for Spool<D> {
    fn clone(&self) -> Spool<D> {
        Spool {
            submitter: self.submitter.clone(),
            threads: Arc::clone(&self.threads),
        }
    }
}

impl<D: Disk> Spool<D> {
    /// Starts the threads of a spool that [`recover::open`](super::recover::open) has opened. `now_ms` gives milliseconds
    /// since 1970. When the [`Committer`] is dropped, what waits is done and the spool stops; the directory is owned
    /// until the last handle is dropped too.
    ///
    /// # Errors
    /// The system allows no more threads.
    pub fn start(
        log: Log<D>,
        now_ms: impl Fn() -> u64 + Send + 'static,
    ) -> io::Result<(Committer, Spool<D>)> {
        let threads = Arc::new(Threads::start("spool-disk", THREADS, DISK_JOBS_MAX)?);
        let (committer, submitter) = Committer::start(log, now_ms)?;
        Ok((committer, Spool { submitter, threads }))
    }

    /// Whether a message would be taken, for an early answer to a client, and how full the spool is.
    #[must_use]
    pub fn watermarks(&self) -> &Watermarks {
        self.submitter.shared().watermarks()
    }

    /// What the ids of all messages of this spool begin with; the rest is their sequence.
    #[must_use]
    pub fn id(&self) -> u128 {
        self.submitter.shared().id()
    }

    /// Takes a message. `Ok` in the answer means that it is durable. Gives its sequence.
    ///
    /// # Errors
    /// See [`Busy`]; here the body is back.
    pub fn accept(
        &self,
        accept: Accept,
        body: Vec<Vec<u8>>,
        told: Told,
    ) -> Result<u64, (Busy, Vec<Vec<u8>>)> {
        let sequence = self.submitter.shared().next_sequence();
        let request = Request::accept(sequence, accept, body);
        match self.submitter.submit(request, told) {
            Ok(()) => Ok(sequence),
            Err(NotTaken::Full(request, _) | NotTaken::Stopped(request, _)) => {
                Err((Busy, request.into_body()))
            }
        }
    }

    /// Gives a message a new state: after an attempt, held, released, moved, or its sender was told.
    ///
    /// # Errors
    /// See [`Busy`].
    pub fn update(&self, sequence: u64, kind: Kind, state: State, told: Told) -> Result<(), Busy> {
        self.submit(Request::update(sequence, kind, state), told)
    }

    /// Ends a message.
    ///
    /// # Errors
    /// See [`Busy`].
    pub fn end(&self, sequence: u64, ending: Ending, told: Told) -> Result<(), Busy> {
        self.submit(Request::Done { sequence, ending }, told)
    }

    fn submit(&self, request: Request, told: Told) -> Result<(), Busy> {
        self.submitter.submit(request, told).map_err(|_| Busy)
    }

    /// Begins a body that comes in pieces.
    ///
    /// # Errors
    /// See [`Busy`].
    pub fn begin_body(
        &self,
        told: impl FnOnce(Result<BodyWriter<D>, Refused>) + Send + 'static,
    ) -> Result<(), Busy> {
        let shared = Arc::clone(self.submitter.shared());
        self.beside(move || told(BodyWriter::new(&shared)))
    }

    /// Writes the next piece of a body.
    ///
    /// # Errors
    /// See [`Busy`]; the body is given up.
    pub fn write_body(
        &self,
        mut writer: BodyWriter<D>,
        piece: Vec<u8>,
        told: impl FnOnce(Result<BodyWriter<D>, Refused>, Vec<u8>) + Send + 'static,
    ) -> Result<(), Busy> {
        self.beside(move || {
            let written = writer.write(&piece);
            // Given up, it is removed here and not on the thread that hears of it.
            let writer = written.map(|()| writer);
            told(writer, piece);
        })
    }

    /// Makes a body durable and takes its message. `Ok` in the answer means that both are durable; its request tells the
    /// sequence.
    ///
    /// # Errors
    /// See [`Busy`]; the body is given up.
    pub fn finish_body(
        &self,
        writer: BodyWriter<D>,
        accept: Accept,
        told: impl FnOnce(Result<u64, Refused>) + Send + 'static,
    ) -> Result<(), Busy> {
        let submitter = self.submitter.clone();
        self.beside(move || {
            let finished = match writer.finish() {
                Ok(finished) => finished,
                Err(why) => return told(Err(why)),
            };
            let request = Request::accept_file(finished, accept);
            let answer: Told = Box::new(move |result, request| {
                told(result.map(|()| request.sequence()));
            });
            // Its turn comes: a body that took long to write is not given up for a queue that is full for a moment.
            if let Err((request, answer)) = submitter.submit_and_wait(request, answer) {
                drop(
                    submitter
                        .shared()
                        .disk
                        .remove(&body::name(request.sequence())),
                );
                answer(Err(Refused::Failed(io::ErrorKind::BrokenPipe)), request);
            }
        })
    }

    /// Reads a message for delivery.
    ///
    /// # Errors
    /// See [`Busy`].
    pub fn fetch(
        &self,
        sequence: u64,
        told: impl FnOnce(Result<Stored<D::File>, ReadError>) + Send + 'static,
    ) -> Result<(), Busy> {
        let shared = Arc::clone(self.submitter.shared());
        self.beside(move || {
            let found = shared.fetch(sequence);
            drop(shared);
            told(found);
        })
    }

    /// Reads the next octets of a body that has a file.
    ///
    /// # Errors
    /// See [`Busy`].
    pub fn read_body(
        &self,
        mut reader: BodyReader<D::File>,
        told: impl FnOnce(io::Result<Option<Vec<u8>>>, BodyReader<D::File>) + Send + 'static,
    ) -> Result<(), Busy> {
        self.beside(move || {
            let found = reader.read();
            told(found, reader);
        })
    }

    fn beside(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Busy> {
        self.threads.run(job).map_err(|_| Busy)
    }

    /// Up to `limit` messages from the sequence `from` on, in order: for a scheduler at its start, and for listings.
    #[must_use]
    pub fn messages(&self, from: u64, limit: usize) -> Vec<(u64, Entry)> {
        self.submitter.shared().index().page(from, limit)
    }

    /// Tenant and route of an [`Entry::lane`].
    #[must_use]
    pub fn lane(&self, lane: u32) -> (String, String) {
        let index = self.submitter.shared().index();
        let (tenant, route) = index.lane(lane);
        (tenant.to_owned(), route.to_owned())
    }

    /// What was done since the start.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.submitter.metrics()
    }
}
