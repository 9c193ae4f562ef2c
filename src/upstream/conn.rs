//! One connection to a backend: its stream, its protocol machine and its permit, kept together for life.

use super::{
    health::Trouble,
    in_step::is_farewell,
    origin::{Origin, Owner, keeps_apart},
    pool::Pool,
    pooling::{
        budget::Permit,
        handover::{Handover, farewell},
    },
    proxy_header,
    reply::BackendReply,
    strain::Strain,
};
use crate::{
    config::PoolIdentity,
    metrics::Counter,
    net::{Chunk, Stream, now},
    smtp::{
        Tick,
        backend_session::{BackendError, BackendSession, BackendState, Event},
    },
    tls::Connector,
};
use std::{io, mem, time::Duration};

/// A connection keeps at most this much of the memory that a large message took.
const SPARE_MAX: usize = 32 * 1024;
/// How long a backend may take to answer QUIT before the connection is closed all the same.
const GOODBYE: Duration = Duration::from_secs(1);
/// Octets that it may say to that.
const GOODBYE_MAX: u64 = 4096;
/// How long a connection that can serve but one client waits for its next message.
const OWNED_IDLE: Duration = Duration::from_secs(5);

/// A connection of this worker. Boxed for its life: it moves between pool and lease with each message.
pub(super) struct Conn {
    pub(super) stream: Stream,
    pub(super) session: BackendSession,
    /// What the client wants to be sent.
    pub(super) out: Vec<u8>,
    /// Received, and used up to `used`.
    unread: Option<Chunk>,
    used: usize,
    /// The backend has ended its side in an orderly way.
    closed: bool,
    /// Why the client is of no more use.
    failure: Option<BackendError>,
    /// The last moment that is known: deadlines count from it. Set by what was received, by a wait in vain, after one for the client.
    pub(super) now: Tick,
    pub(super) born: Tick,
    /// When it was last put into the pool.
    pub(super) idle_since: Tick,
    /// Messages and verifications that it has carried.
    pub(super) uses: u32,
    /// Messages that the backend has taken on it.
    pub(super) taken: u32,
    pub(super) strain: Strain,
    /// The client that the backend takes it for.
    pub(super) owner: Option<Box<Owner>>,
    // Behind the stream: the descriptor is closed before the permit is given to another connection.
    pub(super) permit: Permit,
}

impl Conn {
    pub(super) fn new(stream: Stream, session: BackendSession, permit: Permit) -> Box<Conn> {
        let now = now();
        Box::new(Conn {
            stream,
            session,
            out: Vec::new(),
            unread: None,
            used: 0,
            closed: false,
            failure: None,
            now,
            born: now,
            idle_since: Tick::default(),
            uses: 0,
            taken: 0,
            strain: Strain::default(),
            owner: None,
            permit,
        })
    }

    /// Sends what the client wants to be sent.
    pub(super) async fn flush(&mut self, due: Tick) -> Result<(), Trouble> {
        flush(&mut self.stream, &mut self.out, due).await
    }

    /// The next event that is not `Read`; sends and receives as it must, each until `due`.
    pub(super) async fn next(&mut self, due: Tick) -> Result<Event, Trouble> {
        self.next_sent(due, due).await
    }

    /// The same where sending may take longer than an answer: until `by`, and the answer has its whole time after it.
    pub(super) async fn next_sent(&mut self, by: Tick, mut due: Tick) -> Result<Event, Trouble> {
        let limit = due.since(self.now);
        loop {
            match self.step() {
                Event::Read => {}
                Event::Failed(error) => {
                    self.failure = Some(error);
                    return Err(blame(error));
                }
                event => {
                    self.strain.note(event);
                    return Ok(event);
                }
            }
            // Questions apart: what is slow to answer those (a tarpit for guesses) may take messages at once.
            let (backend, state) = (self.permit.backend(), self.session.state());
            let mut waiting = match self.session.is_question() {
                true => backend.answers.wait(self.now),
                false => (backend.silence).wait(self.now, state == BackendState::Committing),
            };
            // What could not be sent may have been answered: one that refuses a body in its middle says so and closes.
            let is_long = by > due && self.out.len() > SPARE_MAX;
            let sent = flush(&mut self.stream, &mut self.out, by).await;
            if is_long {
                due = due.max(now().after(limit).min(by));
            }
            self.stream.set_deadline(due);
            let received = self.stream.recv().await;
            // Also of a wait in vain: what it came to is noted at the time when it's known.
            self.now = now();
            match received {
                Ok(Some(chunk)) => self.unread = Some(chunk),
                Ok(None) => {
                    self.closed = sent.is_ok();
                    return Err(sent.err().unwrap_or(Trouble::Lost));
                }
                Err(error) => {
                    // Many servers close TLS without a close_notify. A reply that was read whole before it was theirs all the
                    // same, and cutting the wire makes none.
                    self.closed = sent.is_ok() && error.kind() == io::ErrorKind::UnexpectedEof;
                    let trouble = trouble_of(&error);
                    if trouble == Trouble::Timeout {
                        waiting.give_up(self.now);
                    }
                    return Err(trouble);
                }
            }
        }
    }

