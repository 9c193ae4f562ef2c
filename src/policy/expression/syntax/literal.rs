//! Numbers and strings as CEL writes them.

use super::super::mistake::{Mistake, Span};
use super::Kind;

/// The string that `text` starts with, and its length with quotes; `None` where it starts with none. `at` is where
/// `text` stands, for mistakes.
pub fn string(text: &str, at: usize) -> Result<Option<(String, usize)>, Mistake> {
    let prefix = text.len() - text.trim_start_matches(['r', 'R', 'b', 'B']).len();
    let opened = &text[prefix.min(2)..];
    let Some(quote) = ["\"\"\"", "'''", "\"", "'"]
        .into_iter()
        .find(|quote| opened.starts_with(quote))
    else {
        return Ok(None);
    };
    let prefix = &text[..prefix.min(2)];
    let raw = match prefix.as_bytes() {
        [] => false,
        [b'r' | b'R'] => true,
        [b'b' | b'B', ..] => {
            let span = Span {
                start: at,
                end: at + prefix.len(),
            };
            return Err(
                Mistake::new(span, "rules have no byte strings").with_hint("leave the `b` out")
            );
        }
        _ => return Ok(None),
    };
    let start = prefix.len() + quote.len();
    let body = &text[start..];
    let Some(length) = closed(body, quote, raw) else {
        let line = text.lines().next().unwrap_or_default().len();
        let span = Span {
            start: at,
            end: at + line,
        };
        return Err(Mistake::new(span, "the text has no closing quote")
            .with_hint(format!("end it with {quote}")));
    };
    let inner = &body[..length];
    let value = if raw {
        inner.to_string()
    } else {
        unescaped(inner, at + start)?
    };
    Ok(Some((value, start + length + quote.len())))
}

/// Octets before the closing quote.
fn closed(body: &str, quote: &str, raw: bool) -> Option<usize> {
    let mut escaped = false;
    for (at, octet) in body.bytes().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if !raw => escaped = true,
            b'\n' | b'\r' if quote.len() == 1 => return None,
            _ if body.as_bytes()[at..].starts_with(quote.as_bytes()) => return Some(at),
            _ => {}
        }
    }
    None
}

fn unescaped(text: &str, at: usize) -> Result<String, Mistake> {
    let mut value = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(found) = rest.find('\\') {
        value.push_str(&rest[..found]);
        rest = &rest[found + 1..];
        let start = at + text.len() - rest.len() - 1;
        let Some((c, length)) = escape(rest) else {
            let width = 1 + rest.chars().next().map_or(0, char::len_utf8);
            let span = Span {
                start,
                end: start + width,
            };
            return Err(Mistake::new(
                span,
                format!("{:?} is no escape of CEL", &text[start - at..][..width]),
            )
            .with_hint("write `\\\\` for a backslash, or r\"…\" for text without escapes"));
        };
        value.push(c);
        rest = &rest[length..];
    }
    value.push_str(rest);
    Ok(value)
}

/// The character that an escape means, and the octets after the backslash.
fn escape(rest: &str) -> Option<(char, usize)> {
    let digits = |from: usize, count: usize, radix: u32| {
        let digits = rest.get(from..from + count)?;
        let all = digits.chars().all(|c| c.is_digit(radix));
        let code = u32::from_str_radix(digits, radix).ok().filter(|_| all)?;
        Some((char::from_u32(code)?, from + count))
    };
    let c = match rest.as_bytes().first()? {
        b'a' => '\x07',
        b'b' => '\x08',
        b'f' => '\x0c',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'v' => '\x0b',
        same @ (b'"' | b'\'' | b'\\' | b'?' | b'`') => char::from(*same),
        b'x' | b'X' => return digits(1, 2, 16),
        b'u' => return digits(1, 4, 16),
        b'U' => return digits(1, 8, 16),
        b'0'..=b'3' => return digits(0, 3, 8),
        _ => return None,
    };
    Some((c, 1))
}

/// The number that `text` starts with, without a sign, and its length.
pub fn number(text: &str, at: usize) -> Result<Option<(Kind, usize)>, Mistake> {
    let bytes = text.as_bytes();
    let digits = |from: usize| {
        let rest = bytes.get(from..).unwrap_or_default();
        rest.iter()
            .take_while(|octet| octet.is_ascii_digit())
            .count()
    };
    let wrong = |length: usize, message: &str| {
        let span = Span {
            start: at,
            end: at + length,
        };
        Mistake::new(span, message)
    };
    if bytes.starts_with(b"0x") {
        let hex = bytes[2..]
            .iter()
            .take_while(|octet| octet.is_ascii_hexdigit());
        let length = 2 + hex.count();
        if length > 2 {
            let value = u64::from_str_radix(&text[2..length], 16);
            return whole(value.ok(), text, at, length).map(Some);
        }
    }
    let whole_part = digits(0);
    let mut length = whole_part;
    let mut float = false;
    if bytes.get(length) == Some(&b'.') && digits(length + 1) > 0 {
        length += 1 + digits(length + 1);
        float = true;
    }
    if length == 0 {
        return Ok(None);
    }
    if matches!(bytes.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        let exponent = digits(length + 1 + sign);
        if exponent > 0 {
            length += 1 + sign + exponent;
            float = true;
        }
    }
    if !float {
        return whole(text[..length].parse().ok(), text, at, length).map(Some);
    }
    match text[..length].parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Some((Kind::Float(value), length))),
        _ => Err(wrong(length, "the number is too large")),
    }
}

