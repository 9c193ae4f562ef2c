//! The names of a client's address, confirmed forwards.
//!
//! The holder of an address can give it any name. The name is worth something only if it leads back: its A or AAAA
//! records hold the address (RFC 8601 section 2.7.3 calls this `iprev`). As Postfix: `reject_unknown_client_hostname` refuses
//! what is [`Outcome::Unconfirmed`] or [`Outcome::None`], `reject_unknown_reverse_client_hostname` what is `None`, both by
//! 450 while the answer is [`Outcome::Unknown`]. Postfix looks at the first PTR record alone; the order of records means
//! nothing in the DNS, and resolvers turn it,
//! so here the names are sorted, and any of the first [`NAMES_MAX`] will do.

use super::{
    generic,
    names::{self, question},
};
use crate::dns::{Answer, Answers, Question, Record, RecordType, Step, Unknown};
use smallvec::SmallVec;
use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

/// Different names that are looked up; the rest is counted in [`Names::lost`]. RFC 7208 section 4.6.4 has the same number.
pub const NAMES_MAX: usize = 10;
/// Questions: the names of the address, and the address of each.
pub const QUESTIONS_MAX: usize = 1 + NAMES_MAX;
/// Records of an answer that are read.
pub const RECORDS_MAX: usize = 1_024;

/// Looks up one address.
#[derive(Clone, Debug)]
pub struct Reverse {
    client: IpAddr,
    pointer: Question,
}

/// The names of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// In one word.
    pub outcome: Outcome,
    /// Host names of the PTR records, different ones, those that lead back first, each part sorted.
    pub names: SmallVec<[Arc<str>; 2]>,
    /// So many of them lead back.
    pub confirmed: usize,
    /// PTR records that are no host names, or found no room.
    pub lost: usize,
    /// All confirmed ones look generic, where that was asked: each message of a session may ask.
    generic: OnceLock<bool>,
}

/// What is known of the names of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A name leads back to the address.
    Confirmed,
    /// It has PTR records, and none leads back.
    Unconfirmed,
    /// It has no PTR record.
    None,
    /// There was no answer, and with one it might be confirmed.
    Unknown(Unknown),
}

impl Names {
    /// The first confirmed name.
    #[must_use]
    pub fn confirmed_name(&self) -> Option<&Arc<str>> {
        self.confirmed_names().first()
    }

    /// All confirmed names.
    #[must_use]
    pub fn confirmed_names(&self) -> &[Arc<str>] {
        self.names.get(..self.confirmed).unwrap_or_default()
    }

    fn of(outcome: Outcome) -> Names {
        Names {
            outcome,
            names: SmallVec::new(),
            confirmed: 0,
            lost: 0,
            generic: OnceLock::new(),
        }
    }

    /// Whether there are confirmed names and all of them look as if a machine had made them ([`generic`]). `client` is the
    /// address whose names they are.
    #[must_use]
    pub fn look_generic(&self, client: IpAddr) -> bool {
        let confirmed = self.confirmed_names();
        let looks_so = |name: &Arc<str>| generic::of(name, client).is_some();
        *self
            .generic
            .get_or_init(|| !confirmed.is_empty() && confirmed.iter().all(looks_so))
    }
}

impl Reverse {
    /// Of this address; an IPv4-mapped one is the IPv4 address.
    #[must_use]
    pub fn new(client: IpAddr) -> Reverse {
        Reverse {
            client: client.to_canonical(),
            pointer: question(names::pointer(client), RecordType::Ptr),
        }
    }

