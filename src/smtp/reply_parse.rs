//! Replies that we read (RFC 5321 §4.2): a server's bytes in, one reply at a time out.
//!
//! A backend is trusted no more than a client: a line, the number of lines and the whole reply have caps,
//! and what is no reply (`2200`, `8xx`, mixed codes, bare text, a bare LF) is an error that says so, at
//! the first byte at which it is certain. The text lies in one buffer that is emptied, not freed.
//!
//! Rejected: taking the last line's code where codes are mixed, and LF for CRLF, as the Postfix client
//! does. A reply that two readers can read in two ways is not one on which to lose a message.

use super::status::Status;
use std::fmt;

/// How much of a reply is read. Beyond it the reply is an error, never a growth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyLimits {
    /// Octets of one line, CRLF included. RFC 5321 §4.5.3.1.5 says 512; servers exceed it.
    pub line_max: usize,
    /// Lines of one reply.
    pub lines_max: usize,
    /// Octets of one reply, all lines with their CRLF.
    pub octets_max: usize,
}

impl Default for ReplyLimits {
    fn default() -> ReplyLimits {
        ReplyLimits {
            line_max: 2048,
            lines_max: 512,
            octets_max: 16 * 1024,
        }
    }
}

/// What of a reply a program acts on. `Copy`, so that an event borrows nothing; its text is asked for
/// separately, while the reply is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHead {
    /// 200 to 599.
    pub code: u16,
    /// The enhanced code, where the reply had one of the same class; else [`Status::NONE`].
    pub status: Status,
}

impl ReplyHead {
    /// Whether the code is 2xx.
    #[must_use]
    pub fn is_positive(self) -> bool {
        self.code / 100 == 2
    }

    /// Whether the code is 4xx.
    #[must_use]
    pub fn is_transient(self) -> bool {
        self.code / 100 == 4
    }

    /// Whether the code is 5xx.
    #[must_use]
    pub fn is_permanent(self) -> bool {
        self.code / 100 == 5
    }
}

impl fmt::Display for ReplyHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.status == Status::NONE {
            write!(f, "{}", self.code)
        } else {
            write!(f, "{} {}", self.code, self.status)
        }
    }
}

/// A reply that has been read. It lends the reader's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyRef<'a> {
    /// Code and enhanced code.
    pub head: ReplyHead,
    text: &'a [u8],
}

impl<'a> ReplyRef<'a> {
    /// The text without codes, lines parted by `\n`. The server's bytes: any octet but CR and LF may be
    /// in it, so it goes nowhere but through `delivery::replies` or a log's quoting.
    #[must_use]
    pub fn text(&self) -> &'a [u8] {
        self.text
    }
}

/// Octets of a buffer that outlive a reply; what a larger one took is given back.
const KEPT_MAX: usize = 1024;

/// Why bytes are no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplyError {
    /// Not three digits from 200 to 599 and then a blank, a hyphen or the end of the line (§4.2).
    Code,
    /// Lines of one reply with different codes (§4.2.1).
    MixedCodes,
    /// A CR or a LF that is not part of a CRLF.
    Newline,
    /// A line longer than [`ReplyLimits::line_max`].
    Line,
    /// More lines than [`ReplyLimits::lines_max`].
    Lines,
    /// More octets than [`ReplyLimits::octets_max`].
    Octets,
}

impl ReplyError {
    /// A few words for a log line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ReplyError::Code => "no reply code",
            ReplyError::MixedCodes => "a reply with different codes",
            ReplyError::Newline => "a line that does not end in CRLF",
            ReplyError::Line => "a reply line that is too long",
            ReplyError::Lines => "a reply of too many lines",
            ReplyError::Octets => "a reply that is too long",
        }
    }
}

/// How far [`ReplyReader::read`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All of the input was taken and the reply is not complete.
    More,
    /// A reply is complete: [`ReplyReader::reply`]. This many bytes of the input belong to it.
    Done(usize),
}

/// Reads replies from bytes that come in pieces of any size.
#[derive(Clone, Debug)]
pub struct ReplyReader {
    limits: ReplyLimits,
    /// The start of a line whose end has not come yet.
    partial: Vec<u8>,
    text: Vec<u8>,
    head: ReplyHead,
    lines: usize,
    octets: usize,
    /// The reply in `text` is complete: the next byte starts another.
    complete: bool,
}

