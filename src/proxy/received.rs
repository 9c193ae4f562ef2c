//! The trace field that we add (RFC 5321 §4.4): one Received above everything else.

use super::message_id::MessageId;
use crate::{
    log::{
        Line,
        field::{push_address, push_number},
    },
    net::calendar,
    smtp::Tick,
};
use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
};

const MICROS: u64 = 1_000_000;

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
    /// The client spoke TLS, with us or with the proxy in front.
    pub secured: bool,
    /// Version and cipher, where they are known.
    pub tls: Option<(&'a str, &'a str)>,
    /// Whether the client authenticated. The account's name is not told to the recipients.
    pub authenticated: bool,
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
    let client = trace.client.to_canonical();
    if client.is_ipv6() {
        out.extend_from_slice(b"IPv6:");
    }
    push_address(client, out);
    out.extend_from_slice(b"])\r\n\t");
    if let Some((version, cipher)) = trace.tls {
        out.extend_from_slice(b"(using ");
        out.extend_from_slice(version.as_bytes());
        out.extend_from_slice(b" with cipher ");
        out.extend_from_slice(cipher.as_bytes());
        out.extend_from_slice(b")\r\n\t");
    }
    out.extend_from_slice(b"by ");
    out.extend_from_slice(trace.hostname.as_bytes());
    out.extend_from_slice(b" (Gatepost) with ");
    out.extend_from_slice(match (trace.esmtp, trace.utf8) {
        (_, true) => b"UTF8SMTP" as &[u8],
        (true, false) => b"ESMTP",
        (false, false) => b"SMTP",
    });
    // RFC 3848, RFC 6531 §3.7.3.
    if trace.secured && (trace.esmtp || trace.utf8) {
        out.push(b'S');
    }
    if trace.authenticated && (trace.esmtp || trace.utf8) {
        out.push(b'A');
    }
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

/// A word that the client chose: nothing in it may end the field, nor make a 7-bit header 8-bit.
fn word(bytes: &[u8], utf8: bool, out: &mut Vec<u8>) {
    let bytes = &bytes[..bytes.len().min(512)];
    let safe = |b: u8| SAFE[usize::from(b)] || (utf8 && b >= 0x80);
    if bytes.iter().all(|b| safe(*b)) {
        out.extend_from_slice(bytes);
    } else {
        out.extend(bytes.iter().map(|b| if safe(*b) { *b } else { b'?' }));
    }
}

/// What may stand in a word of ours: printing ASCII that neither opens nor closes a comment, nor quotes.
static SAFE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        table[byte as usize] = !matches!(byte, b'(' | b')' | b'\\');
        byte += 1;
    }
    table
};

/// The wall clock of a worker: dates, formatted once a second.
///
/// It is told from ticks, which are there already, and set by the system's clock a few times a second
/// ([`Dates::set`]): a change of that clock shows here as soon.
#[derive(Debug)]
pub struct Dates {
    last: RefCell<Second>,
    /// A tick, and the microseconds since 1970 that it was.
    set: Cell<(Tick, u64)>,
}

#[derive(Debug, Default)]
struct Second {
    second: u64,
    mail: String,
    log: String,
}

impl Dates {
    /// Dates that are right from `now` on.
    #[must_use]
    pub fn new(now: Tick) -> Dates {
        let dates = Dates {
            last: RefCell::default(),
            set: Cell::default(),
        };
        dates.set(now);
        dates
    }

    /// Sets the clock by the system's.
    pub fn set(&self, now: Tick) {
        self.set.set((now, calendar(now)));
    }

    /// Microseconds since 1970.
    #[must_use]
    pub fn micros(&self, now: Tick) -> u64 {
        let (tick, wall) = self.set.get();
        (wall + now.0).saturating_sub(tick.0)
    }

    /// Calls `use_date` with the RFC 5322 date-time of this second, in UTC.
    pub fn with<R>(&self, now: Tick, use_date: impl FnOnce(&str) -> R) -> R {
        self.refresh(self.micros(now) / MICROS);
        use_date(&self.last.borrow().mail)
    }

    /// Adds the field `time` to a log line: RFC 3339 in UTC, to the millisecond.
    pub fn stamp(&self, now: Tick, line: &mut Line<'_>) {
        let micros = self.micros(now);
        self.refresh(micros / MICROS);
        let millis = micros / 1000 % 1000;
        line.plain("time", |out| {
            out.extend_from_slice(self.last.borrow().log.as_bytes());
            // A digit before the fraction keeps its zeros; the point then takes its place.
            let point = out.len();
            push_number(1000 + millis, out);
            out[point] = b'.';
            out.push(b'Z');
        });
    }

    fn refresh(&self, second: u64) {
        let mut last = self.last.borrow_mut();
        if last.second == second && !last.mail.is_empty() {
            return;
        }
        // A second that no calendar has is shown as the first one.
        let moment = jiff::Timestamp::from_second(second as i64).unwrap_or_default();
        let zoned = moment.to_zoned(jiff::tz::TimeZone::UTC);
        last.second = second;
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
            secured: false,
            tls: None,
            authenticated: false,
            id: Ids::new(0).next(0),
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
    fn says_what_the_wire_was() {
        let text = |trace: &Trace<'_>| {
            let mut out = Vec::new();
            write(trace, "now", &mut out);
            String::from_utf8(out).expect("ASCII")
        };
        let tls = Some(("TLSv1.3", "TLS_AES_256_GCM_SHA384"));
        let secured = Trace {
            secured: true,
            tls,
            ..trace(b"a.example", None)
        };
        let seen = text(&secured);
        let clause =
            "([192.0.2.7])\r\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384)\r\n\tby mx.";
        assert!(seen.contains(clause), "{seen}");
        assert!(seen.contains(" with ESMTPS id "), "{seen}");
        let utf8 = text(&Trace {
            utf8: true,
            ..secured
        });
        assert!(utf8.contains(" with UTF8SMTPS id "), "{utf8}");
        for (tls, utf8, word) in [
            (None, false, " with ESMTPA id "),
            (tls, false, " with ESMTPSA id "),
            (None, true, " with UTF8SMTPA id "),
            (tls, true, " with UTF8SMTPSA id "),
        ] {
            let seen = text(&Trace {
                secured: tls.is_some(),
                tls,
                utf8,
                authenticated: true,
                ..secured
            });
            assert!(seen.contains(word), "{seen}");
        }
        // A proxy in front told of TLS, but not of the cipher.
        let told = text(&Trace {
            tls: None,
            ..secured
        });
        assert!(
            told.contains("])\r\n\tby ") && told.contains(" with ESMTPS id "),
            "{told}"
        );
        // HELO and TLS: RFC 3848 knows no word for it.
        let old = text(&Trace {
            esmtp: false,
            ..secured
        });
        assert!(old.contains(" with SMTP id "), "{old}");
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
        let (dates, now) = (Dates::new(Tick(7)), Tick(8));
        let text = dates.with(now, str::to_string);
        let mut line = Vec::new();
        dates.stamp(now, &mut Line::start(&mut line, false));
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
