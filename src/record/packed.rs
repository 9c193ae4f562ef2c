//! Values one after the other in octets, for what is kept of each message and read of few: writing them costs a copy each.
//! They are read in the order in which they were written; nothing in them says what they are.

use std::{
    fmt,
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The length of a text that is not there.
const NONE: u32 = u32::MAX;
/// A number that is not there. No duration, size or count comes near it.
const NO_NUMBER: u64 = u64::MAX;

/// Writes values at the end of a buffer.
pub struct Packer<'a>(pub &'a mut Vec<u8>);

impl Packer<'_> {
    /// Some octets whose number the reader knows.
    #[inline]
    pub fn octets<const LEN: usize>(&mut self, octets: [u8; LEN]) {
        self.0.extend_from_slice(&octets);
    }

    /// A number.
    #[inline]
    pub fn number(&mut self, number: Option<u64>) {
        self.octets(number.unwrap_or(NO_NUMBER).to_le_bytes());
    }

    /// A text of any octets. No text of a record comes near 4 GiB; one that did would be cut there.
    #[inline]
    pub fn text(&mut self, text: Option<&[u8]>) {
        let Some(text) = text else {
            return self.octets(NONE.to_le_bytes());
        };
        let len = text.len().min(NONE as usize - 1);
        self.octets((len as u32).to_le_bytes());
        self.0.extend_from_slice(&text[..len]);
    }

    /// A text in parts.
    pub fn parts(&mut self, parts: [&str; 2]) {
        let len = parts[0].len() + parts[1].len();
        self.octets((len as u32).to_le_bytes());
        for part in parts {
            self.0.extend_from_slice(part.as_bytes());
        }
    }

    /// A text that is put together here.
    pub fn words(&mut self, words: fmt::Arguments<'_>) {
        if let Some(text) = words.as_str() {
            return self.text(Some(text.as_bytes()));
        }
        let start = self.0.len();
        self.octets([0; 4]);
        // Writing to a Vec cannot fail.
        let _ = self.0.write_fmt(words);
        let len = (self.0.len() - start - 4) as u32;
        self.0[start..start + 4].copy_from_slice(&len.to_le_bytes());
    }

    /// An address.
    pub fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => {
                self.octets([4]);
                self.octets(v4.octets());
            }
            IpAddr::V6(v6) => {
                self.octets([6]);
                self.octets(v6.octets());
            }
        }
    }
}

/// Reads what a [`Packer`] has written; `None` where it has not.
pub struct Unpacker<'a>(pub &'a [u8]);

impl<'a> Unpacker<'a> {
    /// Some octets.
    pub fn octets<const LEN: usize>(&mut self) -> Option<[u8; LEN]> {
        let (octets, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*octets)
    }

    /// A number; `Some(None)` for one that is not there.
    pub fn number(&mut self) -> Option<Option<u64>> {
        let number = u64::from_le_bytes(self.octets()?);
        Some((number != NO_NUMBER).then_some(number))
    }

    /// A text; `Some(None)` for one that is not there.
    pub fn text(&mut self) -> Option<Option<&'a [u8]>> {
        let len = u32::from_le_bytes(self.octets()?);
        if len == NONE {
            return Some(None);
        }
        let (text, rest) = self.0.split_at_checked(len as usize)?;
        self.0 = rest;
        Some(Some(text))
    }

    /// An address.
    pub fn address(&mut self) -> Option<IpAddr> {
        Some(match self.octets()? {
            [4] => Ipv4Addr::from_octets(self.octets()?).into(),
            _ => Ipv6Addr::from_octets(self.octets()?).into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_was_written() {
        let addresses = ["192.0.2.7", "2001:db8::1"].map(|text| text.parse().expect("an address"));
        let mut out = Vec::new();
        let mut packer = Packer(&mut out);
        packer.octets(*b"id");
        packer.number(Some(7));
        packer.number(None);
        packer.text(Some(b"a\0b"));
        packer.text(Some(b""));
        packer.text(None);
        packer.parts(["ab", "c"]);
        packer.words(format_args!("plain"));
        packer.words(format_args!("{}.", 7));
        for address in addresses {
            packer.address(address);
        }
        for end in 0..=out.len() {
            let mut unpacker = Unpacker(&out[..end]);
            let mut read = || {
                let start = (unpacker.octets()?, unpacker.number()?, unpacker.number()?);
                assert_eq!(start, (*b"id", Some(7), None));
                let texts = [unpacker.text()?, unpacker.text()?, unpacker.text()?];
                assert_eq!(texts, [Some(&b"a\0b"[..]), Some(b""), None]);
                let texts = [unpacker.text()?, unpacker.text()?, unpacker.text()?];
                assert_eq!(texts, [Some(&b"abc"[..]), Some(b"plain"), Some(b"7.")]);
                assert_eq!([unpacker.address()?, unpacker.address()?], addresses);
                Some(())
            };
            assert_eq!(read().is_some(), end == out.len());
        }
    }
}
