//! The envelope of a transaction (RFC 5321 §2.3.1): reverse-path, forward-paths and their parameters.
//!
//! All text lies in one arena that is emptied, not freed, between transactions: an envelope in steady
//! state allocates nothing. Paths are stored as they came, without angle brackets and source route; a quoted local part in
//! its one form ([`local_part`]).

use super::{local_part, span::Span};

/// Octets of text that an envelope keeps room for between transactions: an idle session has that room too.
const TEXT_KEPT: usize = 1024;
/// Octets of paths that are made room for at first: those of most transactions.
const TEXT_FIRST: usize = 128;
/// Recipients that it keeps room for.
const RECIPIENTS_KEPT: usize = 16;

/// The BODY parameter (RFC 6152, RFC 3030).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyKind {
    /// Not said, or `7BIT`.
    #[default]
    SevenBit,
    /// `8BITMIME`.
    EightBitMime,
    /// `BINARYMIME`.
    BinaryMime,
}

/// The RET parameter (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// The whole message comes back.
    Full,
    /// Only its header.
    Hdrs,
}

/// The NOTIFY parameter (RFC 3461 §4.1): a set of conditions; `NEVER` is the empty set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notify(pub u8);

impl Notify {
    /// Nothing, never.
    pub const NEVER: Notify = Notify(0);
    /// On delivery.
    pub const SUCCESS: Notify = Notify(1);
    /// On failure.
    pub const FAILURE: Notify = Notify(2);
    /// On delay.
    pub const DELAY: Notify = Notify(4);
}

/// Parameters of MAIL. Spans are of the envelope's arena ([`Envelope::text`]); an empty span is "not given".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailParams {
    /// SIZE (RFC 1870), octets; 0 where not given.
    pub size: u64,
    /// BODY.
    pub body: BodyKind,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// REQUIRETLS (RFC 8689).
    pub requiretls: bool,
    /// RET.
    pub ret: Option<Ret>,
    /// ENVID as it came, in xtext (RFC 3461 §4.4).
    pub envid: Span,
    /// AUTH as it came, in xtext (RFC 4954 §5).
    pub auth: Span,
}

/// One accepted forward-path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// `local@domain`, or `postmaster` alone.
    pub path: PathSpan,
    /// NOTIFY; `None` where not given.
    pub notify: Option<Notify>,
    /// ORCPT as it came (RFC 3461 §4.2); empty where not given.
    pub orcpt: Span,
}

/// A path in the arena: the whole of it, and where its domain starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathSpan {
    /// The whole path; empty is the null reverse-path.
    pub whole: Span,
    /// Offset of the domain in the arena; equal to `whole.end` where there is none.
    pub domain_start: u32,
}

/// A path with its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path<'a> {
    /// The whole path without brackets; empty is the null reverse-path.
    pub whole: &'a [u8],
    /// Before the last `@` outside quotes.
    pub local: &'a [u8],
    /// Behind it: a domain or an address literal; empty for `<>` and `<postmaster>`.
    pub domain: &'a [u8],
}

impl<'a> Path<'a> {
    /// Splits a path that has been checked before (a test's, a configuration's): at its last `@`.
    #[must_use]
    pub fn split(whole: &'a [u8]) -> Path<'a> {
        match memchr::memrchr(b'@', whole) {
            Some(at) => Path {
                whole,
                local: &whole[..at],
                domain: &whole[at + 1..],
            },
            None => Path {
                whole,
                local: whole,
                domain: &whole[whole.len()..],
            },
        }
    }

    /// Whether it is the null reverse-path `<>`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.whole.is_empty()
    }
}

/// Reverse-path, forward-paths and parameters of one transaction.
#[derive(Clone, Debug, Default)]
pub struct Envelope {
    text: Vec<u8>,
    has_sender: bool,
    sender: PathSpan,
    params: MailParams,
    recipients: Vec<Recipient>,
}

impl Envelope {
    /// An empty envelope.
    #[must_use]
    pub fn new() -> Envelope {
        Envelope::default()
    }

