//! The machine that talks to a backend, over SMTP (RFC 5321) or LMTP (RFC 2033). Pure: bytes in, bytes
//! and events out; timers, end of file and the connection are the shell's.
//!
//! ```text
//! new ─ greeting ─ EHLO (HELO where that is unknown) ─ Ready ─┬─ open ─ Sender, Recipient… ─ Go ─ body ─ Final ─┐
//!                   │ ▲                                       ├─ verify ─ Verified ─ Reset                      │
//!                   ▼ └─ secured ◄─ (handshake)               ├─ introduce ─ XCLIENT ─ EHLO ─ Ready             │
//!                  STARTTLS ─ StartTls                        ├─ authenticate ─ Challenge… ─ Authenticated ─ quit
//!                                                             └─ (idle, may be pooled) ◄──── reset ◄── refused ─┘
//! ```
//!
//! One script for all dialogues: `open` renders the commands of a transaction once, and a window says how
//! many of them may be unanswered. It is 1 without PIPELINING (RFC 2920), so step by step and all at once
//! are the same code. DATA ends the script; BDAT chunks (RFC 3030) follow it without waiting.
//!
//! What the caller may rely on:
//! - Call [`BackendSession::step`] until [`Event::Read`], then send `out` in one write. Replies that nothing asked
//!   for are an error, also those that came in the same segment ahead of what would have asked for them.
//! - An event borrows nothing; [`BackendSession::reply`] has the text until the next step.
//! - A transaction that was opened ends with `Final`, with a `FinalFor` for each accepted recipient (LMTP,
//!   the last one leaves [`BackendSession::awaits_reply`] false), with `Refused`, or with `Failed`. It may be left
//!   at any time by [`BackendSession::abort`].
//! - A yes may be the answer to something else where a backend says too much: [`BackendSession::confirm`] finds out.
//! - RSET is written only where it is needed: not after a positive final reply, but after everything else.
//!   Only [`BackendSession::is_clean`] says that a connection may be pooled, and only where the shell holds no
//!   unread byte of it.
//!
//! Rejected: events that lend the reply (a loop that returns one of them is not accepted by today's
//! borrow checker), and RSET lazily with the next MAIL (a pool would then hold connections that aren't
//! known to be clean).

mod auth;
mod body;
pub mod capabilities;
mod commands;
mod confirm;
mod dialogue;
mod error;
pub mod identity;
mod secure;
#[cfg(test)]
mod tests;
mod transaction;

pub use error::BackendError;

use super::{
    Capabilities,
    envelope::{Envelope, Path},
    extensions::Extensions,
    reply_parse::{ReplyHead, ReplyLimits, ReplyReader, ReplyRef},
};
use identity::Introduction;
use std::sync::Arc;
use transaction::{Kind, Transaction};

/// Commands unanswered at most where PIPELINING is offered, so that neither side's socket buffer fills
/// with what the other doesn't read (RFC 2920 §3.1).
pub const COMMANDS_MAX: usize = 128;
/// BDAT chunks unanswered at most.
pub const CHUNKS_MAX: usize = 32;

/// What all connections of one pool have in common.
#[derive(Clone, Debug)]
pub struct BackendSettings {
    /// The name in EHLO.
    pub hello: String,
    /// LMTP: LHLO, and a final reply for each recipient.
    pub lmtp: bool,
    /// Whether BDAT may be used where CHUNKING is offered.
    pub chunking: bool,
    /// Whether commands may be sent ahead where PIPELINING is offered.
    pub pipelining: bool,
    /// Whether STARTTLS is asked for.
    pub starttls: StartTls,
    /// How much of a reply is read.
    pub replies: ReplyLimits,
}

impl BackendSettings {
    /// SMTP, with all that the backend offers.
    #[must_use]
    pub fn new(hello: &str) -> BackendSettings {
        BackendSettings {
            hello: hello.to_owned(),
            lmtp: false,
            chunking: true,
            pipelining: true,
            starttls: StartTls::Never,
            replies: ReplyLimits::default(),
        }
    }

