//! The recipients of a route, as a file lists them: one a line, as in the tables of other mail servers
//! (`relay_recipient_maps` of Postfix).
//!
//! An entry is an address, `@domain` for every address of a domain, or a local part alone for that name in each domain of
//! the route. Compared are the domain by its A-labels and the local part without its quotes, both in any case: a mailbox
//! that is told apart by case alone is unheard of, and RFC 5321 §2.4 advises against relying on it.
//!
//! Rejected: a sorted text and a binary search. It takes half of the memory and twenty cache misses a look.

use super::entry::is_domain;
use crate::smtp::{domain::to_ascii, envelope::Path};
use rustc_hash::FxHashSet;
use std::{borrow::Cow, fmt};

/// Octets of a form that is compared: a path has 256 at most (RFC 5321 §4.5.3.1.3), and case folding and A-labels make it
/// longer.
const FORM_MAX: usize = 1024;

/// A set of recipients.
#[derive(Default, PartialEq, Eq)]
pub struct RecipientSet {
    /// `local@domain`, `@domain`, `local@`.
    forms: FxHashSet<Box<[u8]>>,
}

/// The parts of an address in the form in which they are compared.
struct Form {
    octets: [u8; FORM_MAX],
    /// Where the `@` is.
    at: usize,
    end: usize,
}

impl Form {
    /// `None`: the domain is none, or they are too long to be an address.
    fn new(local: &[u8], domain: &[u8]) -> Option<Form> {
        let domain = to_ascii(domain)?;
        let domain = domain.strip_suffix(b".").unwrap_or(&domain);
        let folded = folded(local);
        let mut form = Form {
            octets: [0; FORM_MAX],
            at: 0,
            end: 0,
        };
        let mut quoted = folded.first() == Some(&b'"');
        let mut rest = folded.iter().skip(usize::from(quoted));
        while let Some(octet) = rest.next() {
            match octet {
                b'"' if quoted => quoted = false,
                b'\\' if quoted => form.push(*rest.next()?)?,
                octet => form.push(*octet)?,
            }
        }
        form.at = form.end;
        form.push(b'@')?;
        for octet in domain {
            form.push(octet.to_ascii_lowercase())?;
        }
        Some(form)
    }

    fn push(&mut self, octet: u8) -> Option<()> {
        *self.octets.get_mut(self.end)? = octet;
        self.end += 1;
        Some(())
    }

    fn address(&self) -> &[u8] {
        &self.octets[..self.end]
    }

    fn domain(&self) -> &[u8] {
        &self.octets[self.at..self.end]
    }

    /// With its `@`, so that a quoted local part that has one is never taken for an address.
    fn local(&self) -> &[u8] {
        &self.octets[..=self.at]
    }

    /// Leaves out what follows the first of these characters; whether there was one.
    fn shorten(&mut self, delimiters: &str) -> bool {
        let local = &self.octets[..self.at];
        let delimits = |octet: &u8| delimiters.as_bytes().contains(octet);
        match local.iter().position(delimits).filter(|place| *place > 0) {
            None => false,
            Some(place) => {
                self.octets.copy_within(self.at..self.end, place);
                self.end -= self.at - place;
                self.at = place;
                true
            }
        }
    }
}

fn folded(local: &[u8]) -> Cow<'_, [u8]> {
    match str::from_utf8(local) {
        Ok(text) if !text.is_ascii() => Cow::Owned(text.to_lowercase().into_bytes()),
        _ if local.iter().any(u8::is_ascii_uppercase) => Cow::Owned(local.to_ascii_lowercase()),
        _ => Cow::Borrowed(local),
    }
}

impl RecipientSet {
    /// Adds a line of the file: comments and empty lines add nothing. What follows the first word is left out, so that
    /// a table of another mail server can be used as it is.
    ///
    /// # Errors
    /// What should stand there instead.
    pub fn add_line(&mut self, line: &str) -> Result<(), String> {
        // Some editors begin a file with a byte-order mark.
        let line = line.strip_prefix('\u{feff}').unwrap_or(line).trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let (entry, rest) = first_word(line);
        if rest.contains('@') && !rest.starts_with('#') {
            return Err("write one address a line".into());
        }
        self.add(entry)
    }

    fn add(&mut self, entry: &str) -> Result<(), String> {
        let usual = "write \"user@example.net\", \"@example.net\" for all of a domain, or \"user\" for that name in each domain of the route";
        let (local, domain) = match entry.rsplit_once('@') {
            // An `@` within quotes.
            Some(_) if entry.ends_with('"') => (entry, None),
            Some((local, domain)) => (local, Some(domain)),
            None => (entry, None),
        };
        let plain = domain.map(|domain| domain.strip_suffix('.').unwrap_or(domain));
        if local == "*" {
            let domain = domain.unwrap_or("example.net");
            return Err(format!(
                "write \"@{domain}\" for every address of that domain"
            ));
        }
        if plain.is_some_and(|domain| !is_domain(domain)) {
            return Err(usual.into());
        }
        if !(is_local(local) || (local.is_empty() && domain.is_some())) {
            return Err(usual.into());
        }
        let form = Form::new(local.as_bytes(), plain.unwrap_or("").as_bytes());
        let form = form.ok_or(usual)?;
        self.forms.insert(form.address().into());
        Ok(())
    }

