//! Version 1: one line of text (§2.1). Strict, since nothing but a proxy writes it.

use super::{Header, HeaderFault, ProxiedOrigin, TEXT_MAX, begins, canonical};
use crate::decimal::parse_decimal;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

const START: &[u8] = b"PROXY ";

pub(super) fn look(bytes: &[u8]) -> Result<Option<Header>, HeaderFault> {
    if !begins(bytes, START) {
        return Err(HeaderFault::Missing);
    }
    let head = &bytes[..bytes.len().min(TEXT_MAX)];
    let Some(end) = memchr::memchr2(b'\r', b'\n', head) else {
        return if head.len() < TEXT_MAX {
            Ok(None)
        } else {
            Err(HeaderFault::TooLong)
        };
    };
    match (head[end], head.get(end + 1)) {
        (b'\r', Some(b'\n')) => {}
        (b'\r', None) if head.len() < TEXT_MAX => return Ok(None),
        (b'\r', None) => return Err(HeaderFault::TooLong),
        _ => return Err(HeaderFault::Broken("end of line")),
    }
    Ok(Some(Header {
        length: end + 2,
        origin: line(&head[START.len().min(end)..end])?,
    }))
}

/// What stands after `PROXY `.
fn line(text: &[u8]) -> Result<Option<ProxiedOrigin>, HeaderFault> {
    let mut words = text.split(|octet| *octet == b' ');
    let addresses = match words.next() {
        // The rest of the line must be ignored (§2.1).
        Some(b"UNKNOWN") => return Ok(None),
        Some(b"TCP4") => [
            address::<Ipv4Addr>(words.next())?,
            address::<Ipv4Addr>(words.next())?,
        ],
        Some(b"TCP6") => [
            address::<Ipv6Addr>(words.next())?,
            address::<Ipv6Addr>(words.next())?,
        ],
        _ => return Err(HeaderFault::Broken("protocol")),
    };
    let ports = [port(words.next())?, port(words.next())?];
    if words.next().is_some() {
        return Err(HeaderFault::Broken("too many words"));
    }
    let of = |at: usize| canonical(SocketAddr::new(addresses[at], ports[at]));
    Ok(Some(ProxiedOrigin {
        client: of(0),
        server: of(1),
        tls: None,
        alpn: None,
        authority: None,
    }))
}

fn address<T: FromStr + Into<IpAddr>>(word: Option<&[u8]>) -> Result<IpAddr, HeaderFault> {
    word.and_then(|word| std::str::from_utf8(word).ok()?.parse::<T>().ok())
        .map(Into::into)
        .ok_or(HeaderFault::Broken("address"))
}

/// Digits alone, without zeros in front (§2.1).
fn port(word: Option<&[u8]>) -> Result<u16, HeaderFault> {
    word.filter(|word| word.len() == 1 || !word.starts_with(b"0"))
        .and_then(parse_decimal)
        .and_then(|number| u16::try_from(number).ok())
        .ok_or(HeaderFault::Broken("port"))
}
