//! Is the list in order? The test entries of RFC 5782 section 5, asked at start and hourly.
//!
//! | list of | must be listed | must not be listed |
//! |---|---|---|
//! | IPv4 addresses | 127.0.0.2 | 127.0.0.1 |
//! | IPv6 addresses | ::FFFF:7F00:2 | ::FFFF:7F00:1 |
//! | names | TEST | INVALID |
//!
//! A list that lists everything (it was given up, or its domain was sold) fails the second column; one that lists nothing
//! fails the first. A list of both families without the IPv6 test entry is in order: it may hold no IPv6 at all.
//!
//! A list that is suspected of listing everything ([`super::runaway`]) is asked for [`super::samples`] too.

use super::{
    codes::ListError,
    listing::RECORDS_MAX,
    names::{self, question},
    samples::{Found, SAMPLES, Sampled, Samples},
    zone::{Kind, Zone},
};
use crate::dns::{Answer, Answers, Question, Record, RecordType, Step, Unknown};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

/// Questions of one probe, all of them asked at once: test entries, and samples of two families.
pub const QUESTIONS_MAX: usize = 4 + 2 * SAMPLES;

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// The test entries are as they should be.
    Healthy,
    /// The list must not be used.
    Broken(Why),
    /// It did not answer. What was known of it before still holds.
    Unknown(Unknown),
}

/// What is wrong with a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// This test entry is missing: the list lists nothing, or has no test entries.
    NotListed(&'static str),
    /// What must not be listed is: the list lists everything.
    Listed(&'static str),
    /// Each of these samples is listed, so many.
    Samples(Sampled, usize),
    /// It answers with an error.
    Error(ListError),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::NotListed(entry) => write!(
                f,
                "its test entry {entry} is not listed (RFC 5782 section 5): it lists nothing, or has no test entries"
            ),
            Why::Listed(entry) => write!(
                f,
                "it lists {entry}, which must not be listed (RFC 5782 section 5): it lists everything"
            ),
            Why::Samples(of, count) => write!(
                f,
                "it lists all of {count} {of} that were picked at random: it seems to list everything"
            ),
            Why::Error(error) => error.fmt(f),
        }
    }
}

/// What one test expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Listed,
    /// Should be, and a list is in order without.
    Perhaps,
    NotListed,
}

/// Asks a list for its test entries.
#[derive(Clone)]
pub struct Probe {
    zone: Arc<Zone>,
    tests: Vec<(Expected, &'static str, Question)>,
    samples: Samples,
}

impl Probe {
    /// For this list. One that is said to have no test entries is asked only for what must not be listed.
    #[must_use]
    pub fn new(zone: Arc<Zone>) -> Probe {
        let mut tests = Vec::with_capacity(QUESTIONS_MAX);
        let mut test = |expected, entry, name: String| {
            if expected == Expected::NotListed || zone.has_test_entries {
                tests.push((expected, entry, question(name, RecordType::A)));
            }
        };
        let asked = zone.name.asked();
        let v4 = |last| names::reversed(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), asked);
        let v6 = |last| {
            let mapped = Ipv4Addr::new(127, 0, 0, last).to_ipv6_mapped();
            names::reversed_v6(Ipv6Addr::from(mapped.octets()), asked)
        };
        match zone.kind {
            Kind::Addresses(families) => {
                if families.v4 {
                    test(Expected::Listed, "127.0.0.2", v4(2));
                    test(Expected::NotListed, "127.0.0.1", v4(1));
                }
                if families.v6 {
                    let expected = match families.v4 {
                        true => Expected::Perhaps,
                        false => Expected::Listed,
                    };
                    test(expected, "::FFFF:7F00:2", v6(2));
                    test(Expected::NotListed, "::FFFF:7F00:1", v6(1));
                }
            }
            Kind::Names(_) => {
                test(Expected::Listed, "TEST", format!("test.{asked}"));
                test(Expected::NotListed, "INVALID", format!("invalid.{asked}"));
            }
        }
        Probe {
            zone,
            tests,
            samples: Samples::default(),
        }
    }

    /// Asks for samples too. `random` gives numbers that clients can't foresee.
    #[must_use]
    pub fn with_samples(self, random: impl FnMut() -> u64) -> Probe {
        Probe {
            samples: Samples::pick(&self.zone, random),
            ..self
        }
    }

    /// Goes on as far as the answers allow. One round.
    pub fn step(&self, answers: &dyn Answers) -> Step<Health> {
        let tests = self.tests.iter().map(|(_, _, question)| question);
        let all = tests.chain(self.samples.questions());
        let missing: Vec<Question> = all
            .filter(|question| answers.answer(question).is_none())
            .cloned()
            .collect();
        if !missing.is_empty() {
            return Step::Need(missing);
        }
        let mut broken: Option<Why> = None;
        let mut unknown = None;
        for (expected, entry, question) in &self.tests {
            let found = match answers.answer(question) {
                Some(Answer::Found(records)) => self.read(records),
                Some(Answer::Unknown(why)) => {
                    unknown.get_or_insert(*why);
                    continue;
                }
                Some(Answer::NoName | Answer::NoRecords) | None => Ok(false),
            };
            let why = match (expected, found) {
                (_, Err(error)) => Why::Error(error),
                (Expected::Listed, Ok(false)) => Why::NotListed(entry),
                (Expected::NotListed, Ok(true)) => Why::Listed(entry),
                _ => continue,
            };
            // An error says more than an entry that is missing because of it.
            if !matches!(broken, Some(Why::Error(_))) {
                broken = match (broken, why) {
                    (None, _) | (_, Why::Error(_)) => Some(why),
                    (Some(first), _) => Some(first),
                };
            }
        }
        Step::Done(match (broken, unknown) {
            (Some(why), _) => Health::Broken(why),
            (None, Some(why)) => Health::Unknown(why),
            (None, None) => match self.samples.found(&self.zone, answers) {
                Found::Clear => Health::Healthy,
                Found::Unknown(why) => Health::Unknown(why),
                Found::All(of, count) => Health::Broken(Why::Samples(of, count)),
            },
        })
    }

