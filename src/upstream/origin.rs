//! Where a message comes from: what a backend is told of the client.
//!
//! By XCLIENT and by a PROXY header the backend takes a connection for the client's own, so the connection has an
//! [`Owner`]. One that a PROXY header opened stays with its owner; one that offers XCLIENT is introduced anew for the
//! next client. A question of ours (a verification, a probe) is asked on connections without an owner: its answer is
//! remembered for all clients. XFORWARD belongs to a transaction and makes no owner.

use crate::{
    config::PoolIdentity,
    smtp::backend_session::identity::{Attributes, Facts},
};
use std::net::{IpAddr, SocketAddr};

/// The client that a message came from, as its backend is told of it.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
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

impl Origin<'_> {
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
    pub(super) fn new(origin: &Origin<'_>) -> Box<Owner> {
        Box::new(Owner {
            client: origin.client,
            listener: origin.listener,
            hello: origin.hello.into(),
            extended: origin.extended,
            login: origin.login.map(Into::into),
        })
    }

    /// Whether the origin is the owner in all that a backend was told.
    pub(super) fn is(&self, origin: &Origin<'_>) -> bool {
        self.client == origin.client
            && self.listener == origin.listener
            && *self.hello == *origin.hello
            && self.extended == origin.extended
            && self.login.as_deref() == origin.login
    }
}

/// Whether connections of such a pool have owners.
pub(super) fn keeps_apart(kind: PoolIdentity) -> bool {
    !matches!(kind, PoolIdentity::None | PoolIdentity::Xforward)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn origin<'a>(client: &str, hello: &'a [u8], login: Option<&'a [u8]>) -> Origin<'a> {
        Origin {
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
        let amy = origin("192.0.2.7:4711", b"a.example", Some(b"amy"));
        let owner = Owner::new(&amy);
        assert!(owner.is(&Origin {
            message: b"2",
            ..amy
        }));
        for other in [
            origin("192.0.2.8:4711", b"a.example", Some(b"amy")),
            origin("192.0.2.7:4712", b"a.example", Some(b"amy")),
            origin("192.0.2.7:4711", b"b.example", Some(b"amy")),
            origin("192.0.2.7:4711", b"a.example", Some(b"bob")),
            origin("192.0.2.7:4711", b"a.example", None),
            Origin {
                extended: false,
                ..amy
            },
            Origin {
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
            origin(client, b"a.example", None).with_facts(|facts| {
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
