//! What an evaluation works with: values that borrow from the facts, and the reasons why there is none.

use super::{
    facts,
    subject::{Missing, Subject},
};
use std::{cell::Cell, fmt, net::IpAddr};

/// Loops inside each other at most.
pub const LOOPS_MAX: usize = 2;
/// Items that the loops of one evaluation look at, together. A rule that needs more has no answer.
pub const STEPS_MAX: u32 = 100_000;

/// A value, or why there is none.
pub type Known<T> = Result<T, Gap>;

/// Why an expression has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// A fact is unknown: its place in [`facts::TABLE`].
    Unknown(u16, Missing),
    /// Arithmetic left the range of its numbers.
    Overflow,
    /// A division by zero.
    ZeroDivision,
    /// More than [`STEPS_MAX`] items.
    TooLong,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gap::Unknown(fact, missing) => {
                let name = facts::TABLE
                    .get(usize::from(*fact))
                    .map_or("?", |fact| fact.name);
                let why = match missing {
                    Missing::NotAsked => "not asked or not answered yet",
                    Missing::Timeout => "the look-up took too long",
                    Missing::Overload => "too many look-ups were waiting",
                    Missing::Broken => "the look-up failed",
                    Missing::Bogus => "the answer was bogus: DNSSEC validation failed",
                };
                write!(f, "`{name}` is unknown: {why}")
            }
            Gap::Overflow => f.write_str("a calculation left the range of its numbers"),
            Gap::ZeroDivision => f.write_str("a division by zero"),
            Gap::TooLong => write!(f, "the loops would look at more than {STEPS_MAX} items"),
        }
    }
}

/// What a condition comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// The rule fires.
    True,
    /// It doesn't.
    False,
    /// It doesn't either, and the log and `explain` say why.
    Unknown(Gap),
}

impl From<Known<bool>> for Truth {
    fn from(known: Known<bool>) -> Truth {
        match known {
            Ok(true) => Truth::True,
            Ok(false) => Truth::False,
            Err(gap) => Truth::Unknown(gap),
        }
    }
}

/// A text as it came, perhaps to be taken in lower case (ASCII only): so `lowerAscii` copies nothing.
#[derive(Clone, Copy, Debug)]
pub struct Text<'f> {
    /// The octets; mail need not be UTF-8.
    pub octets: &'f [u8],
    /// Whether capital letters count as small ones.
    pub lower: bool,
}

impl<'f> Text<'f> {
    /// A text as it came.
    pub fn plain(octets: &'f [u8]) -> Text<'f> {
        Text {
            octets,
            lower: false,
        }
    }

    /// Its octets, one by one.
    pub fn iter(self) -> impl Iterator<Item = u8> + 'f {
        let lower = self.lower;
        self.octets.iter().map(move |octet| {
            if lower {
                octet.to_ascii_lowercase()
            } else {
                *octet
            }
        })
    }

    /// Whether it is this text.
    pub fn equals(self, other: Text<'_>) -> bool {
        if self.octets.len() != other.octets.len() {
            return false;
        }
        if !self.lower && !other.lower {
            return self.octets == other.octets;
        }
        self.iter().eq(other.iter())
    }
}

/// A part of the key of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPart<'f> {
    /// A text as it is.
    Text(&'f [u8]),
    /// A domain or a mail address: to be hashed in lower case and in A-labels.
    Name(&'f [u8]),
    /// The client's address or another: IPv6 by its /64.
    Address(IpAddr),
    /// A number.
    Int(i64),
}

/// One use of `rate(…)`, `rate_window(…)` or `leases(…)` in a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How it counts.
    pub counting: Counting,
    /// Tells the accounts of this use from those of all others. The same after a reload and on all edges, as long as
    /// the rule's name, the place of the use among the uses in the rule, `n` and `per` stay the same.
    pub account: u64,
    /// So many …
    pub limit: u64,
    /// … in so many milliseconds.
    pub per_ms: u64,
}

/// How a use counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// `rate`: a bucket that is full at first, and filled evenly.
    Bucket,
    /// `rate_window`: so many in any time of that length.
    Window,
    /// `leases`: so many at once.
    Leases,
}

/// The accounts that `rate(…)` and its like charge. Must be quick and must not wait.
pub trait Rates {
    /// Charges one to the account of `key`. `true` where it is above the limit.
    fn is_above(&self, rate: &Rate, key: &[KeyPart<'_>]) -> bool;
}

/// What one evaluation sees.
pub struct Frame<'f> {
    /// What it is about.
    pub subject: &'f Subject<'f>,
    /// The accounts of rates.
    pub rates: &'f dyn Rates,
    /// Variables of the loops around, outermost first.
    pub items: [&'f [u8]; LOOPS_MAX],
    /// Items that loops may still look at.
    pub steps: &'f Cell<u32>,
}

impl Frame<'_> {
    /// Counts one item of a loop.
    pub fn step(&self) -> Known<()> {
        match self.steps.get().checked_sub(1) {
            Some(left) => {
                self.steps.set(left);
                Ok(())
            }
            None => Err(Gap::TooLong),
        }
    }
}
