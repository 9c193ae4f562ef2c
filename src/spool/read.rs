//! Messages read from the spool: what is handed out was compared with its CRC.
//!
//! A reader takes no part in what the log does. A message that is copied to another segment while it is read is looked
//! up again: what stands in its old place has another epoch by then, so that no CRC is right there.

use super::{
    body::{self, BodyReader},
    disk::{Disk, DiskFile},
    fields::Malformed,
    index::{DAMAGED, Entry, IN_FILE, Place},
    message::Accept,
    payload::State,
    record::{HEAD, Head, Seed},
    shared::Shared,
};
use std::{io, sync::Arc};

/// A message as it was stored.
#[derive(Debug)]
pub struct Stored<F> {
    /// What the index had of it.
    pub entry: Entry,
    /// The envelope.
    pub accept: Accept,
    /// Its newest state, if it had one since it was accepted.
    pub state: Option<State>,
    /// The body.
    pub body: StoredBody<F>,
}

/// The body of a message as it was stored.
#[derive(Debug)]
pub enum StoredBody<F> {
    /// All of it.
    Inline(Vec<u8>),
    /// To be read from its file.
    File(BodyReader<F>),
}

/// Why a message can't be had.
#[derive(Debug)]
pub enum ReadError {
    /// The spool does not have it (any more).
    Gone,
    /// What was read is not what was written. The message is set aside: counted, kept, never delivered.
    Damaged,
    /// It needs a newer program.
    Newer,
    /// What the file system said; it may go another time.
    Io(io::Error),
}

/// How often a message that moves meanwhile is looked up.
const TRIES: usize = 8;

type Where<F> = (Place, Arc<F>, Seed);

impl<D: Disk> Shared<D> {
    /// Reads a message. Waits for the disk: not for a worker's thread.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn fetch(&self, sequence: u64) -> Result<Stored<D::File>, ReadError> {
        for _ in 0..TRIES {
            let (entry, accept, state) = self.find(sequence)?;
            if entry.bits & DAMAGED != 0 {
                return Err(ReadError::Damaged);
            }
            let found = read(&accept, sequence).and_then(|accept| {
                let state = state.map(|state| read(&state, sequence)).transpose()?;
                Ok((accept, state))
            });
            match found.map_err(ReadError::Io)? {
                (Some(accept), None) => return self.stored(sequence, entry, accept, None),
                (Some(accept), Some(Some(state))) => {
                    return self.stored(sequence, entry, accept, Some(state));
                }
                _ => {}
            }
            if self.index().get(sequence) == Some(&entry) {
                self.set_aside(sequence);
                return Err(ReadError::Damaged);
            }
        }
        Err(ReadError::Io(io::ErrorKind::Interrupted.into()))
    }

    #[expect(clippy::type_complexity, reason = "one caller takes it apart")]
    fn find(
        &self,
        sequence: u64,
    ) -> Result<(Entry, Where<D::File>, Option<Where<D::File>>), ReadError> {
        let index = self.index();
        let entry = *index.get(sequence).ok_or(ReadError::Gone)?;
        let place = |place: Place| {
            let segment = index.segments().get(&place.epoch)?;
            Some((place, Arc::clone(&segment.file), segment.seed))
        };
        // A record that the index names lies in a segment that it has.
        let accept = place(entry.accept).ok_or(ReadError::Damaged)?;
        let state = match entry.state.epoch {
            0 => None,
            _ => Some(place(entry.state).ok_or(ReadError::Damaged)?),
        };
        Ok((entry, accept, state))
    }

    fn stored(
        &self,
        sequence: u64,
        entry: Entry,
        accept: Parts,
        state: Option<Parts>,
    ) -> Result<Stored<D::File>, ReadError> {
        let malformed = |why| match why {
            Malformed::Newer => ReadError::Newer,
            Malformed::Broken => {
                self.set_aside(sequence);
                ReadError::Damaged
            }
        };
        let state = state.map(|state| State::decode(&state.meta)).transpose();
        let body = match entry.bits & IN_FILE {
            0 => StoredBody::Inline(accept.body),
            _ => match self.disk.open(&body::name(sequence)) {
                Ok(file) => StoredBody::File(BodyReader::new(file, sequence, entry.body_octets)),
                Err(why) if why.kind() == io::ErrorKind::NotFound => {
                    // Removed when the message was done, or lost.
                    let is_live = self.index().get(sequence).is_some();
                    return Err(match is_live {
                        true => malformed(Malformed::Broken),
                        false => ReadError::Gone,
                    });
                }
                Err(why) => return Err(ReadError::Io(why)),
            },
        };
        Ok(Stored {
            entry,
            accept: Accept::decode(&accept.meta).map_err(malformed)?,
            state: state.map_err(malformed)?,
            body,
        })
    }
}

struct Parts {
    meta: Vec<u8>,
    body: Vec<u8>,
}

/// A record of this message; `None` where it is not what was written.
fn read<F: DiskFile>(at: &Where<F>, sequence: u64) -> io::Result<Option<Parts>> {
    let (place, file, seed) = at;
    let mut octets = vec![0; place.octets as usize];
    let got = file.read_at(&mut octets, place.offset.into())?;
    octets.truncate(got);
    let Ok((head, meta)) = Head::decode(&octets, *seed, place.offset) else {
        return Ok(None);
    };
    let meta = meta.to_vec();
    let from = (HEAD + head.meta) as usize;
    let Some(body) = octets.get(from..from + head.body as usize) else {
        return Ok(None);
    };
    if head.sequence != sequence || seed.body(place.offset, [body]) != head.body_crc {
        return Ok(None);
    }
    let length = body.len();
    let mut body = octets.split_off(from);
    body.truncate(length);
    Ok(Some(Parts { meta, body }))
}
