//! Encoded words (RFC 2047): what a mail program shows in place of `=?utf-8?Q?caf=C3=A9?=`.
//!
//! Decoded as programs do it rather than as the RFC allows it: also within quoted strings, beside other text without
//! white space between, with blanks in the Q encoding, with padding missing or too much. What can't be decoded stays as
//! it is.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use encoding_rs::Encoding;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Whether there may be encoded words in the text.
#[must_use]
pub fn has_any(text: &[u8]) -> bool {
    memchr::memmem::find(text, b"=?").is_some()
}

/// Appends the text with its encoded words decoded to UTF-8. White space between two encoded words goes (§6.2). Octets
/// that are not part of an encoded word stay as they are, whether they are UTF-8 or not. At most four octets are appended
/// for each octet of the text.
pub fn decode(text: &[u8], out: &mut Vec<u8>) {
    let (mut rest, tail) = text.split_at(end(text));
    // The octets of words that follow each other in one charset: a character may lie over the end of a word.
    let mut run: Option<Run> = None;
    while let Some(start) = pair(rest, *b"=?") {
        let (before, word) = rest.split_at(start);
        let Some((word, length)) = Word::read(word) else {
            Run::finish(&mut run, out);
            out.extend_from_slice(before);
            out.extend_from_slice(b"=?");
            rest = &rest[start + 2..];
            continue;
        };
        let joined = run.is_some() && before.trim_ascii().is_empty();
        if !joined {
            Run::finish(&mut run, out);
            out.extend_from_slice(before);
        }
        if run.as_ref().is_some_and(|run| run.charset != word.charset) {
            Run::finish(&mut run, out);
        }
        let run = run.get_or_insert_with(|| Run {
            charset: word.charset,
            octets: Vec::new(),
        });
        word.decode(&mut run.octets);
        rest = &rest[start + length..];
    }
    Run::finish(&mut run, out);
    out.extend_from_slice(rest);
    out.extend_from_slice(tail);
}

/// Where two octets stand one after the other. Words are short and many: a search for a text takes longer to begin than this
/// takes to find them.
fn pair(text: &[u8], [first, second]: [u8; 2]) -> Option<usize> {
    memchr::memchr_iter(first, text).find(|at| text.get(at + 1) == Some(&second))
}

/// Where the last encoded word of the text can end. Each that begins before is closed, so that none is looked for in vain
/// up to the end of the text: of thousands that are never closed, each would take a walk over all the rest.
pub(super) fn end(text: &[u8]) -> usize {
    memchr::memmem::rfind(text, b"?=").map_or(0, |at| at + 2)
}

/// How long the run of encoded words is that the text begins with, the white space between them included.
pub(super) fn run_length(text: &[u8]) -> Option<usize> {
    let (_, mut length) = Word::read(text)?;
    loop {
        let rest = &text[length..];
        let blanks = rest.len() - rest.trim_ascii_start().len();
        match Word::read(&rest[blanks..]) {
            Some((_, next)) => length += blanks + next,
            None => return Some(length),
        }
    }
}

/// How the octets of a word become text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Charset {
    Known(&'static Encoding),
    /// UTF-16 in either order, with a mark in front or without.
    Utf16,
    /// RFC 2152. Browsers don't know it any more, mail programs do.
    Utf7,
    /// Not known: its octets stay as they are, without NUL. Nearly all are ASCII where they look like it.
    Unknown,
}

impl Charset {
    fn of(name: &[u8]) -> Charset {
        let has = |part: &[u8]| {
            let mut windows = name.windows(part.len());
            windows.any(|window| window.eq_ignore_ascii_case(part))
        };
        if has(b"utf-7") || has(b"utf7") {
            return Charset::Utf7;
        }
        match Encoding::for_label(name) {
            Some(known) if known == encoding_rs::UTF_16LE || known == encoding_rs::UTF_16BE => {
                Charset::Utf16
            }
            // What browsers refuse to decode (ISO-2022-KR, HZ) mail programs decode, and it has ASCII in it.
            Some(known) if known == encoding_rs::REPLACEMENT => Charset::Unknown,
            Some(known) => Charset::Known(known),
            None => Charset::Unknown,
        }
    }

