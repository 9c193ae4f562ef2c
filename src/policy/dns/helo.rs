//! Does the name in EHLO or HELO exist, and does it lead to the client?
//!
//! A name must have A or AAAA records (RFC 5321 section 4.1.1.1 and 2.3.5); a name with MX records alone is let pass, as by
//! Postfix's `reject_unknown_helo_hostname`, also with a null MX (RFC 7505), for a host that takes no mail may send some.
//! RFC 5321 section 4.1.4 forbids to refuse a client only because its name does not lead to its address: that is for
//! the score.
//!
//! | here | Postfix's reply to `reject_unknown_helo_hostname` |
//! |---|---|
//! | [`Outcome::NoName`], [`Outcome::NoHost`] | `unknown_hostname_reject_code`, 450 4.7.1 by default |
//! | [`Outcome::Unknown`] | 450 4.7.1, always |
//! | [`Outcome::Malformed`], [`Outcome::BadLiteral`] | 501 5.5.2, by `reject_invalid_helo_hostname` |

use super::names::{self, question};
use crate::dns::{Answer, Answers, Question, Record, RecordType, Step, Unknown};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Questions: A and AAAA, and MX where there is neither.
pub const QUESTIONS_MAX: usize = 3;
/// Records of an answer that are read.
pub const RECORDS_MAX: usize = 1_024;

/// Looks up one name.
#[derive(Clone, Debug)]
pub struct Helo {
    client: IpAddr,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Name([Question; 3]),
    Literal(Option<IpAddr>),
    Malformed,
}

/// What is known of a name in HELO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The client's address as a literal (RFC 5321 section 4.1.3).
    OwnLiteral,
    /// Another address as a literal.
    OtherLiteral,
    /// Brackets with no address in them.
    BadLiteral,
    /// No host name; a bare address too.
    Malformed,
    /// A name that leads to the client.
    LeadsToClient,
    /// A name that exists. Whether it leads to the client is not known where an answer is missing.
    Exists(Option<Unknown>),
    /// A name with neither addresses nor MX.
    NoHost,
    /// It does not exist.
    NoName,
    /// There was no answer that would decide.
    Unknown(Unknown),
}

impl Outcome {
    /// The word of `policy.helo_domain` for it; `None` where the name is well, and for literals, which `policy.helo` judges.
    #[must_use]
    pub fn result(self) -> Option<&'static str> {
        match self {
            Outcome::NoName | Outcome::Malformed => Some("no_name"),
            Outcome::NoHost => Some("no_host"),
            Outcome::Exists(None) => Some("not_client"),
            Outcome::Unknown(_) => Some("unknown"),
            Outcome::Exists(Some(_))
            | Outcome::OwnLiteral
            | Outcome::OtherLiteral
            | Outcome::BadLiteral
            | Outcome::LeadsToClient => None,
        }
    }
}

impl Helo {
    /// Of this name, in ASCII, as the client said it.
    #[must_use]
    pub fn new(name: &[u8], client: IpAddr) -> Helo {
        let kind = match name.strip_prefix(b"[") {
            Some(inner) => Kind::Literal(inner.strip_suffix(b"]").and_then(literal)),
            None => match names::host(name) {
                Some(name) => Kind::Name(
                    [RecordType::A, RecordType::Aaaa, RecordType::Mx]
                        .map(|record_type| question(name.clone(), record_type)),
                ),
                None => Kind::Malformed,
            },
        };
        Helo {
            client: client.to_canonical(),
            kind,
        }
    }

    /// Goes on as far as the answers allow. At most two rounds.
    pub fn step(&self, answers: &dyn Answers) -> Step<Outcome> {
        let [a, aaaa, mx] = match &self.kind {
            Kind::Name(questions) => questions,
            Kind::Literal(None) => return Step::Done(Outcome::BadLiteral),
            Kind::Literal(Some(address)) if *address == self.client => {
                return Step::Done(Outcome::OwnLiteral);
            }
            Kind::Literal(Some(_)) => return Step::Done(Outcome::OtherLiteral),
            Kind::Malformed => return Step::Done(Outcome::Malformed),
        };
        let (mut has_address, mut exists, mut unknown, mut missing) = (false, false, None, vec![]);
        for question in [a, aaaa] {
            match answers.answer(question) {
                None => missing.push(question.clone()),
                Some(Answer::NoName) => {}
                Some(Answer::NoRecords) => exists = true,
                Some(Answer::Unknown(why)) => {
                    unknown.get_or_insert(*why);
                }
                Some(Answer::Found(records)) => {
                    exists = true;
                    for address in records.iter().take(RECORDS_MAX).filter_map(address) {
                        has_address = true;
                        if address.to_canonical() == self.client {
                            return Step::Done(Outcome::LeadsToClient);
                        }
                    }
                }
            }
        }
        if !missing.is_empty() {
            return Step::Need(missing);
        }
        if has_address {
            return Step::Done(Outcome::Exists(unknown));
        }
        Step::Done(match answers.answer(mx) {
            None => return Step::Need(vec![mx.clone()]),
            Some(Answer::Found(records)) if records.iter().any(is_mx) => Outcome::Exists(unknown),
            Some(Answer::Unknown(why)) => Outcome::Unknown(unknown.unwrap_or(*why)),
            Some(answer) => match unknown {
                Some(why) => Outcome::Unknown(why),
                None if exists || *answer != Answer::NoName => Outcome::NoHost,
                None => Outcome::NoName,
            },
        })
    }
}

