//! Samples of what a list could list: addresses or names picked at random, which no client chose.
//!
//! Half of the addresses are for documentation or tests, where no mail comes from, and half are of networks in use. A list
//! of dial-up networks has some of the latter, a list of bogus networks has the former, and only a list of everything has
//! all.

use super::{
    listing::RECORDS_MAX,
    names::{self, NAME_MAX, question},
    special,
    zone::{Kind, Zone},
};
use crate::dns::{Answer, Answers, Question, Record, RecordType, Unknown};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Samples of each family, or of names.
pub const SAMPLES: usize = 4;
/// Random addresses that are looked at until one is of the internet; an eighth of all are not.
const TRIES_MAX: usize = 16;
/// Blocks of IPv6, first address and length: two of which much is in use, then documentation (RFC 3849) and discard
/// (RFC 6666).
const V6: [(u128, u32); SAMPLES] = [
    (0x2600 << 112, 12),
    (0x2a00 << 112, 12),
    (0x2001_0db8 << 96, 32),
    (0x0100 << 112, 64),
];
/// What names are below. Not `test`: below an entry TEST a wildcard for all does not hold (RFC 4592 section 2.2.1).
const TOPS: [&str; SAMPLES] = ["invalid", "example", "com", "net"];

/// What samples are picked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampled {
    /// IPv4 addresses.
    V4,
    /// IPv6 addresses.
    V6,
    /// Names.
    Names,
}

impl fmt::Display for Sampled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Sampled::V4 => "IPv4 addresses",
            Sampled::V6 => "IPv6 addresses",
            Sampled::Names => "names",
        })
    }
}

/// What samples show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The list does not list everything.
    Clear,
    /// It lists all of these samples, so many.
    All(Sampled, usize),
    /// It did not answer to one, and the others are listed.
    Unknown(Unknown),
}

/// The questions for samples; none by default.
#[derive(Clone, Default)]
pub struct Samples(Vec<(Sampled, Question)>);

impl Samples {
    /// Picks them. `random` gives numbers that clients can't foresee.
    #[must_use]
    pub fn pick(zone: &Zone, mut random: impl FnMut() -> u64) -> Samples {
        let asked = zone.name.asked();
        let mut names = Vec::with_capacity(2 * SAMPLES);
        match zone.kind {
            Kind::Addresses(families) => {
                let v4 = sample_v4(&mut random).map(|it| names::reversed(IpAddr::V4(it), asked));
                let v6 = sample_v6(&mut random).map(|it| names::reversed_v6(it, asked));
                let v4 = v4.map(|name| (Sampled::V4, name)).into_iter();
                let v6 = v6.map(|name| (Sampled::V6, name)).into_iter();
                names.extend(v4.filter(|_| families.v4));
                names.extend(v6.filter(|_| families.v6));
            }
            Kind::Names(_) => names.extend(TOPS.map(|top| {
                let name = format!("x{:016x}.{top}.{asked}", random());
                (Sampled::Names, name)
            })),
        }
        let names = names.into_iter();
        let names = names.filter(|(_, name)| name.len() <= NAME_MAX);
        Samples(
            names
                .map(|(of, name)| (of, question(name, RecordType::A)))
                .collect(),
        )
    }

    /// What is asked.
    pub fn questions(&self) -> impl Iterator<Item = &Question> {
        self.0.iter().map(|(_, question)| question)
    }

    /// What the answers show. One sample that is not listed clears its kind.
    #[must_use]
    pub fn found(&self, zone: &Zone, answers: &dyn Answers) -> Found {
        let mut unknown = None;
        for of in [Sampled::V4, Sampled::V6, Sampled::Names] {
            let (mut listed, mut silent, mut is_clear) = (0, None, false);
            for (_, question) in self.0.iter().filter(|(kind, _)| *kind == of) {
                match answers.answer(question) {
                    Some(Answer::Found(records)) if is_yes(zone, records) => listed += 1,
                    Some(Answer::Unknown(why)) => silent = Some(*why),
                    _ => is_clear = true,
                }
            }
            match (is_clear, listed, silent) {
                (true, _, _) | (false, 0, None) => {}
                (false, _, Some(why)) => unknown = Some(why),
                (false, _, None) => return Found::All(of, listed),
            }
        }
        unknown.map_or(Found::Clear, Found::Unknown)
    }
}

/// Whether a session would take the answer for a listing, by the list's own filters: other codes do no harm.
fn is_yes(zone: &Zone, records: &[Record]) -> bool {
    let codes = || {
        let records = records.iter().take(RECORDS_MAX);
        records.filter_map(|record| match record {
            Record::A(code) => Some(*code),
            _ => None,
        })
    };
    !codes().any(|code| zone.error(code).is_some())
        && codes().any(|code| zone.entries.iter().any(|entry| entry.matches(code)))
}

