//! Functions of texts and header fields.

use super::Site;
use crate::{
    policy::expression::{
        check::Checker,
        code::{Code, List, Node as Value, Source},
        facts, names,
        syntax::tree::Tree,
        types::TextKind,
        value::{Frame, Gap, Text},
    },
    smtp::envelope::Path,
};
use regex::bytes::{Regex, RegexBuilder};

/// Octets that one compiled pattern may take.
const PATTERN_SIZE_MAX: usize = 256 * 1024;
/// Patterns of one rule, those of `contains` in any case included.
const PATTERNS_MAX: usize = 32;
/// Octets of a text that a pattern looks at: the time of the worst pattern is its size times these.
const SUBJECT_MAX: usize = 64 * 1024;
/// Octets of a pattern.
const PATTERN_MAX: usize = 1_000;

/// `has(auth.account)`.
pub fn has(checker: &mut Checker<'_>, site: &Site<'_>) -> Option<Code> {
    let tree = *site.arguments.first()?;
    let id = checker.fact(tree)?;
    let fact = &facts::TABLE[usize::from(id)];
    match (fact.optional, fact.read) {
        (true, facts::Reader::Text(_, read)) => {
            Some(Code::Bool(Value::run(move |frame: &Frame<'_>| {
                let text = read(frame.subject).map_err(|missing| Gap::Unknown(id, missing))?;
                Ok(text.is_some())
            })))
        }
        _ => {
            let optional: Vec<_> = facts::TABLE
                .iter()
                .filter(|fact| fact.optional)
                .map(|fact| fact.name)
                .collect();
            let hint = format!("`has` asks about {}", optional.join(", "));
            checker.refuse(
                tree.span,
                format!("there is always a `{}`", fact.name),
                &hint,
            )
        }
    }
}

/// The text and the literal of a function of both.
fn pair<'t>(
    checker: &mut Checker<'_>,
    site: &Site<'t>,
    what: &str,
) -> Option<(TextKind, Source, &'t str, &'t Tree)> {
    let [text, literal] = site.arguments[..] else {
        return None;
    };
    let first = checker.text(text, "the text");
    let second = checker.literal(literal, what);
    let ((kind, source), second) = (first?, second?);
    Some((kind, source, second, literal))
}

/// `f` of the text, at once where it is a constant.
fn of_text<T: Copy + Send + Sync + 'static>(
    source: Source,
    f: impl Fn(Text<'_>) -> T + Send + Sync + 'static,
) -> Value<T> {
    match source.constant() {
        Some(text) => Value::Const(f(Text::plain(text))),
        None => Value::run(move |frame| Ok(f(source.read(frame)?))),
    }
}

/// `under(domain, "example.net")`.
pub fn under(checker: &mut Checker<'_>, site: &Site<'_>) -> Option<Code> {
    let (kind, source, parent, tree) = pair(checker, site, "the parent domain")?;
    if kind == TextKind::Mailbox {
        return checker.refuse(
            site.span,
            "a mail address is under no domain",
            "write `under(domain_of(…), …)`",
        );
    }
    let parent = names::kept(parent.strip_prefix('.').unwrap_or(parent));
    if parent.is_empty() || parent.contains(&b'@') || parent.contains(&b'*') {
        return checker.refuse(
            tree.span,
            "this is no domain",
            "write it as \"example.net\"",
        );
    }
    Some(Code::Bool(of_text(source, move |text| {
        names::is_under(text.octets, &parent)
    })))
}

/// `domain_of(address)`.
pub fn domain_of(checker: &mut Checker<'_>, site: &Site<'_>) -> Option<Code> {
    fn part(address: &[u8]) -> &[u8] {
        Path::split(address).domain
    }
    let (_, source) = checker.text(site.arguments.first()?, "the address")?;
    Some(Code::Text(
        TextKind::Domain,
        Source::Part(part, Box::new(source)),
    ))
}

/// `glob(text, "a*")`: a regular expression without choices, so its time is linear.
pub fn glob(checker: &mut Checker<'_>, site: &Site<'_>) -> Option<Code> {
    let (kind, source, pattern, tree) = pair(checker, site, "the pattern")?;
    let mut expression = String::from(r"\A");
    let mut start = 0;
    for (at, wild) in pattern.match_indices(['*', '?']) {
        expression += &regex::escape(&pattern[start..at]);
        expression += if wild == "*" { ".*" } else { "." };
        start = at + 1;
    }
    expression += &regex::escape(&pattern[start..]);
    expression += r"\z";
    compiled(checker, tree, kind, source, &expression, true)
}

