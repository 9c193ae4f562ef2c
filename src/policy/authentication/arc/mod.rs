//! ARC (RFC 8617): what earlier hops have found, sealed by them. Verified only; a seal is worth as much as its sealer is
//! trusted, so the result is a fact for rules that name sealers.

mod sets;
#[cfg(test)]
mod tests;

use super::body::{BodyDigests, BodyHashes};
use super::check::{Check, FIELDS_USUAL};
use super::crypto::{Job, Verified};
use super::dkim::{Outcome, Reason};
use super::names;
use crate::dns::{Answers, Question};
use crate::smtp::header::{self, Field};
pub use sets::SETS_MAX;
use sets::Set;

/// Octets of an ARC-Authentication-Results field that are kept, for rules that trust its sealer.
pub const RESULTS_MAX: usize = 2048;

/// Where the places of jobs begin. Those of DKIM are smaller, so what both have computed may come in one list.
const FIRST_PLACE: usize = 1000;

/// Keys that are asked for while none is known. Most chains have no more.
const KEYS_FIRST: usize = 4;

/// What came of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Chain {
    /// There is none.
    None,
    /// Every seal holds, and the message is as the last sealer saw it.
    Pass,
    /// It does not hold.
    Fail,
    /// A key could not be had.
    Unknown,
}

impl Chain {
    /// The word for it in Authentication-Results, which knows no temporary error here (RFC 8617 §10.1).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Chain::None => "none",
            Chain::Pass => "pass",
            Chain::Fail | Chain::Unknown => "fail",
        }
    }
}

/// Why a chain does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArcFault {
    /// Sets are not complete, not in order, double, more than [`SETS_MAX`], or not to be read.
    Structure,
    /// A sealer has found the chain broken before.
    BrokenBefore,
    /// The newest message signature.
    Message(Reason),
    /// The seal with this number.
    Seal(u8, Reason),
}

/// One seal of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// `d=`, in lower case and A-labels.
    pub domain: Box<str>,
    /// `s=`.
    pub selector: Box<str>,
    /// What the sealer's server has found: the ARC-Authentication-Results after its `i=`. Cut at [`RESULTS_MAX`] octets.
    pub results: Box<[u8]>,
}

/// What is known of the chain of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arc {
    /// The result.
    pub chain: Chain,
    /// Why it is not `Pass`.
    pub fault: Option<ArcFault>,
    /// The seals, the oldest first. Empty unless the chain holds.
    pub seals: Vec<Seal>,
}

impl Arc {
    fn without_seals(chain: Chain, fault: Option<ArcFault>) -> Arc {
        Arc {
            chain,
            fault,
            seals: Vec::new(),
        }
    }

    /// The newest seal of a chain that holds, if its domain is one of `trusted` or below one: what it says about the
    /// message may then be believed. An older seal says nothing of what newer hops have done.
    #[must_use]
    pub fn sealed_by<'a>(&self, trusted: impl IntoIterator<Item = &'a str>) -> Option<&Seal> {
        let seal = self.seals.last()?;
        let named = trusted
            .into_iter()
            .any(|domain| names::under(&seal.domain, domain));
        named.then_some(seal)
    }
}

/// The chain of one message.
#[derive(Debug)]
pub struct Verification {
    state: State,
}

#[derive(Debug)]
enum State {
    Ended(Arc),
    Open {
        /// In the order of RFC 8617 §5.2: the newest message signature, then the seals, the newest first.
        checks: Vec<Check>,
        /// The oldest first.
        seals: Vec<Seal>,
    },
}

