//! Whether the spool takes another message: how full it may get, how full it is, and whether its disk works.
//!
//! Asked before a message is taken, from any thread: it reads numbers and waits for nothing. The log asks again when it
//! takes the message.

use super::refused::{Refused, Watermark};
use std::{
    io,
    sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
};

/// How full a spool may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many messages there may be.
    pub messages_max: u64,
    /// How many octets messages may have together, with their envelopes: `spool.max_bytes`.
    pub octets_max: u64,
    /// How many octets of the disk stay free: `spool.min_free`.
    pub free_min: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            messages_max: 2_000_000,
            octets_max: u64::MAX,
            free_min: 0,
        }
    }
}

/// How full the spool is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fill {
    /// Messages in it.
    pub messages: u64,
    /// Octets of these, with their envelopes.
    pub octets: u64,
    /// Octets of bodies that are still coming, in files.
    pub coming: u64,
    /// Octets of the disk that were free when it was last looked.
    pub free: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Watermarks {
    messages_max: AtomicU64,
    octets_max: AtomicU64,
    free_min: AtomicU64,
    messages: AtomicU64,
    octets: AtomicU64,
    coming: AtomicU64,
    free: AtomicU64,
    trouble: AtomicU8,
}

const WELL: u8 = 0;
const FULL: u8 = 1;
const READ_ONLY: u8 = 2;
const FAILED: u8 = 3;

impl Watermarks {
    pub(super) fn new(limits: Limits) -> Watermarks {
        let made = Watermarks {
            messages_max: AtomicU64::new(0),
            octets_max: AtomicU64::new(0),
            free_min: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            octets: AtomicU64::new(0),
            coming: AtomicU64::new(0),
            free: AtomicU64::new(u64::MAX),
            trouble: AtomicU8::new(WELL),
        };
        made.set_limits(limits);
        made
    }

    /// Puts other limits in force. What is there stays.
    pub fn set_limits(&self, limits: Limits) {
        self.messages_max.store(limits.messages_max, Relaxed);
        self.octets_max.store(limits.octets_max, Relaxed);
        self.free_min.store(limits.free_min, Relaxed);
    }

    /// Whether a message with so many octets would be taken now. Zero where its size is not known yet.
    ///
    /// # Errors
    /// The disk does not work, or a limit is reached.
    pub fn may_accept(&self, octets: u64) -> Result<(), Refused> {
        match self.trouble.load(Relaxed) {
            WELL => {}
            FULL => return Err(Refused::Full),
            READ_ONLY => return Err(Refused::Failed(io::ErrorKind::ReadOnlyFilesystem)),
            _ => return Err(Refused::Failed(io::ErrorKind::Other)),
        }
        self.has_room(octets)
    }

    /// The same, whether the disk works or not.
    pub(super) fn has_room(&self, octets: u64) -> Result<(), Refused> {
        let fill = self.fill();
        if fill.messages >= self.messages_max.load(Relaxed) {
            return Err(Refused::Watermark(Watermark::Messages));
        }
        let together = fill.octets.saturating_add(fill.coming);
        if together.saturating_add(octets) > self.octets_max.load(Relaxed) {
            return Err(Refused::Watermark(Watermark::Octets));
        }
        if fill.free.saturating_sub(octets) < self.free_min() {
            return Err(Refused::Watermark(Watermark::Free));
        }
        Ok(())
    }

    /// How full it is.
    pub fn fill(&self) -> Fill {
        Fill {
            messages: self.messages.load(Relaxed),
            octets: self.octets.load(Relaxed),
            coming: self.coming.load(Relaxed),
            free: self.free.load(Relaxed),
        }
    }

    pub(super) fn free_min(&self) -> u64 {
        self.free_min.load(Relaxed)
    }

    /// Which limit a batch reaches with so many messages and octets more than there are.
    pub(super) fn reached(&self, messages: u64, octets: u64) -> Option<Watermark> {
        let fill = self.fill();
        if fill.messages.saturating_add(messages) > self.messages_max.load(Relaxed) {
            return Some(Watermark::Messages);
        }
        let together = fill.octets.saturating_add(octets);
        (together > self.octets_max.load(Relaxed)).then_some(Watermark::Octets)
    }

    pub(super) fn set_messages(&self, messages: u64, octets: u64) {
        self.messages.store(messages, Relaxed);
        self.octets.store(octets, Relaxed);
    }

    pub(super) fn set_free(&self, free: u64) {
        self.free.store(free, Relaxed);
    }

    pub(super) fn set_trouble(&self, why: Option<Refused>) {
        let trouble = match why {
            None => WELL,
            Some(Refused::Failed(io::ErrorKind::ReadOnlyFilesystem)) => READ_ONLY,
            Some(Refused::Failed(_)) => FAILED,
            Some(_) => FULL,
        };
        self.trouble.store(trouble, Relaxed);
    }

    /// Octets of a body come, whose message is not in the log yet.
    pub(super) fn come(&self, octets: u64) {
        self.coming.fetch_add(octets, Relaxed);
    }

    /// So many octets that came are counted elsewhere from now on, or have gone.
    pub(super) fn gone(&self, octets: u64) {
        self.coming.fetch_sub(octets, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_refuses_and_lets_in_again() {
        let marks = Watermarks::new(Limits {
            messages_max: 2,
            octets_max: 1_000,
            free_min: 500,
        });
        let refused = |mark| Err(Refused::Watermark(mark));
        marks.set_free(2_000);
        assert_eq!(marks.may_accept(1_000), Ok(()));
        marks.come(400);
        assert_eq!(marks.may_accept(601), refused(Watermark::Octets));
        assert_eq!(marks.may_accept(600), Ok(()));
        marks.gone(400);
        marks.set_free(700);
        assert_eq!(marks.may_accept(201), refused(Watermark::Free));
        marks.set_messages(2, 10);
        assert_eq!(marks.may_accept(0), refused(Watermark::Messages));
        marks.set_messages(1, 10);
        assert_eq!(marks.may_accept(0), Ok(()));
        assert_eq!(marks.reached(2, 0), Some(Watermark::Messages));
        assert_eq!(marks.reached(1, 991), Some(Watermark::Octets));
        for why in [
            Refused::Full,
            Refused::Failed(io::ErrorKind::ReadOnlyFilesystem),
            Refused::Failed(io::ErrorKind::Other),
        ] {
            marks.set_trouble(Some(why));
            assert_eq!(marks.may_accept(0), Err(why));
        }
        marks.set_trouble(None);
        assert_eq!(marks.may_accept(0), Ok(()));
    }
}
