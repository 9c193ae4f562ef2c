//! `check_host()` (RFC 7208 section 4): from record to record, term by term.
//!
//! A [`Frame`] is one record that is evaluated: the first, or one that an `include` reached. A frame ends with a result:
//! that of the outermost one is the result of the check, that of an inner one decides if the `include` that reached it
//! matched. An error ends the check at once, however deep (section 5.2).

use super::explanation::Explanation;
use super::record::{RecordFault, SpfRecord};
use super::result::printable;
use super::reverse::Reverse;
use super::subject::Inputs;
use super::term::{self, Term};
use super::{
    LOOKUPS_MAX, MECHANISM_OCTETS_MAX, PROBLEM_OCTETS_MAX, ResultCode, SpfResult, Subject,
    VOID_LOOKUPS_MAX, macros, name,
};
use crate::dns::{Answer, Answers, Question, RecordType, Step, Unknown};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

/// One check of one identity.
///
/// Limits of time (section 4.6.4: at least 20 seconds) are the caller's. Once it is over, answers that say
/// [`Unknown::Timeout`] for all that is missing bring the check to its end, with a temperror where that matters.
#[derive(Clone, Debug)]
pub struct Spf {
    pub(super) inputs: Inputs,
    /// [`SpfResult::domain`].
    domain: Arc<str>,
    pub(super) frames: Vec<Frame>,
    pub(super) reverse: Reverse,
    pub(super) stage: Stage,
    lookups: u8,
    void_lookups: u8,
    asks_explanation: bool,
}

/// One record under evaluation.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// Whose record: `<domain>`.
    pub(super) domain: Arc<str>,
    /// `None` until the answer is there.
    pub(super) record: Option<SpfRecord>,
    /// Another record named this one: it must be there (sections 5.2 and 6.1).
    is_referred: bool,
    /// Where the present term is looked for.
    at: usize,
    /// How far the present term is.
    pub(super) progress: Progress,
}

/// How far the present term of a frame is.
#[derive(Clone, Debug)]
pub(super) enum Progress {
    /// It is new.
    Fresh,
    /// It counts as a look-up.
    Counted,
    /// Its target is expanded: `None` where it can't be a name.
    Target(Option<Arc<str>>),
    /// It is an `mx` whose hosts are being looked up.
    Hosts(super::mechanisms::Hosts),
    /// It is an `include`, with the result if that matches, and its place.
    Included(ResultCode, Range<usize>),
}

#[derive(Clone, Debug)]
pub(super) enum Stage {
    Terms,
    /// The result is `fail`, and its explanation is being looked up (section 6.2).
    Explanation(Explanation),
    Done(SpfResult),
}

/// Why the machine does not go on.
#[derive(Debug)]
pub(super) enum Halt {
    /// For want of answers.
    Need(Vec<Question>),
    /// An error ends the check.
    Error(ResultCode, String),
}

impl Halt {
    pub(super) fn permerror(what: impl Into<String>) -> Halt {
        Halt::Error(ResultCode::PermError, what.into())
    }

    /// A question has no answer: a temperror (section 4.4), but a permerror where the answer is larger than what is used, for it
    /// will be next time.
    pub(super) fn unknown(question: &Question, unknown: Unknown) -> Halt {
        let why = unknown.as_str();
        let record_type = match question.record_type {
            RecordType::A => "A",
            RecordType::Aaaa => "AAAA",
            RecordType::Mx => "MX",
            RecordType::Ptr => "PTR",
            RecordType::Txt => "TXT",
            RecordType::Srv => "SRV",
        };
        let name = &question.name;
        let what = format!("{record_type} records of {name}: {why}");
        match unknown {
            Unknown::TooLarge => Halt::Error(ResultCode::PermError, what),
            _ => Halt::Error(ResultCode::TempError, what),
        }
    }
}

