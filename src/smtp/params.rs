//! Parameters of MAIL and RCPT (RFC 5321 §4.1.2, `Mail-parameters`). Each belongs to an extension, and is
//! unknown where that extension is not announced.

use super::{
    command::is_blank,
    envelope::{BodyKind, Notify, Ret},
    extensions::Extensions,
    path::is_clean_utf8,
    replies,
    reply::Known,
};
use crate::decimal::parse_decimal;
use std::borrow::Cow;

/// Octets of ENVID (RFC 3461 §4.4).
const ENVID_MAX: usize = 100;
/// Octets of ORCPT (RFC 3461 §4.2).
const ORCPT_MAX: usize = 500;

/// What MAIL said after its path. Text is as it came; empty is "not given".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailText<'a> {
    /// SIZE, octets; 0 where not given. More than 64 bits hold is [`u64::MAX`].
    pub size: u64,
    /// BODY (RFC 6152, RFC 3030).
    pub body: BodyKind,
    /// SMTPUTF8 was given (RFC 6531).
    pub smtputf8: bool,
    /// REQUIRETLS was given (RFC 8689).
    pub requiretls: bool,
    /// RET (RFC 3461 §4.3).
    pub ret: Option<Ret>,
    /// ENVID (RFC 3461 §4.4), in xtext.
    pub envid: &'a [u8],
    /// AUTH (RFC 4954 §5), in xtext.
    pub auth: &'a [u8],
}

/// What RCPT said after its path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RcptText<'a> {
    /// NOTIFY (RFC 3461 §4.1).
    pub notify: Option<Notify>,
    /// ORCPT; empty is "not given".
    pub orcpt: &'a [u8],
}

/// Reads MAIL's parameters.
///
/// # Errors
/// The reply to give: 555 for one that is not offered, 501 for a bad value or one that came twice.
pub fn mail(text: &[u8], offered: Extensions) -> Result<MailText<'_>, &'static Known> {
    let mut found = MailText::default();
    let mut seen = Extensions::NONE;
    let mut envid = false;
    for (keyword, value) in words(text) {
        let name = Upper::of(keyword);
        let extension = match name.text() {
            b"SIZE" => Extensions::SIZE,
            b"BODY" => Extensions::EIGHTBITMIME,
            b"SMTPUTF8" => Extensions::SMTPUTF8,
            b"REQUIRETLS" => Extensions::REQUIRETLS,
            b"AUTH" => Extensions::AUTH,
            b"RET" | b"ENVID" => Extensions::DSN,
            _ => return Err(&replies::PARAMETER_UNKNOWN),
        };
        if !offered.has(extension) {
            return Err(&replies::PARAMETER_UNKNOWN);
        }
        let twice = match name.text() {
            b"ENVID" => std::mem::replace(&mut envid, true),
            _ => seen.has(extension),
        };
        if twice {
            return Err(&replies::PARAMETER_TWICE);
        }
        if name.text() != b"ENVID" {
            seen = seen | extension;
        }
        take_mail(&mut found, name.text(), value, offered).ok_or(&replies::PARAMETER_VALUE)?;
    }
    Ok(found)
}

fn take_mail<'a>(
    found: &mut MailText<'a>,
    name: &[u8],
    value: Option<&'a [u8]>,
    offered: Extensions,
) -> Option<()> {
    match (name, value) {
        (b"SIZE", Some(digits)) => found.size = size(digits)?,
        (b"BODY", Some(kind)) => found.body = body(kind, offered)?,
        (b"SMTPUTF8", None) => found.smtputf8 = true,
        (b"REQUIRETLS", None) => found.requiretls = true,
        (b"RET", Some(part)) => {
            found.ret = Some(match Upper::of(part).text() {
                b"FULL" => Ret::Full,
                b"HDRS" => Ret::Hdrs,
                _ => return None,
            });
        }
        (b"ENVID", Some(text)) if is_xtext(text) && xtext(text).len() <= ENVID_MAX => {
            found.envid = text
        }
        (b"AUTH", Some(text)) if text == b"<>" || is_xtext(text) => found.auth = text,
        _ => return None,
    }
    Some(())
}

