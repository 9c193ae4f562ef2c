//! The oracle's look at a spool after a start.

use super::simulator::Simulated;
use super::{
    super::{
        log::Log,
        options::Options,
        read::{ReadError, StoredBody},
        recover,
        report::Report,
    },
    oracle::{End, Oracle, Outcome},
};
use std::collections::BTreeSet;

impl Oracle {
    /// Index files must say what the segments say.
    pub(super) fn compare(&mut self, disk: &Simulated) -> Outcome<()> {
        if self.tally.rotted > 0 || !self.random.once_in(4) {
            return Ok(());
        }
        let mut found = Vec::new();
        for verify_bodies in [false, true] {
            let options = Options {
                verify_bodies,
                ..self.options()
            };
            let opened = recover::open(disk.copy(), options, self.now_ms);
            let (log, report) = opened.map_err(|why| format!("a copy does not start: {why:?}"))?;
            self.tally.sealed += report.sealed;
            let index = log.shared().index();
            let epochs = index.segments().keys();
            let pinned: Vec<_> = epochs.map(|epoch| (*epoch, index.pinned(*epoch))).collect();
            let next = log.shared().unused_sequence();
            found.push((index.page(0, usize::MAX), pinned, next));
        }
        match found[0] == found[1] {
            true => Ok(()),
            false => Err(format!("an index file lies: {found:?}")),
        }
    }

    /// Compares what the spool has with what was promised.
    pub(super) fn check(&mut self, log: &Log<Simulated>, report: &Report) -> Outcome<()> {
        let rotted = self.tally.rotted > 0;
        if !rotted && (report.damaged > 0 || report.set_aside > 0) {
            return Err(format!("damage without rot: {report:?}"));
        }
        let live: BTreeSet<u64> = {
            let page = log.shared().index().page(0, usize::MAX);
            page.into_iter().map(|(sequence, _)| sequence).collect()
        };
        if let Some(sequence) = live.iter().find(|live| !self.sent.contains_key(live)) {
            return Err(format!("message {sequence} was never sent"));
        }
        let excused = rotted && self.damaged;
        for (sequence, sent) in &mut self.sent {
            let is_live = live.contains(sequence);
            match (is_live, sent.promised, sent.end) {
                (false, true, End::Open) if !excused => {
                    return Err(format!("message {sequence} is lost"));
                }
                (true, _, End::Told) if !excused => {
                    return Err(format!("message {sequence} is back from its end"));
                }
                (true, false, _) if sent.never && !rotted => {
                    return Err(format!("message {sequence} was refused and is there"));
                }
                (true, false, _) => self.tally.surplus += 1,
                _ => {}
            }
            (sent.promised, sent.never) = (is_live, !is_live);
            sent.end = if is_live { End::Open } else { End::Told };
        }
        self.open.clear();
        for sequence in live {
            self.fetch(log, sequence, excused)?;
        }
        Ok(())
    }

    /// Reads a message and compares it.
    pub(super) fn fetch(
        &mut self,
        log: &Log<Simulated>,
        sequence: u64,
        excused: bool,
    ) -> Outcome<()> {
        let rotted = self.tally.rotted > 0;
        let found = match log.shared().fetch(sequence) {
            Ok(found) => found,
            Err(ReadError::Damaged) if rotted => {
                self.tally.set_aside += 1;
                return Ok(());
            }
            Err(ReadError::Io(_)) => return Ok(()),
            Err(why) => return Err(format!("message {sequence} can't be read: {why:?}")),
        };
        let mut body = Vec::new();
        match found.body {
            StoredBody::Inline(octets) => body = octets,
            StoredBody::File(mut reader) => loop {
                match reader.read() {
                    Ok(Some(octets)) => body.extend(octets),
                    Ok(None) => break,
                    Err(why) if why.kind() == std::io::ErrorKind::InvalidData && rotted => {
                        self.tally.set_aside += 1;
                        return Ok(());
                    }
                    Err(why) if why.kind() == std::io::ErrorKind::InvalidData => {
                        return Err(format!("the body of {sequence} is damaged"));
                    }
                    Err(_) => return Ok(()),
                }
            },
        }
        let sent = self.sent.get_mut(&sequence).ok_or("never sent")?;
        let mut accept = found.accept;
        (accept.body_octets, accept.body_in_file) = (0, false);
        if accept != sent.accept || body != sent.body {
            return Err(format!("message {sequence} is not what was sent"));
        }
        let known = found.state == sent.state
            || found
                .state
                .as_ref()
                .is_some_and(|state| sent.asked.contains(state))
            || excused
                && found
                    .state
                    .as_ref()
                    .is_none_or(|state| sent.all.contains(state));
        if !known {
            return Err(format!("message {sequence} has a state that was not told"));
        }
        if found.state != sent.state {
            sent.state = found.state;
            sent.asked.clear();
        }
        Ok(())
    }
}
