//! The thread that adds up what the workers have seen, keeps it on disk, and writes the reports when an interval is over.
//!
//! Time is passed in, in seconds since 1970.

use super::{
    Answered, Settings, Wanted,
    journal::{self, Interval, Journal},
    outgoing,
    seen::Seen,
    table::Table,
};
use crate::{log::say, policy::authentication::dmarc::Consent};
use std::{
    collections::{BTreeMap, VecDeque},
    fs::{self, File},
    io,
    path::PathBuf,
};

/// How often what has been seen is put on disk, seconds: what a kill loses.
pub const WRITE_EVERY: u64 = 60;
/// How long the DNS is waited for after the end of an interval, seconds; what is not known then is told as unknown.
pub const CONSENT_WAIT_MAX: u64 = 600;
/// Reports whose addresses are looked up at the same time.
pub const ASKED_MAX: usize = 16;

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
    closing: Option<Closing>,
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

/// An interval that is over.
struct Closing {
    interval: Interval,
    table: Table,
    /// Domains whose reports are still to be written.
    left: VecDeque<Box<str>>,
    /// Domains whose addresses are being looked up.
    asked: BTreeMap<Box<str>, Vec<Box<str>>>,
    /// Addresses that have been.
    known: VecDeque<Answered>,
    due: u64,
}

impl Closing {
    fn new(interval: Interval, table: Table, now: u64) -> Closing {
        Closing {
            left: table.domains().map(Box::from).collect(),
            interval,
            table,
            asked: BTreeMap::new(),
            known: VecDeque::new(),
            due: now + CONSENT_WAIT_MAX,
        }
    }
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
            closing: None,
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
        let lock = File::create(self.settings.directory.join("lock"))?;
        lock.try_lock()
            .map_err(|_| io::Error::other("another process has it"))?;
        if let Some((interval, table)) = journal::read(&self.closing_path())? {
            self.close_later(Closing::new(interval, table, now));
        }
        if let Some((interval, table)) = journal::read(&self.collecting_path())? {
            if now > interval.end {
                fs::rename(self.collecting_path(), self.closing_path())?;
                self.close_later(Closing::new(interval, table, now));
            } else {
                self.interval = interval;
                for (published, row, count) in table.rows() {
                    let (published, row) = (published.clone(), row.clone());
                    // It has had room before.
                    let _ = self.table.add(Seen { published, row }, count);
                }
            }
        }
        self.folder = Some(lock);
        Ok(())
    }

    /// Reports that could not be written for a whole interval give way to those after them.
    fn close_later(&mut self, closing: Closing) {
        if let Some(before) = self.closing.replace(closing) {
            let rows = before.table.rows();
            let rows = rows.filter(|(published, ..)| before.left.contains(&published.domain));
            self.told.lost += rows.map(|(.., count)| count).sum::<u64>();
        }
    }

    fn collecting_path(&self) -> PathBuf {
        self.settings.directory.join("collecting")
    }

    fn closing_path(&self) -> PathBuf {
        self.settings.directory.join("closing")
    }

    /// Adds a message.
    pub fn take(&mut self, seen: Seen, now: u64) {
        if now > self.interval.end {
            self.turn(now);
        }
        match self.table.add(seen.clone(), 1) {
            // A row that is in the whole has room in the part.
            true => drop(self.fresh.add(seen, 1)),
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
        if self.closing.is_some() && self.folder.is_some() && now >= self.again_at {
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
                let _ = self.journal.close(&self.closing_path());
            }
            let table = std::mem::take(&mut self.table);
            self.close_later(Closing::new(self.interval.clone(), table, now));
        }
        self.fresh = Table::default();
        self.journal = Journal::new(self.settings.directory.join("collecting"));
        self.interval = self.settings.interval_at(now);
    }

    /// The addresses of a report have been looked up.
    pub fn answered(&mut self, answered: Answered) {
        if let Some(closing) = &mut self.closing {
            closing.known.push_back(answered);
        }
    }

    /// Writes reports of the interval that is over, and who should get them.
    fn close(&mut self, now: u64, wanted: &mut Vec<Wanted>) -> io::Result<()> {
        let Some(closing) = &mut self.closing else {
            return Ok(());
        };
        while closing.asked.len() < ASKED_MAX
            && let Some(domain) = closing.left.front()
        {
            if let Some(report) = closing.table.report(domain) {
                outgoing::report(&self.settings, &closing.interval, domain, report)?;
                self.told.reports += 1;
                let uris = report.published.uris.clone();
                wanted.push(Wanted {
                    domain: domain.clone(),
                    uris: uris.clone(),
                });
                closing.asked.insert(domain.clone(), uris);
            }
            closing.left.pop_front();
        }
        if now > closing.due {
            for (domain, uris) in &closing.asked {
                closing.known.push_back(Answered {
                    domain: domain.clone(),
                    consents: vec![Consent::Unknown; uris.len()],
                });
            }
            closing.due = now + CONSENT_WAIT_MAX;
        }
        while let Some(known) = closing.known.front() {
            if let Some(uris) = closing.asked.get(&known.domain) {
                let (domain, consents) = (&known.domain, &known.consents);
                outgoing::recipients(&self.settings, &closing.interval, domain, uris, consents)?;
                closing.asked.remove(&known.domain);
            }
            closing.known.pop_front();
        }
        if closing.left.is_empty() && closing.asked.is_empty() {
            match fs::remove_file(self.settings.directory.join("closing")) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
                _ => self.closing = None,
            }
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
