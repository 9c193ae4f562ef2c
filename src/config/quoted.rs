//! Where a part of a text stands in the TOML string that it was read from.

use std::ops::Range;

/// The place in `raw`, a string with its quotes, of a part of its `value`. `None` where `raw` is no way to write that value:
/// a variable stood in it.
pub fn place(raw: &str, value: &str, part: Range<usize>) -> Option<Range<usize>> {
    let mut text = String::with_capacity(value.len());
    // For each octet of the text and its end, where it stands.
    let mut places = Vec::with_capacity(value.len() + 1);
    let (mut at, end, has_escapes) = body(raw)?;
    while at < end {
        let rest = &raw[at..end];
        let (taken, meant) = match has_escapes && rest.starts_with('\\') {
            true => escape(rest)?,
            false => {
                let first = rest.chars().next()?;
                (first.len_utf8(), Some(first))
            }
        };
        if let Some(meant) = meant {
            text.push(meant);
            places.resize(text.len(), at);
        }
        at += taken;
    }
    places.push(end);
    let start = *places.get(part.start)?;
    let stop = *places.get(part.end)?;
    (text == value).then_some(start..stop.max(start))
}

/// Where the text begins and ends between its quotes, and whether it may have escapes (TOML 1.0, \"String\").
fn body(raw: &str) -> Option<(usize, usize, bool)> {
    let quotes = ["\"\"\"", "'''", "\"", "'"];
    let quote = quotes.into_iter().find(|quote| raw.starts_with(quote))?;
    let mut start = quote.len();
    if quote.len() == 3 {
        // A line end right after the quotes is none of the text.
        let rest = &raw[start..];
        let line_end = ["\r\n", "\n"].into_iter().find(|end| rest.starts_with(end));
        start += line_end.map_or(0, str::len);
    }
    let end = raw.len().checked_sub(quote.len())?;
    (start <= end && raw.is_char_boundary(end)).then_some((start, end, quote.starts_with('"')))
}

/// The octets of an escape, and the character that it stands for; none for a line end that it takes away.
fn escape(rest: &str) -> Option<(usize, Option<char>)> {
    let second = rest[1..].chars().next()?;
    let code = |digits: usize| {
        let code = u32::from_str_radix(rest.get(2..2 + digits)?, 16).ok()?;
        Some((2 + digits, Some(char::from_u32(code)?)))
    };
    let simple = |meant| Some((2, Some(meant)));
    match second {
        'b' => simple('\u{8}'),
        't' => simple('\t'),
        'n' => simple('\n'),
        'f' => simple('\u{c}'),
        'r' => simple('\r'),
        'e' => simple('\u{1b}'),
        '"' | '\\' => simple(second),
        'x' => code(2),
        'u' => code(4),
        'U' => code(8),
        c if c.is_whitespace() => {
            let blank = rest[1..].len() - rest[1..].trim_start().len();
            Some((1 + blank, None))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found() {
        for raw in [
            "'a == b'",
            "\"a == b\"",
            "'''a == b'''",
            "'''\na == b'''",
            "\"\"\"\r\na == b\"\"\"",
            "\"a =\\u003d b\"",
            "\"\"\"\\\n  a == \\\n  b\"\"\"",
        ] {
            let found = place(raw, "a == b", 5..6).expect(raw);
            assert_eq!(&raw[found], "b", "{raw}");
            let found = place(raw, "a == b", 0..1).expect(raw);
            assert_eq!(&raw[found], "a", "{raw}");
            assert!(place(raw, "a == b", 6..6).is_some(), "{raw}");
            assert_eq!(place(raw, "a == b", 6..7), None, "{raw}");
            assert_eq!(place(raw, "a == c", 0..1), None, "{raw}");
        }
        let raw = "\"\\\"ä\\\" == b\"";
        assert_eq!(place(raw, "\"ä\" == b", 0..4), Some(1..7));
        for odd in ["", "x", "\"", "\"\"\"", "\"\\", "\"\\u12\""] {
            assert_eq!(place(odd, "", 0..1), None, "{odd}");
        }
    }

    #[test]
    fn toml_reads_the_same() {
        for raw in [
            "\"\\t\\e\\x41\\U0001F600\"",
            "\"\"\"\n a\\\n\n  b\nc\"\"\"",
            "'''\n\\n'''",
        ] {
            let table: toml::Table = format!("a = {raw}").parse().expect(raw);
            let value = table["a"].as_str().expect("a text");
            assert!(place(raw, value, 0..value.len()).is_some(), "{raw}");
        }
    }
}
