//! A disk that loses what was not synced, for tests: everything that it does follows from a seed.
//!
//! It keeps two contents of each file, what the page cache shows and what the disk has, and the order in which names
//! changed. A cut of the power keeps, loses or tears each sector that was not synced, and keeps the first so many changes
//! of names. A sync that fails writes any of the dirty sectors and marks all clean: a later one returns success without
//! them. A killed process leaves the page cache; where that lies about a failed sync, the truth may show then.
//!
//! It models neither a disk that lies about syncs nor one that loses sectors at rest, but for [`World::rot`], which also makes
//! sectors unreadable.

use super::{
    super::disk::{Disk, DiskFile},
    contents::{BLOCK, Contents},
};
pub use super::{
    faults::{Faults, Sabotage},
    random::Random,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, IoSlice},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

#[derive(Debug, Clone)]
enum Change {
    Link(String, u64),
    Unlink(String),
    Rename(String, String),
}

/// What a simulated disk is made of. Tests change it between operations.
#[derive(Debug, Clone)]
pub struct World {
    random: Random,
    files: BTreeMap<u64, Contents>,
    next_file: u64,
    names: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    pending: Vec<Change>,
    generation: u64,
    is_locked: bool,
    crashed: bool,
    /// What fails.
    pub faults: Faults,
    /// The operation that is the last one before a crash.
    pub crash_in: Option<u64>,
    /// How many octets all files may have together.
    pub capacity: u64,
    /// A sync that does nothing.
    pub sabotage: Option<Sabotage>,
    /// How many syncs of files were asked for and came.
    pub syncs: u64,
}

fn crash() -> io::Error {
    io::Error::other("the machine has crashed")
}

