//! Headers whole, cut, wrong and random; the `ppp` crate as a second opinion.

use super::*;
use ppp::{
    HeaderResult, PartialResult, v2,
    v2::{Command, Protocol, Type},
};
use proptest::prelude::*;

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// What each prefix of `bytes` leads to: nothing until the whole is there, then always the same.
fn grown(bytes: &[u8], length: usize) -> Header {
    for end in 0..length {
        assert_eq!(look(&bytes[..end]), Ok(None), "the first {end} octets");
    }
    let header = look(&bytes[..length]).expect("sound").expect("whole");
    for end in length..=bytes.len() {
        assert_eq!(look(&bytes[..end]), Ok(Some(header.clone())));
    }
    assert_eq!(header.length, length);
    header
}

/// The fault, and after how many octets it is told.
fn fault(bytes: &[u8]) -> (usize, HeaderFault) {
    for end in 0..=bytes.len() {
        match look(&bytes[..end]) {
            Ok(None) => {}
            Ok(Some(header)) => panic!("{header:?} after {end} octets"),
            Err(fault) => {
                assert_eq!(look(bytes), Err(fault), "the same when it comes at once");
                return (end, fault);
            }
        }
    }
    panic!("still waits for more")
}

#[test]
fn text_headers() {
    let line = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 25\r\n";
    let header = grown(&[line, &b"EHLO x\r\n"[..]].concat(), line.len());
    let origin = header.origin.expect("it is named");
    assert_eq!(origin.client, at("192.0.2.7:56324"));
    assert_eq!(origin.server, at("198.51.100.1:25"));
    let line = b"PROXY TCP6 2001:db8::7 ::1 1 65535\r\n";
    assert_eq!(
        grown(line, line.len()).origin.map(|o| o.client),
        Some(at("[2001:db8::7]:1"))
    );
    let mapped = b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.1 0 25\r\n";
    assert_eq!(
        grown(mapped, mapped.len()).origin.map(|o| o.client),
        Some(at("192.0.2.7:0"))
    );
    for unknown in [
        &b"PROXY UNKNOWN\r\n"[..],
        b"PROXY UNKNOWN ffff:f ffff:f 65535 65535\r\n",
        b"PROXY UNKNOWN \xff\0 whatever it says\r\n",
    ] {
        assert_eq!(grown(unknown, unknown.len()).origin, None);
    }
    // The longest that there is, and one octet more.
    let longest = [&b"PROXY UNKNOWN "[..], &[b'x'; 91], b"\r\n"].concat();
    assert_eq!(longest.len(), TEXT_MAX);
    grown(&longest, TEXT_MAX);
    let over = [&b"PROXY UNKNOWN "[..], &[b'x'; 92], b"\r\n"].concat();
    assert_eq!(fault(&over), (TEXT_MAX, HeaderFault::TooLong));
}

#[test]
fn text_that_is_no_header_is_told_at_once() {
    assert_eq!(fault(b"EHLO client.example\r\n"), (1, HeaderFault::Missing));
    assert_eq!(fault(b"POST / HTTP/1.1\r\n"), (2, HeaderFault::Missing));
    assert_eq!(
        fault(b"PROXY\r\nTCP4 192.0.2.7 192.0.2.1 1 2\r\n"),
        (6, HeaderFault::Missing)
    );
    assert_eq!(fault(b"\x16\x03\x01\x02\x00"), (1, HeaderFault::Missing));
    for line in [
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 25 \r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 +25\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 056324 25\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 65536 25\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 -1 25\r\n",
        "PROXY TCP4 192.0.2.007 198.51.100.1 1 25\r\n",
        "PROXY TCP4 192.0.2 198.51.100.1 1 25\r\n",
        "PROXY TCP4 2001:db8::7 ::1 1 25\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 1 25\r\n",
        "PROXY  TCP4 192.0.2.7 198.51.100.1 1 25\r\n",
        "PROXY TCP4  192.0.2.7 198.51.100.1 1 25\r\n",
        "PROXY tcp4 192.0.2.7 198.51.100.1 1 25\r\n",
        "PROXY UDP4 192.0.2.7 198.51.100.1 1 25\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY \r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 1 25\n",
        "PROXY TCP4 192.0.2.7\r198.51.100.1 1 25\r\n",
    ] {
        assert!(
            matches!(fault(line.as_bytes()), (_, HeaderFault::Broken(_))),
            "{line}"
        );
    }
}

fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("short").to_be_bytes();
    [
        b"\r\n\r\n\0\r\nQUIT\n",
        &[command, family][..],
        &length,
        body,
    ]
    .concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("short").to_be_bytes();
    [&[kind], &length[..], value].concat()
}

const V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 0, 25];

#[test]
fn binary_headers() {
    let header = binary(0x21, 0x11, &V4);
    let origin = grown(&[&header[..], b"EHLO x\r\n"].concat(), header.len()).origin;
    let origin = origin.expect("it is named");
    assert_eq!(origin.client, at("192.0.2.7:56324"));
    assert_eq!((origin.tls, origin.alpn), (None, None));
    let mut v6 = [0; 36];
    v6[..16].copy_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    v6[33] = 9;
    let header = binary(0x21, 0x21, &v6);
    assert_eq!(
        grown(&header, header.len()).origin.map(|o| o.client),
        Some(at("[2001:db8::7]:9"))
    );
    // LOCAL is LOCAL, whatever else it says; no address means the connection's own.
    for header in [
        binary(0x20, 0x00, b""),
        binary(0x20, 0x11, &V4),
        binary(0x20, 0x11, b"short"),
        binary(0x20, 0xff, b"odd"),
        binary(0x21, 0x00, b""),
        binary(0x21, 0x00, &V4),
        binary(0x21, 0x31, &[0; 216]),
    ] {
        assert_eq!(grown(&header, header.len()).origin, None);
    }
}

#[test]
fn broken_binary_headers() {
    for (header, after) in [
        (binary(0x11, 0x11, &V4), 13),       // version 1
        (binary(0x31, 0x11, &V4), 13),       // version 3
        (binary(0x22, 0x11, &V4), 13),       // no such command
        (binary(0x21, 0x12, &V4), 28),       // UDP
        (binary(0x21, 0x10, &V4), 28),       // neither
        (binary(0x21, 0x41, &V4), 28),       // no such family
        (binary(0x21, 0x21, &V4), 28),       // IPv6 with an IPv4 address's room
        (binary(0x21, 0x11, &V4[..11]), 27), // one octet less
        (
            binary(0x21, 0x11, &[&V4[..], &[4, 0, 9, 1]].concat()),
            28 + 4,
        ), // a fact cut short
        (binary(0x21, 0x11, &[&V4[..], &[4]].concat()), 28 + 1), // not even a length
        (
            binary(0x21, 0x11, &[&V4[..], &tlv(0x20, &[1, 0])].concat()),
            28 + 5,
        ),
        (
            binary(0x21, 0x11, &[&V4[..], &tlv(0x03, &[0; 4])].concat()),
            28 + 7,
        ),
    ] {
        let (told, fault) = fault(&header);
        assert!(matches!(fault, HeaderFault::Broken(_)), "{fault:?}");
        assert_eq!(told, after, "{fault}");
    }
    let at_most = binary(0x20, 0, &[0; BINARY_MAX - 16]);
    grown(&at_most, BINARY_MAX);
    assert_eq!(
        fault(&binary(0x20, 0, &[0; BINARY_MAX - 15])),
        (16, HeaderFault::TooLong)
    );
    assert_eq!(fault(b"\r\n\r\n\0\r\nQUIT\r"), (12, HeaderFault::Missing));
    assert_eq!(fault(b"\r\nEHLO"), (3, HeaderFault::Missing));
}

