//! The server's side of a session: bytes in, actions and replies out (RFC 5321).
//!
//! [`Server::step`] consumes a prefix of the input, appends replies, and says what the shell must do next. The
//! core does all syntax, sequence, limits and tallies. It must not know: policy, backends, sockets, clocks,
//! configuration. Whether a command that is well-formed is *welcome*, it asks ([`Question`]).
//!
//! ```text
//! Start ─ ask Connect ─▶ Command ─┬─ MAIL, RCPT, EHLO, XCLIENT: ask ─▶ Command
//!                           ▲     ├─ DATA: ask Body ─▶ Data ─ "." ─▶ Commit ─ answer ─▶ Command
//!                           │     ├─ BDAT: ask Body once ─▶ Chunk ─ LAST ─▶ Commit
//!                           │     │                           └─ else ─▶ Command
//!                           │     ├─ STARTTLS ─▶ Tls ─ secured() ─▶ Command
//!                           │     ├─ AUTH: ask Auth ─ challenge ─▶ Auth ─ line: ask Auth … ─▶ Command
//!                           └─────┴─ QUIT, limits, nonsense ─▶ Closed
//! ```
//!
//! Rejected: a machine that calls back into a handler trait (the design of most SMTP libraries). The handler
//! would have to be async, and the core would hold its borrows over the await; questions and answers as
//! values keep the core testable without an executor. Rejected too: handing the command's text out with the
//! question. All of it is in the envelope, checked, when the question is asked.

mod auth;
mod clock;
mod commands;
mod facts;
mod hello;
mod interface;
mod line;
mod transfer;
mod xclient;

pub use auth::Said;
pub use facts::{Hello, Phase, Signals, Tally};
pub use interface::{Action, Answer, Auth, Interrupt, Question, Settings, Step};
pub use xclient::{XclientAttributes, XclientValue};

use super::{
    body::BodyFacts,
    command::Verb,
    envelope::Envelope,
    extensions::Extensions,
    limits::{DEFERRALS_MAX, Timeouts},
    replies,
    reply::{Known, Reply},
    span::Span,
    tick::Tick,
};
use auth::Login;
use clock::Clock;
use line::Lines;
use std::sync::Arc;
use transfer::Transfer;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    Asked(Question),
    Command,
    Data,
    Chunk,
    Commit,
    Auth,
    Tls,
    Closed,
}

/// What lies below the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Channel {
    Clear,
    Tls,
    /// TLS that a mechanism of AUTH can bind to (RFC 5056).
    Bindable,
}

/// A name from HELO (`esmtp`: from EHLO); empty where there is none.
#[derive(Clone, Debug, Default)]
struct Name {
    text: Vec<u8>,
    esmtp: bool,
}

/// What has come of the commands before, where the next one builds on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Earlier {
    Nothing,
    /// MAIL was refused: the RCPT and DATA that were pipelined with it follow from that.
    SenderRefused,
    /// A RCPT came, accepted or refused.
    RecipientTried,
}

/// One session.
#[derive(Debug)]
pub struct Server {
    settings: Arc<Settings>,
    state: State,
    lines: Lines,
    envelope: Envelope,
    transfer: Transfer,
    /// The accepted name; empty before HELO or EHLO.
    greeted: Name,
    /// The name that is being judged.
    candidate: Name,
    verb: Verb,
    tally: Tally,
    signals: Signals,
    earlier: Earlier,
    /// The greeting refused the session: QUIT alone gets anywhere (RFC 5321 §3.1).
    denied: bool,
    channel: Channel,
    /// XCLIENT and XFORWARD, as far as this client may say them.
    granted: Extensions,
    xclient: Option<Box<XclientAttributes>>,
    /// The last command was an XCLIENT: another goes on with it.
    claiming: bool,
    forwarded: Option<Box<XclientAttributes>>,
    login: Login,
    /// The client needs no AUTH where others do.
    trusted: bool,
    drain: bool,
    /// A body that had begun is dead, and the shell doesn't know yet.
    discard_due: bool,
    /// A refusal that was written, and that the shell doesn't know yet.
    refused: Option<Reply>,
    /// The refusal that comes is no error of the client's.
    excused: bool,
    /// The reply that ended the session, where the core chose it and the shell doesn't know yet.
    farewell: Option<&'static Known>,
    clock: Clock,
}

