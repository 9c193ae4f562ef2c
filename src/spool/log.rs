//! The log: batches of records appended to the active segment, each made durable with one sync.
//!
//! A [`Log`] has one owner and waits for the disk: the committer's thread. Readers share the index with it.
//!
//! After a write or a sync that failed, nothing of that batch counts, and the segment takes no more: the kernel tells of
//! a failed sync once and marks the pages clean, so that a later success proves nothing. The next batch needs another
//! file, whose header and a probe record were written, synced, renamed and synced with the directory.

use super::{
    batch::{Batch, Content},
    disk::{Disk, DiskFile, SECTOR},
    index::{Place, Segment},
    options::{Counters, Options},
    payload::{Ends, SEGMENTS_MAX},
    plan::{Planned, apply, dones, plan},
    record::{Kind, Seed},
    refused::Refused,
    request::{Purpose, Request},
    segment::{self, Header, Named, RECORDS_AT, SEGMENT_MAX},
    shared::Shared,
};
use std::{collections::VecDeque, io, sync::Arc};

/// How many spare files are kept: those beyond are removed.
pub const SPARES_MAX: usize = 4;
/// How many spare files messages leave alone: they are for ends and copies when the disk is full.
pub const SPARES_RESERVED: usize = 1;
/// The longest wait between two probes of a disk that failed, in milliseconds.
pub const RETRY_MS_MAX: u64 = 5_000;
const RETRY_MS_MIN: u64 = 100;
/// How often the free space is looked at, in milliseconds.
const LOOK_MS: u64 = 200;

pub(super) struct Active<F> {
    pub file: Arc<F>,
    pub seed: Seed,
    pub octets: u32,
    /// How far it is synced.
    pub end: u32,
}

/// The log of a spool, for its one writer.
pub struct Log<D: Disk> {
    pub(super) shared: Arc<Shared<D>>,
    pub(super) options: Options,
    pub(super) active: Option<Active<D::File>>,
    /// The segment that the next header names, and how far it is synced.
    pub(super) last: (u64, u32),
    pub(super) next_epoch: u64,
    pub(super) spares: Vec<u64>,
    pub(super) next_spare: u64,
    /// A spare file is being made.
    pub(super) is_spare_coming: bool,
    /// No spare file is made before: milliseconds since 1970.
    pub(super) spare_retry_ms: u64,
    /// Sealed segments without an index file.
    pub(super) sealing: VecDeque<u64>,
    /// Files that nothing needs.
    pub(super) removals: VecDeque<Named>,
    /// After a failure: why, and when to try again (milliseconds since 1970).
    trouble: Option<(Refused, u64)>,
    failures: u32,
    /// When the free space was last looked at.
    looked_ms: u64,
    pub(super) reclaiming: Option<(u64, u32)>,
    pub(super) counters: Counters,
}

impl<D: Disk> Log<D> {
    pub(super) fn new(
        shared: Arc<Shared<D>>,
        options: Options,
        last: (u64, u32),
        next_epoch: u64,
        (spares, next_spare): (Vec<u64>, u64),
    ) -> Log<D> {
        Log {
            shared,
            options,
            active: None,
            last,
            next_epoch,
            spares,
            next_spare,
            is_spare_coming: false,
            spare_retry_ms: 0,
            sealing: VecDeque::new(),
            removals: VecDeque::new(),
            trouble: None,
            failures: 0,
            looked_ms: 0,
            reclaiming: None,
            counters: Counters::default(),
        }
    }

    /// What readers and the workers need.
    pub fn shared(&self) -> &Arc<Shared<D>> {
        &self.shared
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        Counters {
            set_aside: self.shared.messages_set_aside(),
            ..self.counters
        }
    }

    /// Makes requests durable, in as few syncs as segments allow: mostly one. An answer for each; where it is `Ok`, what
    /// was asked for is durable and in the index.
    pub fn commit(&mut self, requests: &[Request], now_ms: u64) -> Vec<Result<(), Refused>> {
        let mut answers = Vec::with_capacity(requests.len());
        while let Some(rest) = requests
            .get(answers.len()..)
            .filter(|rest| !rest.is_empty())
        {
            self.commit_some(rest, now_ms, &mut answers);
        }
        answers
    }

    /// Commits at least the first of the requests, and as many more as the active segment takes.
    fn commit_some(
        &mut self,
        requests: &[Request],
        now_ms: u64,
        answers: &mut Vec<Result<(), Refused>>,
    ) {
        let Some(first) = requests.first() else {
            return;
        };
        if let Err(why) = self.make_room(first.octets(), first.purpose(), now_ms) {
            self.removals.extend(first.body_file().map(Named::Body));
            answers.push(Err(why));
            return;
        }
        let Some(active) = &self.active else {
            answers.push(Err(Refused::Failed(io::ErrorKind::Other)));
            return;
        };
        let shared = Arc::clone(&self.shared);
        let mut batch = Batch::new(active.seed, active.end, active.octets);
        let keep_free = active.octets - self.options.reserve().min(active.octets);
        let dones = dones(&shared.index(), requests, now_ms);
        let planned = plan(&shared, requests, &dones, &mut batch, keep_free);
        let written = self.write(&batch, now_ms);
        self.settle(requests, planned, written, answers);
    }

