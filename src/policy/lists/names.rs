//! Names, domains, addresses and patterns.
//!
//! A list answers with a few hash look-ups, however long it is. Entries come from the operator and only
//! look-ups from strangers, so the hash needs no seed.

use crate::{
    config::entry,
    smtp::{domain, envelope::Path, local_part},
};
use regex::bytes::{RegexSet, RegexSetBuilder};
use rustc_hash::FxHashSet;

/// Octets of an entry at most (RFC 5321 §4.5.3.1.3).
const ENTRY_MAX: usize = 256;
/// Octets that the compiled patterns of one list may take.
const PATTERNS_MAX: usize = 64 << 20;

/// The entries of one list.
#[derive(Debug, Default)]
pub struct Names {
    null: bool,
    domains: FxHashSet<Box<[u8]>>,
    below: FxHashSet<Box<[u8]>>,
    addresses: FxHashSet<Box<[u8]>>,
    patterns: Option<RegexSet>,
}

impl Names {
    /// Takes an entry; regular expressions are left in `patterns`.
    pub fn add(&mut self, text: &str, patterns: &mut Vec<String>) -> Result<(), String> {
        entry::name_entry(text)
            .map_err(|hint| format!("{text:?} can't be an entry of this list: {hint}"))?;
        if let Some(pattern) = text
            .strip_prefix('/')
            .and_then(|rest| rest.strip_suffix('/'))
        {
            patterns.push(pattern.to_string());
            return Ok(());
        }
        if text == "<>" {
            self.null = true;
            return Ok(());
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut path = Vec::with_capacity(text.len());
        let Path { whole, local, .. } = Path::split(text.as_bytes());
        local_part::push(local, &mut path);
        path.extend_from_slice(&whole[local.len()..]);
        let lowered = domain::address_to_ascii(&path);
        let lowered = String::from_utf8_lossy(&lowered).to_ascii_lowercase();
        let (set, name) = match lowered.strip_prefix('.') {
            _ if lowered.contains('@') => (&mut self.addresses, &*lowered),
            Some(parent) => (&mut self.below, parent),
            None => (&mut self.domains, &*lowered),
        };
        if name.len() > ENTRY_MAX {
            return Err(format!("{text:?} is longer than {ENTRY_MAX} octets"));
        }
        set.insert(Box::from(name.as_bytes()));
        Ok(())
    }

    /// Compiles the regular expressions.
    pub fn set_patterns(&mut self, patterns: &[String]) -> Result<(), String> {
        if !patterns.is_empty() {
            self.patterns = Some(compile(patterns)?);
        }
        Ok(())
    }

    /// Which kind of entry holds this path: as it came, in lower case, its domain in lower case.
    pub fn address(&self, raw: &[u8], whole: &[u8], domain: &[u8]) -> Option<&'static str> {
        if raw.is_empty() && self.null {
            return Some("<>");
        }
        if !self.addresses.is_empty() && self.addresses.contains(whole) {
            return Some("address");
        }
        self.name(raw, domain)
    }

    /// Which kind of entry holds this name: as it came, in lower case.
    pub fn name(&self, raw: &[u8], name: &[u8]) -> Option<&'static str> {
        if !self.domains.is_empty() && self.domains.contains(name) {
            return Some("domain");
        }
        if !self.below.is_empty() && parents(name).any(|parent| self.below.contains(parent)) {
            return Some("parent domain");
        }
        let patterns = self.patterns.as_ref()?;
        patterns.is_match(raw).then_some("pattern")
    }
}

impl Names {
    /// Whether a text is an entry: as it came, in lower case.
    pub fn text(&self, raw: &[u8], lowered: &[u8]) -> bool {
        let is_pattern = |patterns: &RegexSet| patterns.is_match(raw);
        self.domains.contains(lowered)
            || self.addresses.contains(lowered)
            || self.patterns.as_ref().is_some_and(is_pattern)
    }
}

/// `b.c` and `c` of `a.b.c`.
fn parents(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    memchr::memchr_iter(b'.', name).map(|dot| &name[dot + 1..])
}

fn compile(patterns: &[String]) -> Result<RegexSet, String> {
    RegexSetBuilder::new(patterns)
        .case_insensitive(true)
        .unicode(false)
        .size_limit(PATTERNS_MAX)
        .build()
        .map_err(|error| format!("its patterns together: {error}"))
}

#[cfg(test)]
mod tests {
    use super::{super::lower, *};

    fn names(entries: &[&str]) -> Names {
        let (mut names, mut patterns) = (Names::default(), Vec::new());
        for entry in entries {
            names.add(entry, &mut patterns).expect("an entry");
        }
        names.patterns = (!patterns.is_empty()).then(|| compile(&patterns).expect("patterns"));
        names
    }

    fn holds(names: &Names, path: &str) -> Option<&'static str> {
        let lowered = path.to_ascii_lowercase();
        let domain = Path::split(lowered.as_bytes()).domain;
        names.address(path.as_bytes(), lowered.as_bytes(), domain)
    }

    #[test]
    fn domains_parents_addresses_patterns() {
        let names = names(&[
            "Example.net",
            ".example.org",
            "User@Example.com",
            "/^bounce-[0-9]+@/",
        ]);
        assert_eq!(holds(&names, "a@EXAMPLE.net"), Some("domain"));
        assert_eq!(holds(&names, "a@sub.example.net"), None);
        assert_eq!(holds(&names, "a@x.y.example.ORG"), Some("parent domain"));
        assert_eq!(holds(&names, "a@example.org"), None);
        assert_eq!(holds(&names, "a@badexample.org"), None);
        assert_eq!(holds(&names, "user@example.com"), Some("address"));
        assert_eq!(holds(&names, "other@example.com"), None);
        assert_eq!(holds(&names, "BOUNCE-12@b.example"), Some("pattern"));
        assert_eq!(holds(&names, ""), None);
        let quoted = self::names(&["\"a\\ b\"@c.example", "\"amy\"@c.example"]);
        assert_eq!(holds(&quoted, "\"a b\"@c.example"), Some("address"));
        assert_eq!(holds(&quoted, "amy@c.example"), Some("address"));
        assert_eq!(holds(&self::names(&["<>"]), ""), Some("<>"));
        assert_eq!(holds(&self::names(&["<>"]), "a@b"), None);
    }

    #[test]
    fn either_spelling_of_a_domain() {
        let rows = [
            "müller.example",
            "xn--strae-oqa.example.",
            ".Bücher.example",
            "U@ä.example",
        ];
        let names = names(&rows);
        for (path, kind) in [
            ("a@xn--mller-kva.example", Some("domain")),
            ("a@MÜLLER.example", Some("domain")),
            ("a@straße.example", Some("domain")),
            ("a@strasse.example", None),
            ("a@x.xn--bcher-kva.example", Some("parent domain")),
            ("u@XN--4ca.example", Some("address")),
        ] {
            let mut room = [0; lower::ROOM];
            let whole = lower::host(path.as_bytes(), &mut room);
            let domain = Path::split(whole).domain;
            assert_eq!(
                names.address(path.as_bytes(), whole, domain),
                kind,
                "{path}"
            );
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (bad, hint) in [
            ("*.example.net", "write \".example.net\""),
            ("@example.net", "write \"example.net\""),
            ("a@", "write \"example.net\""),
            ("two words", "write \"example.net\""),
            ("..", "write \"example.net\""),
            ("", "write \"example.net\""),
            ("/(/", "unclosed group"),
        ] {
            let why = Names::default().add(bad, &mut Vec::new()).expect_err(bad);
            assert!(why.contains(hint), "{bad}: {why}");
        }
    }
}
