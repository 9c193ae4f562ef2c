//! Macros (RFC 7208 section 7): their syntax, and what they expand to.

use super::name::NAME_OCTETS_MAX;
use super::subject::Inputs;
use std::fmt::Write as _;
use std::net::IpAddr;

/// One piece of a macro-string.
enum Piece<'a> {
    /// Octets that stand for themselves, or what `%%`, `%_` and `%-` stand for.
    Literal(&'a [u8]),
    /// `%{...}`.
    Macro(Macro<'a>),
}

/// `%{` letter, digits, `r`, delimiters `}`.
struct Macro<'a> {
    /// In lower case.
    letter: u8,
    /// The letter was a capital: the value is escaped as in a URL.
    escape: bool,
    /// How many parts at the right are kept.
    parts_max: usize,
    reverse: bool,
    delimiters: &'a [u8],
}

/// Why a macro-string is none.
type Fault = &'static str;

struct Pieces<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Result<Piece<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let percent = self.rest.iter().position(|octet| *octet == b'%');
        let literal = &self.rest[..percent.unwrap_or(self.rest.len())];
        if !literal.is_empty() {
            self.rest = &self.rest[literal.len()..];
            return Some(Ok(Piece::Literal(literal)));
        }
        percent?;
        let piece = match self.rest.get(1) {
            Some(b'%') => Piece::Literal(b"%"),
            Some(b'_') => Piece::Literal(b" "),
            Some(b'-') => Piece::Literal(b"%20"),
            Some(b'{') => {
                let Some(end) = self.rest.iter().position(|octet| *octet == b'}') else {
                    self.rest = &[];
                    return Some(Err("a macro without its closing brace"));
                };
                let inside = &self.rest[2..end];
                self.rest = &self.rest[end + 1..];
                return Some(parse_macro(inside).map(Piece::Macro));
            }
            _ => {
                self.rest = &[];
                return Some(Err("a percent sign that begins no macro"));
            }
        };
        self.rest = &self.rest[2..];
        Some(Ok(piece))
    }
}

fn parse_macro(inside: &[u8]) -> Result<Macro<'_>, Fault> {
    let Some((&letter, rest)) = inside.split_first() else {
        return Err("a macro without a letter");
    };
    let is_digit = |octet: &&u8| octet.is_ascii_digit();
    let digits = rest.iter().take_while(is_digit).count();
    let (digits, rest) = rest.split_at(digits);
    let (reverse, delimiters) = match rest.split_first() {
        Some((b'r' | b'R', rest)) => (true, rest),
        _ => (false, rest),
    };
    let parts_max = digits.iter().fold(0_usize, |sum, digit| {
        sum.saturating_mul(10)
            .saturating_add(usize::from(digit - b'0'))
    });
    if !digits.is_empty() && parts_max == 0 {
        return Err("a macro that keeps no part");
    }
    if !delimiters.iter().all(|octet| b".-+,/_=".contains(octet)) {
        return Err("a macro with an unknown delimiter");
    }
    let lower = letter.to_ascii_lowercase();
    if !b"slodipvhcrt".contains(&lower) {
        return Err("an unknown macro");
    }
    Ok(Macro {
        letter: lower,
        escape: letter.is_ascii_uppercase(),
        parts_max: if digits.is_empty() {
            usize::MAX
        } else {
            parts_max
        },
        reverse,
        delimiters,
    })
}

/// Whether this is a macro-string: visible ASCII and macros, with spaces too in an explanation.
pub(super) fn check(text: &[u8], in_explanation: bool) -> Result<(), Fault> {
    for piece in (Pieces { rest: text }) {
        if let Piece::Literal(literal) = piece? {
            let fine = |octet: &u8| matches!(octet, b'!'..=b'~') || in_explanation;
            if !literal.iter().all(|o| matches!(o, b' '..=b'~') && fine(o)) {
                return Err("a character that is not visible ASCII");
            }
        }
    }
    Ok(())
}

/// Whether this is a domain-spec: a macro-string that ends in a macro or in a dot and a top label (section 7.1). The
/// letters `c`, `r` and `t` are for explanations alone (section 7.2).
pub(super) fn check_domain_spec(text: &[u8]) -> Result<(), Fault> {
    let mut ends_in_macro = false;
    let mut literal_octets = 0;
    let mut rest = text;
    let mut pieces = Pieces { rest };
    while let Some(piece) = pieces.next() {
        let octets = rest.len() - pieces.rest.len();
        ends_in_macro = rest.starts_with(b"%");
        literal_octets = octets;
        rest = pieces.rest;
        match piece? {
            Piece::Macro(found) if b"crt".contains(&found.letter) => {
                return Err("a macro that only an explanation may have");
            }
            Piece::Literal(literal) if !literal.iter().all(|o| matches!(o, b' '..=b'~')) => {
                return Err("a character that is not visible ASCII");
            }
            _ => {}
        }
    }
    let last = &text[text.len() - literal_octets..];
    match ends_in_macro || ends_in_top_label(last) {
        true => Ok(()),
        false => Err("no valid domain"),
    }
}

