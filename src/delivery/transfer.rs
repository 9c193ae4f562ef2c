//! One message over one lease, and what came of it.
//!
//! Two ways: [`whole`] for a body that lies in memory, [`Streaming`] for one that is still coming. Both obey
//! the same rules. A recipient that is refused here had been accepted before, so no recipient may get the message: it is
//! broken off before its end.

use super::{
    measure::record,
    outcome::{Ending, Outcome, Step, Times},
};
use crate::{
    metrics::Stage,
    net::{CHUNK_MAX, now},
    smtp::{
        Envelope, Extensions, ReplyHead, Tick,
        backend_session::{Event, Load, To, Unsupported},
        body::BodyFacts,
    },
    upstream::{Audit, BackendReply, Broken, Lease, Origin, PoolId, Pools},
};
use std::rc::Rc;

/// So many octets of a streamed body are gathered before they are sent on: few, large sends.
pub const PIECE: usize = 64 * 1024;

/// A message for a pool.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    /// The pool.
    pub pool: PoolId,
    /// From whom, to whom.
    pub envelope: &'a Envelope,
    /// Which of the recipients.
    pub to: To<'a>,
    /// The message in pieces; of a stream, what has come of it.
    pub pieces: &'a [&'a [u8]],
    /// What the backend is told of it.
    pub load: Load,
    /// No line of the pieces begins with a dot.
    pub undotted: bool,
    /// The client that it comes from, where the pool's backends are told ([`Pools::tells`]).
    pub origin: Option<&'a Origin<'a>>,
    /// The key of the client, where that has a share of the pool's connections; `None` of one that is trusted.
    pub client: Option<u128>,
    /// Until when a connection must be had.
    pub deadline: Tick,
}

impl Message<'_> {
    fn recipients(&self) -> usize {
        match self.to {
            To::All => self.envelope.recipients().len(),
            To::These(places) => places.len(),
        }
    }
}

/// What a try came to.
pub(super) struct Met {
    pub(super) outcome: Outcome,
    /// The connection was a pooled one that had not been heard since, or whose capabilities are old.
    pub(super) stale: bool,
}

/// What was heard under way.
struct Heard {
    times: Times,
    /// What is answered next.
    step: Step,
    sender: Option<BackendReply>,
    recipients: Vec<(usize, BackendReply)>,
}

impl Heard {
    fn of(lease: &Lease) -> Heard {
        let times = Times {
            leased: Some(lease.now()),
            ..Times::default()
        };
        Heard::with(times, Step::Sender)
    }

    fn with(times: Times, step: Step) -> Heard {
        Heard {
            times,
            step,
            sender: None,
            recipients: Vec::new(),
        }
    }

    fn is_good(&self) -> bool {
        self.sender.is_none() && self.recipients.is_empty()
    }

    fn note(&mut self, event: Event, lease: &Lease) {
        self.step = match event {
            Event::Sender(_) | Event::Recipient(..) => Step::Recipient,
            _ => Step::Data,
        };
        match event {
            Event::Sender(head) if !head.is_positive() => {
                self.sender = Some(lease.reply().into());
            }
            Event::Recipient(place, head) if !head.is_positive() => {
                self.recipients.push((place, lease.reply().into()));
            }
            _ => {}
        }
    }

    /// It ended like this.
    fn met(self, lease: &Lease, ending: Ending) -> Met {
        let mut outcome = Outcome::on(lease, ending, self.times);
        outcome.refused = self.recipients;
        Met {
            outcome,
            stale: false,
        }
    }

    /// The envelope was refused, or a part of it.
    fn refused(mut self, lease: &Lease) -> Met {
        let ending = match self.sender.take() {
            Some(said) => Ending::Refused(Step::Sender, said),
            None => Ending::Recipients,
        };
        self.met(lease, ending)
    }

