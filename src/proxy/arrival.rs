//! Whose connection it is: a proxy in front says so with a PROXY header before anything else, or with XCLIENT.
//!
//! A connection from a network in `proxy_protocol_from` must begin with a header; from anywhere else none is looked
//! for, so a stranger's header is a line that isn't SMTP. What follows the header, in the same packet or not, goes to
//! SMTP or TLS as it came. Whatever is wrong ends the connection without a word: a proxy reads none, and who isn't one
//! shall learn nothing.
//!
//! XCLIENT is the core's to read (`smtp::server`); here the session becomes that of the client. Until it does, a
//! connection from `xclient_from` isn't judged as a client: all the mail of a site may come from that one address.

use super::{connection::Session, context::Context, site::ListenerSite};
use crate::{
    log::field::push_address,
    metrics::Counter,
    net::{
        Stream, now,
        proxy_header::{self, Header, Origin},
    },
    policy::{At, Judgement},
    smtp::{
        Tick,
        server::{Answer, Claim, Phase, Server},
    },
};
use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

/// A client, as far as its connection tells.
pub(super) struct Arrival {
    /// Its true address.
    pub client: IpAddr,
    /// Its port.
    pub port: u16,
    /// The proxy that speaks for it, where one does.
    pub via: Option<Box<Via>>,
}

/// A proxy in front, and what it told.
pub(super) struct Via {
    /// The proxy's address.
    pub proxy: IpAddr,
    /// What its PROXY header said.
    pub origin: Option<Origin>,
}

impl Via {
    /// Whether the client speaks TLS with the proxy.
    #[must_use]
    pub fn is_secured(&self) -> bool {
        self.tls().is_some()
    }

    /// What it speaks.
    fn tls(&self) -> Option<&proxy_header::Tls> {
        self.origin.as_ref()?.tls.as_ref()
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
    Fault(proxy_header::Fault),
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
pub(super) async fn true_client(
    context: &Context,
    site: &ListenerSite,
    wait: Duration,
    stream: &mut Stream,
) -> Option<Arrival> {
    let peer = stream.peer();
    let own = Arrival {
        client: peer.ip().to_canonical(),
        port: peer.port(),
        via: None,
    };
    if !site.is_proxy(own.client) {
        return Some(own);
    }
    match Box::pin(header(stream, wait)).await {
        Ok(Header { origin: None, .. }) => Some(own),
        Ok(Header {
            origin: Some(origin),
            ..
        }) => Some(Arrival {
            client: origin.client.ip(),
            port: origin.client.port(),
            via: Some(Box::new(Via {
                proxy: own.client,
                origin: Some(origin),
            })),
        }),
        Err(refusal) => {
            refused(context, site, own.client, &refusal);
            None
        }
    }
}

impl Session {
    /// XCLIENT: from here on the session is that of the client that it names.
    pub fn ask_client(&mut self) -> Answer {
        let Some(claims) = self.server.claims() else {
            return Answer::Accept;
        };
        let (proxy, before) = (self.client, (self.client, self.port));
        self.client = match claims.address {
            Claim::Is(address) => address,
            // Nobody's: it must not pass for the proxy, which may be trusted.
            Claim::Unknown => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Claim::Unsaid => self.client,
        };
        self.port = match claims.port {
            Claim::Is(port) => port,
            Claim::Unknown => 0,
            Claim::Unsaid => self.port,
        };
        self.name = claims.name.value().cloned();
        self.via.get_or_insert_with(|| {
            Box::new(Via {
                proxy,
                origin: None,
            })
        });
        self.trusted = self.current.site.trusts(self.client);
        self.early = false;
        if before != (self.client, self.port) {
            self.judgement = Judgement::new();
        }
        // The place of the client before is given back first.
        self.ticket = None;
        self.ticket = Some(self.current.shared.open_session(self.client));
        let answer = self.judge_connect();
        if matches!(answer, Answer::Accept) && self.server.hello().is_some() {
            return self.judge(At::Hello, None, false);
        }
        answer
    }
}

/// Who the client has authenticated as, by the word of XCLIENT.
pub(super) fn claimed_login(server: &Server) -> Option<&str> {
    std::str::from_utf8(server.claims()?.login.value()?).ok()
}

/// Reads the header, and gives back what came behind it.
async fn header(stream: &mut Stream, wait: Duration) -> Result<Header, Refusal> {
    stream.set_deadline(now().after(wait));
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
        // At `proxy_header::BINARY_MAX` octets there is a header or a fault: nothing is gathered beyond.
        if let Some(header) = proxy_header::look(bytes).map_err(Refusal::Fault)? {
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