    fn decode(self, octets: &[u8], out: &mut Vec<u8>) {
        match self {
            Charset::Known(charset) => {
                let (text, _) = charset.decode_without_bom_handling(octets);
                out.extend_from_slice(text.as_bytes());
            }
            Charset::Utf16 => {
                let default = match octets.first() {
                    Some(0) => encoding_rs::UTF_16BE,
                    _ => encoding_rs::UTF_16LE,
                };
                let (text, ..) = default.decode(octets);
                out.extend_from_slice(text.as_bytes());
            }
            Charset::Utf7 => utf7(octets, out),
            Charset::Unknown => out.extend(octets.iter().filter(|octet| **octet != 0)),
        }
    }
}

/// RFC 2152 §3: `+` begins base64 of UTF-16, which ends before the first other octet; a `-` there is dropped; `+-` is `+`.
fn utf7(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(plus) = memchr::memchr(b'+', rest) {
        out.extend_from_slice(&rest[..plus]);
        rest = &rest[plus + 1..];
        let is_letter = |octet: &u8| octet.is_ascii_alphanumeric() || b"+/".contains(octet);
        let end = rest.iter().position(|octet| !is_letter(octet));
        let (letters, after) = rest.split_at(end.unwrap_or(rest.len()));
        if letters.is_empty() {
            out.push(b'+');
        }
        let whole = letters.len() - usize::from(letters.len() % 4 == 1);
        let mut units = Vec::new();
        let _ = BASE64.decode_vec(&letters[..whole], &mut units);
        units.truncate(units.len() & !1);
        let (shown, _) = encoding_rs::UTF_16BE.decode_without_bom_handling(&units);
        out.extend_from_slice(shown.as_bytes());
        rest = after.strip_prefix(b"-").unwrap_or(after);
    }
    out.extend_from_slice(rest);
}

/// One encoded word, its payload still encoded.
struct Word<'a> {
    charset: Charset,
    is_base64: bool,
    payload: &'a [u8],
}

impl<'a> Word<'a> {
    /// Reads the word that the text begins with, and how long it is.
    fn read(text: &'a [u8]) -> Option<(Word<'a>, usize)> {
        let inner = text.strip_prefix(b"=?")?;
        let charset_end = inner.iter().position(|octet| !is_token(*octet))?;
        let (charset, after) = inner.split_at(charset_end);
        let [b'?', encoding, b'?', payload @ ..] = after else {
            return None;
        };
        let is_base64 = match encoding.to_ascii_uppercase() {
            b'B' => true,
            b'Q' => false,
            _ => return None,
        };
        // RFC 2231 §5: a language may follow the charset.
        let name = charset.split(|octet| *octet == b'*').next()?;
        if name.is_empty() {
            return None;
        }
        // Last, for it is the dear one: what has come this far is a word wherever it ends.
        let payload_end = pair(payload, *b"?=")?;
        let word = Word {
            charset: Charset::of(name),
            is_base64,
            payload: &payload[..payload_end],
        };
        Some((word, 2 + charset_end + 3 + payload_end + 2))
    }

    fn decode(&self, out: &mut Vec<u8>) {
        if !self.is_base64 {
            quoted_printable(self.payload, out);
            return;
        }
        // Blanks and padding in the middle, where two words were put together badly.
        let inner = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/');
        let mut letters: Vec<u8> = self.payload.iter().copied().filter(inner).collect();
        if letters.len() % 4 == 1 {
            letters.pop();
        }
        // Letters of the alphabet in a number that fits can't fail.
        let _ = BASE64.decode_vec(&letters, out);
    }
}

/// §4.2: `_` is a blank, `=` starts two hexadecimal digits, in any case.
fn quoted_printable(mut text: &[u8], out: &mut Vec<u8>) {
    let digit = |octet: u8| char::from(octet).to_digit(16);
    loop {
        text = match text {
            [] => return,
            [b'_', rest @ ..] => {
                out.push(b' ');
                rest
            }
            [b'=', high, low, rest @ ..] if digit(*high).is_some() && digit(*low).is_some() => {
                let value = digit(*high).unwrap_or(0) * 16 + digit(*low).unwrap_or(0);
                out.push(value as u8);
                rest
            }
            [octet, rest @ ..] => {
                out.push(*octet);
                rest
            }
        };
    }
}

struct Run {
    charset: Charset,
    octets: Vec<u8>,
}

impl Run {
    /// Writes what was gathered.
    fn finish(run: &mut Option<Run>, out: &mut Vec<u8>) {
        if let Some(Run { charset, octets }) = run.take() {
            charset.decode(&octets, out);
        }
    }
}

