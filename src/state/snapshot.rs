//! What several tables hold at one moment, as octets and back.
//!
//! ```text
//! "gatepost state\n"  version (4)  secret (16)  moment (8: µs since 1970)  sections (4)
//! a section:  length of its name (1)  name  shape (8)  entries (8)  entries (16 each)
//! SHA-256 of all of it (32)
//! ```
//! Numbers are little-endian. A reader takes a file of its own version only: what is in it is worth a minute's counts, and not
//! the code to convert it.

use super::Secret;
use aws_lc_rs::digest::{SHA256, digest};

const MAGIC: &[u8] = b"gatepost state\n";
const VERSION: u32 = 1;
const DIGEST: usize = 32;
/// Sections of a snapshot.
const SECTIONS_MAX: usize = 64;
/// Octets of an entry.
const ENTRY: usize = 16;

/// This moment, by the clock that ticks are counted by and by the calendar. Ticks start anew with the machine, so that a
/// snapshot has times of the calendar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// In ticks: microseconds.
    pub tick: u64,
    /// In microseconds since 1970.
    pub unix: u64,
}

impl Moment {
    /// Seconds since 1970.
    #[must_use]
    pub const fn seconds(&self) -> u64 {
        self.unix / 1_000_000
    }

    /// The calendar's time of a tick in the future; `None` of one that is past.
    #[must_use]
    pub fn unix_of(&self, tick: u64) -> Option<u64> {
        let left = tick.checked_sub(self.tick).filter(|left| *left > 0)?;
        Some(self.unix.saturating_add(left))
    }

    /// The tick of a time in the future; `None` of one that is past.
    #[must_use]
    pub fn tick_of(&self, unix: u64) -> Option<u64> {
        let left = unix.checked_sub(self.unix).filter(|left| *left > 0)?;
        Some(self.tick.saturating_add(left))
    }
}

/// What one table holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Of the table.
    pub name: String,
    /// What its entries mean, where that can change: a table of another shape doesn't take them.
    pub shape: u64,
    /// Each is a key's hash and what is known of it, as the table has them.
    pub entries: Vec<[u64; 2]>,
}

impl Section {
    /// An empty one.
    #[must_use]
    pub fn new(name: &str, shape: u64) -> Section {
        Section {
            name: name.into(),
            shape,
            entries: Vec::new(),
        }
    }
}

/// What all tables hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The keys are hashed with it.
    pub secret: Secret,
    /// When it was made, in microseconds since 1970.
    pub made: u64,
    /// One for each table.
    pub sections: Vec<Section>,
}

impl Snapshot {
    /// The section of a table of this shape.
    #[must_use]
    pub fn section(&self, name: &str, shape: u64) -> Option<&Section> {
        let mut all = self.sections.iter();
        all.find(|section| section.name == name && section.shape == shape)
    }

    /// All entries.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.sections
            .iter()
            .map(|section| section.entries.len())
            .sum()
    }

    /// As octets.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.entries() * ENTRY);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(self.secret.octets());
        out.extend_from_slice(&self.made.to_le_bytes());
        let sections = self.sections.len().min(SECTIONS_MAX);
        out.extend_from_slice(&(sections as u32).to_le_bytes());
        for section in &self.sections[..sections] {
            let name = &section.name.as_bytes()[..section.name.len().min(255)];
            out.push(name.len() as u8);
            out.extend_from_slice(name);
            out.extend_from_slice(&section.shape.to_le_bytes());
            out.extend_from_slice(&(section.entries.len() as u64).to_le_bytes());
            for entry in &section.entries {
                out.extend_from_slice(&entry[0].to_le_bytes());
                out.extend_from_slice(&entry[1].to_le_bytes());
            }
        }
        let sum = digest(&SHA256, &out);
        out.extend_from_slice(sum.as_ref());
        out
    }

    /// The most octets with so many entries.
    #[must_use]
    pub const fn octets_max(entries: usize) -> u64 {
        let around = Snapshot::HEAD + 12 + 16 + DIGEST + SECTIONS_MAX * (1 + 255 + 16);
        (around + entries * ENTRY) as u64
    }

    /// Octets of its magic and its version.
    pub const HEAD: usize = MAGIC.len() + 4;

    /// Whether what begins so can be one.
    ///
    /// # Errors
    /// What is wrong with it, for the operator.
    pub fn look_at_head(octets: &[u8]) -> Result<(), String> {
        let rest = octets.strip_prefix(MAGIC).ok_or("it is no such file")?;
        let (version, _) = rest.split_first_chunk().ok_or_else(cut)?;
        match u32::from_le_bytes(*version) {
            VERSION => Ok(()),
            version => Err(format!(
                "it is of version {version}, and this program writes and reads version {VERSION}"
            )),
        }
    }

    /// From octets.
    ///
    /// # Errors
    /// What is wrong with them, for the operator.
    pub fn decode(octets: &[u8]) -> Result<Snapshot, String> {
        Snapshot::look_at_head(octets)?;
        let (content, sum) = octets.split_last_chunk::<DIGEST>().ok_or_else(cut)?;
        if digest(&SHA256, content).as_ref() != sum {
            return Err("its checksum is wrong: it is damaged or cut short".into());
        }
        // From here on it is as it was written; a length that is wrong all the same must not be believed.
        let content = content.get(Snapshot::HEAD..).ok_or_else(cut)?;
        Reader(content).snapshot().ok_or_else(cut)
    }
}