/// Reads RCPT's parameters; `utf8` says whether the transaction is of SMTPUTF8.
///
/// # Errors
/// The reply to give, as for [`mail`].
pub fn rcpt(text: &[u8], offered: Extensions, utf8: bool) -> Result<RcptText<'_>, &'static Known> {
    let mut found = RcptText::default();
    for (keyword, value) in words(text) {
        let name = Upper::of(keyword);
        if !offered.has(Extensions::DSN) {
            return Err(&replies::PARAMETER_UNKNOWN);
        }
        let twice = match name.text() {
            b"NOTIFY" => found.notify.is_some(),
            b"ORCPT" => !found.orcpt.is_empty(),
            _ => return Err(&replies::PARAMETER_UNKNOWN),
        };
        if twice {
            return Err(&replies::PARAMETER_TWICE);
        }
        match (name.text(), value) {
            (b"NOTIFY", Some(list)) => {
                found.notify = Some(notify(list).ok_or(&replies::PARAMETER_VALUE)?);
            }
            (b"ORCPT", Some(text)) if is_orcpt(text, utf8) => found.orcpt = text,
            _ => return Err(&replies::PARAMETER_VALUE),
        }
    }
    Ok(found)
}

/// The parameters: keyword, and the value after its first `=`.
fn words(text: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let start = rest.iter().position(|byte| !is_blank(*byte))?;
        let (keyword, behind) = until(&rest[start..], |byte| is_blank(byte) || byte == b'=');
        let value = behind.strip_prefix(b"=").map(|text| until(text, is_blank));
        rest = value.map_or(behind, |(_, behind)| behind);
        Some((keyword, value.map(|(value, _)| value)))
    })
}

/// What stands before the first octet of a kind, and the rest with it.
fn until(text: &[u8], kind: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| kind(*byte));
    text.split_at(end.unwrap_or(text.len()))
}

/// A word in upper case without a heap: longer than any that we know is none that we know.
struct Upper([u8; 12], usize);

impl Upper {
    fn of(word: &[u8]) -> Upper {
        let mut upper = Upper([0; 12], word.len());
        match upper.0.get_mut(..word.len()) {
            Some(room) => room.copy_from_slice(word),
            None => upper.1 = 0,
        }
        upper.0.make_ascii_uppercase();
        upper
    }

    fn text(&self) -> &[u8] {
        &self.0[..self.1]
    }
}

/// SIZE: 1 to 20 digits (RFC 1870 §4).
fn size(digits: &[u8]) -> Option<u64> {
    let sound = (1..=20).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    sound.then(|| parse_decimal(digits).unwrap_or(u64::MAX))
}

fn body(kind: &[u8], offered: Extensions) -> Option<BodyKind> {
    match Upper::of(kind).text() {
        b"7BIT" => Some(BodyKind::SevenBit),
        b"8BITMIME" => Some(BodyKind::EightBitMime),
        b"BINARYMIME" if offered.has(Extensions::BINARYMIME | Extensions::CHUNKING) => {
            Some(BodyKind::BinaryMime)
        }
        _ => None,
    }
}

/// `NEVER`, or a list without repetition (RFC 3461 §4.1).
fn notify(list: &[u8]) -> Option<Notify> {
    if list.eq_ignore_ascii_case(b"NEVER") {
        return Some(Notify::NEVER);
    }
    let mut all = 0;
    for item in list.split(|byte| *byte == b',') {
        let bit = match Upper::of(item).text() {
            b"SUCCESS" => Notify::SUCCESS.0,
            b"FAILURE" => Notify::FAILURE.0,
            b"DELAY" => Notify::DELAY.0,
            _ => return None,
        };
        if all & bit != 0 {
            return None;
        }
        all |= bit;
    }
    Some(Notify(all))
}

/// The next octet of xtext (RFC 3461 §4): printable ASCII, or `+` and two hex digits. As Postfix does, this takes digits in
/// lower case and a raw `=`, and it takes a `+` that no digits follow: addresses are put there as they are.
fn unquote(text: &[u8]) -> Option<(u8, &[u8])> {
    match text {
        [b'+', tail @ ..] => Some(match tail {
            [high, low, rest @ ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high * 16 + low, rest),
                _ => (b'+', tail),
            },
            _ => (b'+', tail),
        }),
        [octet @ 0x21..=0x7e, rest @ ..] => Some((*octet, rest)),
        _ => None,
    }
}

/// Whether it is xtext, and nothing in it stands for a control character: decoded, that would reach a header or a log
/// line.
#[must_use]
pub(super) fn is_xtext(text: &[u8]) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        match unquote(rest) {
            Some((octet, tail)) if !octet.is_ascii_control() => rest = tail,
            _ => return false,
        }
    }
    !text.is_empty()
}

/// Xtext in the strict form that a backend can be told; what has it already is given back as it is.
#[must_use]
pub fn xtext(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'+', b'=', text).is_none() {
        return Cow::Borrowed(text);
    }
    let (mut strict, mut rest) = (Vec::with_capacity(text.len() + 16), text);
    while let Some((octet, tail)) = unquote(rest) {
        match octet {
            b'+' | b'=' | ..=0x20 | 0x7f.. => {
                strict.extend_from_slice(&[b'+', digit(octet >> 4), digit(octet & 15)]);
            }
            _ => strict.push(octet),
        }
        rest = tail;
    }
    Cow::Owned(strict)
}

