//! The thread that adds up what the workers have seen, keeps it on disk, and writes the reports when an interval is over.
//!
//! Time is passed in, in seconds since 1970.

use super::{
    Answered, Settings, Wanted,
    closing::Closing,
    journal::{self, Interval, Journal},
    seen::Seen,
    table::Table,
};
use crate::{files, log::say};
use std::{
    collections::VecDeque,
    fs::{self, File},
    io,
    path::PathBuf,
};

/// How often what has been seen is put on disk, seconds: what a kill loses.
pub const WRITE_EVERY: u64 = 60;
/// Intervals that are over and not yet written: those of the process before, and ours. The oldest gives way.
pub const CLOSING_MAX: usize = 3;

/// What a collector does.
pub struct Collector {
    settings: Settings,
    interval: Interval,
    /// The folder's lock, where we have it.
    folder: Option<File>,
    /// All that has been seen in the interval, and what of it is not on disk.
    table: Table,
    fresh: Table,
    journal: Journal,
    written_at: u64,
    /// Intervals that are over, the oldest first.
    closing: VecDeque<Closing>,
    /// What could not be done last time, so that it is said once: with the journal, with reports.
    trouble: [Option<String>; 2],
    /// When reports are tried again that could not be written.
    again_at: u64,
    told: Told,
}

/// What the collector did since it was asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Reports written.
    pub reports: u64,
    /// Messages that no report will tell of, for there was no room.
    pub lost: u64,
}

impl Collector {
    /// Goes on where the process before has stopped.
    #[must_use]
    pub fn new(settings: Settings, now: u64) -> Collector {
        let mut collector = Collector {
            interval: settings.interval_at(now),
            journal: Journal::new(settings.directory.join("collecting")),
            settings,
            folder: None,
            table: Table::default(),
            fresh: Table::default(),
            written_at: now,
            closing: VecDeque::new(),
            trouble: [None, None],
            again_at: 0,
            told: Told::default(),
        };
        let taken = collector.take_folder(now);
        collector.note(0, "can't be written to", taken);
        collector
    }

    /// Takes the folder, if no other process has it: one that is being replaced writes until it ends. Goes on with what is
    /// there.
    fn take_folder(&mut self, now: u64) -> io::Result<()> {
        if self.folder.is_some() {
            return Ok(());
        }
        fs::create_dir_all(&self.settings.directory)?;
        let lock = files::open_lock(&self.settings.directory.join("lock"))?;
        lock.try_lock()
            .map_err(|_| io::Error::other("another process has it"))?;
        // What was over while we waited is in memory alone so far.
        for closing in &self.closing {
            let path = Closing::path(&self.settings, &closing.interval);
            let empty = Table::default();
            Journal::new(path).add(&closing.interval, &empty, &closing.table)?;
        }
        self.read_closing()?;
        if let Some((interval, table)) = journal::read(&self.collecting_path())? {
            // It may be over by now, and still be the one that we have collected for meanwhile.
            let is_ours =
                (interval.begin, interval.end) == (self.interval.begin, self.interval.end);
            if is_ours || now <= interval.end {
                self.interval = interval;
                self.told.lost += self.table.merge(table);
            } else {
                let path = Closing::path(&self.settings, &interval);
                fs::rename(self.collecting_path(), path)?;
                self.close_later(Closing::new(interval, table));
            }
        }
        self.folder = Some(lock);
        Ok(())
    }