    /// The same for a connection that does without TLS.
    #[must_use]
    pub fn in_clear(&self) -> BackendSettings {
        BackendSettings {
            starttls: StartTls::Never,
            ..self.clone()
        }
    }
}

/// Whether a client asks for TLS (RFC 3207).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartTls {
    /// Not even where it's offered.
    #[default]
    Never,
    /// Where it's offered; a backend that refuses it is talked to in the clear.
    IfOffered,
    /// Always: without it the connection fails, and nothing but EHLO was said in the clear.
    Always,
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendStep {
    /// So many bytes of the input are done with.
    pub consumed: usize,
    /// What to do, or to know, now.
    pub event: Event,
}

/// What the backend's bytes mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// All of the input is used: send what is in `out`, then read.
    Read,
    /// The backend waits for a TLS handshake, and nothing that it said is unread: do it, then call
    /// [`BackendSession::secured`].
    StartTls,
    /// The session is open: [`BackendSession::capabilities`] are known. After [`BackendSession::confirm`]: the yes holds.
    Ready,
    /// The answer to MAIL.
    Sender(ReplyHead),
    /// The answer to RCPT for this recipient (its place in the envelope). Not said where MAIL was refused.
    Recipient(usize, ReplyHead),
    /// All of the envelope has been answered, a recipient was accepted, and the backend waits for the
    /// body. Not said where the body was sent ahead (BDAT).
    Go,
    /// The backend took a chunk that was not the last.
    Chunk,
    /// The final reply. A negative one may come early: to DATA, to a chunk, or in the middle of a body.
    Final(ReplyHead),
    /// LMTP: the final reply for this recipient (its place in the envelope).
    FinalFor(usize, ReplyHead),
    /// Nothing of the transaction was accepted: MAIL was refused, or each recipient. All of that has been
    /// told before.
    Refused,
    /// The answer to [`BackendSession::verify`]; [`Event::Reset`] follows. A refused MAIL is told as
    /// [`Event::Sender`] and says nothing about the recipient.
    Verified(ReplyHead),
    /// The backend asks for a response of the mechanism (334): call [`BackendSession::respond`].
    Challenge,
    /// The last reply to [`BackendSession::authenticate`]: only 235 is a yes.
    Authenticated(ReplyHead),
    /// The connection is clean.
    Reset,
    /// The backend said goodbye: close.
    Bye,
    /// The connection is of no more use: close. Said again at each step.
    Failed(BackendError),
}

/// Why a backend can't take a message; nothing was sent. The enhanced codes are the caller's to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// Larger than its SIZE (5.3.4).
    Size,
    /// 8-bit data, and no 8BITMIME (5.6.3).
    EightBit,
    /// BODY=BINARYMIME, and no BINARYMIME with CHUNKING (5.6.3).
    Binary,
    /// SMTPUTF8 is needed and not offered (5.6.7).
    Utf8,
    /// REQUIRETLS is asked for and not offered (5.7.30).
    RequireTls,
    /// A control character in a path or a parameter (5.5.4): the server lets none through.
    Malformed,
    /// The connection isn't clean, or no recipient was named: the caller's mistake.
    Busy,
}

/// What is known of the body when the envelope is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Octets of the body with what is put on top of it; of a stream, those known so far.
    pub size: u64,
    /// Whether there are octets above 127. Of a stream: so far.
    pub eight_bit: bool,
    /// Whether that is all of the body.
    pub whole: bool,
}

/// Which recipients of the envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To<'a> {
    /// All of them.
    All,
    /// Those at these places.
    These(&'a [usize]),
}

/// What an abort came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Abort {
    /// The backend drops the message only if the connection is closed, without another byte.
    Close,
    /// Send `out` and step until [`Event::Reset`] (clean) or [`Event::Failed`].
    Reset,
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendState {
    /// Before [`Event::Ready`], or in an exchange that identifies the client.
    Connecting,
    /// Clean, and nothing is awaited.
    Idle,
    /// Envelope or body under way.
    Open,
    /// The terminator is sent and the final reply awaited, or what confirms it.
    Committing,
    /// The transaction is over and left something behind: RSET is needed.
    Over,
    /// RSET is under way.
    Resetting,
    /// QUIT is under way.
    Quitting,
    /// To be closed.
    Failed,
}