#[test]
fn facts_of_tls() {
    let ssl = |client: u8, verify: u32, name: &[u8]| {
        let value = [
            &[client][..],
            &verify.to_be_bytes(),
            &tlv(0x21, b"TLSv1.3"),
            &tlv(0x23, b"TLS_AES_256_GCM_SHA384"),
            &tlv(0x22, name),
            &tlv(0x25, b"EC256"),
        ]
        .concat();
        let body = [
            &V4[..],
            &tlv(0x02, b"mx.example.net"),
            &tlv(0x04, &[0; 7]), // no-op: padding
            &tlv(0x20, &value),
            &tlv(0x01, b"smtp"),
            &tlv(0xE0, b"somebody's own"),
        ]
        .concat();
        look(&binary(0x21, 0x11, &body))
            .expect("sound")
            .expect("whole")
            .origin
            .expect("it is named")
    };
    let seen = ssl(7, 0, b"relay.example");
    assert_eq!(seen.alpn.as_deref(), Some("smtp"));
    assert_eq!(seen.authority.as_deref(), Some("mx.example.net"));
    let tls = seen.tls.expect("it speaks TLS");
    assert_eq!(tls.version.as_deref(), Some("TLSv1.3"));
    assert_eq!(tls.cipher.as_deref(), Some("TLS_AES_256_GCM_SHA384"));
    assert_eq!(tls.name.as_deref(), Some("relay.example"));
    let name = |origin: ProxiedOrigin| origin.tls.and_then(|tls| tls.name);
    assert_eq!(name(ssl(7, 1, b"relay.example")), None, "not verified");
    assert_eq!(name(ssl(1, 0, b"relay.example")), None, "no certificate");
    assert_eq!(name(ssl(7, 0, b"re\nlay")), None, "a control character");
    assert_eq!(name(ssl(7, 0, b"re\xfflay")), None, "no UTF-8");
    assert_eq!(name(ssl(7, 0, &[b'x'; 256])), None, "too long");
    assert_eq!(ssl(0, 0, b"x").tls, None, "no TLS");
}

#[test]
fn a_checksum_is_held_against_the_header() {
    let mut header = binary(0x21, 0x11, &[&V4[..], &tlv(0x03, &[0; 4])].concat());
    let sum = binary::crc32c(&header);
    let end = header.len();
    header[end - 4..].copy_from_slice(&sum.to_be_bytes());
    grown(&header, end);
    header[20] ^= 1;
    assert_eq!(fault(&header), (end, HeaderFault::Broken("checksum")));
}

#[test]
fn what_another_library_writes_is_read() {
    let (client, server) = (at("[2001:db8::7]:56324"), at("[2001:db8::1]:25"));
    let header = v2::Builder::with_addresses(
        v2::Version::Two | Command::Proxy,
        Protocol::Stream,
        (client, server),
    )
    .write_tlv(Type::ALPN, b"smtp")
    .and_then(v2::Builder::build)
    .expect("short enough");
    let origin = grown(&header, header.len()).origin.expect("it is named");
    assert_eq!((origin.client, origin.server), (client, server));
    assert_eq!(origin.alpn.as_deref(), Some("smtp"));
}

proptest! {
    /// No panic, and a verdict that more bytes don't change.
    #[test]
    fn any_bytes(start in 0..3usize, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let start: &[u8] = [&b""[..], b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00"][start];
        let bytes = [start, &bytes].concat();
        let mut settled: Option<Result<Option<Header>, HeaderFault>> = None;
        for end in 0..=bytes.len() {
            let seen = look(&bytes[..end]);
            if let Some(settled) = &settled {
                prop_assert_eq!(&seen, settled);
            } else if seen != Ok(None) {
                settled = Some(seen);
            }
        }
    }

    /// What we take, the other library takes too, and as long.
    #[test]
    fn a_second_opinion(
        words in proptest::collection::vec("(TCP4|TCP6|UNKNOWN|192.0.2.[0-9]{1,3}|::[0-9a-f]|[0-9]{1,6}|)", 0..7),
        command in 0x1f..0x24u8, family in 0..0x33u8, body in proptest::collection::vec(0..40u8, 0..60),
    ) {
        let text = format!("PROXY {}\r\n", words.join(" ")).into_bytes();
        for bytes in [text, binary(command, family, &body)] {
            let Ok(Some(header)) = look(&bytes) else { continue };
            if header.origin.is_none() {
                continue; // it looks at the rest of LOCAL, UNKNOWN and UNIX, which we skip
            }
            let theirs = HeaderResult::parse(&bytes);
            prop_assert!(theirs.is_complete());
            let length = match theirs {
                HeaderResult::V1(Ok(theirs)) => theirs.header.len(),
                HeaderResult::V2(Ok(theirs)) => theirs.len(),
                other => return Err(TestCaseError::fail(format!("{other:?}"))),
            };
            prop_assert_eq!(length, header.length);
        }
    }
}
