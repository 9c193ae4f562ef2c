//! Fields with a tag and a length: what the payload of a record is made of.
//!
//! A payload is a version octet and fields; a field is a tag, the length of its value (LEB128, five octets at most) and
//! the value. A reader skips a tag that it doesn't know, so an older program reads what a newer one wrote. Where skipping
//! would be wrong (the message would be delivered otherwise than was meant), the writer uses a tag with [`CRITICAL`] set,
//! and an older reader refuses the payload.
//!
//! Rejected: serde with a compact format (postcard, bincode). They don't say where an unknown field ends, so nothing can
//! be added without a new version of everything. A format that does (CBOR, MessagePack) is a crate more, and allocates
//! names or maps for a dozen fields.

/// The bit of a tag that forbids a reader to skip the field.
pub const CRITICAL: u8 = 0x80;

/// A payload that can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// It ends in the middle of a field, or a value has the wrong form.
    Broken,
    /// It has a version or a critical field that this program doesn't know.
    Newer,
}

/// Appends fields to a buffer.
#[derive(Debug)]
pub struct Writer<'a>(&'a mut Vec<u8>);

impl<'a> Writer<'a> {
    /// Begins a payload with its version.
    pub fn new(out: &'a mut Vec<u8>, version: u8) -> Writer<'a> {
        out.push(version);
        Writer(out)
    }

    /// A field of octets. An empty one is left out: a reader has it as empty anyway.
    pub fn octets(&mut self, tag: u8, value: &[u8]) {
        if !value.is_empty() {
            self.0.push(tag);
            length(self.0, value.len());
            self.0.extend_from_slice(value);
        }
    }

    /// A field with a number. Zero is left out.
    pub fn number(&mut self, tag: u8, value: u64) {
        let octets = value.to_le_bytes();
        let used = 8 - (value.leading_zeros() / 8) as usize;
        self.octets(tag, &octets[..used]);
    }

    /// A field that has fields of its own.
    pub fn nested(&mut self, tag: u8, write: impl FnOnce(&mut Writer<'_>)) {
        let mut inner = Vec::new();
        write(&mut Writer(&mut inner));
        self.0.push(tag);
        length(self.0, inner.len());
        self.0.extend_from_slice(&inner);
    }
}

/// Appends a length (LEB128).
pub(super) fn length(out: &mut Vec<u8>, octets: usize) {
    let mut rest = octets;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The fields of a payload, one after the other.
#[derive(Debug, Clone)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Reads the version and stands before the first field.
    ///
    /// # Errors
    /// The payload is empty, or of a later version than `known`.
    pub fn new(payload: &'a [u8], known: u8) -> Result<Fields<'a>, Malformed> {
        match payload.split_first() {
            Some((version, rest)) if *version <= known => Ok(Fields(rest)),
            Some(_) => Err(Malformed::Newer),
            None => Err(Malformed::Broken),
        }
    }

    /// The fields of a nested field.
    #[must_use]
    pub fn nested(value: &'a [u8]) -> Fields<'a> {
        Fields(value)
    }
}

/// Reads a length, and gives what follows.
pub(super) fn read_length(octets: &[u8]) -> Result<(usize, &[u8]), Malformed> {
    let (mut value, mut octets) = (0_u64, octets);
    for shift in [0, 7, 14, 21, 28] {
        let (octet, rest) = octets.split_first().ok_or(Malformed::Broken)?;
        octets = rest;
        value |= u64::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            let value = usize::try_from(value).map_err(|_| Malformed::Broken)?;
            return Ok((value, octets));
        }
    }
    Err(Malformed::Broken)
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u8, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let (tag, rest) = self.0.split_first()?;
        let field = read_length(rest).and_then(|(octets, rest)| {
            let (value, rest) = rest.split_at_checked(octets).ok_or(Malformed::Broken)?;
            self.0 = rest;
            Ok((*tag, value))
        });
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// What a reader does with a tag that it doesn't know.
///
/// # Errors
/// The tag is critical.
pub fn skip(tag: u8) -> Result<(), Malformed> {
    match tag & CRITICAL {
        0 => Ok(()),
        _ => Err(Malformed::Newer),
    }
}

/// The number in a field.
///
/// # Errors
/// It has more than eight octets.
pub fn number(value: &[u8]) -> Result<u64, Malformed> {
    let mut octets = [0; 8];
    octets
        .get_mut(..value.len())
        .ok_or(Malformed::Broken)?
        .copy_from_slice(value);
    Ok(u64::from_le_bytes(octets))
}

/// The number in a field, where a smaller type holds it.
///
/// # Errors
/// It is larger than the type allows.
pub fn small<T: TryFrom<u64>>(value: &[u8]) -> Result<T, Malformed> {
    T::try_from(number(value)?).map_err(|_| Malformed::Broken)
}

/// The text in a field.
///
/// # Errors
/// It is not UTF-8.
pub fn text(value: &[u8]) -> Result<String, Malformed> {
    std::str::from_utf8(value)
        .map(str::to_owned)
        .map_err(|_| Malformed::Broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_the_unknown_skipped() {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, 1);
        writer.number(1, 300);
        writer.octets(2, &[7; 300]);
        writer.nested(3, |inner| inner.number(1, u64::MAX));
        let read: Vec<_> = Fields::new(&out, 1).expect("version 1").collect();
        assert_eq!(read.len(), 3);
        assert_eq!(read[0].map(|(_, v)| number(v)), Ok(Ok(300)));
        assert_eq!(read[1], Ok((2, &[7; 300][..])));
        assert_eq!(skip(3), Ok(()));
        assert_eq!(skip(3 | CRITICAL), Err(Malformed::Newer));
        assert!(Fields::new(&out, 0).is_err());
    }

    #[test]
    fn no_cut_and_no_length_panics() {
        let mut out = Vec::new();
        Writer::new(&mut out, 1).octets(2, &[7; 300]);
        for end in 0..out.len() {
            if let Ok(fields) = Fields::new(&out[..end], 1) {
                assert!(end == 1 || fields.into_iter().any(|field| field.is_err()));
            }
        }
        let long = [1, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(
            Fields::new(&long, 1).expect("version 1").next(),
            Some(Err(Malformed::Broken))
        );
    }
}