    /// Puts what was written into the index, and answers.
    fn settle(
        &mut self,
        requests: &[Request],
        planned: Vec<Result<Planned, Refused>>,
        written: Result<(), Refused>,
        answers: &mut Vec<Result<(), Refused>>,
    ) {
        let mut index = self.shared.index();
        for (request, planned) in requests.iter().zip(planned) {
            answers.push(match (planned, written) {
                (Err(why), _) => {
                    // Of a message that is known the file is in use.
                    let file = request.body_file().filter(|_| why != Refused::Unknown);
                    self.removals.extend(file.map(Named::Body));
                    Err(why)
                }
                // Its body stays until the next start: a crash may bring the record to light.
                (Ok(_), Err(why)) => Err(why),
                (Ok(planned), Ok(())) => {
                    let file = apply(&mut index, request, &planned);
                    self.removals.extend(file.map(Named::Body));
                    Ok(())
                }
            });
        }
        let marks = self.shared.watermarks();
        marks.set_messages(index.messages(), index.octets());
    }

    /// Writes and syncs a batch at the end of the active segment.
    pub(super) fn write(&mut self, batch: &Batch<'_>, now_ms: u64) -> Result<(), Refused> {
        if batch.records() == 0 {
            return Ok(());
        }
        let Some(active) = &mut self.active else {
            return Err(Refused::Failed(io::ErrorKind::Other));
        };
        match batch.write(&*active.file).and_then(|()| active.file.sync()) {
            Ok(()) => {
                self.counters.batches += 1;
                self.counters.records += batch.records() as u64;
                self.counters.octets += u64::from(batch.end() - active.end);
                active.end = batch.end();
                self.last.1 = active.end;
                if let Some(segment) = self.shared.index().segment_mut(active.seed.epoch) {
                    segment.end = active.end;
                }
                Ok(())
            }
            Err(why) => {
                self.counters.failed_batches += 1;
                self.active = None;
                let why = Refused::of(&why);
                // The first probe may follow at once: another file may well be all right.
                self.set_trouble(Some((why, now_ms)));
                Err(why)
            }
        }
    }

    pub(super) fn set_trouble(&mut self, trouble: Option<(Refused, u64)>) {
        self.trouble = trouble;
        let why = trouble.map(|(why, _)| why);
        self.shared.watermarks().set_trouble(why);
    }

    /// Tries a disk that failed, if it is time for that: while it is known not to work no message comes, so none would find
    /// out that it works again. The file that this needs is a spare one, which is a chore.
    pub fn probe(&mut self, now_ms: u64) {
        if let Some((_, retry_ms)) = self.trouble
            && now_ms >= retry_ms
            && self.spares.len() > SPARES_RESERVED
        {
            drop(self.begin_segment(Purpose::Accept, &[], now_ms));
        }
    }

    /// Looks at the free space, now and then.
    pub fn look(&mut self, now_ms: u64) {
        if now_ms.abs_diff(self.looked_ms) >= LOOK_MS {
            self.looked_ms = now_ms;
            // Where it can't be had, what was last known counts.
            if let Ok(free) = self.shared.disk.free() {
                self.shared.watermarks().set_free(free);
            }
        }
    }

    /// Whether a batch of so many octets needs a file that is being made: better to wait for that than to make another.
    pub fn awaits_spare(&self, octets: u64) -> bool {
        let fits = |active: &Active<D::File>| {
            u64::from(active.end) + octets + u64::from(self.options.reserve())
                <= u64::from(active.octets)
        };
        self.is_spare_coming
            && self.spares.len() <= SPARES_RESERVED
            && !self.active.as_ref().is_some_and(fits)
    }

    /// Sees to an active segment with room for a record of so many octets.
    pub(super) fn make_room(
        &mut self,
        octets: u64,
        purpose: Purpose,
        now_ms: u64,
    ) -> Result<(), Refused> {
        let reserve = self.options.reserve();
        let fits = |end: u32, size: u32| {
            let keep = if purpose == Purpose::Accept {
                reserve
            } else {
                0
            };
            u64::from(end) + octets.next_multiple_of(SECTOR.into()) + u64::from(keep)
                <= u64::from(size)
        };
        if self
            .active
            .as_ref()
            .is_some_and(|active| fits(active.end, active.octets))
        {
            return Ok(());
        }
        if !fits(self.first_end(), self.options.octets()) {
            return Err(Refused::TooLarge);
        }
        // A full disk has room for what ends messages: that was set apart.
        let spared = purpose == Purpose::Upkeep && !self.spares.is_empty();
        if let Some((why, retry_at)) = self.trouble
            && now_ms < retry_at
            && !(spared && why == Refused::Full)
        {
            return Err(why);
        }
        self.begin_segment(purpose, &[], now_ms).map(drop)
    }

    /// Where a new segment would end after its first record, at most.
    fn first_end(&self) -> u32 {
        // Each segment is named by twelve octets; some more for the head and the lengths.
        let table = self.shared.index().ends().len().saturating_mul(12) + 64;
        let table = u32::try_from(table).unwrap_or(SEGMENT_MAX);
        (RECORDS_AT + table.min(SEGMENT_MAX)).next_multiple_of(SECTOR)
    }

