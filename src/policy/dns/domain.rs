//! Does a domain exist for mail: can a bounce to this sender be delivered?
//!
//! As Postfix's `reject_unknown_sender_domain`: MX first, and A and AAAA where there is none (RFC 5321 section 5.1), whatever
//! the reason, for there are servers that answer NXDOMAIN or SERVFAIL to MX alone. A domain that an answer shows to exist is
//! never refused for another question's failure. Then, where asked for, its exchangers' addresses as with
//! `check_sender_mx_access`: all of those found being of special purpose, nothing could be delivered.
//!
//! | here | Postfix's reply |
//! |---|---|
//! | [`Outcome::NoName`], [`Outcome::NoMail`] | `unknown_address_reject_code`, 450 4.1.8 by default |
//! | [`Outcome::Malformed`] | 450 4.1.8 |
//! | [`Outcome::NullMx`] | 550 5.7.27 (RFC 7505 section 4.2) |
//! | [`Outcome::Unusable`] | what the table says, 554 5.7.1 by `REJECT` |
//! | [`Outcome::NoExchange`] | accepts |
//! | [`Outcome::Unknown`] | 450 4.1.8, always |

use super::{
    names::{self, question},
    special,
};
use crate::dns::{Answer, Answers, Question, Record, RecordType, Step, Unknown};
use smallvec::SmallVec;
use std::{net::IpAddr, sync::Arc};

/// Exchangers whose addresses are looked up: those that a sender would try first.
pub const EXCHANGES_MAX: usize = 5;
/// Questions: MX, A and AAAA of the domain or of each exchanger.
pub const QUESTIONS_MAX: usize = 1 + 2 * EXCHANGES_MAX;
/// Records of an answer that are read.
pub const RECORDS_MAX: usize = 256;
/// Addresses that [`Outcome::Unusable`] keeps.
pub const ADDRESSES_MAX: usize = 8;

/// Looks up one domain.
#[derive(Clone, Debug)]
pub struct Domain {
    kind: Kind,
    looks_at_addresses: bool,
}

#[derive(Clone, Debug)]
enum Kind {
    Name(Question),
    Literal,
    Malformed,
}

/// What is known of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It takes mail, as far as the DNS tells.
    Exists,
    /// It is an address literal (RFC 5321 section 4.1.3), and has no need of the DNS.
    Literal,
    /// It is no domain name, or its MX records name no host.
    Malformed,
    /// It says that it takes no mail (RFC 7505).
    NullMx,
    /// It exists and has neither MX nor addresses.
    NoMail,
    /// It does not exist.
    NoName,
    /// None of its exchangers has an address.
    NoExchange,
    /// Mail to it can only go to these addresses, the first [`ADDRESSES_MAX`] of them, all of special purpose. The caller
    /// may know some of these networks for its own.
    Unusable(SmallVec<[IpAddr; 2]>),
    /// There was no answer that would decide.
    Unknown(Unknown),
}

/// What addresses of some hosts say together.
#[derive(Default)]
struct Addresses {
    usable: bool,
    special: SmallVec<[IpAddr; 2]>,
    /// A name exists, though it may have no addresses.
    exists: bool,
    unknown: Option<Unknown>,
    missing: Vec<Question>,
}

impl Outcome {
    /// The word of `policy.sender_domain` for it; `None` where the domain is well.
    #[must_use]
    pub fn result(&self) -> Option<&'static str> {
        match self {
            Outcome::NoName | Outcome::Malformed => Some("no_name"),
            Outcome::NoMail | Outcome::NoExchange => Some("no_mail"),
            Outcome::NullMx => Some("null_mx"),
            Outcome::Unusable(_) => Some("unusable"),
            Outcome::Unknown(_) => Some("unknown"),
            Outcome::Exists | Outcome::Literal => None,
        }
    }
}