fn is_mx(record: &Record) -> bool {
    matches!(record, Record::Mx { .. })
}

fn address(record: &Record) -> Option<IpAddr> {
    match record {
        Record::A(v4) => Some(IpAddr::V4(*v4)),
        Record::Aaaa(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

/// RFC 5321 section 4.1.3: `192.0.2.1`, or `IPv6:2001:db8::1`. Mail programs leave out the tag, and add the zone of a
/// link-local address (RFC 4007 section 11): the address is the same.
fn literal(inner: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(inner).ok()?;
    let (tagged, rest) = match text.split_at_checked(5) {
        Some((tag, rest)) if tag.eq_ignore_ascii_case("IPv6:") => (true, rest),
        _ => (false, text),
    };
    if let Ok(v4) = rest.parse::<Ipv4Addr>() {
        return (!tagged).then_some(IpAddr::V4(v4));
    }
    let v6: Ipv6Addr = rest.split('%').next()?.parse().ok()?;
    Some(IpAddr::V6(v6).to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::dns::testing::*;
    use proptest::prelude::*;

    fn look(name: &str, lines: &[(&str, &str)]) -> (Outcome, usize) {
        let helo = Helo::new(name.as_bytes(), ip("192.0.2.7"));
        let (outcome, asked) = run(|answers| helo.step(answers), dns(lines));
        (outcome, asked.len())
    }

    const A: &str = "A mail.example";
    const AAAA: &str = "AAAA mail.example";
    const MX: &str = "MX mail.example";

    #[test]
    fn names_and_where_they_lead() {
        let (timeout, broken) = (Unknown::Timeout, Unknown::Broken);
        for (lines, outcome) in [
            (&[(A, "192.0.2.7")][..], (Outcome::LeadsToClient, 2)),
            (
                &[(A, "192.0.2.8|192.0.2.7"), (AAAA, "timeout")],
                (Outcome::LeadsToClient, 2),
            ),
            (&[(AAAA, "::ffff:192.0.2.7")], (Outcome::LeadsToClient, 2)),
            (&[(A, "192.0.2.8")], (Outcome::Exists(None), 2)),
            (
                &[(A, "timeout"), (AAAA, "::1")],
                (Outcome::Exists(Some(timeout)), 2),
            ),
            (&[(MX, "10 mx.example")], (Outcome::Exists(None), 3)),
            (&[(MX, "0 .")], (Outcome::Exists(None), 3)),
            (
                &[(A, "servfail"), (MX, "10 mx.example")],
                (Outcome::Exists(Some(broken)), 3),
            ),
            (
                &[(A, "nodata"), (AAAA, "nodata"), (MX, "nodata")],
                (Outcome::NoHost, 3),
            ),
            (&[(MX, "nodata")], (Outcome::NoHost, 3)),
            (&[(A, "nodata")], (Outcome::NoHost, 3)),
            (&[], (Outcome::NoName, 3)),
            (&[(A, "servfail")], (Outcome::Unknown(broken), 3)),
            (&[(MX, "timeout")], (Outcome::Unknown(timeout), 3)),
        ] {
            assert_eq!(look("Mail.Example.", lines), outcome, "{lines:?}");
        }
    }

    #[test]
    fn what_is_no_name_asks_nothing() {
        for (name, outcome) in [
            ("[192.0.2.7]", Outcome::OwnLiteral),
            ("[IPv6:::ffff:192.0.2.7]", Outcome::OwnLiteral),
            ("[192.0.2.8]", Outcome::OtherLiteral),
            ("[ipv6:2001:db8::1]", Outcome::OtherLiteral),
            ("[fe80::1%eth0]", Outcome::OtherLiteral),
            ("[IPv6:192.0.2.7]", Outcome::BadLiteral),
            ("[mail.example]", Outcome::BadLiteral),
            ("[192.0.2.7", Outcome::BadLiteral),
            ("[]", Outcome::BadLiteral),
            ("[\u{e9}\u{e9}\u{e9}]", Outcome::BadLiteral),
            ("192.0.2.7", Outcome::Malformed),
            ("", Outcome::Malformed),
            ("mail .example", Outcome::Malformed),
        ] {
            assert_eq!(look(name, &[]), (outcome, 0), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_answers_end_it(
            name: Vec<u8>,
            answers in prop::collection::vec(any_answer(), 1..6),
        ) {
            for name in [&name[..], b"mail.example"] {
                let helo = Helo::new(name, ip("2001:db8::1"));
                let mut next = answers.iter().cycle();
                let (_, asked) = run(
                    |answers| helo.step(answers),
                    |_| next.next().cloned().unwrap_or(Answer::NoName),
                );
                prop_assert!(asked.len() <= QUESTIONS_MAX);
            }
        }
    }
}
