//! What a session tells about itself: for logs, metrics and policy. Nothing here decides anything.

use crate::smtp::command::Verb;
use std::ops::BitOr;

/// Where a session stands: the second half of `client@body`, and a label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Before the greeting.
    Connect,
    /// Greeted; no HELO or EHLO yet.
    Hello,
    /// Between transactions.
    Idle,
    /// MAIL is being judged, or was accepted; no recipient yet.
    Mail,
    /// RCPT is being judged, or one was accepted.
    Rcpt,
    /// From DATA, or the first BDAT, to the end of the body.
    Body,
    /// The body is complete, its reply is due.
    Commit,
    /// AUTH is under way.
    Auth,
    /// STARTTLS was accepted, the handshake is due.
    Tls,
    /// The last reply was written; nothing more is read.
    Closed,
}

impl Phase {
    /// All of them.
    pub const ALL: [Phase; 10] = [
        Phase::Connect,
        Phase::Hello,
        Phase::Idle,
        Phase::Mail,
        Phase::Rcpt,
        Phase::Body,
        Phase::Commit,
        Phase::Auth,
        Phase::Tls,
        Phase::Closed,
    ];

    /// Its name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Connect => "connect",
            Phase::Hello => "hello",
            Phase::Idle => "idle",
            Phase::Mail => "mail",
            Phase::Rcpt => "rcpt",
            Phase::Body => "body",
            Phase::Commit => "commit",
            Phase::Auth => "auth",
            Phase::Tls => "tls",
            Phase::Closed => "closed",
        }
    }
}

/// Points of synchronisation (RFC 2920 §3.1) past which the client sent more before it had the reply. Bytes
/// after such a command in the same input show it; those that come a moment later can't be told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals(pub u8);

impl Signals {
    /// The client has kept its turn.
    pub const NONE: Signals = Signals(0);
    /// Past EHLO or HELO.
    pub const PAST_HELLO: Signals = Signals(1);
    /// Past DATA.
    pub const PAST_DATA: Signals = Signals(2);
    /// Past STARTTLS: the bytes were discarded.
    pub const PAST_STARTTLS: Signals = Signals(4);
    /// Past AUTH.
    pub const PAST_AUTH: Signals = Signals(8);
    /// Past QUIT. To close at once would reset the connection, and the 221 would be lost with it.
    pub const PAST_QUIT: Signals = Signals(32);
    /// Past any other command without PIPELINING having been offered (the client said HELO).
    pub const UNOFFERED: Signals = Signals(16);

    /// Whether all of `other` is in it.
    #[must_use]
    pub const fn has(self, other: Signals) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Signals {
    type Output = Signals;
    fn bitor(self, other: Signals) -> Signals {
        Signals(self.0 | other.0)
    }
}

/// What a session did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Commands by [`Verb`] (`verbs[Verb::Mail as usize]`).
    pub verbs: [u32; Verb::COUNT],
    /// Errors of the client since the last good message: what `limits.errors` is compared with. An error is a 5xx (a
    /// user that doesn't exist, a command out of place, a syntax error), a failed AUTH, and a deferral beyond those
    /// of `deferrals`.
    pub errors: u32,
    /// Errors of the whole session.
    pub errors_total: u32,
    /// Commands that did nothing, or next to nothing, since the last good message: what `limits.junk` is compared with.
    pub junk: u32,
    /// Messages accepted.
    pub messages: u32,
    /// Recipients accepted.
    pub recipients: u32,
    /// Refusals since the last good message that are no fault of the client: a 4xx asks it to come again (too many
    /// recipients, a recipient of another pool, a backend that is away), a recipient that had been accepted when the message came before is refused
    /// ([`Server::excuse`](super::Server::excuse)), and what was pipelined after a refused
    /// command is refused because of that one. Up to [`DEFERRALS_MAX`](crate::smtp::limits::DEFERRALS_MAX) of
    /// them don't count as errors: else a list that is asked to come again for most of its recipients would be cut
    /// off before it gets any of them through.
    pub deferrals: u32,
}

impl Tally {
    /// How often a verb came.
    #[must_use]
    pub fn of(&self, verb: Verb) -> u32 {
        self.verbs[verb as usize]
    }
}

/// The name that a client gave itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The name: clean UTF-8 of at most 255 octets without blanks; characters that would mean something in a
    /// Received field or an address (` <>()\";@`) are `?` (as in Postfix).
    pub name: &'a [u8],
    /// Whether it was said with EHLO.
    pub esmtp: bool,
}
