//! The addresses that a reader may take for the author in From or Sender (RFC 5322 §3.4, §3.6.2).
//!
//! What is read is more than the grammar allows, as mail programs read it: `Doe, Amy <amy@example.net>` without quotes,
//! an address as its own display name, encoded words with commas in them. What is found is more than the grammar finds:
//! a program may show the name of a group, a display name or a comment and not the address beside it, so an address that
//! stands there counts as well. Each `@` of a field leads to an address, or to `None`.
//!
//! A stranger writes these fields, and reading one takes far longer than receiving it. So a field has limits here
//! ([`OCTETS_MAX`], [`ADDRESSES_MAX`]); of what exceeds them only the start can be read ([`of_start`]).

use super::{comment_end, words};
use crate::smtp::header::Field;
use std::borrow::Cow;

/// Octets of a field that is read, its folds included: room for a hundred authors with long names.
pub const OCTETS_MAX: usize = 8 * 1024;
/// Addresses that are found in a field, of each of the two kinds of [`Addresses`].
pub const ADDRESSES_MAX: usize = 100;

/// Characters that are shown like `@`: fullwidth and small.
const OTHER_SIGNS: [char; 2] = ['\u{ff20}', '\u{fe6b}'];
/// The octet of UTF-8 that both begin with.
const OTHER_SIGNS_LEAD: u8 = 0xef;

/// Addresses of a field, without quotes, comments and white space.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Those of its mailboxes.
    pub mailboxes: Vec<Vec<u8>>,
    /// Those in what is shown around them: display names, names of groups, comments, quoted local parts.
    pub mentioned: Vec<Vec<u8>>,
}

impl Addresses {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &[u8]> {
        let both = self.mailboxes.iter().chain(&self.mentioned);
        both.map(Vec::as_slice)
    }

    fn are_too_many(&self) -> bool {
        self.mailboxes.len().max(self.mentioned.len()) > ADDRESSES_MAX
    }
}

/// Reads a field; `line` is room for its body on one line. `None`: quotes, comments or brackets don't match, or a bracket
/// holds no address, so that programs may read anything in it; or there is more than the limits allow.
#[must_use]
pub fn of_field(field: &Field<'_>, line: &mut Vec<u8>) -> Option<Addresses> {
    if field.body.len() > OCTETS_MAX {
        return None;
    }
    line.clear();
    field.unfold(line);
    read(line)
}

/// What the start of a field holds that exceeds the limits, as far as it can be read; `None`: it is within them.
#[must_use]
pub fn of_start(field: &Field<'_>, line: &mut Vec<u8>) -> Option<Addresses> {
    let body = field.body.trim_ascii();
    let start = &body[..body.len().min(OCTETS_MAX)];
    line.clear();
    Field {
        body: start,
        ..*field
    }
    .unfold(line);
    let (mut tokens, _) = tokens(line);
    if start.len() < body.len() {
        // It may be half of a domain.
        tokens.pop();
    }
    let mut reader = Reader::default();
    // Where that fails, what was found before counts.
    let _ = reader.read(&tokens);
    reader.end_of_mailbox();
    let exceeds = field.body.len() > OCTETS_MAX || reader.found.are_too_many();
    exceeds.then_some(reader.found)
}

/// Reads the unfolded body of a field.
pub(super) fn read(body: &[u8]) -> Option<Addresses> {
    let (tokens, true) = tokens(body) else {
        return None;
    };
    let mut reader = Reader::default();
    reader.read(&tokens)?;
    reader.end_of_mailbox();
    (!reader.found.are_too_many()).then_some(reader.found)
}

