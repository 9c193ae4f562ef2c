//! What an evaluation is about, and why parts of it may be missing.

use super::fields::Fields;
use crate::{
    dns,
    policy::{Facts, Shared},
};

/// Why a look-up has given no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It was not started, or its answer is still to come.
    NotAsked,
    /// It took longer than its deadline.
    Timeout,
    /// Too many were waiting.
    Overload,
    /// The server failed, or what it said makes no sense.
    Broken,
    /// The answer was forged (DNSSEC).
    Bogus,
}

impl From<dns::Unknown> for Missing {
    fn from(why: dns::Unknown) -> Missing {
        match why {
            dns::Unknown::Timeout => Missing::Timeout,
            dns::Unknown::Overload => Missing::Overload,
            dns::Unknown::Broken | dns::Unknown::TooLarge => Missing::Broken,
            dns::Unknown::Bogus => Missing::Bogus,
        }
    }
}

/// `None`: it was not asked.
impl From<Option<dns::Unknown>> for Missing {
    fn from(why: Option<dns::Unknown>) -> Missing {
        why.map_or(Missing::NotAsked, Missing::from)
    }
}

/// What an evaluation looks at.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// What is known.
    pub facts: &'a Facts<'a>,
    /// What is remembered.
    pub shared: &'a Shared,
    /// The score up to now.
    pub score: f64,
    /// A client list has accepted the client.
    pub welcome: bool,
    /// The header fields that the rule names.
    pub fields: &'a Fields,
}
