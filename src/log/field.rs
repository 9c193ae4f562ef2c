//! Fields of a line, as logfmt or JSON.
//!
//! Much of what is logged was typed by a stranger. A value is written so that no byte of it can end the
//! line, add a field, or reach a terminal as a control sequence: anything but printable ASCII and valid UTF-8
//! is escaped.

use crate::characters::is_hidden;
pub use crate::decimal::push_decimal as push_number;
use std::{fmt, io::Write, net::IpAddr};

/// Octets of a key that is written at once, with what is around it. Longer ones take longer.
const KEY_MAX: usize = 32;

/// A line under way. Fields appear in the order in which they are added.
#[derive(Debug)]
pub struct Line<'a> {
    out: &'a mut Vec<u8>,
    json: bool,
    first: bool,
}

impl<'a> Line<'a> {
    /// Starts a line at the end of `out`, as JSON or logfmt.
    pub fn start(out: &'a mut Vec<u8>, json: bool) -> Line<'a> {
        if json {
            out.push(b'{');
        }
        Line {
            out,
            json,
            first: true,
        }
    }

    /// Fields that follow others in JSON: of an object that begins and ends elsewhere ([`Line::again`]).
    pub fn further(out: &'a mut Vec<u8>) -> Line<'a> {
        Line {
            out,
            json: true,
            first: false,
        }
    }

    /// Fields that [`Line::further`] has written.
    pub fn again(&mut self, fields: &[u8]) {
        debug_assert!(self.json && !self.first);
        self.out.extend_from_slice(fields);
    }

    /// A field with text that may hold anything.
    #[inline]
    // INV-RAW
    pub fn text(&mut self, key: &str, value: &[u8]) -> &mut Self {
        self.key(key);
        self.value(value);
        self
    }

    fn value(&mut self, value: &[u8]) {
        if self.json {
            self.out.push(b'"');
            escape(value, true, self.out);
            self.out.push(b'"');
        } else if !value.is_empty() && is_all(value, plain) {
            self.out.extend_from_slice(value);
        } else {
            self.out.push(b'"');
            escape(value, false, self.out);
            self.out.push(b'"');
        }
    }

    /// A field with a whole number.
    #[inline]
    pub fn number(&mut self, key: &str, value: u64) -> &mut Self {
        self.key(key);
        push_number(value, self.out);
        self
    }

    /// A field that `render` writes, in plain ASCII without blanks, quotes and `=`. For what each line has: it
    /// costs less than [`Line::show`].
    #[inline]
    pub fn plain(&mut self, key: &str, render: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        self.key(key);
        let quote = |out: &mut Vec<u8>, json| {
            if json {
                out.push(b'"');
            }
        };
        quote(self.out, self.json);
        let from = self.out.len();
        render(self.out);
        debug_assert!(is_all(&self.out[from..], plain));
        quote(self.out, self.json);
        self
    }

    /// A field whose value's `Display` is plain (an address, an enum's name, a decimal).
    pub fn show(&mut self, key: &str, value: impl fmt::Display) -> &mut Self {
        self.key(key);
        if self.json {
            self.out.push(b'"');
        }
        // Writing to a Vec cannot fail.
        let _ = write!(self.out, "{value}");
        if self.json {
            self.out.push(b'"');
        }
        self
    }

    /// Several texts under one key: in JSON an array, in logfmt a field each.
    pub fn texts<'v>(&mut self, key: &str, values: impl IntoIterator<Item = &'v [u8]>) {
        if !self.json {
            for value in values {
                self.text(key, value);
            }
            return;
        }
        self.list(key, values, |line, value| line.value(value));
    }

    /// A JSON array; `render` writes one value of it. For logfmt there is no such thing.
    pub fn list<T>(
        &mut self,
        key: &str,
        values: impl IntoIterator<Item = T>,
        mut render: impl FnMut(&mut Line<'_>, T),
    ) {
        debug_assert!(self.json);
        self.key(key);
        self.out.push(b'[');
        for (place, value) in values.into_iter().enumerate() {
            if place > 0 {
                self.out.push(b',');
            }
            render(self, value);
        }
        self.out.push(b']');
    }

    /// A JSON object as a value of a list.
    pub fn object(&mut self, render: impl FnOnce(&mut Line<'_>)) {
        let mut object = Line::start(self.out, true);
        render(&mut object);
        self.out.push(b'}');
    }

    /// A field with text that is put together here and may hold anything.
    // INV-RAW
    pub fn words(&mut self, key: &str, value: fmt::Arguments<'_>) {
        self.key(key);
        self.out.push(b'"');
        let mut escaped = Escaped {
            out: self.out,
            json: self.json,
        };
        // Writing to a Vec cannot fail.
        let _ = fmt::Write::write_fmt(&mut escaped, value);
        self.out.push(b'"');
    }

    /// The same of a start that `render` writes in plain ASCII without quotes, and pieces that follow: it costs less than
    /// [`Line::words`].
    // INV-RAW
    pub fn pieces(&mut self, key: &str, render: impl FnOnce(&mut Vec<u8>), pieces: &[&[u8]]) {
        self.key(key);
        self.out.push(b'"');
        render(self.out);
        for piece in pieces {
            escape(piece, self.json, self.out);
        }
        self.out.push(b'"');
    }

    /// A field with a number that `render` writes.
    pub fn decimal(&mut self, key: &str, render: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        self.key(key);
        render(self.out);
        self
    }

    /// A value of a list that `render` writes as JSON: a number or `null`.
    pub fn bare(&mut self, render: impl FnOnce(&mut Vec<u8>)) {
        render(self.out);
    }

    /// Whether the line is JSON. Most need not ask: it is for values that are more than one text or number.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Ends the line.
    pub fn end(&mut self) {
        self.out
            .extend_from_slice(if self.json { b"}\n" } else { b"\n" });
    }

    /// Appends a key between `start`, without the comma or blank where it is the `first`, and `end`. Put together before, so
    /// that the room in `out` is looked at once.
    #[inline(always)]
    fn enclosed<const S: usize, const E: usize>(
        &mut self,
        start: &[u8; S],
        key: &str,
        end: &[u8; E],
        first: bool,
    ) {
        let mut octets = [0; KEY_MAX];
        let (key_end, len) = (S + key.len(), S + key.len() + E);
        if first || len > KEY_MAX {
            self.out.extend_from_slice(&start[usize::from(first)..]);
            self.out.extend_from_slice(key.as_bytes());
            self.out.extend_from_slice(end);
            return;
        }
        octets[..S].copy_from_slice(start);
        octets[S..key_end].copy_from_slice(key.as_bytes());
        octets[key_end..len].copy_from_slice(end);
        self.out.extend_from_slice(&octets[..len]);
    }

    /// Keys are constants. Here each is written by a few stores; a call would cost as much as the value.
    #[inline(always)]
    fn key(&mut self, key: &str) {
        let first = std::mem::take(&mut self.first);
        match self.json {
            true => self.enclosed(b",\"", key, b"\":", first),
            false => self.enclosed(b" ", key, b"=", first),
        }
    }
}

/// Escapes what is written to it.
struct Escaped<'a> {
    out: &'a mut Vec<u8>,
    json: bool,
}

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(text.as_bytes(), self.json, self.out);
        Ok(())
    }
}