fn cut() -> String {
    "it is cut short".into()
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn some(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn snapshot(&mut self) -> Option<Snapshot> {
        let secret = Secret::of(self.take()?);
        let made = self.number()?;
        let count = u32::from_le_bytes(self.take()?) as usize;
        if count > SECTIONS_MAX {
            return None;
        }
        let sections = (0..count).map(|_| self.section()).collect::<Option<_>>()?;
        self.0.is_empty().then_some(Snapshot {
            secret,
            made,
            sections,
        })
    }

    fn section(&mut self) -> Option<Section> {
        let [length] = self.take()?;
        let name = std::str::from_utf8(self.some(usize::from(length))?).ok()?;
        let shape = self.number()?;
        let entries = usize::try_from(self.number()?).ok()?;
        let octets = self.some(entries.checked_mul(ENTRY)?)?;
        let number = |octets: &[u8]| octets.try_into().map_or(0, u64::from_le_bytes);
        let entries = octets.chunks_exact(ENTRY);
        Some(Section {
            name: name.into(),
            shape,
            entries: entries
                .map(|entry| [number(&entry[..8]), number(&entry[8..])])
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn snapshot(entries: Vec<[u64; 2]>) -> Snapshot {
        Snapshot {
            secret: Secret::random(),
            made: 1_800_000_000_000_000,
            sections: vec![
                Section::new("empty", 0),
                Section {
                    name: "some".into(),
                    shape: 7,
                    entries,
                },
            ],
        }
    }

    #[test]
    fn what_is_damaged_is_told() {
        let whole = snapshot(vec![[1, 2], [3, 4]]).encode();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert!(Snapshot::decode(&damaged).is_err(), "octet {at}");
            assert!(Snapshot::decode(&whole[..at]).is_err(), "{at} octets");
        }
        let mut newer = whole;
        newer[MAGIC.len()] = 2;
        let why = Snapshot::decode(&newer).expect_err("it is newer");
        assert!(why.contains("version 2"), "{why}");
    }

    #[test]
    fn lengths_are_not_believed() {
        let whole = snapshot(vec![[1, 2]]).encode();
        let content = whole.len() - DIGEST;
        for at in MAGIC.len() + 4..content {
            let mut forged = whole[..content].to_vec();
            forged[at] = 0xff;
            let sum = digest(&SHA256, &forged);
            forged.extend_from_slice(sum.as_ref());
            let _ = Snapshot::decode(&forged);
        }
    }

    #[test]
    fn times_go_by_the_calendar() {
        let before = Moment {
            tick: 5_000,
            unix: 1_000_000,
        };
        let due = before.unix_of(9_000).expect("it is to come");
        assert_eq!((due, before.unix_of(5_000)), (1_004_000, None));
        let after = Moment {
            tick: 10,
            unix: 1_001_000,
        };
        assert_eq!(after.tick_of(due), Some(3_010));
        assert_eq!(after.tick_of(1_000_500), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(entries in proptest::collection::vec(any::<[u64; 2]>(), 0..50)) {
            let whole = snapshot(entries);
            prop_assert_eq!(Snapshot::decode(&whole.encode()), Ok(whole));
        }

        #[test]
        fn noise_is_no_snapshot(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut named = MAGIC.to_vec();
            named.extend_from_slice(&VERSION.to_le_bytes());
            named.extend_from_slice(&octets);
            prop_assert!(Snapshot::decode(&named).is_err());
            prop_assert!(Snapshot::decode(&octets).is_err());
        }
    }
}
