//! Errors of TOML syntax in an operator's words: one mistake is one error.

use super::{
    document::{Document, PROBLEMS_MAX},
    hidden,
};
use toml::de::Error;

/// Tells the errors of one text, which begins at `base` of the document. A bracket that is not closed makes the parser
/// misread all that follows, so then only the bracket is told; else the first error of each line, since the parser's
/// recovery repeats itself.
pub fn tell(text: &str, base: usize, errors: &[Error], document: &mut Document) {
    let mut told: Vec<usize> = Vec::new();
    for error in errors {
        let span = error.span().unwrap_or_default();
        let start = line_start(text, span.start);
        let line = text[start..].lines().next().unwrap_or_default();
        if begins_something(line)
            && let Some(open) = unclosed(text, span.start).filter(|open| *open < start)
        {
            let bracket = &text[open..=open];
            let next = text[..start].matches('\n').count() + 1;
            let message = format!("`{bracket}` is not closed");
            let hint = format!("close it before line {next}");
            let place = base + open..base + open + 1;
            hide(text, base, open, document);
            document.error_at(place, "", message, Some(hint));
            return;
        }
        if told.contains(&start) {
            continue;
        }
        told.push(start);
        let place = base + span.start..base + span.end;
        // What more there is than is shown need not be hidden: each line is looked for from the start of the text.
        let hidden = match told.len() > PROBLEMS_MAX {
            true => Some(0),
            false => hide(text, base, span.start, document),
        };
        let twice = match error.message() {
            "duplicate key" => earlier(text, start, line, span.start - start),
            _ => None,
        };
        let (message, hint) = match twice {
            Some(twice) => {
                let before = document.place_of(base + twice.offset..base + twice.offset);
                let message = format!("{} is in {before} already", twice.what);
                (message, Some(twice.hint.to_string()))
            }
            None => (error.message().to_string(), unquoted(line, hidden)),
        };
        document.error_at(place, "", message, hint);
    }
}

/// Hides what may be a secret in the line at an offset, which could not be read. From where in the line something is hidden.
fn hide(text: &str, base: usize, offset: usize, document: &mut Document) -> Option<usize> {
    let start = line_start(text, offset);
    let line = text[start..].lines().next().unwrap_or_default();
    let headers = text[..start].lines().rev();
    let header = headers
        .map(str::trim_start)
        .find(|line| line.starts_with('[') && !line.contains('"'));
    let quotes = ["\"\"\"", "'''"];
    let is_within = |quote: &&str| text[..start].matches(*quote).count() % 2 == 1;
    let hidden = match quotes.iter().any(is_within) {
        // A text over several lines, whatever its key.
        true => Some(0),
        false => hidden::unread(line, header.unwrap_or_default()),
    };
    if let Some(from) = hidden {
        document.mark_secret(base + start + from..base + start + line.len());
    }
    hidden
}

/// What stands before.
struct Earlier {
    offset: usize,
    what: String,
    hint: &'static str,
}

/// The last place before the line that begins at `start` where its header or key stands: a header below the same `[[table]]`, a
/// key after the same header. None for a key at `column` within a value in braces: whether another line's is of the same
/// braces can't be told.
fn earlier(text: &str, start: usize, line: &str, column: usize) -> Option<Earlier> {
    let plain = |line: &str| -> Option<String> {
        let line = line.trim();
        match line.starts_with('[') {
            true => line.rfind(']').map(|end| line[..=end].replace(' ', "")),
            false => Some(line.split_once('=')?.0.trim_end().to_string()),
        }
    };
    let name = plain(line)?;
    let is_header = name.starts_with('[');
    if !is_header && line.find('=').is_none_or(|equals| column > equals) {
        return None;
    }
    let opens = |line: &str| line.matches('{').count() != line.matches('}').count();
    let holds = |other: &str| {
        let table = other
            .strip_prefix("[[")
            .and_then(|other| other.strip_suffix("]]"));
        let below = table.and_then(|table| name.trim_matches(['[', ']']).strip_prefix(table));
        below.is_some_and(|rest| rest.starts_with('.'))
    };
    let mut found = None;
    let mut offset = 0;
    for other in text[..start].split_inclusive('\n') {
        let plain = plain(other);
        let is_other_table = match is_header {
            true => plain.as_deref().is_some_and(holds),
            false => other.trim_start().starts_with('[') || opens(other),
        };
        if is_other_table {
            found = None;
        } else if plain.is_some_and(|plain| plain == name) {
            found = Some(offset);
        }
        offset += other.len();
    }
    Some(Earlier {
        offset: found?,
        what: format!("`{name}`"),
        hint: match is_header {
            true => "a table has one header: write its keys after that one",
            false => "a key is written once in a table",
        },
    })
}

fn line_start(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    text[..offset].rfind('\n').map_or(0, |at| at + 1)
}

/// Whether a line is a header or begins with a key: what can't stand within a list of texts.
fn begins_something(line: &str) -> bool {
    let line = line.trim_start();
    let key = line.split('=').next().unwrap_or_default().trim_end();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    line.starts_with('[') || (line.contains('=') && !key.is_empty() && key.chars().all(plain))
}

