//! A connection that is borrowed for one transaction.
//!
//! ```text
//! open ─ flush ─ next … Go ─ body ─ flush ─ … ─ body(last) ─ next … Final ─ give_back
//! ```
//!
//! A lease that failed between its first byte and its final reply is closed, never given back
//! (INV-CLEAN); dropping a lease closes it. Each stage has its own deadline: [`Lease::next`] waits for the reply to
//! the end of data as long as `timeouts.commit` says, for any other as long as `timeouts.backend`, also where the body was
//! sent ahead of it.

use super::{
    conn::Conn,
    error::Broken,
    health::Trouble,
    learned::Tally,
    message_source::MessageSource,
    pooling::{backend::Backend, shares::Share},
    pools::{Local, Pools},
    reply::BackendReply,
    silence::Trial,
};
use crate::{
    metrics::{Counter, Gauge, Scope},
    net,
    smtp::{
        Capabilities, Envelope, Tick,
        backend_session::{
            Abort, BackendError, BackendSession, BackendState, Event, Load, To, Unsupported,
        },
        envelope::{BodyKind, Path},
        reply_parse::{ReplyHead, ReplyRef},
    },
};
use std::{fmt, rc::Rc, sync::Arc, time::Duration};

/// A borrowed connection. Dropping it closes it without a word, so that the backend discards what is open.
pub struct Lease {
    /// `None` only while it is being given back.
    conn: Option<Box<Conn>>,
    pub(super) pools: Rc<Pools>,
    pub(super) local: Rc<Local>,
    pub(super) place: usize,
    reused: bool,
    heard: bool,
    pub(super) broken: bool,
    /// The end of a body was written.
    ended: bool,
    /// The connection is to be closed instead of pooled.
    retired: bool,
    /// It carries a question of ours, and no message.
    pub(super) asks: bool,
    /// What the replies to its recipients show.
    pub(super) tally: Tally,
    /// When its message began.
    begun: Tick,
    /// What its message has waited for the backend, all together.
    pub(super) waited: Duration,
    /// It is the backend's one message whose yes will be confirmed.
    confirms: bool,
    /// Until when its answers are waited for, whatever the limits say: a question's time.
    until: Tick,
    pub(super) held: Held,
}

/// What a lease's message holds as long as it has the lease.
pub(super) struct Held {
    /// The key of its client, where that has a share of the connections.
    pub(super) client: Option<u128>,
    /// What its client may have.
    pub(super) _share: Option<Share>,
    /// It is the message that a silent backend gets to show whether it works.
    pub(super) trial: Option<Trial>,
}

impl Lease {
    pub(super) fn new(
        mut conn: Box<Conn>,
        pools: Rc<Pools>,
        local: Rc<Local>,
        place: usize,
        reused: bool,
        now: Tick,
        held: Held,
    ) -> Lease {
        conn.now = now;
        conn.permit.backend().lease_begun();
        pools
            .recorder
            .add(Gauge::BackendLeased, local.scopes[place], 1);
        Lease {
            conn: Some(conn),
            pools,
            local,
            place,
            reused,
            heard: false,
            broken: false,
            ended: false,
            retired: false,
            asks: false,
            tally: Tally::default(),
            begun: now,
            waited: Duration::ZERO,
            confirms: false,
            until: Tick::FAR,
            held,
        }
    }

    pub(super) fn conn(&self) -> &Conn {
        self.conn
            .as_ref()
            .expect("taken only when it is given back")
    }

    pub(super) fn conn_mut(&mut self) -> &mut Conn {
        self.conn
            .as_mut()
            .expect("taken only when it is given back")
    }

    /// The backend.
    #[must_use]
    pub fn backend(&self) -> &Arc<Backend> {
        self.conn().permit.backend()
    }