impl Server {
    /// A session that has just been accepted. Its first step asks [`Question::Connect`]; the answer to that
    /// writes the greeting.
    #[must_use]
    pub fn new(settings: Arc<Settings>, now: Tick) -> Server {
        Server {
            settings,
            state: State::Start,
            lines: Lines::default(),
            envelope: Envelope::new(),
            transfer: Transfer::default(),
            greeted: Name::default(),
            candidate: Name::default(),
            verb: Verb::Unknown,
            tally: Tally::default(),
            signals: Signals::NONE,
            earlier: Earlier::Nothing,
            denied: false,
            channel: Channel::Clear,
            granted: Extensions::NONE,
            xclient: None,
            forwarded: None,
            claiming: false,
            login: Login::No,
            trusted: false,
            drain: false,
            discard_due: false,
            refused: None,
            excused: false,
            farewell: None,
            clock: Clock::new(now),
        }
    }

    /// Consumes a prefix of `input`, appends replies to `out`, and says what the shell must do next. Call it
    /// again with the rest of the input until it says [`Action::Read`]; `now` never goes back.
    // INV-SPLIT
    pub fn step(&mut self, now: Tick, input: &[u8], out: &mut Vec<u8>) -> Step {
        self.clock.enter(now);
        let mut consumed = 0;
        let action = loop {
            let rest = &input[consumed..];
            if std::mem::take(&mut self.discard_due) {
                break Action::Discard;
            }
            if let Some(reply) = self.refused.take() {
                break Action::Refused(reply);
            }
            let (taken, action) = match self.state {
                State::Start => {
                    self.state = State::Asked(Question::Connect);
                    continue;
                }
                State::Asked(question) => break Action::Ask(question),
                State::Commit => break Action::End,
                State::Closed => match self.farewell.take() {
                    Some(known) => break Action::Refused(known.reply()),
                    None => (rest.len(), Some(Action::Close)),
                },
                State::Tls => (rest.len(), Some(Action::StartTls)),
                State::Command => self.command(rest, out),
                State::Auth => self.auth_response(rest, out),
                State::Data => self.data(rest, out),
                State::Chunk => self.chunk(rest, out),
            };
            let before = consumed;
            consumed += taken;
            match action {
                None => {}
                Some(Action::Body(span)) => {
                    let (start, end) = (span.start as usize, span.end as usize);
                    break Action::Body(Span::new(before + start, before + end));
                }
                Some(action) => break action,
            }
        };
        self.clock.leave(matches!(action, Action::Read));
        Step { consumed, action }
    }

    /// Answers the open question, or [`Action::End`]. Without either it does nothing.
    pub fn answer(&mut self, answer: Answer, out: &mut Vec<u8>) {
        self.clock.restart();
        let state = self.state;
        if let (State::Asked(_) | State::Commit, Answer::Close(reply)) = (state, &answer) {
            self.hang_up(reply, out);
            return;
        }
        match state {
            State::Asked(question) => {
                self.state = State::Command;
                match question {
                    Question::Connect | Question::Client => self.greet(answer, out),
                    Question::Hello => self.answer_hello(answer, out),
                    Question::Mail => self.answer_mail(answer, out),
                    Question::Rcpt => self.answer_rcpt(answer, out),
                    Question::Body => self.answer_body(answer, out),
                    Question::Auth => self.answer_auth(answer, out),
                }
            }
            State::Commit => self.answer_end(answer, out),
            _ => {}
        }
    }

    /// The answer to the recipient under way, a refusal, is no error of the client's, as a 4xx is none: the recipient had been
    /// accepted before, so the client could not know.
    pub fn excuse(&mut self) {
        self.excused = self.state == State::Asked(Question::Rcpt);
    }

