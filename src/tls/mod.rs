//! Certificates, keys and what becomes of them: a listener's side of TLS ([`Acceptor`]), a pool's ([`Connector`]), and
//! what a handshake brought ([`TlsFacts`]).
//!
//! What it must not know: sockets, sessions, backends. It makes configurations of files; `net` runs the handshakes, and
//! the rooms above decide which connections speak TLS.
//!
//! Rejected: rustls's connections without buffers. They would save an idle session 4 KiB, but they tell neither the name
//! that a client asked for nor the binding that SCRAM-SHA-256-PLUS needs.

mod acceptor;
mod back;
mod chain;
mod connector;
mod error;
mod facts;
mod front;
mod identity;
mod keys;
mod store;
mod trust;

pub use acceptor::Acceptor;
pub use back::Back;
pub use connector::{Connector, Verify, web};
pub use error::{Error, failure, is_alert};
pub use facts::TlsFacts;
pub use front::{Front, TlsFault};
use identity::Half;
pub use identity::{Identity, ends, warnings};
pub use store::{CertificateSlot, Store};
pub use trust::{Anchors, unverified};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use std::sync::{Arc, OnceLock};

/// The one protocol of ours (RFC 7301). A client that offers only others is refused: a client of HTTP or IMAP must not be
/// led to an SMTP server by a certificate that fits both (ALPACA).
const ALPN: &[u8] = b"smtp";

/// The cryptography of all connections: aws-lc-rs with rustls's choice of suites, which are AEAD with forward secrecy.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod testing {
    use super::{Acceptor, Anchors, Identity, Store, acceptor::Terms};
    use crate::config::{ClientCertificates, TlsVersion};
    use rustls::pki_types::PrivateKeyDer;
    use std::{ops::Range, sync::Arc};

    /// A certificate of its own making, with an ECDSA key.
    pub(crate) fn identity(names: &[&str]) -> Identity {
        identity_of(names, 2000..4000)
    }

    /// One that is good in these years.
    pub(crate) fn identity_of(names: &[&str], years: Range<i32>) -> Identity {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
        let pair = rcgen::KeyPair::generate().unwrap();
        let made = params.self_signed(&pair).unwrap();
        let key = PrivateKeyDer::try_from(pair.serialize_der()).unwrap();
        Identity::of(vec![made.der().clone()], key).unwrap()
    }

    /// Answers handshakes as one of these names, and asks clients for a certificate, which they need not have.
    pub(crate) fn asking(names: &[&str]) -> Acceptor {
        let authority = rcgen::generate_simple_self_signed(Vec::new()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, authority.cert.pem()).unwrap();
        let anchors = Anchors::read(&file).unwrap();
        let terms = Terms {
            oldest: TlsVersion::V12,
            clients: Some((ClientCertificates::Optional, &anchors)),
            tickets: None,
        };
        Acceptor::of(Arc::new(Store::new(vec![identity(names)])), terms).unwrap()
    }
}