    /// Goes on as far as the answers allow. At most two rounds.
    pub fn step(&self, answers: &dyn Answers) -> Step<Names> {
        let records = match answers.answer(&self.pointer) {
            None => return Step::Need(vec![self.pointer.clone()]),
            Some(Answer::NoName | Answer::NoRecords) => {
                return Step::Done(Names::of(Outcome::None));
            }
            Some(Answer::Unknown(why)) => {
                return Step::Done(Names::of(Outcome::Unknown(*why)));
            }
            Some(Answer::Found(records)) => records,
        };
        let (pointed, lost) = pointed(records);
        if pointed.is_empty() && lost == 0 {
            return Step::Done(Names::of(Outcome::None));
        }
        let mut missing = Vec::new();
        let mut found = Names::of(Outcome::Unconfirmed);
        found.lost = lost;
        for name in pointed {
            let record_type = match self.client {
                IpAddr::V4(_) => RecordType::A,
                IpAddr::V6(_) => RecordType::Aaaa,
            };
            let question = question(name, record_type);
            match answers.answer(&question) {
                None => {
                    missing.push(question);
                    continue;
                }
                Some(Answer::Found(records)) if self.is_in(records) => {
                    found.names.insert(found.confirmed, question.name);
                    found.confirmed += 1;
                    continue;
                }
                Some(Answer::Unknown(why)) if found.outcome == Outcome::Unconfirmed => {
                    found.outcome = Outcome::Unknown(*why);
                }
                Some(_) => {}
            }
            found.names.push(question.name);
        }
        if !missing.is_empty() {
            return Step::Need(missing);
        }
        if found.confirmed > 0 {
            found.outcome = Outcome::Confirmed;
        }
        Step::Done(found)
    }

    fn is_in(&self, records: &[Record]) -> bool {
        records.iter().take(RECORDS_MAX).any(|record| match record {
            Record::A(v4) => self.client == *v4,
            Record::Aaaa(v6) => self.client == *v6,
            _ => false,
        })
    }
}

