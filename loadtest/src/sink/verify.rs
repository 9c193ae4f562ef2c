//! Reads a message as it streams by: finds its stamp, and holds length and checksum of the rest against it.
//!
//! Nothing is kept but the beginning of a header line that was cut, and the state of the checksum.

use crate::stamp::{FIELD, LINE_MAX, Stamp};
use std::hash::Hasher as _;
use twox_hash::XxHash3_64;

/// What became of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It has no stamp: not a message of a run.
    Unstamped,
    /// It has one, and what follows it is what it says.
    Sound(Stamp),
    /// It has one, and what follows it is not what it says.
    Damaged(Stamp),
}

/// Looks at one message. One for each.
#[derive(Default)]
pub struct Verifier {
    state: State,
    /// The beginning of a line that may be a stamp, where a piece ended in it.
    line: Vec<u8>,
}

#[derive(Default)]
enum State {
    /// At the start of a header line, or within one that is in `line`.
    #[default]
    Line,
    /// Within a header line that is no stamp.
    Other,
    /// Behind the stamp.
    Rest {
        stamp: Stamp,
        octets: u64,
        sum: Box<XxHash3_64>,
    },
    /// The header is over and held no stamp.
    Nothing,
}

impl Verifier {
    /// The next octets of the payload, unstuffed.
    pub fn take(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            match &mut self.state {
                State::Nothing => return,
                State::Rest { octets, sum, .. } => {
                    *octets += piece.len() as u64;
                    sum.write(piece);
                    return;
                }
                State::Other => {
                    let Some(end) = memchr::memchr(b'\n', piece) else {
                        return;
                    };
                    piece = &piece[end + 1..];
                    self.state = State::Line;
                }
                State::Line => piece = self.header(piece),
            }
        }
    }

    /// Looks at what begins with a header line, or goes on with one; returns what is behind it.
    fn header<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        let first = self.line.first().unwrap_or(&piece[0]);
        if !matches!(first, b'\r' | b'\n') && !first.eq_ignore_ascii_case(&FIELD[0]) {
            self.state = State::Other;
            return piece;
        }
        let Some(end) = memchr::memchr(b'\n', piece) else {
            if self.line.len() + piece.len() > LINE_MAX {
                self.line.clear();
                self.state = State::Other;
            } else {
                self.line.extend_from_slice(piece);
            }
            return &[];
        };
        let (here, behind) = piece.split_at(end + 1);
        let line = if self.line.is_empty() {
            here
        } else {
            self.line.extend_from_slice(here);
            &self.line
        };
        if matches!(line, b"\r\n" | b"\n") {
            self.state = State::Nothing;
        } else if let Some(stamp) = Stamp::read(line) {
            self.state = State::Rest {
                stamp,
                octets: 0,
                sum: Box::default(),
            };
        }
        self.line.clear();
        behind
    }

    /// The message is complete.
    #[must_use]
    pub fn finish(self) -> Finding {
        match self.state {
            State::Rest { stamp, octets, sum } => {
                if octets == stamp.octets && sum.finish() == stamp.sum {
                    Finding::Sound(stamp)
                } else {
                    Finding::Damaged(stamp)
                }
            }
            _ => Finding::Unstamped,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::stamp::{RunId, sum};

    fn message(above: &str, rest: &[u8]) -> (Stamp, Vec<u8>) {
        let stamp = Stamp {
            run: RunId(1),
            number: 2,
            sum: sum(rest),
            octets: rest.len() as u64,
        };
        let mut octets = above.as_bytes().to_vec();
        stamp.write(&mut octets);
        octets.extend_from_slice(rest);
        (stamp, octets)
    }

    fn found(pieces: &[&[u8]]) -> Finding {
        let mut verifier = Verifier::default();
        for piece in pieces {
            verifier.take(piece);
        }
        verifier.finish()
    }

    #[test]
    fn any_split_finds_the_same() {
        let above = "Received: from x\r\n\tby y\r\nX-Gatepost-Id: 7\r\nX-Other: a\r\n";
        let rest = [&b"Subject: x\r\n\r\n"[..], &[b'x'; 700], b"\r\n"].concat();
        let (stamp, octets) = message(above, &rest);
        assert_eq!(found(&[&octets]), Finding::Sound(stamp));
        for at in 0..octets.len() {
            let (front, back) = octets.split_at(at);
            assert_eq!(found(&[front, back]), Finding::Sound(stamp), "{at}");
            if at >= octets.len() - rest.len() {
                let mut bad = octets.clone();
                bad[at] ^= 1;
                assert_ne!(found(&[&bad]), Finding::Sound(stamp), "{at}");
            }
        }
        let single: Vec<&[u8]> = octets.chunks(1).collect();
        assert_eq!(found(&single), Finding::Sound(stamp));
        assert_eq!(
            found(&[&octets[..octets.len() - 1]]),
            Finding::Damaged(stamp)
        );
        assert_eq!(found(&[&octets, b"\r\n"]), Finding::Damaged(stamp));
    }

    #[test]
    fn only_the_header_holds_stamps() {
        let (_, octets) = message("Subject: x\r\n\r\n", b"rest\r\n");
        assert_eq!(found(&[&octets]), Finding::Unstamped);
        assert_eq!(found(&[b""]), Finding::Unstamped);
        assert_eq!(found(&[b"X"]), Finding::Unstamped);
        assert_eq!(found(&[&[b'X'; 4096]]), Finding::Unstamped);
        let (stamp, octets) = message("", b"");
        assert_eq!(found(&[&octets]), Finding::Sound(stamp));
    }
}
