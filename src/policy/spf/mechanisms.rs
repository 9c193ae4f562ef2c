//! Whether one mechanism matches the client (RFC 7208 section 5).

use super::machine::{Halt, Progress, Spf, no_domain};
use super::reverse::{address_question, addresses};
use super::term::{Mechanism, Prefixes};
use super::{MX_HOSTS_MAX, ResultCode, name};
use crate::dns::{Answer, Answers, Question, Record, RecordType, Unknown};
use std::ops::Range;
use std::sync::Arc;

/// The hosts of an `mx`, at most [`MX_HOSTS_MAX`], and what is known of them. Bit `i` of a set is record `i`.
#[derive(Clone, Debug)]
pub(super) struct Hosts {
    records: Arc<[Record]>,
    looked_at: u16,
    /// Some host has addresses.
    found: bool,
    /// The first host whose addresses are not known, and why.
    unknown: Option<(usize, Unknown)>,
}

impl Spf {
    /// Whether a mechanism that asks the DNS matches; `None` where an inner record has to be evaluated first. `code` and
    /// `range` are those of its directive.
    pub(super) fn matches(
        &mut self,
        mechanism: &Mechanism<'_>,
        code: ResultCode,
        range: &Range<usize>,
        answers: &dyn Answers,
    ) -> Result<Option<bool>, Halt> {
        match *mechanism {
            Mechanism::All | Mechanism::Ip(..) => {
                Ok(mechanism.matches_alone(self.inputs.client_ip))
            }
            Mechanism::Include(spec) => {
                let Some(target) = self.target(Some(spec), answers)? else {
                    let domain = self.frames.last().map_or("", |frame| &frame.domain);
                    return Err(no_domain(domain, "include:", spec));
                };
                self.include(target, code, range);
                Ok(None)
            }
            Mechanism::A(spec, prefixes) => self.a(spec, prefixes, answers).map(Some),
            Mechanism::Mx(spec, prefixes) => self.mx(spec, prefixes, answers).map(Some),
            Mechanism::Ptr(spec) => self.ptr(spec, answers).map(Some),
            Mechanism::Exists(spec) => self.exists(spec, answers).map(Some),
        }
    }

    /// Section 5.3.
    fn a(
        &mut self,
        spec: Option<&[u8]>,
        prefixes: Prefixes,
        answers: &dyn Answers,
    ) -> Result<bool, Halt> {
        let Some(target) = self.target(spec, answers)? else {
            return Ok(false);
        };
        let client_ip = self.inputs.client_ip;
        let question = address_question(target, client_ip);
        let answer = known(&question, answers)?;
        let mut found = addresses(answer).peekable();
        if found.peek().is_none() {
            self.count_void()?;
        }
        Ok(found.any(|address| prefixes.contain(address, client_ip)))
    }

    /// Section 5.7: the question is for A, whatever the client's family.
    fn exists(&mut self, spec: &[u8], answers: &dyn Answers) -> Result<bool, Halt> {
        let Some(target) = self.target(Some(spec), answers)? else {
            return Ok(false);
        };
        let question = Question {
            name: target,
            record_type: RecordType::A,
        };
        let exists = addresses(known(&question, answers)?).next().is_some();
        if !exists {
            self.count_void()?;
        }
        Ok(exists)
    }

    /// Section 5.5.
    fn ptr(&mut self, spec: Option<&[u8]>, answers: &dyn Answers) -> Result<bool, Halt> {
        let Some(target) = self.target(spec, answers)? else {
            return Ok(false);
        };
        let client_ip = self.inputs.client_ip;
        let is_match = self.reverse.is_within(&target, client_ip, answers)?;
        if self.reverse.is_void() {
            self.count_void()?;
        }
        Ok(is_match)
    }

    /// Section 5.4.
    fn mx(
        &mut self,
        spec: Option<&[u8]>,
        prefixes: Prefixes,
        answers: &dyn Answers,
    ) -> Result<bool, Halt> {
        let is_begun = |spf: &Spf| {
            let progress = spf.frames.last().map(|frame| &frame.progress);
            matches!(progress, Some(Progress::Hosts(_)))
        };
        if !is_begun(self) {
            let Some(target) = self.target(spec, answers)? else {
                return Ok(false);
            };
            let Some(hosts) = Hosts::load(target, answers)? else {
                self.count_void()?;
                return Ok(false);
            };
            if let Some(frame) = self.frames.last_mut() {
                frame.progress = Progress::Hosts(hosts);
            }
        }
        let client_ip = self.inputs.client_ip;
        let Some(Progress::Hosts(hosts)) = self.frames.last_mut().map(|frame| &mut frame.progress)
        else {
            return Ok(false);
        };
        let (mut is_match, mut missing) = (false, Vec::new());
        for (at, record) in hosts.records.iter().enumerate() {
            let Some(name) = host(record).filter(|_| hosts.looked_at & 1 << at == 0) else {
                continue;
            };
            let question = address_question(name, client_ip);
            let Some(answer) = answers.answer(&question) else {
                if !missing.contains(&question) {
                    missing.push(question);
                }
                continue;
            };
            hosts.looked_at |= 1 << at;
            if let Answer::Unknown(unknown) = answer {
                hosts.unknown.get_or_insert((at, *unknown));
            }
            for address in addresses(answer) {
                hosts.found = true;
                is_match |= prefixes.contain(address, client_ip);
            }
        }
        if is_match {
            return Ok(true);
        }
        if !missing.is_empty() {
            return Err(Halt::Need(missing));
        }
        if let Some((at, unknown)) = hosts.unknown {
            let name = hosts.records.get(at).and_then(host).unwrap_or_default();
            return Err(Halt::unknown(&address_question(name, client_ip), unknown));
        }
        if hosts.looked_at != 0 && !hosts.found {
            self.count_void()?;
        }
        Ok(false)
    }
}

impl Hosts {
    /// The hosts of a domain; `None` where it has none. More than ten are an error (section 4.6.4), also if some of them
    /// are the same.
    fn load(domain: Arc<str>, answers: &dyn Answers) -> Result<Option<Hosts>, Halt> {
        let question = Question {
            name: domain,
            record_type: RecordType::Mx,
        };
        let records = match known(&question, answers)? {
            Answer::Found(records) => records,
            _ => return Ok(None),
        };
        let hosts = records.iter().filter(|record| is_mx(record)).count();
        if hosts > MX_HOSTS_MAX {
            let what = format!("{} has more than {MX_HOSTS_MAX} MX records", question.name);
            return Err(Halt::permerror(what));
        }
        let records = match hosts == records.len() {
            true => Arc::clone(records),
            false => records
                .iter()
                .filter(|record| is_mx(record))
                .cloned()
                .collect(),
        };
        Ok((hosts > 0).then_some(Hosts {
            records,
            looked_at: 0,
            found: false,
            unknown: None,
        }))
    }
}

fn is_mx(record: &Record) -> bool {
    matches!(record, Record::Mx { .. })
}

/// The host of an MX record; `None` for the null MX (RFC 7505) and for what can't be a name.
fn host(record: &Record) -> Option<Arc<str>> {
    match record {
        Record::Mx { exchange, .. } => name::of_record(exchange),
        _ => None,
    }
}

/// The answer to a question whose failure is a temperror (section 5).
fn known<'a>(question: &Question, answers: &'a dyn Answers) -> Result<&'a Answer, Halt> {
    match answers.answer(question) {
        None => Err(Halt::Need(vec![question.clone()])),
        Some(Answer::Unknown(unknown)) => Err(Halt::unknown(question, *unknown)),
        Some(answer) => Ok(answer),
    }
}