    /// The TLS version that the connection speaks; `None`: none.
    #[must_use]
    pub fn tls(&self) -> Option<&'static str> {
        self.conn().stream.tls().map(|facts| facts.version)
    }

    /// The backend's scope in the metrics.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.local.scopes[self.place]
    }

    /// The last moment that the lease knows: when it was had, when the backend was last heard, or when it had not been
    /// heard in time. Reading the clock again would tell nothing more.
    #[must_use]
    pub fn now(&self) -> Tick {
        self.conn().now
    }

    /// When its message began: what was known of the backend then holds to the message's end.
    pub(super) fn begun(&self) -> Tick {
        self.begun
    }

    /// Time has passed without the backend: what is waited for from here on is not late already, and no trial lasts as long.
    pub fn resume(&mut self) {
        if let Some(trial) = &mut self.held.trial {
            trial.shorten();
        }
        self.conn_mut().now = net::now();
    }

    /// Whether the connection has carried something before: it may turn out to be stale.
    #[cfg(test)]
    pub(super) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Whether the backend has offered something else, on another connection, since it greeted this one: what this one
    /// can't carry another may.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        let (here, seen) = (self.capabilities(), self.backend().seen.get());
        self.reused
            && seen.is_some_and(|seen| {
                (seen.extensions, seen.size_max) != (here.extensions, here.size_max)
            })
    }

    /// The connection is to be closed once it is given back.
    pub fn retire(&mut self) {
        self.retired = true;
    }

    /// What the backend offers on this connection.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        self.conn().session.capabilities()
    }

    /// The protocol machine, to be asked.
    #[must_use]
    pub fn session(&self) -> &BackendSession {
        &self.conn().session
    }

    /// The reply that the last event came from.
    #[must_use]
    pub fn reply(&self) -> ReplyRef<'_> {
        self.conn().session.reply()
    }

    /// Writes the envelope for sending: see [`BackendSession::open`].
    ///
    /// # Errors
    /// The backend can't take the message; nothing was written, the lease is as it was.
    pub fn open(&mut self, envelope: &Envelope, to: To<'_>, load: Load) -> Result<(), Unsupported> {
        let source = MessageSource::new(self.held.client, envelope.sender().whole);
        self.tally = Tally::new(source);
        // INV-250. BINARYMIME goes by BDAT alone (RFC 3030 §3): it is not for a backend whose yes may be to anything, and by
        // one that merely could not be asked it is not refused.
        let (now, binary) = (self.now(), envelope.params().body == BodyKind::BinaryMime);
        let in_step = &self.backend().in_step;
        let avoid = match binary {
            true => in_step.is_lost(),
            false => in_step.wants_data(now),
        };
        let is_open = !avoid && !in_step.is_confirmed(now);
        self.begun = now;
        self.waited = Duration::ZERO;
        self.conn_mut().session.avoid_chunks(avoid);
        if is_open && self.session().chunks() && !self.confirms {
            self.confirms = self.backend().in_step.claim();
            let waits = !self.confirms && !binary;
            self.conn_mut().session.avoid_chunks(waits);
        }
        let conn = self.conn_mut();
        conn.session.open(envelope, to, load, &mut conn.out)?;
        conn.uses += 1;
        Ok(())
    }

    /// Whether [`Lease::body`] may be called now: see [`BackendSession::takes_body`].
    #[must_use]
    pub fn takes_body(&self) -> bool {
        self.conn().session.takes_body()
    }

    /// Whether no line of the body begins with a dot: see [`BackendSession::undotted`].
    pub fn undotted(&mut self, none: bool) {
        self.conn_mut().session.undotted(none);
    }

    /// Makes room for so many octets that are written for sending.
    pub fn reserve(&mut self, octets: usize) {
        self.conn_mut().out.reserve_exact(octets);
    }

    /// Octets that were written and not sent yet.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.conn().out.len()
    }

    /// Writes a part of the body for sending; `last` ends it. What was written and not sent yet goes in one
    /// write with it.
    pub fn body(&mut self, pieces: &[&[u8]], last: bool) {
        self.ended |= last;
        let conn = self.conn_mut();
        conn.session.body(pieces, last, &mut conn.out);
    }

    /// Writes the question whether the backend takes a recipient from a sender: see [`BackendSession::verify`]. It is waited
    /// for until then at the longest.
    ///
    /// # Errors
    /// The backend can't be asked; nothing was written.
    pub fn verify(
        &mut self,
        sender: &[u8],
        recipient: Path<'_>,
        until: Tick,
    ) -> Result<(), Unsupported> {
        let utf8 = !recipient.whole.is_ascii() || !sender.is_ascii();
        (self.asks, self.until) = (true, until);
        let conn = self.conn_mut();
        conn.session
            .verify(sender, recipient, utf8, &mut conn.out)?;
        conn.uses += 1;
        Ok(())
    }

    /// The 421 that the backend said before it closed (RFC 5321 §3.8), where that broke the lease.
    #[must_use]
    pub fn farewell(&self) -> Option<BackendReply> {
        let conn = self.conn();
        let closing = matches!(conn.failure(), Some(BackendError::Closing(_)));
        closing.then(|| conn.session.reply().into())
    }

    /// Whether the connection can be relied on to carry this message: it is fresh, or the backend has taken as many
    /// messages on one connection before ([`super::endurance`]).
    #[must_use]
    pub fn will_last(&self) -> bool {
        !self.reused || self.backend().endurance.keeps(self.conn().taken + 1)
    }

    /// Sends what was written. [`Lease::next`] does so by itself; this is for a body that goes on.
    ///
    /// # Errors
    /// The connection failed. The backend may have said why: [`Lease::next`] still reads it.
    pub async fn flush(&mut self) -> Result<(), Broken> {
        let due = self.due();
        let sent = self.conn_mut().flush(due).await;
        sent.map_err(|trouble| self.broke(trouble))
    }

    /// Sends what was written and waits for the next thing the backend says; never `Read`, `Failed`.
    ///
    /// # Errors
    /// The connection failed, the backend did not answer in time, said 421 or something that makes no
    /// sense. Its health has taken note of it.
    pub async fn next(&mut self) -> Result<Event, Broken> {
        let (due, since) = (self.due(), self.now());
        // A body that went ahead has its time to be sent; what is due first is a reply to the envelope.
        let heard_by = match self.session().awaits_envelope() {
            true => due.min(since.after(self.local.pool.waits.reply)),
            false => due,
        };
        match self.conn_mut().next_sent(due, heard_by).await {
            Ok(event) => {
                self.heard = true;
                self.waited += self.now().since(since);
                self.note(event);
                if let Event::Final(head) | Event::FinalFor(_, head) = event
                    && head.is_positive()
                {
                    self.conn_mut().taken += 1;
                    let taken = self.conn().taken;
                    self.backend().endurance.has_kept(taken);
                    let recipients = || self.session().accepted().count();
                    let source = self.tally.source();
                    self.backend()
                        .learned
                        .has_taken(recipients, source, self.now());
                }
                Ok(event)
            }
            Err(trouble) => {
                let broken = self.broke(trouble);
                self.waited += self.now().since(since);
                if let (Trouble::Timeout, Some(trial)) = (trouble, &mut self.held.trial) {
                    trial.hangs();
                }
                // Also where the body had gone ahead, so that the message is in doubt: the next one must not be.
                if self.reused && !self.heard && trouble != Trouble::Timeout {
                    let taken = self.conn().taken;
                    self.backend().endurance.has_closed_at(taken + 1);
                }
                self.take_note(&broken);
                if self.conn().has_shifted() {
                    self.pools.said_too_much(&self.local, self.place);
                }
                Err(broken)
            }
        }
    }

    /// Counts a reply to one of its recipients.
    pub(super) fn hear_recipient(&mut self, head: ReplyHead) {
        let conn = self.conn.as_ref();
        let taken = || conn.map_or(0, |conn| conn.session.accepted().count());
        self.tally.hear(head, taken);
    }

    /// Whether the backend has said something, or has gone, while nothing was asked of it: in the middle of
    /// a streamed body, call [`Lease::next`] then. One system call.
    #[must_use]
    pub fn has_news(&self) -> bool {
        !self.conn().stream.is_quiet()
    }

    fn due(&self) -> Tick {
        let waits = &self.local.pool.waits;
        let limit = match self.conn().session.state() {
            BackendState::Committing => waits.commit,
            _ => waits.reply,
        };
        self.now().after(limit).min(self.until)
    }

    pub(super) fn broke(&mut self, trouble: Trouble) -> Broken {
        self.broken = true;
        // Where the replies have shifted, a refusal that was heard may not be one of this message.
        let uncertain =
            self.conn().session.is_uncertain() || (self.ended && self.conn().has_shifted());
        // What lies on a pooled connection shifts the replies; without the end of a body nothing can have been delivered.
        let is_old = match self.heard {
            false => trouble != Trouble::Timeout,
            true => self.conn().has_shifted() && !self.ended,
        };
        Broken {
            trouble,
            backend: self.backend().id,
            stale: self.reused && is_old && !uncertain,
            uncertain,
        }
    }

    /// Ends the lease: the connection goes back to the pool if it is clean, or after a RSET if that makes it
    /// clean; else it is closed.
    // INV-CLEAN
    pub fn give_back(mut self) {
        let Some(mut conn) = self.conn.take() else {
            return;
        };
        self.over(&conn);
        let (pools, local, place) = (&self.pools, &self.local, self.place);
        if self.broken {
            pools.closed(Counter::ClosedFailed, local.scopes[place]);
        } else if conn.is_clean() && self.retired {
            pools.part(conn, local, place, Counter::ClosedAge);
        } else if conn.is_clean() {
            pools.take_back(conn, local, place);
        } else if conn.session.abort(&mut conn.out) == Abort::Reset {
            pools.tidy(conn, local, place);
        } else {
            pools.closed(Counter::ClosedAborted, local.scopes[place]);
        }
    }

    /// Leaves the transaction so that the backend delivers nothing of it: closes the connection without
    /// another byte, or keeps it with a RSET where that has the same effect (no body is open, or BDAT).
    pub fn abandon(self) {
        self.give_back();
    }

    fn over(&self, conn: &Conn) {
        if self.confirms {
            conn.permit.backend().in_step.release();
        }
        conn.permit.backend().lease_ended();
        let scope = self.local.scopes[self.place];
        self.pools.recorder.add(Gauge::BackendLeased, scope, -1);
    }
}

// INV-CLEAN, and INV-TAIL where the client has gone: what is under way ends with its connection.
impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            self.over(&conn);
            let counter = match self.broken {
                true => Counter::ClosedFailed,
                false => Counter::ClosedAborted,
            };
            self.pools.closed(counter, self.local.scopes[self.place]);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("backend", &self.backend().label)
            .field("reused", &self.reused)
            .finish_non_exhaustive()
    }
}
