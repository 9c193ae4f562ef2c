//! AUTH as the sink knows it (RFC 4954): PLAIN (RFC 4616) and LOGIN, for one account or any. Pure.
//!
//! Rejected: Gatepost's own SASL, for the reason that `session` has for a machine of its own.

use super::spec::{as_text, items, list};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::{fmt, str::FromStr};

/// A way to authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// All in one response.
    Plain,
    /// The name, then the password.
    Login,
}

impl Mechanism {
    const ALL: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];

    /// Its name in EHLO and AUTH.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
        }
    }
}

impl FromStr for Mechanism {
    type Err = String;

    fn from_str(text: &str) -> Result<Mechanism, String> {
        let found = Mechanism::ALL
            .into_iter()
            .find(|one| one.as_str().eq_ignore_ascii_case(text));
        found.ok_or_else(|| format!("`{text}` is no mechanism; there are plain, login"))
    }
}

/// What AUTH announces; nothing: there is no AUTH.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mechanisms(pub Vec<Mechanism>);

impl FromStr for Mechanisms {
    type Err = String;

    fn from_str(text: &str) -> Result<Mechanisms, String> {
        let mut found = Vec::new();
        for item in items(text).filter(|item| *item != "none") {
            let one = item.parse()?;
            if !found.contains(&one) {
                found.push(one);
            }
        }
        Ok(Mechanisms(found))
    }
}

impl fmt::Display for Mechanisms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.pad("none");
        }
        list(f, self.0.iter().map(|one| one.as_str().to_lowercase()))
    }
}

as_text!(Mechanisms);

/// The account that is accepted: one name with its password, or any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account(pub Option<(String, String)>);

impl Account {
    /// Whether these are its credentials.
    #[must_use]
    pub fn admits(&self, user: &[u8], password: &[u8]) -> bool {
        self.0
            .as_ref()
            .is_none_or(|(name, word)| name.as_bytes() == user && word.as_bytes() == password)
    }
}

impl FromStr for Account {
    type Err = String;

    fn from_str(text: &str) -> Result<Account, String> {
        if text.is_empty() {
            return Ok(Account(None));
        }
        let (user, password) = text
            .split_once(':')
            .ok_or_else(|| format!("`{text}` is not of the form USER:PASSWORD"))?;
        Ok(Account(Some((user.to_owned(), password.to_owned()))))
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some((user, password)) => write!(f, "{user}:{password}"),
            None => Ok(()),
        }
    }
}

as_text!(Account);

/// What the next line of the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    /// The response of PLAIN.
    Plain,
    /// The name of LOGIN.
    User,
    /// The password of LOGIN.
    Password,
}

/// What a line of the client came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Another line is wanted.
    Go(Awaited),
    /// A name and a password.
    Whole(Vec<u8>, Vec<u8>),
    /// `*`.
    Cancelled,
    /// It is not what it should be.
    Nonsense,
}

impl Awaited {
    /// The challenge, in base64.
    pub const fn challenge(self) -> &'static str {
        match self {
            Awaited::Plain => "",
            Awaited::User => "VXNlcm5hbWU6",
            Awaited::Password => "UGFzc3dvcmQ6",
        }
    }

    /// Takes the line. `user` is where the name of LOGIN is kept.
    pub fn hear(self, line: &[u8], user: &mut Vec<u8>) -> Heard {
        if line == b"*" {
            return Heard::Cancelled;
        }
        let Ok(said) = BASE64_STANDARD.decode(line) else {
            return Heard::Nonsense;
        };
        match self {
            Awaited::Plain => plain(&said).unwrap_or(Heard::Nonsense),
            Awaited::User => {
                *user = said;
                Heard::Go(Awaited::Password)
            }
            Awaited::Password => Heard::Whole(std::mem::take(user), said),
        }
    }
}

/// authorize-id NUL user NUL password.
fn plain(said: &[u8]) -> Option<Heard> {
    let mut parts = said.split(|octet| *octet == 0).skip(1);
    let (user, password) = (parts.next()?, parts.next()?);
    parts
        .next()
        .is_none()
        .then(|| Heard::Whole(user.to_vec(), password.to_vec()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_mechanism_comes_to_a_name_and_a_password() {
        let whole = Heard::Whole(b"me".to_vec(), b"pass".to_vec());
        let mut user = Vec::new();
        assert_eq!(Awaited::Plain.hear(b"AG1lAHBhc3M=", &mut user), whole);
        assert_eq!(
            Awaited::User.hear(b"bWU=", &mut user),
            Heard::Go(Awaited::Password)
        );
        assert_eq!(Awaited::Password.hear(b"cGFzcw==", &mut user), whole);
        assert_eq!(Awaited::User.hear(b"*", &mut user), Heard::Cancelled);
        // Not base64; one NUL; three.
        for line in [&b"?"[..], b"AG1l", b"AG1lAHBhc3MAeA=="] {
            assert_eq!(Awaited::Plain.hear(line, &mut user), Heard::Nonsense);
        }
    }

    #[test]
    fn what_is_shown_may_be_written() {
        for text in ["plain,login", "login", "none"] {
            assert_eq!(text.parse::<Mechanisms>().unwrap().to_string(), text);
        }
        for text in ["me:pa:ss", ""] {
            assert_eq!(text.parse::<Account>().unwrap().to_string(), text);
        }
        assert!("me".parse::<Account>().unwrap_err().contains("USER:"));
        let error = "cram-md5".parse::<Mechanisms>().unwrap_err();
        assert!(error.contains("plain, login"), "{error}");
        let one: Account = "me:pa:ss".parse().unwrap();
        assert!(one.admits(b"me", b"pa:ss") && !one.admits(b"me", b""));
        assert!(Account(None).admits(b"anybody", b""));
    }
}