#[derive(Debug, PartialEq, Eq)]
enum Token<'a> {
    /// Anything that is nothing else, dots included.
    Text(&'a [u8]),
    /// The text of a quoted string, with encoded words decoded: programs do that though the RFC forbids it.
    Quoted(Cow<'a, [u8]>),
    /// Encoded words, decoded.
    Encoded(Vec<u8>),
    /// The text of a comment.
    Comment(Cow<'a, [u8]>),
    Blank,
    /// `<`, `>`, `,`, `;`, `:` or `@`.
    Special(u8),
}

/// The tokens, and whether they are all: a comment or a quoted string without an end hides the rest.
fn tokens(body: &[u8]) -> (Vec<Token<'_>>, bool) {
    let mut tokens = Vec::new();
    let mut at = 0;
    let words_end = words::end(body);
    let word = |at: usize| words::run_length(body.get(at..words_end)?);
    // Searched for once where there is none.
    let mut has_bracket = true;
    while let Some(&octet) = body.get(at) {
        let start = at;
        at += 1;
        tokens.push(match octet {
            b'(' => {
                let Some(end) = comment_end(body, at, true) else {
                    return (tokens, false);
                };
                at = end;
                Token::Comment(shown(&body[start + 1..at - 1]))
            }
            b'"' => {
                let Some(end) = quoted_end(body, at) else {
                    return (tokens, false);
                };
                at = end;
                Token::Quoted(shown(&body[start + 1..at - 1]))
            }
            b' ' | b'\t' => Token::Blank,
            b'<' | b'>' | b',' | b';' | b':' | b'@' => Token::Special(octet),
            b'[' if tokens.last() == Some(&Token::Special(b'@')) => {
                // A literal (RFC 5321 §4.1.3) has colons.
                let end = match has_bracket {
                    true => memchr::memchr(b']', &body[at..]),
                    false => None,
                };
                has_bracket = end.is_some();
                at = end.map_or(at, |end| at + end + 1);
                Token::Text(&body[start..at])
            }
            _ => match word(start) {
                Some(length) => {
                    at = start + length;
                    let mut text = Vec::new();
                    words::decode(&body[start..at], &mut text);
                    Token::Encoded(text)
                }
                None => {
                    while at < body.len()
                        && !b"(\" \t<>,;:@".contains(&body[at])
                        && word(at).is_none()
                    {
                        at += 1;
                    }
                    Token::Text(&body[start..at])
                }
            },
        });
    }
    (tokens, true)
}

/// Where a quoted string ends whose quote stands before `at`: one past the other quote.
fn quoted_end(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The text as it is shown: without the backslashes of quoted pairs, encoded words decoded.
fn shown(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', text).is_none() && !words::has_any(text) {
        return text.into();
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut octets = text.iter();
    while let Some(&octet) = octets.next() {
        match octet {
            b'\\' => plain.extend(octets.next()),
            octet => plain.push(octet),
        }
    }
    if !words::has_any(&plain) {
        return plain.into();
    }
    let mut decoded = Vec::with_capacity(plain.len());
    words::decode(&plain, &mut decoded);
    decoded.into()
}

#[derive(Default)]
struct Reader<'a> {
    /// What stands outside of brackets, since the last mailbox.
    text: Vec<&'a Token<'a>>,
    /// There were brackets since then.
    bracketed: bool,
    found: Addresses,
    /// Room for what is shown of `text`.
    line: Vec<u8>,
}

impl<'a> Reader<'a> {
    /// Reads all but the end of the last mailbox. `None`: it can't be read on.
    fn read(&mut self, tokens: &'a [Token<'a>]) -> Option<()> {
        let mut rest = tokens;
        while let Some((token, after)) = rest.split_first() {
            rest = after;
            match token {
                Token::Special(b'<') => {
                    let end = rest.iter().position(|t| *t == Token::Special(b'>'));
                    // Without the bracket that closes, programs read on to the end.
                    let (inner, after) = rest.split_at(end.unwrap_or(rest.len()));
                    rest = after.get(1..).unwrap_or_default();
                    self.angle(inner)?;
                }
                Token::Special(b'>') => return None,
                Token::Special(b',' | b';') => self.end_of_mailbox(),
                Token::Special(b':') => self.end_of_group_name(),
                other => self.text.push(other),
            }
            if self.found.are_too_many() {
                return None;
            }
        }
        Some(())
    }

    /// An address in brackets, perhaps after a source route (RFC 5322 §4.4), which is shown nowhere.
    fn angle(&mut self, inner: &'a [Token<'a>]) -> Option<()> {
        self.end_of_text();
        self.bracketed = true;
        let address = self.address(without_route(inner)?)?;
        self.found.mailboxes.push(address);
        Some(())
    }

    fn end_of_mailbox(&mut self) {
        let bracketed = std::mem::take(&mut self.bracketed);
        let is_at = |token: &&Token<'_>| **token == Token::Special(b'@');
        if bracketed || !self.text.iter().any(is_at) {
            self.end_of_text();
            return;
        }
        let mut text = std::mem::take(&mut self.text);
        match self.address(text.iter().copied()) {
            Some(address) => self.found.mailboxes.push(address),
            // Not one address, so perhaps several.
            None => mention_all(&text, &mut self.line, &mut self.found.mailboxes),
        }
        text.clear();
        self.text = text;
    }

    fn end_of_group_name(&mut self) {
        self.bracketed = false;
        self.end_of_text();
    }

    /// A display name, the name of a group, or what follows brackets.
    fn end_of_text(&mut self) {
        mention_all(&self.text, &mut self.line, &mut self.found.mentioned);
        self.text.clear();
    }

    /// The address that the tokens are (RFC 5322 §3.4.1, with white space and comments as in §4.4).
    fn address(&mut self, tokens: impl IntoIterator<Item = &'a Token<'a>>) -> Option<Vec<u8>> {
        let mut address: Vec<u8> = Vec::new();
        let (mut at_sign, mut apart) = (None, false);
        for token in tokens {
            let part = match token {
                Token::Blank => {
                    apart = true;
                    continue;
                }
                Token::Comment(text) => {
                    apart = true;
                    mention(text, &mut self.found.mentioned);
                    continue;
                }
                Token::Special(b'@') if at_sign.is_none() && !address.is_empty() => {
                    at_sign = Some(address.len());
                    &b"@"[..]
                }
                Token::Special(_) | Token::Encoded(_) => return None,
                Token::Quoted(_) if at_sign.is_some() => return None,
                Token::Quoted(text) => {
                    mention(text, &mut self.found.mentioned);
                    &**text
                }
                Token::Text(text) => text,
            };
            let joins =
                |text: &[u8], end: Option<&u8>| text.is_empty() || matches!(end, Some(b'.' | b'@'));
            let fits = joins(&address, address.last()) || joins(part, part.first());
            if apart && !fits {
                return None;
            }
            apart = false;
            address.extend_from_slice(part);
        }
        if address.len() > at_sign? + 2 && address.ends_with(b".") {
            address.pop();
        }
        (address.len() > at_sign? + 1).then_some(address)
    }
}