impl World {
    /// Whether the operation that was to be the last has been tried.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.crashed
    }

    /// The power is cut and comes back.
    pub fn cut_power(&mut self) {
        let kept = self.random.below(self.pending.len() as u64 + 1) as usize;
        for change in self.pending.drain(..).take(kept) {
            apply(&mut self.durable, change);
        }
        self.names = self.durable.clone();
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        self.files.retain(|id, _| named.contains(id));
        for contents in self.files.values_mut() {
            contents.scatter(&mut self.random);
            if self.random.once_in(2) && contents.disk.len() < contents.cache.len() {
                contents.disk.resize(contents.cache.len(), 0);
            }
            contents.cache.clone_from(&contents.disk);
            contents.lied.clear();
        }
        self.restart();
    }

    /// The process is killed. The page cache stays, but where it lies it may be dropped.
    pub fn kill(&mut self) {
        for contents in self.files.values_mut() {
            if self.random.once_in(2) {
                for sector in std::mem::take(&mut contents.lied) {
                    let from = sector * BLOCK;
                    let to = (from + BLOCK).min(contents.cache.len());
                    for at in from..to {
                        contents.cache[at] = contents.disk.get(at).copied().unwrap_or(0);
                    }
                }
            }
        }
        self.restart();
    }

    /// The process is killed, and nothing of the page cache is dropped.
    pub fn restart_as_killed(&mut self) {
        self.restart();
    }

    fn restart(&mut self) {
        self.generation += 1;
        self.is_locked = false;
        self.crashed = false;
        self.crash_in = None;
    }

    /// One bit of a file goes wrong, on the disk and in the page cache, or a sector can't be read any more. The file's name;
    /// none where there is no file.
    pub fn rot(&mut self) -> Option<String> {
        let count = self.names.len() as u64;
        let (name, id) = self.names.iter().nth(self.random.below(count) as usize)?;
        let contents = self.files.get_mut(id)?;
        let at = self.random.below(contents.disk.len() as u64) as usize;
        if self.random.once_in(2) && at < contents.disk.len() {
            contents.spoil(at);
            return Some(name.clone());
        }
        let bit = 1 << self.random.below(8);
        *contents.disk.get_mut(at)? ^= bit;
        *contents.cache.get_mut(at)? ^= bit;
        Some(name.clone())
    }

    /// The sector at an offset of a file can't be read from now on.
    pub fn make_unreadable(&mut self, name: &str, at: u32) {
        let contents = self.names.get(name).and_then(|id| self.files.get_mut(id));
        if let Some(contents) = contents {
            contents.spoil(at as usize);
        }
    }

    /// Begins an operation. Whether it is the one during which everything ends.
    fn begin(&mut self, generation: u64) -> io::Result<bool> {
        if self.crashed || generation != self.generation {
            return Err(crash());
        }
        if let Some(left) = &mut self.crash_in {
            *left = left.saturating_sub(1);
            self.crashed = *left == 0;
        }
        Ok(self.crashed)
    }

    /// Begins an operation that changes something.
    fn change(&mut self, generation: u64) -> io::Result<bool> {
        let ends = self.begin(generation)?;
        match self.faults.read_only {
            true => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            false => Ok(ends),
        }
    }

    fn note(&mut self, generation: u64, change: Change) -> io::Result<()> {
        let ends = self.change(generation)?;
        if !ends || self.random.once_in(2) {
            apply(&mut self.names, change.clone());
            self.pending.push(change);
        }
        if ends { Err(crash()) } else { Ok(()) }
    }

    fn used(&self) -> u64 {
        let ids: BTreeSet<&u64> = self.names.values().collect();
        let sizes = ids.into_iter().filter_map(|id| self.files.get(id));
        sizes.map(|contents| contents.cache.len() as u64).sum()
    }

    fn write(&mut self, generation: u64, id: u64, octets: &[u8], at: u64) -> io::Result<()> {
        let ends = self.change(generation)?;
        let fails = self.random.once_in(self.faults.write);
        let at = usize::try_from(at).map_err(|_| crash())?;
        let old = self.files.get(&id).map_or(0, |file| file.cache.len());
        let grows = (at + octets.len()).saturating_sub(old) as u64;
        let full = grows > 0 && self.used() + grows > self.capacity;
        let mut written = octets.len();
        if ends || fails || full {
            written = self.random.below(octets.len() as u64 + 1) as usize;
        }
        if let Some(contents) = self.files.get_mut(&id) {
            let written = if full { 0 } else { written };
            contents.put(at, &octets[..written]);
        }
        match (ends, fails, full) {
            (true, ..) => Err(crash()),
            (_, _, true) => Err(io::ErrorKind::StorageFull.into()),
            (_, true, _) => Err(io::Error::from_raw_os_error(5)),
            _ => Ok(()),
        }
    }

    fn sync(&mut self, generation: u64, id: u64) -> io::Result<()> {
        let ends = self.begin(generation)?;
        let fails = self.random.once_in(self.faults.sync) || self.faults.read_only;
        let Some(contents) = self.files.get_mut(&id) else {
            return Ok(());
        };
        let sabotage = match contents.is_body {
            true => Sabotage::Body,
            false => Sabotage::Segment,
        };
        if ends {
            if self.random.once_in(2) {
                contents.sync();
            }
            return Err(crash());
        }
        if fails {
            let lost = contents.scatter(&mut self.random);
            contents.lied.extend(lost);
            return Err(io::Error::from_raw_os_error(5));
        }
        if self.sabotage != Some(sabotage) {
            contents.sync();
        }
        self.syncs += 1;
        Ok(())
    }

    fn sync_names(&mut self, generation: u64) -> io::Result<()> {
        let ends = self.begin(generation)?;
        if !ends && self.random.once_in(self.faults.directory) {
            return Err(io::Error::from_raw_os_error(5));
        }
        if self.sabotage != Some(Sabotage::Directory) && (!ends || self.random.once_in(2)) {
            for change in self.pending.drain(..) {
                apply(&mut self.durable, change);
            }
        }
        if ends { Err(crash()) } else { Ok(()) }
    }
}

fn apply(names: &mut BTreeMap<String, u64>, change: Change) {
    match change {
        Change::Link(name, id) => drop(names.insert(name, id)),
        Change::Unlink(name) => drop(names.remove(&name)),
        Change::Rename(from, to) => {
            if let Some(id) = names.remove(&from) {
                names.insert(to, id);
            }
        }
    }
}

/// A simulated disk, as one run of a process sees it. After a crash, a new one is needed.
#[derive(Debug, Clone)]
pub struct Simulated {
    world: Arc<Mutex<World>>,
    generation: u64,
}

