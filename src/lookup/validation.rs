//! What the library can't ask of servers that validate for us (`dns.dnssec = "resolver"`): whether they do, and whether a
//! failure was one of validation.
//!
//! Such a server says SERVFAIL where signatures don't hold (RFC 4035 section 5.5), so what is forged is never an answer. The
//! questions here only find words for it: they go over UDP alone, once, and without an answer the failure is a plain one.

use hickory_resolver::proto::{
    op::{Edns, Message, MessageType, Query, ResponseCode},
    rr::{Name, RecordType},
};
use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    net::UdpSocket,
    task::JoinSet,
    time::{Instant, timeout_at},
};

/// How long the servers may take, all together, to repeat what they have just failed to validate, which lies in their cache.
pub(super) const REPEAT: Duration = Duration::from_secs(1);
/// Servers that are asked to, the first of the list: each takes a socket while it is asked.
const REPEATED_MAX: usize = 4;
/// Failures that are asked about so at the same time: one above that is a plain one.
pub(super) const REPEATS_MAX: usize = 64;
/// The largest datagram: what passes every network in one piece (RFC 9715).
const PAYLOAD: u16 = 1232;

/// A bit of the question's header (RFC 4035 section 3.2, RFC 6840 section 5.7).
#[derive(Clone, Copy, PartialEq)]
enum Bit {
    /// AD: say whether you have validated it.
    Authentic,
    /// CD: answer, whatever you think of it.
    Unchecked,
}

/// Whether one of these servers, which have failed to answer, has an answer after all when it may not validate it. They are
/// asked at once, because clients wait for this.
pub(super) async fn is_bogus(
    servers: &[SocketAddr],
    name: Name,
    record_type: RecordType,
    until: Instant,
) -> bool {
    let query = Query::query(name, record_type);
    let mut asked = JoinSet::new();
    for server in servers.iter().copied().take(REPEATED_MAX) {
        let query = query.clone();
        asked.spawn(async move { ask(server, &query, Bit::Unchecked).await });
    }
    let one_has = async {
        while let Some(said) = asked.join_next().await {
            if let Ok(Some(said)) = said
                && matches!(
                    said.response_code,
                    ResponseCode::NoError | ResponseCode::NXDomain
                )
            {
                return true;
            }
        }
        false
    };
    timeout_at(until, one_has).await.unwrap_or(false)
}

/// Whether a server validates: it says so of the name servers of the root, which are signed. `None`: it has no answer.
pub(super) async fn validates(server: SocketAddr) -> Option<bool> {
    let query = Query::query(Name::root(), RecordType::NS);
    let said = ask(server, &query, Bit::Authentic).await?;
    (said.response_code == ResponseCode::NoError).then_some(said.authentic_data)
}

async fn ask(server: SocketAddr, query: &Query, bit: Bit) -> Option<Message> {
    let here: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(here).await.ok()?;
    socket.connect(server).await.ok()?;
    let mut asked = Message::query();
    asked.metadata.recursion_desired = true;
    asked.metadata.authentic_data = bit == Bit::Authentic;
    asked.metadata.checking_disabled = bit == Bit::Unchecked;
    asked.add_query(query.clone());
    let mut edns = Edns::new();
    // Some resolvers say AD only to those that take signatures.
    edns.set_max_payload(PAYLOAD).set_dnssec_ok(true);
    asked.set_edns(edns);
    socket.send(&asked.to_vec().ok()?).await.ok()?;
    let mut room = vec![0; PAYLOAD.into()];
    loop {
        let length = socket.recv(&mut room).await.ok()?;
        if let Ok(said) = Message::from_vec(&room[..length])
            && said.message_type == MessageType::Response
            && said.id == asked.id
            && said.queries == asked.queries
        {
            return Some(said);
        }
    }
}
