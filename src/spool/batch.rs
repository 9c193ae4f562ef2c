//! Records that are written with one system call and made durable with one sync.
//!
//! A batch begins at a sector, and its last sector is filled with zeros: no sector that was synced is written again, so
//! that a write which a crash tears can't damage what was durable.

use super::{
    disk::{self, DiskFile, SECTOR},
    index::Place,
    record::{Head, Kind, Seed},
};
use std::{io, io::IoSlice, ops::Range};

/// What a record is made of.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    /// What it says.
    pub kind: Kind,
    /// The message.
    pub sequence: u64,
    /// See [`Head::revision`].
    pub revision: u32,
    /// The payload.
    pub meta: &'a [u8],
    /// The body in pieces.
    pub body: &'a [Vec<u8>],
}

impl Content<'_> {
    /// How many octets the record takes; more than a segment has where the numbers are absurd.
    #[must_use]
    pub fn octets(&self) -> u64 {
        let body: u64 = self.body.iter().map(|piece| piece.len() as u64).sum();
        let meta = u32::try_from(self.meta.len()).unwrap_or(u32::MAX);
        Head::total(meta, u32::try_from(body).unwrap_or(u32::MAX))
    }
}

struct Part<'a> {
    head: Range<usize>,
    body: &'a [Vec<u8>],
    padding: usize,
}

/// Records that follow each other in one segment.
pub struct Batch<'a> {
    seed: Seed,
    /// How far the segment is synced: what the records say of it, and where they begin.
    synced: u32,
    /// Where the next record begins.
    at: u32,
    limit: u32,
    heads: Vec<u8>,
    parts: Vec<Part<'a>>,
}

impl<'a> Batch<'a> {
    /// A batch at `synced`, a multiple of a sector, that ends at `limit` at the latest.
    #[must_use]
    pub fn new(seed: Seed, synced: u32, limit: u32) -> Batch<'a> {
        Batch {
            seed,
            synced,
            at: synced,
            limit: limit / SECTOR * SECTOR,
            heads: Vec::new(),
            parts: Vec::new(),
        }
    }

    /// Appends a record. `None` where there is no room for it.
    pub fn push(&mut self, content: Content<'a>) -> Option<Place> {
        let octets = u32::try_from(content.octets()).ok()?;
        let end = self
            .at
            .checked_add(octets)
            .filter(|end| *end <= self.limit)?;
        let body = content.body.iter().map(Vec::as_slice);
        let body_octets: usize = content.body.iter().map(Vec::len).sum();
        let head = Head {
            kind: content.kind,
            meta: content.meta.len() as u32,
            body: body_octets as u32,
            sequence: content.sequence,
            synced: self.synced,
            revision: content.revision,
            body_crc: self.seed.body(self.at, body),
        };
        let from = self.heads.len();
        head.encode(self.seed, self.at, content.meta, &mut self.heads);
        let used = self.heads.len() - from + body_octets;
        let place = Place {
            epoch: self.seed.epoch,
            offset: self.at,
            octets,
        };
        self.parts.push(Part {
            head: from..self.heads.len(),
            body: content.body,
            padding: octets as usize - used,
        });
        self.at = end;
        Some(place)
    }

    /// How many records it has.
    #[must_use]
    pub fn records(&self) -> usize {
        self.parts.len()
    }

    /// Where the segment is synced to when the batch is: a multiple of a sector.
    #[must_use]
    pub fn end(&self) -> u32 {
        self.at.next_multiple_of(SECTOR)
    }

    /// Writes all records. They are durable after a sync.
    ///
    /// # Errors
    /// What the file system said.
    pub fn write(&self, file: &impl DiskFile) -> io::Result<()> {
        let mut slices = Vec::with_capacity(self.parts.len() * 3 + 1);
        for part in &self.parts {
            slices.push(IoSlice::new(&self.heads[part.head.clone()]));
            slices.extend(part.body.iter().map(|piece| IoSlice::new(piece)));
            slices.push(IoSlice::new(disk::zeros(part.padding)));
        }
        let rest = self.end() - self.at;
        slices.push(IoSlice::new(disk::zeros(rest as usize)));
        file.write_at(&mut slices, self.synced.into())
    }
}