/// What follows the source route that the tokens may begin with; `None` where it is no route.
fn without_route<'t, 'a>(inner: &'t [Token<'a>]) -> Option<&'t [Token<'a>]> {
    let first = inner.iter().position(|token| *token != Token::Blank)?;
    if inner[first] != Token::Special(b'@') {
        return Some(inner);
    }
    let colon = inner.iter().position(|t| *t == Token::Special(b':'))?;
    let (route, mailbox) = (&inner[first..colon], &inner[colon + 1..]);
    let is_hop = |hop: &[Token<'_>]| matches!(hop, [Token::Special(b'@'), Token::Text(_)]);
    let mut hops = route.split(|token| *token == Token::Special(b','));
    hops.all(is_hop).then_some(mailbox)
}

/// Finds the addresses in a run of text, as it is shown and as it is without its comments.
fn mention_all(tokens: &[&Token<'_>], text: &mut Vec<u8>, found: &mut Vec<Vec<u8>>) {
    text.clear();
    for token in tokens {
        match token {
            Token::Text(part) => text.extend_from_slice(part),
            Token::Quoted(part) => text.extend_from_slice(part),
            Token::Encoded(part) => text.extend_from_slice(part),
            Token::Comment(part) => mention(part, found),
            Token::Blank => text.push(b' '),
            Token::Special(octet) => text.push(*octet),
        }
    }
    mention(text, found);
}

/// Finds the addresses in a text: words with an `@` in the middle; and a text that is nothing but an address with blanks
/// around its `@`, where its domain has a dot (`Amy @ Example` is no address).
fn mention(text: &[u8], found: &mut Vec<Vec<u8>>) {
    // The least that an address has is a sign between two characters. Most of what comes here has no sign.
    if text.len() < 3 || memchr::memchr2(b'@', OTHER_SIGNS_LEAD, text).is_none() {
        return;
    }
    let mut text = String::from_utf8_lossy(text);
    if text.contains(OTHER_SIGNS) {
        text = text.replace(OTHER_SIGNS, "@").into();
    }
    let splits = |c: char| c.is_whitespace() || c.is_control() || ",;:<>()\"\\|".contains(c);
    let mut push = |local: &str, domain: &str| {
        let local = local.trim_start_matches(is_ornament);
        let domain = domain.trim_end_matches(is_ornament);
        if !local.is_empty() && !domain.is_empty() && found.len() <= ADDRESSES_MAX {
            found.push(format!("{local}@{domain}").into_bytes());
        }
    };
    for word in text.split(splits) {
        // Several signs are shown as they stand, and programs cut such a word in different places.
        let mut parts = word.split('@');
        let mut local = parts.next().unwrap_or_default();
        for domain in parts {
            push(local, domain);
            local = domain;
        }
    }
    if let Some((local, domain)) = text.split_once('@') {
        let apart = local.ends_with(char::is_whitespace) || domain.starts_with(char::is_whitespace);
        let (local, domain) = (local.trim(), domain.trim());
        let single = |word: &str| !word.contains(splits);
        if apart && single(local) && single(domain) && domain.contains('.') {
            push(local, domain);
        }
    }
}

/// What stands around an address in a text and is no part of it.
fn is_ornament(c: char) -> bool {
    match c {
        '\'' | '`' | '.' | '!' | '?' | '*' | '[' | ']' | '{' | '}' => true,
        // Quotation marks, dashes, dots.
        '\u{2010}'..='\u{2027}' | '\u{ab}' | '\u{bb}' | '\u{2039}' | '\u{203a}' => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
