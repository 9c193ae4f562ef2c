//! One transaction as the proxy sees it: where it goes, its body, what it was told.

use super::{
    message_id::MessageId,
    window::{BodyMemory, Window},
};
use crate::{
    delivery::{Room, Streaming},
    smtp::{
        Reply, Status, Tick,
        body::BodyFacts,
        server::{Answer, Claims},
    },
    upstream::{Backend, PoolId},
};
use std::{rc::Rc, sync::Arc};

/// Recipients that a log line names; the rest are counted.
pub(super) const RECIPIENTS_SHOWN: usize = 10;

/// From MAIL to the final reply, or to whatever ended it before.
pub(super) struct Transaction {
    /// Its id.
    pub id: MessageId,
    /// When MAIL came.
    pub started: Tick,
    /// The pool of its recipients, once there is one.
    pub pool: Option<PoolId>,
    /// The body.
    pub body: Body,
    /// When the stages ended.
    pub times: Times,
    /// The backend that had the last word.
    pub backend: Option<Arc<Backend>>,
    /// The TLS version that it was talked to in.
    pub backend_tls: Option<&'static str>,
    /// The reverse-path, for the log: the core forgets it with RSET.
    pub sender: Vec<u8>,
    /// Where the message came from, by the word of XFORWARD.
    pub forwarded: Option<Box<Claims>>,
    /// The first forward-paths, each followed by a newline (which no path can hold).
    pub recipients: Vec<u8>,
    /// How many there are.
    pub accepted: u32,
    /// Recipients that were refused.
    pub refused: u32,
    /// Octets of the body, once it is complete or dead.
    pub size: u64,
    /// The last refusal, or the final reply.
    pub said: Option<Said>,
}

/// Where a body is.
pub(super) enum Body {
    /// None yet.
    None,
    /// In memory.
    Window(Window),
    /// On its way to a backend; the header section is kept for the checks at the end.
    Streaming(Box<Streaming>, Vec<u8>),
    /// Dead, or delivered.
    Gone,
}

/// Code and enhanced code of a reply, and who made it.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub code: u16,
    pub status: Status,
    pub text: String,
}

/// Moments of a transaction; `None` where it never got there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    /// DATA or the first BDAT was allowed.
    pub body: Option<Tick>,
    /// The body was complete.
    pub complete: Option<Tick>,
    /// A connection to a backend was there.
    pub leased: Option<Tick>,
    /// The backend's final reply.
    pub done: Option<Tick>,
}

impl Transaction {
    /// A new one.
    pub fn begin(id: MessageId, sender: &[u8], now: Tick) -> Transaction {
        Transaction {
            id,
            started: now,
            pool: None,
            body: Body::None,
            times: Times::default(),
            backend: None,
            backend_tls: None,
            sender: sender.to_vec(),
            forwarded: None,
            recipients: Vec::new(),
            accepted: 0,
            refused: 0,
            size: 0,
            said: None,
        }
    }

    /// Keeps a refusal for the log.
    pub fn note(&mut self, answer: &Answer) {
        if let Answer::Refuse(reply) | Answer::Close(reply) = answer {
            self.refused += 1;
            self.said(reply);
        }
    }

    /// Keeps an accepted recipient for the log.
    pub fn accept(&mut self, recipient: &[u8]) {
        if (self.accepted as usize) < RECIPIENTS_SHOWN {
            self.recipients.reserve(recipient.len() + 1);
            self.recipients.extend_from_slice(recipient);
            self.recipients.push(b'\n');
        }
        self.accepted += 1;
    }

    /// Keeps a reply for the log.
    pub fn said(&mut self, reply: &Reply) {
        self.said = Some(Said {
            code: reply.code,
            status: reply.status,
            // The text of a yes is the same for all; the id in it is the line's own.
            text: match reply.is_positive() {
                true => String::new(),
                false => reply.text.as_str().to_string(),
            },
        });
    }

    /// Makes room for the body. A second BDAT finds it made.
    pub fn open_window(&mut self, memory: &Rc<BodyMemory>, max: u64, declared: u64, now: Tick) {
        if matches!(self.body, Body::None) {
            let max = usize::try_from(max).unwrap_or(usize::MAX);
            self.body = Body::Window(Window::open(memory, max, declared));
            self.times.body = Some(now);
        }
    }

    /// Takes a piece of the body if that needs no waiting; `facts` hold to its end.
    pub fn take(&mut self, piece: &[u8], facts: &BodyFacts) -> Room {
        match &mut self.body {
            Body::Window(window) => match window.push(piece) {
                true => Room::Ample,
                false => Room::None,
            },
            Body::Streaming(streaming, _) => streaming.take(piece, facts),
            Body::None | Body::Gone => Room::Ample,
        }
    }
}
