//! Whose session it is. A proxy in front names the client with a PROXY header before anything else, or with XCLIENT.
//!
//! A connection from a network in `proxy_protocol_from` must begin with a header; from anywhere else none is looked for,
//! so a header that a stranger sends is a line that isn't SMTP. What follows the header, in the same packet or not, goes
//! to SMTP or TLS as it came. A connection whose header is wrong is closed without a reply: a proxy reads none, and an
//! attacker shall learn nothing.
//!
//! XCLIENT is read by the core (`smtp::server`); here the session becomes that of the client. Until then a connection
//! from `xclient_from` isn't judged as a client: all the mail of a site may come from that one address.

use super::{
    asking::Asking,
    candidate::Candidate,
    context::{Context, Current},
    profiles::ClassFacts,
    site::ListenerSite,
};
use crate::{
    auth::folded,
    log::field::push_address,
    metrics::Counter,
    net::{Stream, now},
    policy::{At, CheckId, Judgement, SessionTicket, TarpitPlace},
    proxy_protocol::{self, Header, ProxiedOrigin},
    smtp::{
        Tick,
        server::{Answer, Phase, XclientAttributes, XclientValue},
    },
};
use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

/// The client of a session, and what it has earned so far. XCLIENT replaces it as a whole.
pub(super) struct Peer {
    /// Its true address, whatever proxy is in front.
    pub address: IpAddr,
    /// 0 where a proxy did not tell it.
    pub port: u16,
    /// Its host name, by the word of XCLIENT.
    pub name: Option<Box<[u8]>>,
    /// The proxy in front, where there is one, and what it told.
    pub via: Option<Box<Via>>,
    /// It may send to any domain, and is not judged as a stranger.
    pub trusted: bool,
    /// It talked before the greeting.
    pub early: bool,
    /// It has waited for the greeting without a word.
    pub waited: bool,
    /// What the policy found.
    pub judgement: Judgement,
    /// Its session among those that count against its address.
    pub ticket: Option<SessionTicket>,
    /// Why it is refused, where it hears of that at RCPT.
    pub postponed: Option<Box<Postponed>>,
    /// How often in a row a rate has put it off.
    pub limited: u8,
    /// Its class: see `Profiles::class_of`.
    pub class: u8,
    /// How fast it is answered; `None`: at once. Boxed, for it is rare.
    pub pacing: Option<Box<Pacing>>,
    /// What is asked elsewhere about it.
    pub asking: Option<Box<Asking>>,
    /// What a candidate's policy makes of it, where there is one.
    pub candidate: Option<Box<Candidate>>,
}

/// A refusal of the client, its HELO name or its sender that is told at RCPT (`policy.log_rejected`).
pub(super) struct Postponed {
    /// What the client will hear.
    pub answer: Answer,
    /// The check that decided.
    pub check: Option<CheckId>,
    /// Where it did.
    pub at: At,
    /// The command that it refused, as the log has it.
    pub command: &'static str,
    /// It has heard it.
    pub told: bool,
}

/// How fast a client is answered.
#[derive(Debug)]
pub(super) enum Pacing {
    /// Each reply takes `timeouts.tarpit`.
    Slow(#[expect(dead_code, reason = "a place is held by being there")] TarpitPlace),
    /// At once, for the tarpit was full.
    Full,
}

impl Peer {
    pub fn new(address: IpAddr, port: u16, via: Option<Box<Via>>) -> Peer {
        Peer {
            address,
            port,
            name: None,
            via,
            trusted: false,
            early: false,
            waited: false,
            judgement: Judgement::new(),
            ticket: None,
            postponed: None,
            limited: 0,
            class: 0,
            pacing: None,
            asking: None,
            candidate: None,
        }
    }

    /// The account that a proxy says it has authenticated as.
    #[must_use]
    pub fn login(&self) -> Option<&str> {
        self.via.as_deref()?.login.as_deref()
    }

    /// Whether it is refused whatever it says: its address was, and it hears of that at RCPT.
    #[must_use]
    pub fn is_turned_away(&self) -> bool {
        let postponed = self.postponed.as_ref();
        postponed.is_some_and(|postponed| postponed.at < At::Hello)
    }

    /// The client that a proxy names with XCLIENT, in place of this one.
    pub fn replaced(self, named: &XclientAttributes, current: &Current, listener: usize) -> Peer {
        let address = match named.address {
            XclientValue::Is(address) => address,
            // An address that is unknown must not pass for the proxy's, which may be trusted.
            XclientValue::Unknown => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            XclientValue::Unsaid => self.address,
        };
        let port = match named.port {
            XclientValue::Is(port) => port,
            XclientValue::Unknown => 0,
            XclientValue::Unsaid => self.port,
        };
        let mut via = self.via.unwrap_or_else(|| {
            Box::new(Via {
                proxy: self.address,
                origin: None,
                login: None,
            })
        });
        let login = named.login.value().map(|login| std::str::from_utf8(login));
        via.login = login.and_then(|login| Some(folded(login.ok()?).into()));
        // The place of the client before is given back before another is taken.
        drop(self.ticket);
        let site = &current.site;
        let trusted = site.trusts(address);
        let class = site.profiles.class_of(&ClassFacts {
            address,
            trusted,
            authenticated: false,
            certificate: &[],
        });
        let profile = site.profiles.place(listener, class, 0);
        let group = site.policy.rate_group(profile);
        Peer {
            name: named.name.value().cloned(),
            class,
            trusted,
            ticket: Some(current.shared.open_session(address, group)),
            ..Peer::new(address, port, Some(via))
        }
    }
}

/// A proxy in front, and what it told.
pub(super) struct Via {
    /// The proxy's address.
    pub proxy: IpAddr,
    /// What its PROXY header said.
    pub origin: Option<ProxiedOrigin>,
    /// The account that the client has authenticated as, by the word of XCLIENT: in the form in which names are compared, so that all
    /// its spellings have one quota.
    pub login: Option<Box<str>>,
}

impl Via {
    /// Whether the client speaks TLS with the proxy.
    #[must_use]
    pub fn is_secured(&self) -> bool {
        self.tls().is_some()
    }

