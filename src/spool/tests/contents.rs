//! One file of a simulated disk: what the page cache shows, what the disk has, and which sectors can't be read.

use super::{super::disk::SECTOR, random::Random};
use std::collections::BTreeSet;

/// What a simulated file holds, for the process and on the disk.
#[derive(Debug, Clone, Default)]
pub(super) struct Contents {
    pub is_body: bool,
    /// What the page cache shows.
    pub cache: Vec<u8>,
    pub disk: Vec<u8>,
    dirty: BTreeSet<usize>,
    /// Sectors that the disk can't read.
    unreadable: BTreeSet<usize>,
    /// Marked clean by a sync that failed, and not on the disk.
    pub lied: BTreeSet<usize>,
}

pub(super) const BLOCK: usize = SECTOR as usize;

impl Contents {
    pub fn put(&mut self, at: usize, octets: &[u8]) {
        let end = at + octets.len();
        if self.cache.len() < end {
            self.cache.resize(end, 0);
        }
        self.cache[at..end].copy_from_slice(octets);
        if !octets.is_empty() {
            self.dirty.extend(at / BLOCK..=(end - 1) / BLOCK);
            // A sector that is written whole is given another place.
            let whole = at.div_ceil(BLOCK)..end / BLOCK;
            self.unreadable.retain(|sector| !whole.contains(sector));
        }
    }

    /// Brings the first `octets` of a sector to the disk.
    fn store(&mut self, sector: usize, octets: usize) {
        let from = sector * BLOCK;
        let to = (from + octets.min(BLOCK)).min(self.cache.len());
        if to > from {
            if self.disk.len() < to {
                self.disk.resize(to, 0);
            }
            self.disk[from..to].copy_from_slice(&self.cache[from..to]);
        }
        if octets >= BLOCK {
            self.lied.remove(&sector);
        }
    }

    pub fn sync(&mut self) {
        for sector in std::mem::take(&mut self.dirty) {
            self.store(sector, BLOCK);
        }
        let length = self.cache.len();
        self.disk.resize(length, 0);
    }

    /// Each dirty sector is kept, lost or torn. Gives those that are not whole on the disk.
    pub fn scatter(&mut self, random: &mut Random) -> BTreeSet<usize> {
        let mut lost = BTreeSet::new();
        // Now and then all or nothing: what is likely on a real disk.
        let mood = random.below(4);
        for sector in std::mem::take(&mut self.dirty) {
            let octets = match (mood, random.below(3)) {
                (0, _) | (2.., 0) => BLOCK,
                (1, _) | (2.., 1) => 0,
                _ => random.below(SECTOR.into()) as usize,
            };
            self.store(sector, octets);
            if octets < BLOCK {
                lost.insert(sector);
            }
        }
        lost
    }

    /// The sector at an offset can't be read from now on.
    pub fn spoil(&mut self, at: usize) {
        self.unreadable.insert(at / BLOCK);
    }

    pub fn is_readable(&self, at: usize, octets: usize) -> bool {
        let sectors = at / BLOCK..(at + octets).div_ceil(BLOCK);
        self.unreadable.range(sectors).next().is_none()
    }
}