    /// Puts other settings in force while [`Question::Hello`] is open, so that the reply to EHLO says what holds by now.
    pub fn renew(&mut self, settings: Arc<Settings>) {
        if self.state == State::Asked(Question::Hello) {
            self.settings = settings;
        }
    }

    /// The body that is under way is unwanted: swallow the rest of it, then say this. The first word counts.
    /// Outside a body it does nothing. No [`Action::Discard`] follows: the shell knows.
    pub fn discard(&mut self, reply: Reply) {
        if self.phase() == Phase::Body {
            self.transfer.refuse(reply);
        }
    }

    /// Ends the session with a 421 as soon as `why` allows; the next step after that says `Close`.
    pub fn interrupt(&mut self, why: Interrupt, out: &mut Vec<u8>) {
        let known = match why {
            Interrupt::Drain => {
                self.drain = true;
                self.drain_if_idle(out);
                return;
            }
            Interrupt::Timeout => &replies::TIMED_OUT,
            Interrupt::Overload => &replies::OVERLOADED,
            Interrupt::Stop => &replies::SHUTTING_DOWN,
        };
        self.hang_up_known(known, out);
    }

    /// TLS is active: after [`Action::StartTls`], or before the first step of a session that began with it.
    /// The session is as new (RFC 3207 §4.2): EHLO again, and no STARTTLS.
    pub fn secured(&mut self) {
        if self.channel == Channel::Clear {
            self.channel = Channel::Tls;
        }
        if self.state == State::Tls {
            self.state = State::Command;
            self.lines.forget();
            self.greeted.text.clear();
            self.login = Login::No;
            // What followed STARTTLS in the clear is gone, and may have been an attacker's (INV-CLEAR).
            self.signals = Signals::NONE;
            self.reset();
            self.clock.restart();
        }
    }

    /// When the client must have moved; [`Tick::FAR`] while the shell has the word.
    #[must_use]
    pub fn deadline(&self) -> Tick {
        self.deadline_by(&self.settings.timeouts)
    }

    /// The same by other timeouts than those of the settings.
    #[must_use]
    pub fn deadline_by(&self, timeouts: &Timeouts) -> Tick {
        match self.state {
            State::Data | State::Chunk => self.clock.body(timeouts, self.transfer.taken()),
            State::Command if self.transfer.is_active() => {
                self.clock.body(timeouts, self.transfer.taken())
            }
            State::Command | State::Auth | State::Tls => self.clock.command(timeouts),
            _ => Tick::FAR,
        }
    }