impl Simulated {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64) -> Simulated {
        let world = World {
            random: Random::new(seed),
            files: BTreeMap::new(),
            next_file: 0,
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            pending: Vec::new(),
            generation: 0,
            is_locked: false,
            crashed: false,
            faults: Faults::default(),
            crash_in: None,
            capacity: u64::MAX,
            sabotage: None,
            syncs: 0,
        };
        Simulated {
            world: Arc::new(Mutex::new(world)),
            generation: 0,
        }
    }

    /// What the disk is made of.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk as the next process sees it.
    #[must_use]
    pub fn again(&self) -> Simulated {
        let generation = self.world().generation;
        Simulated {
            world: Arc::clone(&self.world),
            generation,
        }
    }

    /// Another disk with the same contents.
    #[must_use]
    pub fn copy(&self) -> Simulated {
        let mut world = self.world().clone();
        (world.faults, world.capacity, world.crash_in) = (Faults::default(), u64::MAX, None);
        Simulated {
            generation: world.generation,
            world: Arc::new(Mutex::new(world)),
        }
    }

    fn file(&self, id: u64) -> SimulatedFile {
        SimulatedFile {
            disk: self.clone(),
            id,
        }
    }
}

/// Ownership of a simulated disk.
#[derive(Debug)]
pub struct SimulatedLock(Simulated);

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut world = self.0.world();
        if world.generation == self.0.generation {
            world.is_locked = false;
        }
    }
}

impl Disk for Simulated {
    type File = SimulatedFile;
    type Lock = SimulatedLock;

    fn lock(&self) -> io::Result<SimulatedLock> {
        let mut world = self.world();
        world.begin(self.generation)?;
        if world.is_locked {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        world.is_locked = true;
        Ok(SimulatedLock(self.clone()))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut world = self.world();
        world.begin(self.generation)?;
        Ok(world.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<SimulatedFile> {
        let mut world = self.world();
        if world.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = world.next_file;
        world.next_file += 1;
        let mut contents = Contents::default();
        contents.is_body = name.starts_with("body-");
        world.files.insert(id, contents);
        world.note(self.generation, Change::Link(name.to_owned(), id))?;
        Ok(self.file(id))
    }

    fn open(&self, name: &str) -> io::Result<SimulatedFile> {
        let mut world = self.world();
        world.begin(self.generation)?;
        let id = world.names.get(name).copied();
        Ok(self.file(id.ok_or(io::ErrorKind::NotFound)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let change = Change::Rename(from.to_owned(), to.to_owned());
        self.world().note(self.generation, change)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.world()
            .note(self.generation, Change::Unlink(name.to_owned()))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.world().sync_names(self.generation)
    }

    fn free(&self) -> io::Result<u64> {
        let mut world = self.world();
        world.begin(self.generation)?;
        Ok(world.capacity.saturating_sub(world.used()))
    }

    fn random(&self) -> io::Result<u64> {
        Ok(self.world().random.draw())
    }
}

/// A file of a simulated disk.
#[derive(Debug, Clone)]
pub struct SimulatedFile {
    disk: Simulated,
    id: u64,
}

impl DiskFile for SimulatedFile {
    fn octets(&self) -> io::Result<u64> {
        let mut world = self.disk.world();
        world.begin(self.disk.generation)?;
        Ok(world
            .files
            .get(&self.id)
            .map_or(0, |file| file.cache.len() as u64))
    }

    fn write_at(&self, pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let octets: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| piece.iter())
            .copied()
            .collect();
        let mut world = self.disk.world();
        world.write(self.disk.generation, self.id, &octets, offset)
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut world = self.disk.world();
        world.begin(self.disk.generation)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let contents = world.files.get(&self.id);
        if contents.is_some_and(|contents| !contents.is_readable(from, into.len())) {
            return Err(io::Error::from_raw_os_error(5));
        }
        let cache = world
            .files
            .get(&self.id)
            .and_then(|file| file.cache.get(from..));
        let found = cache.unwrap_or_default();
        let octets = found.len().min(into.len());
        into[..octets].copy_from_slice(&found[..octets]);
        Ok(octets)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.world().sync(self.disk.generation, self.id)
    }
}