impl Frame {
    fn new(domain: Arc<str>, is_referred: bool) -> Frame {
        Frame {
            domain,
            record: None,
            is_referred,
            at: 0,
            progress: Progress::Fresh,
        }
    }

    /// Passes over modifiers, and over mechanisms that can be seen not to match without the DNS. The term that is next;
    /// `None` at the end.
    fn skip(&mut self, client_ip: IpAddr) -> Option<Range<usize>> {
        let record = self.record.as_ref()?;
        loop {
            let range = record.range_from(self.at)?;
            // What is wrong was found when the record came.
            if let Ok(Term::Directive(_, mechanism)) = term::parse(record.term(&range))
                && mechanism.matches_alone(client_ip) != Some(false)
            {
                return Some(range);
            }
            self.at = range.end;
        }
    }

    fn pass_over(&mut self, term: &Range<usize>) {
        self.at = term.end;
        self.progress = Progress::Fresh;
    }
}

impl Spf {
    /// Checks MAIL FROM; for the null reverse-path, `postmaster` at the HELO name (section 2.4).
    #[must_use]
    pub fn new(subject: &Subject<'_>) -> Spf {
        Spf::of(Inputs::of_mail_from(subject))
    }

    /// Checks HELO (section 2.3).
    #[must_use]
    pub fn helo(subject: &Subject<'_>) -> Spf {
        Spf::of(Inputs::of_helo(subject))
    }

    fn of(inputs: Inputs) -> Spf {
        let checked = inputs.checked_domain();
        let as_written = || printable(inputs.domain().as_bytes(), 255).into();
        let mut spf = Spf {
            domain: checked.clone().unwrap_or_else(as_written),
            inputs,
            frames: Vec::new(),
            reverse: Reverse::default(),
            stage: Stage::Terms,
            lookups: 0,
            void_lookups: 0,
            asks_explanation: true,
        };
        match checked {
            Some(domain) => spf.frames.push(Frame::new(domain, false)),
            None => spf.finish(ResultCode::None, None),
        }
        spf
    }

    /// Asks for no explanation, which saves a question where the result is `fail`.
    #[must_use]
    pub fn without_explanation(mut self) -> Spf {
        self.asks_explanation = false;
        self
    }

    /// Goes on as far as the answers allow. After [`Step::Done`] each further call returns the same.
    pub fn step(&mut self, answers: &dyn Answers) -> Step<SpfResult> {
        loop {
            let went_on = match &self.stage {
                Stage::Terms => self.evaluate(answers),
                Stage::Explanation(_) => self.explain(answers),
                Stage::Done(result) => return Step::Done(result.clone()),
            };
            match went_on {
                Ok(()) => {}
                Err(Halt::Need(questions)) => return Step::Need(questions),
                Err(Halt::Error(code, problem)) => self.finish(code, Some(&problem)),
            }
        }
    }

    /// Takes terms of the innermost record up to one that needs answers, and that one; or the record's result where there
    /// are no more.
    fn evaluate(&mut self, answers: &dyn Answers) -> Result<(), Halt> {
        let Some(frame) = self.frames.last_mut() else {
            // There is one as long as terms are evaluated.
            self.finish(ResultCode::None, None);
            return Ok(());
        };
        let Some(record) = &frame.record else {
            return self.load(answers);
        };
        let (text, redirect) = (record.text(), record.redirect());
        let Some(range) = frame.skip(self.inputs.client_ip) else {
            return self.end_of_record(&text, redirect, answers);
        };
        let matched = match term::parse(&text[range.clone()]) {
            Ok(Term::Directive(code, mechanism)) => self
                .matches(&mechanism, code, &range, answers)?
                .map(|matched| matched.then_some(code)),
            // `skip` stops at directives alone.
            Ok(_) | Err(_) => Some(None),
        };
        match matched {
            Some(Some(code)) => self.leave(code, Some(range)),
            Some(None) => self.pass_over(&range),
            // An inner record is evaluated first.
            None => {}
        }
        Ok(())
    }

