//! Hands a message to a backend over a lease, and says what came of it.
//!
//! Two ways: [`whole`] for a body that lies in memory, [`Streaming`] for one that is still coming. Both obey
//! the same rules. Nothing is sent again once the end of data went out and no reply came (invariant 4). A
//! recipient that is refused here had been accepted before, so nobody may get the message: it is broken off
//! before its end, and the caller remembers the refusal.

use super::mapping;
use crate::{
    metrics::Scope,
    net::CHUNK_MAX,
    smtp::{
        Envelope, Extensions, Reply, Tick,
        body::BodyFacts,
        client::{Event, Load, To, Unsupported},
    },
    upstream::{Broken, Lease},
};

/// So many octets of a streamed body are gathered before they are sent on: few, large sends.
pub const PIECE: usize = 64 * 1024;

/// What came of it.
#[derive(Debug)]
pub enum Handed {
    /// The backend said 250.
    Accepted,
    /// The backend refused sender, data or message: the reply for the client.
    Refused(Reply),
    /// These recipients (places in the envelope) were refused; nobody got the message.
    Recipients(Vec<(usize, Reply)>),
    /// This backend can't take such a message; nothing was sent.
    Unsupported(Unsupported),
    /// The connection failed with the end of data sent and no reply read.
    Uncertain,
    /// The connection failed before that: nothing was handed over, and trying again is safe. `stale`: it was a
    /// pooled one that had not been heard since.
    Failed {
        /// See above.
        stale: bool,
    },
}

/// What is to be sent.
#[derive(Clone, Copy)]
pub struct Parcel<'a> {
    /// To whom, from whom.
    pub envelope: &'a Envelope,
    /// The message: our trace field, then the payload, in pieces.
    pub pieces: &'a [&'a [u8]],
    /// What the backend is told of it.
    pub load: Load,
    /// No line of it begins with a dot.
    pub undotted: bool,
}

/// Moments that are worth a histogram.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks {
    /// The envelope was answered; `None` where it went out together with the body.
    pub envelope: Option<Tick>,
    /// The end of data was sent.
    pub sent: Option<Tick>,
}

/// What the envelope met.
#[derive(Default)]
struct Refusals {
    sender: Option<Reply>,
    recipients: Vec<(usize, Reply)>,
}

impl Refusals {
    fn is_empty(&self) -> bool {
        self.sender.is_none() && self.recipients.is_empty()
    }

    fn note(&mut self, event: Event, lease: &Lease) {
        match event {
            Event::Sender(head) if !head.is_positive() => {
                self.sender = Some(mapping::refusal(lease.reply()));
            }
            Event::Recipient(place, head) if !head.is_positive() => {
                self.recipients
                    .push((place, mapping::refusal(lease.reply())));
            }
            _ => {}
        }
    }

    fn handed(self) -> Handed {
        match self.sender {
            Some(reply) => Handed::Refused(reply),
            None => Handed::Recipients(self.recipients),
        }
    }
}

impl From<Broken> for Handed {
    fn from(broken: Broken) -> Handed {
        if broken.uncertain {
            Handed::Uncertain
        } else {
            Handed::Failed {
                stale: broken.stale,
            }
        }
    }
}

/// Sends a whole message: in one write with BDAT where there is one recipient, in two otherwise.
pub async fn whole(lease: &mut Lease, parcel: Parcel<'_>, marks: &mut Marks) -> Handed {
    if let Err(why) = lease.open(parcel.envelope, To::All, parcel.load) {
        return Handed::Unsupported(why);
    }
    lease.undotted(parcel.undotted);
    // Ahead of the envelope's replies only where a refused recipient refuses it all.
    if parcel.envelope.recipients().len() == 1 && lease.takes_body() {
        lease.body(parcel.pieces, true);
        marks.sent = Some(lease.now());
    }
    let mut refusals = Refusals::default();
    loop {
        let event = match lease.next().await {
            Ok(event) => event,
            Err(broken) => return broken.into(),
        };
        match event {
            Event::Go if refusals.is_empty() => {
                marks.envelope = Some(lease.now());
                marks.sent = marks.envelope;
                lease.body(parcel.pieces, true);
            }
            // Given back now, it is reset (BDAT), or closed without a dot (DATA).
            Event::Go | Event::Refused => return refusals.handed(),
            Event::Final(head) | Event::FinalFor(_, head) => {
                if !refusals.is_empty() {
                    return refusals.handed();
                }
                return if head.is_positive() {
                    Handed::Accepted
                } else {
                    Handed::Refused(mapping::refusal(lease.reply()))
                };
            }
            event => refusals.note(event, lease),
        }
    }
}

/// What a piece of a body met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It was taken, and there is room for more.
    Ample,
    /// It was taken; what was gathered is to be sent on.
    Full,
    /// It was not taken.
    None,
}

