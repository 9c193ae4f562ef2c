//! The body under way: DATA to its dot, BDAT chunk by chunk, wanted or not.
//!
//! An unwanted body is scanned like any other and dropped: only so is its true end found, and no
//! octet of it can become a command.

use super::{Action, Answer, Earlier, Server, State, interface::Question};
use crate::decimal::push_decimal;
use crate::smtp::{
    body::{BareNewline, BodyFacts, Kind},
    chunk::ChunkScan,
    command::Verb,
    data::DataScan,
    envelope::BodyKind,
    replies::{self, Known, wire},
    reply::Reply,
};

/// A chunk with fewer octets is small: it costs more to have read and answered its command than to take its octets.
const SMALL_CHUNK: u64 = 64;
/// Small chunks of one message that are no junk. Some clients send a header, or the rest of a part, by itself.
const SMALL_CHUNKS_FREE: u32 = 32;

/// The body's scanner, and what is known of its fate.
#[derive(Clone, Debug, Default)]
pub(super) struct Transfer {
    scan: Scan,
    /// Octets of this chunk still to come.
    left: u64,
    /// Octets of this chunk in all.
    size: u64,
    /// This chunk is the last one.
    last: bool,
    /// Small chunks of this message so far, the empty ones not counted.
    small: u32,
    /// What will be said at the end of the body, or of this chunk, instead of yes.
    refusal: Option<Reply>,
    /// That only follows from what was refused before.
    follows: bool,
    /// A chunk of this message was refused; those that follow are swallowed.
    failed: bool,
    /// The shell knows that nothing more comes of this body: it was told, or it said so itself.
    settled: bool,
}

#[derive(Clone, Debug, Default)]
enum Scan {
    #[default]
    None,
    Data(DataScan),
    Chunk(ChunkScan),
}

impl Transfer {
    /// Whether a body has begun and its reply is not given.
    pub fn is_active(&self) -> bool {
        self.failed || !matches!(self.scan, Scan::None)
    }

    /// Payload so far, in octets.
    pub fn taken(&self) -> u64 {
        self.facts().size
    }

    /// What is known of the payload.
    pub fn facts(&self) -> &BodyFacts {
        const NOTHING: &BodyFacts = &BodyFacts {
            size: 0,
            line_longest: 0,
            nuls: 0,
            eight_bit: false,
            dotted: false,
            bare_newline: false,
        };
        match &self.scan {
            Scan::None => NOTHING,
            Scan::Data(scan) => scan.facts(),
            Scan::Chunk(scan) => scan.facts(),
        }
    }

    /// The shell refuses the body.
    pub fn refuse(&mut self, reply: Reply) {
        self.settled = true;
        self.refusal.get_or_insert(reply);
    }

    /// Ends it; says whether the shell must still be told.
    pub fn end(&mut self) -> bool {
        let untold = !self.settled && !matches!(self.scan, Scan::None);
        *self = Transfer::default();
        untold
    }
}

impl Server {
    /// BDAT. `refusal`: what else than its place in the sequence speaks against it.
    pub(super) fn chunk_command(&mut self, size: u64, last: bool, refusal: Option<&'static Known>) {
        let mut follows = false;
        let refusal = if refusal.is_some() {
            refusal
        } else if self.transfer.failed {
            follows = true;
            Some(&replies::CHUNK_AFTER_ERROR)
        } else if let Some(known) = self.lacks_recipient() {
            follows = self.earlier != Earlier::Nothing;
            Some(known)
        } else if self.too_large(self.transfer.taken().saturating_add(size)) {
            Some(&replies::SIZE_EXCEEDED)
        } else {
            None
        };
        self.transfer.size = size;
        self.transfer.left = size;
        self.transfer.last = last;
        if let Some(known) = refusal {
            self.transfer.follows = follows;
            if matches!(self.transfer.scan, Scan::None) {
                // The octets that are swallowed have their own time, not what is left of a body's before.
                self.clock.start_body();
            }
            self.transfer.refusal.get_or_insert(known.reply());
        }
        self.state = State::Chunk;
        if refusal.is_none() && matches!(self.transfer.scan, Scan::None) {
            self.state = State::Asked(Question::Body);
        }
    }

    pub(super) fn answer_body(&mut self, answer: Answer, out: &mut Vec<u8>) {
        let by_chunks = self.verb == Verb::Bdat;
        match answer {
            Answer::Accept | Answer::AcceptWith(_) => {
                let mode = self.settings.bare_newline;
                self.transfer.settled = false;
                self.clock.start_body();
                if by_chunks {
                    let mode = if self.is_binary() {
                        BareNewline::Reject // finds them, changes nothing; chunks may hold them
                    } else {
                        mode
                    };
                    self.transfer.scan = Scan::Chunk(ChunkScan::new(mode));
                    self.state = State::Chunk;
                } else {
                    self.transfer.scan = Scan::Data(DataScan::new(mode));
                    self.state = State::Data;
                    out.extend_from_slice(wire::GO);
                }
            }
            Answer::Refuse(reply) | Answer::Close(reply) if by_chunks => {
                self.transfer.refusal = Some(reply);
                self.state = State::Chunk;
            }
            Answer::Refuse(reply) | Answer::Close(reply) => self.say(&reply, out),
        }
    }

    /// Takes the next piece of a DATA body.
    pub(super) fn data(&mut self, input: &[u8], out: &mut Vec<u8>) -> (usize, Option<Action>) {
        if !input.is_empty() {
            self.clock.restart();
        }
        let Scan::Data(scan) = &mut self.transfer.scan else {
            self.state = State::Command;
            return (0, None);
        };
        let piece = scan.scan(input);
        let action = match piece.kind {
            Kind::Payload(span) => self.piece(Action::Body(span)),
            Kind::Insert(octets) => self.piece(Action::Insert(octets)),
            Kind::More => Some(Action::Read),
            Kind::End => self.complete(out),
        };
        (piece.consumed, action)
    }