    /// What it speaks.
    fn tls(&self) -> Option<&proxy_protocol::ProxiedTls> {
        self.origin.as_ref()?.tls.as_ref()
    }

    /// Its version and its cipher, where the proxy told both.
    #[must_use]
    pub fn suite(&self) -> Option<(&str, &str)> {
        let tls = self.tls()?;
        Some((tls.version.as_deref()?, tls.cipher.as_deref()?))
    }

    /// Its version, and the name in a certificate that the proxy has verified.
    #[must_use]
    pub fn secured(&self) -> (Option<&str>, &[Box<str>]) {
        match self.tls() {
            Some(tls) => (tls.version.as_deref(), tls.name.as_slice()),
            None => (None, &[]),
        }
    }
}

/// Why a connection from a proxy is not served.
enum Refusal {
    /// It ended without a single octet: a load balancer that looks whether the port is open.
    Glance,
    /// It ended, or fell silent, before the header was whole.
    Unfinished(&'static str),
    /// What came is no header.
    Fault(proxy_protocol::HeaderFault),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Glance => f.write_str("closed"),
            Refusal::Unfinished(how) => write!(f, "PROXY header {how}"),
            Refusal::Fault(fault) => write!(f, "PROXY header {fault}"),
        }
    }
}

/// Finds out whose connection it is. `None`: it is over, which has been counted and logged.
pub(super) async fn arrive(
    context: &Context,
    current: &Current,
    site: &ListenerSite,
    stream: &mut Stream,
) -> Option<Peer> {
    let socket = stream.peer();
    let (address, port) = (socket.ip().to_canonical(), socket.port());
    let mut peer = Peer::new(address, port, None);
    if site.is_proxy(address) {
        let wait = current.site.config.timeouts.proxy_header.0;
        match Box::pin(header(stream, wait)).await {
            Ok(Header { origin: None, .. }) => {}
            Ok(Header {
                origin: Some(origin),
                ..
            }) => {
                let (address, port) = (origin.client.ip(), origin.client.port());
                let via = Via {
                    proxy: peer.address,
                    origin: Some(origin),
                    login: None,
                };
                peer = Peer::new(address, port, Some(Box::new(via)));
            }
            Err(refusal) => {
                refused(context, site, address, &refusal);
                return None;
            }
        }
    }
    // Only a proxy that is listed can have told of a certificate.
    let shown = peer.via.as_ref().map_or(&[][..], |via| via.secured().1);
    peer.trusted = current.site.trusts(peer.address) || site.trusts_certificate(shown);
    Some(peer)
}

/// Reads the header, and gives back what came after it.
async fn header(stream: &mut Stream, wait: Duration) -> Result<Header, Refusal> {
    stream.set_idle_deadline(now().after(wait));
    // Nearly always it comes in one piece, and nothing is gathered.
    let mut gathered = Vec::new();
    loop {
        let chunk = match stream.recv().await {
            Ok(Some(chunk)) => chunk,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(Refusal::Unfinished("timed out"));
            }
            _ if gathered.is_empty() => return Err(Refusal::Glance),
            _ => return Err(Refusal::Unfinished("cut short")),
        };
        let bytes = match gathered.is_empty() {
            true => &chunk[..],
            false => {
                gathered.extend_from_slice(&chunk);
                &gathered[..]
            }
        };
        // At `proxy_protocol::BINARY_MAX` octets there is a header or a fault: nothing is gathered beyond.
        if let Some(header) = proxy_protocol::look(bytes).map_err(Refusal::Fault)? {
            stream.unread(&bytes[header.length..]);
            stream.set_deadline(Tick::FAR);
            return Ok(header);
        }
        if gathered.is_empty() {
            gathered.extend_from_slice(&chunk);
        }
    }
}

fn refused(context: &Context, site: &ListenerSite, proxy: IpAddr, refusal: &Refusal) {
    let recorder = &context.recorder;
    if matches!(refusal, Refusal::Glance) {
        recorder.ended("client", Phase::Connect.as_str());
        return;
    }
    recorder.count(Counter::RefusedProxyHeader, site.scope, 1);
    recorder.ended("gatepost", Phase::Connect.as_str());
    context.log(|line| {
        context.dates.stamp(now(), line);
        line.text("listener", site.name.as_bytes())
            .plain("client", |out| push_address(proxy, out))
            .text("verdict", b"none")
            .text("why", refusal.to_string().as_bytes())
            .text("end", b"gatepost@connect");
    });
}
