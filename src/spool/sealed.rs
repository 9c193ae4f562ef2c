//! The index file of a sealed segment: what a start needs of its records, so that it reads a few octets a message.
//!
//! ```text
//! magic 8  version 2  zeros 6  spool 16  epoch 8  salt 8  end 4  zeros 4  next sequence 8, then for each record:
//! kind 1  offset 4  octets 4  sequence 8  revision 4  length 1 to 5  payload, then the CRC32C of all of it: 4
//! ```
//!
//! It is derived from the segment and never needed: written once the segment's end is final, without a sync. One that is
//! missing, torn or of another segment is noticed by the CRC and by what it says of its segment, and is made anew from
//! the log. It says the same as a scan of the segment would, in the same order, but for two things: payloads have only the
//! fields that the index in memory keeps, and messages are left out that came and went in this segment alone.
//!
//! A segment with damage gets none, so that each start sees the damage and tells of it.

use super::{
    disk::{Disk, DiskFile},
    fields::{self, Writer},
    message::{self, Summary},
    payload::{Done, State},
    record::{Kind, Seed},
    segment::{Found, Named, RECORDS_AT, Scanner},
};
use std::{
    collections::HashSet,
    io::{self, IoSlice},
};

/// The version of index files that this program writes. Of another one a start makes no use.
const VERSION: u16 = 1;
const MAGIC: [u8; 8] = *b"GPINDEX\x1a";
const HEADER: usize = 64;
/// An index is worth a file where that is smaller than the segment by this factor.
const SMALLER_BY: u64 = 3;

/// What a start learns from one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted<'a> {
    /// What the record says.
    pub kind: Kind,
    /// Where it lies in its segment.
    pub offset: u32,
    /// How many octets it takes there.
    pub octets: u32,
    /// The message.
    pub sequence: u64,
    /// See [`Head::revision`](super::record::Head::revision).
    pub revision: u32,
    /// The payload, or some of its fields.
    pub meta: &'a [u8],
}

/// What an index file says.
pub struct Sealed {
    octets: Vec<u8>,
    /// No message of the segment has this sequence or a larger one.
    pub next_sequence: u64,
}

fn header(spool: u128, seed: Seed, end: u32, next_sequence: u64) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out[..8].copy_from_slice(&MAGIC);
    out[8..10].copy_from_slice(&VERSION.to_le_bytes());
    out[16..32].copy_from_slice(&spool.to_le_bytes());
    out[32..40].copy_from_slice(&seed.epoch.to_le_bytes());
    out[40..48].copy_from_slice(&seed.salt.to_le_bytes());
    out[48..52].copy_from_slice(&end.to_le_bytes());
    out[56..].copy_from_slice(&next_sequence.to_le_bytes());
    out
}

/// Reads the segment `file` and writes its index. Gives how many octets that has; `None` where the segment gets none.
///
/// # Errors
/// What the file system said. Nothing is left then, or a file that no start believes.
pub fn write<D: Disk>(
    disk: &D,
    spool: u128,
    file: &D::File,
    seed: Seed,
    end: u32,
) -> io::Result<Option<u64>> {
    let Some(octets) = index_of(spool, file, seed, end)? else {
        return Ok(None);
    };
    let Some(name) = Named::Index(seed.epoch).name() else {
        return Ok(None);
    };
    match disk.remove(&name) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
        _ => {}
    }
    let to = disk.create(&name)?;
    let written = to.write_at(&mut [IoSlice::new(&octets)], 0);
    written.inspect_err(|_| drop(disk.remove(&name)))?;
    Ok(Some(octets.len() as u64))
}

