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
    ask::stage_of,
    context::Connection,
    io::{Input, Io},
    session::{Session, begin},
    trace,
};
use crate::{
    config::ListenerTls,
    delivery::Room,
    metrics::{Counter, Stage},
    net::{Stream, now, waits_are_over},
    record::End,
    smtp::{
        Tick,
        command::Verb,
        server::{Action, Interrupt, Phase, Signals},
    },
    tls,
};
use std::{io, rc::Rc, time::Duration};

/// After the last reply: how much input is swallowed, and for how long, so that the reply isn't lost to a reset. As much as
/// the socket buffers of both ends may hold by then (`tcp_rmem` and `tcp_wmem` of Linux: 6 and 4 MiB at most, less by
/// far as a rule).
const LINGER_OCTETS: u64 = 4 * 1024 * 1024;
const LINGER: Duration = Duration::from_secs(2);

/// Serves one connection to its end.
pub async fn serve(connection: Connection, listener: Rc<str>, stream: Stream) {
    let context = Rc::clone(connection.context());
    // What only the beginning needs is not a part of what an idle session owns.
    let Some(mut session) = Box::pin(begin(context, listener, stream)).await else {
        return;
    };
    let end = session.run().await;
    session.finish(end);
    // What follows is no session any more. A refused client that doesn't close would otherwise count until then, and its
    // neighbours in the network would be refused for it. `place` stays: it bounds the descriptors.
    session.peer.ticket = None;
    let Io { stream, .. } = session.io;
    match end.lingers {
        true => Box::pin(stream.close_lingering(LINGER_OCTETS, LINGER)).await,
        false => stream.close(),
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
        let began = self.now;
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
        // What our own slowness took is not the client's.
        let ours = Duration::from_micros(self.now.micros_since(began));
        let (due, idle) = (self.deadline().after(ours), self.server.is_idle());
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
            // What came is no TLS, or more of it than is allowed, and there is no way to say so; or the client's own fatal alert.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Some(End {
                by: match tls::is_alert(&error) {
                    true => "client",
                    false => "gatepost",
                },
                phase,
                why: tls::failure(&error),
                lingers: false,
            }),
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
        let stops = waits_are_over();
        let why = match outpaced {
            true => Interrupt::Overload,
            false if stops => Interrupt::Stop,
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
            false if stops => End {
                by: "gatepost",
                phase,
                why: "stopped",
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
            self.end_inquiry();
        }
        self.peer.judgement.end_transaction();
    }

    fn end_of_close(&self) -> End {
        if self.server.verb() == Verb::Quit {
            End {
                by: "client",
                phase: self.phase,
                why: "quit",
                // What was sent after it may still be on its way: unread, it would reset the connection, and the
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
