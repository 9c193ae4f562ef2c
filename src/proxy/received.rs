//! The trace field that we add (RFC 5321 §4.4): one Received above everything else.

use super::message_id::MessageId;
use crate::log::Line;
use std::{cell::RefCell, net::IpAddr};

/// What the field tells.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    /// The name in HELO or EHLO.
    pub hello: &'a [u8],
    /// The client.
    pub client: IpAddr,
    /// Our name.
    pub hostname: &'a str,
    /// Whether it said EHLO.
    pub esmtp: bool,
    /// Whether MAIL asked for SMTPUTF8 (RFC 6531 §3.7.3: `UTF8SMTP`).
    pub utf8: bool,
    /// The transaction.
    pub id: MessageId,
    /// The forward-path where there is only one: with several the field would tell each of the others.
    pub recipient: Option<&'a [u8]>,
}

/// Appends the field, folded, with its CRLF. `date` is an RFC 5322 date-time.
pub fn write(trace: &Trace<'_>, date: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Received: from ");
    word(
        if trace.hello.is_empty() {
            b"unknown"
        } else {
            trace.hello
        },
        trace.utf8,
        out,
    );
    out.extend_from_slice(b" ([");
    match trace.client.to_canonical() {
        IpAddr::V4(v4) => extend(out, format_args!("{v4}")),
        IpAddr::V6(v6) => extend(out, format_args!("IPv6:{v6}")),
    }
    out.extend_from_slice(b"])\r\n\tby ");
    out.extend_from_slice(trace.hostname.as_bytes());
    out.extend_from_slice(b" (Gatepost) with ");
    out.extend_from_slice(match (trace.esmtp, trace.utf8) {
        (_, true) => b"UTF8SMTP" as &[u8],
        (true, false) => b"ESMTP",
        (false, false) => b"SMTP",
    });
    out.extend_from_slice(b" id ");
    out.extend_from_slice(&trace.id.text());
    if let Some(recipient) = trace.recipient {
        out.extend_from_slice(b"\r\n\tfor <");
        word(recipient, trace.utf8, out);
        out.push(b'>');
    }
    out.extend_from_slice(b"; ");
    out.extend_from_slice(date.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// A stranger's word: nothing in it may end the field, nor make a 7-bit header 8-bit.
fn word(bytes: &[u8], utf8: bool, out: &mut Vec<u8>) {
    let safe =
        |b: u8| (b.is_ascii_graphic() && !matches!(b, b'(' | b')' | b'\\')) || (utf8 && b >= 0x80);
    out.extend(
        bytes
            .iter()
            .take(512)
            .map(|b| if safe(*b) { *b } else { b'?' }),
    );
}

fn extend(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a Vec cannot fail.
    let _ = std::io::Write::write_fmt(out, text);
}

/// The date of now, formatted once a second.
#[derive(Debug, Default)]
pub struct Dates {
    last: RefCell<Second>,
}

#[derive(Debug, Default)]
struct Second {
    second: i64,
    mail: String,
    log: String,
}

impl Dates {
    /// Calls `use_date` with the RFC 5322 date-time of this second, in UTC.
    pub fn with<R>(&self, use_date: impl FnOnce(&str) -> R) -> R {
        self.refresh(jiff::Timestamp::now());
        use_date(&self.last.borrow().mail)
    }

    /// Adds the field `time` to a log line: RFC 3339 in UTC, to the millisecond.
    pub fn stamp(&self, line: &mut Line<'_>) {
        let now = jiff::Timestamp::now();
        self.refresh(now);
        let (last, millis) = (self.last.borrow(), now.subsec_millisecond());
        line.show("time", format_args!("{}.{millis:03}Z", last.log));
    }

    fn refresh(&self, now: jiff::Timestamp) {
        let mut last = self.last.borrow_mut();
        if last.second == now.as_second() && !last.mail.is_empty() {
            return;
        }
        let zoned = now.to_zoned(jiff::tz::TimeZone::UTC);
        last.second = now.as_second();
        last.log = zoned.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        last.mail = jiff::fmt::rfc2822::DateTimePrinter::new()
            .zoned_to_string(&zoned)
            // Only years below 0 or above 9999 can't be printed.
            .unwrap_or_else(|_| "Thu, 1 Jan 1970 00:00:00 +0000".into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::message_id::Ids;

    fn trace<'a>(hello: &'a [u8], recipient: Option<&'a [u8]>) -> Trace<'a> {
        Trace {
            hello,
            client: "192.0.2.7".parse().expect("an address"),
            hostname: "mx.example.net",
            esmtp: true,
            utf8: false,
            id: Ids::new(0).next(),
            recipient,
        }
    }

    #[test]
    fn says_who_where_and_when() {
        let mut out = Vec::new();
        let trace = trace(b"mail.a.example", Some(b"b@example.net"));
        write(&trace, "Sat, 21 Nov 2026 17:10:43 +0000", &mut out);
        let expected = format!(
            "Received: from mail.a.example ([192.0.2.7])\r\n\tby mx.example.net (Gatepost) with ESMTP id {}\r\n\tfor <b@example.net>; Sat, 21 Nov 2026 17:10:43 +0000\r\n",
            trace.id
        );
        assert_eq!(String::from_utf8(out).expect("ASCII"), expected);
    }

    #[test]
    fn a_strangers_name_stays_in_its_place() {
        let mut out = Vec::new();
        write(&trace(b"a\r\nX: y (\xff", None), "now", &mut out);
        let text = String::from_utf8(out).expect("ASCII");
        assert!(text.starts_with("Received: from a??X:?y???"), "{text}");
        assert_eq!(text.matches("\r\n").count(), 2);
    }

    #[test]
    fn dates_are_rfc_5322() {
        let text = Dates::default().with(str::to_string);
        let mut line = Vec::new();
        Dates::default().stamp(&mut Line::start(&mut line, false));
        let stamp = String::from_utf8(line).expect("ASCII").replace("time=", "");
        assert!(stamp.parse::<jiff::Timestamp>().is_ok(), "{stamp}");
        assert!(
            jiff::fmt::rfc2822::DateTimeParser::new()
                .parse_zoned(&text)
                .is_ok(),
            "{text}"
        );
    }
}
