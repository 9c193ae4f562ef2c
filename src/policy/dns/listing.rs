//! Is this client, or one of these names, in the list? (RFC 5782.)
//!
//! The questions are made once, when the look-up is made: a step whose answers are all there allocates nothing.
//!
//! An answer with one error code in it is an error as a whole, whatever else it holds: a list that says so, or that
//! answers outside of 127/8, is not in order, and a wrong refusal costs more than a missed listing. A question that
//! stayed unknown makes the result unknown only where no other one found a listing.
//!
//! Resolvers turn the order of records from answer to answer (RFC 1794): nothing here depends on it, so that the same
//! mail has the same result twice.

use super::{
    codes::ListError,
    names::{self, NAME_MAX},
    zone::{Kind, Role, Roles, Zone},
};
use crate::dns::{Answer, Answers, Question, Record, RecordType, Step, Unknown};
use smallvec::SmallVec;
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

/// Different names that one look-up asks for; those beyond are left out.
pub const SUBJECTS_MAX: usize = 8;
/// Questions that one look-up can ask: each subject, and the text of one.
pub const QUESTIONS_MAX: usize = SUBJECTS_MAX + 1;
/// Records of an answer that are read.
pub const RECORDS_MAX: usize = 256;
/// Different codes that a result keeps.
pub const CODES_MAX: usize = 8;
/// Octets of a list's text that a result keeps; a reply line has 512 (RFC 5321 section 4.5.3.1.5).
pub const TEXT_MAX: usize = 200;

/// Looks up one client, or the names of one envelope, in one list.
#[derive(Clone)]
pub struct Lookup {
    zone: Arc<Zone>,
    subjects: SmallVec<[(Roles, Question); 1]>,
    wants_text: bool,
}

impl Lookup {
    /// Of the client's address. Asks nothing where the list is none of addresses, or not for this family.
    #[must_use]
    pub fn of_client(zone: Arc<Zone>, client: IpAddr) -> Lookup {
        let mut subjects = SmallVec::new();
        let asked = match (zone.kind, client.to_canonical()) {
            (Kind::Addresses(families), IpAddr::V4(_)) => families.v4,
            (Kind::Addresses(families), IpAddr::V6(_)) => families.v6,
            (Kind::Names(_), _) => false,
        };
        if asked {
            let name = names::reversed(client, zone.name.asked());
            let roles = Roles::NONE.with(Role::Address);
            subjects.push((roles, names::question(name, RecordType::A)));
        }
        Lookup {
            zone,
            subjects,
            wants_text: false,
        }
    }

    /// Of names. Left out are those whose role the list is not for, what is no host name or has one label only (an
    /// address, `localhost`), and what with the zone is too long to be asked.
    #[must_use]
    pub fn of_names<'a>(zone: Arc<Zone>, of: impl IntoIterator<Item = (Role, &'a [u8])>) -> Lookup {
        let mut subjects = SmallVec::<[(Roles, Question); 1]>::new();
        let wanted = match zone.kind {
            Kind::Addresses(_) => Roles::NONE,
            Kind::Names(roles) => roles,
        };
        for (role, name) in of {
            if !wanted.contains(role) {
                continue;
            }
            let Some(name) = names::host(name).filter(|name| name.contains('.')) else {
                continue;
            };
            let name = format!("{name}.{}", zone.name.asked());
            if let Some((roles, _)) = subjects.iter_mut().find(|(_, q)| *q.name == *name) {
                *roles = roles.with(role);
            } else if name.len() <= NAME_MAX && subjects.len() < SUBJECTS_MAX {
                let roles = Roles::NONE.with(role);
                subjects.push((roles, names::question(name, RecordType::A)));
            }
        }
        Lookup {
            zone,
            subjects,
            wants_text: false,
        }
    }

    /// Asks also for the text of a listing, for a reply that shows it.
    #[must_use]
    pub fn with_text(self) -> Lookup {
        Lookup {
            wants_text: true,
            ..self
        }
    }

    /// Whether this is one of its first questions.
    #[must_use]
    pub fn asks(&self, question: &Question) -> bool {
        self.subjects.iter().any(|(_, asked)| asked == question)
    }

    /// The list.
    #[must_use]
    pub fn zone(&self) -> &Arc<Zone> {
        &self.zone
    }

    /// Goes on as far as the answers allow. At most two rounds.
    pub fn step(&self, answers: &dyn Answers) -> Step<Listing> {
        let mut missing = Vec::new();
        let mut listing = Listing::default();
        let mut listed = None;
        for (roles, question) in &self.subjects {
            match answers.answer(question) {
                None => missing.push(question.clone()),
                Some(Answer::NoName | Answer::NoRecords) => {}
                Some(Answer::Unknown(why)) => {
                    listing.unknown.get_or_insert(*why);
                }
                Some(Answer::Found(records)) => {
                    if listing.read(&self.zone, *roles, records) {
                        listed.get_or_insert(question);
                    }
                }
            }
        }
        if !missing.is_empty() {
            return Step::Need(missing);
        }
        if let Some(question) = listed.filter(|_| self.wants_text) {
            let question = names::question(question.name.clone(), RecordType::Txt);
            match answers.answer(&question) {
                None => return Step::Need(vec![question]),
                Some(Answer::Found(records)) => listing.text = self.text(records),
                // Without its text a listing is a listing still.
                Some(Answer::NoName | Answer::NoRecords | Answer::Unknown(_)) => {}
            }
        }
        Step::Done(listing)
    }

    /// The first text by its octets, as it can stand in a reply: printable ASCII, cut. None where it shows the key.
    fn text(&self, records: &[Record]) -> Option<Box<str>> {
        let texts = records
            .iter()
            .take(RECORDS_MAX)
            .filter_map(|record| match record {
                Record::Txt(text) => Some(text),
                _ => None,
            });
        let text = texts.min()?;
        // Some more is looked at than is kept: a key may lie across the cut.
        let looked_at: String = text
            .iter()
            .take(TEXT_MAX + names::LABEL_MAX)
            .map(|octet| match octet {
                b' '..=b'~' => char::from(*octet),
                _ => '?',
            })
            .collect();
        let kept = looked_at.get(..TEXT_MAX).unwrap_or(&looked_at).trim();
        (!kept.is_empty() && !self.zone.name.shows_key(&looked_at)).then(|| kept.into())
    }
}

