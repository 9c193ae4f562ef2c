//! The header section of a message (RFC 5322 §2.2), as a proxy has to take it: read, never repaired.
//!
//! The internet's headers are worse than their grammar, so nothing here fails. A line that is no field
//! (an mbox `From ` line, a name with a space in it, a continuation of nothing) comes out as a [`Field`] with an empty
//! name, and the next line is looked at by itself. A name may hold octets that the grammar forbids: see
//! [`Field::may_be`]. Lines end at LF, with or
//! without CR before it: a bare newline never gets here from the wire, but files given to `explain` have
//! them. Nothing is allocated but by [`Field::unfold`], into the caller's buffer.

use super::Span;

/// One field: its name, and its body as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The whole of it in the header section, its folded lines and its last line end included: what to cut
    /// out in order to remove it.
    pub span: Span,
    /// The name without colon and white space before it, in the writer's case. Empty: the line is no field.
    pub name: &'a [u8],
    /// What follows the colon, folds and all, without the last line end. Of a line that is no field: the line.
    pub body: &'a [u8],
}

impl Field<'_> {
    /// Whether it has this name, in any case.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// Whether a program may take it for a field with this name: it has the name, once the octets are left out that no
    /// name may have (RFC 5322 §2.2). Programs drop NUL, a byte-order mark or characters that are not shown.
    #[must_use]
    pub fn may_be(&self, name: &str) -> bool {
        if self.name.len() <= name.len() {
            return self.is(name);
        }
        let shown = self.name.iter().filter(|octet| octet.is_ascii_graphic());
        shown
            .map(u8::to_ascii_lowercase)
            .eq(name.bytes().map(|octet| octet.to_ascii_lowercase()))
    }

    /// Appends the body to `out` on one line (RFC 5322 §2.2.3: the line ends of folds go, their white space
    /// stays), without white space at either end. Stray CR, LF and NUL are left out.
    pub fn unfold(&self, out: &mut Vec<u8>) {
        let body = self.body.trim_ascii();
        let mut rest = body;
        while let Some(at) = rest.iter().position(|o| matches!(o, b'\r' | b'\n' | 0)) {
            out.extend_from_slice(&rest[..at]);
            rest = &rest[at + 1..];
        }
        out.extend_from_slice(rest);
    }
}

/// The fields of a header section, top down. Ends at the empty line, or where the octets end.
#[must_use]
pub fn fields(header: &[u8]) -> Fields<'_> {
    Fields { header, at: 0 }
}

/// Iterator over the fields of a header section; see [`fields`].
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    header: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let start = self.at;
        let first = line(self.header, start);
        let text = strip(&self.header[start..first]);
        if text.is_empty() {
            self.at = self.header.len(); // the empty line, or nothing left
            return None;
        }
        let colon = name_end(text);
        let mut end = first;
        if colon.is_some() {
            while matches!(self.header.get(end), Some(b' ' | b'\t')) {
                end = line(self.header, end);
            }
        }
        self.at = end;
        let whole = strip(&self.header[start..end]);
        let (name, body) = match colon {
            Some(at) => (text[..at].trim_ascii_end(), &whole[at + 1..]),
            None => (&whole[..0], whole),
        };
        Some(Field {
            span: Span::new(start, end),
            name,
            body,
        })
    }
}

/// The end of the line that begins at `from`: one past its LF, or the length.
fn line(header: &[u8], from: usize) -> usize {
    memchr::memchr(b'\n', &header[from..]).map_or(header.len(), |at| from + at + 1)
}

/// How many fields an [`Index`] holds; most headers have fewer.
const INDEXED: usize = 32;

/// The fields of a header section, found once for all readers. It lies on the stack: after the first
/// [`INDEXED`] fields each reader walks by itself.
#[derive(Clone, Debug)]
pub struct Index<'a> {
    fields: [Field<'a>; INDEXED],
    count: usize,
    rest: Fields<'a>,
}