    /// Begins a segment with these records in it, which count together with it. Gives their places.
    pub(super) fn begin_segment(
        &mut self,
        purpose: Purpose,
        records: &[Content<'_>],
        now_ms: u64,
    ) -> Result<Vec<Place>, Refused> {
        match self.try_segment(purpose, records) {
            Ok(places) => {
                self.counters.segments += 1;
                self.failures = 0;
                self.set_trouble(None);
                Ok(places)
            }
            Err(why) => {
                self.counters.failed_segments += 1;
                let wait = RETRY_MS_MIN << self.failures.min(6);
                self.failures += 1;
                let why = Refused::of(&why);
                self.set_trouble(Some((why, now_ms + wait.min(RETRY_MS_MAX))));
                Err(why)
            }
        }
    }

    fn try_segment(&mut self, purpose: Purpose, records: &[Content<'_>]) -> io::Result<Vec<Place>> {
        let ends = self.shared.index().ends();
        if ends.len() >= SEGMENTS_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut table = Vec::new();
        Ends(ends).encode(&mut table);
        let records = [&[probe(&table)], records].concat();
        // As large as the records need that must go in, where the size was made smaller since they were written.
        let need: u64 = records.iter().map(Content::octets).sum::<u64>();
        let need = need.next_multiple_of(SECTOR.into()) + u64::from(RECORDS_AT + 2 * SECTOR);
        let need = u32::try_from(need).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let octets = self.options.octets().max(need);
        let salt = self.shared.disk.random()?;
        let epoch = self.next_epoch;
        self.next_epoch += 1;
        let (number, file) = self.take_spare(purpose, octets)?;
        let disk = &self.shared.disk;
        let (spare, name) = (segment::spare(number), segment::name(epoch));
        let header = Header {
            spool: self.shared.id(),
            seed: Seed { epoch, salt },
            octets,
            next_sequence: self.shared.unused_sequence(),
            previous: self.last.0,
            previous_end: self.last.1,
        };
        // Neither name may stay for long; what stays is sorted out at the next start.
        let proven = prove(&file, &header, &records);
        let (end, places) = proven.inspect_err(|_| drop(disk.remove(&spare)))?;
        // From here on a start may find this header, which says where the segment before ends: that takes no more,
        // whatever comes of this one.
        self.active = None;
        let since = self.shared.before_names();
        if let Err(why) = disk.rename(&spare, &name) {
            drop(disk.remove(&spare));
            return Err(why);
        }
        self.shared
            .sync_names(since)
            .inspect_err(|_| drop(disk.remove(&name)))?;
        let file = Arc::new(file);
        let active = Active {
            file: Arc::clone(&file),
            seed: header.seed,
            octets,
            end,
        };
        let segment = Segment::new(file, header.seed, end);
        self.shared.index().add_segment(epoch, segment);
        self.counters.octets += u64::from(end - RECORDS_AT) + 2 * u64::from(SECTOR);
        // The end of the one before is final from now on.
        self.sealing.push_back(self.last.0);
        self.last = (epoch, end);
        self.active = Some(active);
        Ok(places)
    }

    /// A file for a segment: a spare one, or a new one.
    fn take_spare(&mut self, purpose: Purpose, octets: u32) -> io::Result<(u64, D::File)> {
        let keep = match purpose {
            Purpose::Accept => SPARES_RESERVED,
            Purpose::Upkeep => 0,
        };
        if self.spares.len() > keep && octets == self.options.octets() {
            let number = self.spares.swap_remove(0);
            return Ok((number, self.shared.disk.open(&segment::spare(number))?));
        }
        self.new_spare(octets)
    }

    fn new_spare(&mut self, octets: u32) -> io::Result<(u64, D::File)> {
        let number = self.next_spare;
        self.next_spare += 1;
        let file = self.shared.make_spare(number, octets)?;
        self.counters.octets_filled += u64::from(octets);
        self.counters.late_files += 1;
        Ok((number, file))
    }
}

/// The first record of a segment.
fn probe(table: &[u8]) -> Content<'_> {
    Content {
        kind: Kind::Probe,
        sequence: 0,
        revision: 0,
        meta: table,
        body: &[],
    }
}

/// Writes header and records to a spare file, syncs it, and reads the header again. Gives where it ends, and where the
/// records but for the first lie.
fn prove<F: DiskFile>(
    file: &F,
    header: &Header,
    records: &[Content<'_>],
) -> io::Result<(u32, Vec<Place>)> {
    header.write(file)?;
    let mut batch = Batch::new(header.seed, RECORDS_AT, header.octets);
    let mut places = Vec::new();
    for record in records {
        places.push(batch.push(*record).ok_or(io::ErrorKind::FileTooLarge)?);
    }
    batch.write(file)?;
    file.sync()?;
    match Header::read(file)? == Ok(*header) {
        true => Ok((batch.end(), places.split_off(1))),
        false => Err(io::Error::other(
            "a segment's header was not read as written",
        )),
    }
}
