//! The start: what the segments say (`scan`), the tail copied, and what is left over removed.
//!
//! The tail was perhaps never synced: the page cache shows what a sync that failed has not written. So it is copied to a
//! fresh segment, which is synced and then renamed, before anything in it counts.

use super::{
    batch::Content,
    body,
    disk::Disk,
    index::IN_FILE,
    log::Log,
    options::Options,
    report::{OpenError, Report},
    request::Purpose,
    scan::{Start, Tail, learn, noted},
    segment::Named,
    shared::Shared,
};
use std::{collections::BTreeSet, io, sync::Arc};

/// Opens the spool in a directory, or makes one. Reads all segments: waits for the disk.
///
/// # Errors
/// See [`OpenError`]. Nothing was changed then, but for names of files that don't count.
pub fn open<D: Disk>(
    disk: D,
    options: Options,
    now_ms: u64,
) -> Result<(Log<D>, Report), OpenError> {
    let lock = disk.lock().map_err(|why| match why.kind() {
        io::ErrorKind::WouldBlock => OpenError::Owned,
        _ => OpenError::Io(why),
    })?;
    let mut start = Start::new(&disk, options);
    let names = names(&disk)?;
    let known = start.headers(&names)?;
    let next_epoch = names.iter().map(|(_, named)| match named {
        Named::Segment(epoch) => epoch.saturating_add(1),
        _ => 1,
    });
    let next_epoch = next_epoch.max().unwrap_or(1);
    let spool = match known.values().next_back() {
        Some(last) => last.header.spool,
        None => u128::from(disk.random()?) << 64 | u128::from(disk.random()?),
    };
    let mut last = (0, 0);
    for (epoch, segment) in &known {
        last = (*epoch, start.segment(segment)?);
    }
    let mut stale = Vec::new();
    for (_, named) in &names {
        match named {
            Named::Body(sequence) => {
                start.next_sequence = start.next_sequence.max(sequence.saturating_add(1));
            }
            Named::Index(epoch) if !known.contains_key(epoch) => stale.push(*named),
            _ => {}
        }
    }
    let spares = start.spares(&names);
    let Start {
        index,
        mut report,
        next_sequence,
        tail,
        unsealed,
        ..
    } = start;
    let shared = Shared::new((disk, lock), index, next_sequence, spool, options.limits);
    let mut log = Log::new(Arc::new(shared), options, last, next_epoch, spares);
    log.removals.extend(stale);
    log.sealing.extend(unsealed);
    log.adopt(tail, &mut report, now_ms)?;
    log.shared.index().drop_early();
    log.bodies(&names, &mut report);
    let (messages, octets) = {
        let index = log.shared.index();
        (index.messages(), index.octets())
    };
    report.messages = messages;
    log.shared.watermarks().set_messages(messages, octets);
    log.look(now_ms);
    Ok((log, report))
}

/// All files, and what their names mean.
fn names<D: Disk>(disk: &D) -> io::Result<Vec<(String, Named)>> {
    // What the directory shows may be what a sync that failed has not written: a name that comes back later would have
    // been taken for gone.
    disk.sync_directory()?;
    let meant = |name: String| {
        let named = Named::of(&name);
        (name, named)
    };
    Ok(disk.list()?.into_iter().map(meant).collect())
}

impl<D: Disk> Log<D> {
    /// Begins a fresh segment with the records of the tail in it, and reads them from there.
    fn adopt(
        &mut self,
        tail: Vec<Tail>,
        report: &mut Report,
        now_ms: u64,
    ) -> Result<(), OpenError> {
        let records: Vec<Content<'_>> = tail.iter().map(content).collect();
        report.tail_records = records.len() as u64;
        #[cfg(test)]
        if self.options.sabotage_tail {
            return self.adopt_in_place(&tail, now_ms);
        }
        let places = self
            .begin_segment(Purpose::Upkeep, &records, now_ms)
            .map_err(OpenError::Refused)?;
        let mut index = self.shared.index();
        for (tail, place) in tail.iter().zip(places) {
            let noted = noted(place.offset, &tail.head, &tail.meta);
            learn(&mut index, noted, place.epoch)?;
        }
        Ok(())
    }

    /// The sabotage of [`Log::adopt`]: the tail counts where it lies.
    #[cfg(test)]
    fn adopt_in_place(&mut self, tail: &[Tail], now_ms: u64) -> Result<(), OpenError> {
        let shared = Arc::clone(&self.shared);
        for tail in tail.iter().filter(|tail| tail.epoch == self.last.0) {
            let mut index = shared.index();
            let Some(segment) = index.segment_mut(tail.epoch) else {
                continue;
            };
            let noted = noted(tail.offset, &tail.head, &tail.meta);
            self.last.1 = (tail.offset + noted.octets).next_multiple_of(super::disk::SECTOR);
            segment.end = self.last.1;
            learn(&mut index, noted, tail.epoch)?;
        }
        self.begin_segment(Purpose::Upkeep, &[], now_ms)
            .map(drop)
            .map_err(OpenError::Refused)
    }

    /// Compares body files with messages.
    fn bodies(&mut self, names: &[(String, Named)], report: &mut Report) {
        let bodies = names.iter().filter_map(|(_, named)| match named {
            Named::Body(sequence) => Some(*sequence),
            _ => None,
        });
        let bodies: BTreeSet<u64> = bodies.collect();
        let mut from = 0;
        loop {
            let page = self.shared.index().page(from, 1_000);
            let Some((last, _)) = page.last() else {
                break;
            };
            from = last.saturating_add(1);
            for (sequence, entry) in page {
                if entry.bits & IN_FILE != 0 && !bodies.contains(&sequence) {
                    self.shared.set_aside(sequence);
                    report.set_aside += 1;
                }
            }
        }
        for sequence in bodies {
            if self.shared.index().get(sequence).is_none() {
                report.orphans += 1;
                // Where records were lost, one of them may have named this file.
                if report.damaged == 0 {
                    drop(self.shared.disk.remove(&body::name(sequence)));
                }
            }
        }
    }
}

fn content(tail: &Tail) -> Content<'_> {
    Content {
        kind: tail.head.kind,
        sequence: tail.head.sequence,
        revision: tail.head.revision,
        meta: &tail.meta,
        body: &tail.body,
    }
}
