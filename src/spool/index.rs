//! What is in the spool: for each message where its records lie and when it is due, for each segment what still needs it.
//!
//! 64 octets a message and about five more for the tree above it; envelopes stay on disk. Messages lie in pages of 16
//! by their sequence, so that a listing goes through them in order. Where fifteen of sixteen are done, the one that is
//! left keeps its page: up to a kilobyte, but never more than the page had cost before.
//!
//! A done record is needed for as long as a segment may hold its message: it would come back at the next start. So
//! segments also count the done records that they hold, by the epochs that these are about.
//!
//! Rejected: a hash map (half its room is empty after each growth, and a listing must sort), one `BTreeMap` entry a
//! message (116 octets where keys come in order).

use super::record::Seed;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// How many pairs of tenant and route are told apart. Messages beyond share the first.
pub const LANES_MAX: usize = 65_536;
/// What a done record takes on the disk, about.
pub const DONE_OCTETS: u64 = 80;

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// The epoch of its segment; zero is nowhere.
    pub epoch: u64,
    /// Its offset.
    pub offset: u32,
    /// How many octets it takes.
    pub octets: u32,
}

/// A message in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Entry {
    /// Its accept record.
    pub accept: Place,
    /// The newest record of its state, if there is one.
    pub state: Place,
    /// When it is due: milliseconds since 1970.
    pub due_ms: u64,
    /// How many octets its body has.
    pub body_octets: u64,
    /// When it came: seconds since 1970.
    pub arrived_s: u32,
    /// The revision of its state; zero before the first.
    pub revision: u32,
    /// Tenant and route: see [`Index::lane`].
    pub lane: u32,
    /// How many attempts there were, 65,535 at most.
    pub attempts: u16,
    /// An operator must release it.
    pub held: bool,
    /// Bits: [`IN_FILE`], [`DAMAGED`].
    pub bits: u8,
}

impl Entry {
    /// How many octets the message takes: its record and the file of its body.
    fn octets(&self) -> u64 {
        let file = if self.bits & IN_FILE == 0 {
            0
        } else {
            self.body_octets
        };
        u64::from(self.accept.octets).saturating_add(file)
    }
}

/// The body has a file of its own.
pub const IN_FILE: u8 = 1;
/// A record or the body can't be read: the message is never delivered, and kept for the operator.
pub const DAMAGED: u8 = 2;

const _: () = assert!(size_of::<Entry>() == 64);
const PAGE: u64 = 16;

#[derive(Debug, Default)]
struct Page {
    present: u16,
    entries: [Entry; PAGE as usize],
}

/// A segment in the index.
#[derive(Debug)]
pub struct Segment<F> {
    /// The open file.
    pub file: Arc<F>,
    /// What its CRCs begin with.
    pub seed: Seed,
    /// How far it was synced: an offset.
    pub end: u32,
    /// Octets of records that messages in the index need.
    pub live: u64,
    /// How many records these are.
    pub records: u64,
    /// Octets in it were damaged: it is kept for the operator.
    pub damaged: bool,
    /// How many done records it holds, by the epochs that they are about.
    dones: BTreeMap<(u64, u64), u64>,
}

impl<F> Segment<F> {
    /// A segment of which nothing is known to be needed.
    pub fn new(file: Arc<F>, seed: Seed, end: u32) -> Segment<F> {
        Segment {
            file,
            seed,
            end,
            live: 0,
            records: 0,
            damaged: false,
            dones: BTreeMap::new(),
        }
    }
}

/// The index of a spool.
#[derive(Debug)]
pub struct Index<F> {
    pages: BTreeMap<u64, Box<Page>>,
    messages: u64,
    octets: u64,
    lanes: Vec<(String, String)>,
    lane_of: HashMap<(String, String), u32>,
    segments: BTreeMap<u64, Segment<F>>,
    /// Segments that were retired but may come back, with their ends: the directory's sync failed.
    limbo: BTreeMap<u64, u32>,
    /// Messages that lie in several segments, with the first of these.
    copies: HashMap<u64, u64>,
}

impl<F> Default for Index<F> {
    fn default() -> Index<F> {
        Index {
            pages: BTreeMap::new(),
            messages: 0,
            octets: 0,
            lanes: vec![Default::default()],
            lane_of: HashMap::new(),
            segments: BTreeMap::new(),
            limbo: BTreeMap::new(),
            copies: HashMap::new(),
        }
    }
}

impl<F> Index<F> {
    /// How many messages there are.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// How many octets they have, with their envelopes.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// A message.
    #[must_use]
    pub fn get(&self, sequence: u64) -> Option<&Entry> {
        let page = self.pages.get(&(sequence / PAGE))?;
        let slot = sequence % PAGE;
        (page.present >> slot & 1 == 1).then(|| &page.entries[slot as usize])
    }

