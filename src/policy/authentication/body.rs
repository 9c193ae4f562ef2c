//! The canonical form of a body (RFC 6376 §3.4.3, §3.4.4) and its hashes, piece by piece.
//!
//! State is a few octets and two hashes, whatever the body is: line ends and white space that may turn out to be the tail
//! of the body are counted, not kept. A bare LF ends a line like CRLF does; a bare CR is an octet like others.

use super::canonical::{self, Canonical};
use super::crypto::Sha256;

/// Octets that are collected before they are hashed.
const BUFFER: usize = 1024;

/// Octets that are looked at for white space at once.
const BLOCK: usize = 4096;

/// Different ends (`l=`) at which one canonical form is hashed: those of all signatures looked at.
pub const CUTS_MAX: usize = 16;

/// The hashes of one body that signatures ask for.
#[derive(Debug, Default)]
pub struct BodyHashes {
    forms: [Option<Box<Form>>; 2],
}

impl BodyHashes {
    /// Of nothing yet.
    #[must_use]
    pub fn new() -> BodyHashes {
        BodyHashes::default()
    }

    /// Asks for the hash of a canonical form, of its first `length` octets or of all. Before the first octet of the body.
    /// `None`: too many ends have been asked for.
    pub(super) fn want(&mut self, canonical: Canonical, length: Option<u64>) -> Option<BodyHash> {
        let form =
            self.forms[slot(canonical)].get_or_insert_with(|| Box::new(Form::new(canonical)));
        let wanted = BodyHash { canonical, length };
        let Some(length) = length else {
            return Some(wanted);
        };
        if let Err(at) = form.output.cuts.binary_search_by_key(&length, |cut| cut.0) {
            if form.output.cuts.len() == CUTS_MAX {
                return None;
            }
            form.output.cuts.insert(at, (length, None));
        }
        Some(wanted)
    }

    /// Whether anything has been asked for: if not, the body need not be shown.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.forms.iter().all(Option::is_none)
    }

    /// The next piece of the body, without dot-stuffing.
    pub fn update(&mut self, piece: &[u8]) {
        for form in self.forms.iter_mut().flatten() {
            for block in piece.chunks(BLOCK) {
                form.update(block);
            }
        }
    }

    /// The body has ended.
    #[must_use]
    pub fn finish(self) -> BodyDigests {
        BodyDigests {
            forms: self.forms.map(|form| form.map(|form| form.finish())),
        }
    }
}

fn slot(canonical: Canonical) -> usize {
    usize::from(canonical == Canonical::Relaxed)
}

/// A hash that has been asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyHash {
    canonical: Canonical,
    length: Option<u64>,
}

/// The hashes of one body.
#[derive(Debug)]
pub struct BodyDigests {
    forms: [Option<FormDigests>; 2],
}

#[derive(Debug)]
struct FormDigests {
    whole: [u8; 32],
    length: u64,
    cuts: Vec<(u64, Option<[u8; 32]>)>,
}

impl BodyDigests {
    /// The hash that was asked for. `None`: the body is shorter than that.
    pub(super) fn get(&self, wanted: BodyHash) -> Option<[u8; 32]> {
        let form = self.forms[slot(wanted.canonical)].as_ref()?;
        let Some(length) = wanted.length else {
            return Some(form.whole);
        };
        let at = form.cuts.binary_search_by_key(&length, |cut| cut.0).ok()?;
        form.cuts[at].1
    }

    /// The length of a canonical form, if it has been hashed.
    #[must_use]
    pub fn length(&self, canonical: Canonical) -> Option<u64> {
        self.forms[slot(canonical)].as_ref().map(|form| form.length)
    }
}

/// The canonical octets on their way to the hash.
struct Output {
    sha: Sha256,
    buffer: [u8; BUFFER],
    filled: usize,
    /// Octets hashed, the buffer not counted.
    hashed: u64,
    /// Where a copy of the hash is finished, in order, and what it was.
    cuts: Vec<(u64, Option<[u8; 32]>)>,
    /// How many of them have been passed.
    passed: usize,
}

impl Output {
    fn push(&mut self, octets: &[u8]) {
        // What is long is hashed where it lies.
        if octets.len() >= BUFFER {
            self.flush();
            return self.hash(octets);
        }
        if octets.len() > BUFFER - self.filled {
            self.flush();
        }
        self.buffer[self.filled..self.filled + octets.len()].copy_from_slice(octets);
        self.filled += octets.len();
    }

    fn flush(&mut self) {
        let filled = std::mem::take(&mut self.filled);
        let buffer = self.buffer;
        self.hash(&buffer[..filled]);
    }