impl Domain {
    /// Of a domain of a reverse-path, in ASCII, or a literal in brackets. The null reverse-path has none.
    #[must_use]
    pub fn new(domain: &[u8]) -> Domain {
        let kind = match names::host(domain) {
            Some(name) => Kind::Name(question(name, RecordType::Mx)),
            None if domain.starts_with(b"[") && domain.ends_with(b"]") => Kind::Literal,
            None => Kind::Malformed,
        };
        Domain {
            kind,
            looks_at_addresses: false,
        }
    }

    /// Looks also at the exchangers' addresses: up to ten questions more.
    #[must_use]
    pub fn with_addresses(self) -> Domain {
        Domain {
            looks_at_addresses: true,
            ..self
        }
    }

    /// Goes on as far as the answers allow. At most two rounds; done as soon as one answer decides.
    pub fn step(&self, answers: &dyn Answers) -> Step<Outcome> {
        let mx = match &self.kind {
            Kind::Name(mx) => mx,
            Kind::Literal => return Step::Done(Outcome::Literal),
            Kind::Malformed => return Step::Done(Outcome::Malformed),
        };
        match answers.answer(mx) {
            None => Step::Need(vec![mx.clone()]),
            Some(Answer::Found(records)) => match Exchanges::of(records) {
                Exchanges::None => self.without_mx(mx, true, None, answers),
                Exchanges::Null => Step::Done(Outcome::NullMx),
                Exchanges::Malformed => Step::Done(Outcome::Malformed),
                Exchanges::Hosts(_) if !self.looks_at_addresses => Step::Done(Outcome::Exists),
                Exchanges::Hosts(hosts) => exchangers(&hosts, answers),
            },
            Some(Answer::NoRecords) => self.without_mx(mx, true, None, answers),
            Some(Answer::NoName) => self.without_mx(mx, false, None, answers),
            Some(Answer::Unknown(why)) => self.without_mx(mx, false, Some(*why), answers),
        }
    }

    /// The domain is its own exchanger (RFC 5321 section 5.1).
    fn without_mx(
        &self,
        mx: &Question,
        exists: bool,
        unknown: Option<Unknown>,
        answers: &dyn Answers,
    ) -> Step<Outcome> {
        let mut found = Addresses::default();
        found.look(&mx.name, answers);
        let has_some = found.usable || !found.special.is_empty();
        if found.usable || has_some && !self.looks_at_addresses {
            return Step::Done(Outcome::Exists);
        }
        if !found.missing.is_empty() {
            return Step::Need(found.missing);
        }
        Step::Done(match unknown.or(found.unknown) {
            Some(why) => Outcome::Unknown(why),
            None if has_some => Outcome::Unusable(found.special),
            None if exists || found.exists => Outcome::NoMail,
            None => Outcome::NoName,
        })
    }
}

fn exchangers(hosts: &[Arc<str>], answers: &dyn Answers) -> Step<Outcome> {
    let mut found = Addresses::default();
    for host in hosts {
        found.look(host, answers);
    }
    if found.usable {
        return Step::Done(Outcome::Exists);
    }
    if !found.missing.is_empty() {
        return Step::Need(found.missing);
    }
    Step::Done(match found.unknown {
        Some(why) => Outcome::Unknown(why),
        None if found.special.is_empty() => Outcome::NoExchange,
        None => Outcome::Unusable(found.special),
    })
}

impl Addresses {
    fn look(&mut self, host: &Arc<str>, answers: &dyn Answers) {
        for record_type in [RecordType::A, RecordType::Aaaa] {
            let question = question(host.clone(), record_type);
            match answers.answer(&question) {
                None => self.missing.push(question),
                Some(Answer::NoName) => {}
                Some(Answer::NoRecords) => self.exists = true,
                Some(Answer::Unknown(why)) => {
                    self.unknown.get_or_insert(*why);
                }
                Some(Answer::Found(records)) => self.read(records),
            }
        }
    }

