//! The published test suite for RFC 7208 (`data/spf/rfc7208-tests.yml`, with its licence beside it): 203 tests, each a
//! sender, a client and a zone, with the results that are right and often the explanation.

use super::super::{Spf, SpfResult, Subject};
use crate::dns::{Answer, Answers, Question, Record, RecordType, Step, Unknown};
use saphyr::{LoadableYamlNode, Yaml};
use std::collections::HashMap;

/// Where the explanation of a record does not count, the suite expects this.
const DEFAULT_EXPLANATION: &str = "DEFAULT";

#[derive(Default)]
struct Zone {
    /// By name in lower case.
    names: HashMap<String, Vec<Entry>>,
}

/// What the suite says of a name.
enum Entry {
    Record(RecordType, Record),
    Alias(String),
    /// Questions for a type without records of it get no answer.
    Timeout,
}

/// The answers that were asked for.
#[derive(Default)]
struct Known(HashMap<Question, Answer>);

impl Answers for Known {
    fn answer(&self, question: &Question) -> Option<&Answer> {
        self.0.get(question)
    }
}

fn text<'a>(node: &'a Yaml<'_>) -> &'a str {
    node.as_str().unwrap_or_else(|| panic!("no text: {node:?}"))
}

fn name(text: &str) -> String {
    text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase()
}

/// The strings of a TXT record, joined. Their escapes stand for octets, as they do in the suite's own program.
fn joined(value: &Yaml<'_>) -> Option<Record> {
    let strings: String = match value.as_vec() {
        Some(strings) => strings.iter().map(text).collect(),
        None => text(value).to_string(),
    };
    (strings != "NONE").then(|| Record::Txt(strings.into_bytes().into()))
}

fn entries(list: &Yaml<'_>) -> Vec<Entry> {
    let list = list.as_vec().expect("a list of records");
    let fields = || list.iter().filter_map(|item| item.as_mapping()).flatten();
    // The suite is older than the end of the SPF type: its records are those of TXT where there are none.
    let has_txt = fields().any(|(key, _)| text(key) == "TXT");
    let mut found = Vec::new();
    for (key, value) in fields() {
        let (record_type, record) = match text(key) {
            "TXT" => (RecordType::Txt, joined(value)),
            "SPF" if !has_txt => (RecordType::Txt, joined(value)),
            "SPF" => continue,
            "A" => (
                RecordType::A,
                Some(Record::A(text(value).parse().expect("an address"))),
            ),
            "AAAA" => {
                let address = text(value).parse().expect("an address");
                (RecordType::Aaaa, Some(Record::Aaaa(address)))
            }
            "PTR" => (RecordType::Ptr, Some(Record::Ptr(name(text(value)).into()))),
            "MX" => {
                let preference = value[0].as_integer().expect("a preference");
                let preference = preference.try_into().expect("16 bits");
                let exchange = name(text(&value[1])).into();
                (
                    RecordType::Mx,
                    Some(Record::Mx {
                        preference,
                        exchange,
                    }),
                )
            }
            "CNAME" => {
                found.push(Entry::Alias(name(text(value))));
                continue;
            }
            other => panic!("an unknown type: {other}"),
        };
        found.extend(record.map(|record| Entry::Record(record_type, record)));
    }
    if list.iter().any(|item| item.as_str() == Some("TIMEOUT")) {
        found.push(Entry::Timeout);
    }
    found
}

impl Zone {
    fn read(data: &Yaml<'_>) -> Zone {
        let zone = data.as_mapping().expect("names");
        let names = zone
            .iter()
            .map(|(key, list)| (name(text(key)), entries(list)));
        Zone {
            names: names.collect(),
        }
    }

    fn answer(&self, question: &Question, aliases: usize) -> Answer {
        let Some(entries) = self.names.get(&*question.name) else {
            return Answer::NoName;
        };
        let records = entries.iter().filter_map(|entry| match entry {
            Entry::Record(record_type, record) if *record_type == question.record_type => {
                Some(record.clone())
            }
            _ => None,
        });
        let records: Vec<Record> = records.collect();
        if !records.is_empty() {
            return Answer::Found(records.into());
        }
        for entry in entries {
            match entry {
                Entry::Timeout => return Answer::Unknown(Unknown::Timeout),
                // A resolver follows aliases, and gives up on a loop.
                Entry::Alias(_) if aliases == 8 => return Answer::Unknown(Unknown::Broken),
                Entry::Alias(target) => {
                    let name = target.as_str().into();
                    let record_type = question.record_type;
                    return self.answer(&Question { name, record_type }, aliases + 1);
                }
                Entry::Record(..) => {}
            }
        }
        Answer::NoRecords
    }

    fn check(&self, test: &Yaml<'_>) -> SpfResult {
        let subject = Subject {
            client_ip: text(&test["host"]).parse().expect("an address"),
            mail_from: text(&test["mailfrom"]).as_bytes(),
            helo: text(&test["helo"]).as_bytes(),
            receiver: &"mx.example.org".into(),
            unix_seconds: 1_396_310_400,
        };
        let mut spf = Spf::new(&subject);
        let mut known = Known::default();
        loop {
            match spf.step(&known) {
                Step::Done(result) => return result,
                Step::Need(questions) => {
                    for question in questions {
                        let answer = self.answer(&question, 0);
                        let before = known.0.insert(question, answer);
                        assert_eq!(before, None, "asked for what is known");
                    }
                }
            }
        }
    }
}

/// The results that the suite allows, the preferred one first.
fn allowed<'a>(test: &'a Yaml<'_>) -> Vec<&'a str> {
    match test["result"].as_vec() {
        Some(several) => several.iter().map(text).collect(),
        None => vec![text(&test["result"])],
    }
}

#[test]
fn the_published_suite_holds() {
    let scenarios = holds(include_str!("../../../../tests/data/spf/rfc7208-tests.yml"));
    assert_eq!(scenarios, (16, 203));
}

#[test]
fn nested_includes_and_two_records_hold() {
    let scenarios = holds(include_str!("../../../../tests/data/spf/extra-tests.yml"));
    assert_eq!(scenarios, (1, 4));
}

/// Runs a suite; how many scenarios and tests it has.
fn holds(source: &str) -> (usize, usize) {
    let scenarios = Yaml::load_from_str(source).expect("is YAML");
    let (mut tests, mut preferred, mut explained) = (0, 0, 0);
    let mut wrong = Vec::new();
    for scenario in &scenarios {
        let zone = Zone::read(&scenario["zonedata"]);
        for (id, test) in scenario["tests"].as_mapping().expect("tests") {
            let result = zone.check(test);
            let code = result.code.as_str();
            let allowed = allowed(test);
            tests += 1;
            preferred += usize::from(allowed[0] == code);
            if allowed[0] != code {
                println!("{}: {code}, preferred is {}", text(id), allowed[0]);
            }
            if !allowed.contains(&code) {
                wrong.push(format!("{}: {result:?}, not {allowed:?}", text(id)));
            }
            if let Some(explanation) = test.as_mapping_get("explanation") {
                explained += 1;
                let seen = result.explanation.as_deref().unwrap_or(DEFAULT_EXPLANATION);
                if seen != text(explanation) {
                    wrong.push(format!("{}: {seen:?}, not {explanation:?}", text(id)));
                }
            }
        }
    }
    println!("{tests} tests, {preferred} with the preferred result, {explained} explanations");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    (scenarios.len(), tests)
}
