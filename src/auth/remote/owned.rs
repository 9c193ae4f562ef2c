//! Which addresses an account owns, from what a source says of it.

use crate::{
    auth::{Account, Outcome, names},
    config::Credentials,
};

/// Octets of an account's name at most (the longest path of RFC 5321 and its `@`).
const NAME_MAX: usize = 320;

/// Addresses of one account at most; the rest is not heard.
const ADDRESSES_MAX: usize = 1000;

/// What an account owns that nothing is said of.
#[derive(Debug)]
pub struct Owned {
    domains: Vec<String>,
    /// `domains` is written: an address at another domain is nothing that an account owns.
    bound: bool,
}

impl Owned {
    /// For a source of this configuration.
    pub fn new(credentials: &Credentials, hostname: &str) -> Owned {
        let domains = match &*credentials.domains {
            [] => vec![names::domain(hostname)],
            named => named.iter().map(|domain| names::domain(domain)).collect(),
        };
        Owned {
            domains,
            bound: !credentials.domains.is_empty(),
        }
    }

    /// The account called `name`. `said` is what the source says that it owns, parted by commas or blanks; nothing said
    /// differs from an empty word, which owns nothing.
    pub fn grant(&self, name: &str, said: Option<&str>) -> Outcome {
        match self.account(name, said) {
            Some(account) => Outcome::Granted(account),
            None => Outcome::Unavailable("it granted an account whose name can't be one".into()),
        }
    }

    /// The account called `name`, with what it owns. `None`: that can't be a name. The name may be what the client typed: many sources
    /// look at no case, and at no domain. So all its spellings are one account, as in an account file, and a domain that a client
    /// has made up gives it nothing.
    pub fn account(&self, name: &str, said: Option<&str>) -> Option<Account> {
        let name = names::folded(name);
        if name.is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control) {
            return None;
        }
        let addresses: Vec<Box<str>> = match said {
            Some(said) => said
                .split([',', ' ', '\t'])
                .filter(|word| word.contains('@'))
                .take(ADDRESSES_MAX)
                .map(|word| names::address(word).into())
                .collect(),
            None => match name.rsplit_once('@') {
                Some((_, domain)) if self.bound && !self.domains.iter().any(|d| d == domain) => {
                    Vec::new()
                }
                Some(_) => vec![name.as_str().into()],
                None => self
                    .domains
                    .iter()
                    .map(|domain| format!("{name}@{domain}").into())
                    .collect(),
            },
        };
        Some(Account {
            name: name.into(),
            addresses: addresses.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(name: &str, said: Option<&str>) -> Vec<String> {
        let owned = Owned {
            domains: vec!["a.example".into(), "b.example".into()],
            bound: true,
        };
        match owned.grant(name, said) {
            Outcome::Granted(account) => account.addresses.iter().map(|a| a.to_string()).collect(),
            other => vec![format!("{other:?}")],
        }
    }

    #[test]
    fn what_is_said_counts_and_else_the_name() {
        assert_eq!(addresses("Amy", None), ["amy@a.example", "amy@b.example"]);
        assert_eq!(addresses("Amy@B.example", None), ["amy@b.example"]);
        assert_eq!(
            addresses("amy", Some("x@C.example, @d.example, nothing")),
            ["x@c.example", "@d.example"]
        );
        assert!(addresses("amy", Some("")).is_empty());
    }

    #[test]
    fn a_domain_that_was_typed_must_be_one_of_those_that_are_written() {
        for name in [
            "amy@c.example",
            "amy@a.example.c.example",
            "amy@",
            "amy@x@c.example",
        ] {
            assert!(addresses(name, None).is_empty(), "{name}");
        }
        assert_eq!(
            addresses("amy@c.example", Some("@d.example")),
            ["@d.example"]
        );
        // Without `domains` the name is the source's word.
        let owned = Owned::new(&Credentials::default(), "mx.example");
        let account = owned.account("Amy@C.example", None).expect("a name");
        assert_eq!(*account.addresses, ["amy@c.example".into()]);
        let account = owned.account("amy", None).expect("a name");
        assert_eq!(*account.addresses, ["amy@mx.example".into()]);
    }

    #[test]
    fn all_spellings_of_a_name_are_one_account() {
        let owned = Owned::new(&Credentials::default(), "mx.example");
        for name in ["bob", "BOB", "bOb", " bob", "\u{ff22}ob"] {
            assert_eq!(&*owned.account(name, None).expect("a name").name, "bob");
        }
    }

    #[test]
    fn what_can_t_be_a_name_is_nobody() {
        for name in ["", "a\nb", &"x".repeat(321)] {
            assert!(addresses(name, None)[0].starts_with("Unavailable"));
        }
    }
}
