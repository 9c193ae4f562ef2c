//! The interface between the machine and the shell that runs it: settings, actions, questions, answers.

use crate::smtp::{
    body::BareNewline,
    extensions::Extensions,
    limits::{Limits, Timeouts},
    reply::Reply,
    span::Span,
};

/// What all sessions of a listener share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our name: in the banner, the hello replies.
    pub hostname: String,
    /// Text of the banner after `220 hostname ESMTP`; may be empty.
    pub banner: String,
    /// What is announced, and thereby allowed. STARTTLS is left out once TLS is active, REQUIRETLS until it
    /// is (RFC 8689 §2). AUTH is announced by `auth` alone; XCLIENT and XFORWARD are allowed by session
    /// ([`Server::grant`](super::Server::grant)).
    pub extensions: Extensions,
    /// Octets of the largest message; 0: no limit.
    pub size_max: u64,
    /// RCPTMAX as it is announced (RFC 9422 §4.2), where that is lower than `limits.recipients`, which is what holds
    /// for every message; 0: that one.
    pub recipients_announced: u32,
    /// Whether anything but EHLO, NOOP, STARTTLS, QUIT and XCLIENT gets 530 before TLS is active (RFC 3207 §4).
    pub requires_tls: bool,
    /// The mechanisms that are offered, and when.
    pub auth: Auth,
    /// Counts and sizes.
    pub limits: Limits,
    /// How long the client may take for each step.
    pub timeouts: Timeouts,
    /// What becomes of a bare CR or LF in a message.
    pub bare_newline: BareNewline,
}

impl Settings {
    /// Settings with the defaults of everything but the name.
    #[must_use]
    pub fn new(hostname: &str) -> Settings {
        Settings {
            hostname: hostname.to_string(),
            banner: String::new(),
            extensions: Extensions::PIPELINING
                | Extensions::SIZE
                | Extensions::EIGHTBITMIME
                | Extensions::SMTPUTF8
                | Extensions::CHUNKING
                | Extensions::ENHANCEDSTATUSCODES
                | Extensions::DSN
                | Extensions::LIMITS,
            size_max: 25 * 1024 * 1024,
            recipients_announced: 0,
            requires_tls: false,
            auth: Auth::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            bare_newline: BareNewline::Reject,
        }
    }
}

/// AUTH on a listener.
#[derive(Clone, Debug, Default)]
pub struct Auth {
    /// The mechanisms, in the order in which they are announced; none: no AUTH. Those that end in `-PLUS` are there only
    /// where [`Server::set_bindable`](super::Server::set_bindable) said so.
    pub mechanisms: Vec<String>,
    /// Not before TLS is active.
    pub requires_tls: bool,
    /// Whether whatever is about mail gets 530 before AUTH (RFC 4954 §6), so that a mail program asks for the password;
    /// but see [`Server::trust`](super::Server::trust).
    pub required: bool,
}

/// What a call of [`Server::step`](super::Server::step) did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Octets of the input that are done with.
    pub consumed: usize,
    /// What the shell must do.
    pub action: Action,
}

/// What the shell must do next. Spans are of the input of this very step, within `consumed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send what was written, then read more. All of the input was consumed: nothing need be kept.
    Read,
    /// Decide, then call [`Server::answer`](super::Server::answer). Until then nothing is consumed; a further step asks again.
    Ask(Question),
    /// Payload: the message without stuffing, its last CRLF included. The same for DATA and BDAT.
    Body(Span),
    /// Payload that the input doesn't hold: the half of a CRLF that a bare newline lacked, with
    /// [`BareNewline::Normalize`], or a CR that had been held back at the end of the input before.
    Insert(&'static [u8]),
    /// The message is dead (too large, a line too long, a bare newline, RSET or EHLO between chunks): drop
    /// what came of it. No `End` follows for it; the core swallows the rest and writes the reply itself.
    Discard,
    /// The core refused a command or a body by itself, or ends the session by itself, and wrote this reply: nothing
    /// need be done but to note it. [`Server::verb`](super::Server::verb) is the command, or the one that began the
    /// body. A refusal that the shell gave as an answer is not repeated, but one of a body, which is written at the
    /// body's end.
    Refused(Reply),
    /// The body is complete and sound: commit it, then call [`Server::answer`](super::Server::answer) with `AcceptWith` or `Refuse`.
    End,
    /// Send what was written, shake hands, call [`Server::secured`](super::Server::secured). Input that followed was discarded.
    StartTls,
    /// Send what was written, then close. A body under way is dead.
    Close,
}

/// What the shell is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// May it connect? `Refuse` greets with that reply, and then only QUIT gets anywhere (RFC 5321 §3.1).
    Connect,
    /// May this client connect, of whom a proxy speaks with XCLIENT ([`Server::xclient_attributes`](super::Server::xclient))? The
    /// answer is as for `Connect`, and the session as new. [`Server::hello`](super::Server::hello) is there where the
    /// proxy named it, and not asked about again.
    Client,
    /// May it have this name ([`Server::hello`](super::Server::hello))? `Refuse` leaves everything as it was before.
    Hello,
    /// May this sender mail (`envelope().sender()`, `params()`)? `Refuse` empties the envelope.
    Mail,
    /// May this recipient have mail (the last of `envelope().recipients()`)? `Refuse` takes it out again.
    Rcpt,
    /// May the body come? Asked at DATA, and at the first BDAT of a transaction.
    Body,
    /// Are these credentials right ([`Server::said`](super::Server::said))? Asked for each response of an exchange.
    /// [`Server::challenge`](super::Server::challenge) asks the client on; an answer ends the exchange.
    Auth,
}

/// The answer to a [`Question`], or to [`Action::End`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes, with the standard reply.
    Accept,
    /// Yes, with this reply. EHLO and DATA have only one reply that means yes: there it is as `Accept`.
    AcceptWith(Reply),
    /// No, with this reply. A 4xx asks the client to come again, so it is no error of the client's
    /// ([`Tally::deferrals`](super::Tally::deferrals)); a 5xx is, and so is whatever refuses AUTH.
    Refuse(Reply),
    /// No, with this reply, and the session ends.
    Close(Reply),
}

/// Why a session is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// [`Server::deadline`](super::Server::deadline) has passed.
    Timeout,
    /// The process stops: the session ends as soon as no transaction is open and no command half read.
    Drain,
    /// Too much load: it ends now.
    Overload,
    /// The time that the process had to stop is over: it ends now.
    Stop,
}
