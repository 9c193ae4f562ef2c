//! What is known of a session and of its transaction: one [`Record`] for each line of the log.
//!
//! A record is a view. It borrows every part from where that part lies (the session, the envelope, the judgement), so
//! making one costs nothing, and whatever is to be told of a transaction is told from this one type: the log line
//! ([`line`]) and the explanation ([`explanation`]), of which the latest are kept in a [`Ring`]. What must be remembered while a session goes on
//! is kept in [`Recipients`], [`Refusals`] and [`Told`], each with a named limit. How many lines a client has whose mail
//! goes nowhere is limited by an [`Allowance`].
//!
//! This room must not know sessions, streams or backends: it is told values. To log another field, add it to the
//! record's type here, fill it in `proxy/trace.rs`, write it in `line.rs` and `explanation.rs`, and describe it in
//! `docs/operations.md`.
//!
//! Rejected: a record that owns its parts. It would copy names, TLS facts and addresses for each message, and most are
//! dropped as soon as the line is written.

mod allowance;
pub mod explanation;
#[cfg(test)]
mod explanation_tests;
pub mod line;
mod packed;
mod refusals;
mod ring;
pub mod text;

pub use allowance::{AT_GREETING, Allowance, FRUITLESS, HeldBack, WINDOW};
pub use refusals::{REFUSALS_MAX, Refusal, Refusals, TEXT_MAX};
pub use ring::{ENTRY_MAX, ENTRY_ROOM, Extent, Id, Ring};

use crate::{
    policy::{CheckId, Inquiry, Judgement, Policy},
    smtp::{Reply, Status, Tick, server::Phase},
};
use std::{borrow::Cow, fmt, net::IpAddr};

/// Accepted recipients that a record names; the rest are counted.
pub const RECIPIENTS_MAX: usize = 50;

/// All that is known of one transaction, or of a session outside its transactions.
pub struct Record<'a> {
    /// By which it is found: in the log line, in the reply `250 2.0.0 Ok: ID`, in our Received field.
    pub id: Id,
    /// The moment of writing.
    pub now: Tick,
    /// Whose session it is.
    pub client: Client<'a>,
    /// The transaction; `None` where the record is the session's own.
    pub mail: Option<Mail<'a>>,
    /// What was refused on the way.
    pub refusals: &'a Refusals,
    /// What the checks found.
    pub findings: Findings<'a>,
    /// What a candidate's policy came to.
    pub shadow: Option<Shadowed<'a>>,
    /// How the session ended, where it ended with this.
    pub end: Option<End>,
    /// How long the session took, µs; told of sessions alone.
    pub session_us: u64,
}

/// Whose session it is.
pub struct Client<'a> {
    /// The listener's name.
    pub listener: &'a str,
    /// The client's true address.
    pub address: IpAddr,
    /// Its host name, by the word of XCLIENT.
    pub name: Option<&'a [u8]>,
    /// Its host name in the DNS, which leads back to its address; or `none`, `unconfirmed`, `unknown`.
    pub rdns: Option<&'a str>,
    /// The address of the proxy that speaks for it.
    pub via: Option<IpAddr>,
    /// What that proxy said of the client's TLS.
    pub front: Option<Front<'a>>,
    /// The name in HELO or EHLO.
    pub helo: Option<&'a [u8]>,
    /// The account that it has authenticated as, as XCLIENT said.
    pub login: Option<&'a str>,
    /// Mechanism and account of an authentication here.
    pub auth: Option<(&'a str, &'a str)>,
    /// TLS with us.
    pub tls: Option<Tls<'a>>,
}

/// TLS of the client with a proxy in front, by the proxy's word.
#[derive(Default)]
pub struct Front<'a> {
    /// `TLSv1.3`.
    pub version: Option<&'a str>,
    /// The cipher suite.
    pub cipher: Option<&'a str>,
    /// The common name of a certificate that the proxy has verified.
    pub certificate: Option<&'a str>,
    /// The protocol that was negotiated.
    pub alpn: Option<&'a str>,
    /// The name that the client asked for.
    pub sni: Option<&'a str>,
}