    fn get_mut(&mut self, sequence: u64) -> Option<&mut Entry> {
        let page = self.pages.get_mut(&(sequence / PAGE))?;
        let slot = sequence % PAGE;
        (page.present >> slot & 1 == 1).then(|| &mut page.entries[slot as usize])
    }

    /// Up to `limit` messages from `from` on, by sequence.
    #[must_use]
    pub fn page(&self, from: u64, limit: usize) -> Vec<(u64, Entry)> {
        let pages = self.pages.range(from / PAGE..);
        let all = pages.flat_map(|(number, page)| {
            (0..PAGE)
                .filter(|slot| page.present >> slot & 1 == 1)
                .map(move |slot| (number * PAGE + slot, page.entries[slot as usize]))
        });
        all.skip_while(|(sequence, _)| *sequence < from)
            .take(limit)
            .collect()
    }

    /// Tenant and route of an [`Entry::lane`].
    #[must_use]
    pub fn lane(&self, lane: u32) -> (&str, &str) {
        let lane = self.lanes.get(lane as usize).unwrap_or(&self.lanes[0]);
        (&lane.0, &lane.1)
    }

    /// The number of a tenant and route.
    pub fn lane_of(&mut self, tenant: &str, route: &str) -> u32 {
        let key = (tenant.to_owned(), route.to_owned());
        if let Some(lane) = self.lane_of.get(&key) {
            return *lane;
        }
        if (tenant.is_empty() && route.is_empty()) || self.lanes.len() == LANES_MAX {
            return 0;
        }
        let lane = self.lanes.len() as u32;
        self.lanes.push(key.clone());
        self.lane_of.insert(key, lane);
        lane
    }

    fn need(&mut self, place: Place, records: i64) {
        if let Some(segment) = self.segments.get_mut(&place.epoch) {
            let octets = i64::from(place.octets) * records;
            segment.live = segment.live.saturating_add_signed(octets);
            segment.records = segment.records.saturating_add_signed(records);
        }
    }

    /// A message was accepted. Where it is known, this is a copy of its record: it counts from now on.
    pub fn accept(&mut self, sequence: u64, entry: Entry) {
        self.need(entry.accept, 1);
        if let Some(known) = self.get(sequence).copied() {
            self.need(known.accept, -1);
            let is_early = known.accept.epoch == 0;
            if !is_early && known.accept.epoch != entry.accept.epoch {
                self.copied(sequence, known.accept.epoch);
            }
            self.octets += if is_early { entry.octets() } else { 0 };
            if let Some(slot) = self.get_mut(sequence) {
                *slot = match is_early {
                    true => Entry {
                        state: known.state,
                        due_ms: known.due_ms,
                        revision: known.revision,
                        attempts: known.attempts,
                        held: known.held,
                        ..entry
                    },
                    false => Entry {
                        accept: entry.accept,
                        ..known
                    },
                };
            }
            return;
        }
        self.octets += entry.octets();
        self.insert(sequence, entry);
    }

    fn insert(&mut self, sequence: u64, entry: Entry) {
        let page = self.pages.entry(sequence / PAGE).or_default();
        let slot = sequence % PAGE;
        page.present |= 1 << slot;
        page.entries[slot as usize] = entry;
        self.messages += 1;
    }

    /// Makes place for a message whose state is found before its accept record, which was copied to a later segment.
    /// For a start, which calls [`Index::drop_early`] at its end.
    pub fn expect_later(&mut self, sequence: u64) {
        if self.get(sequence).is_none() {
            self.insert(sequence, Entry::default());
        }
    }

    /// Removes messages whose accept record was not found: they have ended.
    pub fn drop_early(&mut self) {
        let mut from = 0;
        loop {
            let page = self.page(from, 1_000);
            let Some((last, _)) = page.last() else {
                return;
            };
            from = last.saturating_add(1);
            for (sequence, entry) in page {
                if entry.accept.epoch == 0 {
                    self.done(sequence);
                }
            }
        }
    }

    /// Another record of the message lies in the segment of this epoch, and may be found there at the next start.
    fn copied(&mut self, sequence: u64, epoch: u64) {
        let first = self.copies.entry(sequence).or_insert(epoch);
        *first = epoch.min(*first);
    }

    /// The state of a message was written. An older one than is known is left alone.
    pub fn state(
        &mut self,
        sequence: u64,
        place: Place,
        update: impl FnOnce(&mut Entry),
        revision: u32,
    ) {
        let Some(known) = self.get(sequence).copied() else {
            return;
        };
        if revision < known.revision {
            return;
        }
        self.need(known.state, -1);
        self.need(place, 1);
        if let Some(entry) = self.get_mut(sequence) {
            update(entry);
            entry.state = place;
            entry.revision = revision;
        }
    }

