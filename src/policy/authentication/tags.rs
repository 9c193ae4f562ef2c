//! Lists of `tag=value` (RFC 6376 §3.2): in signatures, in key records, in DMARC records.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Tags that are read of one list. One with more is malformed.
pub const TAGS_MAX: usize = 64;

/// A list without duplicates.
#[derive(Debug, Default)]
pub struct Tags<'a> {
    tags: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Tags<'a> {
    /// Reads a list. `None`: a tag has no name or no `=`, a name comes twice (the whole list is invalid then), a
    /// control character is in it, or there are more than [`TAGS_MAX`]. White space around names and values is left out.
    pub fn read(text: &'a [u8]) -> Option<Tags<'a>> {
        let mut tags = Vec::new();
        let mut entries = text.split(|octet| *octet == b';').peekable();
        while let Some(entry) = entries.next() {
            let entry = entry.trim_ascii();
            if entry.is_empty() && entries.peek().is_none() && !tags.is_empty() {
                break; // what follows the last semicolon
            }
            let (name, value) = pair(entry)?;
            if tags.len() == TAGS_MAX || tags.iter().any(|(other, _)| *other == name) {
                return None;
            }
            tags.push((name, value));
        }
        Some(Tags { tags })
    }

    /// The value of a tag. Names are case-sensitive.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        let found = self.tags.iter().find(|(tag, _)| *tag == name.as_bytes());
        found.map(|(_, value)| *value)
    }

    /// The name of the first tag.
    pub fn first(&self) -> Option<&'a [u8]> {
        self.tags.first().map(|(name, _)| *name)
    }
}

/// One tag: its name, and its value without white space around it.
pub fn pair(entry: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = memchr::memchr(b'=', entry)?;
    let (name, value) = (
        entry[..equals].trim_ascii(),
        entry[equals + 1..].trim_ascii(),
    );
    let of_name = |octet: &u8| octet.is_ascii_alphanumeric() || *octet == b'_';
    let control = |octet: &u8| octet.is_ascii_control() && !octet.is_ascii_whitespace();
    let begins = name.first().is_some_and(u8::is_ascii_alphabetic);
    (begins && name.iter().all(of_name) && !value.iter().any(control)).then_some((name, value))
}

/// Whether a list of words between colons holds one of them.
pub fn has_word(list: &[u8], words: &[&str]) -> bool {
    list.split(|octet| *octet == b':').any(|word| {
        let word = word.trim_ascii();
        words
            .iter()
            .any(|wanted| word.eq_ignore_ascii_case(wanted.as_bytes()))
    })
}

/// A number of at most twelve digits (RFC 6376 §3.5: verifiers need to take no more for `t=` and `x=`).
pub fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 12 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(value).ok()?.parse().ok()
}

/// Padding may be missing: signers forget it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Decodes base64 with white space anywhere in it (RFC 6376 §3.5, `b=`). `None`: it is something else, empty, or longer
/// than `max` octets decoded.
pub fn base64(value: &[u8], max: usize) -> Option<Vec<u8>> {
    let mut packed = Vec::with_capacity(value.len().min(max * 4 / 3 + 8));
    for octet in value.iter().filter(|octet| !octet.is_ascii_whitespace()) {
        if packed.len() > max * 4 / 3 + 4 {
            return None;
        }
        packed.push(*octet);
    }
    let octets = BASE64.decode(packed).ok()?;
    (!octets.is_empty() && octets.len() <= max).then_some(octets)
}

/// Encodes base64, with padding.
pub fn to_base64(octets: &[u8]) -> String {
    BASE64.encode(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_with_its_white_space() {
        let tags = Tags::read(b" v = 1 ; a=rsa-sha256;\r\n\tb=ab\r\n cd ; x= ;").expect("a list");
        assert_eq!(tags.get("a"), Some(&b"rsa-sha256"[..]));
        assert_eq!(tags.get("b"), Some(&b"ab\r\n cd"[..]));
        assert_eq!(tags.get("A"), None);
        assert_eq!(tags.first(), Some(&b"v"[..]));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in [
            &b""[..],
            b";",
            b"v",
            b"=1",
            b"v=1;;a=2",
            b"v=1; ;",
            b"v=1;v=2",
            b"1v=1",
            b"v w=1",
            b"v=\x00",
        ] {
            assert!(Tags::read(text).is_none(), "{text:?}");
        }
        let many: Vec<String> = (0..=TAGS_MAX).map(|n| format!("t{n}=")).collect();
        assert!(Tags::read(many.join(";").as_bytes()).is_none());
    }

    #[test]
    fn base64_has_a_limit_and_may_be_folded() {
        assert_eq!(base64(b"YW\r\n\tJj", 3), Some(b"abc".to_vec()));
        assert_eq!(base64(b"YWI", 3), Some(b"ab".to_vec()));
        assert_eq!(base64(b"YWJj", 2), None);
        assert_eq!(base64(b"", 2), None);
        assert_eq!(base64(b"a-_b", 9), None);
        assert_eq!(base64(&[b'A'; 10_000], 16), None);
        assert_eq!(number(b"123456789012"), Some(123_456_789_012));
        assert_eq!(number(b"1234567890123"), None);
        assert_eq!(number(b"+1"), None);
    }
}
