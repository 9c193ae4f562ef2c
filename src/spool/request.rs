//! What is asked of the log.

use super::{
    batch::Content,
    message::Accept,
    payload::{Done, Ending, State},
    record::{Head, Kind},
};

/// A change that is to be made durable.
#[derive(Debug)]
pub enum Request {
    /// A message is taken.
    Accept {
        /// From [`Shared::next_sequence`](super::shared::Shared::next_sequence), or the body's file.
        sequence: u64,
        /// The payload, encoded.
        meta: Vec<u8>,
        /// The body in pieces; empty where it has a file.
        body: Vec<Vec<u8>>,
        /// Octets of the body's file; zero where it has none.
        file_octets: u64,
        /// It has a file.
        in_file: bool,
    },
    /// A message has a new state.
    Update {
        /// The message.
        sequence: u64,
        /// Which event led to it: a kind that has a state.
        kind: Kind,
        /// The state, whole.
        state: State,
        /// The state, encoded.
        meta: Vec<u8>,
    },
    /// A message has ended.
    Done {
        /// The message.
        sequence: u64,
        /// How.
        ending: Ending,
    },
}

impl Request {
    /// Takes a message whose body is at hand. What the envelope says of the body's place and size is set here.
    #[must_use]
    pub fn accept(sequence: u64, mut accept: Accept, body: Vec<Vec<u8>>) -> Request {
        accept.body_octets = body.iter().map(|piece| piece.len() as u64).sum();
        accept.body_in_file = false;
        let mut meta = Vec::with_capacity(256);
        accept.encode(&mut meta);
        Request::Accept {
            sequence,
            meta,
            body,
            file_octets: 0,
            in_file: false,
        }
    }

    /// Takes a message whose body has a file that [`BodyWriter::finish`](super::body::BodyWriter::finish) has made durable.
    #[must_use]
    pub fn accept_file(body: super::body::Finished, mut accept: Accept) -> Request {
        accept.body_octets = body.octets();
        accept.body_in_file = true;
        let mut meta = Vec::with_capacity(256);
        accept.encode(&mut meta);
        Request::Accept {
            sequence: body.sequence(),
            meta,
            body: Vec::new(),
            file_octets: body.octets(),
            in_file: true,
        }
    }

    /// Gives a message a new state. Any kind without a state counts as an attempt.
    #[must_use]
    pub fn update(sequence: u64, kind: Kind, state: State) -> Request {
        let mut meta = Vec::with_capacity(64);
        state.encode(&mut meta);
        let kind = if kind.is_state() { kind } else { Kind::Attempt };
        Request::Update {
            sequence,
            kind,
            state,
            meta,
        }
    }

    /// The message.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        match self {
            Request::Accept { sequence, .. }
            | Request::Update { sequence, .. }
            | Request::Done { sequence, .. } => *sequence,
        }
    }

    /// The body, of a message whose body is at hand.
    #[must_use]
    pub fn into_body(self) -> Vec<Vec<u8>> {
        match self {
            Request::Accept { body, .. } => body,
            _ => Vec::new(),
        }
    }

    /// The message, if it comes with a file.
    pub(super) fn body_file(&self) -> Option<u64> {
        match self {
            Request::Accept {
                sequence,
                in_file: true,
                ..
            } => Some(*sequence),
            _ => None,
        }
    }

    /// How many octets a message adds to what the spool holds: nothing where the request accepts none.
    pub(super) fn adds(&self) -> u64 {
        match self {
            Request::Accept { file_octets, .. } => self.octets().saturating_add(*file_octets),
            _ => 0,
        }
    }

    pub(super) fn purpose(&self) -> Purpose {
        match self {
            Request::Accept { .. } => Purpose::Accept,
            _ => Purpose::Upkeep,
        }
    }

    pub(super) fn meta_octets(&self) -> usize {
        match self {
            Request::Accept { meta, .. } | Request::Update { meta, .. } => meta.len(),
            Request::Done { .. } => 0,
        }
    }

    /// How many octets its record takes, at most.
    #[must_use]
    pub fn octets(&self) -> u64 {
        match self {
            Request::Done { .. } => Head::total(48, 0),
            other => other.content(0, &Default::default()).octets(),
        }
    }

    pub(super) fn content<'a>(&'a self, revision: u32, done: &'a (Vec<u8>, Done)) -> Content<'a> {
        let (kind, meta, body): (_, &[u8], &[Vec<u8>]) = match self {
            Request::Accept { meta, body, .. } => (Kind::Accept, meta, body),
            Request::Update { kind, meta, .. } => (*kind, meta, &[]),
            Request::Done { .. } => (Kind::Done, &done.0, &[]),
        };
        Content {
            kind,
            sequence: self.sequence(),
            revision,
            meta,
            body,
        }
    }
}

/// What a segment is begun for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A new message: it must leave room for what ends messages.
    Accept,
    /// A state, an end, a copy.
    Upkeep,
}
