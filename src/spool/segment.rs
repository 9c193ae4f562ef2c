//! A segment: a file of a fixed size, filled with zeros when it is made and used again under a new epoch.
//!
//! Names tell what a file is: `segment-<epoch>` counts, `spare-<number>` holds nothing (whatever its octets say),
//! `damaged-<…>` was set aside for the operator. A spare becomes a segment by its header, the sync of that, the rename, and
//! the sync of the directory: in this order, so that a segment whose header can't be read is damage and nothing else.
//!
//! The header stands twice, at 0 and at [`COPY_AT`]; records follow from [`RECORDS_AT`]. The first of them tells how far
//! every other segment was synced, so that what lies after that there never counts; of the segment before, the header
//! tells it too.

use super::{
    body,
    disk::{self, Disk, DiskFile, SECTOR},
    record::{ALIGN, HEAD, Head, NoRecord, Seed},
};
use std::io::{self, IoSlice};

/// Where the second copy of the header stands.
pub const COPY_AT: u64 = 2048;
/// Where records begin.
pub const RECORDS_AT: u32 = 4096;
/// The smallest segment, in octets. For tests; 64 MiB is what is used.
pub const SEGMENT_MIN: u32 = 16 * 1024;
/// The largest segment, in octets.
pub const SEGMENT_MAX: u32 = 1 << 30;
/// The version of segments that this program writes.
pub const VERSION: u16 = 1;

const MAGIC: [u8; 8] = *b"GPSPOOL\x1a";
const HEADER: usize = 96;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The spool that it belongs to.
    pub spool: u128,
    /// What its CRCs begin with.
    pub seed: Seed,
    /// How many octets the file has.
    pub octets: u32,
    /// No message in any earlier segment has this sequence or a larger one.
    pub next_sequence: u64,
    /// The segment before, zero where there is none.
    pub previous: u64,
    /// How far that one was synced: an offset.
    pub previous_end: u32,
}

/// What a header says, or why it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoHeader {
    /// Neither copy is whole.
    Damaged,
    /// A newer program wrote it.
    Newer,
}

impl Header {
    fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        let mut at = 0;
        let mut put = |octets: &[u8]| {
            out[at..at + octets.len()].copy_from_slice(octets);
            at += octets.len();
        };
        put(&MAGIC);
        put(&VERSION.to_le_bytes());
        put(&[0; 6]);
        put(&self.spool.to_le_bytes());
        put(&self.seed.epoch.to_le_bytes());
        put(&self.seed.salt.to_le_bytes());
        put(&self.next_sequence.to_le_bytes());
        put(&self.previous.to_le_bytes());
        put(&self.previous_end.to_le_bytes());
        put(&self.octets.to_le_bytes());
        put(&[0; 12]);
        let crc = crc32c::crc32c(&out[..HEADER - 4]);
        out[HEADER - 4..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(octets: &[u8]) -> Result<Header, NoHeader> {
        let Some(octets) = octets.first_chunk::<HEADER>() else {
            return Err(NoHeader::Damaged);
        };
        let crc = crc32c::crc32c(&octets[..HEADER - 4]);
        if octets[..8] != MAGIC || crc.to_le_bytes() != octets[HEADER - 4..] {
            return Err(NoHeader::Damaged);
        }
        if u16::from_le_bytes(part(octets, 8)) != VERSION {
            return Err(NoHeader::Newer);
        }
        Ok(Header {
            spool: u128::from_le_bytes(part(octets, 16)),
            seed: Seed {
                epoch: u64::from_le_bytes(part(octets, 32)),
                salt: u64::from_le_bytes(part(octets, 40)),
            },
            next_sequence: u64::from_le_bytes(part(octets, 48)),
            previous: u64::from_le_bytes(part(octets, 56)),
            previous_end: u32::from_le_bytes(part(octets, 64)),
            octets: u32::from_le_bytes(part(octets, 68)),
        })
    }

    /// Reads a file's header, or its copy.
    ///
    /// # Errors
    /// What the file system said; inside, that there is none.
    pub fn read(file: &impl DiskFile) -> io::Result<Result<Header, NoHeader>> {
        let mut found = Err(NoHeader::Damaged);
        for at in [0, COPY_AT] {
            let mut octets = [0; HEADER];
            // A sector that can't be read may hold one copy, and not the other.
            let got = disk::unless_unreadable(file.read_at(&mut octets, at), 0)?;
            let length = file.octets()?;
            found = Header::decode(&octets[..got]).and_then(|header| {
                let whole = u64::from(header.octets) <= length
                    && (SEGMENT_MIN..=SEGMENT_MAX).contains(&header.octets);
                whole.then_some(header).ok_or(NoHeader::Damaged)
            });
            if found != Err(NoHeader::Damaged) {
                break;
            }
        }
        Ok(found)
    }

    /// Writes both copies. They are durable after a sync.
    ///
    /// # Errors
    /// What the file system said.
    pub fn write(&self, file: &impl DiskFile) -> io::Result<()> {
        let octets = self.encode();
        // Whole sectors: nothing of an earlier header stays beside it.
        for at in [0, COPY_AT] {
            let rest = disk::zeros(SECTOR as usize - HEADER);
            file.write_at(&mut [IoSlice::new(&octets), IoSlice::new(rest)], at)?;
        }
        Ok(())
    }
}

fn part<const N: usize>(octets: &[u8; HEADER], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&octets[at..at + N]);
    out
}

