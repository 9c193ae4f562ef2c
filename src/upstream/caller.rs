//! Whose message it is: what a backend is told of the client, and which connections do for it.
//!
//! By XCLIENT and by a PROXY header the backend takes a connection for the client's own, so it has an [`Owner`]. One
//! that a PROXY header opened stays with its owner; one that offers XCLIENT is introduced anew for the next. A
//! question of ours (a verification, a probe) is asked on connections that are nobody's: its answer is remembered for
//! all. XFORWARD belongs to a transaction and makes no owner.

use super::conn::Conn;
use crate::{
    config::PoolIdentity,
    smtp::{
        Reply,
        client::{
            ClientError,
            identity::{Attributes, Facts},
        },
    },
};
use std::net::{IpAddr, SocketAddr};

/// The client that a message came from.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Its true address.
    pub client: SocketAddr,
    /// The address of ours that it connected to, where that is known.
    pub listener: Option<SocketAddr>,
    /// The name in its EHLO or HELO.
    pub hello: &'a [u8],
    /// Whether it said EHLO.
    pub extended: bool,
    /// The account that it authenticated for.
    pub login: Option<&'a [u8]>,
    /// The message's id.
    pub message: &'a [u8],
}

impl Caller<'_> {
    /// Lends what is known of it as attributes of XCLIENT and XFORWARD.
    pub(super) fn with_facts<T>(&self, look: impl FnOnce(&Facts<'_>) -> T) -> T {
        let (client, port) = (text(self.client.ip()), self.client.port().to_string());
        let listener = self.listener.map(|l| (text(l.ip()), l.port().to_string()));
        let (to, to_port) = match &listener {
            Some((address, port)) => (address.as_bytes(), port.as_bytes()),
            None => (&b""[..], &b""[..]),
        };
        look(&[
            (Attributes::ADDR, client.as_bytes()),
            (Attributes::PORT, port.as_bytes()),
            (
                Attributes::PROTO,
                if self.extended { b"ESMTP" } else { b"SMTP" },
            ),
            (Attributes::HELO, self.hello),
            (Attributes::LOGIN, self.login.unwrap_or_default()),
            (Attributes::DESTADDR, to),
            (Attributes::DESTPORT, to_port),
            (Attributes::IDENT, self.message),
            (Attributes::SOURCE, b"REMOTE"),
        ])
    }
}

/// An address as Postfix wants it.
fn text(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("IPV6:{address}"),
    }
}

/// The client that a backend takes a connection for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    client: SocketAddr,
    listener: Option<SocketAddr>,
    hello: Box<[u8]>,
    extended: bool,
    login: Option<Box<[u8]>>,
}

impl Owner {
    pub(super) fn new(caller: &Caller<'_>) -> Box<Owner> {
        Box::new(Owner {
            client: caller.client,
            listener: caller.listener,
            hello: caller.hello.into(),
            extended: caller.extended,
            login: caller.login.map(Into::into),
        })
    }

    /// Whether the caller is the owner in all that a backend was told.
    pub(super) fn is(&self, caller: &Caller<'_>) -> bool {
        self.client == caller.client
            && self.listener == caller.listener
            && *self.hello == *caller.hello
            && self.extended == caller.extended
            && self.login.as_deref() == caller.login
    }
}

/// How well an idle connection does for a caller, or for a question of ours; `None`: not at all.
pub(super) fn fitness(
    kind: PoolIdentity,
    conn: &Conn,
    caller: Option<&Caller<'_>>,
) -> Option<Fitness> {
    let fits = match (caller, &conn.owner) {
        (None, None) => Fitness::Ready,
        (Some(caller), Some(owner)) if owner.is(caller) => Fitness::Ready,
        _ if !keeps_apart(kind) => Fitness::Ready,
        (Some(_), _) if kind != PoolIdentity::Xclient => return None,
        (Some(_), Some(_)) => {
            // One that offered it once and does so no more can't get rid of its owner.
            let offered = conn.client.capabilities().xclient;
            (offered != Attributes::default()).then_some(Fitness::Another)?
        }
        // Rather not: it would be missed by the next question.
        (Some(_), None) => Fitness::Nobodys,
        (None, Some(_)) => return None,
    };
    Some(fits)
}

/// What a backend said to XCLIENT where it won't have the client that it names: 554, as it would have greeted that client
/// (RFC 5321 §3.1). It had greeted us, so this is about the client alone. Any other refusal may as well be about us (550: we
/// may not say XCLIENT).
pub(super) fn refusal(conn: &Conn) -> Option<Reply> {
    match conn.failure() {
        Some(ClientError::Caller(head)) if head.code == 554 => Some(conn.client.reply().to_reply()),
        _ => None,
    }
}

/// How well a connection does; more is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fitness {
    /// It is nobody's, and is to be introduced.
    Nobodys,
    /// It was another client's, and is to be introduced anew.
    Another,
    /// As it is.
    Ready,
}

/// Whether connections of such a pool have owners.
pub(super) fn keeps_apart(kind: PoolIdentity) -> bool {
    !matches!(kind, PoolIdentity::None | PoolIdentity::Xforward)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn caller<'a>(client: &str, hello: &'a [u8], login: Option<&'a [u8]>) -> Caller<'a> {
        Caller {
            client: client.parse().unwrap(),
            listener: Some("[2001:db8::25]:25".parse().unwrap()),
            hello,
            extended: true,
            login,
            message: b"1",
        }
    }

    #[test]
    fn an_owner_is_known_by_all_that_was_told() {
        let amy = caller("192.0.2.7:4711", b"a.example", Some(b"amy"));
        let owner = Owner::new(&amy);
        assert!(owner.is(&Caller {
            message: b"2",
            ..amy
        }));
        for other in [
            caller("192.0.2.8:4711", b"a.example", Some(b"amy")),
            caller("192.0.2.7:4712", b"a.example", Some(b"amy")),
            caller("192.0.2.7:4711", b"b.example", Some(b"amy")),
            caller("192.0.2.7:4711", b"a.example", Some(b"bob")),
            caller("192.0.2.7:4711", b"a.example", None),
            Caller {
                extended: false,
                ..amy
            },
            Caller {
                listener: None,
                ..amy
            },
        ] {
            assert!(!owner.is(&other), "{other:?}");
        }
    }

    #[test]
    fn addresses_are_written_as_postfix_reads_them() {
        let told = |client: &str| {
            caller(client, b"a.example", None).with_facts(|facts| {
                let of = |which| {
                    let found = facts
                        .iter()
                        .find(|(attribute, _)| *attribute == which)
                        .unwrap();
                    String::from_utf8(found.1.to_vec()).unwrap()
                };
                [
                    of(Attributes::ADDR),
                    of(Attributes::DESTADDR),
                    of(Attributes::LOGIN),
                ]
            })
        };
        let to = "IPV6:2001:db8::25";
        assert_eq!(told("192.0.2.7:1"), ["192.0.2.7", to, ""]);
        assert_eq!(told("[::ffff:192.0.2.7]:1"), ["192.0.2.7", to, ""]);
        assert_eq!(told("[2001:db8::1]:1"), ["IPV6:2001:db8::1", to, ""]);
    }
}