    /// The present term did not match.
    fn pass_over(&mut self, term: &Range<usize>) {
        if let Some(frame) = self.frames.last_mut() {
            frame.pass_over(term);
        }
    }

    /// Takes the record of the innermost frame from its answer (sections 4.4 and 4.5).
    fn load(&mut self, answers: &dyn Answers) -> Result<(), Halt> {
        let Some(frame) = self.frames.last_mut() else {
            return Ok(());
        };
        let question = Question {
            name: Arc::clone(&frame.domain),
            record_type: RecordType::Txt,
        };
        let record = match answers.answer(&question) {
            None => return Err(Halt::Need(vec![question])),
            Some(Answer::Unknown(unknown)) => return Err(Halt::unknown(&question, *unknown)),
            Some(Answer::NoName | Answer::NoRecords) => None,
            Some(Answer::Found(records)) => SpfRecord::select(records, self.inputs.client_ip)
                .map_err(|fault| in_record(&frame.domain, &fault))?,
        };
        match record {
            Some(record) => {
                frame.at = record.start();
                frame.record = Some(record);
            }
            None if frame.is_referred => {
                let what = format!("{} has no record, but another names it", frame.domain);
                return Err(Halt::permerror(what));
            }
            None => self.finish(ResultCode::None, None),
        }
        Ok(())
    }

    /// No mechanism matched: `redirect` takes the record's place (section 6.1), else the result is neutral (section 4.7).
    fn end_of_record(
        &mut self,
        text: &[u8],
        redirect: Option<Range<usize>>,
        answers: &dyn Answers,
    ) -> Result<(), Halt> {
        let Some(spec) = redirect else {
            self.leave(ResultCode::Neutral, None);
            return Ok(());
        };
        let target = self.target(Some(&text[spec.clone()]), answers)?;
        let Some(frame) = self.frames.last_mut() else {
            return Ok(());
        };
        let Some(target) = target else {
            return Err(no_domain(&frame.domain, "redirect=", &text[spec]));
        };
        *frame = Frame::new(target, true);
        Ok(())
    }

    /// Evaluates an inner record, whose result decides if the present term matches (section 5.2).
    pub(super) fn include(&mut self, target: Arc<str>, code: ResultCode, term: &Range<usize>) {
        if let Some(frame) = self.frames.last_mut() {
            frame.progress = Progress::Included(code, term.clone());
        }
        self.frames.push(Frame::new(target, true));
    }

    /// The innermost record has a result.
    fn leave(&mut self, mut code: ResultCode, mut term: Option<Range<usize>>) {
        while self.frames.len() > 1 {
            self.frames.pop();
            let Some(frame) = self.frames.last_mut() else {
                break;
            };
            let Progress::Included(own, range) = &frame.progress else {
                break;
            };
            let (own, range) = (*own, range.clone());
            if code != ResultCode::Pass {
                frame.pass_over(&range);
                return;
            }
            (code, term) = (own, Some(range));
        }
        let record = self.frames.first().and_then(|frame| frame.record.as_ref());
        let mechanism = record.zip(term).map(|(record, term)| {
            let text = record.text();
            let text = text.get(term).unwrap_or_default();
            Arc::from(printable(text, MECHANISM_OCTETS_MAX))
        });
        let explains = record.is_some_and(|record| record.explanation().is_some());
        if code == ResultCode::Fail && explains && self.asks_explanation {
            self.stage = Stage::Explanation(Explanation::of(mechanism));
        } else {
            self.finish_with(code, mechanism, None, None);
        }
    }

