//! What the tests share: answers from a table, and a run of a machine that counts what it asks.

use crate::dns::{Answer, Answers, Question, Record, RecordType, Step, Unknown};
use crate::policy::dns::{
    codes::Codes,
    names,
    secret::ZoneName,
    zone::{Entry, Families, Kind, Proofs, Zone},
};
use proptest::prelude::*;
use std::{collections::HashMap, fmt::Debug, net::IpAddr, sync::Arc};

/// Rounds after which a machine is taken for one that never ends.
const ROUNDS_MAX: usize = 10;

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A list of addresses with these entries.
pub fn zone(name: &str, entries: &[(&[&str], f64)]) -> Zone {
    let codes = |filters: &[&str]| {
        let filters = filters.iter();
        filters
            .map(|filter| Codes::parse(filter).expect("a filter"))
            .collect()
    };
    Zone {
        name: ZoneName::new(name, None, None).expect("a zone"),
        kind: Kind::Addresses(Families::BOTH),
        entries: entries
            .iter()
            .map(|(filters, weight)| Entry {
                codes: codes(filters),
                weight: *weight,
            })
            .collect(),
        errors: Box::default(),
        requires: Proofs::NONE,
        has_test_entries: true,
    }
}

/// Numbers that look random, the same for the same seed.
pub fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        state ^ state >> 29
    }
}

/// Answers that are there.
#[derive(Default)]
pub struct Table(pub HashMap<Question, Answer>);

impl Answers for Table {
    fn answer(&self, question: &Question) -> Option<&Answer> {
        self.0.get(question)
    }
}

/// What a DNS says: `A name` to records, each a word as in [`record`]; or `nodata`, `timeout`, `servfail`. What is not
/// there does not exist.
pub fn dns(lines: &[(&str, &str)]) -> impl FnMut(&Question) -> Answer {
    let lines: HashMap<String, String> = lines
        .iter()
        .map(|(question, answer)| (question.to_string(), answer.to_string()))
        .collect();
    move |question| {
        let kind = format!("{:?}", question.record_type).to_uppercase();
        match lines
            .get(&format!("{kind} {}", question.name))
            .map(String::as_str)
        {
            None => Answer::NoName,
            Some("nodata") => Answer::NoRecords,
            Some("timeout") => Answer::Unknown(Unknown::Timeout),
            Some("servfail") => Answer::Unknown(Unknown::Broken),
            Some(records) => Answer::Found(
                records
                    .split('|')
                    .map(|text| record(question.record_type, text.trim()))
                    .collect(),
            ),
        }
    }
}

fn record(record_type: RecordType, text: &str) -> Record {
    match record_type {
        RecordType::A => Record::A(text.parse().expect("IPv4")),
        RecordType::Aaaa => Record::Aaaa(text.parse().expect("IPv6")),
        RecordType::Mx => {
            let (preference, exchange) = text.split_once(' ').expect("preference and exchange");
            Record::Mx {
                preference: preference.parse().expect("a number"),
                exchange: exchange.trim_end_matches('.').into(),
            }
        }
        RecordType::Ptr => Record::Ptr(text.into()),
        RecordType::Txt => Record::Txt(text.as_bytes().into()),
        RecordType::Srv => unreachable!("no check asks for hosts that serve"),
    }
}

/// Runs a machine to its end; what it found, and all that it asked.
///
/// Each step is taken twice, for a machine keeps nothing.
pub fn run<T: PartialEq + Debug>(
    mut step: impl FnMut(&dyn Answers) -> Step<T>,
    mut dns: impl FnMut(&Question) -> Answer,
) -> (T, Vec<Question>) {
    let (mut table, mut asked) = (Table::default(), Vec::new());
    for _ in 0..ROUNDS_MAX {
        let (one, again) = (step(&table), step(&table));
        assert_eq!(one, again);
        match one {
            Step::Done(found) => return (found, asked),
            Step::Need(questions) => {
                assert!(!questions.is_empty(), "it needs nothing and is not done");
                for question in questions {
                    assert!(question.name.len() <= names::NAME_MAX, "{question:?}");
                    let known = table.0.insert(question.clone(), dns(&question));
                    assert!(known.is_none(), "asked twice: {question:?}");
                    asked.push(question);
                }
            }
        }
    }
    panic!("it did not end");
}

/// Any record, also of a type that was not asked for, with names of odd octets.
pub fn any_record() -> impl Strategy<Value = Record> {
    let name = prop_oneof![
        "[a-c]{1,2}(\\.[a-c]{1,2}){0,3}",
        "\\PC{0,20}",
        "[0-9.]{0,20}",
        Just("a.".repeat(130)),
        Just(String::new()),
    ];
    let name = name.prop_map(Arc::<str>::from);
    prop_oneof![
        any::<[u8; 4]>().prop_map(|octets| Record::A(octets.into())),
        any::<[u8; 3]>().prop_map(|[a, b, c]| Record::A([127, a, b, c].into())),
        Just(Record::A([127, 0, 0, 2].into())),
        any::<[u8; 16]>().prop_map(|octets| Record::Aaaa(octets.into())),
        (any::<u16>(), name.clone()).prop_map(|(preference, exchange)| Record::Mx {
            preference,
            exchange
        }),
        name.prop_map(Record::Ptr),
        any::<Vec<u8>>().prop_map(|text| Record::Txt(text.into())),
    ]
}

/// The answer with its records the other way round.
pub fn turned(answer: &Answer) -> Answer {
    match answer {
        Answer::Found(records) => Answer::Found(records.iter().rev().cloned().collect()),
        other => other.clone(),
    }
}

/// Any answer.
pub fn any_answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        8 => prop::collection::vec(any_record(), 0..10)
            .prop_map(|records| Answer::Found(records.into())),
        1 => Just(Answer::NoRecords),
        1 => Just(Answer::NoName),
        1 => Just(Answer::Unknown(Unknown::Timeout)),
        1 => Just(Answer::Unknown(Unknown::Broken)),
    ]
}