/// What a list says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The codes that match an entry, different ones, sorted.
    pub codes: SmallVec<[Ipv4Addr; CODES_MAX]>,
    /// More codes matched than are kept.
    pub has_more_codes: bool,
    /// The entries that match, by their place in [`Zone::entries`], each with what it matches for.
    pub entries: SmallVec<[(u8, Roles); 4]>,
    /// The list answered with an error.
    pub error: Option<ListError>,
    /// A question was not answered.
    pub unknown: Option<Unknown>,
    /// The list's text, where it was wanted.
    pub text: Option<Box<str>>,
}

/// A listing in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An entry matches.
    Listed,
    /// The list has answered, and nothing matches.
    NotListed,
    /// The list is not in order: it is as if it had not been asked, and the operator should know.
    Error(ListError),
    /// It did not answer.
    Unknown(Unknown),
}

impl Listing {
    /// In one word.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match (self.entries.is_empty(), self.error, self.unknown) {
            (false, _, _) => Outcome::Listed,
            (true, Some(error), _) => Outcome::Error(error),
            (true, None, Some(unknown)) => Outcome::Unknown(unknown),
            (true, None, None) => Outcome::NotListed,
        }
    }

    /// Whether an entry matches.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        !self.entries.is_empty()
    }

    /// Takes in one answer; whether an entry matches it.
    fn read(&mut self, zone: &Zone, roles: Roles, records: &[Record]) -> bool {
        let codes = || {
            records
                .iter()
                .take(RECORDS_MAX)
                .filter_map(|record| match record {
                    Record::A(code) => Some(*code),
                    _ => None,
                })
        };
        let errors = codes().filter_map(|code| Some((code, zone.error(code)?)));
        if let Some((_, error)) = errors.min_by_key(|(code, _)| *code) {
            self.error.get_or_insert(error);
            return false;
        }
        let mut matched = false;
        for (place, entry) in (0..).zip(&zone.entries) {
            if codes().any(|code| entry.matches(code)) {
                matched = true;
                self.enter(place, roles);
            }
        }
        if matched {
            let matching = |code: &Ipv4Addr| zone.entries.iter().any(|entry| entry.matches(*code));
            codes().filter(matching).for_each(|code| self.keep(code));
        }
        matched
    }

    fn enter(&mut self, place: u8, roles: Roles) {
        match self
            .entries
            .binary_search_by_key(&place, |(entry, _)| *entry)
        {
            Ok(at) => {
                let of = &mut self.entries[at].1;
                *of = roles.iter().fold(*of, Roles::with);
            }
            Err(at) => self.entries.insert(at, (place, roles)),
        }
    }

    /// The smallest are kept.
    fn keep(&mut self, code: Ipv4Addr) {
        if let Err(at) = self.codes.binary_search(&code) {
            self.codes.insert(at, code);
            if self.codes.len() > CODES_MAX {
                self.codes.truncate(CODES_MAX);
                self.has_more_codes = true;
            }
        }
    }
}

#[cfg(test)]
mod tests;
