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
    arrival::{Arrival, Via, true_client},
    context::{Context, Current},
    login::Login,
    site::{ListenerSite, Place, scarce},
    trace::{self, End},
    transaction::{Body, Transaction},
};
use crate::{
    config::ListenerTls,
    delivery::Room,
    metrics::{Counter, Gauge, Scope, Stage},
    net::{Chunk, Stream, now},
    policy::{Judgement, SessionTicket},
    smtp::{
        Reply, Tick,
        command::Verb,
        server::{Action, Interrupt, Phase, Server},
    },
};
use std::{io, net::IpAddr, rc::Rc, time::Duration};

/// After the last reply: how much input is swallowed, and for how long, so that the reply isn't lost to a reset.
const LINGER_OCTETS: u64 = 256 * 1024;
const LINGER: Duration = Duration::from_secs(2);

/// One session under way.
pub(super) struct Session {
    pub context: Rc<Context>,
    pub current: Rc<Current>,
    pub listener: usize,
    pub scope: Scope,
    pub stream: Stream,
    pub server: Server,
    /// Replies that have not been sent. No memory of the session's own while it waits for its client.
    pub out: Vec<u8>,
    /// The true address, whoever stands in front.
    pub client: IpAddr,
    /// The client's port.
    pub port: u16,
    /// The client's host name, by the word of XCLIENT.
    pub name: Option<Box<[u8]>>,
    /// The proxy in front, where there is one, and what it told.
    pub via: Option<Box<Via>>,
    pub trusted: bool,
    /// Where the session stood before the last step, for whoever asks how it ended.
    pub phase: Phase,
    /// It talked before the greeting.
    pub early: bool,
    pub judgement: Judgement,
    pub ticket: Option<SessionTicket>,
    pub place: Option<Place>,
    /// AUTH: under way, or done.
    pub login: Option<Box<Login>>,
    pub transaction: Option<Box<Transaction>>,
    pub transactions: u32,
    pub started: Tick,
    /// When a final reply was due that has not been sent yet.
    pub reply_due: Option<Tick>,
    /// The moment of the last event; a clock read for each would cost more than it tells.
    pub now: Tick,
    pub input: Input,
    counted: [u32; Verb::COUNT],
}

/// Bytes that were read and not yet stepped through: lent by the engine, or a copy of the rest of them where
/// a long wait is ahead (a lent buffer is for the moment, not for a backend's ten minutes).
pub(super) enum Input {
    None,
    Lent(Chunk, usize),
    Own(Vec<u8>, usize),
}

impl Input {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Input::None => &[],
            Input::Lent(chunk, at) => &chunk[*at..],
            Input::Own(bytes, at) => &bytes[*at..],
        }
    }

    pub fn consume(&mut self, count: usize) {
        match self {
            Input::None => {}
            Input::Lent(_, at) | Input::Own(_, at) => *at += count,
        }
        if self.bytes().is_empty() {
            *self = Input::None;
        }
    }

    /// Gives a loan back before a wait for somebody else.
    pub fn settle(&mut self) {
        if let Input::Lent(..) = self {
            *self = Input::Own(self.bytes().to_vec(), 0);
        }
    }
}