    /// Counts the present term as a look-up, once, and expands its target, once. A spec of `None` is the record's domain.
    pub(super) fn target(
        &mut self,
        spec: Option<&[u8]>,
        answers: &dyn Answers,
    ) -> Result<Option<Arc<str>>, Halt> {
        let Some(frame) = self.frames.last_mut() else {
            return Ok(None);
        };
        match &frame.progress {
            Progress::Target(target) => return Ok(target.clone()),
            Progress::Fresh if self.lookups == LOOKUPS_MAX => {
                let what = format!("more than {LOOKUPS_MAX} terms ask the DNS");
                return Err(Halt::permerror(what));
            }
            Progress::Fresh => {
                self.lookups += 1;
                frame.progress = Progress::Counted;
            }
            Progress::Counted | Progress::Hosts(_) | Progress::Included(..) => {}
        }
        let target = match spec {
            None => Some(Arc::clone(&frame.domain)),
            Some(spec) => self.expand(spec, answers)?,
        };
        if let Some(frame) = self.frames.last_mut() {
            frame.progress = Progress::Target(target.clone());
        }
        Ok(target)
    }

    /// The present term found nothing (section 4.6.4).
    pub(super) fn count_void(&mut self) -> Result<(), Halt> {
        if self.void_lookups >= VOID_LOOKUPS_MAX {
            let max = VOID_LOOKUPS_MAX;
            return Err(Halt::permerror(format!(
                "more than {max} terms find nothing"
            )));
        }
        self.void_lookups += 1;
        Ok(())
    }

    pub(super) fn expand(
        &mut self,
        spec: &[u8],
        answers: &dyn Answers,
    ) -> Result<Option<Arc<str>>, Halt> {
        let validated = self.validated_name(spec, answers)?;
        let expanded = macros::expand_target(spec, &self.values(&validated));
        Ok(expanded.and_then(|text| name::of_target(&text)))
    }

    /// The value of `%{p}`, where the text has it.
    pub(super) fn validated_name(
        &mut self,
        text: &[u8],
        answers: &dyn Answers,
    ) -> Result<Arc<str>, Halt> {
        if !macros::has_validated_name(text) {
            return Ok(Arc::default());
        }
        let domain = self.frames.last().map(|frame| Arc::clone(&frame.domain));
        let domain = domain.unwrap_or_default();
        let client_ip = self.inputs.client_ip;
        self.reverse.validated_name(&domain, client_ip, answers)
    }

    pub(super) fn values<'a>(&'a self, validated: &'a str) -> macros::Values<'a> {
        macros::Values {
            inputs: &self.inputs,
            domain: self.frames.last().map_or("", |frame| &frame.domain),
            validated,
        }
    }

    fn finish(&mut self, code: ResultCode, problem: Option<&str>) {
        self.finish_with(code, None, None, problem);
    }

    pub(super) fn finish_with(
        &mut self,
        code: ResultCode,
        mechanism: Option<Arc<str>>,
        explanation: Option<&str>,
        problem: Option<&str>,
    ) {
        let problem = problem.map(|text| printable(text.as_bytes(), PROBLEM_OCTETS_MAX));
        self.stage = Stage::Done(SpfResult {
            code,
            identity: self.inputs.identity,
            sender: Arc::clone(&self.inputs.sender),
            domain: Arc::clone(&self.domain),
            mechanism,
            explanation: explanation.map(Arc::from),
            problem: problem.map(Arc::from),
            lookups: self.lookups,
            void_lookups: self.void_lookups,
        });
        self.frames = Vec::new();
    }
}

fn in_record(domain: &str, fault: &RecordFault) -> Halt {
    let term = fault.term.as_deref().unwrap_or_default();
    let term = printable(term, MECHANISM_OCTETS_MAX);
    let colon = if term.is_empty() { "" } else { ": " };
    let what = fault.what;
    Halt::permerror(format!("{what} in the record of {domain}{colon}{term}"))
}

/// A term of the domain's record needs a target, and what it says can't be one.
pub(super) fn no_domain(domain: &str, term: &str, spec: &[u8]) -> Halt {
    let spec = printable(spec, MECHANISM_OCTETS_MAX);
    let what = format!("no valid domain in the record of {domain}: {term}{spec}");
    Halt::permerror(what)
}
