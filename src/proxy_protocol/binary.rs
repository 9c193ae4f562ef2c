//! Version 2: binary, with a list of further facts after the addresses (§2.2).

use super::{
    BINARY_MAX, Header, HeaderFault, ProxiedOrigin, ProxiedTls, WORD_MAX, begins, canonical,
};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Octets before the addresses: signature, version and command, family, length.
const FIXED: usize = 16;

/// Types of the further facts (§2.2.1 to §2.2.7); those that aren't named here are skipped.
mod kind {
    pub const ALPN: u8 = 0x01;
    pub const AUTHORITY: u8 = 0x02;
    pub const CRC32C: u8 = 0x03;
    pub const SSL: u8 = 0x20;
    pub const SSL_VERSION: u8 = 0x21;
    pub const SSL_NAME: u8 = 0x22;
    pub const SSL_CIPHER: u8 = 0x23;
}

/// Bits of the first octet of an SSL fact (§2.2.5): TLS at all; a certificate in this connection; one in its session.
const SPEAKS_TLS: u8 = 1;
const SHOWED_CERTIFICATE: u8 = 2 | 4;

pub(super) fn look(bytes: &[u8]) -> Result<Option<Header>, HeaderFault> {
    if !begins(bytes, SIGNATURE) {
        return Err(HeaderFault::Missing);
    }
    let (family, local) = match bytes.get(12..14) {
        None => return version(bytes.get(12)).map(|_| None),
        Some(head) => (head[1], version(Some(&head[0]))?),
    };
    let Some(length) = bytes.get(14..FIXED) else {
        return Ok(None);
    };
    let length = FIXED + usize::from(u16::from_be_bytes([length[0], length[1]]));
    if length > BINARY_MAX {
        return Err(HeaderFault::TooLong);
    }
    let Some(whole) = bytes.get(..length) else {
        return Ok(None);
    };
    let origin = match local {
        // What follows is skipped, whatever it is (§2.2).
        true => None,
        false => origin(whole, family)?,
    };
    Ok(Some(Header { length, origin }))
}

/// Whether it is LOCAL. `None` is an octet that hasn't come.
fn version(octet: Option<&u8>) -> Result<bool, HeaderFault> {
    match octet {
        None | Some(0x21) => Ok(false),
        Some(0x20) => Ok(true),
        Some(octet) if octet >> 4 == 2 => Err(HeaderFault::Broken("command")),
        Some(_) => Err(HeaderFault::Broken("version")),
    }
}

fn origin(whole: &[u8], family: u8) -> Result<Option<ProxiedOrigin>, HeaderFault> {
    let body = &whole[FIXED..];
    let short = HeaderFault::Broken("addresses cut short");
    let (client, server, rest) = match family {
        0x11 => {
            let (at, rest) = body.split_first_chunk::<12>().ok_or(short)?;
            let ip = |i: usize| Ipv4Addr::new(at[i], at[i + 1], at[i + 2], at[i + 3]);
            let port = |i: usize| u16::from_be_bytes([at[i], at[i + 1]]);
            (
                SocketAddr::from((ip(0), port(8))),
                SocketAddr::from((ip(4), port(10))),
                rest,
            )
        }
        0x21 => {
            let (at, rest) = body.split_first_chunk::<36>().ok_or(short)?;
            let ip = |i: usize| {
                let mut octets = [0; 16];
                octets.copy_from_slice(&at[i..i + 16]);
                Ipv6Addr::from(octets)
            };
            let port = |i: usize| u16::from_be_bytes([at[i], at[i + 1]]);
            (
                SocketAddr::from((ip(0), port(32))),
                SocketAddr::from((ip(16), port(34))),
                rest,
            )
        }
        // Unspecified; a UNIX socket: no address that says anything here.
        0x00 | 0x31 => return Ok(None),
        _ => return Err(HeaderFault::Broken("family")),
    };
    let mut origin = ProxiedOrigin {
        client: canonical(client),
        server: canonical(server),
        tls: None,
        alpn: None,
        authority: None,
    };
    for fact in Facts(rest) {
        let (kind, value) = fact?;
        match kind {
            kind::ALPN => origin.alpn = word(value),
            kind::AUTHORITY => origin.authority = word(value),
            kind::SSL => origin.tls = tls(value)?,
            kind::CRC32C => checksum(whole, value)?,
            _ => {}
        }
    }
    Ok(Some(origin))
}

fn tls(value: &[u8]) -> Result<Option<ProxiedTls>, HeaderFault> {
    let ([client, verify @ ..], facts) = value
        .split_first_chunk::<5>()
        .ok_or(HeaderFault::Broken("TLS facts cut short"))?;
    let mut tls = ProxiedTls::default();
    // Zero: the certificate was looked at and found good, or there was none.
    let verified = *verify == [0; 4] && client & SHOWED_CERTIFICATE != 0;
    for fact in Facts(facts) {
        let (kind, value) = fact?;
        match kind {
            kind::SSL_VERSION => tls.version = word(value),
            kind::SSL_CIPHER => tls.cipher = word(value),
            kind::SSL_NAME if verified => tls.name = word(value),
            _ => {}
        }
    }
    Ok((client & SPEAKS_TLS != 0).then_some(tls))
}

/// A text, where it is one that can be shown: UTF-8 without control characters, of a sane length.
fn word(value: &[u8]) -> Option<Box<str>> {
    let text = std::str::from_utf8(value).ok()?;
    let sound = (1..=WORD_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    sound.then(|| text.into())
}

/// Facts, one after the other: type, length in two octets, value.
struct Facts<'a>(&'a [u8]);

impl<'a> Iterator for Facts<'a> {
    type Item = Result<(u8, &'a [u8]), HeaderFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let split = self.0.split_first_chunk::<3>().and_then(|(head, rest)| {
            let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
            Some((head[0], rest.split_at_checked(length)?))
        });
        Some(match split {
            Some((kind, (value, rest))) => {
                self.0 = rest;
                Ok((kind, value))
            }
            None => {
                self.0 = &[];
                Err(HeaderFault::Broken("facts cut short"))
            }
        })
    }
}

/// Holds the header against the checksum in it, which was taken with its own four octets as zeros (§2.2.3).
fn checksum(whole: &[u8], value: &[u8]) -> Result<(), HeaderFault> {
    let wrong = HeaderFault::Broken("checksum");
    let told: [u8; 4] = value.try_into().map_err(|_| wrong)?;
    // Where the value stands in the whole.
    let at = value.as_ptr() as usize - whole.as_ptr() as usize;
    let mut copy = whole.to_vec();
    copy[at..at + 4].fill(0);
    match crc32c(&copy) == u32::from_be_bytes(told) {
        true => Ok(()),
        false => Err(wrong),
    }
}

/// Castagnoli's CRC (RFC 9260 Appendix A), bit by bit: it is rare, and the header short.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, octet| {
        (0..8).fold(crc ^ u32::from(*octet), |crc, _| {
            (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_the_rfc() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }
}
