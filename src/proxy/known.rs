//! What facts are made of: the one place where what a session knows becomes [`Facts`].
//!
//! A session lends its parts (`known!` in `judge.rs`), and `explain.rs` those of a described message. A new fact of the
//! policy that follows from these parts is added in [`Known::facts`] alone; one that needs another part is a field of
//! [`Known`], which both must fill.

use super::site::Site;
use crate::{
    net::now,
    policy::{At, Breaches, Facts, Inquiry, Part, SessionTicket, Signals},
    smtp::{
        Tick,
        envelope::{Envelope, PathSpan},
        header::Index,
    },
};
use std::net::IpAddr;

/// What the policy is asked, beside what the session knows anyway.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// At which point.
    pub at: At,
    /// Which of its checks.
    pub part: Part,
    /// The recipient that is asked for.
    pub recipient: Option<PathSpan>,
    /// Its domain is ours.
    pub ours: bool,
    /// The header section.
    pub header: &'a [u8],
    /// Its fields.
    pub fields: Option<&'a Index<'a>>,
    /// The rest of the message goes to a backend as it comes.
    pub streams: bool,
    /// What of the proxy's own rules is broken.
    pub breaches: Breaches,
}

impl Asked<'_> {
    /// A question with nothing beside.
    pub fn at(at: At) -> Asked<'static> {
        Asked {
            at,
            part: Part::Whole,
            recipient: None,
            ours: false,
            header: b"",
            fields: None,
            streams: false,
            breaches: Breaches::NONE,
        }
    }
}

/// What is known of a client, its envelope and its message. Every field is to be filled: there is no default.
pub(super) struct Known<'a> {
    /// The configuration.
    pub site: &'a Site,
    /// The listener, by its place.
    pub listener: usize,
    /// By which profile of the policy it is judged.
    pub profile: usize,
    /// The client's address.
    pub address: IpAddr,
    /// It is in a trusted network, or has shown a trusted certificate.
    pub trusted: bool,
    /// The account that it has authenticated as.
    pub account: Option<&'a str>,
    /// A proxy may still name another client by XCLIENT.
    pub may_be_replaced: bool,
    /// The version of TLS that the client speaks.
    pub tls: Option<&'a str>,
    /// The names in its certificate, which was verified.
    pub certificate: &'a [Box<str>],
    /// What it did out of turn.
    pub signals: Signals,
    /// Its place among the sessions that are counted.
    pub ticket: Option<&'a SessionTicket>,
    /// The name in EHLO or HELO; empty before it.
    pub hello: &'a [u8],
    /// The envelope as far as it has come.
    pub envelope: &'a Envelope,
    /// Octets of the message, once all of it has come.
    pub size: u64,
    /// What was asked elsewhere.
    pub inquiry: Option<&'a Inquiry>,
    /// Now, in milliseconds since 1970.
    pub unix_millis: u64,
}

impl<'a> Known<'a> {
    /// The facts for one question. Some 400 octets that are made for each: inlined, so that they are written once and not
    /// copied.
    #[inline(always)]
    pub fn facts(
        self,
        asked: &Asked<'a>,
        at: Tick,
        looked: Option<&'a dyn Fn(usize, u64)>,
    ) -> Facts<'a> {
        let listener = &self.site.listeners[self.listener];
        let envelope = self.envelope;
        Facts {
            listener: &listener.name,
            profile: self.profile,
            may_log_in: listener.auth.is_some() || self.may_be_replaced,
            trusted: self.trusted,
            authenticated: self.account,
            tls: self.tls,
            certificate: self.certificate,
            sessions: self.ticket.map(SessionTicket::counts).unwrap_or_default(),
            keys: self.ticket.map(SessionTicket::keys),
            signals: self.signals,
            hello: self.hello,
            sender: envelope.sender(),
            recipient: asked.recipient.map(|path| envelope.path(path)),
            recipient_is_ours: asked.ours,
            envelope: Some(envelope),
            recipients: envelope.recipients().len() - usize::from(asked.recipient.is_some()),
            size: match asked.at {
                At::Body => self.size,
                _ => envelope.params().size,
            },
            header: asked.header,
            fields: asked.fields,
            streams: asked.streams,
            inquiry: self.inquiry,
            breaches: asked.breaches,
            unix_seconds: self.unix_millis / 1_000,
            unix_millis: self.unix_millis,
            clock: now,
            looked,
            ..Facts::of(self.address, at)
        }
    }
}
