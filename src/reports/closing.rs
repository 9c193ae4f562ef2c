//! An interval that is over: its reports are written, and then the control thread is asked for what the DNS says of the
//! addresses that should get them.
//!
//! All reports are written first. Of the questions, none waits for long for another: each has a time of its own, and those
//! of one owner's domains can't take all places.

use super::{
    Answered, Settings, Wanted,
    journal::Interval,
    outgoing,
    table::{Table, owner},
};
use crate::{files, policy::authentication::dmarc::Consent};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs, io,
    path::PathBuf,
};

/// How long the DNS is waited for about one report, seconds; what is not known then is told as unknown.
pub const CONSENT_WAIT_MAX: u64 = 60;
/// Reports whose addresses are looked up at the same time, of one interval.
pub const ASKED_MAX: usize = 16;
/// How many of these may be about domains that seem to have one owner.
pub const ASKED_OF_OWNER_MAX: usize = 4;
/// Reports written before the thread looks at the queue of messages again.
const WRITTEN_AT_ONCE: usize = 16;

/// An interval that is over.
pub struct Closing {
    /// Which one.
    pub interval: Interval,
    /// What was seen in it.
    pub table: Table,
    /// Domains whose reports are still to be written.
    left: VecDeque<Box<str>>,
    /// Domains whose addresses are still to be looked up.
    unasked: VecDeque<Box<str>>,
    /// Domains whose addresses are being looked up.
    asked: BTreeMap<Box<str>, Asked>,
    /// Addresses that have been.
    known: VecDeque<Answered>,
}

struct Asked {
    uris: Vec<Box<str>>,
    /// Until when the answer is waited for.
    due: u64,
}

impl Closing {
    /// Nothing is written of it yet.
    #[must_use]
    pub fn new(interval: Interval, table: Table) -> Closing {
        Closing {
            left: table.domains().map(Box::from).collect(),
            interval,
            table,
            unasked: VecDeque::new(),
            asked: BTreeMap::new(),
            known: VecDeque::new(),
        }
    }

    /// The file that holds what was seen until all is written.
    #[must_use]
    pub fn path(settings: &Settings, interval: &Interval) -> PathBuf {
        settings.directory.join(format!("closing-{}", interval.id))
    }

    /// Removes that file, once the names of the reports are on the disk: a machine that stops keeps the one or the others.
    ///
    /// # Errors
    /// The folder can't be synced, or the file can't be removed.
    pub fn remove(&self, settings: &Settings) -> io::Result<()> {
        files::sync_folder(&settings.directory)?;
        match fs::remove_file(Closing::path(settings, &self.interval)) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why),
            _ => Ok(()),
        }
    }

    /// Messages that no report tells of yet.
    #[must_use]
    pub fn untold(&self) -> u64 {
        let reports = self.left.iter().map(|domain| self.table.report(domain));
        let rows = reports.flatten().flat_map(|report| report.rows.values());
        rows.sum()
    }

    /// The addresses of a report have been looked up.
    pub fn answered(&mut self, answered: Answered) {
        self.known.push_back(answered);
    }

    /// Writes what can be written by now, and counts `reports`. Whether all is done.
    ///
    /// # Errors
    /// The folder takes nothing.
    pub fn go_on(
        &mut self,
        settings: &Settings,
        now: u64,
        reports: &mut u64,
        wanted: &mut Vec<Wanted>,
    ) -> io::Result<bool> {
        self.write_reports(settings, reports)?;
        self.write_notes(settings, now)?;
        self.ask(now, wanted);
        Ok(self.left.is_empty() && self.unasked.is_empty() && self.asked.is_empty())
    }

    fn write_reports(&mut self, settings: &Settings, reports: &mut u64) -> io::Result<()> {
        for _ in 0..WRITTEN_AT_ONCE {
            let Some(domain) = self.left.front() else {
                break;
            };
            if let Some(report) = self.table.report(domain) {
                outgoing::report(settings, &self.interval, domain, report)?;
                *reports += 1;
                self.unasked.push_back(domain.clone());
            }
            self.left.pop_front();
        }
        Ok(())
    }

    /// Writes which addresses should get the reports: those that are known, or are waited for no longer. At most
    /// [`ASKED_MAX`] files, because no more are waited for.
    // INV-LIMIT
    fn write_notes(&mut self, settings: &Settings, now: u64) -> io::Result<()> {
        while let Some(known) = self.known.front() {
            if let Some(asked) = self.asked.get(&known.domain) {
                let (domain, uris) = (&known.domain, &asked.uris);
                outgoing::recipients(settings, &self.interval, domain, uris, &known.consents)?;
                self.asked.remove(&known.domain);
            }
            self.known.pop_front();
        }
        while let Some((domain, asked)) = self.asked.iter().find(|(_, asked)| now > asked.due) {
            let unknown = vec![Consent::Unknown; asked.uris.len()];
            outgoing::recipients(settings, &self.interval, domain, &asked.uris, &unknown)?;
            let domain = domain.clone();
            self.asked.remove(&domain);
        }
        Ok(())
    }

    fn ask(&mut self, now: u64, wanted: &mut Vec<Wanted>) {
        let mut of_owner: HashMap<&str, usize> = HashMap::new();
        for domain in self.asked.keys() {
            *of_owner.entry(owner(domain)).or_default() += 1;
        }
        let free = ASKED_MAX.saturating_sub(self.asked.len());
        let mut next = Vec::new();
        for (at, domain) in self.unasked.iter().enumerate() {
            if next.len() >= free {
                break;
            }
            let asked = of_owner.entry(owner(domain)).or_default();
            if *asked < ASKED_OF_OWNER_MAX {
                *asked += 1;
                next.push(at);
            }
        }
        drop(of_owner);
        // From the last, so that the places of the others stay.
        let next = next.into_iter().rev();
        let mut next: Vec<Box<str>> = next.filter_map(|at| self.unasked.remove(at)).collect();
        next.reverse();
        for domain in next {
            let Some(report) = self.table.report(&domain) else {
                continue;
            };
            let uris = report.published.uris.clone();
            wanted.push(Wanted {
                report: self.interval.id.as_str().into(),
                domain: domain.clone(),
                uris: uris.clone(),
            });
            let due = now + CONSENT_WAIT_MAX;
            self.asked.insert(domain, Asked { uris, due });
        }
    }
}