/// The name of a segment.
#[must_use]
pub fn name(epoch: u64) -> String {
    format!("segment-{epoch:016x}")
}

/// The name of a spare file.
#[must_use]
pub fn spare(number: u64) -> String {
    format!("spare-{number:016x}")
}

/// What a name of a file means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// A segment and its epoch.
    Segment(u64),
    /// A spare file.
    Spare(u64),
    /// The body of a message.
    Body(u64),
    /// The index of a sealed segment and its epoch: see [`sealed`](super::sealed).
    Index(u64),
    /// Not ours to touch.
    Other,
}

impl Named {
    /// The name.
    #[must_use]
    pub fn name(self) -> Option<String> {
        Some(match self {
            Named::Segment(epoch) => name(epoch),
            Named::Spare(number) => spare(number),
            Named::Body(sequence) => body::name(sequence),
            Named::Index(epoch) => format!("index-{epoch:016x}"),
            Named::Other => return None,
        })
    }

    /// Reads a name.
    #[must_use]
    pub fn of(name: &str) -> Named {
        let parts = name.split_once('-').filter(|(_, hex)| hex.len() == 16);
        let number = parts.and_then(|(what, hex)| Some((what, u64::from_str_radix(hex, 16).ok()?)));
        match number {
            Some(("segment", epoch)) => Named::Segment(epoch),
            Some(("spare", number)) => Named::Spare(number),
            Some(("body", sequence)) => Named::Body(sequence),
            Some(("index", epoch)) => Named::Index(epoch),
            _ => Named::Other,
        }
    }
}

/// Makes a spare file of `octets` zeros. Its name is not durable yet, and need not be.
///
/// # Errors
/// What the file system said; the file is removed again then.
pub fn make_spare<D: Disk>(disk: &D, number: u64, octets: u32) -> io::Result<D::File> {
    let name = spare(number);
    let file = disk.create(&name)?;
    match disk::fill(&file, octets.into()) {
        Ok(()) => Ok(file),
        Err(why) => {
            drop(disk.remove(&name));
            Err(why)
        }
    }
}

/// How much a scan reads at once, in octets.
const READ_AHEAD: usize = 256 * 1024;

/// Reads the records of a segment in order, and what lies between them.
pub struct Scanner<'a, F> {
    file: &'a F,
    seed: Seed,
    /// Where to look next.
    at: u32,
    /// Where to stop looking.
    end: u32,
    buffer: Vec<u8>,
    buffer_at: u32,
    /// How much is read at once, in octets.
    ahead: usize,
    /// How many sectors could not be read.
    unreadable: u64,
}

/// What a scan has found.
#[derive(Debug)]
pub enum Found {
    /// A record whose head and meta are right.
    Record {
        /// Where it begins.
        offset: u32,
        /// Its head.
        head: Head,
        /// Its meta.
        meta: Vec<u8>,
    },
    /// Octets that are no record and not all zero.
    Garbage {
        /// Where they begin.
        offset: u32,
        /// Where the next record begins, or the end.
        end: u32,
    },
    /// A record of a newer program.
    Newer,
}