impl Verification {
    /// Finds the sets in a header section and hashes what they cover. Asks for the hash of the body in `body`. Keeps
    /// nothing of the header but [`Seal`]s.
    #[must_use]
    pub fn new(header: &[u8], body: &mut BodyHashes) -> Verification {
        let is_arc = |field: &Field<'_>| {
            field.name.len() > 4 && field.name[..4].eq_ignore_ascii_case(b"arc-")
        };
        if !header::fields(header).any(|field| is_arc(&field)) {
            return Verification::ended(Chain::None, None);
        }
        let mut fields: Vec<Field<'_>> = Vec::with_capacity(FIELDS_USUAL);
        fields.extend(header::fields(header));
        let sets = match sets::collect(&fields) {
            Ok(sets) if sets.is_empty() => return Verification::ended(Chain::None, None),
            Ok(sets) => sets,
            Err(fault) => return Verification::ended(Chain::Fail, Some(fault)),
        };
        match Verification::open(header, &fields, sets, body) {
            Ok(state) => Verification { state },
            Err(fault) => Verification::ended(Chain::Fail, Some(fault)),
        }
    }

    fn ended(chain: Chain, fault: Option<ArcFault>) -> Verification {
        Verification {
            state: State::Ended(Arc::without_seals(chain, fault)),
        }
    }

    fn open(
        header: &[u8],
        fields: &[Field<'_>],
        sets: Vec<Set<'_>>,
        body: &mut BodyHashes,
    ) -> Result<State, ArcFault> {
        let Some(newest) = sets.last() else {
            return Err(ArcFault::Structure);
        };
        let message = newest.read_message().map_err(ArcFault::Message)?;
        let message = Check::new(message, header, fields, &newest.message, body);
        let mut checks = vec![message.map_err(ArcFault::Message)?];
        let mut seals = Vec::with_capacity(sets.len());
        let hashes = sets::seal_hashes(header, &sets);
        for ((place, set), hash) in sets.iter().enumerate().zip(hashes).rev() {
            let number = u8::try_from(place + 1).unwrap_or(u8::MAX);
            let (signature, seal) = set
                .read_seal()
                .map_err(|reason| ArcFault::Seal(number, reason))?;
            checks.push(Check::without_body(signature, hash));
            seals.push(seal);
        }
        seals.reverse();
        Ok(State::Open { checks, seals })
    }

    /// Takes the keys that have come, and asks in `questions` for those that are missing, the newest first: the first
    /// [`KEYS_FIRST`], and two more for each that is usable. A long chain takes a few rounds, and one whose newest keys
    /// can't be had asks for no others.
    pub fn missing(&mut self, answers: &dyn Answers, questions: &mut Vec<Question>) {
        let State::Open { checks, .. } = &mut self.state else {
            return;
        };
        let before = questions.len();
        let mut wanted = KEYS_FIRST;
        for (place, check) in checks.iter_mut().enumerate() {
            if place == wanted {
                return;
            }
            if let Some(question) = check.step(answers) {
                if !questions.contains(&question) {
                    questions.push(question);
                }
            } else if check.key().is_some() {
                wanted += 2;
            } else if check.refused().is_some() {
                // The chain has failed: what else was asked need not be waited for.
                questions.truncate(before);
                return;
            } else {
                wanted = wanted.min(place + 1);
            }
        }
    }

    /// The mathematics that is left, in the order in which it decides: after the first failure none is needed. Nothing for a
    /// chain that has failed already.
    #[must_use]
    pub fn jobs(&self) -> Vec<Job> {
        match &self.state {
            State::Open { checks, .. } if fault(checks).is_none() => {
                let checks = checks.iter().enumerate();
                checks
                    .map_while(|(place, check)| check.job(FIRST_PLACE + place))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// Tells what the body was: what it does not fit needs no mathematics.
    pub fn compare(&mut self, body: &BodyDigests) {
        if let State::Open { checks, .. } = &mut self.state {
            for check in checks {
                check.compare(body);
            }
        }
    }

    /// The result. A key that has not been taken is unavailable.
    #[must_use]
    pub fn finish(self, verified: &[Verified], body: &BodyDigests) -> Arc {
        let (mut checks, seals) = match self.state {
            State::Ended(arc) => return arc,
            State::Open { checks, seals } => (checks, seals),
        };
        for check in &mut checks {
            check.compare(body);
        }
        if let Some(fault) = fault(&checks) {
            return Arc::without_seals(Chain::Fail, Some(fault));
        }
        for (place, check) in checks.iter().enumerate() {
            let reason = check.conclude(FIRST_PLACE + place, verified);
            let fault = fault_at(&checks, place, reason);
            match reason.outcome() {
                Outcome::Pass => {}
                Outcome::TempError => return Arc::without_seals(Chain::Unknown, Some(fault)),
                _ => return Arc::without_seals(Chain::Fail, Some(fault)),
            }
        }
        Arc {
            chain: Chain::Pass,
            fault: None,
            seals,
        }
    }
}

/// What fails a chain whatever the mathematics would say.
fn fault(checks: &[Check]) -> Option<ArcFault> {
    let refused = checks.iter().map(Check::refused).enumerate();
    let mut faults = refused.filter_map(|(place, reason)| Some(fault_at(checks, place, reason?)));
    faults.next()
}

/// The fault of the check at `place`: see [`State::Open`].
fn fault_at(checks: &[Check], place: usize, reason: Reason) -> ArcFault {
    match u8::try_from(checks.len() - place) {
        Ok(number) if place > 0 => ArcFault::Seal(number, reason),
        _ => ArcFault::Message(reason),
    }
}
