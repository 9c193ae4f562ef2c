//! What the shell knows when it asks.

use crate::smtp::{
    Tick,
    envelope::{Envelope, Path},
    header::Index,
};
use std::net::{IpAddr, Ipv4Addr};

use super::{
    inquiry::Inquiry,
    rates::{Keys, SessionCounts},
};

/// The points of a session at which the policy is asked, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum At {
    /// Before the greeting, and before the handshake where TLS is implicit: an address, and nothing else is known.
    Connect,
    /// The client talked before it was greeted. Asked only then.
    Greeting,
    /// EHLO or HELO.
    Hello,
    /// MAIL: a sender.
    Mail,
    /// Before the first recipient of a message is judged: what was asked elsewhere is known. Asked again for each recipient
    /// until it accepts.
    Answers,
    /// RCPT: one recipient.
    Rcpt,
    /// The header section is complete. Of a message that streams, the rest is still to come.
    Header,
    /// The message is here: its header is complete, its size is known, nothing has been committed.
    Body,
}

impl At {
    /// How many there are.
    pub const COUNT: usize = 8;

    /// The word for it in the configuration and the manual: the command that the client hears its answer to.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            At::Connect | At::Greeting => "connect",
            At::Hello => "helo",
            At::Mail => "mail",
            At::Answers | At::Rcpt => "rcpt",
            At::Header => "header",
            At::Body => "body",
        }
    }
}

/// What a client did that a correct one does not (RFC 5321 §3.1, RFC 2920 §3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// It talked before the greeting.
    pub before_greeting: bool,
    /// It sent on past EHLO, DATA, STARTTLS or AUTH before the reply.
    pub past_sync: bool,
}

/// What of the proxy's own rules a message breaks, by the shell's counting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaches {
    /// The header section is larger than `limits.header` ([`At::Header`]).
    pub header_size: bool,
    /// It has more Received fields than `limits.received` ([`At::Header`]).
    pub hops: bool,
    /// The sender isn't the account's ([`At::Mail`]).
    pub sender: bool,
    /// From isn't the account's ([`At::Header`]).
    pub from: bool,
}

impl Breaches {
    /// The message breaks none of the rules.
    pub const NONE: Breaches = Breaches {
        header_size: false,
        hops: false,
        sender: false,
        from: false,
    };
}

/// What is known of the client, its envelope and its message. What is not known yet has the value of
/// [`Facts::of`], and no check of an earlier point looks at it.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The listener's name.
    pub listener: &'a str,
    /// Its place among those that the policy was built for ([`super::Policy::build_all`]).
    pub profile: usize,
    /// The client may still authenticate, by AUTH or by XCLIENT: until MAIL it is not refused as an unknown one.
    pub may_log_in: bool,
    /// The client's address (where PROXY or XCLIENT names it: that one). An IPv4-mapped IPv6 address is taken
    /// for the IPv4 address that it is.
    pub client: IpAddr,
    /// The client is in one of the `trusted` networks.
    pub trusted: bool,
    /// The account that it has authenticated as.
    pub authenticated: Option<&'a str>,
    /// The version of TLS that it speaks: `TLSv1.3`.
    pub tls: Option<&'a str>,
    /// Names in its certificate, which was verified.
    pub certificate: &'a [Box<str>],
    /// Sessions open now, this one included: [`super::SessionTicket::counts`].
    pub sessions: SessionCounts,
    /// The keys of its address, hashed once a session: [`super::SessionTicket::keys`]. `None`, or those of another
    /// address: they are made as they are needed.
    pub keys: Option<&'a Keys>,
    /// What it did out of turn so far.
    pub signals: Signals,
    /// The name or literal of EHLO/HELO, as it came.
    pub hello: &'a [u8],
    /// The reverse-path.
    pub sender: Path<'a>,
    /// The forward-path that is asked for ([`At::Rcpt`] only).
    pub recipient: Option<Path<'a>>,
    /// Its domain is ours: in a route or in `domains`. `<postmaster>` counts as ours.
    pub recipient_is_ours: bool,
    /// The envelope as far as it has come.
    pub envelope: Option<&'a Envelope>,
    /// Recipients accepted so far.
    pub recipients: usize,
    /// Octets of the message: as declared up to [`At::Rcpt`], as counted at [`At::Body`].
    pub size: u64,
    /// The header section as it came, with or without the empty line (from [`At::Header`] on).
    pub header: &'a [u8],
    /// Its fields, where the caller has found them already.
    pub fields: Option<&'a Index<'a>>,
    /// The rest of the message is still to come, and goes to a backend as it comes ([`At::Header`]).
    pub streams: bool,
    /// What was asked elsewhere, and what came of it.
    pub inquiry: Option<&'a Inquiry>,
    /// What of the proxy's own rules is broken.
    pub breaches: Breaches,
    /// The moment, coarse is enough.
    pub now: Tick,
    /// The same by the calendar: seconds since 1970.
    pub unix_seconds: u64,
    /// The same in milliseconds.
    pub unix_millis: u64,
    /// A finer clock for the times in [`super::Hit`] and of the looks.
    pub clock: fn() -> Tick,
    /// Told of each look of a check: its place in [`super::Policy::kinds`], and what it took in µs. `None`:
    /// the looks are not timed, and the clock is read at hits alone.
    pub looked: Option<&'a dyn Fn(usize, u64)>,
}

const NO_PATH: Path<'static> = Path {
    whole: b"",
    local: b"",
    domain: b"",
};

impl Facts<'static> {
    /// A stranger of whom nothing but the address is known, for `Facts { hello, ..Facts::of(client, now) }`.
    #[must_use]
    #[inline(always)]
    pub fn of(client: IpAddr, now: Tick) -> Facts<'static> {
        Facts {
            listener: "",
            profile: 0,
            may_log_in: false,
            client,
            trusted: false,
            authenticated: None,
            tls: None,
            certificate: &[],
            sessions: SessionCounts::default(),
            keys: None,
            signals: Signals::default(),
            hello: b"",
            sender: NO_PATH,
            recipient: None,
            recipient_is_ours: false,
            envelope: None,
            recipients: 0,
            size: 0,
            header: b"",
            fields: None,
            streams: false,
            inquiry: None,
            breaches: Breaches::NONE,
            now,
            unix_seconds: 0,
            unix_millis: 0,
            clock: Tick::default,
            looked: None,
        }
    }
}

impl Default for Facts<'static> {
    fn default() -> Facts<'static> {
        Facts::of(IpAddr::V4(Ipv4Addr::UNSPECIFIED), Tick::default())
    }
}

impl Facts<'_> {
    /// Whether the client is trusted or has authenticated.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.trusted || self.authenticated.is_some()
    }
}