/// The host names that the records point to, and how many were left out.
fn pointed(records: &[Record]) -> (Vec<Arc<str>>, usize) {
    let (mut pointed, mut lost) = (Vec::new(), 0);
    for record in records.iter().take(RECORDS_MAX) {
        let Record::Ptr(name) = record else { continue };
        match names::host_in(name) {
            Some(name) => pointed.push(name),
            None => lost += 1,
        }
    }
    pointed.sort_unstable();
    pointed.dedup();
    lost += pointed.len().saturating_sub(NAMES_MAX);
    pointed.truncate(NAMES_MAX);
    (pointed, lost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::dns::testing::*;
    use proptest::prelude::*;

    fn look(client: &str, lines: &[(&str, &str)]) -> (Names, Vec<Question>) {
        let reverse = Reverse::new(ip(client));
        run(|answers| reverse.step(answers), dns(lines))
    }

    #[test]
    fn names_look_generic_where_all_confirmed_ones_do() {
        let client = ip("192.0.2.7");
        let of = |name: &'static str, confirmed: usize| Names {
            names: [Arc::from(name), "mail.example.net".into()]
                .into_iter()
                .collect(),
            confirmed,
            ..Names::of(Outcome::Confirmed)
        };
        for (names, wanted) in [
            (of("h-192-0-2-7.dsl.example.net", 0), false),
            (of("h-192-0-2-7.dsl.example.net", 1), true),
            (of("h-192-0-2-7.dsl.example.net", 2), false),
            (of("mx.example.net", 1), false),
        ] {
            assert_eq!(names.look_generic(client), wanted);
            assert_eq!(names.look_generic(client), wanted, "as before");
        }
    }

    const PTR: &str = "PTR 7.2.0.192.in-addr.arpa";

    /// The outcome and the names, where a.example and b.example have these addresses.
    fn names(ptr: &str, a: &str, b: &str) -> (Outcome, String) {
        let mut lines = vec![(PTR, ptr)];
        lines.extend(
            [("A a.example", a), ("A b.example", b)]
                .iter()
                .filter(|l| !l.1.is_empty()),
        );
        let (found, _) = look("192.0.2.7", &lines);
        (found.outcome, found.names.join(" "))
    }

    #[test]
    fn names_that_lead_back() {
        let (ours, other) = ("192.0.2.7", "192.0.2.8");
        for (ptr, a, b, found) in [
            ("a.example", ours, "", "a.example"),
            ("a.example", "192.0.2.9|192.0.2.7", "", "a.example"),
            ("b.example|a.example", ours, ours, "a.example b.example"),
            ("a.example|b.example", other, ours, "b.example a.example"),
            (
                "a.example|b.example",
                "timeout",
                ours,
                "b.example a.example",
            ),
            ("a.example|A.Example.", ours, "", "a.example"),
        ] {
            let confirmed = (Outcome::Confirmed, found.to_string());
            assert_eq!(names(ptr, a, b), confirmed, "{ptr} {a} {b}");
        }
    }

    #[test]
    fn names_that_do_not() {
        let timeout = Outcome::Unknown(Unknown::Timeout);
        let broken = Outcome::Unknown(Unknown::Broken);
        let (unconfirmed, other) = (Outcome::Unconfirmed, "192.0.2.8");
        let both = "a.example b.example";
        for (ptr, a, b, outcome, found) in [
            ("a.example", other, "", unconfirmed, "a.example"),
            ("a.example", "nodata", "", unconfirmed, "a.example"),
            ("c.example", "", "", unconfirmed, "c.example"),
            ("192.0.2.7", "", "", unconfirmed, ""),
            ("a b.example|\u{e9}.example", "", "", unconfirmed, ""),
            ("a.example|b.example", other, "timeout", timeout, both),
            ("a.example|b.example", "servfail", "timeout", broken, both),
            ("nodata", "", "", Outcome::None, ""),
            ("servfail", "", "", broken, ""),
        ] {
            assert_eq!(
                names(ptr, a, b),
                (outcome, found.to_string()),
                "{ptr} {a} {b}"
            );
        }
        assert_eq!(look("192.0.2.7", &[]).0, Names::of(Outcome::None));
    }

    #[test]
    fn an_ipv6_client_is_confirmed_by_aaaa() {
        let ptr = "PTR 1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        let lines = [(ptr, "a.example"), ("AAAA a.example", "2001:db8::1")];
        let (found, asked) = look("2001:db8::1", &lines);
        assert_eq!(
            found.confirmed_name().map(|name| &**name),
            Some("a.example")
        );
        assert_eq!(asked.len(), 2);
        let lines = [(PTR, "a.example"), ("A a.example", "192.0.2.7")];
        assert_eq!(
            look("::ffff:192.0.2.7", &lines).0.outcome,
            Outcome::Confirmed
        );
    }

    #[test]
    fn many_names_are_bounded() {
        let names: Vec<String> = (0..500).map(|n| format!("h{n}.example")).collect();
        let (found, asked) = look("192.0.2.7", &[(PTR, &names.join("|"))]);
        assert_eq!(
            (found.names.len(), found.lost),
            (NAMES_MAX, 500 - NAMES_MAX)
        );
        assert_eq!(asked.len(), QUESTIONS_MAX);
        // A name that points to its own reverse name is one question more, not a loop.
        let (found, asked) = look("192.0.2.7", &[(PTR, "7.2.0.192.in-addr.arpa")]);
        assert_eq!((found.outcome, asked.len()), (Outcome::Unconfirmed, 2));
    }

    proptest! {
        #[test]
        fn any_answers_end_it(client: u32, answers in prop::collection::vec(any_answer(), 1..12)) {
            let reverse = Reverse::new(std::net::Ipv4Addr::from_bits(client).into());
            let mut next = answers.iter().cycle();
            let (found, asked) = run(
                |answers| reverse.step(answers),
                |_| next.next().cloned().unwrap_or(Answer::NoName),
            );
            // Only the order of the PTR records is turned: the same names are asked for.
            let mut next = answers.iter().cycle();
            let (other, _) = run(
                |answers| reverse.step(answers),
                |question| {
                    let answer = next.next().cloned().unwrap_or(Answer::NoName);
                    match question.record_type {
                        RecordType::Ptr => turned(&answer),
                        _ => answer,
                    }
                },
            );
            prop_assert_eq!(&other, &found);
            prop_assert!(asked.len() <= QUESTIONS_MAX && found.names.len() <= NAMES_MAX);
            prop_assert_eq!(found.confirmed > 0, found.outcome == Outcome::Confirmed);
            prop_assert!(found.names.iter().all(|name| names::is_host(name)));
        }
    }
}