/// `matches(text, "^a+$")`.
pub fn matches(checker: &mut Checker<'_>, site: &Site<'_>) -> Option<Code> {
    let (kind, source, pattern, tree) = pair(checker, site, "the pattern")?;
    compiled(checker, tree, kind, source, pattern, false)
}

fn compiled(
    checker: &mut Checker<'_>,
    tree: &Tree,
    kind: TextKind,
    source: Source,
    pattern: &str,
    glob: bool,
) -> Option<Code> {
    if is_lowered(&source) {
        let hint = if glob {
            "write `matches(text, \"(?i)…\")` on the text as it is"
        } else {
            "leave `lowerAscii()` out and start the pattern with `(?i)`"
        };
        return checker.refuse(
            tree.span,
            "patterns read the text as it came, not in lower case",
            hint,
        );
    }
    if pattern.len() > PATTERN_MAX {
        return checker.refuse(
            tree.span,
            format!("the pattern is longer than {PATTERN_MAX} octets"),
            "use a named list",
        );
    }
    count_pattern(checker, tree)?;
    let regex = RegexBuilder::new(pattern)
        .case_insensitive(kind.is_name())
        .dot_matches_new_line(glob)
        .size_limit(PATTERN_SIZE_MAX)
        .dfa_size_limit(PATTERN_SIZE_MAX)
        .nest_limit(50)
        .build();
    match regex {
        Ok(regex) => Some(Code::Bool(matching(source, regex))),
        Err(regex::Error::CompiledTooBig(_)) => {
            let message = format!(
                "the pattern takes more than {PATTERN_SIZE_MAX} octets when it is compiled"
            );
            checker.refuse(tree.span, message, "use smaller counts in `{…}`")
        }
        Err(error) => {
            // The last line says what; those before draw the pattern.
            let error = error.to_string();
            let why = error.lines().last().unwrap_or_default();
            let why = why.trim_start_matches("error: ");
            let hint = match pattern.contains('\\') {
                true => "write a backslash twice, or the pattern as r\"…\"",
                false => {
                    "a character that means something in patterns is written after a backslash: r\"\\[\""
                }
            };
            checker.refuse(tree.span, format!("the pattern can't be read: {why}"), hint)
        }
    }
}

fn matching(source: Source, regex: Regex) -> Value<bool> {
    of_text(source, move |text| {
        regex.is_match(&text.octets[..text.octets.len().min(SUBJECT_MAX)])
    })
}

/// Counts a pattern of the rule, if it may have another.
fn count_pattern(checker: &mut Checker<'_>, tree: &Tree) -> Option<()> {
    checker.patterns += 1;
    if checker.patterns > PATTERNS_MAX {
        let message = format!("more than {PATTERNS_MAX} patterns in one rule");
        return checker.refuse(
            tree.span,
            message,
            "join them as \"a|b\", or write several rules",
        );
    }
    Some(())
}

fn is_lowered(source: &Source) -> bool {
    match source {
        Source::Lower(_) => true,
        Source::Part(_, of) => is_lowered(of),
        Source::Choice(_, sources) => sources.iter().any(is_lowered),
        _ => false,
    }
}

/// `x.startsWith("a")`.
pub fn starts_with(checker: &mut Checker<'_>, site: &Site<'_>) -> Option<Code> {
    search(checker, site, |text, length| text.get(..length))
}

/// `x.endsWith("a")`.
pub fn ends_with(checker: &mut Checker<'_>, site: &Site<'_>) -> Option<Code> {
    search(checker, site, |text, length| {
        text.get(text.len().checked_sub(length)?..)
    })
}

/// Compares the part with the octets that `place` finds for its length.
fn search(
    checker: &mut Checker<'_>,
    site: &Site<'_>,
    place: fn(&[u8], usize) -> Option<&[u8]>,
) -> Option<Code> {
    let (kind, source, part, _) = pair(checker, site, "the part")?;
    let any_case = kind.is_name();
    let mut part: Box<[u8]> = part.as_bytes().into();
    if any_case {
        part.make_ascii_lowercase();
    }
    Some(Code::Bool(of_text(source, move |text| {
        match place(text.octets, part.len()) {
            Some(found) => {
                let lower = any_case || text.lower;
                Text {
                    octets: found,
                    lower,
                }
                .iter()
                .eq(part.iter().copied())
            }
            None => false,
        }
    })))
}

