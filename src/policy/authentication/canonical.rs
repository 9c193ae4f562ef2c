//! The canonical form of header fields (RFC 6376 §3.4.1, §3.4.2), and their hash.

use super::crypto::Sha256;
use crate::smtp::header::Field;

/// How header or body are made canonical.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Canonical {
    /// As it is.
    #[default]
    Simple,
    /// White space is made one, names are put into lower case.
    Relaxed,
}

impl Canonical {
    /// The word for it in `c=`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Canonical::Simple => "simple",
            Canonical::Relaxed => "relaxed",
        }
    }

    /// Reads one half of `c=`.
    pub fn read(word: &[u8]) -> Option<Canonical> {
        match word {
            b"simple" => Some(Canonical::Simple),
            b"relaxed" => Some(Canonical::Relaxed),
            _ => None,
        }
    }
}

/// A field as it is hashed: its octets in the header section, its name and what follows the colon.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The whole field, with or without its last line end.
    pub whole: &'a [u8],
    /// Its name.
    pub name: &'a [u8],
}

impl<'a> Source<'a> {
    /// Of a field in `header`.
    pub fn of(header: &'a [u8], field: &Field<'a>) -> Source<'a> {
        Source {
            whole: field.span.of(header),
            name: field.name,
        }
    }
}

/// Appends the canonical form of a field, without its last line end.
pub fn field(source: Source<'_>, canonical: Canonical, out: &mut Vec<u8>) {
    let whole = source.whole.strip_suffix(b"\n").unwrap_or(source.whole);
    let whole = whole.strip_suffix(b"\r").unwrap_or(whole);
    match canonical {
        Canonical::Simple => with_line_ends(whole, out),
        Canonical::Relaxed => {
            out.extend(source.name.iter().map(u8::to_ascii_lowercase));
            out.push(b':');
            let colon = memchr::memchr(b':', whole).map_or(whole.len(), |at| at + 1);
            relaxed(&whole[colon..], out);
        }
    }
}

/// Line ends are CRLF, whatever they were.
fn with_line_ends(mut text: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = memchr::memchr(b'\n', text) {
        let line = &text[..at];
        out.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        out.extend_from_slice(b"\r\n");
        text = &text[at + 1..];
    }
    out.extend_from_slice(text);
}

/// Unfolded, each run of white space one space, none at either end (RFC 6376 §3.4.2).
fn relaxed(value: &[u8], out: &mut Vec<u8>) {
    let mut gap = false;
    let blank = |octet: &u8| matches!(octet, b' ' | b'\t' | b'\r' | b'\n');
    let start = value.iter().position(|octet| !blank(octet));
    let mut rest = &value[start.unwrap_or(value.len())..];
    while !rest.is_empty() {
        let lf = memchr::memchr(b'\n', rest);
        let (line, after) = rest.split_at(lf.map_or(rest.len(), |at| at + 1));
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = if lf.is_some() {
            line.strip_suffix(b"\r").unwrap_or(line)
        } else {
            line
        };
        rest = after;
        one_space(line, &mut gap, |octets| out.extend_from_slice(octets));
    }
}

/// Gives `write` the octets of `part` with each run of white space as one space. White space at the end is held back in
/// `gap`, and written when something follows.
pub fn one_space(mut part: &[u8], gap: &mut bool, mut write: impl FnMut(&[u8])) {
    let blank = |octet: u8| matches!(octet, b' ' | b'\t');
    loop {
        let blanks = part.iter().take_while(|octet| blank(**octet)).count();
        *gap |= blanks > 0;
        part = &part[blanks..];
        let Some((last, before)) = part.split_last() else {
            return;
        };
        if std::mem::take(gap) {
            write(b" ");
        }
        // Up to a tab, two blanks in a row, or a blank at the end.
        let bad = |pair: (&u8, &u8)| *pair.0 == b'\t' || (*pair.0 == b' ' && blank(*pair.1));
        let bad = before.iter().zip(&part[1..]).position(bad);
        let end = bad.unwrap_or(if blank(*last) {
            before.len()
        } else {
            part.len()
        });
        write(&part[..end]);
        part = &part[end..];
    }
}

/// Whether all lines in a text, but perhaps the last, are in their relaxed form already.
pub fn is_clean(text: &[u8]) -> bool {
    let pairs = text.iter().zip(text.get(1..).unwrap_or_default());
    // No early exit: so it is done many octets at a time.
    let bad = pairs.fold(false, |bad, (a, b)| {
        bad | (*a == b'\t') | ((*a == b' ') & ((*b == b' ') | (*b == b'\r') | (*b == b'\n')))
    });
    !bad
}

/// Whether a part of a line is in its relaxed form already: no tab, no two spaces in a row, none at its end. Most are.
pub fn is_relaxed(part: &[u8]) -> bool {
    let Some((last, _)) = part.split_last() else {
        return true;
    };
    let pairs = part.iter().zip(&part[1..]);
    // No early exit: so it is done many octets at a time.
    let bad = pairs.fold(false, |bad, (a, b)| {
        bad | (*a == b'\t') | ((*a == b' ') & (*b == b' '))
    });
    !bad && !matches!(last, b' ' | b'\t')
}