    /// Whether this recipient is listed: its address, its domain, its local part; or, where there are delimiters, any of
    /// these without its subaddress. Each domain has a postmaster (RFC 5321 §4.5.1).
    #[must_use]
    pub fn has(&self, recipient: Path<'_>, delimiters: &str) -> bool {
        let local = match recipient.whole.len() - recipient.domain.len() {
            0 => return false,
            // `<Postmaster>`: the only one without a domain.
            _ if recipient.domain.is_empty() => return true,
            n => &recipient.whole[..n - 1],
        };
        let Some(mut form) = Form::new(local, recipient.domain) else {
            return false;
        };
        let listed = |form: &Form| {
            self.forms.contains(form.address())
                || self.forms.contains(form.domain())
                || self.forms.contains(form.local())
        };
        form.local() == b"postmaster@"
            || listed(&form)
            || (form.shorten(delimiters) && listed(&form))
    }

    /// How many entries it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.forms.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }
}

/// The first word, which quotes may hold together, and what follows.
fn first_word(line: &str) -> (&str, &str) {
    let (mut quoted, mut escaped) = (false, false);
    let ends = |c: char| {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            c => return c.is_whitespace() && !quoted,
        }
        false
    };
    match line.find(ends) {
        Some(at) => (&line[..at], line[at..].trim_start()),
        None => (line, ""),
    }
}

fn is_local(local: &str) -> bool {
    if let Some(rest) = local.strip_prefix('"') {
        return rest.ends_with('"') && rest.len() > 1 && !local.contains(char::is_control);
    }
    let odd = |c: char| c.is_whitespace() || c.is_control() || "()<>[]:;,\\\"@".contains(c);
    // What begins like this is meant as a domain or as a pattern.
    !local.is_empty() && !local.contains(odd) && !local.starts_with(['.', '/'])
}

impl fmt::Debug for RecipientSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} recipients", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> RecipientSet {
        let mut set = RecipientSet::default();
        for line in text.lines() {
            set.add_line(line).expect("a sound line");
        }
        set
    }

    fn has(set: &RecipientSet, address: &str, delimiters: &str) -> bool {
        set.has(Path::split(address.as_bytes()), delimiters)
    }

    #[test]
    fn addresses_domains_and_names_are_found_in_each_spelling() {
        let set = set("\u{feff}Amy@Example.NET\n\
             # a comment with bob@example.net\n\
             \t\"john doe\"@example.net   OK\n\n\
             a#b@example.net # one with a number sign\n\
             @b\u{fc}cher.example.\n\
             info 1\r\n\
             J\u{d6}RG@example.org\n\
             \"odd@name\"\n");
        assert_eq!(set.len(), 7);
        for address in [
            "amy@example.net",
            "AMY@EXAMPLE.NET",
            "\"amy\"@example.net",
            "\"a\\my\"@example.net",
            "\"John Doe\"@example.net",
            "a#b@example.net",
            "any.body@xn--bcher-kva.example",
            "\u{fc}@B\u{dc}CHER.example",
            "info@example.net",
            "Info@elsewhere.example",
            "j\u{f6}rg@example.org",
            "\"odd@name\"@example.net",
            "Postmaster",
            "postmaster@example.net",
        ] {
            assert!(has(&set, address, ""), "{address}");
        }
        for address in [
            "amy@example.org",
            "bob@example.net",
            "a@example.net",
            "amy+list@example.net",
            "x@sub.xn--bcher-kva.example",
            // A quoted `@` makes no address of a local part, and no domain.
            "\"amy@example.net\"@example.com",
            "\"x@xn--bcher-kva.example\"@example.com",
            "ok@example.net",
            "odd@name",
        ] {
            assert!(!has(&set, address, ""), "{address}");
        }
        let long = format!("{}@example.net", "\u{212a}".repeat(2000));
        assert!(!has(&set, &long, "+"));
    }

    #[test]
    fn a_subaddress_counts_only_where_its_delimiter_is_named() {
        let set = set("amy@example.net\ninfo\nbob+x@example.net\n+odd@example.net");
        for (address, with_plus, with_both) in [
            ("amy+list@example.net", true, true),
            ("AMY+a+b@example.net", true, true),
            ("info+x@elsewhere.example", true, true),
            ("amy-list@example.net", false, true),
            ("amy-a+b@example.net", false, true),
            ("bob+x@example.net", true, true),
            ("bob+y@example.net", false, false),
            ("+odd@example.net", true, true),
            ("+amy@example.net", false, false),
        ] {
            assert_eq!(has(&set, address, "+"), with_plus, "{address}");
            assert_eq!(has(&set, address, "+-"), with_both, "{address}");
        }
        assert!(!has(&set, "amy+list@example.net", ""));
    }

    #[test]
    fn what_is_no_entry_is_told_with_what_to_write() {
        for (line, hint) in [
            ("*@example.net", "\"@example.net\""),
            (".example.net", "\"user@example.net\""),
            ("/^amy@/", "\"user@example.net\""),
            ("amy@exa mple.net bob@example.net", "one address a line"),
            ("amy@", "\"user@example.net\""),
            ("@", "\"user@example.net\""),
            ("\"amy", "\"user@example.net\""),
            ("<amy@example.net>", "\"user@example.net\""),
            ("amy,bob", "\"user@example.net\""),
            ("amy@-x.example", "\"user@example.net\""),
            ("amy@b\u{200b}.example", "\"user@example.net\""),
        ] {
            let told = RecipientSet::default().add_line(line).expect_err(line);
            assert!(told.contains(hint), "{line}: {told}");
        }
    }
}