/// What the session as a whole is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Greeting,
    Ehlo,
    Helo,
    /// STARTTLS is sent.
    StartTls,
    /// The handshake is the shell's.
    Handshake,
    /// XCLIENT is sent, and perhaps more of it is to be.
    Introduce,
    /// AUTH, or a response, is sent.
    Auth,
    /// The response is the caller's.
    Challenged,
    Idle,
    Transaction,
    /// EHLO is said again, to know what the last reply answered.
    Confirm,
    /// That was refused as a command, and QUIT was said.
    ConfirmByQuit,
    Quit,
    Failed(BackendError),
}

/// One connection to a backend, seen from its client side. Its memory is bounded by the reply limits and
/// the largest envelope of late.
#[derive(Clone, Debug)]
pub struct BackendSession {
    settings: Arc<BackendSettings>,
    replies: ReplyReader,
    capabilities: Capabilities,
    phase: Phase,
    /// Bytes came in one segment after the last reply that was awaited.
    ahead: bool,
    /// All that is said goes over TLS.
    secured: bool,
    /// Bodies go by DATA also where CHUNKING is offered.
    chunkless: bool,
    /// The client that the backend is told of; none where it's told of none.
    introduction: Option<Box<Introduction>>,
    transaction: Transaction,
}

impl BackendSession {
    /// A client that waits for the greeting.
    #[must_use]
    pub fn new(settings: Arc<BackendSettings>) -> BackendSession {
        BackendSession {
            replies: ReplyReader::new(settings.replies),
            settings,
            capabilities: Capabilities::default(),
            phase: Phase::Greeting,
            ahead: false,
            secured: false,
            chunkless: false,
            introduction: None,
            transaction: Transaction::default(),
        }
    }

