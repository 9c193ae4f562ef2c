//! A body that is larger than a worker keeps in memory: a file of its own, written as the body comes.
//!
//! The file is frames of up to [`FRAME`] octets, each with its length and a CRC that begins with the message's sequence
//! and the number of the frame: what is handed out was compared before, without reading the whole file first.
//!
//! The order is: the file's octets synced, then the directory, then the record of the message. A file without a record is
//! removed at the next start.

use super::{
    disk::{Disk, DiskFile},
    refused::Refused,
    shared::{Shared, Since},
};
use std::{
    io::{self, IoSlice},
    sync::Arc,
};

/// The most octets of a frame.
pub const FRAME: usize = 64 * 1024;
const FRAME_HEAD: usize = 8;

/// The name of a body's file.
#[must_use]
pub fn name(sequence: u64) -> String {
    format!("body-{sequence:016x}")
}

fn crc(sequence: u64, frame: u64, octets: &[u8]) -> u32 {
    let mut seed = [0; 16];
    seed[..8].copy_from_slice(&sequence.to_le_bytes());
    seed[8..].copy_from_slice(&frame.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&seed), octets)
}

/// Writes a body as it comes. Waits for the disk: not for a worker's thread. Dropped before its end, it leaves nothing.
pub struct BodyWriter<D: Disk> {
    shared: Arc<Shared<D>>,
    file: D::File,
    /// When its name was made.
    since: Since,
    sequence: u64,
    pending: Vec<u8>,
    at: u64,
    frames: u64,
    octets: u64,
    is_finished: bool,
}

impl<D: Disk> BodyWriter<D> {
    /// Begins a body, and gives its message a sequence.
    ///
    /// # Errors
    /// A limit of the spool, or what the file system said.
    pub fn new(shared: &Arc<Shared<D>>) -> Result<BodyWriter<D>, Refused> {
        shared.watermarks().may_accept(0)?;
        let sequence = shared.next_sequence();
        let since = shared.before_names();
        let file = shared.disk.create(&name(sequence));
        Ok(BodyWriter {
            file: file.map_err(|why| Refused::of(&why))?,
            shared: Arc::clone(shared),
            since,
            sequence,
            pending: Vec::new(),
            at: 0,
            frames: 0,
            octets: 0,
            is_finished: false,
        })
    }

    /// Takes the next octets, and writes whole frames.
    ///
    /// # Errors
    /// A limit of the spool, or what the file system said; the body must be given up then.
    pub fn write(&mut self, mut octets: &[u8]) -> Result<(), Refused> {
        self.octets += octets.len() as u64;
        self.shared.watermarks().come(octets.len() as u64);
        self.shared.watermarks().has_room(0)?;
        while self.pending.len() + octets.len() >= FRAME {
            let (now, later) = octets.split_at(FRAME - self.pending.len());
            self.pending.extend_from_slice(now);
            octets = later;
            self.frame().map_err(|why| Refused::of(&why))?;
        }
        self.pending.extend_from_slice(octets);
        Ok(())
    }

    fn frame(&mut self) -> io::Result<()> {
        let mut head = [0; FRAME_HEAD];
        head[..4].copy_from_slice(&(self.pending.len() as u32).to_le_bytes());
        let crc = crc(self.sequence, self.frames, &self.pending);
        head[4..].copy_from_slice(&crc.to_le_bytes());
        let pieces = &mut [IoSlice::new(&head), IoSlice::new(&self.pending)];
        self.file.write_at(pieces, self.at)?;
        self.at += (FRAME_HEAD + self.pending.len()) as u64;
        self.frames += 1;
        self.pending.clear();
        Ok(())
    }

    /// Makes the body durable.
    ///
    /// # Errors
    /// What the file system said. Nothing of the body counts then, whatever a later sync returns.
    pub fn finish(mut self) -> Result<Finished, Refused> {
        self.make_durable().map_err(|why| Refused::of(&why))?;
        self.is_finished = true;
        Ok(Finished {
            sequence: self.sequence,
            octets: self.octets,
        })
    }

    fn make_durable(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            self.frame()?;
        }
        self.file.sync()?;
        self.shared.sync_names(self.since)
    }
}

impl<D: Disk> Drop for BodyWriter<D> {
    fn drop(&mut self) {
        // A message that has the body is counted by the log.
        self.shared.watermarks().gone(self.octets);
        if !self.is_finished {
            // What is left after a crash or a failure is removed at the next start.
            drop(self.shared.disk.remove(&name(self.sequence)));
        }
    }
}

/// A body that is durable, for [`Request::accept_file`](super::request::Request::accept_file). Dropped, it leaves its file to
/// be removed at the next start.
#[derive(Debug)]
#[must_use]
pub struct Finished {
    sequence: u64,
    octets: u64,
}

impl Finished {
    /// The sequence that the message has.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How many octets the body has.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.octets
    }
}

/// Reads a body's file, frame by frame.
#[derive(Debug)]
pub struct BodyReader<F> {
    file: F,
    sequence: u64,
    frame: u64,
    at: u64,
    left: u64,
}

impl<F: DiskFile> BodyReader<F> {
    pub(super) fn new(file: F, sequence: u64, octets: u64) -> BodyReader<F> {
        BodyReader {
            file,
            sequence,
            frame: 0,
            at: 0,
            left: octets,
        }
    }

    /// How many octets are still to come.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next octets; `None` at the end. What was handed out is right, and not yet the whole before the end.
    ///
    /// # Errors
    /// What the file system said; [`io::ErrorKind::InvalidData`] where the file is damaged: the message must be broken
    /// off before its end.
    pub fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut head = [0; FRAME_HEAD];
        let got = self.file.read_at(&mut head, self.at)?;
        let [a, b, c, d, e, f, g, h] = head;
        let octets = u32::from_le_bytes([a, b, c, d]) as usize;
        if got < FRAME_HEAD || octets == 0 || octets > FRAME || octets as u64 > self.left {
            return Err(damaged());
        }
        let mut frame = vec![0; octets];
        let got = self.file.read_at(&mut frame, self.at + FRAME_HEAD as u64)?;
        let right = u32::from_le_bytes([e, f, g, h]);
        if got < octets || crc(self.sequence, self.frame, &frame) != right {
            return Err(damaged());
        }
        self.at += (FRAME_HEAD + octets) as u64;
        self.frame += 1;
        self.left -= octets as u64;
        Ok(Some(frame))
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the file of a body is damaged")
}