    /// The connection broke. Refusals that were heard before are what came of the message: a backend that has refused too
    /// much closes, and what it refused holds. So does a 421 that it says before it closes.
    fn broken(mut self, lease: &Lease, broken: Broken) -> Met {
        // Where the replies have shifted, what was heard may have been the answer to anything.
        if lease.has_shifted() {
            self.sender = None;
            self.recipients.clear();
        }
        // What a stale connection said was no answer to this message.
        if !broken.uncertain && !broken.stale && !self.is_good() {
            return self.refused(lease);
        }
        let ending = match lease.farewell().filter(|_| !broken.uncertain) {
            Some(said) => Ending::Refused(self.step, said),
            None => broken.into(),
        };
        Met {
            stale: broken.stale,
            ..self.met(lease, ending)
        }
    }

    /// The reply to the end of the message, if it is that one: a yes is believed where the backend keeps step.
    // INV-250
    async fn end(self, lease: &mut Lease, head: ReplyHead) -> Met {
        match lease.audit(head) {
            Audit::Sound => self.last(lease, head.is_positive()),
            Audit::Failed(broken) => self.broken(lease, broken),
            Audit::Open => {
                let yes = self.last(lease, true);
                match Box::pin(lease.confirm(head)).await {
                    Ok(()) => yes,
                    Err(broken) => Met {
                        outcome: Outcome::on(lease, broken.into(), yes.outcome.times),
                        stale: false,
                    },
                }
            }
        }
    }

    /// The last reply to the message: to DATA, to a part of the body, or to its end.
    fn last(mut self, lease: &Lease, positive: bool) -> Met {
        let said = lease.reply().into();
        let step = match self.times.sent {
            Some(_) => {
                self.times.heard = Some(lease.now());
                Step::Message
            }
            None => Step::Data,
        };
        match positive {
            true => self.met(lease, Ending::Accepted(said)),
            false => self.met(lease, Ending::Refused(step, said)),
        }
    }
}

/// Begins the transaction. LMTP answers for each recipient by itself, and there is one reply to the client: so it is given
/// one recipient a message (INV-250), also where a reload has made a pool LMTP under a transaction.
fn open(lease: &mut Lease, message: &Message<'_>) -> Result<(), Unsupported> {
    if lease.backend().identity.lmtp && message.recipients() > 1 {
        return Err(Unsupported::Busy);
    }
    lease.open(message.envelope, message.to, message.load)
}

/// The backend can't take the message, by what it offered when it greeted this connection. Where it has offered something
/// else since, the connection is as good as stale.
fn unsupported(heard: Heard, lease: &mut Lease, why: Unsupported) -> Met {
    let mut met = heard.met(lease, Ending::Unsupported(why));
    if is_by_capability(why) && lease.is_outdated() {
        lease.retire();
        met.stale = true;
    }
    met
}

/// Whether a backend's capabilities stand against the message, which another backend, or the same one after a restart, may
/// have.
pub(super) fn is_by_capability(why: Unsupported) -> bool {
    match why {
        Unsupported::Size
        | Unsupported::EightBit
        | Unsupported::Utf8
        | Unsupported::Binary
        | Unsupported::RequireTls => true,
        Unsupported::Malformed | Unsupported::Busy => false,
    }
}