    /// What the backend offers; nothing before [`Event::Ready`] and after HELO.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The reply that the last event came from, until the next step.
    #[must_use]
    pub fn reply(&self) -> ReplyRef<'_> {
        self.replies.reply()
    }

    /// Opens a transaction: MAIL and RCPT, and DATA where the body will not go by BDAT; all in one write
    /// where PIPELINING is offered.
    ///
    /// # Errors
    /// The backend can't take the message; nothing was written and the connection is as it was.
    pub fn open(
        &mut self,
        envelope: &Envelope,
        to: To<'_>,
        load: Load,
        out: &mut Vec<u8>,
    ) -> Result<(), Unsupported> {
        if !self.is_clean() {
            return Err(Unsupported::Busy);
        }
        let chunks = self.chunks();
        self.transaction.begin(Kind::Message, chunks);
        if let Some(introduction) = &self.introduction {
            self.transaction.forward(introduction);
        }
        let script = &mut self.transaction.script;
        commands::mail(envelope, load, chunks, &self.capabilities, script)?;
        match to {
            To::All => {
                for at in 0..envelope.recipients().len() {
                    self.transaction.add(envelope, at, &self.capabilities)?;
                }
            }
            To::These(places) => {
                for &at in places {
                    self.transaction.add(envelope, at, &self.capabilities)?;
                }
            }
        }
        if self.transaction.is_for_nobody() {
            return Err(Unsupported::Busy);
        }
        if !chunks {
            self.transaction.script.extend_from_slice(b"DATA\r\n");
        }
        self.phase = Phase::Transaction;
        self.send_script(out);
        Ok(())
    }

    /// Asks whether the backend takes a recipient: MAIL, RCPT and RSET, in one write where PIPELINING is
    /// offered.
    ///
    /// # Errors
    /// The backend can't be asked (SMTPUTF8 is needed and not offered, the connection isn't clean);
    /// nothing was written.
    pub fn verify(
        &mut self,
        sender: &[u8],
        recipient: Path<'_>,
        utf8: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Unsupported> {
        if !self.is_clean() {
            return Err(Unsupported::Busy);
        }
        if utf8 && !self.capabilities.extensions.has(Extensions::SMTPUTF8) {
            return Err(Unsupported::Utf8);
        }
        self.transaction.begin(Kind::Probe, true);
        commands::probe(sender, recipient, utf8, &mut self.transaction.script)?;
        self.transaction.add_probed();
        self.phase = Phase::Transaction;
        self.send_script(out);
        self.send_reset(out);
        Ok(())
    }

    /// Where the client is.
    #[must_use]
    pub fn state(&self) -> BackendState {
        match self.phase {
            Phase::Greeting
            | Phase::Ehlo
            | Phase::Helo
            | Phase::StartTls
            | Phase::Handshake
            | Phase::Introduce
            | Phase::Auth
            | Phase::Challenged => BackendState::Connecting,
            Phase::Idle => BackendState::Idle,
            Phase::Quit => BackendState::Quitting,
            Phase::Failed(_) => BackendState::Failed,
            Phase::Confirm | Phase::ConfirmByQuit => BackendState::Committing,
            Phase::Transaction => self.transaction.state(),
        }
    }

    /// Whether what is under way is a question: see [`BackendSession::verify`].
    #[must_use]
    pub fn is_question(&self) -> bool {
        self.phase == Phase::Transaction && self.transaction.kind == Kind::Probe
    }

    /// Clean, and nothing is awaited: it may be pooled, if no byte of it lies unread.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.phase == Phase::Idle && !self.ahead && !self.replies.is_midway()
    }

    /// Nothing is awaited and the connection works: it is clean, or RSET would make it so.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.state(), BackendState::Idle | BackendState::Over) && !self.awaits_reply()
    }

    /// Whether the backend owes a reply.
    #[must_use]
    pub fn awaits_reply(&self) -> bool {
        match self.phase {
            Phase::Greeting
            | Phase::Ehlo
            | Phase::Helo
            | Phase::StartTls
            | Phase::Introduce
            | Phase::Auth
            | Phase::Confirm
            | Phase::ConfirmByQuit
            | Phase::Quit => true,
            Phase::Handshake | Phase::Challenged | Phase::Idle | Phase::Failed(_) => false,
            Phase::Transaction => self.transaction.awaits_reply(),
        }
    }

    /// Whether the end of the body has been written to `out` in this transaction and its final reply (in
    /// LMTP: the last of them) has not been read. Still true when the connection failed thereafter.
    #[must_use]
    pub fn terminator_sent(&self) -> bool {
        self.transaction.is_committing()
    }

    /// Whether the backend may have taken the message, though it has not said so: then it is never sent
    /// again by itself. Unlike [`BackendSession::terminator_sent`] this knows of a MAIL or of recipients that were
    /// refused, and of 421, while the body had been sent ahead.
    #[must_use]
    pub fn is_uncertain(&self) -> bool {
        self.transaction.is_committing() && !self.transaction.is_ruled_out()
    }

    /// Whether a reply to the envelope is due: to MAIL, RCPT, or what came before them.
    #[must_use]
    pub fn awaits_envelope(&self) -> bool {
        self.phase == Phase::Transaction && self.transaction.awaits_envelope()
    }

    /// The places in the envelope of the recipients that the backend has accepted so far.
    pub fn accepted(&self) -> impl Iterator<Item = usize> + '_ {
        self.transaction.accepted()
    }

    /// Whether bodies go by BDAT on this connection.
    #[must_use]
    pub fn chunks(&self) -> bool {
        let offered = self.capabilities.extensions.has(Extensions::CHUNKING);
        self.settings.chunking && offered && !self.chunkless
    }

    /// Whether commands are sent ahead on this connection.
    #[must_use]
    pub fn pipelines(&self) -> bool {
        self.settings.pipelining && self.capabilities.extensions.has(Extensions::PIPELINING)
    }

    /// Octets of memory that it holds beside itself.
    #[must_use]
    pub fn memory(&self) -> usize {
        let introduction = self.introduction.as_ref().map_or(0, |i| i.memory());
        self.replies.memory() + self.transaction.memory() + introduction
    }
}