    /// Goes on with reports that the process before has not written all. Those that are too many wait for the next start.
    fn read_closing(&mut self) -> io::Result<()> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.settings.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.strip_prefix("closing-"));
            let is_ours = id.is_some_and(|id| !id.contains('.'));
            // A link or a FIFO that others have put there must not take the place of one of ours.
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            if is_ours && is_file && paths.len() < CLOSING_MAX {
                paths.push(entry.path());
            }
        }
        for path in paths {
            let Some((interval, table)) = journal::read(&path)? else {
                continue;
            };
            let mut ours = self.closing.iter();
            if self.closing.len() < CLOSING_MAX && !ours.any(|closing| closing.interval == interval)
            {
                self.closing.push_back(Closing::new(interval, table));
            }
        }
        let closing = self.closing.make_contiguous();
        closing.sort_by_key(|closing| closing.interval.begin);
        Ok(())
    }

    /// Reports that could not be written for some intervals give way to those after them.
    // INV-LIMIT
    fn close_later(&mut self, closing: Closing) {
        if self.closing.len() >= CLOSING_MAX
            && let Some(before) = self.closing.pop_front()
        {
            self.told.lost += before.untold();
            if self.folder.is_some() {
                // What is left there is tried again at the next start.
                let _ = before.remove(&self.settings);
            }
        }
        self.closing.push_back(closing);
    }

    fn collecting_path(&self) -> PathBuf {
        self.settings.directory.join("collecting")
    }

    /// Adds a message.
    pub fn take(&mut self, seen: Seen, now: u64) {
        if now > self.interval.end {
            self.turn(now);
        }
        match self.table.add(seen.clone(), 1) {
            // A row that is in the whole has room in the part.
            true => drop(self.fresh.add_again(seen, 1)),
            false => self.told.lost += 1,
        }
    }

    /// What is due by now: an interval that is over, the disk, reports. What is to be looked up goes to `wanted`.
    pub fn look(&mut self, now: u64, wanted: &mut Vec<Wanted>) -> Told {
        if now > self.interval.end {
            self.turn(now);
        }
        // A clock that was set back must not stop the writing.
        if now >= self.written_at + WRITE_EVERY || now < self.written_at {
            self.write(now);
        }
        if !self.closing.is_empty() && self.folder.is_some() && now >= self.again_at {
            let closed = self.close(now, wanted);
            self.again_at = match closed {
                Ok(()) => 0,
                Err(_) => now + WRITE_EVERY,
            };
            self.note(1, "takes no reports", closed);
        }
        std::mem::take(&mut self.told)
    }

    /// Puts what has been seen on disk.
    pub fn write(&mut self, now: u64) {
        self.written_at = now;
        let taken = self.take_folder(now);
        let written = taken.and_then(|()| match self.table.is_empty() {
            true => Ok(()),
            false => self.journal.add(&self.interval, &self.fresh, &self.table),
        });
        if written.is_ok() {
            self.fresh = Table::default();
        }
        self.note(0, "can't be written to", written);
    }

    /// The interval is over: another begins.
    fn turn(&mut self, now: u64) {
        if !self.table.is_empty() {
            self.write(now);
            if self.folder.is_some() {
                // Where this fails, there is no journal: the reports are written from memory.
                let path = Closing::path(&self.settings, &self.interval);
                let _ = self.journal.close(&path);
            }
            let table = std::mem::take(&mut self.table);
            self.close_later(Closing::new(self.interval.clone(), table));
        }
        self.fresh = Table::default();
        self.journal = Journal::new(self.settings.directory.join("collecting"));
        self.interval = self.settings.interval_at(now);
    }

    /// The addresses of a report have been looked up.
    pub fn answered(&mut self, answered: Answered) {
        let mut closing = self.closing.iter_mut();
        if let Some(closing) = closing.find(|closing| *closing.interval.id == *answered.report) {
            closing.answered(answered);
        }
    }

    /// Writes reports of the intervals that are over, and which addresses should get them.
    fn close(&mut self, now: u64, wanted: &mut Vec<Wanted>) -> io::Result<()> {
        let mut at = 0;
        while let Some(closing) = self.closing.get_mut(at) {
            if !closing.go_on(&self.settings, now, &mut self.told.reports, wanted)? {
                at += 1;
                continue;
            }
            closing.remove(&self.settings)?;
            self.closing.remove(at);
        }
        Ok(())
    }

    /// Says when something begins to go wrong, and when it has ended.
    fn note(&mut self, place: usize, what: &str, outcome: io::Result<()>) {
        let trouble = outcome.err().map(|why| format!("{what}: {why}"));
        if trouble == self.trouble[place] {
            return;
        }
        let folder = self.settings.directory.display();
        match &trouble {
            Some(trouble) => say!(
                Warn,
                "DMARC reports: {folder} {trouble}; what was seen is kept in memory meanwhile"
            ),
            None => say!(Info, "DMARC reports: {folder} is written to again"),
        }
        self.trouble[place] = trouble;
    }
}
