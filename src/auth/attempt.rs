//! The words between a session that wants to authenticate and a source of credentials.

use std::{fmt, net::IpAddr, sync::Arc};

/// One try to authenticate, as a credential source sees it.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The listener's name.
    pub listener: Arc<str>,
    /// The client's true address.
    pub client: IpAddr,
    /// The name in EHLO; any octets.
    pub helo: Vec<u8>,
    /// Whether TLS is active.
    pub secured: bool,
    /// How it was said.
    pub mechanism: Mechanism,
    /// What was said.
    pub credential: Credential,
}

#[cfg(test)]
impl Attempt {
    /// A try with a password, for tests.
    pub(super) fn plain(user: &str, password: &str) -> Attempt {
        Attempt {
            listener: "submission".into(),
            client: [192, 0, 2, 7].into(),
            helo: Vec::new(),
            secured: true,
            mechanism: Mechanism::Plain,
            credential: Credential::Password {
                user: user.into(),
                password: Secret::new(password.as_bytes()),
            },
        }
    }
}

/// A SASL mechanism that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// What Outlook speaks (draft-murchison-sasl-login).
    Login,
    /// RFC 7677.
    ScramSha256,
    /// RFC 7677 with channel binding (RFC 5802 §6).
    ScramSha256Plus,
    /// RFC 7628.
    OauthBearer,
    /// Google's and Microsoft's forerunner of OAUTHBEARER.
    Xoauth2,
}

impl Mechanism {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Mechanism::OauthBearer => "OAUTHBEARER",
            Mechanism::Xoauth2 => "XOAUTH2",
        }
    }
}

/// What a client offered as proof.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A name and its password.
    Password {
        /// The account's name, as the client wrote it.
        user: String,
        /// As the client sent it, not prepared.
        password: Secret,
    },
    /// An OAuth access token (RFC 6750).
    Token {
        /// The name that came with it, where one did.
        user: Option<String>,
        /// As the client sent it: opaque to us.
        token: Secret,
    },
}

/// Secret octets: left out by `Debug`, overwritten when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Wraps them.
    #[must_use]
    pub fn new(octets: impl Into<Box<[u8]>>) -> Secret {
        Secret(octets.into())
    }

    /// For the code that checks them.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        // Else the compiler sees that it is not read again.
        std::hint::black_box(&mut self.0);
    }
}

/// What a source says.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It is this account.
    Granted(Account),
    /// It is not; whether name or password was wrong is not told.
    Denied,
    /// The source can't say now; why, for our log and never for the client.
    Unavailable(String),
}

/// The account that authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The account's name.
    pub name: Arc<str>,
    /// The addresses that it owns: `user@example.net`, or `@example.net` for all of a domain. In lower case.
    pub addresses: Arc<[Box<str>]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let secret = Secret::new(*b"hunter2");
        let credential = Credential::Password {
            user: "amy".into(),
            password: secret.clone(),
        };
        assert!(!format!("{credential:?}").contains("hunter2"));
        assert_eq!(secret.octets(), b"hunter2");
    }
}