    fn read(&mut self, records: &[Record]) {
        self.exists = true;
        let before = self.special.len();
        for record in records.iter().take(RECORDS_MAX) {
            let address = match record {
                Record::A(v4) => IpAddr::V4(*v4),
                Record::Aaaa(v6) => IpAddr::V6(*v6),
                _ => continue,
            };
            if special::purpose(address).is_none() {
                self.usable = true;
            } else if self.special.len() < ADDRESSES_MAX {
                self.special.push(address);
            }
        }
        // The order of the answer means nothing.
        self.special[before..].sort_unstable();
    }
}

/// What MX records say.
enum Exchanges {
    None,
    Null,
    Malformed,
    Hosts(SmallVec<[Arc<str>; EXCHANGES_MAX]>),
}

impl Exchanges {
    fn of(records: &[Record]) -> Exchanges {
        let (mut hosts, mut nulls, mut malformed) = (SmallVec::<[_; EXCHANGES_MAX]>::new(), 0, 0);
        for record in records.iter().take(RECORDS_MAX) {
            match record {
                Record::Mx { exchange, .. } if exchange.is_empty() => nulls += 1,
                Record::Mx {
                    preference,
                    exchange,
                } => match names::host_in(exchange) {
                    Some(host) => hosts.push((*preference, host)),
                    None => malformed += 1,
                },
                _ => {}
            }
        }
        // RFC 7505 section 3: a null MX stands alone. Beside others it is a mistake, and they count.
        match (hosts.is_empty(), nulls, malformed) {
            (true, 0, 0) => Exchanges::None,
            (true, _, 0) => Exchanges::Null,
            (true, _, _) => Exchanges::Malformed,
            (false, _, _) => {
                hosts.sort();
                hosts.dedup_by(|a, b| a.1 == b.1);
                let hosts = hosts.into_iter().map(|(_, host)| host);
                let mut first = SmallVec::new();
                for host in hosts {
                    if first.len() < EXCHANGES_MAX && !first.contains(&host) {
                        first.push(host);
                    }
                }
                Exchanges::Hosts(first)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::dns::testing::*;
    use proptest::prelude::*;

    fn look(domain: Domain, lines: &[(&str, &str)]) -> (Outcome, Vec<Question>) {
        run(|answers| domain.step(answers), dns(lines))
    }

    const MX: &str = "MX d.example";
    const A: &str = "A d.example";
    const AAAA: &str = "AAAA d.example";
    const TIMEOUT: Outcome = Outcome::Unknown(Unknown::Timeout);
    const BROKEN: Outcome = Outcome::Unknown(Unknown::Broken);

    #[test]
    fn domains_and_whether_they_exist() {
        for (lines, outcome, asked) in [
            (&[(MX, "10 mx.example")][..], Outcome::Exists, 1),
            (&[(MX, "0 .")], Outcome::NullMx, 1),
            (&[(MX, "0 .|10 .")], Outcome::NullMx, 1),
            (&[(MX, "0 .|10 mx.example")], Outcome::Exists, 1),
            (&[(MX, "10 192.0.2.1")], Outcome::Malformed, 1),
            (&[(MX, "10 a b|0 .")], Outcome::Malformed, 1),
            (&[(MX, "10 a b|20 mx.example")], Outcome::Exists, 1),
            (
                &[(MX, "nodata"), (A, "10.0.0.1"), (AAAA, "nodata")],
                Outcome::Exists,
                3,
            ),
            (
                &[(MX, "nodata"), (A, "nodata"), (AAAA, "2001:4860::1")],
                Outcome::Exists,
                3,
            ),
            (
                &[(MX, "nodata"), (A, "nodata"), (AAAA, "nodata")],
                Outcome::NoMail,
                3,
            ),
            (
                &[(MX, "nodata"), (A, "nodata"), (AAAA, "timeout")],
                TIMEOUT,
                3,
            ),
            (&[], Outcome::NoName, 3),
            (&[(A, "8.8.8.8")], Outcome::Exists, 3),
            (&[(A, "nodata")], Outcome::NoMail, 3),
            (&[(MX, "servfail")], BROKEN, 3),
            (&[(MX, "servfail"), (A, "8.8.8.8")], Outcome::Exists, 3),
            (
                &[(MX, "timeout"), (A, "servfail"), (AAAA, "servfail")],
                TIMEOUT,
                3,
            ),
        ] {
            let (found, questions) = look(Domain::new(b"D.Example."), lines);
            assert_eq!((found, questions.len()), (outcome, asked), "{lines:?}");
        }
    }

    #[test]
    fn exchangers_and_their_addresses() {
        let unusable = |addresses: &[&str]| {
            Outcome::Unusable(addresses.iter().map(|address| ip(address)).collect())
        };
        let (mx, two) = ((MX, "10 a.example"), (MX, "10 a.example|20 b.example"));
        let (a, b) = ("A a.example", "A b.example");
        for (lines, outcome) in [
            (&[mx, (a, "8.8.8.8")][..], Outcome::Exists),
            (&[mx, (a, "127.0.0.1")], unusable(&["127.0.0.1"])),
            (
                &[mx, (a, "10.0.0.1"), ("AAAA a.example", "::1")],
                unusable(&["10.0.0.1", "::1"]),
            ),
            (
                &[mx, (a, "10.0.0.1"), ("AAAA a.example", "2a00::1")],
                Outcome::Exists,
            ),
            (
                &[mx, (a, "0.0.0.0"), ("AAAA a.example", "timeout")],
                TIMEOUT,
            ),
            (&[two, (a, "127.0.0.1"), (b, "8.8.8.8")], Outcome::Exists),
            (&[two, (a, "127.0.0.1"), (b, "servfail")], BROKEN),
            (
                &[two, (a, "127.0.0.1"), (b, "192.168.0.1")],
                unusable(&["127.0.0.1", "192.168.0.1"]),
            ),
            (&[two], Outcome::NoExchange),
            (&[mx, (a, "timeout")], TIMEOUT),
            (
                &[(MX, "nodata"), (A, "127.0.0.1")],
                unusable(&["127.0.0.1"]),
            ),
            (&[(MX, "servfail"), (A, "127.0.0.1")], BROKEN),
            (&[(MX, "10 d.example"), (A, "8.8.8.8")], Outcome::Exists),
        ] {
            let (found, _) = look(Domain::new(b"d.example").with_addresses(), lines);
            assert_eq!(found, outcome, "{lines:?}");
        }
    }

    #[test]
    fn what_is_no_name_asks_nothing() {
        for (domain, outcome) in [
            ("[192.0.2.1]", Outcome::Literal),
            ("[IPv6:::1]", Outcome::Literal),
            ("", Outcome::Malformed),
            ("192.0.2.1", Outcome::Malformed),
            ("a..b", Outcome::Malformed),
            ("[", Outcome::Malformed),
            ("b\u{fc}cher.example", Outcome::Malformed),
        ] {
            assert_eq!(
                look(Domain::new(domain.as_bytes()), &[]),
                (outcome, vec![]),
                "{domain}"
            );
        }
    }

    #[test]
    fn hundreds_of_exchangers_are_bounded() {
        let mx: Vec<String> = (0..200)
            .rev()
            .map(|n| format!("{n} mx{n}.example"))
            .collect();
        let (found, asked) = look(
            Domain::new(b"d.example").with_addresses(),
            &[(MX, &mx.join("|"))],
        );
        assert_eq!((found, asked.len()), (Outcome::NoExchange, QUESTIONS_MAX));
        assert_eq!(&*asked[1].name, "mx0.example", "the preferred one");
    }

    proptest! {
        #[test]
        fn any_answers_end_it(
            domain in "[a-c.]{0,8}|\\PC{0,20}",
            deep: bool,
            answers in prop::collection::vec(any_answer(), 1..12),
        ) {
            let domain = Domain::new(domain.as_bytes());
            let domain = if deep { domain.with_addresses() } else { domain };
            let mut next = answers.iter().cycle();
            let (_, asked) = run(
                |answers| domain.step(answers),
                |_| next.next().cloned().unwrap_or(Answer::NoName),
            );
            prop_assert!(asked.len() <= QUESTIONS_MAX);
        }
    }
}
