//! What the segments of a directory say, at the start: the index, the tail, and what is damaged.
//!
//! Segments are read by epoch. One that a later segment names ends where that says; another one (the last, mostly)
//! ends somewhere: its records up to the largest `synced` among them were synced, those after are its tail. What is no
//! record in the tail is dropped, for its success was never told; anywhere else it is damage: counted, told, never
//! delivered, and the file is kept. A sector that can't be read is damage wherever it lies; what lies around it is read.
//!
//! Of a sealed segment its index file is read instead, if that can be believed.

use super::{
    disk::{self, Disk, DiskFile},
    fields::Malformed,
    index::{self, Entry, Index, Place},
    log,
    message::Summary,
    options::Options,
    payload::{Done, Ends, State},
    plan,
    record::{Head, Kind},
    report::{OpenError, Report},
    sealed::{self, Noted},
    segment::{self, Found, Header, Named, NoHeader, RECORDS_AT, Scanner},
};
use std::{collections::BTreeMap, sync::Arc};

/// A segment whose header is right.
pub(super) struct Known<F> {
    name: String,
    file: Arc<F>,
    pub header: Header,
    /// Where it ends, if a later segment says so.
    end: Option<u32>,
}

/// A record of a tail.
pub(super) struct Tail {
    #[cfg(test)]
    pub epoch: u64,
    #[cfg(test)]
    pub offset: u32,
    pub head: Head,
    pub meta: Vec<u8>,
    pub body: [Vec<u8>; 1],
}

/// What a start has read so far.
pub(super) struct Start<'a, D: Disk> {
    disk: &'a D,
    options: Options,
    pub index: Index<D::File>,
    pub report: Report,
    pub next_sequence: u64,
    pub tail: Vec<Tail>,
    /// Segments that want an index file.
    pub unsealed: Vec<u64>,
}