/// Appends an address; an IPv4 one, which most are, without the formatting machinery.
pub fn push_address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(v4) => {
            for (place, octet) in v4.octets().into_iter().enumerate() {
                if place > 0 {
                    out.push(b'.');
                }
                push_number(u64::from(octet), out);
            }
        }
        IpAddr::V6(v6) => {
            // Writing to a Vec cannot fail.
            let _ = write!(out, "{v6}");
        }
    }
}

/// Appends a score, rounded to hundredths, without zeros at its end: `2`, `2.5`, `-0.25`.
pub fn push_score(score: f64, out: &mut Vec<u8>) {
    // A score beyond any sense saturates.
    let hundredths = (score * 100.0).round() as i64;
    if hundredths < 0 {
        out.push(b'-');
    }
    let whole = hundredths.unsigned_abs();
    push_number(whole / 100, out);
    let rest = (whole % 100) as u8;
    if rest > 0 {
        out.extend_from_slice(&[b'.', b'0' + rest / 10]);
        if !rest.is_multiple_of(10) {
            out.push(b'0' + rest % 10);
        }
    }
}

/// Octets that stand as they are between quotes: printable ASCII but `"` and `\`. Without branches, so that a whole value is
/// looked at in vector registers ([`is_all`]).
fn clean(octet: u8) -> bool {
    (b' '..=b'~').contains(&octet) & (octet != b'"') & (octet != b'\\')
}

/// Octets that need no quotes in logfmt.
fn plain(octet: u8) -> bool {
    clean(octet) & (octet != b' ') & (octet != b'=')
}

