//! Our keys by domain, as the configuration names them (`[[dkim]]`), and which of them sign a message.

use super::private::{PrivateKey, TEXT_MAX};
use super::publish::{self, Published};
use crate::config::{self, DkimClient};
use crate::dns::Answer;
use crate::policy::authentication::canonical::Canonical;
use crate::policy::authentication::crypto::Algorithm;
use crate::policy::authentication::{dmarc::Author, message, names};
use crate::smtp::header;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Keys that one message is signed with.
pub const SIGNERS_MAX: usize = 8;

/// One key, and how it signs.
#[derive(Debug)]
pub struct Signer {
    pub(super) domain: Box<str>,
    pub(super) selector: Box<str>,
    pub(super) key: PrivateKey,
    /// How header and body are made canonical.
    pub(super) canonical: (Canonical, Canonical),
    /// How long a signature lasts (`x=`).
    pub(super) lifetime_seconds: Option<u64>,
    /// Fields that are signed beside the usual ones, in lower case.
    pub(super) also: Vec<Box<str>>,
    subdomains: bool,
    clients: Vec<DkimClient>,
}

impl Signer {
    /// Of a table of the configuration. `None`: domain and selector are no names, or too long together.
    #[must_use]
    pub fn new(table: &config::Dkim, key: PrivateKey) -> Option<Signer> {
        publish::question(&table.domain, &table.selector)?;
        let lifetime = table.expires_after.0.as_secs();
        let also = table.sign_also.iter();
        Some(Signer {
            domain: names::normal(table.domain.as_bytes())?,
            selector: names::normal(table.selector.as_bytes())?,
            key,
            canonical: canonical(table.canonicalization),
            lifetime_seconds: (lifetime > 0).then_some(lifetime),
            also: also.map(|name| name.to_ascii_lowercase().into()).collect(),
            subdomains: table.subdomains,
            clients: table.clients.clone(),
        })
    }

    /// `d=`.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// `s=`.
    #[must_use]
    pub fn selector(&self) -> &str {
        &self.selector
    }

    /// `a=`.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.key.algorithm()
    }

    /// The text of its record in the DNS.
    #[must_use]
    pub fn record(&self) -> Option<String> {
        publish::record(&self.key)
    }

    /// Compares its key with an answer from the DNS.
    #[must_use]
    pub fn compare(&self, answer: &Answer) -> Published {
        publish::compare(&self.key, answer)
    }

    fn is_for(&self, client: Client) -> bool {
        self.clients.iter().any(|of| match of {
            DkimClient::Authenticated => client.authenticated,
            DkimClient::Trusted => client.trusted,
        })
    }
}

fn canonical(word: config::Canonicalization) -> (Canonical, Canonical) {
    use config::Canonicalization as Word;
    match word {
        Word::RelaxedRelaxed => (Canonical::Relaxed, Canonical::Relaxed),
        Word::RelaxedSimple => (Canonical::Relaxed, Canonical::Simple),
        Word::SimpleRelaxed => (Canonical::Simple, Canonical::Relaxed),
        Word::SimpleSimple => (Canonical::Simple, Canonical::Simple),
    }
}

/// What the client is to us that sends a message. One that is neither is not signed for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// It has logged in.
    pub authenticated: bool,
    /// It is one of `trusted`, or has shown a certificate of `client_trusted`.
    pub trusted: bool,
}

/// Who signs a message.
#[derive(Clone, Debug)]
pub enum Chosen {
    /// These; at least one.
    These(Vec<Arc<Signer>>),
    /// No table is for the domain in From, and for this client.
    NoKey,
    /// From is missing or names no one domain, or not all of the header section are fields.
    NoAuthor,
}

/// What is wrong with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key of the configuration.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub advice: Option<String>,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.key, self.problem)?;
        match &self.advice {
            Some(advice) => write!(f, " ({advice})"),
            None => Ok(()),
        }
    }
}

/// All signers, by domain. A clone shares them.
#[derive(Clone, Debug, Default)]
pub struct Signers {
    by_domain: Arc<FxHashMap<Box<str>, Vec<Arc<Signer>>>>,
}

