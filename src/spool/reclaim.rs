//! Space that is used again: segments that nothing needs become spares, and what is needed of nearly empty ones is copied.
//!
//! Needed are the records of messages in the index, and done records about messages that another segment may hold. Both
//! were synced before the index says so. A copy is synced before the segment that it comes from is retired, and a segment
//! is retired by a rename and the sync of the directory: until that returned, it counts as if it were still there.
//!
//! Rejected: segments retired in order only (one message that is held keeps everything after it), and holes punched
//! (the file system's map of a file with many holes costs more than the copies do).

use super::{
    batch::{Batch, Content},
    disk::Disk,
    index::Place,
    log::{Log, SPARES_MAX},
    payload::Done,
    record::{Head, Kind},
    refused::Refused,
    request::Purpose,
    segment::{self, Found, Named, RECORDS_AT, Scanner},
};
use std::{io, sync::Arc};

/// A segment is emptied by copying where less than one part in so many is needed.
pub const COPY_BELOW: u64 = 4;
/// How many octets one step copies, about: what a batch of messages waits for it.
pub const STEP_OCTETS: u64 = 1 << 20;
/// How many octets one step reads, about.
const STEP_READ: u32 = 8 << 20;

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is to be done.
    Idle,
    /// There may be more to do at once.
    More,
    /// The disk does not allow it now.
    Stuck,
}

/// A record that outlives its segment.
struct Survivor {
    head: Head,
    meta: Vec<u8>,
    body: [Vec<u8>; 1],
    offset: u32,
    about: (u64, u64),
}

impl<D: Disk> Log<D> {
    /// Retires a segment that nothing needs, or copies some records out of one that is nearly empty. For between batches.
    pub fn reclaim(&mut self, now_ms: u64) -> Progress {
        let Some((epoch, at)) = self.reclaiming.take().or_else(|| self.candidate()) else {
            return Progress::Idle;
        };
        match self.empty(epoch, at, now_ms) {
            Ok(Some(next)) => {
                self.reclaiming = Some((epoch, next));
                Progress::More
            }
            Ok(None) => {
                // Where damage was found it is kept whole, and is no candidate any more. So it is where something
                // is still needed after all of it was copied: that was not found where the index has it.
                let is_free = self.shared.index().is_emptied(epoch);
                if is_free {
                    self.retire(epoch);
                } else {
                    self.leave(epoch);
                }
                Progress::More
            }
            Err(_) => Progress::Stuck,
        }
    }

    /// The segment of which the least is needed, if that is little enough.
    fn candidate(&self) -> Option<(u64, u32)> {
        let index = self.shared.index();
        let mut best: Option<(u64, u64)> = None;
        for (epoch, segment) in index.segments() {
            // Only a later segment tells where the others end: the last one stays, active or not.
            if *epoch == self.last.0 {
                continue;
            }
            let pinned = index.pinned(*epoch);
            let sparse =
                pinned == 0 || (!segment.damaged && pinned * COPY_BELOW < u64::from(segment.end));
            if sparse && best.is_none_or(|(_, least)| pinned < least) {
                best = Some((*epoch, pinned));
            }
        }
        let (epoch, pinned) = best?;
        let end = index.segments().get(&epoch)?.end;
        Some((epoch, if pinned == 0 { end } else { RECORDS_AT }))
    }

    /// Copies some of what is needed from `at` on. Gives where to go on; `None` at the end.
    fn empty(&mut self, epoch: u64, at: u32, now_ms: u64) -> Result<Option<u32>, Refused> {
        let (file, seed, end) = {
            let index = self.shared.index();
            let Some(segment) = index.segments().get(&epoch) else {
                return Ok(None);
            };
            (Arc::clone(&segment.file), segment.seed, segment.end)
        };
        let mut scanner = Scanner::new(&*file, seed, at, end);
        let (mut survivors, mut octets, mut next) = (Vec::new(), 0, None);
        loop {
            match scanner.advance().map_err(|why| Refused::of(&why))? {
                None => break,
                Some(Found::Record { offset, head, meta }) => {
                    if let Some(about) = self.is_needed(epoch, offset, &head, &meta) {
                        let body = segment::read_body(&*file, seed, offset, &head);
                        let Some(body) = body.map_err(|why| Refused::of(&why))? else {
                            self.shared.set_aside(head.sequence);
                            return Ok(self.leave(epoch));
                        };
                        octets += head.octets();
                        survivors.push(Survivor {
                            head,
                            meta,
                            body: [body],
                            offset,
                            about,
                        });
                    }
                    let read = offset.saturating_add(head.octets() as u32);
                    if octets >= STEP_OCTETS || read - at >= STEP_READ {
                        next = Some(read);
                        break;
                    }
                }
                Some(Found::Garbage { .. } | Found::Newer) => return Ok(self.leave(epoch)),
            }
        }
        self.copy(epoch, &survivors, now_ms)?;
        Ok(next)
    }

