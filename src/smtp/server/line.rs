//! Command lines out of a stream: only CRLF ends one, and however the stream is cut, the lines are the same.
//!
//! A line that lies whole in the input is used where it is. Only one that was cut is gathered in a buffer.

use crate::smtp::limits::{AUTH_LINE_MAX, COMMAND_LINE_MAX};

/// What the input held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No end of line yet; all of the input was taken.
    More,
    /// A line in the input, without its CRLF: `0..length`; `consumed` octets are done with.
    Here { length: usize, consumed: usize },
    /// A line in the buffer ([`Lines::take`]).
    Gathered { consumed: usize },
    /// A line that is too long, now at its end.
    TooLong { consumed: usize },
    /// A line that is too long and doesn't end.
    Endless,
    /// A CR without LF, or an LF without CR.
    Broken,
    /// A line that doesn't begin with a letter.
    Alien,
}

/// Gathers lines that came in pieces.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    /// The line so far, at most [`COMMAND_LINE_MAX`] octets of it, or [`AUTH_LINE_MAX`] where it is one of AUTH.
    carry: Vec<u8>,
    /// Octets of the line so far; more than `carry` holds where it is too long.
    length: usize,
    /// The input before this one ended after a CR.
    cr: bool,
}

impl Lines {
    /// Whether a line has begun.
    pub fn is_partial(&self) -> bool {
        self.length > 0 || self.cr
    }

    /// Looks for the end of a command in `input`, which is not empty. `resync` is the most that a line that is
    /// too long may take before it is [`Found::Endless`]. `auth`: a line that begins with AUTH may be longer.
    pub fn find(&mut self, input: &[u8], resync: usize, auth: bool) -> Found {
        if !self.is_partial() && !matches!(input[0], b'a'..=b'z' | b'A'..=b'Z' | b'\r' | b'\n') {
            return Found::Alien;
        }
        let start = match self.carry.len() {
            0 => input,
            1..=4 if auth => &[&self.carry, &input[..input.len().min(5)]].concat(),
            _ => &self.carry,
        };
        let long = auth && start.len() > 4 && start[..5].eq_ignore_ascii_case(b"AUTH ");
        let max = if long {
            AUTH_LINE_MAX
        } else {
            COMMAND_LINE_MAX
        };
        self.find_response(input, max, resync)
    }

    /// Looks for the end of any line of at most `max` octets.
    pub fn find_response(&mut self, input: &[u8], max: usize, resync: usize) -> Found {
        if self.cr {
            return match input[0] {
                b'\n' => self.ended(1, max),
                _ => Found::Broken,
            };
        }
        let stop = memchr::memchr2(b'\r', b'\n', input);
        let length = stop.unwrap_or(input.len());
        if self.length + length > resync {
            return Found::Endless;
        }
        match (stop, stop.and_then(|at| input.get(at + 1))) {
            (None, _) => {
                self.gather(input, max);
                Found::More
            }
            (Some(at), Some(b'\n')) if input[at] == b'\r' => {
                if self.length == 0 && length <= max {
                    return Found::Here {
                        length,
                        consumed: length + 2,
                    };
                }
                self.gather(&input[..length], max);
                self.ended(length + 2, max)
            }
            (Some(at), None) if input[at] == b'\r' => {
                self.gather(&input[..length], max);
                self.cr = true;
                Found::More
            }
            _ => Found::Broken,
        }
    }

    /// The gathered line. Its buffer should come back with [`Lines::give_back`].
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.carry)
    }

    /// Takes the buffer back for the next line.
    pub fn give_back(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        if buffer.capacity() <= COMMAND_LINE_MAX {
            self.carry = buffer;
        }
    }

    /// The start of the line that is too long, for a last look at its verb; then forgets it.
    pub fn forget(&mut self) {
        let mut carry = self.take();
        carry.fill(0);
        self.give_back(carry);
        self.length = 0;
        self.cr = false;
    }

    /// What is known of the start of the line.
    pub fn start(&self) -> &[u8] {
        &self.carry
    }

    fn ended(&mut self, consumed: usize, max: usize) -> Found {
        let too_long = self.length > max;
        self.length = 0;
        self.cr = false;
        if too_long {
            Found::TooLong { consumed }
        } else {
            Found::Gathered { consumed }
        }
    }

    fn gather(&mut self, piece: &[u8], max: usize) {
        let room = max.saturating_sub(self.carry.len());
        self.carry
            .extend_from_slice(&piece[..piece.len().min(room)]);
        self.length += piece.len();
    }
}
