//! Limits of the certificates that a peer shows, checked before any path is built of them.
//!
//! webpki tries each order of certificates that may be each other's issuers, and reads all of them again for each step: of nine
//! with one name and hundreds of small ones beside them, one handshake makes four seconds of computing. Its own limits (200,000
//! steps, 100 signatures) are for one honest check now and then. With those here a chain of a stranger costs 18 steps at
//! most, over 32 KiB.

use rustls::{CertificateError, OtherError, pki_types::CertificateDer};
use std::{fmt, sync::Arc};
use webpki::EndEntityCert;

/// Certificates of a chain at most, the peer's own included. Real ones have two to four, some with the authority's own.
pub(super) const CERTIFICATES_MAX: usize = 6;
/// Octets of a chain at most. Real ones have 2 to 8 KiB.
const OCTETS_MAX: usize = 32 * 1024;
/// A certificate counts as so many octets beside its own: what it takes in memory where it is kept.
const CERTIFICATE: usize = 64;
/// Issuers with one and the same name at most: an authority's own certificate, and one by an older authority.
const NAMESAKES_MAX: usize = 2;

/// Why a chain is not looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Excess {
    Certificates,
    Octets,
    Namesakes,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Excess::Certificates => write!(f, "more than {CERTIFICATES_MAX} certificates"),
            Excess::Octets => write!(f, "certificates of more than {OCTETS_MAX} octets"),
            Excess::Namesakes => write!(f, "more than {NAMESAKES_MAX} issuers of one name"),
        }
    }
}

/// rustls writes it so into what it says of a handshake that failed.
impl fmt::Debug for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Excess {}

impl From<Excess> for rustls::Error {
    fn from(excess: Excess) -> rustls::Error {
        CertificateError::Other(OtherError(Arc::new(excess))).into()
    }
}

/// May a path be built of this chain?
pub(super) fn limit(own: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), Excess> {
    if others.len() >= CERTIFICATES_MAX {
        return Err(Excess::Certificates);
    }
    limit_octets(own, others)?;
    // Read as webpki does, which passes over those that it can't read.
    let read: Vec<EndEntityCert<'_>> = others
        .iter()
        .filter_map(|certificate| EndEntityCert::try_from(certificate).ok())
        .collect();
    for one in &read {
        let namesakes = read.iter().filter(|other| other.subject() == one.subject());
        if namesakes.count() > NAMESAKES_MAX {
            return Err(Excess::Namesakes);
        }
    }
    Ok(())
}