    /// Where the session stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Start | State::Asked(Question::Connect | Question::Client) => Phase::Connect,
            State::Asked(Question::Hello) => Phase::Hello,
            State::Asked(Question::Rcpt) => Phase::Rcpt,
            State::Data | State::Chunk | State::Asked(Question::Body) => Phase::Body,
            State::Commit => Phase::Commit,
            State::Auth | State::Asked(Question::Auth) => Phase::Auth,
            State::Tls => Phase::Tls,
            State::Closed => Phase::Closed,
            State::Command | State::Asked(Question::Mail) => {
                if self.transfer.is_active() {
                    Phase::Body
                } else if !self.envelope.recipients().is_empty() {
                    Phase::Rcpt
                } else if self.envelope.has_sender() {
                    Phase::Mail
                } else if self.greeted.text.is_empty() {
                    Phase::Hello
                } else {
                    Phase::Idle
                }
            }
        }
    }

    /// The client's name: while [`Question::Hello`] is open the one that is asked about, else the accepted one.
    #[must_use]
    pub fn hello(&self) -> Option<Hello<'_>> {
        let Name { text, esmtp } = match self.state {
            State::Asked(Question::Hello) => &self.candidate,
            _ => &self.greeted,
        };
        let (name, esmtp) = (&**text, *esmtp);
        (!name.is_empty()).then_some(Hello { name, esmtp })
    }

    /// Whether a name in EHLO or HELO has been accepted; while another is asked for, that is the one before.
    #[must_use]
    pub fn is_greeted(&self) -> bool {
        !self.greeted.text.is_empty()
    }

    /// Sender, recipients and parameters of the transaction under way.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// What is known of the body so far; of the last body until its `End` is answered.
    #[must_use]
    pub fn body_facts(&self) -> &BodyFacts {
        self.transfer.facts()
    }

    /// Counts of the session.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Where the client did not wait for a reply that it had to wait for.
    #[must_use]
    pub fn signals(&self) -> Signals {
        self.signals
    }

    /// The command that was handled last.
    #[must_use]
    pub fn verb(&self) -> Verb {
        self.verb
    }

    /// Whether TLS is active.
    #[must_use]
    pub fn is_secured(&self) -> bool {
        self.channel != Channel::Clear
    }

    /// The extensions that hold at this moment.
    fn offered(&self) -> Extensions {
        let hidden = if self.is_secured() {
            Extensions::STARTTLS
        } else {
            Extensions::REQUIRETLS
        };
        let unserved = Extensions::AUTH | Extensions::XCLIENT | Extensions::XFORWARD;
        self.settings.extensions.without(hidden | unserved) | self.granted | self.auth_extension()
    }

    /// Ends the transaction, and a body that had begun with it.
    fn reset(&mut self) {
        self.envelope.clear();
        self.earlier = Earlier::Nothing;
        self.discard_due |= self.transfer.end();
    }

    /// Writes what the shell answered, and counts a refusal.
    fn say(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        reply.write(out);
        match reply.code {
            ..400 => {}
            _ if std::mem::take(&mut self.excused) => self.count_deferral(out),
            400..500 => self.count_deferral(out),
            _ => self.count_error(out),
        }
    }

    /// Refuses by itself: writes the reply, counts it, and keeps it for the shell ([`Action::Refused`]).
    fn refuse(&mut self, reply: Reply, out: &mut Vec<u8>) {
        self.say(&reply, out);
        self.refused = Some(reply);
    }

    fn refuse_known(&mut self, known: &'static Known, out: &mut Vec<u8>) {
        self.refuse(known.reply(), out);
    }

    /// Refuses a command that only follows from one that was refused before, such as the RCPT that was
    /// pipelined with a refused MAIL (RFC 2920 §3.1): the client couldn't know, and its error was counted.
    fn refuse_follower(&mut self, reply: Reply, out: &mut Vec<u8>) {
        reply.write(out);
        self.count_deferral(out);
        self.refused = Some(reply);
    }

    /// Counts what is no fault of the client: see [`Tally::deferrals`].
    fn count_deferral(&mut self, out: &mut Vec<u8>) {
        if self.tally.deferrals < DEFERRALS_MAX {
            self.tally.deferrals += 1;
        } else {
            self.count_error(out);
        }
    }

    fn count_error(&mut self, out: &mut Vec<u8>) {
        self.tally.errors += 1;
        self.tally.errors_total += 1;
        let max = self.settings.limits.errors;
        if max > 0 && self.tally.errors >= max {
            self.hang_up_known(&replies::TOO_MANY_ERRORS, out);
        }
    }

    fn count_junk(&mut self, out: &mut Vec<u8>) {
        self.tally.junk += 1;
        let max = self.settings.limits.junk;
        if max > 0 && self.tally.junk >= max && self.state != State::Closed {
            self.hang_up_known(&replies::TOO_MUCH_JUNK, out);
        }
    }

    fn hang_up(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        if self.state != State::Closed {
            self.login.give_up();
            reply.write(out);
            self.state = State::Closed;
        }
    }

    fn hang_up_known(&mut self, known: &'static Known, out: &mut Vec<u8>) {
        if self.state != State::Closed {
            self.hang_up(&known.reply(), out);
            self.farewell = Some(known);
        }
    }

    /// Whether the client has nothing under way: it is between two commands and has no message begun.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.state == State::Command
            && !self.envelope.has_sender()
            && !self.transfer.is_active()
            && !self.lines.is_partial()
    }

    fn drain_if_idle(&mut self, out: &mut Vec<u8>) {
        if self.drain && self.is_idle() {
            self.hang_up_known(&replies::SHUTTING_DOWN, out);
        }
    }
}
