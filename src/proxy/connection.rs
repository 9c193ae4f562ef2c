//! One client's connection: reads, steps the server machine, does what it says, writes.
//!
//! The loop is the whole of it: input goes to the core, an action comes back. Questions are answered in
//! `ask`, the body goes to `body`, its end to `commit`. Replies pile up in `out` and leave in one write when
//! the core wants to read on, so a pipelined batch costs one send.
//!
//! Most sessions do nothing most of the time, and what one owns then is what it holds over the read in `turn`. So
//! what only a message needs is boxed for as long as it is under way (`commit`, `body`, the question to a backend),
//! and the buffer of the replies is the worker's while there are none.

use super::{
    context::{Context, Current},
    io::{Input, Io},
    login::Login,
    peer::{Peer, arrive},
    site::{ListenerSite, Place, scarce},
    trace,
    transaction::Transaction,
};
use crate::{
    config::ListenerTls,
    delivery::Room,
    metrics::{Counter, Gauge, Scope, Stage},
    net::{Stream, now},
    policy::CheckId,
    record::{End, Refusals},
    smtp::{
        Tick,
        command::Verb,
        server::{Action, Answer, Interrupt, Phase, Server, Signals},
    },
};
use std::{io, rc::Rc, time::Duration};

/// After the last reply: how much input is swallowed, and for how long, so that the reply isn't lost to a reset. As much as
/// the socket buffers of both ends may hold by then (`tcp_rmem` and `tcp_wmem` of Linux: 6 and 4 MiB at most, less by
/// far as a rule).
const LINGER_OCTETS: u64 = 4 * 1024 * 1024;
const LINGER: Duration = Duration::from_secs(2);

/// One session under way.
pub(super) struct Session {
    pub context: Rc<Context>,
    pub current: Rc<Current>,
    pub listener: usize,
    pub scope: Scope,
    pub io: Io,
    pub server: Server,
    pub peer: Peer,
    /// Where the session stood before the last step: told where it ends.
    pub phase: Phase,
    pub place: Option<Place>,
    /// Whether its address is let in, where that was asked before the greeting was due.
    pub admitted: Option<Box<Answer>>,
    /// AUTH: under way, or done.
    pub login: Option<Box<Login>>,
    pub transaction: Option<Box<Transaction>>,
    pub transactions: u32,
    /// What was refused outside of transactions.
    pub refusals: Refusals,
    /// The check that has refused what is being asked.
    pub decided: Option<CheckId>,
    pub started: Tick,
    /// The moment of the last event; a clock read for each would cost more than it tells.
    pub now: Tick,
    /// Counts of commands as they were at the last look, of which the low bits are enough.
    counted: [u16; Verb::COUNT],
    _open: Counted,
}

/// Serves one connection to its end.
pub async fn serve(context: Rc<Context>, listener: Rc<str>, stream: Stream) {
    // What only the beginning needs is not a part of what an idle session owns.
    let Some(mut session) = Box::pin(begin(context, listener, stream)).await else {
        return;
    };
    let end = session.run().await;
    session.finish(end);
    let Io { stream, .. } = session.io;
    match end.lingers {
        true => Box::pin(stream.close_lingering(LINGER_OCTETS, LINGER)).await,
        false => stream.close(),
    }
}

/// Finds out whose connection it is and makes its session; `None` where it is none of ours, or ends before it begins.
async fn begin(
    context: Rc<Context>,
    listener: Rc<str>,
    mut stream: Stream,
) -> Option<Box<Session>> {
    let started = now();
    let current = context.current();
    // By name: a reload may have put the listeners in another order. None is ever taken away.
    let named = |site: &ListenerSite| *site.name == *listener;
    let listener = current.site.listeners.iter().position(named)?;
    let site = &current.site.listeners[listener];
    let (scope, place) = (site.scope, site.enter());
    context.recorder.count(Counter::Accepted, scope, 1);
    let open = Counted::new(&context, scope);
    let peer = arrive(&context, &current, site, &mut stream).await?;
    let granted = site.grants(peer.address);
    let secured = peer.via.as_ref().is_some_and(|via| via.is_secured());
    let mut session = Box::new(Session {
        server: Server::new(current.settings(listener), started),
        phase: Phase::Connect,
        listener,
        scope,
        io: Io {
            out: context.buffer(),
            ..Io::new(stream)
        },
        peer,
        place,
        admitted: None,
        login: None,
        transaction: None,
        transactions: 0,
        refusals: Refusals::default(),
        decided: None,
        started,
        now: started,
        counted: [0; Verb::COUNT],
        current,
        context,
        _open: open,
    });
    if secured {
        session.server.secured();
    }
    session.server.grant(granted);
    session.server.trust(session.peer.trusted);
    Some(session)
}