/// May this chain be kept for as long as its session lasts?
pub(super) fn limit_octets(
    own: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
) -> Result<(), Excess> {
    let all = others.iter().chain([own]);
    let octets: usize = all.map(|one| one.len() + CERTIFICATE).sum();
    match octets > OCTETS_MAX {
        true => Err(Excess::Octets),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tls::{Anchors, identity::now, trust::Clients};
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose,
        IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
    };
    use rustls::{
        RootCertStore,
        pki_types::{ServerName, UnixTime},
        server::{
            WebPkiClientVerifier,
            danger::{ClientCertVerified, ClientCertVerifier},
        },
    };

    type Issuer = CertifiedIssuer<'static, KeyPair>;

    fn key() -> KeyPair {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
    }

    /// An authority of this name: by another one, or of its own.
    fn authority(name: &str, above: Option<&Issuer>) -> Issuer {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        match above {
            Some(above) => Issuer::signed_by(params, key(), above).unwrap(),
            None => Issuer::self_signed(params, key()).unwrap(),
        }
    }

    fn leaf(above: &Issuer) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["mx.example.net".to_string()]).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        params.signed_by(&key(), above).unwrap().der().clone()
    }

    fn at() -> UnixTime {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(now().try_into().unwrap()))
    }

    /// What verifies clients against this authority.
    fn clients(root: &Issuer) -> Clients {
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).unwrap();
        let provider = crate::tls::provider();
        let strict = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        Clients {
            strict: strict.build().unwrap(),
            takes_any: false,
        }
    }

    fn excess(result: Result<ClientCertVerified, rustls::Error>) -> Option<Excess> {
        match result {
            Ok(_) => None,
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(why))) => {
                why.0.downcast_ref().copied()
            }
            Err(why) => panic!("{why}"),
        }
    }

    #[test]
    fn four_authorities_between_are_followed_and_a_root_may_come_along() {
        let root = authority("root", None);
        let mut between: Vec<Issuer> = Vec::new();
        for depth in 0..4 {
            let above = between.last().unwrap_or(&root);
            between.push(authority(&format!("below {depth}"), Some(above)));
        }
        let own = leaf(between.last().unwrap());
        let others = between.iter().rev().chain([&root]);
        let mut others: Vec<_> = others.map(|issuer| issuer.der().clone()).collect();
        assert_eq!(others.len() + 1, CERTIFICATES_MAX);
        let verifier = clients(&root);
        let verdict = verifier.verify_client_cert(&own, &others, at());
        assert_eq!(excess(verdict), None);
        others.push(root.der().clone());
        let verdict = verifier.verify_client_cert(&own, &others, at());
        assert_eq!(excess(verdict), Some(Excess::Certificates));
    }

    #[test]
    fn issuers_of_one_name_are_not_tried_in_every_order() {
        let root = authority("root", None);
        let same: Vec<Issuer> = (0..3).map(|_| authority("X", None)).collect();
        let own = leaf(&same[0]);
        let same: Vec<_> = same.iter().map(|one| one.der().clone()).collect();
        let verdict = clients(&root).verify_client_cert(&own, &same, at());
        assert_eq!(excess(verdict), Some(Excess::Namesakes));
        // Two are what an authority has that is known by an older one as well.
        let verdict = clients(&root).verify_client_cert(&own, &same[1..], at());
        assert!(matches!(
            verdict,
            Err(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer
            ))
        ));
    }

    #[test]
    fn a_backend_is_held_to_the_same_and_a_named_certificate_is_taken_all_the_same() {
        let root = authority("root", None);
        let own = leaf(&root);
        let others: Vec<_> = (0..9).map(|_| authority("X", None).der().clone()).collect();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let name = ServerName::try_from("mx.example.net").unwrap();
        std::fs::write(&file, root.pem()).unwrap();
        let anchors = Anchors::read(&file).unwrap();
        for verifier in [anchors.for_backends(), anchors.for_web()].map(Result::unwrap) {
            let verify = |others| verifier.verify_server_cert(&own, others, &name, &[], at());
            assert!(verify(&[]).is_ok());
            let why = verify(&others).unwrap_err();
            assert!(
                why.to_string().contains("more than 6 certificates"),
                "{why}"
            );
        }
        let named = rcgen::generate_simple_self_signed(["mx.example.net".to_string()]).unwrap();
        std::fs::write(&file, named.cert.pem()).unwrap();
        let verifier = Anchors::read(&file).unwrap().for_backends().unwrap();
        let named = named.cert.der();
        assert!(
            verifier
                .verify_server_cert(named, &others, &name, &[], at())
                .is_ok()
        );
    }

    #[test]
    fn a_chain_that_is_kept_with_its_session_is_short() {
        let root = authority("root", None);
        let own = leaf(&root);
        let optional = Clients {
            takes_any: true,
            ..clients(&root)
        };
        let verdict = |others: &[_]| optional.verify_client_cert(&own, others, at());
        // Not believed, and no reason to lose mail.
        assert_eq!(excess(verdict(&vec![own.clone(); CERTIFICATES_MAX])), None);
        let large = CertificateDer::from(vec![0; OCTETS_MAX]);
        assert_eq!(excess(verdict(&[large])), Some(Excess::Octets));
        let tiny = CertificateDer::from(vec![0]);
        let many = vec![tiny; OCTETS_MAX / CERTIFICATE];
        assert_eq!(excess(verdict(&many)), Some(Excess::Octets));
    }
}