    /// Whether the answer is a listing. The list's own filters don't matter here: they need not match the test entry.
    fn read(&self, records: &[Record]) -> Result<bool, ListError> {
        let mut listed = false;
        for record in records.iter().take(RECORDS_MAX) {
            if let Record::A(code) = record {
                match self.zone.error(*code) {
                    Some(error) => return Err(error),
                    None => listed = true,
                }
            }
        }
        Ok(listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::dns::{
        testing::*,
        zone::{Families, Role, Roles},
    };
    use proptest::prelude::*;

    const TWO: &str = "A 2.0.0.127.bl.example";
    const ONE: &str = "A 1.0.0.127.bl.example";
    const TWO_V6: &str =
        "A 2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.bl.example";
    const ONE_V6: &str =
        "A 1.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.bl.example";

    fn probe(kind: Kind, has_test_entries: bool, lines: &[(&str, &str)]) -> (Health, usize) {
        let zone = Zone {
            kind,
            has_test_entries,
            ..zone("bl.example", &[(&["127.0.0.77"], 1.0)])
        };
        let probe = Probe::new(Arc::new(zone));
        let (health, asked) = run(|answers| probe.step(answers), dns(lines));
        (health, asked.len())
    }

    #[test]
    fn lists_of_addresses() {
        let both = Kind::Addresses(Families::BOTH);
        let refused = Why::Error(ListError::PublicResolver);
        let good = "127.0.0.2";
        for (lines, health) in [
            (&[(TWO, good)][..], Health::Healthy),
            (&[(TWO, good), (TWO_V6, good)], Health::Healthy),
            (&[], Health::Broken(Why::NotListed("127.0.0.2"))),
            (
                &[(TWO, "nodata")],
                Health::Broken(Why::NotListed("127.0.0.2")),
            ),
            (
                &[(TWO, good), (ONE, good)],
                Health::Broken(Why::Listed("127.0.0.1")),
            ),
            (
                &[(TWO, good), (ONE_V6, good)],
                Health::Broken(Why::Listed("::FFFF:7F00:1")),
            ),
            (
                &[(TWO, "127.255.255.254"), (ONE, "127.255.255.254")],
                Health::Broken(refused),
            ),
            (&[(ONE, "127.255.255.254")], Health::Broken(refused)),
            (&[(TWO, "timeout")], Health::Unknown(Unknown::Timeout)),
            (
                &[(TWO, "timeout"), (ONE, good)],
                Health::Broken(Why::Listed("127.0.0.1")),
            ),
            (
                &[(TWO, good), (TWO_V6, "servfail")],
                Health::Unknown(Unknown::Broken),
            ),
        ] {
            assert_eq!(probe(both, true, lines), (health, 4), "{lines:?}");
        }
    }

    #[test]
    fn one_family_alone() {
        let v6 = Kind::Addresses(Families {
            v4: false,
            v6: true,
        });
        let missing = Health::Broken(Why::NotListed("::FFFF:7F00:2"));
        assert_eq!(probe(v6, true, &[]), (missing, 2));
        assert_eq!(
            probe(v6, true, &[(TWO_V6, "127.0.0.2")]),
            (Health::Healthy, 2)
        );
        let v4 = Kind::Addresses(Families {
            v4: true,
            v6: false,
        });
        assert_eq!(probe(v4, true, &[(TWO, "127.0.0.2")]), (Health::Healthy, 2));
    }

    #[test]
    fn lists_of_names() {
        let names = Kind::Names(Roles::NONE.with(Role::Sender));
        let test = ("A test.bl.example", "127.0.1.2");
        let invalid = ("A invalid.bl.example", "127.0.1.2");
        for (lines, health) in [
            (&[test][..], Health::Healthy),
            (&[], Health::Broken(Why::NotListed("TEST"))),
            (&[test, invalid], Health::Broken(Why::Listed("INVALID"))),
        ] {
            assert_eq!(probe(names, true, lines), (health, 2));
        }
    }

    #[test]
    fn a_list_without_test_entries_must_still_not_list_all() {
        let v4 = Kind::Addresses(Families {
            v4: true,
            v6: false,
        });
        assert_eq!(probe(v4, false, &[]), (Health::Healthy, 1));
        let all = Health::Broken(Why::Listed("127.0.0.1"));
        assert_eq!(probe(v4, false, &[(ONE, "127.0.0.9")]), (all, 1));
        let words = Why::Samples(Sampled::V4, 4).to_string();
        assert!(
            words.starts_with("it lists all of 4 IPv4 addresses"),
            "{words}"
        );
        assert_eq!(
            Why::Error(ListError::OverQuota).to_string(),
            "answers 127.255.255.255: over its quota"
        );
    }

    proptest! {
        #[test]
        fn any_answers_end_it(answers in prop::collection::vec(any_answer(), 1..6)) {
            let probe = Probe::new(Arc::new(zone("bl.example", &[(&[], 1.0)])));
            let probe = probe.with_samples(numbers(7));
            let mut next = answers.iter().cycle();
            let (_, asked) = run(
                |answers| probe.step(answers),
                |_| next.next().cloned().unwrap_or(Answer::NoName),
            );
            prop_assert!(asked.len() <= QUESTIONS_MAX);
        }
    }
}