/// A body on its way to a backend while it comes. Dropped before its end, the connection is closed and the
/// backend discards what it has.
pub(super) struct Streaming {
    lease: Lease,
    /// What makes the next chunk, where the body goes by BDAT. Where it goes by DATA, pieces are written for sending as
    /// they come.
    chunk: Vec<u8>,
    /// The header section, for the checks at the end.
    pub header: Vec<u8>,
}

impl Streaming {
    /// Opens the envelope and waits until the backend takes the body, of which `first` is the beginning.
    pub async fn start(
        mut lease: Lease,
        envelope: &Envelope,
        load: Load,
        header: &[u8],
        first: &[&[u8]],
        facts: &BodyFacts,
    ) -> Result<Streaming, (Handed, Lease)> {
        if let Err(why) = lease.open(envelope, To::All, load) {
            return Err((Handed::Unsupported(why), lease));
        }
        let mut refusals = Refusals::default();
        loop {
            // With BDAT the envelope's replies are waited for all the same: see `whole`.
            match lease.next().await {
                Err(broken) => return Err((broken.into(), lease)),
                Ok(Event::Go) if refusals.is_empty() => break,
                Ok(Event::Go | Event::Refused) => return Err((refusals.handed(), lease)),
                Ok(Event::Final(_)) => {
                    let reply = mapping::refusal(lease.reply());
                    return Err((Handed::Refused(reply), lease));
                }
                Ok(event) => refusals.note(event, &lease),
            }
        }
        // The last piece before it is sent on may be one too many.
        let room = PIECE + CHUNK_MAX;
        let mut chunk = Vec::new();
        match lease.client().sends_chunks() {
            true => chunk.reserve_exact(room),
            false => lease.reserve(room),
        }
        let mut streaming = Streaming {
            lease,
            chunk,
            header: header.to_vec(),
        };
        for piece in first {
            streaming.take(piece, facts);
        }
        match streaming.forward().await {
            Ok(()) => Ok(streaming),
            Err(handed) => Err((handed, streaming.lease)),
        }
    }

    /// The lease's backend, for metrics.
    pub fn scope(&self) -> Scope {
        self.lease.scope()
    }

    /// Whether the backend takes 8-bit data on this connection.
    pub fn takes_eight_bit(&self) -> bool {
        self.lease
            .capabilities()
            .extensions
            .has(Extensions::EIGHTBITMIME)
    }

    /// Takes a piece, of a body of which `facts` hold to the end of the piece. Never [`Room::None`].
    pub fn take(&mut self, piece: &[u8], facts: &BodyFacts) -> Room {
        let gathered = if self.lease.client().sends_chunks() {
            self.chunk.extend_from_slice(piece);
            self.chunk.len()
        } else {
            self.lease.undotted(facts.is_undotted());
            self.lease.body(&[piece], false);
            self.lease.unsent()
        };
        match gathered < PIECE {
            true => Room::Ample,
            false => Room::Full,
        }
    }

    /// Sends on what was gathered. An error is what the client will be told.
    pub async fn forward(&mut self) -> Result<(), Handed> {
        // Since the last piece the client was waited for.
        self.lease.resume();
        self.make_room().await?;
        self.lease.body(&[&self.chunk], false);
        self.chunk.clear();
        // A send that fails is heard of in `listen`, together with what the backend may have said before it went.
        let sent = self.lease.flush().await;
        self.lease.resume();
        self.listen().await?;
        Ok(sent?)
    }

    /// Waits until another piece may be sent (BDAT counts chunks).
    async fn make_room(&mut self) -> Result<(), Handed> {
        while !self.lease.takes_body() {
            let event = self.lease.next().await?;
            self.hear(event)?;
        }
        Ok(())
    }

    /// Hears what the backend says meanwhile, without waiting for it.
    async fn listen(&mut self) -> Result<(), Handed> {
        while self.lease.has_news() {
            let event = self.lease.next().await?;
            self.hear(event)?;
        }
        Ok(())
    }

    fn hear(&self, event: Event) -> Result<(), Handed> {
        if let Event::Final(head) = event
            && !head.is_positive()
        {
            return Err(Handed::Refused(mapping::refusal(self.lease.reply())));
        }
        Ok(())
    }

    /// Sends the rest and the end, and waits for the final reply.
    pub async fn end(mut self, marks: &mut Marks) -> (Handed, Lease) {
        self.lease.resume();
        if let Err(handed) = self.make_room().await {
            return (handed, self.lease);
        }
        self.lease.body(&[&self.chunk], true);
        marks.sent = Some(self.lease.now());
        loop {
            match self.lease.next().await {
                Err(broken) => return (broken.into(), self.lease),
                Ok(Event::Final(head) | Event::FinalFor(_, head)) => {
                    let handed = if head.is_positive() {
                        Handed::Accepted
                    } else {
                        Handed::Refused(mapping::refusal(self.lease.reply()))
                    };
                    return (handed, self.lease);
                }
                Ok(_) => {}
            }
        }
    }

    /// Breaks off, so that the backend delivers nothing: the connection is reset where that is enough (BDAT),
    /// closed without a dot where it is not (DATA).
    pub fn abandon(self) {
        self.lease.abandon();
    }
}
