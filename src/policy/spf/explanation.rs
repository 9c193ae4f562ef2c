//! The explanation of a `fail`: a text that the domain's owner has for the sender (RFC 7208 section 6.2).

use super::machine::{Halt, Spf, Stage};
use super::result::printable;
use super::{EXPLANATION_OCTETS_MAX, RECORD_OCTETS_MAX, ResultCode, macros};
use crate::dns::{Answer, Answers, Question, Record, RecordType};
use std::sync::Arc;

/// How far it is.
#[derive(Clone, Debug)]
pub(super) struct Explanation {
    /// The mechanism that made the result a `fail`.
    mechanism: Option<Arc<str>>,
    /// The name that holds the text, once it is expanded.
    target: Option<Arc<str>>,
    /// The text before its macros are expanded, once it is there.
    text: Option<Arc<[u8]>>,
}

impl Explanation {
    /// It is to be looked up.
    pub(super) fn of(mechanism: Option<Arc<str>>) -> Explanation {
        Explanation {
            mechanism,
            target: None,
            text: None,
        }
    }
}

impl Spf {
    /// Looks the explanation up. Whatever goes wrong, there is none (section 6.2); and it counts as no look-up.
    pub(super) fn explain(&mut self, answers: &dyn Answers) -> Result<(), Halt> {
        let Stage::Explanation(explanation) = &self.stage else {
            return Ok(());
        };
        let Explanation {
            mechanism,
            target,
            text,
        } = explanation.clone();
        let Some(text) = text else {
            let target = match target {
                Some(target) => Some(target),
                None => self.explanation_target(answers)?,
            };
            let Some(target) = target else {
                self.finish_with(ResultCode::Fail, mechanism, None, None);
                return Ok(());
            };
            let question = Question {
                name: Arc::clone(&target),
                record_type: RecordType::Txt,
            };
            let answer = answers.answer(&question);
            let text = answer.and_then(only_text);
            if answer.is_some() && text.is_none() {
                self.finish_with(ResultCode::Fail, mechanism, None, None);
                return Ok(());
            }
            let is_needed = text.is_none();
            self.stage = Stage::Explanation(Explanation {
                mechanism,
                target: Some(target),
                text,
            });
            return match is_needed {
                true => Err(Halt::Need(vec![question])),
                false => Ok(()),
            };
        };
        let validated = self.validated_name(&text, answers)?;
        let values = self.values(&validated);
        let expanded = macros::expand_explanation(&text, &values, EXPLANATION_OCTETS_MAX);
        let explanation = expanded.map(|text| printable(&text, EXPLANATION_OCTETS_MAX));
        let explanation = explanation.filter(|text| !text.is_empty());
        self.finish_with(ResultCode::Fail, mechanism, explanation.as_deref(), None);
        Ok(())
    }

    /// The name that holds the explanation of the outermost record.
    fn explanation_target(&mut self, answers: &dyn Answers) -> Result<Option<Arc<str>>, Halt> {
        let record = self.frames.first().and_then(|frame| frame.record.as_ref());
        let Some((text, spec)) =
            record.and_then(|record| Some((record.text(), record.explanation()?)))
        else {
            return Ok(None);
        };
        self.expand(&text[spec], answers)
    }
}

/// The text of the one TXT record of an answer; `None` where there are more or none, or it is too long (section 6.2).
fn only_text(answer: &Answer) -> Option<Arc<[u8]>> {
    let Answer::Found(records) = answer else {
        return None;
    };
    let mut texts = records.iter().filter_map(|record| match record {
        Record::Txt(text) => Some(text),
        _ => None,
    });
    let text = texts
        .next()
        .filter(|text| text.len() <= RECORD_OCTETS_MAX)?;
    texts.next().is_none().then(|| Arc::clone(text))
}