/// `.` and a label of letters, digits and inner hyphens that is no number; perhaps with a dot at its end.
fn ends_in_top_label(text: &[u8]) -> bool {
    let text = text.strip_suffix(b".").unwrap_or(text);
    let Some(dot) = text.iter().rposition(|octet| *octet == b'.') else {
        return false;
    };
    let label = &text[dot + 1..];
    let is_inner = |octet: &u8| octet.is_ascii_alphanumeric() || *octet == b'-';
    label.iter().all(is_inner)
        && label.iter().any(|octet| !octet.is_ascii_digit())
        && !label.starts_with(b"-")
        && !label.ends_with(b"-")
}

/// Whether `%{p}` is in it, whose value must be looked up before.
pub(super) fn has_validated_name(text: &[u8]) -> bool {
    let is_p = |piece| matches!(piece, Ok(Piece::Macro(Macro { letter: b'p', .. })));
    (Pieces { rest: text }).any(is_p)
}

/// What the macros stand for.
pub(super) struct Values<'a> {
    pub(super) inputs: &'a Inputs,
    /// `%{d}`: the domain whose record is evaluated.
    pub(super) domain: &'a str,
    /// `%{p}`.
    pub(super) validated: &'a str,
}

/// Octets of a target that are kept: enough to see that a longer one must lose labels, and which.
const TARGET_OCTETS_MAX: usize = NAME_OCTETS_MAX + 3;

/// An expanded domain-spec. Of a long one only the end is kept, which is all that a name is made of. `None` where it can't
/// be a name, since the local part is not ASCII (RFC 8616 section 4) or a macro is none.
pub(super) fn expand_target(spec: &[u8], values: &Values<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(spec.len().min(TARGET_OCTETS_MAX) + 64);
    for piece in (Pieces { rest: spec }) {
        match piece.ok()? {
            Piece::Literal(literal) => out.extend_from_slice(literal),
            Piece::Macro(found) => {
                if b"sl".contains(&found.letter) && !values.inputs.local().is_ascii() {
                    return None;
                }
                values.push(&found, &mut out);
            }
        }
        if out.len() > 8 * TARGET_OCTETS_MAX {
            out.drain(..out.len() - TARGET_OCTETS_MAX);
        }
    }
    Some(out)
}

/// An expanded explanation, cut at `octets_max`; `None` where its syntax is wrong.
pub(super) fn expand_explanation(
    text: &[u8],
    values: &Values<'_>,
    octets_max: usize,
) -> Option<Vec<u8>> {
    check(text, true).ok()?;
    let mut out = Vec::with_capacity(octets_max.min(2 * text.len()));
    for piece in (Pieces { rest: text }) {
        match piece.ok()? {
            Piece::Literal(literal) => {
                let room = octets_max.saturating_sub(out.len());
                out.extend_from_slice(&literal[..literal.len().min(room)]);
            }
            Piece::Macro(found) => values.push(&found, &mut out),
        }
        if out.len() >= octets_max {
            out.truncate(octets_max);
            break;
        }
    }
    Some(out)
}

impl Values<'_> {
    /// Writes the value of a macro: at most three times the octets of a sender.
    fn push(&self, found: &Macro<'_>, out: &mut Vec<u8>) {
        let inputs = self.inputs;
        let own;
        let value = match found.letter {
            b's' => inputs.sender.as_bytes(),
            b'l' => inputs.local().as_bytes(),
            b'o' => inputs.domain().as_bytes(),
            b'd' => self.domain.as_bytes(),
            b'p' => self.validated.as_bytes(),
            b'h' => &inputs.helo,
            b'v' if inputs.client_ip.is_ipv4() => b"in-addr",
            b'v' => b"ip6",
            b'r' if inputs.receiver.is_empty() => b"unknown",
            b'r' => inputs.receiver.as_bytes(),
            letter => {
                own = match letter {
                    b'i' => dotted(inputs.client_ip),
                    b'c' => inputs.client_ip.to_string(),
                    _ => inputs.unix_seconds.to_string(),
                };
                own.as_bytes()
            }
        };
        found.transform(value, out);
    }
}

impl Macro<'_> {
    /// Splits the value, turns it round, keeps the parts at the right, and joins them with dots (section 7.3).
    fn transform(&self, value: &[u8], out: &mut Vec<u8>) {
        let delimiters: &[u8] = match self.delimiters {
            [] => b".",
            delimiters => delimiters,
        };
        let splits = |octet: &u8| delimiters.contains(octet);
        let parts = value.iter().filter(|octet| splits(octet)).count() + 1;
        let skipped = parts.saturating_sub(self.parts_max);
        let mut is_first = true;
        let mut push = |part: &[u8]| {
            if !is_first {
                out.push(b'.');
            }
            is_first = false;
            match self.escape {
                true => part.iter().for_each(|octet| push_escaped(*octet, out)),
                false => out.extend_from_slice(part),
            }
        };
        match self.reverse {
            true => value.rsplit(splits).skip(skipped).for_each(&mut push),
            false => value.split(splits).skip(skipped).for_each(&mut push),
        }
    }
}