    /// A segment turned out to be damaged: it is kept whole.
    fn leave(&mut self, epoch: u64) -> Option<u32> {
        if let Some(segment) = self.shared.index().segment_mut(epoch)
            && !segment.damaged
        {
            segment.damaged = true;
            self.counters.damaged_segments += 1;
            // The next start is to read the segment, and to tell of it.
            self.removals.push_back(Named::Index(epoch));
        }
        None
    }

    /// Whether a record must outlive its segment: then the epochs that it is about, of a done record.
    fn is_needed(&self, epoch: u64, offset: u32, head: &Head, meta: &[u8]) -> Option<(u64, u64)> {
        let index = self.shared.index();
        let here = |place: Place| place.epoch == epoch && place.offset == offset;
        let entry = index.get(head.sequence);
        match head.kind {
            Kind::Probe => None,
            Kind::Accept => entry.filter(|entry| here(entry.accept)).map(|_| (0, 0)),
            Kind::Done => Done::decode(meta)
                .ok()
                .map(|done| done.epochs)
                .filter(|about| index.is_needed(*about, epoch)),
            _ => entry.filter(|entry| here(entry.state)).map(|_| (0, 0)),
        }
    }

    /// Writes survivors to the active segment, and moves the index there.
    fn copy(&mut self, from: u64, survivors: &[Survivor], now_ms: u64) -> Result<(), Refused> {
        let mut rest = survivors;
        while let Some(first) = rest.first() {
            self.make_room(first.head.octets(), Purpose::Upkeep, now_ms)?;
            let Some(active) = &self.active else {
                return Err(Refused::Failed(io::ErrorKind::Other));
            };
            let mut batch = Batch::new(active.seed, active.end, active.octets);
            let places: Vec<Place> = rest
                .iter()
                .map_while(|survivor| {
                    batch.push(Content {
                        kind: survivor.head.kind,
                        sequence: survivor.head.sequence,
                        revision: survivor.head.revision,
                        meta: &survivor.meta,
                        body: &survivor.body,
                    })
                })
                .collect();
            self.write(&batch, now_ms)?;
            self.counters.copied += places.len() as u64;
            let mut index = self.shared.index();
            let (now, later) = rest.split_at(places.len());
            for (survivor, place) in now.iter().zip(places) {
                let sequence = survivor.head.sequence;
                let here = |old: Place| old.epoch == from && old.offset == survivor.offset;
                // The log has one writer: what was needed a moment ago is there still.
                match (survivor.head.kind, index.get(sequence).copied()) {
                    (Kind::Done, _) => index.holds_done(place.epoch, survivor.about),
                    (Kind::Accept, Some(mut entry)) if here(entry.accept) => {
                        entry.accept = place;
                        index.accept(sequence, entry);
                    }
                    (_, Some(entry)) if here(entry.state) => {
                        index.state(sequence, place, |_| (), survivor.head.revision);
                    }
                    _ => {}
                }
            }
            rest = later;
        }
        Ok(())
    }

    /// Gives a segment's file back. Nothing in the index needs it.
    fn retire(&mut self, epoch: u64) {
        let (is_damaged, octets) = {
            let index = self.shared.index();
            let segment = index.segments().get(&epoch);
            let octets =
                segment.and_then(|segment| super::disk::DiskFile::octets(&*segment.file).ok());
            (segment.is_some_and(|segment| segment.damaged), octets)
        };
        let number = self.next_spare;
        self.next_spare += 1;
        let name = segment::name(epoch);
        let to = match is_damaged {
            true => format!("damaged-{name}"),
            false => segment::spare(number),
        };
        let disk = &self.shared.disk;
        let since = self.shared.before_names();
        let renamed = disk.rename(&name, &to);
        let is_gone = renamed.and_then(|()| self.shared.sync_names(since));
        self.shared.index().drop_segment(epoch, is_gone.is_ok());
        if is_gone.is_err() {
            // Its name may come back, so its octets stay.
            self.counters.failed_retirements += 1;
            return;
        }
        self.counters.retired += 1;
        self.removals.push_back(Named::Index(epoch));
        let fits = octets == Some(self.options.octets().into());
        if fits && !is_damaged && self.spares.len() < SPARES_MAX {
            self.spares.push(number);
        } else if !is_damaged {
            drop(disk.remove(&to));
        }
    }
}
