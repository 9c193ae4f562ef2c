//! Text to tokens, by the lexical grammar of CEL.

use super::super::mistake::{Mistake, Span};
use super::{Kind, literal};

/// A token and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub kind: Kind,
    pub span: Span,
}

/// Longer ones first.
const MARKS: &[&str] = &[
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", "(", ")",
    "[", "]", ".", ",",
];
const KEYWORDS: &[&str] = &["in", "true", "false"];
/// Words that CEL keeps for itself.
const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "namespace",
    "package",
    "return",
    "var",
    "void",
    "while",
];

/// All tokens of a text, and the end.
pub fn tokens(text: &str) -> Result<Vec<Token>, Mistake> {
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        at = skip_space(text, at);
        if at == text.len() {
            let span = Span { start: at, end: at };
            found.push(Token {
                kind: Kind::End,
                span,
            });
            return Ok(found);
        }
        let token = next(text, at)?;
        at = token.span.end;
        found.push(token);
    }
}

/// Past white space and comments.
fn skip_space(text: &str, mut at: usize) -> usize {
    loop {
        let rest = &text[at..];
        let trimmed = rest.trim_start_matches(['\t', ' ', '\r', '\n', '\x0c']);
        at += rest.len() - trimmed.len();
        if !trimmed.starts_with("//") {
            return at;
        }
        at += trimmed.find('\n').unwrap_or(trimmed.len());
    }
}

fn next(text: &str, start: usize) -> Result<Token, Mistake> {
    let rest = &text[start..];
    let token = |kind, length: usize| Token {
        kind,
        span: Span {
            start,
            end: start + length,
        },
    };
    if let Some((value, length)) = literal::string(rest, start)? {
        return Ok(token(Kind::Text(value), length));
    }
    let word = word_length(rest);
    if word > 0 {
        let word = &rest[..word];
        return keyword(word, start).map(|kind| token(kind, word.len()));
    }
    if let Some((kind, length)) = literal::number(rest, start)? {
        return Ok(token(kind, length));
    }
    match MARKS.iter().find(|mark| rest.starts_with(**mark)) {
        Some(mark) => Ok(token(Kind::Mark(mark), mark.len())),
        None => Err(stray(rest, start)),
    }
}

fn word_length(text: &str) -> usize {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    match text.as_bytes().first() {
        Some(first) if first.is_ascii_digit() => 0,
        _ => end.unwrap_or(text.len()),
    }
}

fn keyword(word: &str, start: usize) -> Result<Kind, Mistake> {
    let span = Span {
        start,
        end: start + word.len(),
    };
    if let Some(mark) = KEYWORDS.iter().find(|mark| **mark == word) {
        return Ok(Kind::Mark(mark));
    }
    if word == "null" {
        return Err(Mistake::new(span, "`null` is not used in rules")
            .with_hint("write `has(NAME)` to ask whether there is a value"));
    }
    if RESERVED.contains(&word) {
        return Err(Mistake::new(
            span,
            format!("the word `{word}` is reserved in CEL"),
        ));
    }
    Ok(Kind::Word(word.to_string()))
}

/// A character that starts no token.
fn stray(rest: &str, start: usize) -> Mistake {
    let first = rest.chars().next().unwrap_or_default();
    let span = Span {
        start,
        end: start + first.len_utf8(),
    };
    let mistake = Mistake::new(span, format!("{first:?} is not part of any operator"));
    match first {
        '=' if rest.starts_with("=~") => {
            mistake.with_hint("write TEXT.matches(r\"…\") for a pattern")
        }
        '=' => mistake.with_hint("write `==` to compare"),
        '&' => mistake.with_hint("write `&&` for \"and\""),
        '|' => mistake.with_hint("write `||` for \"or\""),
        '{' | '}' => mistake.with_hint("maps are not used in rules; a list is written `[a, b]`"),
        '`' | '\u{2018}'..='\u{201d}' => mistake.with_hint("write text as \"text\" or 'text'"),
        _ => mistake,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        let found = tokens(text).expect("tokens");
        found.into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn finds_tokens() {
        let word = |text: &str| Kind::Word(text.into());
        assert_eq!(
            kinds("a.b>=1 // no\n&&in_\tin 'x'"),
            [
                word("a"),
                Kind::Mark("."),
                word("b"),
                Kind::Mark(">="),
                Kind::Int(1),
                Kind::Mark("&&"),
                word("in_"),
                Kind::Mark("in"),
                Kind::Text("x".into()),
                Kind::End,
            ]
        );
        assert_eq!(kinds(" // only a comment"), [Kind::End]);
        assert_eq!(
            kinds("r"),
            [word("r"), Kind::End],
            "a word, no start of a raw string"
        );
    }

    #[test]
    fn says_what_to_write_instead() {
        for (text, start, says) in [
            ("a = b", 2, "write `==`"),
            ("a =~ 'b'", 2, "matches(r"),
            ("a & b", 2, "write `&&`"),
            ("a | b", 2, "write `||`"),
            ("a == null", 5, "has(NAME)"),
            ("a == {}", 5, "a list is written"),
            ("a == “b”", 5, "write text as"),
            ("if", 0, "reserved in CEL"),
            ("ä", 0, "not part of any operator"),
        ] {
            let mistake = tokens(text).expect_err(text);
            assert_eq!(mistake.start, start, "{text}");
            assert!(mistake.to_string().contains(says), "{mistake}");
        }
    }
}