fn index_of(
    spool: u128,
    file: &impl DiskFile,
    seed: Seed,
    end: u32,
) -> io::Result<Option<Vec<u8>>> {
    // One scan for what came and went here, one for the records.
    let mut gone = HashSet::new();
    let mut next_sequence = 0;
    let mut scanner = Scanner::new(file, seed, RECORDS_AT, end);
    while let Some(found) = scanner.advance()? {
        let Found::Record { head, meta, .. } = found else {
            return Ok(None);
        };
        next_sequence = next_sequence.max(head.sequence.saturating_add(1));
        if head.kind == Kind::Done {
            let Ok(done) = Done::decode(&meta) else {
                return Ok(None);
            };
            if done.epochs == (seed.epoch, seed.epoch) {
                gone.insert(head.sequence);
            }
        }
    }
    let mut out = header(spool, seed, end, next_sequence).to_vec();
    let mut scanner = Scanner::new(file, seed, RECORDS_AT, end);
    while let Some(found) = scanner.advance()? {
        let Found::Record { offset, head, meta } = found else {
            return Ok(None);
        };
        if head.kind == Kind::Probe || gone.contains(&head.sequence) {
            continue;
        }
        let Some(meta) = shortened(head.kind, &meta) else {
            return Ok(None);
        };
        out.push(head.kind as u8);
        out.extend_from_slice(&offset.to_le_bytes());
        let octets = u32::try_from(head.octets()).unwrap_or(u32::MAX);
        out.extend_from_slice(&octets.to_le_bytes());
        out.extend_from_slice(&head.sequence.to_le_bytes());
        out.extend_from_slice(&head.revision.to_le_bytes());
        fields::length(&mut out, meta.len());
        out.extend_from_slice(&meta);
        if out.len() as u64 * SMALLER_BY > u64::from(end) {
            return Ok(None);
        }
    }
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    Ok((scanner.unreadable() == 0).then_some(out))
}

/// The fields of a payload that the index in memory keeps. `None` where it can't be read.
fn shortened(kind: Kind, meta: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match kind {
        Kind::Accept => Summary::of(meta).ok()?.encode(&mut out),
        Kind::Done => return Done::decode(meta).is_ok().then(|| meta.to_vec()),
        _ => {
            let state = State::decode(meta).ok()?;
            let mut to = Writer::new(&mut out, message::VERSION);
            state.encode_summary(&mut to);
        }
    }
    Some(out)
}

/// Reads the index file of a segment, if it has one that can be believed.
pub fn read<D: Disk>(disk: &D, spool: u128, seed: Seed, end: u32) -> Option<Sealed> {
    let file = disk.open(&Named::Index(seed.epoch).name()?).ok()?;
    let length = file.octets().ok()?;
    // With its CRC, which the bound at writing leaves out.
    if length.saturating_sub(4).saturating_mul(SMALLER_BY) > u64::from(end) {
        return None;
    }
    let mut octets = vec![0; usize::try_from(length).ok()?];
    let got = file.read_at(&mut octets, 0).ok()?;
    let rest = octets.len().checked_sub(4)?;
    let crc = octets.get(rest..)?.first_chunk::<4>().copied()?;
    if got < octets.len() || crc32c::crc32c(&octets[..rest]).to_le_bytes() != crc {
        return None;
    }
    octets.truncate(rest);
    let next_sequence = u64::from_le_bytes(octets.get(56..HEADER)?.try_into().ok()?);
    let right = octets[..HEADER] == header(spool, seed, end, next_sequence);
    let found = Sealed {
        octets,
        next_sequence,
    };
    // All of it is read before any of it counts.
    (right && found.records().all(|noted| noted.is_some())).then_some(found)
}

impl Sealed {
    /// What it says of the records, in their order. `None` where there is none, which [`read`] has made sure of.
    pub fn records(&self) -> impl Iterator<Item = Option<Noted<'_>>> {
        let mut rest = self.octets.get(HEADER..).unwrap_or_default();
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let found = noted(rest);
            rest = found.as_ref().map_or(&[], |(_, rest)| *rest);
            Some(found.map(|(noted, _)| noted))
        })
    }
}

fn noted(octets: &[u8]) -> Option<(Noted<'_>, &[u8])> {
    let (fixed, rest) = octets.split_first_chunk::<21>()?;
    let (length, rest) = fields::read_length(rest).ok()?;
    let (meta, rest) = rest.split_at_checked(length)?;
    let four = |at: usize| {
        fixed
            .get(at..at + 4)?
            .try_into()
            .ok()
            .map(u32::from_le_bytes)
    };
    let found = Noted {
        kind: Kind::of(fixed[0])?,
        offset: four(1)?,
        octets: four(5)?,
        sequence: u64::from_le_bytes(fixed.get(9..17)?.try_into().ok()?),
        revision: four(17)?,
        meta,
    };
    Some((found, rest))
}
