//! One session of the sink: bytes in, replies out, and a question wherever the behaviour may have a say. No sockets.
//!
//! It is a machine of its own rather than `smtp::server`: that one speaks no LMTP, writes its own single reply to
//! what it refuses (LMTP wants one for each recipient), closes on bad manners, and asks nothing at the places where a
//! sink is to hang up. Besides, a judge should not be the machine that it judges: of the proxy's core only the small
//! parts are shared (verbs, paths, parameters, scanners of bodies).
//!
//! It is strict about what it announced and lenient about the rest: what a client does wrong is counted as a
//! [`Fault`], gets its reply, and the session goes on.

use super::{
    counters::Counters,
    login::Awaited,
    plan::{Announced, Plan},
    point::{Cut, Fault, Point},
    save::Saver,
    transfer::{Received, Transfer},
};
use gatepost::smtp::{
    Envelope, Extensions, Reply, Status, Tick, Verb,
    command::Command,
    replies,
    reply::{Known, write_line},
};

mod commands;
mod login;
mod secure;
#[cfg(test)]
mod tests;

/// The longest command line; more is not SMTP.
const LINE_MAX: usize = 4096;

/// Why a command is not asked about: the client's fault, if it is one, and what it is told.
pub(super) type Refusal = (Option<Fault>, &'static Known);

/// What the session is given with each step.
pub(super) struct Context<'a> {
    pub plan: &'a Plan,
    pub counters: &'a Counters,
    pub saver: Option<&'a Saver>,
    pub now: Tick,
}

/// What the shell must do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Do {
    /// Send what was written, then read more.
    Read,
    /// Decide, then call [`Session::accept`] or [`Session::refuse`].
    Ask(Ask),
    /// Send what was written, shake hands, then call [`Session::secured`]. What was read and not used is of no use.
    StartTls,
    /// The first piece of a body is there: hang up, or go on.
    Middle,
    /// Decide about the message and write its replies, then call [`Session::done`].
    End,
    /// Send what was written, then close.
    Close,
}

/// What the shell is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Hello,
    StartTls,
    /// The credentials are the right ones.
    Auth,
    Mail,
    Rcpt,
    Data,
    /// A chunk that is not the last is complete.
    Chunk,
}

impl Ask {
    /// Where that is.
    pub const fn point(self) -> Point {
        match self {
            Ask::Hello => Point::Hello,
            Ask::StartTls => Point::StartTls,
            Ask::Auth => Point::Auth,
            Ask::Mail => Point::Mail,
            Ask::Rcpt => Point::Rcpt,
            Ask::Data | Ask::Chunk => Point::Data,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Command,
    /// STARTTLS was accepted.
    Handshake,
    /// AUTH is under way, and this is the next line.
    Auth(Awaited),
    Asked(Ask),
    Data,
    Chunk(Chunk),
    End,
    Closed,
}

/// A chunk under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Chunk {
    left: u64,
    size: u64,
    last: bool,
    /// Swallowed; it had its reply.
    unwanted: bool,
}

/// One session.
pub(super) struct Session {
    state: State,
    /// The beginning of a command line.
    line: Vec<u8>,
    greeted: bool,
    /// EHLO or LHLO rather than HELO, while [`Ask::Hello`] is open.
    extended: bool,
    offered: Extensions,
    envelope: Envelope,
    transfer: Option<Transfer>,
    /// The size of the chunk that is asked about.
    chunk: u64,
    /// A chunk of this message was refused.
    spoiled: bool,
    /// When MAIL came.
    begun: Tick,
    /// TLS is spoken.
    secured: bool,
    authenticated: bool,
    /// The name, while AUTH LOGIN is under way.
    user: Vec<u8>,
    quit: bool,
}

impl Session {
    /// One that has been greeted.
    pub fn new() -> Session {
        Session {
            state: State::Command,
            line: Vec::new(),
            greeted: false,
            extended: false,
            offered: Extensions::NONE,
            envelope: Envelope::new(),
            transfer: None,
            chunk: 0,
            spoiled: false,
            begun: Tick::default(),
            secured: false,
            authenticated: false,
            user: Vec::new(),
            quit: false,
        }
    }