/// A session among those that are open; also one that panics is counted out.
struct Counted(Rc<Context>, Scope);

impl Counted {
    fn new(context: &Rc<Context>, scope: Scope) -> Counted {
        context.sessions.set(context.sessions.get() + 1);
        context.recorder.add(Gauge::Sessions, scope, 1);
        Counted(Rc::clone(context), scope)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.sessions.set(self.0.sessions.get() - 1);
        self.0.recorder.add(Gauge::Sessions, self.1, -1);
    }
}

impl Session {
    async fn run(&mut self) -> End {
        let implicit = self.current.site.listeners[self.listener].tls == ListenerTls::Implicit;
        if implicit && let Some(end) = Box::pin(self.secure_at_once()).await {
            return end;
        }
        loop {
            let step = self
                .server
                .step(self.now, self.io.input.bytes(), &mut self.io.out);
            match step.action {
                Action::Body(span) => {
                    match self.take(span) {
                        Room::Ample => self.io.input.consume(step.consumed),
                        room => Box::pin(self.make_room(room, span, step.consumed)).await,
                    }
                    continue;
                }
                Action::Refused(ref reply) => {
                    self.note_core(reply, step.consumed);
                    continue;
                }
                _ => self.io.input.consume(step.consumed),
            }
            // What has ended the transaction is settled when it was dropped.
            if step.action != Action::Discard {
                self.settle_transaction();
            }
            match step.action {
                Action::Body(_) | Action::Refused(_) => {}
                Action::Read => {
                    self.count_verb();
                    if let Some(end) = self.turn().await {
                        return end;
                    }
                }
                Action::Ask(question) => self.ask(question).await,
                Action::Insert(piece) => match self.insert(piece) {
                    Room::Ample => {}
                    room => Box::pin(self.send_on(room, piece)).await,
                },
                Action::Discard => self.drop_body(),
                Action::End => {
                    self.io.input.settle();
                    Box::pin(self.commit()).await;
                }
                Action::StartTls => {
                    self.count_verb();
                    if self.flush().await.is_err() {
                        return End::client(self.phase);
                    }
                    if let Some(end) = Box::pin(self.secure()).await {
                        return end;
                    }
                }
                Action::Close => {
                    self.count_verb();
                    let end = self.end_of_close();
                    // After QUIT the client sends nothing: the reply leaves together with the end of the connection.
                    let last = !end.lingers && self.io.input.bytes().is_empty();
                    return match self.write(last).await {
                        Ok(()) => end,
                        Err(_) => End::client(end.phase),
                    };
                }
            }
        }
    }

    /// Writes what is due and reads on. `Some` ends the session.
    async fn turn(&mut self) -> Option<End> {
        let phase = self.server.phase();
        self.phase = phase;
        if self.is_outpaced() {
            return Some(self.expire(phase).await);
        }
        self.settle_login(phase);
        if let Err(error) = self.flush().await {
            // One that doesn't read its replies is ended like one that doesn't speak, without a last word.
            return Some(match error.kind() {
                io::ErrorKind::TimedOut => self.timed_out(phase),
                _ => End::client(phase),
            });
        }
        if self.drains() {
            return None;
        }
        let (due, idle) = (self.deadline(), self.server.is_idle());
        let read = self.io.read(&self.context, due, idle).await;
        self.now = now();
        match read {
            Ok(Some(chunk)) => {
                self.context
                    .recorder
                    .count(Counter::BytesIn, self.scope, chunk.len() as u64);
                self.io.input = Input::Lent(chunk, 0);
                // A process that goes down answers the next command with 421.
                self.drains();
                None
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                if self.drains() {
                    return None;
                }
                Some(self.expire(phase).await)
            }
            Ok(None) | Err(_) => Some(End::client(phase)),
        }
    }

    /// When the client must have moved. Looked at anew at each turn, so that sessions under way make room too.
    fn deadline(&self) -> Tick {
        match self.is_stressed() {
            true => self.server.deadline_by(&self.current.site.timeouts(true)),
            false => self.server.deadline(),
        }
    }

