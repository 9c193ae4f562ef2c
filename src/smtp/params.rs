//! Parameters of MAIL and RCPT (RFC 5321 §4.1.2, `Mail-parameters`). Each belongs to an extension, and is
//! unknown where that extension is not announced.

use super::{
    command::{decimal, is_blank},
    envelope::{BodyKind, Notify, Ret},
    extensions::Extensions,
    path::is_clean_utf8,
    replies,
    reply::Known,
};

/// Octets of ENVID (RFC 3461 §4.4).
const ENVID_MAX: usize = 100;
/// Octets of ORCPT (RFC 3461 §4.2).
const ORCPT_MAX: usize = 500;

/// What MAIL said behind its path. Text is as it came; empty is "not given".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailText<'a> {
    /// SIZE, octets; 0 where not given. More than 64 bits hold is [`u64::MAX`].
    pub size: u64,
    /// BODY.
    pub body: BodyKind,
    /// SMTPUTF8.
    pub smtputf8: bool,
    /// REQUIRETLS.
    pub requiretls: bool,
    /// RET.
    pub ret: Option<Ret>,
    /// ENVID.
    pub envid: &'a [u8],
    /// AUTH.
    pub auth: &'a [u8],
}

/// What RCPT said behind its path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RcptText<'a> {
    /// NOTIFY.
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
        (b"ENVID", Some(text)) if text.len() <= ENVID_MAX && is_xtext(text) => found.envid = text,
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

/// The parameters: keyword, and the value behind its first `=`.
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
    sound.then(|| decimal(digits).unwrap_or(u64::MAX))
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

/// Printable ASCII without `+` and `=`, or `+` and two upper-case hex digits (RFC 3461 §4) that don't stand
/// for a control character: decoded, that would reach a header or a log line.
fn is_xtext(text: &[u8]) -> bool {
    let mut rest = text;
    while let [byte, tail @ ..] = rest {
        rest = match (byte, tail) {
            (b'+', [high, low, tail @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) if !(high * 16 + low).is_ascii_control() => tail,
                _ => return false,
            },
            (b'+' | b'=', _) => return false,
            (0x21..=0x7e, _) => tail,
            _ => return false,
        };
    }
    !text.is_empty()
}

/// What xtext stands for: clean UTF-8 (no control character), in as much of `room` as it takes. `None` where it is
/// empty, malformed, or has no room.
#[must_use]
pub fn from_xtext<'a>(text: &[u8], room: &'a mut [u8]) -> Option<&'a [u8]> {
    if !is_xtext(text) {
        return None;
    }
    let (mut rest, mut length) = (text, 0);
    while let [byte, tail @ ..] = rest {
        let (octet, tail) = match (byte, tail) {
            (b'+', [high, low, tail @ ..]) => (hex(*high)? * 16 + hex(*low)?, tail),
            _ => (*byte, tail),
        };
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
        _ => None,
    }
}

/// `type;address`, the address in xtext; for the type `utf-8` in the form of RFC 6533 §3.
fn is_orcpt(text: &[u8], utf8: bool) -> bool {
    let Some(semicolon) = memchr::memchr(b';', text) else {
        return false;
    };
    let (kind, address) = (&text[..semicolon], &text[semicolon + 1..]);
    let atom = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    if kind.is_empty() || !kind.iter().all(atom) || text.len() > ORCPT_MAX {
        return false;
    }
    if kind.eq_ignore_ascii_case(b"utf-8") {
        let plain =
            |byte: &u8| matches!(byte, 0x21..=0x7e if *byte != b'=') || (utf8 && *byte >= 0x80);
        return !address.is_empty() && address.iter().all(plain) && is_clean_utf8(address);
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
            (b"ENVID=a=b", 501),
            (b"ENVID=a+0D+0Ab", 501),
            (b"ENVID=a+3d", 501),
            (b"ENVID=a+", 501),
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