    /// Takes a prefix of `input`, appends replies, says how much it took and what is to be done. To be called again
    /// with the rest, until it says [`Do::Read`]: then all was taken.
    pub fn step(&mut self, context: &Context<'_>, input: &[u8], out: &mut Vec<u8>) -> (usize, Do) {
        let mut at = 0;
        loop {
            let rest = &input[at..];
            let (taken, next) = match self.state {
                State::Closed => return (input.len(), Do::Close),
                State::Asked(ask) => return (at, Do::Ask(ask)),
                State::End => return (at, Do::End),
                State::Handshake => return (at, Do::StartTls),
                State::Chunk(chunk) if chunk.left == 0 => {
                    self.chunk_end(context, chunk, rest, out);
                    continue;
                }
                _ if rest.is_empty() => return (at, Do::Read),
                State::Command | State::Auth(_) => (self.command(context, rest, out), None),
                State::Data => self.data(context, rest, out),
                State::Chunk(chunk) => self.chunk(context, chunk, rest),
            };
            at += taken;
            if let Some(next) = next {
                return (at, next);
            }
        }
    }

    /// Takes a command line, or the beginning of one.
    fn command(&mut self, context: &Context<'_>, input: &[u8], out: &mut Vec<u8>) -> usize {
        let Some(end) = memchr::memchr(b'\n', input) else {
            self.line.extend_from_slice(input);
            if self.line.len() > LINE_MAX {
                self.fault(context, Fault::Syntax);
                self.say(&replies::LINE_ENDLESS.reply(), out);
                self.state = State::Closed;
            }
            return input.len();
        };
        let more = end + 1 < input.len();
        if self.line.is_empty() {
            self.line_complete(context, &input[..end], more, out);
        } else {
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(&input[..end]);
            self.line_complete(context, &line, more, out);
            line.clear();
            self.line = line;
        }
        end + 1
    }

    fn line_complete(&mut self, context: &Context<'_>, line: &[u8], more: bool, out: &mut Vec<u8>) {
        let line = match line.strip_suffix(b"\r") {
            Some(line) => line,
            None => {
                self.fault(context, Fault::BareNewline);
                line
            }
        };
        if let State::Auth(awaited) = self.state {
            return self.response(context, awaited, line, out);
        }
        let command = Command::parse(line);
        let verb = match command.verb {
            Verb::Unknown if is_lhlo(line) => Verb::Ehlo,
            verb => verb,
        };
        context.counters.commands[verb as usize].one();
        if more && verb != Verb::Bdat && !self.offered.has(Extensions::PIPELINING) {
            self.fault(context, Fault::Pipelining);
        }
        if line.len() > LINE_MAX {
            self.fault(context, Fault::Syntax);
            self.say(&replies::LINE_TOO_LONG.reply(), out);
            return;
        }
        self.dispatch(context, verb, command.arguments, is_lhlo(line), out);
    }

    /// Takes a piece of a DATA body.
    fn data(
        &mut self,
        context: &Context<'_>,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> (usize, Option<Do>) {
        let Some(transfer) = &mut self.transfer else {
            self.state = State::Command;
            return (0, None);
        };
        let (taken, ended) = transfer.take(input);
        if ended {
            self.complete(context, out);
        } else if self.is_middle(context) {
            return (taken, Some(Do::Middle));
        }
        (taken, None)
    }

    /// Takes a piece of a chunk.
    fn chunk(
        &mut self,
        context: &Context<'_>,
        mut chunk: Chunk,
        input: &[u8],
    ) -> (usize, Option<Do>) {
        let here = usize::try_from(chunk.left).map_or(input.len(), |left| left.min(input.len()));
        let mut taken = here;
        if let Some(transfer) = self.transfer.as_mut().filter(|_| !chunk.unwanted) {
            (taken, _) = transfer.take(&input[..here]);
        }
        chunk.left -= taken as u64;
        self.state = State::Chunk(chunk);
        let middle = self.is_middle(context);
        (taken, middle.then_some(Do::Middle))
    }

    /// Whether this is the moment to hang up in the middle of a body, if at all.
    fn is_middle(&mut self, context: &Context<'_>) -> bool {
        let may = context.plan.may_cut(Cut::Middle);
        let Some(transfer) = self.transfer.as_mut().filter(|_| may) else {
            return false;
        };
        transfer.octets() > 0 && !std::mem::replace(&mut transfer.halved, true)
    }

    /// Behind the last octet of a chunk.
    fn chunk_end(&mut self, context: &Context<'_>, chunk: Chunk, behind: &[u8], out: &mut Vec<u8>) {
        if !behind.is_empty() && !self.offered.has(Extensions::PIPELINING) {
            self.fault(context, Fault::Pipelining);
        }
        self.state = State::Command;
        if chunk.unwanted {
            return;
        }
        if chunk.last {
            self.complete(context, out);
        } else if self.is_too_large(context) {
            self.spoil();
            context.counters.refused[Point::Data as usize].one();
            self.say(&replies::SIZE_EXCEEDED.reply(), out);
        } else {
            self.chunk = chunk.size;
            self.state = State::Asked(Ask::Chunk);
        }
    }