impl ReplyReader {
    /// A reader that has seen nothing.
    #[must_use]
    pub fn new(limits: ReplyLimits) -> ReplyReader {
        ReplyReader {
            limits,
            partial: Vec::new(),
            text: Vec::new(),
            head: ReplyHead {
                code: 0,
                status: Status::NONE,
            },
            lines: 0,
            octets: 0,
            complete: true,
        }
    }

    /// The last complete reply; its text is empty once the first byte of the next has been read.
    #[must_use]
    pub fn reply(&self) -> ReplyRef<'_> {
        ReplyRef {
            head: self.head,
            text: if self.complete { &self.text } else { &[] },
        }
    }

    /// Octets of memory that it holds beside itself.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.partial.capacity() + self.text.capacity()
    }

    /// Whether bytes of a reply that is not complete have been read.
    #[must_use]
    pub fn is_midway(&self) -> bool {
        !self.complete
    }

    /// Reads up to the end of one reply.
    ///
    /// # Errors
    /// The bytes are no reply. What follows them can't be told apart, so the connection is of no more use.
    pub fn read(&mut self, input: &[u8]) -> Result<Progress, ReplyError> {
        let mut at = 0;
        while at < input.len() {
            if self.complete {
                self.begin();
            }
            let rest = &input[at..];
            let Some(newline) = memchr::memchr(b'\n', rest) else {
                return self.stash(rest).map(|()| Progress::More);
            };
            at += newline + 1;
            let done = if self.partial.is_empty() {
                self.line(&rest[..=newline])
            } else {
                self.stash(&rest[..=newline])?;
                let line = std::mem::take(&mut self.partial);
                let done = self.line(&line);
                self.partial = line;
                self.partial.clear();
                done
            };
            if done? {
                self.complete = true;
                return Ok(Progress::Done(at));
            }
        }
        Ok(Progress::More)
    }

    fn begin(&mut self) {
        self.text.clear();
        for buffer in [&mut self.text, &mut self.partial] {
            if buffer.capacity() > KEPT_MAX {
                buffer.shrink_to(KEPT_MAX);
            }
        }
        self.lines = 0;
        self.octets = 0;
        self.complete = false;
    }

    /// Keeps the start of a line until the rest comes.
    fn stash(&mut self, bytes: &[u8]) -> Result<(), ReplyError> {
        let first = self.partial.first().or(bytes.first());
        if !first.is_some_and(|c| matches!(c, b'2'..=b'5')) {
            return Err(ReplyError::Code);
        }
        if self.partial.len() + bytes.len() > self.limits.line_max {
            return Err(ReplyError::Line);
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }

    /// Takes one line, which ends in LF. True where it is the last of its reply.
    fn line(&mut self, line: &[u8]) -> Result<bool, ReplyError> {
        if !matches!(line[0], b'2'..=b'5') {
            return Err(ReplyError::Code);
        }
        if line.len() > self.limits.line_max {
            return Err(ReplyError::Line);
        }
        let Some(content) = line.strip_suffix(b"\r\n") else {
            return Err(ReplyError::Newline);
        };
        if memchr::memchr(b'\r', content).is_some() {
            return Err(ReplyError::Newline);
        }
        let (code, last, text) = split(content).ok_or(ReplyError::Code)?;
        self.lines += 1;
        self.octets += line.len();
        if self.lines > self.limits.lines_max {
            return Err(ReplyError::Lines);
        }
        if self.octets > self.limits.octets_max {
            return Err(ReplyError::Octets);
        }
        let status = Status::parse(text).filter(|(status, _)| u16::from(status.0) == code / 100);
        if self.lines == 1 {
            let status = status.map_or(Status::NONE, |(status, _)| status);
            self.head = ReplyHead { code, status };
        } else if code != self.head.code {
            return Err(ReplyError::MixedCodes);
        } else {
            self.text.push(b'\n');
        }
        // RFC 2034 §4 repeats the enhanced code in each line; it is kept once.
        let skip = match status {
            Some((status, skip)) if status == self.head.status => skip,
            _ => 0,
        };
        self.text.extend_from_slice(&text[skip..]);
        Ok(last)
    }
}