/// Whether all octets are such. In blocks, of which the last ones overlap: most values are short, and a loop over what is left
/// of one would take longer than all the rest.
fn is_all(value: &[u8], such: impl Fn(u8) -> bool + Copy) -> bool {
    if let (Some(first), Some(last)) = (value.first_chunk::<16>(), value.last_chunk::<16>()) {
        let between = value[16..].as_chunks::<16>().0;
        return between
            .iter()
            .fold(block(first, such) & block(last, such), |all, each| {
                all & block(each, such)
            });
    }
    if let (Some(first), Some(last)) = (value.first_chunk::<8>(), value.last_chunk::<8>()) {
        return block(first, such) & block(last, such);
    }
    if let (Some(first), Some(last)) = (value.first_chunk::<4>(), value.last_chunk::<4>()) {
        return block(first, such) & block(last, such);
    }
    value.iter().all(|octet| such(*octet))
}

/// The same of a block, at once in a vector register.
#[inline(always)]
fn block<const LEN: usize>(octets: &[u8; LEN], such: impl Fn(u8) -> bool) -> bool {
    octets.iter().fold(true, |all, octet| all & such(*octet))
}

/// Most of what is escaped needs nothing of it.
fn escape(value: &[u8], json: bool, out: &mut Vec<u8>) {
    match is_all(value, clean) {
        true => out.extend_from_slice(value),
        false => escape_each(value, json, out),
    }
}

fn escape_each(value: &[u8], json: bool, out: &mut Vec<u8>) {
    for chunk in value.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                c if is_hidden(c) => {
                    // As JSON writes a character beyond the first plane: in two halves.
                    for half in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{half:04x}");
                    }
                }
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for byte in chunk.invalid() {
            // JSON has no byte escape; a Latin-1 code point is as near as it gets.
            let _ = if json {
                write!(out, "\\u{byte:04x}")
            } else {
                write!(out, "\\x{byte:02x}")
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(json: bool, value: &[u8]) -> String {
        let mut out = Vec::new();
        Line::start(&mut out, json)
            .text("from", value)
            .number("size", 1200)
            .show("v", 1.5)
            .end();
        let mut line = Line::start(&mut out, json);
        line.words("w", format_args!("{}", String::from_utf8_lossy(value)));
        let read = out.split(|octet| *octet == b'\n').next_back();
        assert!(!read.unwrap_or(&out).iter().any(u8::is_ascii_control));
        out.truncate(
            out.iter()
                .position(|octet| *octet == b'\n')
                .map_or(out.len(), |end| end + 1),
        );
        String::from_utf8(out).expect("always UTF-8")
    }

    #[test]
    fn what_needs_no_escape_is_what_escaping_leaves_alone() {
        for octet in 0..=u8::MAX {
            let mut escaped = Vec::new();
            escape_each(&[octet], true, &mut escaped);
            assert_eq!(clean(octet), escaped == [octet], "{octet}");
            assert!(clean(octet) || !plain(octet), "{octet}");
        }
        assert!(clean(b' ') && clean(b'=') && !plain(b' ') && !plain(b'='));
    }

    #[test]
    fn plain_values_stay_plain() {
        assert_eq!(
            line(false, b"a@b.example"),
            "from=a@b.example size=1200 v=1.5\n"
        );
        assert_eq!(
            line(true, b"a@b.example"),
            "{\"from\":\"a@b.example\",\"size\":1200,\"v\":\"1.5\"}\n"
        );
        assert_eq!(line(false, b""), "from=\"\" size=1200 v=1.5\n");
    }

    #[test]
    fn addresses_are_as_ever() {
        for text in ["0.0.0.0", "192.0.2.255", "10.1.20.100", "2001:db8::1", "::"] {
            let mut out = Vec::new();
            push_address(text.parse().expect("an address"), &mut out);
            assert_eq!(String::from_utf8(out).expect("ASCII"), text);
        }
    }

    #[test]
    fn scores_are_short() {
        for (score, text) in [
            (0.0, "0"),
            (2.0, "2"),
            (2.5, "2.5"),
            (-0.25, "-0.25"),
            (10.049, "10.05"),
        ] {
            let mut out = Vec::new();
            push_score(score, &mut out);
            assert_eq!(String::from_utf8(out).expect("ASCII"), text);
        }
    }

    #[test]
    // INV-RAW
    fn a_stranger_cannot_forge_a_line_or_a_field() {
        for evil in [
            &b"x\ny=1"[..],
            b"a b",
            b"\"q\"",
            b"\x1b[31m",
            b"\xff\xfe",
            "ü\u{85}".as_bytes(),
            b"\\",
        ] {
            for json in [false, true] {
                let seen = line(json, evil);
                assert_eq!(seen.matches('\n').count(), 1, "{seen:?}");
                assert!(!seen.trim_end().chars().any(char::is_control), "{seen:?}");
                if json {
                    serde_json::from_str::<serde_json::Value>(&seen).expect("valid JSON");
                }
            }
        }
        assert_eq!(line(false, b"x y=1"), "from=\"x y=1\" size=1200 v=1.5\n");
    }
}