impl Signers {
    /// Reads the keys of all tables. Blocks.
    ///
    /// # Errors
    /// Every key that can't be read, or is none.
    pub fn build(tables: &[config::Dkim]) -> Result<Signers, Vec<Fault>> {
        let mut by_domain: FxHashMap<Box<str>, Vec<Arc<Signer>>> = FxHashMap::default();
        let mut faults = Vec::new();
        for (i, table) in tables.iter().enumerate() {
            let fault = |key: &str, problem: String, advice: Option<&str>| Fault {
                key: format!("dkim[{i}].{key}"),
                problem,
                advice: advice.map(str::to_string),
            };
            let key = match read(table) {
                Ok(key) => key,
                Err((problem, advice)) => {
                    faults.push(fault("key", problem, advice));
                    continue;
                }
            };
            // What the names must be, `config` has said before.
            let Some(signer) = Signer::new(table, key) else {
                faults.push(fault(
                    "domain",
                    "domain and selector are no names".into(),
                    None,
                ));
                continue;
            };
            let of_domain = by_domain.entry(signer.domain.clone()).or_default();
            if of_domain.len() == SIGNERS_MAX {
                let problem = format!("a domain has {SIGNERS_MAX} keys at most");
                faults.push(fault("domain", problem, None));
                continue;
            }
            of_domain.push(Arc::new(signer));
        }
        match faults.is_empty() {
            true => Ok(Signers {
                by_domain: Arc::new(by_domain),
            }),
            false => Err(faults),
        }
    }

    /// All of them, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Signer>> {
        let mut all: Vec<_> = self.by_domain.values().flatten().cloned().collect();
        all.sort_by(|one, other| {
            let name = |signer: &Signer| (signer.domain.clone(), signer.selector.clone());
            name(one).cmp(&name(other))
        });
        all
    }

    /// Whether nothing is signed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_domain.is_empty()
    }

    /// Those for an author in `domain`, which is in normal form: of the domain itself, else of the nearest above it whose
    /// tables are for subdomains.
    #[must_use]
    pub fn of(&self, domain: &str, client: Client) -> Vec<Arc<Signer>> {
        let mut name = Some(domain);
        while let Some(at) = name {
            let here = self.by_domain.get(at).into_iter().flatten();
            let exact = at.len() == domain.len();
            let fit = here.filter(|signer| (exact || signer.subdomains) && signer.is_for(client));
            let fit: Vec<Arc<Signer>> = fit.cloned().collect();
            if !fit.is_empty() {
                return fit;
            }
            name = names::parent(at);
        }
        Vec::new()
    }

    /// Those that sign a message with this header section.
    #[must_use]
    pub fn choose(&self, header: &[u8], client: Client) -> Chosen {
        if !is_plain(header) {
            return Chosen::NoAuthor;
        }
        let Author::Domain(domain) = message::author(header) else {
            return Chosen::NoAuthor;
        };
        let signers = self.of(&domain, client);
        match signers.is_empty() {
            true => Chosen::NoKey,
            false => Chosen::These(signers),
        }
    }
}

/// Whether a header section holds nothing but fields. Programs differ in what they make of another line: some take it for
/// the end of the header, and what we sign would be another message than the one that they see.
fn is_plain(header: &[u8]) -> bool {
    header::fields(header).all(|field| !field.name.is_empty())
}

/// The key of a table; else what is wrong and what to do about it.
fn read(table: &config::Dkim) -> Result<PrivateKey, (String, Option<&'static str>)> {
    let place = table.key.place();
    let octets = table.key.read(TEXT_MAX as u64).map_err(|why| (why, None))?;
    let text = String::from_utf8_lossy(&octets);
    PrivateKey::from_text(&text).map_err(|why| (format!("{place}: {why}"), Some(why.advice())))
}

#[cfg(test)]
mod tests {
    use super::super::private::KeyKind;
    use super::*;

    fn signers(tables: &[(&str, &str, bool, &[DkimClient])]) -> Signers {
        let mut by_domain: FxHashMap<Box<str>, Vec<Arc<Signer>>> = FxHashMap::default();
        for (domain, selector, subdomains, clients) in tables {
            let table = config::Dkim {
                domain: domain.to_string(),
                selector: selector.to_string(),
                subdomains: *subdomains,
                clients: clients.to_vec(),
                ..config::Dkim::default()
            };
            let (key, _) = PrivateKey::generate(KeyKind::Ed25519).expect("a key");
            let signer = Signer::new(&table, key).expect("names");
            let of_domain = by_domain.entry(signer.domain.clone()).or_default();
            of_domain.push(Arc::new(signer));
        }
        Signers {
            by_domain: Arc::new(by_domain),
        }
    }

