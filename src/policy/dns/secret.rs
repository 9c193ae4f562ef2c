//! A list's name, with a key in it that must not be seen.
//!
//! Lists that are paid for have the customer's key as a label: `KEY.zen.dq.example.net`. The key has to be in the
//! question; it must not reach a log, a reply, a metric or an error. So the whole name leaves this type by
//! [`ZoneName::asked`] alone, and everything printed says the label.

use super::names::{NAME_MAX, is_host, is_label};
use std::fmt;

/// What stands for the key in a configured zone name.
pub const KEY: &str = "{key}";
/// Octets of a label.
pub const LABEL_MAX: usize = 64;

/// The name of a list.
#[derive(Clone, PartialEq, Eq)]
pub struct ZoneName {
    whole: Box<str>,
    key: Option<Box<str>>,
    label: Box<str>,
}

impl ZoneName {
    /// From the name as configured, the key where the name says [`KEY`], and what to call it in logs (default: the
    /// name without the key).
    ///
    /// # Errors
    /// In words, and without the key in them.
    pub fn new(name: &str, key: Option<&str>, label: Option<&str>) -> Result<ZoneName, String> {
        let bare = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let keyed = bare.split('.').filter(|part| *part == KEY).count();
        let public: Vec<&str> = bare.split('.').filter(|part| *part != KEY).collect();
        let public = public.join(".");
        let whole = match (keyed, key) {
            (0, None) => bare.clone(),
            (0, Some(_)) => {
                return Err(format!(
                    "the zone {name:?} has no {KEY} for the key to go to: write \"{KEY}.{public}\""
                ));
            }
            (1, Some(key)) if is_label(key) => bare.replace(KEY, &key.to_ascii_lowercase()),
            (1, Some(_)) => {
                return Err(format!(
                    "the key of the zone {public:?} is no label of a domain name: up to 63 letters, digits and hyphens"
                ));
            }
            (1, None) => return Err(format!("the zone {name:?} needs a key")),
            _ => return Err(format!("the zone {name:?} has more than one {KEY}")),
        };
        if !is_host(&public) || whole.len() > NAME_MAX {
            return Err(format!("the zone {name:?} is not a domain name"));
        }
        let label = label.unwrap_or(&public);
        let fits = (1..=LABEL_MAX).contains(&label.len())
            && label
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet));
        // The default may be longer than a label may be: it is cut, for the end of a name says less.
        let label = match fits {
            true => label,
            false if label == public => &public[..LABEL_MAX],
            false => {
                return Err(format!(
                    "the name {label:?} must be 1 to {LABEL_MAX} letters, digits, dots, hyphens or underscores"
                ));
            }
        };
        let made = ZoneName {
            whole: whole.into(),
            key: key.map(|key| key.to_ascii_lowercase().into()),
            label: label.into(),
        };
        match made.shows_key(&made.label) {
            true => Err(format!("the name for {public:?} has the key in it")),
            false => Ok(made),
        }
    }

    /// What logs, replies and metrics call the list.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The whole name, key included: for questions alone.
    pub(crate) fn asked(&self) -> &str {
        &self.whole
    }

    /// A name that is asked for in this list, with `{key}` in place of the key; `None` where it has no key in it.
    pub(crate) fn hidden(&self, name: &str) -> Option<String> {
        let label = self.key.as_deref()?;
        let before = name.strip_suffix(&*self.whole)?;
        let parts = self.whole.split('.');
        let parts: Vec<&str> = parts
            .map(|part| if part == label { KEY } else { part })
            .collect();
        Some(before.to_string() + &parts.join("."))
    }

    /// Whether `text` shows the key, in any case.
    #[must_use]
    pub fn shows_key(&self, text: &str) -> bool {
        self.find_key(text.as_bytes()).is_some()
    }

    fn find_key(&self, text: &[u8]) -> Option<usize> {
        let key = self.key.as_ref()?.as_bytes();
        text.windows(key.len())
            .position(|window| window.eq_ignore_ascii_case(key))
    }
}

impl fmt::Debug for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ZoneName({})", self.label)
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "S3cretKey0123456789";

    #[test]
    fn the_key_is_asked_and_not_shown() {
        let name = ZoneName::new("{key}.Zen.dq.example.net.", Some(SECRET), None).expect("a zone");
        assert_eq!(name.asked(), "s3cretkey0123456789.zen.dq.example.net");
        for shown in [name.to_string(), format!("{name:?}"), format!("{name:#?}")] {
            assert!(shown.contains("zen.dq.example.net"), "{shown}");
            assert!(!name.shows_key(&shown), "{shown}");
        }
        let inside =
            ZoneName::new("zen.{key}.example.net", Some(SECRET), Some("zen")).expect("a zone");
        assert_eq!(inside.asked(), "zen.s3cretkey0123456789.example.net");
        assert_eq!(inside.label(), "zen");
        let asked = format!("2.0.0.127.{}", inside.asked());
        assert_eq!(
            inside.hidden(&asked).as_deref(),
            Some("2.0.0.127.zen.{key}.example.net")
        );
        assert_eq!(inside.hidden("other.example"), None);
    }

    #[test]
    fn mistakes_are_told_without_the_key() {
        let long_key = "k".repeat(64);
        let long = format!("{}.example", "a.".repeat(130));
        for (name, key, label, why) in [
            ("", None, None, "is not a domain name"),
            ("bl..example", None, None, "is not a domain name"),
            ("http://bl.example/", None, None, "is not a domain name"),
            ("bl.example:53", None, None, "is not a domain name"),
            ("192.0.2.1", None, None, "is not a domain name"),
            (long.as_str(), None, None, "is not a domain name"),
            ("{key}.bl.example", None, None, "needs a key"),
            (
                "bl.example",
                Some(SECRET),
                None,
                "write \"{key}.bl.example\"",
            ),
            (
                "{key}.{key}.example",
                Some(SECRET),
                None,
                "more than one {key}",
            ),
            ("x{key}.example", Some(SECRET), None, "has no {key}"),
            ("{key}.example", Some("a.b"), None, "is no label"),
            ("{key}.example", Some(""), None, "is no label"),
            (
                "{key}.example",
                Some(long_key.as_str()),
                None,
                "is no label",
            ),
            ("{key}.example", Some("a b\n"), None, "is no label"),
            ("bl.example", None, Some(""), "must be 1 to 64"),
            ("bl.example", None, Some("a b"), "must be 1 to 64"),
            (
                "{key}.example",
                Some(SECRET),
                Some(SECRET),
                "has the key in it",
            ),
        ] {
            let told = ZoneName::new(name, key, label).expect_err(name);
            assert!(told.contains(why), "{name:?}: {told}");
            assert!(
                !told.contains(SECRET) && !told.contains(&long_key),
                "{told}"
            );
        }
    }

    #[test]
    fn a_long_name_has_a_short_label() {
        let name = format!("{}.example", "a.".repeat(60) + "a");
        let name = ZoneName::new(&name, None, None).expect("a zone");
        assert_eq!(name.label().len(), LABEL_MAX);
    }
}