impl<'a, D: Disk> Start<'a, D> {
    pub(super) fn new(disk: &'a D, options: Options) -> Start<'a, D> {
        Start {
            disk,
            options,
            index: Index::default(),
            report: Report::default(),
            next_sequence: 1,
            tail: Vec::new(),
            unsealed: Vec::new(),
        }
    }

    /// Reads the headers of all segments, by epoch.
    pub(super) fn headers(
        &mut self,
        names: &[(String, Named)],
    ) -> Result<BTreeMap<u64, Known<D::File>>, OpenError> {
        let mut known = BTreeMap::new();
        for (name, named) in names {
            let Named::Segment(epoch) = named else {
                continue;
            };
            let file = match self.disk.open(name) {
                Err(why) if disk::is_unreadable(&why) => {
                    self.report.damage(name, 0, 0);
                    continue;
                }
                file => file?,
            };
            match Header::read(&file)? {
                Err(NoHeader::Newer) => return Err(OpenError::Newer),
                Ok(header) if header.seed.epoch == *epoch => {
                    let (name, file, end) = (name.clone(), Arc::new(file), None);
                    known.insert(
                        *epoch,
                        Known {
                            name,
                            file,
                            header,
                            end,
                        },
                    );
                }
                // A segment has its name after its header was synced: this was whole once.
                Ok(_) | Err(NoHeader::Damaged) => {
                    let octets = u32::try_from(file.octets()?).unwrap_or(u32::MAX);
                    self.report.damage(name, 0, octets);
                    drop(self.disk.rename(name, &format!("damaged-{name}")));
                }
            }
        }
        let mut ends = Vec::new();
        for segment in known.values() {
            let header = &segment.header;
            ends.push((header.previous, header.previous_end));
            let first =
                Scanner::one(&*segment.file, header.seed, RECORDS_AT, header.octets).advance()?;
            if let Some(Found::Record { head, meta, .. }) = first
                && head.kind == Kind::Probe
            {
                ends.extend(Ends::decode(&meta).unwrap_or_default().0);
            }
        }
        for (epoch, end) in ends {
            if let Some(segment) = known.get_mut(&epoch) {
                segment.end = segment.end.max(Some(end.min(segment.header.octets)));
            }
        }
        Ok(known)
    }

    /// Reads a segment into the index, but for its tail. Gives where its synced part ends.
    pub(super) fn segment(&mut self, known: &Known<D::File>) -> Result<u32, OpenError> {
        let (header, file) = (&known.header, &*known.file);
        self.report.segments += 1;
        self.next_sequence = self.next_sequence.max(header.next_sequence);
        let synced = match known.end {
            Some(end) => end,
            None => synced(file, header)?,
        };
        let segment = index::Segment::new(Arc::clone(&known.file), header.seed, synced);
        self.index.add_segment(header.seed.epoch, segment);
        if known.end.is_none() {
            self.read_tail(known, synced)?;
        } else if self.read_sealed(header, synced)? {
            return Ok(synced);
        }
        let damaged = self.report.damaged;
        self.scan(known, synced)?;
        if known.end.is_some() && self.report.damaged == damaged {
            self.unsealed.push(header.seed.epoch);
        }
        Ok(synced)
    }

    /// Learns from the index file of a segment. Whether it has one.
    fn read_sealed(&mut self, header: &Header, end: u32) -> Result<bool, OpenError> {
        if self.options.verify_bodies {
            return Ok(false);
        }
        let Some(sealed) = sealed::read(self.disk, header.spool, header.seed, end) else {
            return Ok(false);
        };
        self.report.sealed += 1;
        self.next_sequence = self.next_sequence.max(sealed.next_sequence);
        for noted in sealed.records().flatten() {
            learn(&mut self.index, noted, header.seed.epoch)?;
        }
        Ok(true)
    }

    /// Reads all records of a segment that were synced.
    fn scan(&mut self, known: &Known<D::File>, synced: u32) -> Result<(), OpenError> {
        let (header, file) = (&known.header, &*known.file);
        let mut scanner = Scanner::new(file, header.seed, RECORDS_AT, synced);
        while let Some(found) = scanner.advance()? {
            match found {
                Found::Newer => return Err(OpenError::Newer),
                Found::Garbage { offset, end } => self.damaged(known, offset, end),
                Found::Record { offset, head, meta } => {
                    self.next_sequence = self.next_sequence.max(head.sequence.saturating_add(1));
                    let noted = noted(offset, &head, &meta);
                    let mut right = learn(&mut self.index, noted, header.seed.epoch)?;
                    if self.options.verify_bodies
                        && segment::read_body(file, header.seed, offset, &head)?.is_none()
                    {
                        right = false;
                        self.report.set_aside += u64::from(self.index.set_aside(head.sequence));
                    }
                    if !right {
                        self.damaged(known, offset, offset.saturating_add(noted.octets));
                    }
                }
            }
        }
        self.report.unreadable += scanner.unreadable();
        Ok(())
    }

    fn damaged(&mut self, known: &Known<D::File>, from: u32, to: u32) {
        self.report.damage(&known.name, from, to);
        if let Some(segment) = self.index.segment_mut(known.header.seed.epoch) {
            segment.damaged = true;
        }
    }

    /// Reads what lies after the synced part of a segment.
    fn read_tail(&mut self, known: &Known<D::File>, synced: u32) -> Result<(), OpenError> {
        let header = &known.header;
        let mut scanner = Scanner::new(&*known.file, header.seed, synced, header.octets);
        while let Some(found) = scanner.advance()? {
            match found {
                Found::Newer => return Err(OpenError::Newer),
                Found::Garbage { offset, end } => {
                    self.report.tail_dropped += u64::from(end - offset);
                }
                Found::Record { offset, head, meta } => {
                    self.next_sequence = self.next_sequence.max(head.sequence.saturating_add(1));
                    self.tail(known, offset, head, meta)?;
                }
            }
        }
        // No crash makes a sector unreadable: what lay there may well have been promised.
        if scanner.unreadable() > 0 {
            self.report.unreadable += scanner.unreadable();
            self.damaged(known, synced, header.octets);
        }
        Ok(())
    }

    /// Keeps a record of a tail, if its body is right too.
    fn tail(
        &mut self,
        known: &Known<D::File>,
        offset: u32,
        head: Head,
        meta: Vec<u8>,
    ) -> Result<(), OpenError> {
        let seed = known.header.seed;
        match segment::read_body(&*known.file, seed, offset, &head)? {
            Some(_) if head.kind == Kind::Probe => {}
            Some(body) => self.tail.push(Tail {
                #[cfg(test)]
                epoch: seed.epoch,
                #[cfg(test)]
                offset,
                head,
                meta,
                body: [body],
            }),
            None => self.report.tail_dropped += head.octets(),
        }
        Ok(())
    }

    /// The spare files that can be used, and the number of the next. The others are removed.
    pub(super) fn spares(&self, names: &[(String, Named)]) -> (Vec<u64>, u64) {
        let (mut spares, mut next) = (Vec::new(), 0);
        for (name, named) in names {
            let Named::Spare(number) = named else {
                continue;
            };
            next = next.max(number.saturating_add(1));
            let octets = self.disk.open(name).and_then(|file| file.octets());
            let fits = octets.is_ok_and(|octets| octets == u64::from(self.options.octets()));
            if fits && spares.len() < log::SPARES_MAX {
                spares.push(*number);
            } else {
                drop(self.disk.remove(name));
            }
        }
        (spares, next)
    }
}

/// How far a segment was synced that no later one names: what its records say.
fn synced<F: DiskFile>(file: &F, header: &Header) -> Result<u32, OpenError> {
    let mut synced = RECORDS_AT;
    let mut scanner = Scanner::new(file, header.seed, RECORDS_AT, header.octets);
    while let Some(found) = scanner.advance()? {
        match found {
            Found::Record { offset, head, .. } if head.synced <= offset => {
                synced = synced.max(head.synced);
            }
            Found::Newer => return Err(OpenError::Newer),
            _ => {}
        }
    }
    Ok(synced)
}

/// What a start learns from a record.
pub(super) fn noted<'a>(offset: u32, head: &Head, meta: &'a [u8]) -> Noted<'a> {
    Noted {
        kind: head.kind,
        offset,
        octets: u32::try_from(head.octets()).unwrap_or(u32::MAX),
        sequence: head.sequence,
        revision: head.revision,
        meta,
    }
}

/// Puts what a record says into the index. Whether it could be read.
pub(super) fn learn<F>(
    index: &mut Index<F>,
    noted: Noted<'_>,
    epoch: u64,
) -> Result<bool, OpenError> {
    let (meta, sequence) = (noted.meta, noted.sequence);
    let place = Place {
        epoch,
        offset: noted.offset,
        octets: noted.octets,
    };
    let read = match noted.kind {
        Kind::Probe => Ok(()),
        Kind::Accept => Summary::of(meta).map(|summary| {
            let entry = plan::entry(index, &summary, place);
            index.accept(sequence, entry);
        }),
        Kind::Done => Done::decode(meta).map(|done| {
            index.holds_done(place.epoch, done.epochs);
            index.done(sequence);
        }),
        _ => State::decode(meta).map(|state| {
            let update = |entry: &mut Entry| plan::update(entry, &state);
            index.expect_later(sequence);
            index.state(sequence, place, update, noted.revision);
        }),
    };
    match read {
        Ok(()) => Ok(true),
        Err(Malformed::Broken) => Ok(false),
        Err(Malformed::Newer) => Err(OpenError::Newer),
    }
}
