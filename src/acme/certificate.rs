//! A certificate with its key: read, looked at, and made by ourselves for the time until there is a real one.

use super::schedule::Validity;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

/// Certificates in a chain at most.
const CHAIN_MAX: usize = 16;
/// Days that a certificate of our own is good for.
const STOP_GAP_DAYS: i64 = 30;

/// A certificate, its chain and its key.
#[derive(Debug)]
pub struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    pem: String,
    names: Vec<String>,
    validity: Validity,
}

impl Certificate {
    /// Reads PEM with a key and a chain, the own certificate first.
    ///
    /// # Errors
    /// What is missing or broken.
    pub fn parse(pem: &str) -> Result<Certificate, String> {
        let text = pem.as_bytes();
        let key = PrivateKeyDer::from_pem_slice(text).map_err(|why| format!("no key: {why}"))?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text)
            .take(CHAIN_MAX)
            .collect();
        let chain = chain.map_err(|why| format!("no certificate: {why}"))?;
        let leaf = chain.first().ok_or("there is no certificate in it")?;
        let (_, parsed) = X509Certificate::from_der(leaf)
            .map_err(|why| format!("the certificate can't be read: {why}"))?;
        let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
        let validity = Validity {
            from: seconds(parsed.validity().not_before.timestamp()),
            until: seconds(parsed.validity().not_after.timestamp()),
        };
        let mut names = Vec::new();
        if let Ok(Some(found)) = parsed.subject_alternative_name() {
            for name in &found.value.general_names {
                if let GeneralName::DNSName(name) = name {
                    names.push(name.to_ascii_lowercase());
                }
            }
        }
        let pem = pem.to_string();
        Ok(Certificate {
            chain,
            key,
            pem,
            names,
            validity,
        })
    }

    /// The own certificate first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &PrivateKeyDer<'static> {
        &self.key
    }

    /// Key and chain as PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.pem.clone()
    }

    /// The names that it is for, in lower case.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// From when to when it is good.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Is it for all of these, and for no others?
    #[must_use]
    pub fn fits(&self, domains: &[String]) -> bool {
        let mut wanted: Vec<String> = domains.iter().map(|d| d.to_ascii_lowercase()).collect();
        let mut names = self.names.clone();
        wanted.sort();
        names.sort();
        names.dedup();
        wanted == names
    }
}

/// A fresh key (ECDSA, P-256) and the request for a certificate, in DER (RFC 2986).
///
/// # Errors
/// A domain is no name.
pub fn request(domains: &[String]) -> Result<(KeyPair, Vec<u8>), String> {
    let words = |why: rcgen::Error| why.to_string();
    let key = KeyPair::generate().map_err(words)?;
    let mut params = CertificateParams::new(domains).map_err(words)?;
    // The names are all that an authority looks at.
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(words)?;
    Ok((key, request.der().to_vec()))
}

/// A self-signed certificate: an encrypted session is better than none, and most senders ask for no more.
///
/// # Errors
/// A domain is no name.
pub fn self_signed(domains: &[String]) -> Result<Certificate, String> {
    let words = |why: rcgen::Error| why.to_string();
    let key = KeyPair::generate().map_err(words)?;
    let mut params = CertificateParams::new(domains).map_err(words)?;
    params.distinguished_name = DistinguishedName::new();
    let name = domains.first().map_or("gatepost", String::as_str);
    // RFC 5280's bound on a common name.
    if name.len() <= 64 {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    let day = |offset: i64| {
        let day = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * offset);
        let date = day.to_zoned(jiff::tz::TimeZone::UTC).date();
        let part = |part: i8| u8::try_from(part).unwrap_or(1);
        date_time_ymd(date.year().into(), part(date.month()), part(date.day()))
    };
    (params.not_before, params.not_after) = (day(-1), day(STOP_GAP_DAYS));
    let certificate = params.self_signed(&key).map_err(words)?;
    Certificate::parse(&(key.serialize_pem() + &certificate.pem()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_what_it_says() {
        let domains = ["mx.example.net".to_string(), "Mail.example.net".into()];
        let ours = self_signed(&domains).expect("it can be made");
        assert_eq!(ours.names(), ["mx.example.net", "mail.example.net"]);
        assert!(ours.fits(&domains));
        assert!(!ours.fits(&domains[..1]), "a name was taken away");
        let more = [&domains[..], &["x.example".into()]].concat();
        assert!(!ours.fits(&more), "a name was added");
        let now = jiff::Timestamp::now().as_second().unsigned_abs();
        assert!(ours.validity().holds(now));
        assert!(!ours.validity().holds(now + 31 * 86_400));
        assert_eq!(ours.chain().len(), 1);
    }

    #[test]
    fn half_a_file_is_told() {
        let ours = self_signed(&["a.example".into()])
            .expect("it can be made")
            .pem();
        let at = ours.find("-----BEGIN CERTIFICATE").expect("it holds one");
        let told = |text: &str| Certificate::parse(text).expect_err("half of it is missing");
        assert!(told(&ours[..at]).contains("no certificate"));
        assert!(told(&ours[at..]).contains("no key"));
        assert!(told("").contains("no key"));
    }

    #[test]
    fn a_request_names_the_domains_alone() {
        let (_, request) = request(&["mx.example.net".into()]).expect("it can be made");
        let (_, parsed) =
            x509_parser::certification_request::X509CertificationRequest::from_der(&request)
                .expect("DER");
        assert_eq!(parsed.certification_request_info.subject.to_string(), "");
    }
}