/// `x.contains("a")`.
pub fn contains(checker: &mut Checker<'_>, site: &Site<'_>) -> Option<Code> {
    let (kind, source, part, tree) = pair(checker, site, "the part")?;
    if part.len() > PATTERN_MAX {
        return checker.refuse(
            tree.span,
            format!("the part is longer than {PATTERN_MAX} octets"),
            "",
        );
    }
    let capitals = part.bytes().any(|octet| octet.is_ascii_uppercase());
    if kind.is_name() || (is_lowered(&source) && !capitals) {
        // The same as to look for the part in any case of ASCII, which a pattern does in linear time.
        count_pattern(checker, tree)?;
        let pattern = format!("(?i-u:{})", ascii_pattern(part));
        let regex = RegexBuilder::new(&pattern)
            .size_limit(PATTERN_SIZE_MAX)
            .build()
            .ok()?;
        return Some(Code::Bool(matching(source, regex)));
    }
    if is_lowered(&source) {
        return checker.refuse(
            tree.span,
            "a text in lower case contains no capital letters",
            "write the part in lower case",
        );
    }
    let finder = memchr::memmem::Finder::new(part.as_bytes()).into_owned();
    Some(Code::Bool(of_text(source, move |text| {
        finder.find(text.octets).is_some()
    })))
}

/// The octets of a text as a pattern of octets.
fn ascii_pattern(part: &str) -> String {
    let mut pattern = String::new();
    for octet in part.bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => pattern.push(char::from(octet)),
            _ => pattern += &format!(r"\x{octet:02x}"),
        }
    }
    pattern
}

/// `x.lowerAscii()`.
pub fn lower_ascii(checker: &mut Checker<'_>, site: &Site<'_>) -> Option<Code> {
    let (kind, source) = checker.text(site.arguments.first()?, "the text")?;
    let kind = match kind {
        TextKind::Word(_) => TextKind::Plain,
        other => other,
    };
    Some(Code::Text(
        kind,
        match source {
            Source::Const(mut text) => {
                text.make_ascii_lowercase();
                Source::Const(text)
            }
            other => Source::Lower(Box::new(other)),
        },
    ))
}

/// `size(x)`, `x.size()`.
pub fn size(checker: &mut Checker<'_>, site: &Site<'_>) -> Option<Code> {
    let tree = *site.arguments.first()?;
    let size = match checker.code(tree)? {
        // Octets that continue no character, so that other texts than UTF-8 have a size too.
        Code::Text(_, source) => of_text(source, |text| {
            let starts = text.octets.iter().filter(|octet| **octet & 0xc0 != 0x80);
            starts.count() as i64
        }),
        Code::Items(items) => Value::Const(items.len() as i64),
        Code::Texts(_, list) => Value::run(move |frame| count(&list, frame)),
        other => {
            let message = format!(
                "`size` takes a text or a list, and this is of type {}",
                other.kind()
            );
            return checker.refuse(tree.span, message, "");
        }
    };
    Some(Code::Int(size))
}

fn count<'f>(list: &'f List, frame: &Frame<'f>) -> Result<i64, Gap> {
    let mut count = 0;
    list.any(frame, |_| {
        count += 1;
        Ok(false)
    })?;
    Ok(count)
}

fn field(checker: &mut Checker<'_>, site: &Site<'_>) -> Option<Box<str>> {
    let tree = *site.arguments.first()?;
    let name = checker.literal(tree, "the name of a header field")?;
    // RFC 5322 §3.6.8: printable ASCII but for the colon.
    let valid = !name.is_empty()
        && name
            .bytes()
            .all(|octet| octet.is_ascii_graphic() && octet != b':');
    if !valid {
        return checker.refuse(
            tree.span,
            format!("{name:?} is no name of a header field"),
            "write it as \"Subject\", without the colon",
        );
    }
    checker.headers.insert(name.to_ascii_lowercase().into());
    Some(name.into())
}

/// `header("Subject")`.
pub fn header(checker: &mut Checker<'_>, site: &Site<'_>) -> Option<Code> {
    let name = field(checker, site)?;
    Some(Code::Text(TextKind::Plain, Source::Header(name)))
}

/// `headers("Received")`.
pub fn headers(checker: &mut Checker<'_>, site: &Site<'_>) -> Option<Code> {
    let name = field(checker, site)?;
    Some(Code::Texts(TextKind::Plain, List::Headers(name)))
}
