//! TLS for source, sink and comparison: certificates made for the occasion, and configurations that do as they are
//! told: a client that resumes or does not, a server that hands out tickets.
//!
//! It must not know SMTP. The handshakes are those of gatepost's `net`; only what waits and measures nothing
//! ([`plain_stream`]) speaks TLS over a blocking socket.

mod certificate;
mod client;
mod server;

pub use certificate::{KeyKind, Made, make};
pub use client::{Client, Verify, plain_stream};
pub use server::{Identity, acceptor};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use std::{
    fmt,
    str::FromStr,
    sync::{Arc, OnceLock},
};

/// When TLS begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Never.
    #[default]
    None,
    /// When STARTTLS was said (RFC 3207).
    StartTls,
    /// At once (RFC 8314).
    Implicit,
}

impl Mode {
    /// All of them.
    pub const ALL: [Mode; 3] = [Mode::None, Mode::StartTls, Mode::Implicit];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::None => "none",
            Mode::StartTls => "starttls",
            Mode::Implicit => "implicit",
        }
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Mode, String> {
        let found = Mode::ALL.into_iter().find(|one| one.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is none of none, starttls, implicit"))
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The cryptography: the same as Gatepost's own.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider())))
}