impl<'a, F: DiskFile> Scanner<'a, F> {
    /// Reads from `at` to `end`, which are offsets.
    pub fn new(file: &'a F, seed: Seed, at: u32, end: u32) -> Scanner<'a, F> {
        Scanner {
            file,
            seed,
            at: at.next_multiple_of(ALIGN),
            end,
            buffer: Vec::new(),
            buffer_at: 0,
            ahead: READ_AHEAD,
            unreadable: 0,
        }
    }

    /// The same for one record alone: no more is read than that needs.
    pub fn one(file: &'a F, seed: Seed, at: u32, end: u32) -> Scanner<'a, F> {
        let ahead = SECTOR as usize;
        Scanner {
            ahead,
            ..Scanner::new(file, seed, at, end)
        }
    }

    /// How many sectors could not be read so far. They are garbage.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Up to `octets` from `at` on: fewer where the part to be read ends.
    fn window(&mut self, at: u32, octets: usize) -> io::Result<&[u8]> {
        let octets = octets.min((self.end.saturating_sub(at)) as usize);
        let have = self.buffer_at as usize + self.buffer.len();
        if at < self.buffer_at || at as usize + octets > have {
            let ask = (self.end.saturating_sub(at) as usize).min(self.ahead.max(octets));
            self.buffer.resize(ask, 0);
            let got = disk::read_around(self.file, &mut self.buffer, at.into());
            self.buffer
                .truncate(got.as_ref().map_or(0, |(octets, _)| *octets));
            self.buffer_at = at;
            self.unreadable += got?.1;
        }
        let from = (at - self.buffer_at) as usize;
        let to = (from + octets).min(self.buffer.len());
        Ok(self.buffer.get(from..to).unwrap_or_default())
    }

    /// The record at `at`, if there is one.
    fn record(&mut self, at: u32) -> io::Result<Result<(Head, Vec<u8>), NoRecord>> {
        let (seed, end) = (self.seed, self.end);
        let Some(meta) = Head::peek(self.window(at, HEAD as usize)?, seed, at) else {
            return Ok(Err(NoRecord::Invalid));
        };
        let octets = self.window(at, (HEAD + meta) as usize)?;
        Ok(Head::decode(octets, seed, at).and_then(|(head, meta)| {
            match u64::from(at) + head.octets() <= u64::from(end) {
                true => Ok((head, meta.to_vec())),
                false => Err(NoRecord::Invalid),
            }
        }))
    }

    /// The next offset from `at` on where a magic stands, or the end; and whether all octets before it are zero.
    fn skip(&mut self, at: u32) -> io::Result<(u32, bool)> {
        let (mut at, mut zero) = (at, true);
        while at < self.end {
            let octets = self.window(at, self.ahead / 2)?;
            if octets.len() < ALIGN as usize {
                zero &= octets.iter().all(|octet| *octet == 0);
                break;
            }
            for eight in octets.chunks_exact(ALIGN as usize) {
                if eight[..4] == super::record::MAGIC {
                    return Ok((at, zero));
                }
                zero &= eight == [0; 8];
                at += ALIGN;
            }
        }
        Ok((self.end, zero))
    }

    /// The next record, or garbage before it; `None` at the end.
    ///
    /// # Errors
    /// What the file system said.
    pub fn advance(&mut self) -> io::Result<Option<Found>> {
        let from = self.at;
        let mut clean = true;
        let mut at = from;
        while at < self.end {
            let (magic, zero) = self.skip(at)?;
            clean &= zero;
            if magic >= self.end {
                break;
            }
            match self.record(magic)? {
                Ok((head, meta)) if clean => {
                    // `record` has seen that it ends before `end`, so the sum fits.
                    self.at = magic.saturating_add(head.octets() as u32);
                    let offset = magic;
                    return Ok(Some(Found::Record { offset, head, meta }));
                }
                Ok(_) => {
                    self.at = magic;
                    return Ok(Some(Found::Garbage {
                        offset: from,
                        end: magic,
                    }));
                }
                Err(NoRecord::Newer) => {
                    self.at = self.end;
                    return Ok(Some(Found::Newer));
                }
                Err(NoRecord::Invalid) => {
                    clean = false;
                    at = magic + ALIGN;
                }
            }
        }
        self.at = self.end;
        let garbage = Found::Garbage {
            offset: from,
            end: self.end,
        };
        Ok((!clean).then_some(garbage))
    }
}

/// Reads a body of a record and compares its CRC. `None` where that is wrong, the file ends before, or a sector can't be
/// read.
///
/// # Errors
/// What the file system said.
pub fn read_body(
    file: &impl DiskFile,
    seed: Seed,
    offset: u32,
    head: &Head,
) -> io::Result<Option<Vec<u8>>> {
    let mut body = vec![0; head.body as usize];
    let at = u64::from(offset) + u64::from(HEAD) + u64::from(head.meta);
    let got = disk::unless_unreadable(file.read_at(&mut body, at), 0)?;
    let right = got == body.len() && seed.body(offset, [&body[..]]) == head.body_crc;
    Ok(right.then_some(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_and_no_changed_octet_is_believed() {
        let header = Header {
            spool: 1 << 100,
            seed: Seed { epoch: 3, salt: 4 },
            octets: SEGMENT_MIN,
            next_sequence: 9,
            previous: 2,
            previous_end: 5000,
        };
        let octets = header.encode();
        assert_eq!(Header::decode(&octets), Ok(header));
        for at in 0..HEADER {
            let mut changed = octets;
            changed[at] ^= 1;
            assert!(Header::decode(&changed).is_err(), "octet {at}");
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        assert_eq!(Named::of(&name(0xabc)), Named::Segment(0xabc));
        assert_eq!(Named::of(&spare(1)), Named::Spare(1));
        assert_eq!(Named::of("body-00000000000000ff"), Named::Body(255));
        for other in ["lock", "damaged-0000000000000001", "segment-1", "segment-"] {
            assert_eq!(Named::of(other), Named::Other);
        }
    }
}