/// Hashes fields as a signature does: each of `covered` with its line end, then the signature's own field, without the
/// value of `b=` and without a line end (RFC 6376 §3.7).
pub fn hash<'a>(
    covered: impl Iterator<Item = Source<'a>>,
    own: Source<'_>,
    canonical: Canonical,
) -> [u8; 32] {
    let mut sha = Sha256::new();
    let mut buffer = Vec::with_capacity(1024);
    for source in covered {
        field(source, canonical, &mut buffer);
        buffer.extend_from_slice(b"\r\n");
        sha.update(&buffer);
        buffer.clear();
    }
    hash_own(sha, own, canonical)
}

/// Ends a hash with the signature's own field.
pub fn hash_own(mut sha: Sha256, own: Source<'_>, canonical: Canonical) -> [u8; 32] {
    let cut = without_signature(own.whole);
    let own = Source {
        whole: &cut,
        name: own.name,
    };
    let mut buffer = Vec::with_capacity(cut.len());
    field(own, canonical, &mut buffer);
    sha.update(&buffer);
    sha.finish()
}

/// A signature's field without the value of `b=`, and without the white space around that.
fn without_signature(whole: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(whole.len());
    let colon = memchr::memchr(b':', whole).map_or(whole.len(), |at| at + 1);
    out.extend_from_slice(&whole[..colon]);
    for (place, entry) in whole[colon..].split(|octet| *octet == b';').enumerate() {
        if place > 0 {
            out.push(b';');
        }
        match memchr::memchr(b'=', entry) {
            Some(equals) if entry[..equals].trim_ascii() == b"b" => {
                out.extend_from_slice(&entry[..=equals]);
            }
            _ => out.extend_from_slice(entry),
        }
    }
    out
}

/// Which fields the names in `h=` mean: of equal names the last field first, then the one above it (RFC 6376 §5.4.2). A
/// name without a field left for it means nothing. Takes one walk over the fields, whatever stands in `names`; these are
/// in lower case.
pub fn select<'a>(fields: &[Field<'a>], names: &[Box<[u8]>]) -> Vec<Field<'a>> {
    // Of each distinct name: how many are wanted, and those found, the last of the header first.
    let mut wanted: Vec<(&[u8], usize, Vec<usize>)> = Vec::with_capacity(names.len());
    let mut sorted: Vec<&[u8]> = names.iter().map(|name| &**name).collect();
    sorted.sort_unstable();
    for name in sorted {
        match wanted.last_mut() {
            Some((last, count, _)) if *last == name => *count += 1,
            _ => wanted.push((name, 1, Vec::new())),
        }
    }
    for (place, field) in fields.iter().enumerate().rev() {
        let lower = |octet: &u8| octet.to_ascii_lowercase();
        let by_name = |(name, ..): &(&[u8], usize, Vec<usize>)| {
            name.iter().copied().cmp(field.name.iter().map(lower))
        };
        if let Ok(at) = wanted.binary_search_by(by_name) {
            let (_, count, places) = &mut wanted[at];
            if places.len() < *count {
                places.push(place);
            }
        }
    }
    let mut selected = Vec::with_capacity(names.len());
    let mut taken = vec![0usize; wanted.len()];
    for name in names {
        if let Ok(at) = wanted.binary_search_by(|(other, ..)| (*other).cmp(name)) {
            if let Some(place) = wanted[at].2.get(taken[at]) {
                selected.push(fields[*place]);
            }
            taken[at] += 1;
        }
    }
    selected
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::header::fields;

    fn form(text: &str, canonical: Canonical) -> String {
        let mut out = Vec::new();
        for part in fields(text.as_bytes()) {
            field(Source::of(text.as_bytes(), &part), canonical, &mut out);
            out.extend_from_slice(b"\r\n");
        }
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn the_example_of_the_rfc() {
        // RFC 6376 §3.4.5.
        let header = "A: X\r\nB : Y\t\r\n\tZ  \r\n";
        assert_eq!(form(header, Canonical::Relaxed), "a:X\r\nb:Y Z\r\n");
        assert_eq!(form(header, Canonical::Simple), header);
        assert_eq!(
            form("A:\r\nB:  \n C\n", Canonical::Relaxed),
            "a:\r\nb:C\r\n"
        );
        assert_eq!(form("B:  \n C\n", Canonical::Simple), "B:  \r\n C\r\n");
    }

    #[test]
    fn the_signature_is_cut_out() {
        let cut =
            |text: &str| String::from_utf8(without_signature(text.as_bytes())).expect("ASCII");
        assert_eq!(
            cut("X: a=b;\r\n b = c=\r\n d ; bh=e;\r\n"),
            "X: a=b;\r\n b =; bh=e;\r\n"
        );
        assert_eq!(cut("X: b=c"), "X: b=");
        assert_eq!(cut("X"), "X");
    }

    #[test]
    fn of_equal_fields_the_last_comes_first() {
        let header = b"A: 1\r\nB: 2\r\na: 3\r\nC: 4\r\n";
        let all: Vec<Field<'_>> = fields(header).collect();
        let select = |names: &[&str]| {
            let names: Vec<Box<[u8]>> = names.iter().map(|name| name.as_bytes().into()).collect();
            let bodies = select(&all, &names).into_iter().map(|field| field.body[1]);
            String::from_utf8(bodies.collect()).expect("ASCII")
        };
        assert_eq!(select(&["a", "c", "a", "a", "d", "b"]), "3412");
        assert_eq!(select(&[]), "");
    }
}