    fn hash(&mut self, mut octets: &[u8]) {
        while let Some((end, digest)) = self.cuts.get_mut(self.passed) {
            let left = usize::try_from(*end - self.hashed).unwrap_or(usize::MAX);
            let Some((before, after)) = octets.split_at_checked(left) else {
                break;
            };
            self.sha.update(before);
            *digest = Some(self.sha.clone().finish());
            self.hashed += before.len() as u64;
            self.passed += 1;
            octets = after;
        }
        self.sha.update(octets);
        self.hashed += octets.len() as u64;
    }

    fn finish(mut self) -> FormDigests {
        self.flush();
        FormDigests {
            whole: self.sha.finish(),
            length: self.hashed,
            cuts: self.cuts,
        }
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output")
            .field("hashed", &self.hashed)
            .finish_non_exhaustive()
    }
}

/// One canonical form in the making.
#[derive(Debug)]
struct Form {
    relaxed: bool,
    output: Output,
    /// Line ends that are written once something follows them.
    line_ends: u64,
    /// White space that is written as one space once something follows it on its line (relaxed only).
    gap: bool,
    /// A CR was the last octet of the last piece.
    cr: bool,
    /// Something has been written.
    any: bool,
}

impl Form {
    fn new(canonical: Canonical) -> Form {
        Form {
            relaxed: canonical == Canonical::Relaxed,
            output: Output {
                sha: Sha256::new(),
                buffer: [0; BUFFER],
                filled: 0,
                hashed: 0,
                cuts: Vec::new(),
                passed: 0,
            },
            line_ends: 0,
            gap: false,
            cr: false,
            any: false,
        }
    }

    fn update(&mut self, mut piece: &[u8]) {
        if piece.is_empty() {
            return;
        }
        if std::mem::take(&mut self.cr) && piece[0] != b'\n' {
            self.content(b"\r");
        }
        if let Some(rest) = piece.strip_suffix(b"\r") {
            self.cr = true;
            piece = rest;
        }
        let clean = self.relaxed && canonical::is_clean(piece);
        // Octets of the piece that are in their canonical form as they stand, and not written yet: lines with their ends.
        let mut run = 0..0;
        let mut start = 0;
        while start < piece.len() {
            let lf = memchr::memchr(b'\n', &piece[start..]).map(|at| start + at);
            let end = lf.unwrap_or(piece.len());
            let line = &piece[start..end];
            let line = if lf.is_some() {
                line.strip_suffix(b"\r").unwrap_or(line)
            } else {
                line
            };
            if !line.is_empty() && (clean && lf.is_some() && !self.gap || self.is_canonical(line)) {
                // Nothing but line ends of two octets lies between: the run goes on.
                if !run.is_empty() && 2 * self.line_ends == (start - run.end) as u64 {
                    self.line_ends = 0;
                } else {
                    self.output.push(&piece[run]);
                    self.write(b"");
                    run = start..start;
                }
                run.end = start + line.len();
            } else if !line.is_empty() {
                self.output.push(&piece[std::mem::take(&mut run)]);
                self.content(line);
            }
            if lf.is_some() {
                self.line_ends += 1;
                self.gap = false;
            }
            start = end + 1;
        }
        self.output.push(&piece[run]);
    }

    /// Whether a part of a line is written as it is.
    fn is_canonical(&self, part: &[u8]) -> bool {
        !self.relaxed || (!self.gap && canonical::is_relaxed(part))
    }

    /// A part of a line, without its end.
    fn content(&mut self, part: &[u8]) {
        if self.is_canonical(part) {
            return self.write(part);
        }
        // White space writes nothing, and so no line ends before it.
        if part.iter().all(|octet| matches!(octet, b' ' | b'\t')) {
            self.gap = true;
            return;
        }
        self.write(b"");
        let output = &mut self.output;
        canonical::one_space(part, &mut self.gap, |octets| output.push(octets));
    }

    /// Something, with the line ends that were held back before it.
    fn write(&mut self, octets: &[u8]) {
        while self.line_ends > 0 {
            self.line_ends -= 1;
            self.output.push(b"\r\n");
        }
        self.any = true;
        self.output.push(octets);
    }

    /// Of the line ends at the end of the body one is left; there is one where there was none, but a relaxed body of
    /// nothing stays empty (RFC 6376 §3.4.3, §3.4.4).
    fn finish(mut self) -> FormDigests {
        if std::mem::take(&mut self.cr) {
            self.content(b"\r");
        }
        if self.any || !self.relaxed {
            self.output.push(b"\r\n");
        }
        self.output.finish()
    }
}

#[cfg(test)]
mod tests;