    fn step(&mut self) -> Event {
        let input = self.unread.as_deref().unwrap_or_default();
        let step = self.session.step(&input[self.used..], &mut self.out);
        self.used += step.consumed;
        if self.unread.as_ref().is_some_and(|c| self.used >= c.len()) {
            self.unread = None;
            self.used = 0;
        }
        step.event
    }

    /// Tells the backend whose the next message is, as the pool wants it told; `None`: it is a question of ours. Waits
    /// for the backend only where it must be introduced to another client than before.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub(super) async fn introduce(
        &mut self,
        pool: &Pool,
        origin: Option<&Origin<'_>>,
        due: Tick,
    ) -> Result<Option<Counter>, Trouble> {
        match (pool.identity, origin) {
            (PoolIdentity::Xforward, Some(origin)) => {
                let offered = origin.with_facts(|facts| self.session.forward(facts));
                return Ok(Some(match offered {
                    true => Counter::IdentityTold,
                    false => Counter::IdentityUnoffered,
                }));
            }
            (PoolIdentity::Xforward, None) => {
                self.session.forward(&[]);
            }
            (PoolIdentity::Xclient, Some(origin)) => {
                if self.owner.as_ref().is_some_and(|owner| owner.is(origin)) {
                    return Ok(None);
                }
                let begun = origin
                    .with_facts(|facts| self.session.introduce(facts, origin.hello, &mut self.out));
                if !begun {
                    return Ok(Some(Counter::IdentityUnoffered));
                }
                // Also where it fails under way: then it is unknown whose it is.
                self.owner = Some(Owner::new(origin));
                return match self.next(due).await? {
                    Event::Ready if self.is_clean() => Ok(Some(Counter::IdentityTold)),
                    _ => Err(Trouble::Nonsense),
                };
            }
            _ => {}
        }
        Ok(None)
    }

    /// Sends what must come before everything else, TLS too: the PROXY header, where the pool wants one.
    pub(super) async fn announce(
        &mut self,
        pool: &Pool,
        origin: Option<&Origin<'_>>,
        due: Tick,
    ) -> Result<(), Trouble> {
        let stream = &self.stream;
        let ours = || Some((stream.local().ok()?, stream.peer()));
        proxy_header::write(pool.identity, origin, ours, &mut self.out);
        if keeps_apart(pool.identity) && !self.out.is_empty() {
            self.owner = origin.map(Owner::new);
        }
        self.flush(due).await
    }

    /// Does the TLS handshake; after STARTTLS the client then says EHLO anew.
    ///
    /// # Errors
    /// It failed; the connection is of no more use.
    pub(super) async fn secure(&mut self, connector: &Connector, due: Tick) -> io::Result<()> {
        self.stream.set_deadline(due);
        self.stream.connect_tls(connector).await?;
        if !self.session.is_secured() {
            self.session.secured(&mut self.out);
        }
        Ok(())
    }

    /// Closes it without a word, and keeps the right to another.
    pub(super) fn drop_for_permit(self: Box<Self>) -> Permit {
        let Conn { stream, permit, .. } = *self;
        stream.close();
        permit
    }

    /// What the backend said or did that no SMTP server should.
    pub(super) fn failure(&self) -> Option<BackendError> {
        self.failure
    }

    /// What the backend said where that made the connection fail: its refusal in the greeting or to EHLO, or its 421.
    pub(super) fn last_words(&self) -> Option<String> {
        match self.failure? {
            BackendError::Greeting(_) | BackendError::Hello(_) | BackendError::Closing(_) => {
                Some(BackendReply::from(self.session.reply()).to_string())
            }
            _ => None,
        }
    }

    /// Whether the backend has ended its side where a reply was due, and did not reset it. Under TLS with or without a
    /// close_notify.
    pub(super) fn has_closed(&self) -> bool {
        self.closed
    }

    /// Whether what broke it shows that the backend says more than it is asked.
    pub(super) fn has_shifted(&self) -> bool {
        match self.failure {
            Some(BackendError::Unasked) => true,
            Some(BackendError::Unexpected(head)) => head.is_positive(),
            _ => false,
        }
    }

    /// Whether it says more than it is asked, and does not only take leave: of one that should have become clean.
    pub(super) fn said_too_much(&self) -> bool {
        match self.surplus() {
            [] => self.has_shifted(),
            _ if matches!(self.failure, Some(BackendError::Closing(_))) => false,
            octets => !is_farewell(octets),
        }
    }

    /// Nothing is under way, unread or unsent: it may serve another transaction.
    pub(super) fn is_clean(&self) -> bool {
        self.session.is_clean() && self.unread.is_none() && self.out.is_empty()
    }

    /// What was received beyond the last reply.
    pub(super) fn surplus(&self) -> &[u8] {
        self.unread.as_deref().map_or(&[], |c| &c[self.used..])
    }

    /// Whether what came while it was idle is more than a farewell: the backend says more than it is asked. Some say 451 for
    /// 421 where they close an idle connection.
    pub(super) async fn has_surplus(self: Box<Self>) -> bool {
        let Conn {
            mut stream, permit, ..
        } = *self;
        stream.set_deadline(now().after(GOODBYE));
        let Ok(Some(said)) = stream.recv().await else {
            stream.close();
            return false;
        };
        match said.first() {
            Some(b'4') if !is_farewell(&said) => {
                // It is closing: the place is another connection's.
                drop(permit);
                // Until it says more, or the deadline passes: not the end of TLS without a word, nor a reset.
                match stream.recv().await {
                    Ok(more) => more.is_some(),
                    Err(error) => error.kind() == io::ErrorKind::TimedOut,
                }
            }
            _ => {
                stream.close();
                !is_farewell(&said)
            }
        }
    }

    /// All that it has received was used.
    pub(super) fn is_read(&self) -> bool {
        self.unread.is_none()
    }

    /// Whether it can be told of another client: Postfix and Gatepost offer no XCLIENT once they were told of one.
    fn can_be_told(&self, kind: PoolIdentity) -> bool {
        kind == PoolIdentity::Xclient && self.session.capabilities().xclient.0 > 0
    }

    /// Why it may not serve another transaction though it is clean; `None` where it may.
    pub(super) fn is_spent(&self, pool: &Pool, now: Tick) -> Option<Counter> {
        let offered = self.session.capabilities().messages_max;
        let worn = |max: u32| max > 0 && self.uses >= max;
        let over = |limit: Duration, from: Tick| !limit.is_zero() && now.since(from) >= limit;
        if self.strain.is_worn() {
            return Some(Counter::ClosedStrain);
        }
        if worn(pool.messages_max) || worn(offered) || over(pool.waits.lifetime, self.born) {
            return Some(Counter::ClosedAge);
        }
        // Only of one that is in the pool.
        let is_bound = self.owner.is_some() && !self.can_be_told(pool.identity);
        let wait = match is_bound && (pool.waits.idle.is_zero() || pool.waits.idle > OWNED_IDLE) {
            true => OWNED_IDLE,
            false => pool.waits.idle,
        };
        let idle = self.idle_since != Tick::default() && over(wait, self.idle_since);
        idle.then_some(Counter::ClosedIdle)
    }

    /// Makes it ready for the pool.
    pub(super) fn rest(&mut self) {
        self.stream.set_deadline(Tick::FAR);
        self.out.shrink_to(SPARE_MAX);
        self.idle_since = self.now;
    }

    /// Says QUIT, ends our side, and waits for the backend to do the same, but not long: its log then shows an orderly
    /// end, and the connection that takes this one's place doesn't come while the backend still counts this one, also
    /// where a waiter gets the permit. Our end goes with the QUIT because Exim waits for it: 200 ms before it answers
    /// QUIT, for as long as it does not come.
    pub(super) async fn quit(mut self: Box<Self>) {
        let _closing = self.permit.backend().closing();
        self.session.quit(&mut self.out);
        if self.flush(now().after(GOODBYE)).await.is_ok() {
            let Conn { stream, permit, .. } = *self;
            stream.close_lingering(GOODBYE_MAX, GOODBYE).await;
            drop(permit);
        }
    }

    /// Closes it after a QUIT whose answer isn't waited for, and keeps the right to another.
    pub(super) fn into_permit(self: Box<Self>) -> Permit {
        let Conn { stream, permit, .. } = *self;
        match stream.into_fd() {
            Ok(fd) => farewell(fd),
            Err(stream) => stream.close(),
        }
        permit
    }

    /// Takes in what another worker handed over.
    pub(super) fn unpack(handover: Handover) -> io::Result<Box<Conn>> {
        let stream = Stream::from_fd(handover.fd)?;
        let mut conn = Conn::new(stream, handover.session, handover.permit);
        conn.born = handover.born;
        conn.uses = handover.uses;
        conn.taken = handover.taken;
        conn.strain = handover.strain;
        conn.owner = handover.owner;
        Ok(conn)
    }

    /// Packs it for another worker.
    pub(super) fn pack(self: Box<Self>) -> Result<Box<Handover>, Box<Conn>> {
        let Conn {
            stream,
            session,
            out,
            unread,
            used,
            closed,
            failure,
            now,
            born,
            idle_since,
            uses,
            taken,
            strain,
            owner,
            permit,
        } = *self;
        match stream.into_fd() {
            Ok(fd) => Ok(Box::new(Handover {
                fd,
                session,
                born,
                uses,
                taken,
                strain,
                owner,
                permit,
            })),
            Err(stream) => Err(Box::new(Conn {
                stream,
                session,
                out,
                unread,
                used,
                closed,
                failure,
                now,
                born,
                idle_since,
                uses,
                taken,
                strain,
                owner,
                permit,
            })),
        }
    }
}