impl<'a> Index<'a> {
    /// Walks over a header section.
    #[must_use]
    pub fn new(header: &'a [u8]) -> Index<'a> {
        let nothing = Field {
            span: Span::new(0, 0),
            name: b"",
            body: b"",
        };
        let mut index = Index {
            fields: [nothing; INDEXED],
            count: 0,
            rest: fields(header),
        };
        while index.count < INDEXED {
            let Some(field) = index.rest.next() else {
                break;
            };
            index.fields[index.count] = field;
            index.count += 1;
        }
        index
    }

    /// The fields, top down: the same as [`fields`] gives.
    pub fn fields(&self) -> impl Iterator<Item = Field<'a>> + '_ {
        let indexed = self.fields[..self.count].iter().copied();
        indexed.chain(self.rest.clone())
    }
}

/// A line without its line end.
fn strip(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Where the colon of a field stands: after a name without blanks, and perhaps blanks (RFC 5322 §4.5.8).
fn name_end(line: &[u8]) -> Option<usize> {
    // A name is short: a search for the colon would take longer to begin than to find it.
    let in_name = |octet: &u8| !matches!(octet, b' ' | b'\t' | b'\r' | b'\n' | b':');
    let name = line.iter().position(|octet| !in_name(octet))?;
    let blanks = line[name..]
        .iter()
        .position(|octet| !octet.is_ascii_whitespace());
    let colon = name + blanks?;
    (name > 0 && line[colon] == b':').then_some(colon)
}

/// The length of the header section at the front of a payload, its empty line included. `None`: it has not
/// ended yet.
#[must_use]
pub fn end(payload: &[u8]) -> Option<usize> {
    HeaderEnd::new().feed(payload)
}

/// Finds the end of the header section in a payload that comes in pieces.
#[derive(Clone, Copy, Debug)]
pub struct HeaderEnd {
    at: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    LineStart,
    LineStartCr,
    Text,
    Done,
}

impl Default for HeaderEnd {
    fn default() -> HeaderEnd {
        HeaderEnd::new()
    }
}

impl HeaderEnd {
    /// For the first octet of a payload.
    #[must_use]
    pub const fn new() -> HeaderEnd {
        HeaderEnd { at: At::LineStart }
    }

    /// Looks at the next piece. `Some(n)`, once: the empty line ends with its octet `n - 1`. Afterwards, and
    /// before, `None`.
    pub fn feed(&mut self, piece: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < piece.len() {
            match (self.at, piece[at]) {
                (At::Done, _) => return None,
                (At::LineStart | At::LineStartCr, b'\n') => {
                    self.at = At::Done;
                    return Some(at + 1);
                }
                (At::LineStart, b'\r') => {
                    self.at = At::LineStartCr;
                    at += 1;
                }
                _ => match memchr::memchr(b'\n', &piece[at..]) {
                    Some(lf) => {
                        self.at = At::LineStart;
                        at += lf + 1;
                    }
                    None => {
                        self.at = At::Text;
                        return None;
                    }
                },
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: &[u8] = b"Received: from a\r\n\tby b; Mon\r\nSubject : Hello\r\n  there \r\n\r\n";

    fn unfolded(field: &Field<'_>) -> String {
        let mut out = Vec::new();
        field.unfold(&mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn fields_come_with_name_body_and_place() {
        let found: Vec<Field<'_>> = fields(HEADER).collect();
        assert_eq!(found.len(), 2);
        assert!(found[0].is("received"));
        assert_eq!(found[0].body, b" from a\r\n\tby b; Mon");
        assert_eq!(unfolded(&found[0]), "from a\tby b; Mon");
        assert_eq!(found[1].name, b"Subject");
        assert_eq!(unfolded(&found[1]), "Hello  there");
        assert_eq!(found[0].span.end, found[1].span.start);
        assert_eq!(found[1].span.end as usize, HEADER.len() - 2);
        assert_eq!(
            fields(HEADER).filter(|field| field.is("received")).count(),
            1
        );
    }

    #[test]
    fn rubbish_is_a_field_without_a_name() {
        let header =
            b" leading: x\r\nFrom a@b Mon Jan 1 00:00\r\n:nameless\r\nb\xe4d: x\r\nA:\r\nSubject:1";
        let found: Vec<Field<'_>> = fields(header).collect();
        let names: Vec<&[u8]> = found.iter().map(|field| field.name).collect();
        assert_eq!(names, [&b""[..], b"", b"", b"b\xe4d", b"A", b"Subject"]);
        assert_eq!(found[4].body, b"");
        assert_eq!(found[5].body, b"1");
        assert_eq!(fields(b"").count(), 0);
        assert_eq!(fields(b"\r\nNo: field\r\n").count(), 0);
    }

    #[test]
    fn a_name_with_octets_that_are_not_shown_may_be_the_name_without_them() {
        for name in [
            "From",
            "FROM ",
            "From\0",
            "Fr\0om",
            "\u{1}from",
            "\u{feff}From",
            "Fro\u{200b}m",
            "From\u{7f}\t",
        ] {
            let header = format!("{name}: a\r\n b\r\nX: y\r\n");
            let found: Vec<Field<'_>> = fields(header.as_bytes()).collect();
            assert_eq!(found.len(), 2, "{name:?}");
            assert!(found[0].may_be("from"), "{name:?}");
            assert_eq!(unfolded(&found[0]), "a b");
        }
        for name in ["Fro", "Fromm", "From-", "X-From", "Fr\u{1}mo"] {
            let header = format!("{name}: a\r\n");
            assert!(
                !fields(header.as_bytes()).any(|field| field.may_be("From")),
                "{name:?}"
            );
        }
    }

    #[test]
    fn lines_of_a_file_do_as_well() {
        let found: Vec<Field<'_>> = fields(b"A: 1\n 2\nB: 3\n\nC: 4\n").collect();
        assert_eq!(found.len(), 2);
        assert_eq!(unfolded(&found[0]), "1 2");
    }

    #[test]
    fn the_section_ends_at_its_empty_line() {
        assert_eq!(end(HEADER), Some(HEADER.len()));
        assert_eq!(end(b"\r\nbody"), Some(2));
        assert_eq!(end(b"A: b\r\nC"), None);
        assert_eq!(end(b"A: b\r\n\r"), None);
        assert_eq!(end(b"A: b\r\n\rx\r\n\r\n"), Some(12));
        assert_eq!(end(b""), None);
    }

    proptest! {
        #[test]
        fn no_octets_upset_it(header in proptest::collection::vec(
            proptest::sample::select(&b"aA:. \t\r\n\0\xff"[..]), 0..80)) {
            let mut out = Vec::new();
            let mut at = 0;
            for field in fields(&header) {
                prop_assert_eq!(field.span.start, at);
                prop_assert!(!field.span.is_empty());
                at = field.span.end;
                out.clear();
                field.unfold(&mut out);
                prop_assert!(!out.iter().any(|o| matches!(o, b'\r' | b'\n' | 0)));
            }
            if let Some(end) = end(&header) {
                prop_assert!((at as usize) < end && end - at as usize <= 2);
            }
        }

        #[test]
        fn any_split_ends_the_same(header in "[ab:\r\n]{0,40}") {
            let header = header.as_bytes();
            let whole = end(header);
            for at in 0..=header.len() {
                let mut scan = HeaderEnd::new();
                let found = scan.feed(&header[..at]).or_else(|| scan.feed(&header[at..]).map(|n| n + at));
                prop_assert_eq!(found, whole);
            }
        }
    }
}