    fn is_too_large(&self, context: &Context<'_>) -> bool {
        let max = context.plan.size_max;
        max > 0 && self.transfer.as_ref().is_some_and(|one| one.octets() > max)
    }

    /// Behind the last octet of a message.
    fn complete(&mut self, context: &Context<'_>, out: &mut Vec<u8>) {
        if !self.is_too_large(context) {
            self.state = State::End;
            return;
        }
        self.state = State::Command;
        for _ in 0..self.replies(context.plan) {
            context.counters.refused[Point::Body as usize].one();
            self.say(&replies::SIZE_EXCEEDED.reply(), out);
        }
        self.reset();
    }

    /// How many replies the end of the message gets: with LMTP one a recipient (RFC 2033 §4.2).
    pub fn replies(&self, plan: &Plan) -> usize {
        match plan.fixed.lmtp {
            true => self.envelope.recipients().len(),
            false => 1,
        }
    }

    /// The complete message, at [`Do::End`].
    pub fn received(&mut self, context: &Context<'_>) -> Option<Received> {
        let transfer = self.transfer.take()?;
        Some(transfer.finish(self.envelope.params(), context.counters))
    }

    /// The replies to the message are written.
    pub fn done(&mut self) {
        if self.state == State::End {
            self.state = State::Command;
        }
        self.reset();
    }

    /// Nothing more is read of this client.
    pub fn close(&mut self) {
        self.state = State::Closed;
    }

    /// Whether it was the client that ended the session.
    pub fn has_quit(&self) -> bool {
        self.quit
    }

    /// The answer is yes.
    pub fn accept(&mut self, context: &Context<'_>, out: &mut Vec<u8>) {
        let State::Asked(ask) = self.state else {
            return;
        };
        self.state = State::Command;
        match ask {
            Ask::Hello => {
                self.reset();
                self.greeted = true;
                if self.extended {
                    let Announced { offered, ehlo } = self.announced(context.plan);
                    self.offered = *offered;
                    out.extend_from_slice(ehlo);
                } else {
                    self.offered = Extensions::NONE;
                    let name = &context.plan.fixed.hostname;
                    write_line(250, Status::NONE, name, false, out);
                }
            }
            Ask::StartTls => self.await_handshake(out),
            Ask::Auth => self.admit(context, out),
            Ask::Mail => {
                context.counters.transactions.one();
                self.begun = context.now;
                self.say(&replies::MAIL_OK.reply(), out);
            }
            Ask::Rcpt => self.say(&replies::RCPT_OK.reply(), out),
            Ask::Data => {
                self.transfer = Some(Transfer::by_data(self.draft(context)));
                self.state = State::Data;
                out.extend_from_slice(b"354 End data with <CR><LF>.<CR><LF>\r\n");
            }
            Ask::Chunk => {
                let reply = replies::CHUNK_OK.with(&format!("{} octets", self.chunk));
                self.say(&reply, out);
            }
        }
    }

    /// The answer is no.
    pub fn refuse(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        let State::Asked(ask) = self.state else {
            return;
        };
        self.state = State::Command;
        match ask {
            Ask::Mail => self.envelope.clear(),
            Ask::Rcpt => self.envelope.pop_recipient(),
            Ask::Chunk => self.spoil(),
            Ask::Hello | Ask::StartTls | Ask::Auth | Ask::Data => {}
        }
        self.say(reply, out);
        if reply.code == 421 {
            self.state = State::Closed;
        }
    }

    /// Writes a reply, with its enhanced code where those were announced.
    pub fn say(&self, reply: &Reply, out: &mut Vec<u8>) {
        if self.offered.has(Extensions::ENHANCEDSTATUSCODES) {
            reply.write(out);
        } else {
            let status = Status::NONE;
            let bare = Reply {
                status,
                ..reply.clone()
            };
            bare.write(out);
        }
    }

    /// Sender and recipients.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// When MAIL came.
    pub fn begun(&self) -> Tick {
        self.begun
    }

    fn fault(&self, context: &Context<'_>, fault: Fault) {
        context.counters.faults[fault as usize].one();
    }

    /// Ends the transaction.
    fn reset(&mut self) {
        self.envelope.clear();
        self.transfer = None;
        self.spoiled = false;
    }

    /// A chunk was refused: those that follow are swallowed until RSET (RFC 3030 §2).
    fn spoil(&mut self) {
        self.transfer = None;
        self.spoiled = true;
    }
}

fn is_lhlo(line: &[u8]) -> bool {
    line.get(..4)
        .is_some_and(|verb| verb.eq_ignore_ascii_case(b"LHLO"))
}