/// ORCPT in the strict form of its type.
#[must_use]
pub fn orcpt(text: &[u8]) -> Cow<'_, [u8]> {
    match memchr::memchr(b';', text) {
        Some(semicolon) if is_utf8_type(&text[..semicolon]) => {
            if !text
                .iter()
                .any(|octet| matches!(octet, b'+' | b'=' | b'\\'))
            {
                return Cow::Borrowed(text);
            }
            let mut strict = text[..=semicolon].to_vec();
            let mut rest = &text[semicolon + 1..];
            while let [octet, tail @ ..] = rest {
                let embedded = embedded(rest).map_or(0, |(_, length)| length);
                match octet {
                    b'\\' if embedded > 0 => strict.extend_from_slice(&rest[..embedded]),
                    b'+' | b'=' | b'\\' => {
                        strict.extend_from_slice(b"\\x{");
                        strict.extend_from_slice(&[digit(octet >> 4), digit(octet & 15), b'}']);
                    }
                    _ => strict.push(*octet),
                }
                rest = rest
                    .get(embedded..)
                    .filter(|_| embedded > 0)
                    .unwrap_or(tail);
            }
            Cow::Owned(strict)
        }
        _ => xtext(text),
    }
}

fn is_utf8_type(kind: &[u8]) -> bool {
    kind.eq_ignore_ascii_case(b"utf-8")
}

/// A character that is written `\x{20AC}` (RFC 6533 §3), and the octets that it takes.
fn embedded(text: &[u8]) -> Option<(char, usize)> {
    let inner = text.strip_prefix(b"\\x{")?;
    let end = memchr::memchr(b'}', inner).filter(|end| (2..=6).contains(end))?;
    let digits = str::from_utf8(&inner[..end]).ok()?;
    let sound = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let number = u32::from_str_radix(digits, 16).ok().filter(|_| sound)?;
    Some((char::from_u32(number)?, end + 4))
}

/// What xtext stands for: clean UTF-8 (no control character), in as much of `room` as it takes. `None` where it is
/// empty, malformed, or has no room.
#[must_use]
pub fn from_xtext<'a>(text: &[u8], room: &'a mut [u8]) -> Option<&'a [u8]> {
    if !is_xtext(text) {
        return None;
    }
    let (mut rest, mut length) = (text, 0);
    while let Some((octet, tail)) = unquote(rest) {
        // As in Postfix: a `+` is taken for itself in addresses alone.
        if rest[0] == b'+' && tail.len() + 3 != rest.len() {
            return None;
        }
        *room.get_mut(length)? = octet;
        length += 1;
        rest = tail;
    }
    Some(&room[..length]).filter(|text| is_clean_utf8(text))
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// The upper-case hex digit of a number below 16.
fn digit(number: u8) -> u8 {
    b"0123456789ABCDEF"[usize::from(number & 15)]
}