/// TLS of the client with us.
pub struct Tls<'a> {
    /// `TLSv1.3`.
    pub version: &'a str,
    /// The cipher suite.
    pub cipher: &'a str,
    /// The session was resumed.
    pub resumed: bool,
    /// The first name of a certificate that was verified.
    pub certificate: Option<&'a str>,
}

/// One transaction.
pub struct Mail<'a> {
    /// Where the message came from before, by the word of XFORWARD.
    pub origin: Option<ForwardedOrigin<'a>>,
    /// The reverse-path.
    pub sender: &'a [u8],
    /// What SPF says of it.
    pub spf: Option<&'a str>,
    /// What DKIM says: the best result of its signatures.
    pub dkim: Option<&'a str>,
    /// What DMARC says.
    pub dmarc: Option<&'a str>,
    /// What came of its chain of seals, where it has one; `trusted` where that has lifted a failure of DMARC.
    pub arc: Option<&'a str>,
    /// The keys that have signed it here, or why none has.
    pub signed: Option<&'a str>,
    /// The recipients that were accepted.
    pub recipients: &'a Recipients,
    /// Octets of the body; `None` where none was begun.
    pub size: Option<u64>,
    /// What became of it.
    pub outcome: Outcome,
    /// The final reply, or the last refusal.
    pub told: Option<&'a Told>,
    /// The last backend that was tried, as `pool/address`.
    pub backend: Option<&'a str>,
    /// The version of TLS that it was spoken to in.
    pub backend_tls: Option<&'a str>,
    /// What that backend said in the end, in its own words.
    pub backend_said: Option<BackendSaid<'a>>,
    /// When MAIL came.
    pub started: Tick,
    /// When its stages ended.
    pub times: Times,
}

/// A backend's reply in its own words.
pub struct BackendSaid<'a> {
    /// Its code.
    pub code: u16,
    /// Its enhanced code.
    pub status: Status,
    /// Its text, in one line.
    pub text: Cow<'a, str>,
}

/// Where a message came from before it came to the client that sends it.
pub struct ForwardedOrigin<'a> {
    /// That client's address.
    pub address: Option<IpAddr>,
    /// Its host name.
    pub name: Option<&'a [u8]>,
    /// Its name in HELO or EHLO.
    pub helo: Option<&'a [u8]>,
    /// The message's id there.
    pub id: Option<&'a [u8]>,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx to the end of data.
    Accept,
    /// The same, from the pool for suspicious mail.
    Quarantine,
    /// The same, and delivered nowhere.
    Discard,
    /// Refused for now: 4xx, the client tries again.
    Defer,
    /// Refused for good: 5xx.
    Reject,
    /// The client went, or said RSET or EHLO.
    Abandon,
}

impl Outcome {
    /// What follows from the last reply: `done` where it was the final one, `recipients` where any was accepted.
    #[must_use]
    pub fn of(told: Option<&Told>, done: bool, recipients: bool) -> Outcome {
        match told.map(|told| told.reply.code / 100) {
            Some(2) if done => Outcome::Accept,
            Some(4) if done || !recipients => Outcome::Defer,
            Some(5) if done || !recipients => Outcome::Reject,
            _ => Outcome::Abandon,
        }
    }

    /// The word for it in a log line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Accept => "accept",
            Outcome::Quarantine => "quarantine",
            Outcome::Discard => "discard",
            Outcome::Defer => "defer",
            Outcome::Reject => "reject",
            Outcome::Abandon => "abandon",
        }
    }
}

/// A reply that a client was given, and the check that made it.
#[derive(Clone, Debug)]
pub struct Told {
    /// The reply. The text of a 2xx is left out: it is the same for all, and the id in it is the record's own.
    pub reply: Reply,
    /// The check, where one decided.
    pub check: Option<CheckId>,
}

impl Told {
    /// Keeps a reply.
    #[must_use]
    pub fn new(reply: &Reply, check: Option<CheckId>) -> Told {
        let reply = match reply.is_positive() {
            true => Reply::fixed(reply.code, reply.status, ""),
            false => reply.clone(),
        };
        Told { reply, check }
    }
}