fn whole(
    value: Option<u64>,
    text: &str,
    at: usize,
    length: usize,
) -> Result<(Kind, usize), Mistake> {
    let after = text.as_bytes().get(length).copied().unwrap_or(b' ');
    if after.is_ascii_alphabetic() || after == b'_' {
        let word = text[length..]
            .bytes()
            .take_while(|octet| octet.is_ascii_alphanumeric() || *octet == b'_')
            .count();
        let span = Span {
            start: at,
            end: at + length + word,
        };
        let mistake = Mistake::new(span, "a letter follows the number without a space");
        return Err(match &text[length..length + word] {
            "u" | "U" => mistake.with_hint("rules have no unsigned numbers: leave the `u` out"),
            "s" | "m" | "h" | "d" | "ms" => {
                let all = &text[..length + word];
                mistake.with_hint(format!("write a duration as duration(\"{all}\")"))
            }
            _ => mistake,
        });
    }
    match value {
        Some(value) if value <= 1 << 63 => Ok((Kind::Int(value), length)),
        _ => {
            let span = Span {
                start: at,
                end: at + length,
            };
            Err(Mistake::new(span, "the number is too large")
                .with_hint("whole numbers end at 9223372036854775807"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_strings() {
        for (text, value) in [
            ("'a'", "a"),
            (r#""a'b" "#, "a'b"),
            (r#"'\x41\u00e4\101\n\'\\'"#, "A\u{e4}A\n'\\"),
            (r"'\U0001F600'", "\u{1f600}"),
            (r"r'\d'", r"\d"),
            ("'''a'\n''b'''", "a'\n''b"),
            ("R\"\"\"\\\"\"\"", "\\"),
            ("''", ""),
        ] {
            let (read, length) = string(text, 0).expect(text).expect("a string");
            assert_eq!(read, value, "{text}");
            assert_eq!(length, text.trim_end().len());
        }
        for text in ["a", "rr'a'", "rx", ""] {
            assert_eq!(string(text, 0), Ok(None), "{text}");
        }
    }

    #[test]
    fn refuses_strings() {
        for (text, start, says) in [
            ("'a", 10, "no closing quote"),
            ("'a\nb'", 10, "no closing quote"),
            ("'a\\'", 10, "no closing quote"),
            (r"'ab\q'", 13, "no escape"),
            (r"'\ud800'", 11, "no escape"),
            (r"'\x4'", 11, "no escape"),
            (r"'\x+4'", 11, "no escape"),
            (r"'\ä'", 11, "no escape"),
            ("b'a'", 10, "byte strings"),
            ("br'a'", 10, "byte strings"),
        ] {
            let mistake = string(text, 10).expect_err(text);
            assert!(mistake.message.contains(says), "{text}: {mistake}");
            assert_eq!(mistake.start, start, "{text}");
        }
    }

    #[test]
    fn reads_numbers() {
        for (text, kind, length) in [
            ("12+", Kind::Int(12), 2),
            ("0x1F)", Kind::Int(31), 4),
            ("9223372036854775808", Kind::Int(1 << 63), 19),
            ("1.5e-2 ", Kind::Float(0.015), 6),
            (".5", Kind::Float(0.5), 2),
            ("1e3", Kind::Float(1e3), 3),
            ("1.size()", Kind::Int(1), 1),
        ] {
            assert_eq!(number(text, 0), Ok(Some((kind, length))), "{text}");
        }
        assert_eq!(number(".x", 0), Ok(None));
        for (text, says) in [
            ("9223372036854775809", "too large"),
            ("99999999999999999999", "too large"),
            ("0xfffffffffffffffff", "too large"),
            ("1e999", "too large"),
            ("1u", "leave the `u` out"),
            ("30s", "duration(\"30s\")"),
            ("1abc", "a letter follows"),
            ("0xg", "a letter follows"),
        ] {
            let mistake = number(text, 0).expect_err(text);
            assert!(mistake.to_string().contains(says), "{text}: {mistake}");
        }
    }
}