    /// The epochs whose segments may hold a message: what its done record tells.
    #[must_use]
    pub fn epochs_of(&self, sequence: u64) -> Option<(u64, u64)> {
        let last = self.get(sequence)?.accept.epoch;
        let first = self.copies.get(&sequence).copied();
        Some((first.map_or(last, |first| first.min(last)), last))
    }

    /// A message has ended. Gives what was known of it.
    pub fn done(&mut self, sequence: u64) -> Option<Entry> {
        let entry = *self.get(sequence)?;
        self.need(entry.accept, -1);
        self.need(entry.state, -1);
        self.copies.remove(&sequence);
        let page = self.pages.get_mut(&(sequence / PAGE))?;
        page.present &= !(1 << (sequence % PAGE));
        if page.present == 0 {
            self.pages.remove(&(sequence / PAGE));
        }
        self.messages -= 1;
        self.octets = self.octets.saturating_sub(entry.octets());
        Some(entry)
    }

    /// Segment `epoch` holds a done record about these epochs.
    pub fn holds_done(&mut self, epoch: u64, about: (u64, u64)) {
        if let Some(segment) = self.segments.get_mut(&epoch) {
            *segment.dones.entry(about).or_default() += 1;
        }
    }

    /// Whether a done record about these epochs must outlive segment `own`: another segment may hold the message.
    #[must_use]
    pub fn is_needed(&self, about: (u64, u64), own: u64) -> bool {
        if about.0 > about.1 {
            return false;
        }
        let other = |epoch: &u64| *epoch != own;
        self.segments
            .range(about.0..=about.1)
            .any(|(epoch, _)| other(epoch))
            || self
                .limbo
                .range(about.0..=about.1)
                .any(|(epoch, _)| other(epoch))
    }

    /// How many octets of a segment must outlive it.
    #[must_use]
    pub fn pinned(&self, epoch: u64) -> u64 {
        let Some(segment) = self.segments.get(&epoch) else {
            return 0;
        };
        let dones = segment.dones.iter();
        let needed = dones.filter(|(about, _)| self.is_needed(**about, epoch));
        let dones: u64 = needed.map(|(_, count)| count).sum();
        segment.live + dones.saturating_mul(DONE_OCTETS)
    }

    /// Whether nothing needs a segment, all of whose done records that are needed were copied: unless it is damaged.
    pub fn is_emptied(&mut self, epoch: u64) -> bool {
        if let Some(segment) = self.segments.get_mut(&epoch)
            && !segment.damaged
        {
            segment.dones.clear();
        }
        self.pinned(epoch) == 0
    }

    /// A message whose records or body can't be read is set aside. Whether it was not before.
    pub fn set_aside(&mut self, sequence: u64) -> bool {
        let Some(entry) = self.get_mut(sequence) else {
            return false;
        };
        let news = entry.bits & DAMAGED == 0;
        entry.bits |= DAMAGED;
        news
    }

    /// The segments by epoch.
    #[must_use]
    pub fn segments(&self) -> &BTreeMap<u64, Segment<F>> {
        &self.segments
    }

    /// Where all segments end, those included that may come back.
    #[must_use]
    pub fn ends(&self) -> Vec<(u64, u32)> {
        let segments = self
            .segments
            .iter()
            .map(|(epoch, segment)| (*epoch, segment.end));
        let limbo = self.limbo.iter().map(|(epoch, end)| (*epoch, *end));
        segments.chain(limbo).collect()
    }

    /// A segment.
    pub fn segment_mut(&mut self, epoch: u64) -> Option<&mut Segment<F>> {
        self.segments.get_mut(&epoch)
    }

    /// A segment counts from now on.
    pub fn add_segment(&mut self, epoch: u64, segment: Segment<F>) {
        self.segments.insert(epoch, segment);
    }

    /// A segment's file has gone, for good or (`is_gone` is false) perhaps.
    pub fn drop_segment(&mut self, epoch: u64, is_gone: bool) {
        let dropped = self.segments.remove(&epoch);
        if !is_gone {
            self.limbo
                .insert(epoch, dropped.map_or(0, |segment| segment.end));
            return;
        }
        // The next segment may hold a copy as well; where that is the one that counts, there is no other.
        let next = self.segments.range(epoch..).next().map(|(next, _)| *next);
        let limbo = self.limbo.range(epoch..).next().map(|(next, _)| *next);
        let next = next.into_iter().chain(limbo).min();
        let mut copies = std::mem::take(&mut self.copies);
        copies.retain(|sequence, first| {
            if *first != epoch {
                return true;
            }
            let last = self.get(*sequence).map_or(0, |entry| entry.accept.epoch);
            *first = next.unwrap_or(u64::MAX);
            *first < last
        });
        self.copies = copies;
    }
}
