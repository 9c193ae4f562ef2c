//! What arrived, of each run, by number: the sink's half of the reconciliation.
//!
//! The tallies are one for all workers, behind a lock that a message holds for some tens of nanoseconds: so a second
//! copy is known for one as soon as it is there, whichever worker took the first.
//!
//! Memory is bounded: [`RUNS_MAX`] runs, the one that was heard of longest ago makes room; of each run pages of
//! [`PAGE`] messages, made when the first message of a page arrives.

use crate::{
    ledger::{Arrival, MESSAGES_MAX, Tally},
    stamp::{RunId, Stamp},
};
use serde::{Deserialize, Serialize};

/// Runs that are kept.
pub const RUNS_MAX: usize = 16;
/// Messages of a page: 256 KiB.
const PAGE: usize = 1 << 16;

/// What is known of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunCounts {
    /// Its id, in hex.
    pub run: String,
    /// Different messages.
    pub messages: u64,
    /// Transactions: more than messages where a proxy splits recipients or sends twice.
    pub copies: u64,
    /// Recipients of all copies.
    pub recipients: u64,
    /// Copies with a wrong checksum or length.
    pub damaged: u64,
}

/// The tallies of all runs.
#[derive(Default)]
pub struct Tallies {
    /// The one that was heard of last stands last.
    runs: Vec<Run>,
}

struct Run {
    id: RunId,
    pages: Vec<Option<Box<[Arrival]>>>,
    counts: RunCounts,
}

/// What a message turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The first copy of it.
    First,
    /// It has been here before.
    Again,
    /// Its number is none that a run can have.
    Foreign,
}

impl Tallies {
    /// Enters a message.
    pub fn enter(&mut self, stamp: &Stamp, recipients: u64, damaged: bool) -> Seen {
        if stamp.number >= MESSAGES_MAX {
            return Seen::Foreign;
        }
        let run = self.run(stamp.run);
        let counts = &mut run.counts;
        counts.copies += 1;
        counts.recipients += recipients;
        counts.damaged += u64::from(damaged);
        let number = stamp.number as usize;
        if run.pages.len() <= number / PAGE {
            run.pages.resize_with(number / PAGE + 1, || None);
        }
        let page = run.pages[number / PAGE]
            .get_or_insert_with(|| vec![Arrival::default(); PAGE].into_boxed_slice());
        let arrival = &mut page[number % PAGE];
        let recipients = u16::try_from(recipients).unwrap_or(u16::MAX);
        arrival.recipients = arrival.recipients.saturating_add(recipients);
        arrival.copies = arrival.copies.saturating_add(1);
        arrival.damaged = arrival.damaged.saturating_add(u8::from(damaged));
        if arrival.copies > 1 {
            return Seen::Again;
        }
        run.counts.messages += 1;
        Seen::First
    }

    /// The run with this id, now last in line; made where there is none.
    fn run(&mut self, id: RunId) -> &mut Run {
        // Nearly always it is the last one.
        match self.runs.iter().rposition(|run| run.id == id) {
            Some(at) => self.runs[at..].rotate_left(1),
            None => {
                if self.runs.len() == RUNS_MAX {
                    self.runs.remove(0);
                }
                self.runs.push(Run {
                    id,
                    pages: Vec::new(),
                    counts: RunCounts {
                        run: id.to_string(),
                        ..RunCounts::default()
                    },
                });
            }
        }
        self.runs.last_mut().expect("it was just put there")
    }

    /// What arrived of a run; `None` where it was never heard of (or made room for others).
    #[must_use]
    pub fn tally(&self, id: RunId) -> Option<Tally> {
        let run = self.runs.iter().find(|run| run.id == id)?;
        let mut arrivals = Vec::with_capacity(run.pages.len() * PAGE);
        for page in &run.pages {
            match page {
                Some(page) => arrivals.extend_from_slice(page),
                None => arrivals.resize(arrivals.len() + PAGE, Arrival::default()),
            }
        }
        let used = arrivals
            .iter()
            .rposition(|arrival| *arrival != Arrival::default());
        arrivals.truncate(used.map_or(0, |last| last + 1));
        Some(Tally { run: id, arrivals })
    }

    /// The runs that are known, the one that was heard of last stands last.
    #[must_use]
    pub fn runs(&self) -> Vec<RunId> {
        self.runs.iter().map(|run| run.id).collect()
    }

    /// Sums of each of them.
    #[must_use]
    pub fn counts(&self) -> Vec<RunCounts> {
        self.runs.iter().map(|run| run.counts.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn stamp(run: u64, number: u32) -> Stamp {
        Stamp {
            run: RunId(run),
            number,
            sum: 0,
            octets: 0,
        }
    }

    #[test]
    fn copies_and_recipients_are_counted_by_number() {
        let mut tallies = Tallies::default();
        assert_eq!(tallies.enter(&stamp(1, 0), 3, false), Seen::First);
        assert_eq!(tallies.enter(&stamp(1, 70_000), 1, true), Seen::First);
        assert_eq!(tallies.enter(&stamp(2, 0), 1, false), Seen::First);
        assert_eq!(tallies.enter(&stamp(1, 0), 2, false), Seen::Again);
        assert_eq!(
            tallies.enter(&stamp(1, MESSAGES_MAX), 1, false),
            Seen::Foreign
        );
        let tally = tallies.tally(RunId(1)).unwrap();
        assert_eq!(tally.arrivals.len(), 70_001);
        let (first, last) = (tally.arrivals[0], tally.arrivals[70_000]);
        assert_eq!((first.recipients, first.copies, first.damaged), (5, 2, 0));
        assert_eq!((last.recipients, last.copies, last.damaged), (1, 1, 1));
        assert_eq!(tallies.runs(), [RunId(2), RunId(1)]);
        let counts = &tallies.counts()[1];
        assert_eq!(
            (
                counts.messages,
                counts.copies,
                counts.recipients,
                counts.damaged
            ),
            (2, 3, 6, 1)
        );
        assert!(tallies.tally(RunId(3)).is_none());
    }

    #[test]
    fn the_run_heard_of_longest_ago_makes_room() {
        let mut tallies = Tallies::default();
        for run in 0..RUNS_MAX as u64 {
            tallies.enter(&stamp(run, 0), 1, false);
        }
        tallies.enter(&stamp(0, 1), 1, false);
        tallies.enter(&stamp(99, 0), 1, false);
        assert!(tallies.tally(RunId(1)).is_none());
        assert!(tallies.tally(RunId(0)).is_some() && tallies.tally(RunId(99)).is_some());
        assert_eq!(tallies.runs().len(), RUNS_MAX);
    }
}
