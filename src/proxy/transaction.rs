//! One transaction as the proxy sees it: where it goes, its body, what it was told.

use super::{message_id::MessageId, pace::Pace, signed::Signed, window::Window};
use crate::{
    delivery::{Room, Streaming},
    memory::{BodyMemory, Held},
    policy::{CheckId, authentication::BodyHashes},
    record::{Recipients, Refusal, Refusals, Times, Told},
    smtp::{
        Reply, Tick,
        body::BodyFacts,
        server::{Answer, XclientAttributes},
    },
    upstream::{Backend, BackendReply, PoolId, Turn},
};
use smallvec::SmallVec;
use std::{rc::Rc, sync::Arc};

/// Octets of an envelope that aren't counted: those of nearly all messages.
const ENVELOPE_FREE: usize = 8 * 1024;

/// From MAIL to the final reply, or to whatever ended it before.
pub(super) struct Transaction {
    /// Also in the log line, the reply and our Received field.
    pub id: MessageId,
    /// When MAIL came.
    pub started: Tick,
    /// What becomes of it where nothing refuses it.
    pub fate: Fate,
    /// Where its recipients go.
    pub deliveries: SmallVec<[Delivery; 1]>,
    /// What its envelope holds of the memory for bodies.
    pub held: Held,
    /// The body.
    pub body: Body,
    /// The answer to a message whose header was refused before the rest had come.
    pub refused: Option<Answer>,
    /// When the stages ended.
    pub times: Times,
    /// The backend that had the last word.
    pub backend: Option<Arc<Backend>>,
    /// The TLS version that it was talked to in.
    pub backend_tls: Option<&'static str>,
    /// What it said in the end.
    pub said: Option<BackendReply>,
    /// The reverse-path, for the log: the core forgets it with RSET.
    pub sender: Vec<u8>,
    /// Where the message came from, by the word of XFORWARD.
    pub forwarded: Option<Box<XclientAttributes>>,
    /// The recipients that were accepted.
    pub recipients: Recipients,
    /// Its recipient gets it in a message of its own.
    pub alone: bool,
    /// Which of its recipients have had their turn, where it is cut or was cut before.
    pub turn: Option<Box<Turn>>,
    /// What was asked elsewhere has been judged, and lets the message pass.
    pub answers_judged: bool,
    /// What was refused on the way.
    pub refusals: Refusals,
    /// Octets of the body, once it is complete or dead.
    pub size: u64,
    /// The last refusal, or the final reply.
    pub told: Option<Told>,
    /// What came of signing it, where its client's messages are signed.
    pub signed: Option<Signed>,
}

/// The recipients of a transaction that go to one pool.
///
/// One pool a transaction is the rule: a single reply to the end of data can't tell a client that one pool took the
/// message and another did not.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    /// The pool.
    pub pool: PoolId,
    /// Their places in the envelope.
    pub recipients: SmallVec<[u32; 4]>,
}

/// What becomes of a message that nothing refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes to the pool of its recipients.
    #[default]
    Deliver,
    /// It goes to the pool for suspicious mail, which its profile names.
    Quarantine(Option<PoolId>),
    /// It goes nowhere.
    Discard,
}

/// Where a body is.
pub(super) enum Body {
    /// None yet.
    None,
    /// In memory.
    Window(Window),
    /// On its way to a backend.
    Streaming(Box<Stream>),
    /// Thrown away as it comes: the message is to be discarded, if nothing refuses it at its end.
    Doomed(Box<Doomed>),
    /// Dead, or delivered.
    Gone,
}

/// A body on its way to a backend.
pub(super) struct Stream {
    /// The transfer to the backend, whose end is held back until the verdict.
    pub way: Streaming,
    /// The header section, for the checks at the end.
    pub header: Vec<u8>,
    /// How fast it comes.
    pub pace: Rc<Pace>,
    /// What its signatures cover of the body.
    pub hashes: BodyHashes,
}

/// What must be known at the end of a body that is thrown away.
pub(super) struct Doomed {
    /// The header section.
    pub header: Vec<u8>,
    /// What its signatures cover of the body.
    pub hashes: BodyHashes,
}

impl Transaction {
    /// A new one.
    pub fn begin(id: MessageId, sender: &[u8], held: Held, now: Tick) -> Transaction {
        Transaction {
            id,
            started: now,
            fate: Fate::default(),
            deliveries: SmallVec::new(),
            held,
            body: Body::None,
            refused: None,
            times: Times::default(),
            backend: None,
            backend_tls: None,
            said: None,
            sender: sender.to_vec(),
            forwarded: None,
            recipients: Recipients::default(),
            refusals: Refusals::default(),
            size: 0,
            told: None,
            signed: None,
            alone: false,
            turn: None,
            answers_judged: false,
        }
    }

    /// Adds an accepted recipient, at this place of the envelope, to those that go to the same pool.
    pub fn route(&mut self, pool: PoolId, place: usize) {
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        match self.deliveries.iter_mut().find(|one| one.pool == pool) {
            Some(delivery) => delivery.recipients.push(place),
            None => self.deliveries.push(Delivery {
                pool,
                recipients: SmallVec::from_slice(&[place]),
            }),
        }
    }

    /// The pool of its recipients, once there is one; or that which it goes to in their place.
    #[must_use]
    pub fn pool(&self) -> Option<PoolId> {
        match self.fate {
            Fate::Quarantine(pool) => pool,
            Fate::Deliver | Fate::Discard => self.routed_pool(),
        }
    }

    /// The pool of its recipients, once there is one.
    #[must_use]
    pub fn routed_pool(&self) -> Option<PoolId> {
        self.deliveries.first().map(|delivery| delivery.pool)
    }

    /// Keeps a refusal on the way: of MAIL, of a recipient, of DATA.
    pub fn note(&mut self, refusal: Refusal) {
        self.told = Some(Told::new(&refusal.reply, refusal.check));
        self.refusals.push(refusal);
    }

    /// Keeps the final reply, and the check that made it.
    pub fn tell(&mut self, reply: &Reply, check: Option<CheckId>) {
        self.told = Some(Told::new(reply, check));
    }

    /// Makes room for the body. A second BDAT finds it made.
    pub fn open_window(
        &mut self,
        memory: &Rc<BodyMemory>,
        client: Option<u128>,
        max: u64,
        declared: u64,
        now: Tick,
    ) {
        if matches!(self.body, Body::None) {
            let max = usize::try_from(max).unwrap_or(usize::MAX);
            self.body = Body::Window(Window::open(memory, client, max, declared));
            self.times.body = Some(now);
        }
    }

    /// Whether there is memory for an envelope of so many octets. A small one is the session's own.
    pub fn keeps_envelope(&mut self, octets: usize) -> bool {
        let counted = octets.saturating_sub(ENVELOPE_FREE);
        counted == 0 || self.held.grow_to(counted as u64)
    }

    /// Takes a piece of the body if that needs no waiting; `facts` hold to its end.
    pub fn take(&mut self, piece: &[u8], facts: &BodyFacts) -> Room {
        match &mut self.body {
            Body::Window(window) => match window.push(piece) {
                true => Room::Ample,
                false => Room::None,
            },
            Body::Streaming(stream) => {
                stream.pace.count(piece.len());
                stream.hashes.update(piece);
                stream.way.take(piece, facts)
            }
            Body::Doomed(doomed) => {
                doomed.hashes.update(piece);
                Room::Ample
            }
            Body::None | Body::Gone => Room::Ample,
        }
    }
}
