//! The PROXY protocol's header, read and written: versions 1 (text) and 2 (binary), with what version 2 tells of TLS.
//!
//! Reading is a pure function over the bytes that have come so far ([`look`]): it is asked again as more come, keeps
//! nothing, and gives the same answer however they were cut. It must not know streams, networks or which peers may send a header.
//!
//! Format: the PROXY protocol specification by HAProxy, §2. What it leaves to the receiver is decided here: a version 2
//! header has [`BINARY_MAX`] octets at most, UDP on a TCP connection is an error, and a UNIX socket's address is none.
//!
//! Rejected: the `ppp` crate. Its text parser calls a header broken that was cut after a blank (`… 1234 ` is no port),
//! waits for more after a lone CR, and takes `+25` for a port. It is the oracle of the tests instead.

mod binary;
mod text;
mod writer;

pub use writer::{Version, write};

use std::{fmt, net::SocketAddr};

/// Octets of a version 1 header with its CRLF (§2.1).
pub const TEXT_MAX: usize = 107;
/// Octets of a version 2 header that are taken; addresses and the usual TLS facts have some 300. The format allows
/// 65,551, and a peer that sends that much first is not a mail proxy.
pub const BINARY_MAX: usize = 4096;
/// Octets of a text in a version 2 header that are kept.
const WORD_MAX: usize = 255;

/// A header, whole and sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Octets that it takes; what follows is the client's.
    pub length: usize,
    /// Whose connection it is. `None`: the proxy speaks for itself (LOCAL), or doesn't know (UNKNOWN): the connection's
    /// own address counts.
    pub origin: Option<ProxiedOrigin>,
}

/// The client that the proxy speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxiedOrigin {
    /// The client. An IPv4 one is never shown as an IPv6-mapped one.
    pub client: SocketAddr,
    /// Where it connected to.
    pub server: SocketAddr,
    /// What the proxy says of the client's TLS, where it ended it.
    pub tls: Option<ProxiedTls>,
    /// The application protocol that was agreed on.
    pub alpn: Option<Box<str>>,
    /// The server's name as the client asked for it (SNI).
    pub authority: Option<Box<str>>,
}

/// TLS between the client and the proxy (§2.2.5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxiedTls {
    /// `TLSv1.3`.
    pub version: Option<Box<str>>,
    /// `TLS_AES_256_GCM_SHA384`, or OpenSSL's name.
    pub cipher: Option<Box<str>>,
    /// Common name of the client's certificate. Only of one that the proxy has verified.
    pub name: Option<Box<str>>,
}

/// Why bytes are no header, and never will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// They don't begin like one.
    Missing,
    /// It is longer than may be.
    TooLong,
    /// It begins like one and goes wrong; where, in a word.
    Broken(&'static str),
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderFault::Missing => f.write_str("missing"),
            HeaderFault::TooLong => f.write_str("too long"),
            HeaderFault::Broken(what) => write!(f, "broken: {what}"),
        }
    }
}

/// Looks at all bytes that have come so far: a header, or `None` where more must come.
///
/// # Errors
/// They can't become a header any more.
pub fn look(bytes: &[u8]) -> Result<Option<Header>, HeaderFault> {
    match bytes.first() {
        None => Ok(None),
        Some(b'P') => text::look(bytes),
        Some(b'\r') => binary::look(bytes),
        Some(_) => Err(HeaderFault::Missing),
    }
}

/// Whether `bytes` begin like `start`, as far as they go.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    let common = bytes.len().min(start.len());
    bytes[..common] == start[..common]
}

/// The address without an IPv4 one hidden in it.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests;