/// Sends a whole message: in one write with BDAT where there is one recipient, in two otherwise.
pub(super) async fn whole(lease: &mut Lease, message: &Message<'_>) -> Met {
    let mut heard = Heard::of(lease);
    if let Err(why) = open(lease, message) {
        return unsupported(heard, lease, why);
    }
    lease.undotted(message.undotted);
    // Ahead of the envelope's replies only where a refused recipient refuses it all, and where the connection won't turn
    // out to be closed: the end of data would have been sent, and whether the message was taken could not be known.
    if message.recipients() == 1 && lease.takes_body() && lease.will_last() {
        lease.body(message.pieces, true);
        heard.times.sent = Some(lease.now());
    }
    loop {
        let event = match lease.next().await {
            Ok(event) => event,
            Err(broken) => return heard.broken(lease, broken),
        };
        match event {
            Event::Go if heard.is_good() => {
                heard.times.envelope = Some(lease.now());
                heard.times.sent = heard.times.envelope;
                lease.body(message.pieces, true);
            }
            // Given back now, it is reset (BDAT), or closed without a dot (DATA).
            Event::Go | Event::Refused => return heard.refused(lease),
            Event::Final(head) | Event::FinalFor(_, head) => {
                return match heard.is_good() {
                    true => heard.end(lease, head).await,
                    false => heard.refused(lease),
                };
            }
            event => heard.note(event, lease),
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
pub struct Streaming {
    pools: Rc<Pools>,
    lease: Lease,
    /// What makes the next chunk, where the body goes by BDAT. Where it goes by DATA, pieces are written for sending as
    /// they come.
    chunk: Vec<u8>,
    times: Times,
}

impl Streaming {
    /// Opens the envelope and waits until the backend takes the body, of which the message's pieces are the beginning.
    pub(super) async fn start(
        pools: Rc<Pools>,
        mut lease: Lease,
        message: &Message<'_>,
    ) -> Result<Streaming, Box<(Met, Lease)>> {
        let mut heard = Heard::of(&lease);
        let failed = |met: Met, lease: Lease| Err(Box::new((met, lease)));
        if let Err(why) = open(&mut lease, message) {
            return failed(unsupported(heard, &mut lease, why), lease);
        }
        loop {
            // With BDAT the envelope's replies are waited for all the same: see `whole`.
            match lease.next().await {
                Err(broken) => return failed(heard.broken(&lease, broken), lease),
                Ok(Event::Go) if heard.is_good() => break,
                Ok(Event::Go | Event::Refused) => return failed(heard.refused(&lease), lease),
                Ok(Event::Final(_)) => {
                    let met = match heard.is_good() {
                        true => heard.last(&lease, false),
                        false => heard.refused(&lease),
                    };
                    return failed(met, lease);
                }
                Ok(event) => heard.note(event, &lease),
            }
        }
        // The last piece before it is sent on may be one too many.
        let room = PIECE + CHUNK_MAX;
        let mut chunk = Vec::new();
        match lease.session().sends_chunks() {
            true => chunk.reserve_exact(room),
            false => lease.reserve(room),
        }
        let mut streaming = Streaming {
            pools,
            lease,
            chunk,
            times: heard.times,
        };
        match streaming.begin(message).await {
            Ok(()) => Ok(streaming),
            Err(met) => failed(*met, streaming.lease),
        }
    }

    /// Sends what has come of the message. That may be far more than a piece, and is not gathered as a whole: a copy of it would
    /// lie outside the budget for bodies.
    async fn begin(&mut self, message: &Message<'_>) -> Result<(), Box<Met>> {
        let mut has_more = false;
        for piece in message
            .pieces
            .iter()
            .flat_map(|piece| piece.chunks(CHUNK_MAX))
        {
            has_more = self.gather(piece, message.undotted) != Room::Full;
            if !has_more {
                self.send_on().await?;
            }
        }
        match has_more {
            true => self.send_on().await,
            false => Ok(()),
        }
    }

    /// Takes a piece, of a body of which `facts` hold to the end of the piece. Never [`Room::None`].
    pub fn take(&mut self, piece: &[u8], facts: &BodyFacts) -> Room {
        self.gather(piece, facts.is_undotted())
    }

    fn gather(&mut self, piece: &[u8], undotted: bool) -> Room {
        let gathered = if self.lease.session().sends_chunks() {
            self.chunk.extend_from_slice(piece);
            self.chunk.len()
        } else {
            self.lease.undotted(undotted);
            self.lease.body(&[piece], false);
            self.lease.unsent()
        };
        match gathered < PIECE {
            true => Room::Ample,
            false => Room::Full,
        }
    }

    /// Sends on what was gathered.
    ///
    /// # Errors
    /// What came of the message: the backend refused it in its middle, or was lost. To be abandoned.
    pub async fn forward(&mut self) -> Result<(), Box<Outcome>> {
        let sent = self.send_on().await;
        sent.map_err(|met| {
            record(&self.pools, &met.outcome, &self.lease);
            Box::new(met.outcome)
        })
    }

    async fn send_on(&mut self) -> Result<(), Box<Met>> {
        // Since the last piece the client was waited for.
        self.lease.resume();
        self.make_room().await?;
        self.lease.body(&[&self.chunk], false);
        self.chunk.clear();
        // A send that fails is heard of in `listen`, together with what the backend may have said before it went.
        let sent = self.lease.flush().await;
        self.lease.resume();
        self.listen().await?;
        sent.map_err(|broken| self.broken(broken))
    }

    /// Waits until another piece may be sent (BDAT counts chunks).
    async fn make_room(&mut self) -> Result<(), Box<Met>> {
        while !self.lease.takes_body() {
            self.hear().await?;
        }
        Ok(())
    }

    /// Hears what the backend says meanwhile, without waiting for it.
    async fn listen(&mut self) -> Result<(), Box<Met>> {
        while self.lease.has_news() {
            self.hear().await?;
        }
        Ok(())
    }

    async fn hear(&mut self) -> Result<(), Box<Met>> {
        let event = match self.lease.next().await {
            Ok(event) => event,
            Err(broken) => return Err(self.broken(broken)),
        };
        match event {
            Event::Final(head) if !head.is_positive() => {
                Err(Box::new(self.heard().last(&self.lease, false)))
            }
            _ => Ok(()),
        }
    }

    fn heard(&self) -> Heard {
        Heard::with(self.times, Step::Data)
    }

    fn broken(&self, broken: Broken) -> Box<Met> {
        Box::new(self.heard().broken(&self.lease, broken))
    }

    /// Sends the rest and the end, and waits for the final reply. `eight_bit`: whether the whole body has octets above
    /// 127; the backend may not take those (RFC 6152), and then never gets the end.
    pub async fn end(mut self, eight_bit: bool) -> Outcome {
        if let (Some(leased), recorder) = (self.times.leased, self.pools.recorder()) {
            let took = now().micros_since(leased);
            recorder.record(Stage::Stream, self.lease.scope(), took);
        }
        let met = match eight_bit && !self.takes_eight_bit() {
            true => {
                let seen = &self.lease.backend().seen;
                let ending = match seen.could(0, Extensions::EIGHTBITMIME, now()) {
                    true => Ending::Lapsed(Unsupported::EightBit),
                    false => Ending::Unsupported(Unsupported::EightBit),
                };
                self.heard().met(&self.lease, ending)
            }
            false => self.finish().await,
        };
        record(&self.pools, &met.outcome, &self.lease);
        self.lease.give_back();
        met.outcome
    }

    async fn finish(&mut self) -> Met {
        self.lease.resume();
        if let Err(met) = self.make_room().await {
            return *met;
        }
        self.lease.body(&[&self.chunk], true);
        self.times.sent = Some(self.lease.now());
        loop {
            match self.lease.next().await {
                Err(broken) => return *self.broken(broken),
                Ok(Event::Final(head) | Event::FinalFor(_, head)) => {
                    let heard = self.heard();
                    return heard.end(&mut self.lease, head).await;
                }
                Ok(_) => {}
            }
        }
    }

    fn takes_eight_bit(&self) -> bool {
        let offered = self.lease.capabilities().extensions;
        offered.has(Extensions::EIGHTBITMIME)
    }

    /// The lease that it goes over: which backend gets it, for the log should the client go.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Breaks off, so that the backend delivers nothing: the connection is reset where that is enough (BDAT),
    /// closed without a dot where it is not (DATA).
    pub fn abandon(self) {
        self.lease.abandon();
    }
}
