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
}

impl Owned {
    /// For a source of this configuration.
    pub fn new(credentials: &Credentials, hostname: &str) -> Owned {
        let domains = match &*credentials.domains {
            [] => vec![names::domain(hostname)],
            named => named.iter().map(|domain| names::domain(domain)).collect(),
        };
        Owned { domains }
    }

    /// The account called `name`. `said` is what the source says that it owns, parted by commas or blanks; nothing said
    /// differs from an empty word, which owns nothing.
    pub fn grant(&self, name: &str, said: Option<&str>) -> Outcome {
        match self.account(name, said) {
            Some(account) => Outcome::Granted(account),
            None => Outcome::Unavailable("it granted an account whose name can't be one".into()),
        }
    }

    /// The account called `name`, with what it owns. `None`: that can't be a name.
    pub fn account(&self, name: &str, said: Option<&str>) -> Option<Account> {
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
            None if name.contains('@') => vec![names::folded(name).into()],
            None => self
                .domains
                .iter()
                .map(|domain| format!("{}@{domain}", names::folded(name)).into())
                .collect(),
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
        };
        match owned.grant(name, said) {
            Outcome::Granted(account) => account.addresses.iter().map(|a| a.to_string()).collect(),
            other => vec![format!("{other:?}")],
        }
    }

    #[test]
    fn what_is_said_counts_and_else_the_name() {
        assert_eq!(addresses("Amy", None), ["amy@a.example", "amy@b.example"]);
        assert_eq!(addresses("Amy@C.example", None), ["amy@c.example"]);
        assert_eq!(
            addresses("amy", Some("x@C.example, @d.example, nothing")),
            ["x@c.example", "@d.example"]
        );
        assert!(addresses("amy", Some("")).is_empty());
    }

    #[test]
    fn what_can_t_be_a_name_is_nobody() {
        for name in ["", "a\nb", &"x".repeat(321)] {
            assert!(addresses(name, None)[0].starts_with("Unavailable"));
        }
    }
}