    /// Empties it and keeps its memory; memory that one huge envelope took is given back.
    pub fn clear(&mut self) {
        self.text.clear();
        self.text.shrink_to(TEXT_KEPT);
        self.recipients.clear();
        self.recipients.shrink_to(RECIPIENTS_KEPT);
        self.has_sender = false;
        self.sender = PathSpan::default();
        self.params = MailParams::default();
    }

    /// Copies `bytes` into the arena.
    pub fn keep(&mut self, bytes: &[u8]) -> Span {
        let start = self.text.len();
        if self.text.capacity() == 0 {
            self.text.reserve(TEXT_FIRST);
        }
        self.text.extend_from_slice(bytes);
        Span::new(start, self.text.len())
    }

    /// Copies a path into the arena, with its local part in one form ([`local_part`]).
    pub fn keep_path(&mut self, path: Path<'_>) -> PathSpan {
        let whole = match path.local.first() {
            Some(b'"') => {
                let start = self.text.len();
                local_part::push(path.local, &mut self.text);
                self.text.extend_from_slice(&path.whole[path.local.len()..]);
                Span::new(start, self.text.len())
            }
            _ => self.keep(path.whole),
        };
        PathSpan {
            whole,
            domain_start: whole.end - path.domain.len() as u32,
        }
    }

    /// Opens the transaction: the reverse-path and its parameters (whose spans are of this arena).
    pub fn set_sender(&mut self, sender: PathSpan, params: MailParams) {
        self.has_sender = true;
        self.sender = sender;
        self.params = params;
    }

    /// Adds a forward-path.
    pub fn push_recipient(&mut self, recipient: Recipient) {
        self.recipients.push(recipient);
    }

    /// Takes the last forward-path back (it was refused), and all text that was kept since its path: a list
    /// of bad addresses takes no memory.
    pub fn pop_recipient(&mut self) {
        if let Some(last) = self.recipients.pop() {
            self.text.truncate(last.path.whole.start as usize);
        }
    }

    /// Octets of memory that it takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.text.capacity() + self.recipients.capacity() * size_of::<Recipient>()
    }

    /// Whether MAIL has been accepted.
    #[must_use]
    pub fn has_sender(&self) -> bool {
        self.has_sender
    }

    /// The reverse-path.
    #[must_use]
    pub fn sender(&self) -> Path<'_> {
        self.path(self.sender)
    }

    /// MAIL's parameters.
    #[must_use]
    pub fn params(&self) -> &MailParams {
        &self.params
    }

    /// The forward-paths, in the order in which they came.
    #[must_use]
    pub fn recipients(&self) -> &[Recipient] {
        &self.recipients
    }

    /// The bytes of a path of this envelope.
    #[must_use]
    pub fn path(&self, path: PathSpan) -> Path<'_> {
        let whole = path.whole.of(&self.text);
        let split = (path.domain_start - path.whole.start) as usize;
        match split.checked_sub(1).filter(|_| split < whole.len()) {
            Some(at) => Path {
                whole,
                local: &whole[..at],
                domain: &whole[split..],
            },
            None => Path {
                whole,
                local: whole,
                domain: &whole[whole.len()..],
            },
        }
    }

    /// The bytes of a span of this envelope.
    #[must_use]
    pub fn text(&self, span: Span) -> &[u8] {
        span.of(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_paths_and_parts() {
        let mut envelope = Envelope::new();
        let sender = envelope.keep_path(Path::split(b""));
        envelope.set_sender(sender, MailParams::default());
        assert!(envelope.sender().is_null() && envelope.sender().domain.is_empty());
        for (given, whole) in [
            (&b"a@b.example"[..], &b"a@b.example"[..]),
            (b"postmaster", b"postmaster"),
            (b"\"x@y\"@c.example", b"\"x@y\"@c.example"),
            (b"\"\\x.y\"@c.example", b"x.y@c.example"),
        ] {
            let path = envelope.keep_path(Path::split(given));
            envelope.push_recipient(Recipient {
                path,
                notify: None,
                orcpt: Span::default(),
            });
            let last = envelope.path(envelope.recipients().last().expect("just pushed").path);
            assert_eq!(last, Path::split(whole));
        }
        envelope.clear();
        assert!(envelope.recipients().is_empty() && !envelope.has_sender());
    }
}
