//! A record of the log: a head of 40 octets, what is said (meta), and the body of a message.
//!
//! ```text
//!  0 magic  4 version  5 kind  6 check  8 meta octets  12 body octets  16 sequence
//! 24 synced  28 revision  32 CRC of the body  36 CRC of octets 0 to 35 and the meta  40 meta, body, zeros to 8
//! ```
//!
//! Numbers are little-endian. Both CRCs (CRC32C) begin with the segment's epoch, its salt and the record's offset, so that
//! neither a record of an earlier use of the segment counts, nor one that lies elsewhere, nor one that a sender of mail
//! has forged in a body: the salt is secret.
//!
//! `synced` is how far the segment was synced when the record was written. It tells a start which records had been
//! synced: those before the largest of these numbers.
//!
//! `check` is half a CRC of the head alone: where a scan looks for the next record in damaged octets, it need not read a
//! megabyte of meta for each forged head.
//!
//! Two CRCs, because a start reads heads and metas, and bodies only where they are needed.

/// What every record begins with.
pub const MAGIC: [u8; 4] = *b"GPr\xa7";
/// The version of records that this program writes.
pub const VERSION: u8 = 1;
/// Octets of a head.
pub const HEAD: u32 = 40;
/// Records begin at multiples of this.
pub const ALIGN: u32 = 8;
/// The largest meta, in octets: an envelope of some thousand recipients.
pub const META_MAX: u32 = 1 << 20;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A message was accepted: [`Accept`](super::payload::Accept).
    Accept = 1,
    /// It was tried: [`State`](super::payload::State).
    Attempt = 2,
    /// It has ended: [`Done`](super::payload::Done).
    Done = 3,
    /// It is held or released: a state.
    Hold = 4,
    /// It goes elsewhere: a state.
    Move = 5,
    /// Its sender was told something: a state.
    Dsn = 6,
    /// The first of a segment, by which it was tried: [`Ends`](super::payload::Ends). It says nothing of a message.
    Probe = 7,
}

impl Kind {
    pub(super) fn of(octet: u8) -> Option<Kind> {
        Some(match octet {
            1 => Kind::Accept,
            2 => Kind::Attempt,
            3 => Kind::Done,
            4 => Kind::Hold,
            5 => Kind::Move,
            6 => Kind::Dsn,
            7 => Kind::Probe,
            _ => return None,
        })
    }

    /// Whether the record has the whole state of a message.
    #[must_use]
    pub fn is_state(self) -> bool {
        matches!(self, Kind::Attempt | Kind::Hold | Kind::Move | Kind::Dsn)
    }
}

/// What the CRCs of a segment begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed {
    /// The segment's epoch.
    pub epoch: u64,
    /// Drawn anew for each epoch.
    pub salt: u64,
}

impl Seed {
    fn at(self, offset: u32) -> u32 {
        let mut octets = [0; 20];
        octets[..8].copy_from_slice(&self.epoch.to_le_bytes());
        octets[8..16].copy_from_slice(&self.salt.to_le_bytes());
        octets[16..].copy_from_slice(&offset.to_le_bytes());
        crc32c::crc32c(&octets)
    }

    /// The CRC of a body in pieces, whose record lies at `offset`.
    pub fn body<'a>(self, offset: u32, pieces: impl IntoIterator<Item = &'a [u8]>) -> u32 {
        pieces
            .into_iter()
            .fold(!self.at(offset), crc32c::crc32c_append)
    }
}

/// The head of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// What the record says.
    pub kind: Kind,
    /// Octets of the meta.
    pub meta: u32,
    /// Octets of the body.
    pub body: u32,
    /// The message.
    pub sequence: u64,
    /// How far the segment was synced when this was written: an offset.
    pub synced: u32,
    /// Of a state: the largest of a message holds.
    pub revision: u32,
    /// CRC of the body.
    pub body_crc: u32,
}

/// Why there is no record at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRecord {
    /// No magic, or a CRC that is wrong.
    Invalid,
    /// A newer program wrote it.
    Newer,
}

impl Head {
    /// How many octets a record with this meta and body takes.
    #[must_use]
    pub fn total(meta: u32, body: u32) -> u64 {
        (u64::from(HEAD) + u64::from(meta) + u64::from(body)).next_multiple_of(u64::from(ALIGN))
    }

    /// How many octets the record takes.
    #[must_use]
    pub fn octets(&self) -> u64 {
        Head::total(self.meta, self.body)
    }