/// The first bracket of a value that is open at an offset.
fn unclosed(text: &str, offset: usize) -> Option<usize> {
    let octets = text.as_bytes();
    let mut open: Vec<usize> = Vec::new();
    let mut at = 0;
    let mut at_line_start = true;
    while at < offset.min(octets.len()) {
        let octet = octets[at];
        match octet {
            b'#' => at += skip_to(&octets[at..], b"\n").saturating_sub(1),
            b'"' | b'\'' => at += quoted(&octets[at..]).saturating_sub(1),
            // A header is closed on its line, or is an error of its own.
            b'[' if open.is_empty() && at_line_start => {
                at += skip_to(&octets[at..], b"\n").saturating_sub(1);
            }
            b'[' | b'{' => open.push(at),
            b']' | b'}' => drop(open.pop()),
            _ => {}
        }
        at_line_start = octets.get(at) == Some(&b'\n')
            || (at_line_start && matches!(octet, b' ' | b'\t' | b'\r'));
        at += 1;
    }
    open.first().copied()
}

/// How far it is to the first of these octets, or to the end.
fn skip_to(octets: &[u8], end: &[u8]) -> usize {
    let found = octets.iter().position(|octet| end.contains(octet));
    found.unwrap_or(octets.len())
}

/// The length of a text in quotes, of whatever kind; of one that is not closed, to the end of its line.
fn quoted(octets: &[u8]) -> usize {
    let quote = octets[0];
    let three = [quote; 3];
    if octets.starts_with(&three) {
        let body = &octets[3..];
        let end = memchr::memmem::find(body, &three);
        return end.map_or(octets.len(), |at| at + 6);
    }
    let mut at = 1;
    while let Some(octet) = octets.get(at) {
        match octet {
            b'\\' if quote == b'"' => at += 1,
            b'\n' => return at,
            octet if *octet == quote => return at + 1,
            _ => {}
        }
        at += 1;
    }
    octets.len()
}

/// The commonest mistake: text without its quotes. Nothing is repeated of what is `hidden`, from there on.
fn unquoted(line: &str, hidden: Option<usize>) -> Option<String> {
    let (key, value) = line.split_once('=')?;
    if hidden.is_some_and(|from| from < key.len()) {
        return None;
    }
    let value = value.split('#').next().unwrap_or_default().trim();
    let number = value.parse::<f64>().is_ok() || matches!(value, "true" | "false");
    let bare = value.starts_with(|c: char| c.is_alphanumeric() || "/.*:".contains(c));
    let shown = if hidden.is_some() { "…" } else { value };
    (bare && !number && !value.contains('"'))
        .then(|| format!("text stands in quotes: {} = \"{shown}\"", key.trim()))
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    fn told(text: &str) -> Vec<(usize, usize, String)> {
        let problems = parse("t", text).expect_err("wrong syntax");
        let brief = |problem: &crate::config::Problem| {
            (problem.line, problem.column, problem.message.clone())
        };
        problems.iter().map(brief).collect()
    }

    #[test]
    fn an_unclosed_bracket_is_one_error_at_the_bracket() {
        let text = "a = \"[\" # [\n[[listener]]\naddress = [\"127.0.0.1:25\"\n\n[[pool]]\nname = \"p\"\n\
            backends = [\"x:25\"]\n[limits]\nsessions = 5\n";
        assert_eq!(told(text), [(3, 11, "`[` is not closed".into())]);
        let text = "[pool]\nhealth = { backoff = \"1s\"\n[limits]\nsessions = 5\n";
        assert_eq!(told(text), [(2, 10, "`{` is not closed".into())]);
    }

    #[test]
    fn what_stands_twice_is_told_with_the_first() {
        let text = "[log]\nto = \"a\"\n[limits]\nto = 1\nto = 2\n[ log ]\n";
        let said = |name: &str, line: usize| format!("`{name}` is in t:{line} already");
        assert_eq!(
            told(text),
            [(5, 1, said("to", 4)), (6, 3, said("[log]", 1))]
        );
    }

    #[test]
    fn what_stands_twice_is_told_with_the_place_in_the_same_table() {
        let said = |name: &str, line: usize| format!("`{name}` is in t:{line} already");
        let two = "[[listener]]\n[listener.policy]\na = 1\n[[listener]]\n";
        let again = format!("{two}[listener.policy]\n[listener.policy]\nb = 1\n");
        assert_eq!(told(&again), [(6, 11, said("[listener.policy]", 5))]);
        // The header of the first listener is none of the second's.
        let mixed = format!("{two}policy = {{ a = 1 }}\n[listener.policy]\n");
        assert!(
            told(&mixed).iter().all(|told| !told.2.contains("already")),
            "{:?}",
            told(&mixed)
        );
        let whole = "[pool]\nhealth = { a = 1 }\nhealth = { a = 1 }\n";
        assert_eq!(told(whole), [(3, 1, said("health", 2))]);
        for braces in [
            "x = [\n  { name = \"a\", b = 1 },\n  { name = \"b\", name = \"c\" },\n]\n",
            "x = { a = 1 }\n[y]\nz = 1\nx = { a = 1, a = 2 }\n",
        ] {
            let told = told(braces);
            assert!(told.len() == 1 && told[0].2 == "duplicate key", "{told:?}");
        }
    }

    #[test]
    fn other_mistakes_are_told_a_line_each() {
        let text = "hostname = mx\n[limits]\nsessions = many\n";
        let lines: Vec<usize> = told(text).iter().map(|problem| problem.0).collect();
        assert_eq!(lines, [1, 3]);
    }
}