/// An octet as in a URL: all but the unreserved ones of RFC 3986 section 2.3 are escaped.
fn push_escaped(octet: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
        out.push(octet);
    } else {
        let digit = |value: u8| DIGITS[usize::from(value)];
        out.extend([b'%', digit(octet >> 4), digit(octet & 15)]);
    }
}

/// The address in the form of `%{i}`: its octets, or its hexadecimal digits, with dots between.
fn dotted(address: IpAddr) -> String {
    let IpAddr::V6(address) = address else {
        return address.to_string();
    };
    let mut text = String::with_capacity(64);
    for octet in address.octets() {
        // Writing to a string can't fail.
        let _ = write!(text, "{:X}.{:X}.", octet >> 4, octet & 15);
    }
    text.pop();
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::spf::Subject;

    /// The sender and the addresses of the examples in section 7.4.
    fn expanded(text: &str, client_ip: &str, explains: bool) -> Option<String> {
        let subject = Subject {
            client_ip: client_ip.parse().expect("an address"),
            mail_from: b"strong-bad@email.example.com",
            helo: b"he lo.example",
            receiver: &"mx.example.org".into(),
            unix_seconds: 1_234_567,
        };
        let values = Values {
            inputs: &Inputs::of_mail_from(&subject),
            domain: "email.example.com",
            validated: "mx.example.org",
        };
        let out = match explains {
            true => expand_explanation(text.as_bytes(), &values, 80)?,
            false => expand_target(text.as_bytes(), &values)?,
        };
        Some(String::from_utf8_lossy(&out).into_owned())
    }

    #[test]
    fn the_examples_of_section_7_4() {
        for (text, seen) in [
            ("%{s}", "strong-bad@email.example.com"),
            ("%{o}", "email.example.com"),
            ("%{d}", "email.example.com"),
            ("%{d4}", "email.example.com"),
            ("%{d2}", "example.com"),
            ("%{d1}", "com"),
            ("%{dr}", "com.example.email"),
            ("%{d2r}", "example.email"),
            ("%{l}", "strong-bad"),
            ("%{l-}", "strong.bad"),
            ("%{lr}", "strong-bad"),
            ("%{lr-}", "bad.strong"),
            ("%{l1r-}", "strong"),
            (
                "%{ir}.%{v}._spf.%{d2}",
                "3.2.0.192.in-addr._spf.example.com",
            ),
            ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
            (
                "%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}",
                "3.2.0.192.in-addr.strong.lp._spf.example.com",
            ),
            (
                "%{d2}.trusted-domains.example.net",
                "example.com.trusted-domains.example.net",
            ),
            ("%{D99999999999999999999999R}", "com.example.email"),
            ("%{H}%%%_%-", "he%20lo.example% %20"),
        ] {
            assert_eq!(expanded(text, "192.0.2.3", false).as_deref(), Some(seen));
        }
        assert_eq!(
            expanded("%{ir}.%{v}._spf.%{d2}", "2001:db8::cb01", false).as_deref(),
            Some(
                "1.0.B.C.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.B.D.0.1.0.0.2.ip6._spf.example.com"
            )
        );
    }

    #[test]
    fn explanations_have_three_letters_more() {
        let text = "%{c} at %{t} by %{r}, %{S}";
        assert_eq!(
            expanded(text, "2001:DB8::1", true).as_deref(),
            Some("2001:db8::1 at 1234567 by mx.example.org, strong-bad%40email.example.com")
        );
        assert_eq!(
            expanded(&"a".repeat(100), "::1", true).map(|t| t.len()),
            Some(80)
        );
        for wrong in [
            "%{x}", "100%", "a\nb", "ü", "%{d", "%{d0}", "%{d2r:}", "%{}",
        ] {
            assert_eq!(expanded(wrong, "192.0.2.3", true), None, "{wrong}");
            assert!(check_domain_spec(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn domain_specs() {
        for (text, fine) in [
            ("a.example", true),
            ("a.example.", true),
            ("%{d}", true),
            ("a%%", true),
            ("%{d}.example", true),
            ("%{d}example", false),
            ("a.xn--zckzah", true),
            ("a.b-", false),
            ("a.-b", false),
            ("a.1b", true),
            ("a.12", false),
            ("a.", false),
            ("a..", false),
            ("example", false),
            ("", false),
            ("%{c}", false),
            ("%{r}.example", false),
            ("a b.example", true),
        ] {
            let seen = check_domain_spec(text.as_bytes()).is_ok();
            assert_eq!(seen, fine, "{text}");
        }
    }

    #[test]
    fn a_long_expansion_keeps_its_end() {
        let spec = format!("{}end.example", "%{s}.".repeat(1500));
        let seen = expanded(&spec, "192.0.2.3", false).expect("a target");
        assert!(seen.len() <= 8 * TARGET_OCTETS_MAX + 3 * 512);
        assert!(seen.len() > NAME_OCTETS_MAX + 1 && seen.ends_with(".end.example"));
    }
}