/// Moments of a transaction; `None` where it never got there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// DATA or the first BDAT was allowed.
    pub body: Option<Tick>,
    /// The body was complete.
    pub complete: Option<Tick>,
    /// A connection to a backend was there.
    pub leased: Option<Tick>,
    /// The backend's final reply.
    pub done: Option<Tick>,
}

/// The recipients that were accepted: the first by name, all by number.
#[derive(Clone, Debug, Default)]
pub struct Recipients {
    /// Each followed by a newline, which no path can hold: one allocation for most messages.
    text: Vec<u8>,
    count: u32,
}

impl Recipients {
    /// Adds one.
    pub fn push(&mut self, path: &[u8]) {
        if (self.count as usize) < RECIPIENTS_MAX {
            self.text.reserve(path.len() + 1);
            self.text.extend_from_slice(path);
            self.text.push(b'\n');
        }
        self.count += 1;
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Those that are named.
    pub fn named(&self) -> impl Iterator<Item = &[u8]> {
        Recipients::each(&self.text)
    }

    /// The same as one text, of which [`Recipients::each`] makes them again.
    fn text(&self) -> &[u8] {
        &self.text
    }

    fn each(text: &[u8]) -> impl Iterator<Item = &[u8]> {
        let text = text.strip_suffix(b"\n");
        text.into_iter()
            .flat_map(|text| text.split(|octet| *octet == b'\n'))
    }
}

/// What the checks found.
#[derive(Clone, Copy)]
pub struct Findings<'a> {
    /// Hits and scores.
    pub judgement: &'a Judgement,
    /// Whose checks they are.
    pub policy: &'a Policy,
    /// The listener, by its place.
    pub listener: usize,
    /// What was asked elsewhere; `None` of a client that is known.
    pub inquiry: Option<&'a Inquiry>,
}

impl<'a> Findings<'a> {
    /// The name of a check.
    #[must_use]
    pub fn name(&self, check: CheckId) -> &'a str {
        match check {
            CheckId::RECIPIENTS => CheckId::RECIPIENTS_NAME,
            _ => self.policy.check(check).map_or("?", |info| &info.name),
        }
    }

    /// Tells what was asked elsewhere, one by one: its name in two parts, the result, and what belongs to it.
    pub fn each(&self, tell: &mut dyn FnMut([&str; 2], &str, fmt::Arguments<'_>)) {
        if let Some(inquiry) = self.inquiry {
            self.policy.each_finding(self.listener, inquiry, tell);
        }
    }
}

/// What a candidate's policy would have said (`shadow_config`).
#[derive(Clone, Copy, Debug)]
pub struct Shadowed<'a> {
    /// `accept`, `defer` …
    pub verdict: &'static str,
    /// The check that made it.
    pub check: Option<&'a str>,
    /// Not all that it asked was answered in time.
    pub late: bool,
    /// The policy in force has said something else.
    pub differs: bool,
}

/// How a session ended.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// `client` or `gatepost`.
    pub by: &'static str,
    /// Where it stood.
    pub phase: Phase,
    /// In a word.
    pub why: &'static str,
    /// The last reply must not be lost: close with patience.
    pub lingers: bool,
}

impl End {
    /// The client closed, or its connection broke.
    #[must_use]
    pub fn client(phase: Phase) -> End {
        End {
            by: "client",
            phase,
            why: "closed",
            lingers: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_are_named_up_to_a_limit_and_counted_beyond() {
        let mut recipients = Recipients::default();
        assert_eq!(recipients.named().count(), 0);
        for place in 0..RECIPIENTS_MAX + 7 {
            recipients.push(format!("user{place}@example.net").as_bytes());
        }
        assert_eq!(recipients.count() as usize, RECIPIENTS_MAX + 7);
        let named: Vec<_> = recipients.named().collect();
        assert_eq!(named.len(), RECIPIENTS_MAX);
        assert_eq!(named[49], b"user49@example.net");
    }
}
