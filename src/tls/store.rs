//! The certificates of all listeners, and which of them a client gets.

use super::Identity;
use rustls::{
    CipherSuite, SignatureScheme,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::sync::{Arc, PoisonError, RwLock};

/// The certificates in force. Those of the file are fixed; others can be put in while it serves.
///
/// The lock is held for a copy of one pointer, once a handshake.
#[derive(Debug, Default)]
pub struct Store {
    all: RwLock<Arc<Vec<Identity>>>,
}

impl Store {
    /// With these; the first is for who asks for none or for a name that nobody has.
    #[must_use]
    pub fn new(identities: Vec<Identity>) -> Store {
        Store {
            all: RwLock::new(Arc::new(identities)),
        }
    }

    /// All of them, the default first.
    #[must_use]
    pub fn all(&self) -> Arc<Vec<Identity>> {
        Arc::clone(&self.all.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts one in, in the place of whatever has the same names and kind of key; handshakes from now on get it.
    pub fn put(&self, identity: Identity) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let same = |known: &Identity| {
            known.names() == identity.names() && known.is_rsa() == identity.is_rsa()
        };
        let mut next = Vec::clone(&all);
        match next.iter().position(same) {
            Some(place) => next[place] = identity,
            None => next.push(identity),
        }
        *all = Arc::new(next);
    }

    /// The one for a client that asks for `name` and can check what `usable` says.
    fn choose(&self, name: Option<&str>, usable: impl Fn(&Identity) -> bool) -> Option<Identity> {
        let all = self.all();
        let name = name.map(str::to_ascii_lowercase);
        let mut fit: Vec<&Identity> = match &name {
            Some(name) => all.iter().filter(|one| one.is_for(name)).collect(),
            None => Vec::new(),
        };
        if fit.is_empty() {
            // The default, and what else there is for its name.
            let first = all.first()?;
            fit = all.iter().filter(|one| one.is_for(first.name())).collect();
        }
        // The cheaper signatures first; the order of the file among equals.
        fit.sort_by_key(|one| one.is_rsa());
        fit.iter()
            .find(|one| usable(one))
            .or(fit.first())
            .map(|one| Identity::clone(one))
    }
}

impl ResolvesServerCert for Store {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let usable = |identity: &Identity| {
            can_check(identity, hello.signature_schemes(), hello.cipher_suites())
        };
        self.choose(hello.server_name(), usable)
            .map(|identity| identity.certified)
    }
}

/// Whether a client that offers these can check this key's signatures.
fn can_check(identity: &Identity, schemes: &[SignatureScheme], suites: &[CipherSuite]) -> bool {
    // Below TLS 1.3 the kind of the key is a part of the suite; there, it is not.
    let suite = suites.iter().any(|suite| match suite.as_str() {
        None => false,
        Some(name) if name.starts_with("TLS13_") => true,
        Some(name) => name.contains("_ECDHE_RSA_") == identity.is_rsa() && name.contains("_ECDHE_"),
    });
    suite && identity.certified.key.choose_scheme(schemes).is_some()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tls::testing::identity;

    fn chosen(store: &Store, name: Option<&str>) -> String {
        store.choose(name, |_| true).unwrap().name().to_string()
    }

    #[test]
    fn a_name_finds_its_certificate_and_the_first_is_for_the_others() {
        let store = Store::new(vec![
            identity(&["mx.example.net"]),
            identity(&["mx.example.org", "mail.example.org"]),
            identity(&["*.example.com"]),
        ]);
        for (asked, given) in [
            (Some("mail.example.org"), "mx.example.org"),
            (Some("MX.Example.ORG"), "mx.example.org"),
            (Some("a.example.com"), "*.example.com"),
            (Some("a.b.example.com"), "mx.example.net"),
            (Some("example.com"), "mx.example.net"),
            (Some("nobody.example"), "mx.example.net"),
            (None, "mx.example.net"),
        ] {
            assert_eq!(chosen(&store, asked), given, "{asked:?}");
        }
        assert!(Store::default().choose(None, |_| true).is_none());
    }

    #[test]
    fn one_that_is_put_in_takes_the_place_of_its_elder() {
        let store = Store::new(vec![identity(&["mx.example.net"])]);
        let newer = identity(&["mx.example.net"]);
        store.put(newer.clone());
        assert_eq!(store.all().len(), 1);
        assert!(Arc::ptr_eq(&store.all()[0].certified, &newer.certified));
        store.put(identity(&["mx.example.org"]));
        assert_eq!(chosen(&store, Some("mx.example.org")), "mx.example.org");
        assert_eq!(chosen(&store, None), "mx.example.net");
    }

    #[test]
    fn who_knows_no_ecdsa_suite_can_not_check_an_ecdsa_key() {
        let ecdsa = identity(&["mx.example.net"]);
        let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256];
        let check = |suite| can_check(&ecdsa, &schemes, &[suite]);
        assert!(check(CipherSuite::TLS13_AES_128_GCM_SHA256));
        assert!(check(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256));
        assert!(!check(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256));
        assert!(!check(CipherSuite::TLS_RSA_WITH_AES_128_GCM_SHA256));
        assert!(!can_check(
            &ecdsa,
            &[SignatureScheme::RSA_PSS_SHA256],
            &[CipherSuite::TLS13_AES_128_GCM_SHA256]
        ));
    }
}