/// What the name of a charset is made of (RFC 2047 §2), and `*` before a language.
fn is_token(octet: u8) -> bool {
    octet.is_ascii_graphic() && !b"()<>@,;:\"/[]?=".contains(&octet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(text: &str) -> String {
        let mut out = Vec::new();
        decode(text.as_bytes(), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn words_are_shown_as_programs_show_them() {
        for (text, shown) in [
            ("=?utf-8?Q?win_a_prize?=", "win a prize"),
            ("=?UTF-8?q?caf=C3=a9?=", "café"),
            ("=?utf-8?B?d2luIGEgcHJpemU=?=", "win a prize"),
            ("=?utf-8?b?d2luIGEgcHJpemU?=", "win a prize"),
            ("=?utf-8?b?d2lu?= =?utf-8?B?IGE=?=", "win a"),
            ("=?utf-8?Q?win_a?=\r\n =?utf-8?Q?_prize?=", "win a prize"),
            ("=?utf-8?Q?win?= a =?utf-8?Q?prize?=", "win a prize"),
            ("Re: =?utf-8?Q?win?= it", "Re: win it"),
            ("a=?utf-8?Q?b?=c", "abc"),
            ("\"=?utf-8?Q?b?=\"", "\"b\""),
            ("=?utf-8?Q?win a prize?=", "win a prize"),
            ("=?utf-8*en?Q?win?=", "win"),
            ("=?iso-8859-1?Q?caf=E9?=", "café"),
            ("=?windows-1252?Q?=80_5?=", "€ 5"),
            ("=?windows-1251?B?z/Do4uXy?=", "Привет"),
            ("=?koi8-r?B?8NLJ18XU?=", "Привет"),
            ("=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"),
            ("=?shift_jis?B?k/qWew==?=", "日本"),
            ("=?gb18030?B?yNWxvg==?=", "日本"),
            // A character that lies over the end of a word.
            ("=?utf-8?Q?caf=C3?= =?utf-8?Q?=A9?=", "café"),
            ("=?utf-8?B?Y2Fmww==?= =?utf-8?B?qQ==?=", "café"),
            ("=?utf-8?Q?a?= =?iso-8859-1?Q?=E9?=", "aé"),
            ("=?x-unknown?Q?win?=", "win"),
            ("=?utf-16?B?/v8AdwBpAG4=?=", "win"),
            ("=?UTF-16BE?B?AHcAaQBu?=", "win"),
            ("=?utf-16?B?dwBpAG4A?=", "win"),
            ("=?utf-32be?B?AAAAdwAAAGkAAABu?=", "win"),
            ("=?utf-7?Q?win+AEA-it?=", "win@it"),
            ("=?unicode-1-1-utf-7?Q?1+-1+AOk?=", "1+1é"),
            ("=?hz-gb-2312?Q?win?=", "win"),
            ("=?iso-2022-kr?B?d2lu?=", "win"),
            ("=?utf-8?Q??=", ""),
            ("=?utf-8?Q?=?=", "="),
            ("=?utf-8?Q?=4?=", "=4"),
            ("=?utf-8?B?d?=", ""),
        ] {
            assert_eq!(decoded(text), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_word_stays() {
        for text in [
            "plain",
            "=?",
            "=?utf-8?Q?win",
            "=?utf-8?X?win?=",
            "=?utf-8?win?=",
            "=??Q?win?=",
            "=?utf 8?Q?win?=",
            "a =? b ?= c",
            "=?=?=?=",
        ] {
            assert_eq!(decoded(text), text);
        }
        let mut out = Vec::new();
        decode(b"\xe9 =?utf-8?Q?b?=", &mut out);
        assert_eq!(out, b"\xe9 b");
    }

    proptest! {
        #[test]
        fn no_octets_upset_it(text in proptest::collection::vec(
            proptest::sample::select(&b"=?uft8-QqBb_A0 \r\n\xff"[..]), 0..80)) {
            let mut out = Vec::new();
            decode(&text, &mut out);
            prop_assert!(out.len() <= 4 * text.len());
        }

        #[test]
        fn what_was_encoded_comes_back(text in "\\PC{1,30}") {
            let word = format!("=?utf-8?B?{}?=", base64::prelude::BASE64_STANDARD.encode(&text));
            prop_assert_eq!(decoded(&word), text.clone());
            let hex: String = text.bytes().map(|octet| format!("={octet:02X}")).collect();
            prop_assert_eq!(decoded(&format!("=?utf-8?Q?{hex}?=")), text);
        }
    }
}
