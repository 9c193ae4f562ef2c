//! The names of the client that are validated: each has an address record that gives the client's address back (RFC 7208
//! section 5.5). Used by `ptr` and `%{p}`; looked up once a check.

use super::machine::Halt;
use super::{PTR_NAMES_MAX, name};
use crate::dns::{Answer, Answers, Question, Record, RecordType};
use std::net::IpAddr;
use std::sync::Arc;

/// The names, and what is known of each. Bit `i` of a set is name `i`.
#[derive(Clone, Debug, Default)]
pub(super) struct Reverse {
    /// In the order of the answer, the first [`PTR_NAMES_MAX`]; `None` until it is there.
    names: Option<Vec<Arc<str>>>,
    is_void: bool,
    looked_at: u16,
    validated: u16,
}

impl Reverse {
    /// Whether the client has a validated name that is the domain or below it. An address whose names can't be had has
    /// none, and a name whose addresses can't be had is passed over: neither is an error (section 5.5).
    pub(super) fn is_within(
        &mut self,
        domain: &str,
        client_ip: IpAddr,
        answers: &dyn Answers,
    ) -> Result<bool, Halt> {
        self.load(client_ip, answers)?;
        let candidates = self.set(|name| name::is_within(name, domain));
        let missing = self.validate(candidates, client_ip, answers);
        if self.validated & candidates != 0 {
            return Ok(true);
        }
        match missing.is_empty() {
            true => Ok(false),
            false => Err(Halt::Need(missing)),
        }
    }

    /// The value of `%{p}`: the domain itself, else a name below it, else any validated name, else `unknown` (section 7.3).
    pub(super) fn validated_name(
        &mut self,
        domain: &str,
        client_ip: IpAddr,
        answers: &dyn Answers,
    ) -> Result<Arc<str>, Halt> {
        self.load(client_ip, answers)?;
        let missing = self.validate(u16::MAX, client_ip, answers);
        if !missing.is_empty() {
            return Err(Halt::Need(missing));
        }
        let names = self.names.as_deref().unwrap_or_default().iter().enumerate();
        let validated = names.filter(|(at, _)| self.validated & 1 << at != 0);
        let rank = |name: &str| match name::is_within(name, domain) {
            true => usize::from(name.len() != domain.len()),
            false => 2,
        };
        let best = validated.min_by_key(|(_, name)| rank(name));
        Ok(best.map_or_else(|| "unknown".into(), |(_, name)| Arc::clone(name)))
    }

    /// The DNS says that the client's address has no names.
    pub(super) fn is_void(&self) -> bool {
        self.is_void
    }

    fn load(&mut self, client_ip: IpAddr, answers: &dyn Answers) -> Result<(), Halt> {
        if self.names.is_some() {
            return Ok(());
        }
        let question = Question {
            name: name::of_address(client_ip),
            record_type: RecordType::Ptr,
        };
        let Some(answer) = answers.answer(&question) else {
            return Err(Halt::Need(vec![question]));
        };
        let records: &[Record] = match answer {
            Answer::Found(records) => records,
            _ => &[],
        };
        let names = records.iter().filter_map(|record| match record {
            Record::Ptr(name) => Some(name),
            _ => None,
        });
        let names = names.take(PTR_NAMES_MAX).filter_map(name::of_record);
        self.names = Some(names.collect());
        let is_name = |record: &Record| matches!(record, Record::Ptr(_));
        self.is_void = !matches!(answer, Answer::Unknown(_)) && !records.iter().any(is_name);
        Ok(())
    }

    fn set(&self, is_in: impl Fn(&str) -> bool) -> u16 {
        let names = self.names.as_deref().unwrap_or_default().iter().enumerate();
        names
            .filter(|(_, name)| is_in(name))
            .fold(0, |set, (at, _)| set | 1 << at)
    }

    /// Looks at the addresses of the names in the set, and returns the questions whose answers aren't there.
    fn validate(&mut self, set: u16, client_ip: IpAddr, answers: &dyn Answers) -> Vec<Question> {
        let mut missing = Vec::new();
        let names = self.names.as_deref().unwrap_or_default();
        for (at, name) in names.iter().enumerate() {
            let bit = 1 << at;
            if set & bit == 0 || self.looked_at & bit != 0 {
                continue;
            }
            let question = address_question(Arc::clone(name), client_ip);
            match answers.answer(&question) {
                None if missing.contains(&question) => {}
                None => missing.push(question),
                Some(answer) => {
                    self.looked_at |= bit;
                    if addresses(answer).any(|address| address == client_ip) {
                        self.validated |= bit;
                    }
                }
            }
        }
        missing
    }
}

/// The addresses of an answer; none where there is no answer.
pub(super) fn addresses(answer: &Answer) -> impl Iterator<Item = IpAddr> {
    let records: &[Record] = match answer {
        Answer::Found(records) => records,
        _ => &[],
    };
    records.iter().filter_map(|record| match record {
        Record::A(address) => Some(IpAddr::V4(*address)),
        Record::Aaaa(address) => Some(IpAddr::V6(*address)),
        _ => None,
    })
}

/// The question for the addresses of a name, of the client's family (RFC 7208 section 5).
pub(super) fn address_question(name: Arc<str>, client_ip: IpAddr) -> Question {
    let record_type = match client_ip {
        IpAddr::V4(_) => RecordType::A,
        IpAddr::V6(_) => RecordType::Aaaa,
    };
    Question { name, record_type }
}