    const ALL: &[DkimClient] = &[DkimClient::Authenticated, DkimClient::Trusted];
    const ACCOUNT: Client = Client {
        authenticated: true,
        trusted: false,
    };
    const INSIDER: Client = Client {
        authenticated: false,
        trusted: true,
    };

    fn selectors(signers: &[Arc<Signer>]) -> String {
        let all: Vec<&str> = signers.iter().map(|signer| signer.selector()).collect();
        all.concat()
    }

    #[test]
    fn the_nearest_domain_signs() {
        let signers = signers(&[
            ("example.org", "a", true, ALL),
            ("Example.org", "b", false, ALL),
            ("sub.Example.org", "c", true, ALL),
            ("alone.example.org", "d", false, ALL),
            ("own.example.org", "e", true, &[DkimClient::Trusted]),
        ]);
        let of = |domain: &str, client| selectors(&signers.of(domain, client));
        for (domain, account, insider) in [
            ("example.org", "ab", "ab"),
            ("other.example.org", "a", "a"),
            ("sub.example.org", "c", "c"),
            ("x.sub.example.org", "c", "c"),
            ("alone.example.org", "d", "d"),
            ("x.alone.example.org", "a", "a"),
            ("own.example.org", "a", "e"),
            ("badexample.org", "", ""),
            ("org", "", ""),
            ("", "", ""),
        ] {
            assert_eq!(of(domain, ACCOUNT), account, "{domain}");
            assert_eq!(of(domain, INSIDER), insider, "{domain}");
            assert_eq!(of(domain, Client::default()), "", "a stranger");
        }
    }

    #[test]
    fn the_author_chooses() {
        let signers = signers(&[
            ("example.org", "a", true, ALL),
            ("xn--bcher-kva.example", "b", true, ALL),
        ]);
        let of = |header: &str| match signers.choose(header.as_bytes(), ACCOUNT) {
            Chosen::These(signers) => selectors(&signers),
            Chosen::NoKey => "no key".into(),
            Chosen::NoAuthor => "no author".into(),
        };
        for (header, wanted) in [
            ("From: A <a@Example.ORG>\r\n\r\n", "a"),
            ("FROM: a@example.org, b@example.org\r\n", "a"),
            ("From: \"@example.net\" <a@x.example.org>\r\n", "a"),
            ("From: a@bücher.example\r\n", "b"),
            ("From: a@example.net\r\n", "no key"),
            ("From: a@example.org, b@example.net\r\n", "no author"),
            (
                "From: a@example.org\r\nFrom: b@example.org\r\n",
                "no author",
            ),
            ("From: a@example.org\r\nno field\r\n", "no author"),
            ("From x Mon\r\nFrom: a@example.org\r\n", "no author"),
            ("From: us\r\n", "no author"),
            ("Sender: a@example.org\r\n", "no author"),
            ("\r\nFrom: a@example.org\r\n", "no author"),
            ("", "no author"),
        ] {
            assert_eq!(of(header), wanted, "{header}");
        }
    }

    #[test]
    fn every_key_that_is_none_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).expect("written");
            config::Dkim {
                domain: "example.org".into(),
                selector: "s".into(),
                key: config::DkimKey::File(file),
                ..config::Dkim::default()
            }
        };
        let (_, pem) = PrivateKey::generate(KeyKind::Ed25519).expect("a key");
        let good = file("good", &pem);
        let tables = [file("bad", "x"), good.clone(), file("empty", "")];
        let faults = Signers::build(&tables).expect_err("two are no keys");
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert!(told[0].starts_with("dkim[0].key: ") && told[1].starts_with("dkim[2].key: "));
        assert!(told[0].contains("gatepost dkim new"), "{}", told[0]);
        assert!(!Signers::build(&[good]).expect("a key").is_empty());
        assert!(Signers::build(&[]).expect("nothing to read").is_empty());
    }
}