    /// Whether places or memory are scarce.
    pub fn is_stressed(&self) -> bool {
        let site = &self.current.site;
        let others = self.context.sessions.get().saturating_sub(1);
        site.listeners[self.listener].is_scarce()
            || scarce(others, site.config.limits.sessions)
            || self.context.memory.is_scarce()
    }

    /// Tells the core that the process goes down, if it does; whether the session ends now.
    fn drains(&mut self) -> bool {
        if !self.context.draining.get() || self.server.phase() == Phase::Closed {
            return false;
        }
        self.server.interrupt(Interrupt::Drain, &mut self.io.out);
        self.server.phase() == Phase::Closed
    }

    /// Ends a session that took too long, or that streamed too slowly while others waited.
    async fn expire(&mut self, phase: Phase) -> End {
        let outpaced = self.is_outpaced();
        // The backend's connection first: the client may take its time for the last word.
        self.drop_body();
        let why = match outpaced {
            true => Interrupt::Overload,
            false => Interrupt::Timeout,
        };
        self.server.interrupt(why, &mut self.io.out);
        self.note_farewell();
        let _ = self.flush().await;
        match outpaced {
            true => End {
                by: "gatepost",
                phase,
                why: "slow",
                lingers: false,
            },
            false => self.timed_out(phase),
        }
    }

    fn timed_out(&self, phase: Phase) -> End {
        self.context.recorder.timed_out(phase.as_str());
        End {
            by: "gatepost",
            phase,
            why: "timeout",
            lingers: false,
        }
    }

    /// Sends the replies that are due.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.write(false).await
    }

    /// Sends the replies that are due; the `last` ones go with the close that must follow.
    async fn write(&mut self, last: bool) -> io::Result<()> {
        let deadline = self.now.after(self.current.site.config.timeouts.send.0);
        self.io
            .write(&self.context, self.scope, deadline, last)
            .await
    }

    /// Records the time of a command that was handled without a question.
    fn count_verb(&mut self) {
        let verb = self.server.verb();
        let seen = self.server.tally().of(verb) as u16;
        if std::mem::replace(&mut self.counted[verb as usize], seen) != seen {
            let stage = stage_of(verb);
            if !matches!(
                stage,
                Stage::Hello | Stage::Mail | Stage::Rcpt | Stage::Data | Stage::Bdat | Stage::Auth
            ) {
                let took = now().micros_since(self.now);
                self.context.recorder.record(stage, self.scope, took);
            }
        }
    }

    /// A transaction that is over without an end of data: RSET, a new EHLO, or a refused MAIL.
    fn settle_transaction(&mut self) {
        if self.server.envelope().has_sender() {
            return;
        }
        if let Some(transaction) = self.transaction.take() {
            trace::transaction(self, &transaction, None);
        }
    }

    fn end_of_close(&self) -> End {
        if self.server.verb() == Verb::Quit {
            End {
                by: "client",
                phase: self.phase,
                why: "quit",
                // What was sent behind it may still be on its way: unread, it would reset the connection, and the
                // 221 would be lost.
                lingers: self.server.signals().has(Signals::PAST_QUIT),
            }
        } else {
            End {
                by: "gatepost",
                phase: self.phase,
                why: "refused",
                lingers: true,
            }
        }
    }

    fn finish(&mut self, end: End) {
        self.now = now();
        self.context.keep(std::mem::take(&mut self.io.out));
        if let Some(mut transaction) = self.transaction.take() {
            transaction.size = transaction.size.max(self.server.body_facts().size);
            trace::transaction(self, &transaction, Some(end));
        }
        trace::session(self, end);
        self.context.recorder.ended(end.by, end.phase.as_str());
        self.context.recorder.record(
            Stage::Session,
            self.scope,
            self.now.micros_since(self.started),
        );
    }
}

/// The stage that a command's time is recorded under.
pub(super) fn stage_of(verb: Verb) -> Stage {
    match verb {
        Verb::Ehlo | Verb::Helo => Stage::Hello,
        Verb::Mail => Stage::Mail,
        Verb::Rcpt => Stage::Rcpt,
        Verb::Data => Stage::Data,
        Verb::Bdat => Stage::Bdat,
        Verb::Rset => Stage::Rset,
        Verb::Noop => Stage::Noop,
        Verb::Vrfy => Stage::Vrfy,
        Verb::Expn => Stage::Expn,
        Verb::Help => Stage::Help,
        Verb::Quit => Stage::Quit,
        Verb::StartTls => Stage::StartTls,
        Verb::Auth => Stage::Auth,
        _ => Stage::Other,
    }
}
