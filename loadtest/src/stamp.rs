//! The line that every message of a run carries: its number, and the checksum of what follows.
//!
//! ```text
//! X-Gatepost-Load: 1 00c0ffee00c0ffee 12345 9f86d081884c7d65 4096
//!                  │ run              number sum             octets after this line
//! ```
//!
//! It is the first line of the payload as it is sent. Proxies and MTAs put their own lines on top of it, so the sum
//! covers what stands after it: the rest of the header and the body. A server that changes anything there is told
//! as *damaged*.

use std::{fmt, str};
use twox_hash::XxHash3_64;

/// The field's name, with the colon.
pub const FIELD: &[u8] = b"X-Gatepost-Load:";

/// The longest stamp line, with CRLF.
pub const LINE_MAX: usize = 96;

/// Which run a message belongs to: random, so that those of other runs are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(pub u64);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl str::FromStr for RunId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<RunId, Self::Err> {
        u64::from_str_radix(text, 16).map(RunId)
    }
}

/// What the line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The run.
    pub run: RunId,
    /// The number of the message in its run, from 0 on.
    pub number: u32,
    /// XXH3 (64 bits) of all octets after the line, to the end of the payload.
    pub sum: u64,
    /// How many octets those are.
    pub octets: u64,
}

impl Stamp {
    /// Appends the line, with its CRLF: at most [`LINE_MAX`] octets.
    pub fn write(&self, out: &mut Vec<u8>) {
        use std::io::Write as _;
        let Stamp {
            run,
            number,
            sum,
            octets,
        } = self;
        write!(
            out,
            "X-Gatepost-Load: 1 {run} {number} {sum:016x} {octets}\r\n"
        )
        .expect("a Vec takes all that is written to it");
    }

    /// Reads a line, with or without its CRLF; `None` where it is not a stamp.
    #[must_use]
    pub fn read(line: &[u8]) -> Option<Stamp> {
        let head = line.get(..FIELD.len())?;
        if !head.eq_ignore_ascii_case(FIELD) {
            return None;
        }
        let text = str::from_utf8(&line[FIELD.len()..]).ok()?;
        let mut words = text.split_ascii_whitespace();
        if words.next()? != "1" {
            return None;
        }
        let stamp = Stamp {
            run: words.next()?.parse().ok()?,
            number: words.next()?.parse().ok()?,
            sum: u64::from_str_radix(words.next()?, 16).ok()?,
            octets: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(stamp)
    }
}

/// The checksum of what stands after a stamp.
#[must_use]
pub fn sum(octets: &[u8]) -> u64 {
    XxHash3_64::oneshot(octets)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let stamp = Stamp {
            run: RunId(0xc0_ffee),
            number: u32::MAX,
            sum: sum(b"Subject: x\r\n\r\nbody\r\n"),
            octets: u64::MAX,
        };
        let mut line = Vec::new();
        stamp.write(&mut line);
        assert!(line.len() <= LINE_MAX && line.ends_with(b"\r\n"));
        assert_eq!(Stamp::read(&line).unwrap(), stamp);
        let lower = String::from_utf8(line).unwrap().to_ascii_lowercase();
        assert_eq!(Stamp::read(lower.trim_end().as_bytes()).unwrap(), stamp);
    }

    #[test]
    fn what_is_no_stamp_is_none() {
        for line in [
            &b""[..],
            b"X-Gatepost-Load",
            b"X-Gatepost-Load: 2 0 0 0 0",
            b"X-Gatepost-Load: 1 0 0 0",
            b"X-Gatepost-Load: 1 0 0 0 0 0",
            b"X-Gatepost-Load: 1 zz 0 0 0",
            b"X-Gatepost-Load: 1 0 4294967296 0 0",
            b"X-Gatepost-Load: 1 \xff 0 0 0",
            b"Subject: X-Gatepost-Load: 1 0 0 0 0",
        ] {
            assert_eq!(Stamp::read(line), None);
        }
    }
}