/// Code, whether the line is the last of its reply, and text.
fn split(content: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (digits, rest) = content.split_at_checked(3)?;
    let mut code = 0;
    for digit in digits {
        code = code * 10 + u16::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    if !(200..600).contains(&code) {
        return None;
    }
    match rest.split_first() {
        None => Some((code, true, rest)),
        Some((b' ', text)) => Some((code, true, text)),
        Some((b'-', text)) => Some((code, false, text)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    type Seen = Vec<Result<(ReplyHead, Vec<u8>), ReplyError>>;

    fn read_all(pieces: &[&[u8]]) -> Seen {
        let mut reader = ReplyReader::new(ReplyLimits {
            line_max: 64,
            lines_max: 4,
            octets_max: 128,
        });
        let mut seen = Vec::new();
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                match reader.read(rest) {
                    Ok(Progress::More) => break,
                    Ok(Progress::Done(n)) => {
                        rest = &rest[n..];
                        seen.push(Ok((reader.reply().head, reader.reply().text().to_vec())));
                    }
                    Err(error) => {
                        seen.push(Err(error));
                        return seen;
                    }
                }
                assert!(reader.partial.len() <= 64 && reader.text.len() <= 128);
            }
        }
        seen
    }

    fn one(bytes: &str) -> Result<(u16, Status, String), ReplyError> {
        let (head, text) = read_all(&[bytes.as_bytes()]).remove(0)?;
        Ok((head.code, head.status, String::from_utf8(text).unwrap()))
    }

    #[test]
    fn reads_one_line_many_lines_and_none() {
        assert_eq!(one("250 ok\r\n"), Ok((250, Status::NONE, "ok".into())));
        assert_eq!(one("250\r\n"), Ok((250, Status::NONE, String::new())));
        assert_eq!(one("250-a\r\n250-\r\n250 b\r\n").unwrap().2, "a\n\nb");
        let twice = one("550-5.1.1 no\r\n550 5.1.1 never\r\n");
        assert_eq!(twice, Ok((550, Status(5, 1, 1), "no\nnever".into())));
        let class = one("550 2.1.1 no\r\n");
        assert_eq!(class, Ok((550, Status::NONE, "2.1.1 no".into())));
    }

    #[test]
    fn nonsense_is_a_clean_error() {
        for (bytes, error) in [
            ("2200 ok\r\n", ReplyError::Code),
            ("850 ok\r\n", ReplyError::Code),
            ("150 ok\r\n", ReplyError::Code),
            ("25\r\n", ReplyError::Code),
            ("2x0 ok\r\n", ReplyError::Code),
            ("hello", ReplyError::Code),
            ("\r\n", ReplyError::Code),
            ("250 ok\n", ReplyError::Newline),
            ("250 a\rb\r\n", ReplyError::Newline),
            ("250 a\r\r\n", ReplyError::Newline),
            ("250-ok\r\n550 no\r\n", ReplyError::MixedCodes),
            ("2-\r\n", ReplyError::Code),
        ] {
            assert_eq!(one(bytes), Err(error), "{bytes:?}");
        }
        assert_eq!(one(&format!("2{}", "5".repeat(64))), Err(ReplyError::Line));
        assert_eq!(one(&"250-\r\n".repeat(5)), Err(ReplyError::Lines));
        let long = format!("250-{}\r\n", "x".repeat(50)).repeat(3);
        assert_eq!(one(&long), Err(ReplyError::Octets));
    }

    proptest! {
        #[test]
        fn any_split_reads_the_same(
            bytes in prop_oneof![
                "([245][0-9]{2}[ -][a-z0-9. ]{0,40}\r\n){0,8}".prop_map(String::into_bytes),
                "[0-9 .\r\n-]{0,200}".prop_map(String::into_bytes),
                proptest::collection::vec(any::<u8>(), 0..200),
            ],
            cut in 0usize..200,
        ) {
            let whole = read_all(&[&bytes]);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(&whole, &read_all(&single));
            let (a, b) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(&whole, &read_all(&[a, b]));
        }
    }
}
