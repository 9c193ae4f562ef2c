//! Work that is not for the thread that commits, because a batch would wait for it: spare files filled with zeros, index files
//! of sealed segments, files removed.
//!
//! The log says what is to be done next and hears what came of it; another thread does it. None of it is needed for what was
//! promised: where a crash leaves a chore half done, the next start does it again or removes what is left.

use super::{
    disk::Disk,
    log::{Log, SPARES_RESERVED},
    record::Seed,
    sealed,
    segment::{self, Named},
    shared::Shared,
};
use std::{io, sync::Arc};

/// How many spare files there are to be: those that are kept for a full disk, and the next segment. A log that takes what a
/// disk can take fills a segment in the time that it takes to make one.
const SPARES_WANTED: usize = SPARES_RESERVED + 1;
/// How many files one chore removes.
const REMOVALS_MAX: usize = 256;
/// After a spare file could not be made, no other is tried for so long, in milliseconds.
const SPARE_RETRY_MS: u64 = 1_000;

/// Something to be done beside the log.
pub enum Chore<F> {
    /// A new spare file.
    Spare {
        /// Its number.
        number: u64,
        /// Its size.
        octets: u32,
    },
    /// The index file of a sealed segment.
    Seal {
        /// The segment.
        file: Arc<F>,
        /// What its CRCs begin with.
        seed: Seed,
        /// Where it ends.
        end: u32,
    },
    /// Files that nothing needs.
    Remove(Vec<Named>),
}

/// What came of a chore.
pub enum Finished {
    /// A spare file was made, or not.
    Spare {
        /// Its number.
        number: u64,
        /// Its size.
        octets: u32,
        /// Why there is none.
        made: io::Result<()>,
    },
    /// An index file was written, with so many octets, or not: it is not needed.
    Sealed {
        /// Of which segment.
        epoch: u64,
        /// Octets of the file.
        octets: Option<u64>,
    },
    /// Files were removed, or are left for the next start.
    Removed,
}

impl<D: Disk> Shared<D> {
    /// Does a chore. Waits for the disk.
    pub fn carry_out(&self, chore: Chore<D::File>) -> Finished {
        match chore {
            Chore::Spare { number, octets } => Finished::Spare {
                number,
                octets,
                made: self.make_spare(number, octets).map(drop),
            },
            Chore::Seal { file, seed, end } => {
                let written = sealed::write(&self.disk, self.id(), &*file, seed, end);
                Finished::Sealed {
                    epoch: seed.epoch,
                    octets: written.unwrap_or_default(),
                }
            }
            Chore::Remove(named) => {
                for name in named.into_iter().filter_map(Named::name) {
                    drop(self.disk.remove(&name));
                }
                Finished::Removed
            }
        }
    }

    /// Makes a spare file, if the disk has room beside what stays free.
    pub(super) fn make_spare(&self, number: u64, octets: u32) -> io::Result<D::File> {
        let keep = self.watermarks().free_min();
        if self.disk.free()? < keep.saturating_add(octets.into()) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        segment::make_spare(&self.disk, number, octets)
    }
}

impl<D: Disk> Log<D> {
    /// A spare file to be made, if one is wanted and none is being made. [`Log::finished`] must hear what came of it. It does not
    /// wait for the other chores, for a batch may wait for the file.
    pub fn next_spare(&mut self, now_ms: u64) -> Option<Chore<D::File>> {
        if !self.is_spare_coming
            && self.spares.len() < SPARES_WANTED
            && now_ms >= self.spare_retry_ms
        {
            self.is_spare_coming = true;
            let number = self.next_spare;
            self.next_spare += 1;
            let octets = self.options.octets();
            return Some(Chore::Spare { number, octets });
        }
        None
    }

    /// What else is to be done beside the log.
    pub fn next_chore(&mut self) -> Option<Chore<D::File>> {
        if !self.removals.is_empty() {
            let few = self.removals.len().min(REMOVALS_MAX);
            return Some(Chore::Remove(self.removals.drain(..few).collect()));
        }
        while let Some(epoch) = self.sealing.pop_front() {
            let index = self.shared.index();
            if let Some(segment) = index.segments().get(&epoch).filter(|found| !found.damaged) {
                return Some(Chore::Seal {
                    file: Arc::clone(&segment.file),
                    seed: segment.seed,
                    end: segment.end,
                });
            }
        }
        None
    }

    /// A chore has come to its end.
    pub fn finished(&mut self, finished: Finished, now_ms: u64) {
        match finished {
            Finished::Spare {
                number,
                octets,
                made,
            } => {
                self.is_spare_coming = false;
                match made {
                    Ok(()) => {
                        self.counters.octets_filled += u64::from(octets);
                        self.spares.push(number);
                    }
                    Err(_) => self.spare_retry_ms = now_ms + SPARE_RETRY_MS,
                }
            }
            Finished::Sealed { epoch, octets } => {
                if let Some(octets) = octets {
                    self.counters.sealed += 1;
                    self.counters.octets_sealed += octets;
                }
                if !self.shared.index().segments().contains_key(&epoch) {
                    self.removals.push_back(Named::Index(epoch));
                }
            }
            Finished::Removed => {}
        }
    }

    /// Does all chores on this thread.
    #[cfg(test)]
    pub fn do_chores(&mut self, now_ms: u64) {
        while let Some(chore) = self.next_spare(now_ms).or_else(|| self.next_chore()) {
            let done = self.shared.carry_out(chore);
            self.finished(done, now_ms);
        }
    }
}