/// How well an idle connection does for a message of this origin, or for a question of ours; `None`: not at all.
pub(super) fn fitness(
    kind: PoolIdentity,
    conn: &Conn,
    origin: Option<&Origin<'_>>,
) -> Option<Fitness> {
    let fits = match (origin, &conn.owner) {
        (None, None) => Fitness::Ready,
        (Some(origin), Some(owner)) if owner.is(origin) => Fitness::Ready,
        _ if !keeps_apart(kind) => Fitness::Ready,
        (Some(_), Some(_)) if conn.can_be_told(kind) => Fitness::Another,
        // Rather not: it would be missed by the next question.
        (Some(_), None) if kind == PoolIdentity::Xclient => Fitness::Unowned,
        (Some(_), _) => return None,
        (None, Some(_)) => return None,
    };
    Some(fits)
}

/// How well a connection does; more is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fitness {
    /// It has no owner, and is to be introduced.
    Unowned,
    /// It was another client's, and is to be introduced anew.
    Another,
    /// As it is.
    Ready,
}

async fn flush(stream: &mut Stream, out: &mut Vec<u8>, due: Tick) -> Result<(), Trouble> {
    if out.is_empty() {
        return Ok(());
    }
    stream.set_deadline(due);
    let (sent, rest) = stream.send(mem::take(out)).await;
    *out = rest;
    sent.map_err(|error| trouble_of(&error))
}

fn trouble_of(error: &io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::TimedOut => Trouble::Timeout,
        _ => Trouble::Lost,
    }
}

/// What a failure of the protocol says about the backend.
fn blame(error: BackendError) -> Trouble {
    match error {
        BackendError::Greeting(_) | BackendError::Hello(_) | BackendError::Closing(_) => {
            Trouble::Unavailable
        }
        BackendError::NoTls | BackendError::TlsRefused(_) => Trouble::Tls,
        BackendError::Origin(_) => Trouble::Origin,
        _ => Trouble::Nonsense,
    }
}