    /// Appends head and meta to `out`.
    pub fn encode(&self, seed: Seed, offset: u32, meta: &[u8], out: &mut Vec<u8>) {
        let from = out.len();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[VERSION, self.kind as u8, 0, 0]);
        out.extend_from_slice(&self.meta.to_le_bytes());
        out.extend_from_slice(&self.body.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.synced.to_le_bytes());
        out.extend_from_slice(&self.revision.to_le_bytes());
        out.extend_from_slice(&self.body_crc.to_le_bytes());
        let check = check(&out[from..], seed, offset);
        out[from + 6..from + 8].copy_from_slice(&check.to_le_bytes());
        let crc = crc32c::crc32c_append(seed.at(offset), &out[from..]);
        out.extend_from_slice(&crc32c::crc32c_append(crc, meta).to_le_bytes());
        out.extend_from_slice(meta);
    }

    /// How many octets the meta has, if this may be a head. Its CRC is not looked at.
    #[must_use]
    pub fn peek(octets: &[u8], seed: Seed, offset: u32) -> Option<u32> {
        let head = octets.get(..HEAD as usize)?;
        let meta = word(head, 8);
        let may_be = head[..4] == MAGIC
            && meta <= META_MAX
            && head[6..8] == check(head, seed, offset).to_le_bytes();
        may_be.then_some(meta)
    }

    /// Reads head and meta at the start of `octets`. The body is not looked at.
    ///
    /// # Errors
    /// There is no record, or one of a newer program.
    pub fn decode(octets: &[u8], seed: Seed, offset: u32) -> Result<(Head, &[u8]), NoRecord> {
        let meta = Head::peek(octets, seed, offset).ok_or(NoRecord::Invalid)?;
        let end = (HEAD + meta) as usize;
        let (Some(meta), head) = (octets.get(HEAD as usize..end), &octets[..HEAD as usize]) else {
            return Err(NoRecord::Invalid);
        };
        let crc = crc32c::crc32c_append(seed.at(offset), &head[..36]);
        if crc32c::crc32c_append(crc, meta) != word(head, 36) {
            return Err(NoRecord::Invalid);
        }
        let kind = Kind::of(head[5]).filter(|_| head[4] == VERSION);
        let mut sequence = [0; 8];
        sequence.copy_from_slice(&head[16..24]);
        let found = Head {
            kind: kind.ok_or(NoRecord::Newer)?,
            meta: word(head, 8),
            body: word(head, 12),
            sequence: u64::from_le_bytes(sequence),
            synced: word(head, 24),
            revision: word(head, 28),
            body_crc: word(head, 32),
        };
        Ok((found, meta))
    }
}

/// Of a head with at least 36 octets.
fn check(head: &[u8], seed: Seed, offset: u32) -> u16 {
    let crc = crc32c::crc32c_append(seed.at(offset), &head[..6]);
    crc32c::crc32c_append(crc, &head[8..36]) as u16
}

/// The number at `at`; the slice is long enough wherever this is called.
fn word(octets: &[u8], at: usize) -> u32 {
    octets
        .get(at..at + 4)
        .and_then(|four| four.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: Seed = Seed { epoch: 7, salt: 9 };

    fn sample() -> (Head, Vec<u8>) {
        let head = Head {
            kind: Kind::Accept,
            meta: 5,
            body: 3,
            sequence: 42,
            synced: 4096,
            revision: 0,
            body_crc: SEED.body(4608, [&b"a"[..], b"bc"]),
        };
        let mut out = Vec::new();
        head.encode(SEED, 4608, b"hello", &mut out);
        (head, out)
    }

    #[test]
    fn a_record_counts_in_its_place_and_epoch_alone() {
        let (head, out) = sample();
        assert_eq!(Head::decode(&out, SEED, 4608), Ok((head, &b"hello"[..])));
        assert_eq!(head.octets(), 48);
        assert_eq!(head.body_crc, SEED.body(4608, [&b"abc"[..]]));
        let later = Seed { epoch: 8, ..SEED };
        let salted = Seed { salt: 8, ..SEED };
        for (seed, offset) in [(later, 4608), (salted, 4608), (SEED, 4616)] {
            assert_eq!(Head::decode(&out, seed, offset), Err(NoRecord::Invalid));
        }
    }

    #[test]
    fn no_changed_octet_and_no_cut_goes_unseen() {
        let (_, out) = sample();
        for at in 0..out.len() {
            let mut changed = out.clone();
            changed[at] ^= 0x10;
            assert!(Head::decode(&changed, SEED, 4608).is_err(), "octet {at}");
            assert!(Head::decode(&out[..at], SEED, 4608).is_err(), "cut at {at}");
        }
    }
}