    /// Takes the next piece of a chunk, and ends it after its last octet.
    pub(super) fn chunk(&mut self, input: &[u8], out: &mut Vec<u8>) -> (usize, Option<Action>) {
        if !input.is_empty() {
            self.clock.restart();
        }
        let transfer = &mut self.transfer;
        if transfer.left == 0 {
            return (0, self.chunk_end(out));
        }
        let here = usize::try_from(transfer.left)
            .unwrap_or(usize::MAX)
            .min(input.len());
        if here == 0 {
            return (0, Some(Action::Read));
        }
        let Scan::Chunk(scan) = &mut transfer.scan else {
            transfer.left -= here as u64;
            return (here, None);
        };
        let piece = scan.scan(&input[..here]);
        transfer.left -= piece.consumed as u64;
        let action = match piece.kind {
            Kind::Payload(span) => self.piece(Action::Body(span)),
            Kind::Insert(octets) => self.piece(Action::Insert(octets)),
            Kind::More | Kind::End => None,
        };
        (piece.consumed, action)
    }

    /// What becomes of a piece: handed to the shell, or dropped.
    fn piece(&mut self, action: Action) -> Option<Action> {
        if self.transfer.settled {
            return None;
        }
        if self.transfer.refusal.is_some() || self.fault().is_some() {
            self.transfer.settled = true;
            return Some(Action::Discard);
        }
        Some(action)
    }

    /// What the core itself has against the body so far. In one order, not in that of their coming: so the
    /// reply does not depend on how the input was cut.
    fn fault(&self) -> Option<&'static Known> {
        let facts = self.transfer.facts();
        let settings = &self.settings;
        if self.too_large(facts.size) {
            Some(&replies::SIZE_EXCEEDED)
        } else if facts.line_longest > settings.limits.line as usize && !self.is_binary() {
            Some(&replies::BODY_LINE_TOO_LONG)
        } else if facts.bare_newline
            && settings.bare_newline == BareNewline::Reject
            && !self.is_binary()
        {
            Some(&replies::BODY_BARE_NEWLINE)
        } else {
            None
        }
    }

    fn too_large(&self, size: u64) -> bool {
        self.settings.size_max > 0 && size > self.settings.size_max
    }

    /// Lines mean nothing in a BINARYMIME body (RFC 3030 §3).
    fn is_binary(&self) -> bool {
        self.envelope.params().body == BodyKind::BinaryMime
    }

    /// Behind the last octet of a chunk.
    fn chunk_end(&mut self, out: &mut Vec<u8>) -> Option<Action> {
        if self.transfer.last {
            if let Scan::Chunk(scan) = &mut self.transfer.scan
                && let Some(octets) = scan.finish()
                && let Some(action) = self.piece(Action::Insert(octets))
            {
                return Some(action); // and comes back here
            }
            return self.complete(out);
        }
        self.state = State::Command;
        self.clock.restart();
        match self.verdict() {
            Some(reply) => {
                self.transfer.failed = self.envelope.has_sender();
                self.discard_due |=
                    !self.transfer.settled && !matches!(self.transfer.scan, Scan::None);
                self.transfer.settled = true;
                let follows = std::mem::take(&mut self.transfer.follows);
                self.refuse_body(reply, follows, out);
            }
            None => {
                out.extend_from_slice(b"250 2.0.0 Ok: ");
                push_decimal(self.transfer.size, out);
                out.extend_from_slice(b" octets\r\n");
                if self.is_junk_chunk() {
                    self.count_junk(out);
                }
            }
        }
        None
    }

    /// Whether the chunk that has ended, which isn't the last, has done too little. RFC 3030 §2 lets a chunk be of any size,
    /// also empty; but a message in chunks of one octet has a command and a reply for each.
    fn is_junk_chunk(&mut self) -> bool {
        match self.transfer.size {
            0 => true,
            SMALL_CHUNK.. => false,
            _ => {
                self.transfer.small = self.transfer.small.saturating_add(1);
                self.transfer.small > SMALL_CHUNKS_FREE
            }
        }
    }

    /// What is to be said instead of yes.
    fn verdict(&mut self) -> Option<Reply> {
        let fault = self.fault().map(Known::reply);
        self.transfer.refusal.take().or(fault)
    }

    /// Behind the last octet of a body.
    fn complete(&mut self, out: &mut Vec<u8>) -> Option<Action> {
        match self.verdict() {
            Some(reply) => {
                self.state = State::Command;
                self.clock.restart();
                let follows = self.transfer.follows;
                self.reset();
                self.refuse_body(reply, follows, out);
                None
            }
            None => {
                self.state = State::Commit;
                self.transfer.settled = true;
                Some(Action::End)
            }
        }
    }

    fn refuse_body(&mut self, reply: Reply, follows: bool, out: &mut Vec<u8>) {
        match follows {
            false => self.refuse(reply, out),
            true => self.refuse_follower(reply, out),
        }
    }

    pub(super) fn answer_end(&mut self, answer: Answer, out: &mut Vec<u8>) {
        self.state = State::Command;
        self.reset();
        let reply = match answer {
            Answer::Accept => replies::OK.reply(),
            Answer::AcceptWith(reply) | Answer::Refuse(reply) | Answer::Close(reply) => reply,
        };
        if reply.is_positive() {
            self.tally.messages += 1;
            self.tally.errors = 0;
            self.tally.junk = 0;
            self.tally.deferrals = 0;
        }
        self.say(&reply, out);
    }
}
