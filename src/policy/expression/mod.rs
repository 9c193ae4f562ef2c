//! The conditions of rules: CEL's syntax over typed facts, checked at the start and compiled to closures.
//!
//! ```text
//! helo == "mx.example.net" && !client.trusted
//! ```
//!
//! A condition goes through `syntax/` (text to tree), `check/` (types; what passes is compiled at once, constants are
//! folded) and is then a closure that neither allocates nor waits. `facts` has the table of what can be named, and
//! `check/functions/` of what can be called: the checker, the manual (`reference`) and the templates of replies (`reply`) read
//! the same two tables.
//!
//! # Three values
//! A fact from a look-up may be unknown. What is made of an unknown value is unknown, except that `&&` is false where any
//! side is false, and `||` true where any side is true. A rule whose condition is unknown does not fire, and
//! [`Truth::Unknown`] says which fact it was. Arithmetic beyond 64 bits and a division by zero are unknown too.
//!
//! # What is not there
//! An optional text that isn't there (`auth.account`, `client.name`, a header field) reads as an empty text; `has(NAME)`
//! tells the two apart. That is not unknown: the look-up has said that there is none.
//!
//! # Bounds
//! Of a text: 16 KiB, 64 levels (`syntax/parse.rs`). Of an evaluation: the tree once, loops two deep and
//! [`STEPS_MAX`] items together; patterns (32 of 256 KiB at most) take linear time, are compiled at
//! the start, and look at the first 64 KiB of a text.

mod accounts;
mod answers;
mod check;
mod code;
mod facts;
mod fields;
mod mistake;
mod names;
mod reference;
mod reply;
mod subject;
mod syntax;
#[cfg(test)]
mod tests;
mod types;
mod value;
mod values;

pub use code::NamedList;
pub use facts::{Fact, Need};
pub use fields::Fields;
pub use mistake::Mistake;
pub use reference::reference;
pub use reply::{Kind as ReplyKind, Template};
pub use subject::{Missing, Subject};
pub use syntax::named::{named, shown};
pub use value::{Counting, Gap, KeyPart, Rate, Rates, STEPS_MAX, Truth};

use super::At;
use check::Checker;
use code::Run;
use std::{cell::Cell, collections::BTreeMap, fmt, ops::Range, sync::Arc};
use syntax::tree::Tree;
use value::{Frame, LOOPS_MAX};

/// What a rule can name besides facts and functions.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    /// The name of the rule: the accounts of its rates are told apart by it.
    pub rule: &'a str,
    /// What `list("name")` finds.
    pub lists: &'a NamedLists,
    /// What `list("name")` finds where that has none, for a look at a configuration whose lists could not all be read: it may be
    /// one of those. `None`: that is a mistake.
    pub unread_list: Option<&'a Arc<dyn NamedList>>,
}

/// Named lists by their names.
pub type NamedLists = BTreeMap<String, Arc<dyn NamedList>>;

/// A compiled condition.
pub struct Expression {
    run: Run<bool>,
    constant: Option<bool>,
    reads: Box<[u16]>,
    headers: Box<[Box<str>]>,
    stage: At,
    shared: Option<Mistake>,
}

impl Expression {
    /// Checks a condition and compiles it.
    ///
    /// # Errors
    /// Every mistake of its types and names that was found, or the first of its syntax.
    pub fn compile(text: &str, environment: &Environment<'_>) -> Result<Expression, Vec<Mistake>> {
        let tree = syntax::parse::parse(text).map_err(|mistake| vec![mistake])?;
        let mut checker = Checker::new(environment);
        let condition = checker.condition(&tree, "the condition of a rule");
        match condition {
            Some(node) if checker.mistakes.is_empty() => {
                let constant = match node {
                    code::Node::Const(value) => Some(value),
                    code::Node::Run(_) => None,
                };
                Ok(Expression {
                    run: node.into_run(),
                    constant,
                    reads: checker.reads.into_iter().collect(),
                    headers: checker.headers.into_iter().collect(),
                    stage: checker.stage,
                    shared: accounts::shared(&tree),
                })
            }
            _ => {
                checker.mistakes.sort_by_key(|mistake| mistake.start);
                Err(checker.mistakes)
            }
        }
    }

    /// Whether the rule fires.
    #[must_use]
    pub fn judge(&self, subject: &Subject<'_>, rates: &dyn Rates) -> Truth {
        with_frame(subject, rates, |frame| (self.run)(frame)).into()
    }

    /// The value that it always has, if it depends on nothing. Worth a warning.
    #[must_use]
    pub fn constant(&self) -> Option<bool> {
        self.constant
    }

    /// An account of a rate that is shared by all that lack what is counted. Worth a warning.
    #[must_use]
    pub fn shared_account(&self) -> Option<&Mistake> {
        self.shared.as_ref()
    }

    /// The facts that it reads.
    pub fn reads(&self) -> impl Iterator<Item = &'static Fact> {
        facts_at(&self.reads)
    }

    /// The names of the header fields that it reads.
    #[must_use]
    pub fn headers(&self) -> &[Box<str>] {
        &self.headers
    }

    /// The earliest point at which it can be judged, once its look-ups are answered.
    #[must_use]
    pub fn stage(&self) -> At {
        self.stage
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reads: Vec<_> = self.reads().map(|fact| fact.name).collect();
        f.debug_struct("Expression")
            .field("stage", &self.stage)
            .field("reads", &reads)
            .finish_non_exhaustive()
    }
}

/// The octets of a condition where it names a fact first.
#[must_use]
pub fn span_of(condition: &str, name: &str) -> Option<Range<usize>> {
    fn find(tree: &Tree, name: &str) -> Option<Range<usize>> {
        match tree.dotted() {
            Some(dotted) if dotted == name => Some(tree.span.start..tree.span.end),
            _ => tree.parts().find_map(|part| find(part, name)),
        }
    }
    find(&syntax::parse::parse(condition).ok()?, name)
}

fn facts_at(places: &[u16]) -> impl Iterator<Item = &'static Fact> {
    places
        .iter()
        .filter_map(|at| facts::TABLE.get(usize::from(*at)))
}

fn with_frame<T>(subject: &Subject<'_>, rates: &dyn Rates, f: impl FnOnce(&Frame<'_>) -> T) -> T {
    let steps = Cell::new(STEPS_MAX);
    f(&Frame {
        subject,
        rates,
        items: [b""; LOOPS_MAX],
        steps: &steps,
    })
}
