//! The certificates of all listeners, and which of them a client gets.

use super::{Identity, identity::now};
use rustls::{
    CipherSuite, SignatureScheme,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::sync::{Arc, PoisonError, RwLock};

/// A place for one certificate, shared by the stores of all configurations: a reload brings a new store and the same
/// slot, so that what comes meanwhile is in force in both.
///
/// The lock is held for a copy of two pointers, once a handshake.
#[derive(Clone, Debug, Default)]
pub struct CertificateSlot(Arc<RwLock<Option<Identity>>>);

impl CertificateSlot {
    /// Puts one in, in the place of what is there: handshakes from now on get it.
    pub fn put(&self, identity: Identity) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(identity);
    }

    /// What is there.
    #[must_use]
    pub fn get(&self) -> Option<Identity> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The certificates in force. Those of the file are fixed; the one in the slot comes and is replaced while it serves.
#[derive(Debug, Default)]
pub struct Store {
    fixed: Vec<Identity>,
    slot: CertificateSlot,
}

impl Store {
    /// With these; the first is for clients that ask for no name or for an unknown one.
    #[must_use]
    pub fn new(fixed: Vec<Identity>) -> Store {
        Store::with(fixed, CertificateSlot::default())
    }

    /// With these, and whatever is in the slot after them.
    #[must_use]
    pub fn with(fixed: Vec<Identity>, slot: CertificateSlot) -> Store {
        Store { fixed, slot }
    }

    /// All of them, the default first.
    #[must_use]
    pub fn all(&self) -> Vec<Identity> {
        self.fixed.iter().cloned().chain(self.slot.get()).collect()
    }

    /// What comes and is replaced.
    #[must_use]
    pub fn slot(&self) -> &CertificateSlot {
        &self.slot
    }

    /// The one for a client that asks for `name` and can check what `usable` says, at a moment in seconds since 1970.
    fn choose(
        &self,
        name: Option<&str>,
        now: i64,
        usable: impl Fn(&Identity) -> bool,
    ) -> Option<Identity> {
        let moving = self.slot.get();
        let all = || self.fixed.iter().chain(&moving);
        let name = name.map(str::to_ascii_lowercase);
        let mut fit: Vec<&Identity> = match &name {
            Some(name) => all().filter(|one| one.is_for(name)).collect(),
            None => Vec::new(),
        };
        if fit.is_empty() {
            // The default, and what else there is for its name.
            let first = all().next()?;
            fit = all().filter(|one| one.is_for(first.name())).collect();
        }
        // Those first that are good now: one that has ended, or was laid there before its time, may stand beside. Then the cheaper
        // signatures; the order of the file among equals.
        fit.sort_by_key(|one| (!one.is_good(now), one.is_rsa()));
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
        self.choose(hello.server_name(), now(), usable)
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
    use crate::tls::testing::{identity, identity_of};

    fn chosen(store: &Store, name: Option<&str>) -> String {
        let chosen = store.choose(name, now(), |_| true).unwrap();
        chosen.name().to_string()
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
        assert!(Store::default().choose(None, now(), |_| true).is_none());
    }

    #[test]
    fn what_is_put_into_the_slot_takes_the_place_of_its_elder_in_all_stores() {
        let slot = CertificateSlot::default();
        let alone = Store::with(Vec::new(), slot.clone());
        let behind = Store::with(vec![identity(&["mx.example.net"])], slot.clone());
        assert!(alone.choose(None, now(), |_| true).is_none());
        slot.put(identity(&["mx.example.org"]));
        assert_eq!(chosen(&alone, None), "mx.example.org");
        let newer = identity(&["mx.example.org", "mail.example.org"]);
        slot.put(newer.clone());
        for store in [&alone, &behind] {
            assert_eq!(chosen(store, Some("mail.example.org")), "mx.example.org");
            let last = store.all().pop().unwrap();
            assert!(Arc::ptr_eq(&last.certified, &newer.certified));
        }
        // The file's come first, also for clients that ask for no name.
        assert_eq!(chosen(&behind, None), "mx.example.net");
        assert_eq!((alone.all().len(), behind.all().len()), (1, 2));
    }

    #[test]
    fn one_that_is_good_now_goes_before_one_that_is_not() {
        let name = "mx.example.net";
        let old = identity_of(&[name], 2020..2030);
        let good = identity_of(&[name], 2025..2035);
        let early = identity_of(&[name], 2033..2040);
        let other = identity_of(&["mx.example.org"], 2000..2100);
        let in_year = |year: i64| (year - 1970) * 31_556_952;
        let slot = CertificateSlot::default();
        slot.put(good.clone());
        for store in [
            Store::new(vec![
                early.clone(),
                old.clone(),
                good.clone(),
                other.clone(),
            ]),
            Store::new(vec![
                old.clone(),
                other.clone(),
                good.clone(),
                early.clone(),
            ]),
            // By ACME.
            Store::with(vec![old.clone(), early.clone()], slot),
        ] {
            let shown = |year: i64, given: &Identity| {
                for asked in [Some(name), None, Some("nobody.example")] {
                    let chosen = store.choose(asked, in_year(year), |_| true).unwrap();
                    assert!(
                        Arc::ptr_eq(&chosen.certified, &given.certified),
                        "{year} {asked:?}"
                    );
                }
            };
            shown(2022, &old);
            shown(2031, &good);
            shown(2037, &early);
        }
        // Where none is good, the first of the file is shown all the same.
        let store = Store::new(vec![old.clone(), early.clone()]);
        let chosen = store.choose(None, in_year(2031), |_| true).unwrap();
        assert!(Arc::ptr_eq(&chosen.certified, &old.certified));
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