fn sample_v4(random: &mut impl FnMut() -> u64) -> [Ipv4Addr; SAMPLES] {
    let mut wide = || {
        let tries = (0..TRIES_MAX).map(|_| Ipv4Addr::from_bits(random() as u32));
        let mut tries = tries.filter(|it| special::purpose(IpAddr::V4(*it)).is_none());
        // So many misses don't happen; a benchmark's address (RFC 2544) would do as well.
        tries.next().unwrap_or(Ipv4Addr::new(198, 18, 0, 7))
    };
    let (one, other) = (wide(), wide());
    // RFC 5737.
    let [a, b] = [random() as u8, random() as u8];
    [
        one,
        other,
        Ipv4Addr::new(198, 51, 100, a),
        Ipv4Addr::new(203, 0, 113, b),
    ]
}

fn sample_v6(random: &mut impl FnMut() -> u64) -> [Ipv6Addr; SAMPLES] {
    V6.map(|(first, length)| {
        let bits = u128::from(random()) << 64 | u128::from(random());
        Ipv6Addr::from_bits(first | bits & (u128::MAX >> length))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::dns::{
        testing::*,
        zone::{Families, Role, Roles},
    };

    const BOTH: Kind = Kind::Addresses(Families::BOTH);

    /// What is found where the list gives these answers; and all that it was asked.
    fn sampled(kind: Kind, answer: impl Fn(&str) -> Answer, seed: u64) -> (Found, Vec<Question>) {
        let zone = Zone {
            kind,
            ..zone("bl.example", &[(&["127.0.0.[2..9]"], 1.0)])
        };
        let samples = Samples::pick(&zone, numbers(seed));
        let asked: Vec<Question> = samples.questions().cloned().collect();
        let answers = asked
            .iter()
            .map(|asked| (asked.clone(), answer(&asked.name)));
        let table = Table(answers.collect());
        (samples.found(&zone, &table), asked)
    }

    fn code(octets: [u8; 4]) -> Answer {
        Answer::Found([Record::A(octets.into())].into())
    }

    #[test]
    fn a_list_that_lists_all_of_them_is_found() {
        let names = Kind::Names(Roles::NONE.with(Role::Sender));
        for (kind, of, count) in [(BOTH, Sampled::V4, 8), (names, Sampled::Names, 4)] {
            let (found, asked) = sampled(kind, |_| code([127, 0, 0, 2]), 7);
            assert_eq!((found, asked.len()), (Found::All(of, SAMPLES), count));
            let (_, others) = sampled(kind, |_| Answer::NoName, 8);
            assert!(asked.iter().all(|one| !others.contains(one)), "at random");
            let silent = Answer::Unknown(Unknown::Timeout);
            for (answer, found) in [
                (Answer::NoName, Found::Clear),
                (Answer::NoRecords, Found::Clear),
                (code([127, 0, 0, 77]), Found::Clear),
                (code([127, 255, 255, 254]), Found::Clear),
                (code([203, 0, 113, 1]), Found::Clear),
                (silent, Found::Unknown(Unknown::Timeout)),
            ] {
                assert_eq!(sampled(kind, |_| answer.clone(), 7).0, found, "{answer:?}");
            }
        }
        // A single silence leaves it open, and a single no does not.
        let first = |name: &str| name.ends_with(".invalid.bl.example");
        for (one, found) in [
            (
                Answer::Unknown(Unknown::Broken),
                Found::Unknown(Unknown::Broken),
            ),
            (Answer::NoName, Found::Clear),
        ] {
            let answer = |name: &str| match first(name) {
                true => one.clone(),
                false => code([127, 0, 0, 2]),
            };
            assert_eq!(sampled(names, answer, 7).0, found, "{one:?}");
        }
    }

    #[test]
    fn networks_in_use_or_bogus_ones_alone_are_not_everything() {
        let ends = [
            ".100.51.198.bl.example",
            ".113.0.203.bl.example",
            ".8.b.d.0.1.0.0.2.bl.example",
            ".0.0.1.0.bl.example",
        ];
        let is_bogus = |name: &str| ends.iter().any(|end| name.ends_with(end));
        for seed in 0..50 {
            for lists_bogus in [true, false] {
                let answer = |name: &str| match is_bogus(name) == lists_bogus {
                    true => code([127, 0, 0, 2]),
                    false => Answer::NoName,
                };
                assert_eq!(sampled(BOTH, answer, seed).0, Found::Clear, "{seed}");
            }
        }
        // All of one family is everything.
        let of_v6 = |name: &str| match name.len() > 40 {
            true => code([127, 0, 0, 2]),
            false => Answer::NoName,
        };
        let all = Found::All(Sampled::V6, SAMPLES);
        assert_eq!(sampled(BOTH, of_v6, 7).0, all);
    }
}
