//! A zone in memory, for tests.

use super::{QUESTIONS_MAX, Spf, SpfResult, Subject};
use crate::dns::{Answer, Answers, Question, Record, RecordType, Step, Unknown};
use std::collections::HashMap;

/// Answers by question; a question of no answer has none, of no name none either.
#[derive(Default)]
pub(super) struct Zone {
    answers: HashMap<Question, Answer>,
}

pub(super) fn question(name: &str, record_type: RecordType) -> Question {
    Question {
        name: name.into(),
        record_type,
    }
}

impl Zone {
    pub(super) fn put(&mut self, name: &str, record_type: RecordType, records: Vec<Record>) {
        let answer = Answer::Found(records.into());
        self.answers.insert(question(name, record_type), answer);
    }

    pub(super) fn txt(&mut self, name: &str, text: &str) {
        let record = Record::Txt(text.as_bytes().into());
        self.put(name, RecordType::Txt, vec![record]);
    }

    pub(super) fn a(&mut self, name: &str, address: &str) {
        let address = Record::A(address.parse().expect("an address"));
        self.put(name, RecordType::A, vec![address]);
    }

    pub(super) fn fail(&mut self, name: &str, record_type: RecordType, why: Unknown) {
        let answer = Answer::Unknown(why);
        self.answers.insert(question(name, record_type), answer);
    }
}

/// The answers that have come so far, and will be forgotten once they were seen.
struct Coming(HashMap<Question, Answer>);

impl Answers for Coming {
    fn answer(&self, question: &Question) -> Option<&Answer> {
        self.0.get(question)
    }
}

/// What came of a check, and what it asked for.
pub(super) struct Run {
    pub(super) result: SpfResult,
    pub(super) asked: Vec<Question>,
}

/// Runs a check whose answers come one at a time and are kept for one step only.
pub(super) fn run(mut spf: Spf, mut answer: impl FnMut(&Question) -> Answer) -> Run {
    let mut asked = Vec::new();
    let mut coming = Coming(HashMap::new());
    loop {
        match spf.step(&coming) {
            Step::Done(result) => return Run { result, asked },
            Step::Need(questions) => {
                let again = spf.step(&Coming(HashMap::new()));
                assert_eq!(again, Step::Need(questions.clone()), "it asks for the same");
                let last = questions.last().expect("it asks for something");
                asked.push(last.clone());
                assert!(asked.len() <= QUESTIONS_MAX, "it ends");
                coming.0.clear();
                coming.0.insert(last.clone(), answer(last));
            }
        }
    }
}

impl Zone {
    /// Checks `a@b.example` from 192.0.2.1.
    pub(super) fn check(&self) -> Run {
        let subject = Subject {
            client_ip: "192.0.2.1".parse().expect("an address"),
            mail_from: b"a@b.example",
            helo: b"h.example",
            receiver: &"mx.example".into(),
            unix_seconds: 0,
        };
        run(Spf::new(&subject), |question| self.answer_of(question))
    }

    pub(super) fn answer_of(&self, question: &Question) -> Answer {
        let answer = self.answers.get(question);
        answer.cloned().unwrap_or(Answer::NoName)
    }
}

impl Answers for Zone {
    fn answer(&self, question: &Question) -> Option<&Answer> {
        Some(self.answers.get(question).unwrap_or(&Answer::NoName))
    }
}