/// `type;address`, the address in xtext; for the type `utf-8` in the form of RFC 6533 §3.
fn is_orcpt(text: &[u8], utf8: bool) -> bool {
    let Some(semicolon) = memchr::memchr(b';', text) else {
        return false;
    };
    let (kind, address) = (&text[..semicolon], &text[semicolon + 1..]);
    let atom = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    if kind.is_empty() || !kind.iter().all(atom) || orcpt(text).len() > ORCPT_MAX {
        return false;
    }
    if is_utf8_type(kind) {
        let plain = |byte: &u8| matches!(byte, 0x21..=0x7e) || (utf8 && *byte >= 0x80);
        let hides = |at: usize| embedded(&address[at..]).is_some_and(|(c, _)| c.is_control());
        return !address.is_empty()
            && address.iter().all(plain)
            && is_clean_utf8(address)
            && !memchr::memchr_iter(b'\\', address).any(hides);
    }
    is_xtext(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Extensions = Extensions(u32::MAX);

    #[test]
    fn reads_all_of_mail() {
        let text = b" size=1000  body=8bitmime SMTPUTF8 ret=hdrs envid=QQ+3D14 AUTH=<>\tREQUIRETLS";
        let expected = MailText {
            size: 1000,
            body: BodyKind::EightBitMime,
            smtputf8: true,
            requiretls: true,
            ret: Some(Ret::Hdrs),
            envid: b"QQ+3D14",
            auth: b"<>",
        };
        assert_eq!(mail(text, ALL).expect("sound"), expected);
        assert_eq!(
            mail(b"", Extensions::NONE).expect("sound"),
            MailText::default()
        );
        assert_eq!(
            mail(b"SIZE=99999999999999999999", ALL).map(|m| m.size).ok(),
            Some(u64::MAX)
        );
    }

    #[test]
    fn refuses_with_the_right_code() {
        for (text, code) in [
            (&b"FOO"[..], 555),
            (b"FOO=BAR", 555),
            (b"=", 555),
            (b"NOTIFY=NEVER", 555),
            (b"SIZE", 501),
            (b"SIZE=", 501),
            (b"SIZE=-1", 501),
            (b"SIZE=1x", 501),
            (b"SIZE=999999999999999999999", 501),
            (b"SIZE=1 SIZE=2", 501),
            (b"SMTPUTF8 smtputf8", 501),
            (b"SMTPUTF8=1", 501),
            (b"BODY=9BIT", 501),
            (b"RET=ALL", 501),
            (b"RET=FULL RET=FULL", 501),
            (b"ENVID=a ENVID=b", 501),
            (b"ENVID=", 501),
            (b"ENVID=a+0D+0Ab", 501),
            (b"ENVID=a+0a", 501),
            (b"ENVID=a+7F", 501),
            (b"ENVID=a\x01", 501),
            (b"AUTH=", 501),
        ] {
            let error = mail(text, ALL).expect_err("bad");
            assert_eq!(error.code, code, "{}", text.escape_ascii());
        }
        assert_eq!(
            mail(b"SIZE=1", Extensions::DSN)
                .expect_err("not offered")
                .code,
            555
        );
        let no_chunks = Extensions::BINARYMIME | Extensions::EIGHTBITMIME;
        assert!(mail(b"BODY=BINARYMIME", no_chunks).is_err());
        assert!(mail(b"BODY=BINARYMIME", ALL).is_ok());
    }

    #[test]
    fn reads_rcpt() {
        let found = rcpt(b"NOTIFY=success,DELAY ORCPT=rfc822;a+2Bb@c", ALL, false).expect("sound");
        assert_eq!(
            found.notify,
            Some(Notify(Notify::SUCCESS.0 | Notify::DELAY.0))
        );
        assert_eq!(found.orcpt, b"rfc822;a+2Bb@c");
        assert!(rcpt("ORCPT=utf-8;ж@d".as_bytes(), ALL, true).is_ok());
        for (said, strict) in [
            ("rfc822;root", "rfc822;root"),
            ("RFC822;b+2Btag@d", "RFC822;b+2Btag@d"),
            ("rfc822;b+2btag@d", "rfc822;b+2Btag@d"),
            ("rfc822;b+tag@d", "rfc822;b+2Btag@d"),
            ("rfc822;b+", "rfc822;b+2B"),
            ("rfc822;a+3D=x=y@d", "rfc822;a+3D+3Dx+3Dy@d"),
            ("rfc822;a+E9@d", "rfc822;a+E9@d"),
            ("x400;/G=A/S=B/", "x400;/G+3DA/S+3DB/"),
            ("utf-8;a+b=c@d", "utf-8;a\\x{2B}b\\x{3D}c@d"),
            ("utf-8;a\\x{20AC}b\\@d", "utf-8;a\\x{20AC}b\\x{5C}@d"),
        ] {
            let text = format!("ORCPT={said}");
            let found = rcpt(text.as_bytes(), ALL, false).expect(said).orcpt;
            assert_eq!(String::from_utf8_lossy(&orcpt(found)), strict);
            assert_eq!(orcpt(&orcpt(found)), orcpt(found), "{said}");
        }
        let envid = mail(b"ENVID=a+3db=c", ALL).expect("sound").envid;
        assert_eq!(&*xtext(envid), b"a+3Db+3Dc");
        for (text, code) in [
            ("NOTIFY=NEVER,DELAY", 501),
            ("NOTIFY=DELAY,DELAY", 501),
            ("NOTIFY=", 501),
            ("NOTIFY", 501),
            ("NOTIFY=NEVER NOTIFY=NEVER", 501),
            ("ORCPT=rfc822", 501),
            ("ORCPT=;a", 501),
            ("ORCPT=rfc822;a b", 555),
            ("ORCPT=rfc822;", 501),
            ("ORCPT=rfc822;a+0Db", 501),
            ("ORCPT=rfc822;a+0db", 501),
            ("ORCPT=utf-8;", 501),
            ("ORCPT=utf-8;a\\x{0D}b", 501),
            ("ORCPT=utf-8;a\\x{85}b", 501),
            ("ORCPT=utf-8;ж@d", 501),
            ("SIZE=1", 555),
        ] {
            assert_eq!(
                rcpt(text.as_bytes(), ALL, false).expect_err("bad").code,
                code,
                "{text}"
            );
        }
    }
}