/// Serves one connection to its end.
pub async fn serve(context: Rc<Context>, listener: Rc<str>, mut stream: Stream) {
    let started = now();
    let current = context.current();
    // By name: a reload may have put the listeners in another order. None is ever taken away.
    let named = |site: &ListenerSite| *site.name == *listener;
    let Some(listener) = current.site.listeners.iter().position(named) else {
        return;
    };
    let site = &current.site.listeners[listener];
    let (scope, place) = (site.scope, site.enter());
    let here = context.sessions.get();
    let stressed = site.is_scarce() || scarce(here, current.site.config.limits.sessions);
    context.recorder.count(Counter::Accepted, scope, 1);
    let _counted = Counted::new(&context, scope);
    let wait = current.site.config.timeouts.proxy_header.0;
    let arrived = true_client(&context, site, wait, &mut stream).await;
    let Some(Arrival { client, port, via }) = arrived else {
        return;
    };
    let granted = site.grants(client);
    // Only a proxy that is listed is listened to.
    let shown = via.as_ref().map_or(&[][..], |via| via.secured().1);
    let trusted = current.site.trusts(client) || site.trusts_certificate(shown);
    let mut session = Session {
        server: Server::new(current.settings(listener, stressed), started),
        trusted,
        phase: Phase::Connect,
        early: false,
        listener,
        scope,
        stream,
        out: context.buffer(),
        client,
        port,
        name: None,
        via,
        judgement: Judgement::new(),
        ticket: None,
        place,
        login: None,
        transaction: None,
        transactions: 0,
        started,
        reply_due: None,
        now: started,
        input: Input::None,
        counted: [0; Verb::COUNT],
        current,
        context,
    };
    if session.via.as_ref().is_some_and(|via| via.is_secured()) {
        session.server.secured();
    }
    session.server.grant(granted);
    let end = session.run().await;
    session.finish(end);
    if end.lingers {
        session.stream.close_lingering(LINGER_OCTETS, LINGER).await;
    } else {
        session.stream.close();
    }
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
                .step(self.now, self.input.bytes(), &mut self.out);
            match step.action {
                Action::Body(span) => {
                    match self.take(span) {
                        Room::Ample => self.input.consume(step.consumed),
                        room => Box::pin(self.make_room(room, span, step.consumed)).await,
                    }
                    continue;
                }
                _ => self.input.consume(step.consumed),
            }
            match step.action {
                // What has ended the transaction is settled when it was dropped, or its refusal heard.
                Action::Discard => {}
                Action::Refused(ref reply) => self.settle_transaction(Some(reply)),
                _ => self.settle_transaction(None),
            }
            match step.action {
                Action::Refused(_) => {}
                Action::Read => {
                    self.count_verb();
                    if let Some(end) = self.turn().await {
                        return end;
                    }
                }
                Action::Ask(question) => self.ask(question).await,
                Action::Body(_) => {}
                Action::Insert(piece) => match self.insert(piece) {
                    Room::Ample => {}
                    room => Box::pin(self.send_on(room, piece)).await,
                },
                Action::Discard => self.drop_body(),
                Action::End => {
                    self.input.settle();
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
                    // Behind a QUIT nothing comes from the client: the reply leaves with the end of the connection.
                    let last = !end.lingers && self.input.bytes().is_empty();
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
        self.stream.set_deadline(self.server.deadline());
        self.context.keep(std::mem::take(&mut self.out));
        let read = self.stream.recv().await;
        self.out = self.context.buffer();
        // From here on we have the word: a backend may take its ten minutes, and the client is not to blame.
        self.stream.set_deadline(Tick::FAR);
        self.now = now();
        match read {
            Ok(Some(chunk)) => {
                self.context
                    .recorder
                    .count(Counter::BytesIn, self.scope, chunk.len() as u64);
                self.input = Input::Lent(chunk, 0);
                // A process that goes down answers the next command with 421.
                self.drains();
                None
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.server.interrupt(Interrupt::Timeout, &mut self.out);
                let _ = self.flush().await;
                Some(self.timed_out(phase))
            }
            Ok(None) | Err(_) => Some(End::client(phase)),
        }
    }

    /// Tells the core that the process goes down, if it does; whether the session ends now.
    fn drains(&mut self) -> bool {
        if !self.context.draining.get() || self.server.phase() == Phase::Closed {
            return false;
        }
        self.server.interrupt(Interrupt::Drain, &mut self.out);
        self.server.phase() == Phase::Closed
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
        if self.out.is_empty() {
            return Ok(());
        }
        self.stream
            .set_deadline(self.now.after(self.current.site.config.timeouts.send.0));
        let out = std::mem::take(&mut self.out);
        self.context
            .recorder
            .count(Counter::BytesOut, self.scope, out.len() as u64);
        let (result, out) = match last {
            false => self.stream.send(out).await,
            true => self.stream.send_last(out).await,
        };
        self.out = out;
        if let Some(due) = self.reply_due.take() {
            let took = now().micros_since(due);
            self.context.recorder.record(Stage::Reply, self.scope, took);
        }
        result
    }

    /// Records the time of a command that was handled without a question.
    fn count_verb(&mut self) {
        let verb = self.server.verb();
        let seen = self.server.tally().of(verb);
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

    /// A transaction that is over without an end of data: RSET, a new EHLO, a refused MAIL, or a body that the
    /// core found dead and refused.
    fn settle_transaction(&mut self, refusal: Option<&Reply>) {
        if self.server.envelope().has_sender() {
            return;
        }
        let Some(mut transaction) = self.transaction.take() else {
            return;
        };
        if let (Body::Gone, Some(reply)) = (&transaction.body, refusal) {
            transaction.said(reply);
            transaction.times.done = Some(self.now);
        }
        trace::transaction(self, &transaction, None);
    }

    fn end_of_close(&self) -> End {
        if self.server.verb() == Verb::Quit {
            End {
                by: "client",
                phase: self.phase,
                why: "quit",
                lingers: false,
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
        self.context.keep(std::mem::take(&mut self.out));
        if let Some(mut transaction) = self.transaction.take() {
            transaction.size = transaction.size.max(self.server.body_facts().size);
            trace::transaction(self, &transaction, Some(end));
        } else if self.transactions == 0 {
            trace::session(self, end);
        }
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
