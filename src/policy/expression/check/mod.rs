//! The type check. It walks the tree once, and what passes comes out compiled.

mod arithmetic;
mod compare;
pub(super) mod functions;
mod logic;
mod membership;

pub(super) use compare::check_word;

use super::{
    Environment,
    code::{Code, Node as Value, Source},
    facts,
    mistake::{Mistake, Span, did_you_mean},
    syntax::tree::{Node, Operator, Tree},
    types::{TextKind, Type},
    value::Gap,
};
use crate::policy::At;
use std::collections::BTreeSet;

/// Mistakes of one text that are reported.
pub const MISTAKES_MAX: usize = 20;

/// What is known while an expression is checked.
pub struct Checker<'a> {
    /// What can be named besides facts.
    pub environment: &'a Environment<'a>,
    /// What was wrong so far.
    pub mistakes: Vec<Mistake>,
    /// Facts that are read.
    pub reads: BTreeSet<u16>,
    /// The latest stage of what is read.
    pub stage: At,
    /// Header fields that are read.
    pub headers: BTreeSet<Box<str>>,
    /// Uses of `rate`.
    pub rates: usize,
    /// Patterns that were compiled.
    pub patterns: usize,
    /// Variables of the loops around.
    pub scope: Vec<(String, TextKind)>,
}

impl<'a> Checker<'a> {
    /// One that has seen nothing.
    pub fn new(environment: &'a Environment<'a>) -> Checker<'a> {
        Checker {
            environment,
            mistakes: Vec::new(),
            reads: BTreeSet::new(),
            stage: At::Connect,
            headers: BTreeSet::new(),
            rates: 0,
            patterns: 0,
            scope: Vec::new(),
        }
    }

    /// Reports a mistake.
    pub fn report(&mut self, mistake: Mistake) {
        if self.mistakes.len() < MISTAKES_MAX && !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
    }

    /// Reports one, and has no value.
    pub fn refuse<T>(&mut self, span: Span, message: impl Into<String>, hint: &str) -> Option<T> {
        let mistake = Mistake::new(span, message);
        self.report(if hint.is_empty() {
            mistake
        } else {
            mistake.with_hint(hint)
        });
        None
    }

    /// The value, or the report that constants have none.
    pub fn folded<T>(&mut self, span: Span, value: Result<T, Gap>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(gap) => self.refuse(span, format!("this can't be calculated: {gap}"), ""),
        }
    }

    /// Checks a part of any type.
    pub fn code(&mut self, tree: &Tree) -> Option<Code> {
        match &tree.node {
            Node::Bool(value) => Some(Code::Bool(Value::Const(*value))),
            Node::Int(value) => Some(Code::Int(Value::Const(*value))),
            Node::Float(value) => Some(Code::Float(Value::Const(*value))),
            Node::Text(text) => {
                let text = text.as_bytes().into();
                Some(Code::Text(TextKind::Plain, Source::Const(text)))
            }
            Node::Name(_) | Node::Select(..) => self.name(tree),
            Node::Call(call) => functions::call(self, tree.span, call),
            Node::List(items) => {
                let items: Vec<_> = items.iter().map(|item| self.code(item)).collect();
                items.into_iter().collect::<Option<_>>().map(Code::Items)
            }
            Node::Not(part) => self.not(part),
            Node::Negative(part) => self.negative(part),
            Node::And(parts) => self.all_of(parts, true),
            Node::Or(parts) => self.all_of(parts, false),
            Node::Binary(Operator::In, parts) => self.within(&parts[0], &parts[1]),
            Node::Binary(operator, parts) => {
                let [left, right] = &**parts;
                // Both, so that the mistakes of both are reported.
                let codes = (self.code(left), self.code(right));
                let (a, b) = (codes.0?, codes.1?);
                let sides = [left.span, right.span];
                match operator {
                    Operator::Add
                    | Operator::Subtract
                    | Operator::Multiply
                    | Operator::Divide
                    | Operator::Remainder => self.calculate(*operator, sides, a, b),
                    _ => self.compare(*operator, sides, a, b),
                }
            }
            Node::Choice(parts) => self.choice(parts),
        }
    }

    /// A part that must be `true` or `false`.
    pub fn condition(&mut self, tree: &Tree, what: &str) -> Option<Value<bool>> {
        match self.code(tree)? {
            Code::Bool(value) => Some(value),
            other => {
                let hint = match other.kind() {
                    Type::Text(_) => "compare it: `… == \"text\"`",
                    Type::Int | Type::Float => "compare it: `… > 0`",
                    Type::Texts(_) | Type::Items => "ask for an item: `\"text\" in …`",
                    Type::Named | Type::Networks => "ask for an item: `client.address in …`",
                    _ => "",
                };
                let message = format!(
                    "{what} must be true or false, and this is of type {}",
                    other.kind()
                );
                self.refuse(tree.span, message, hint)
            }
        }
    }

    /// A part that must be a text.
    pub fn text(&mut self, tree: &Tree, what: &str) -> Option<(TextKind, Source)> {
        match self.code(tree)? {
            Code::Text(kind, source) => Some((kind, source)),
            other => {
                let message = format!(
                    "{what} must be a text, and this is of type {}",
                    other.kind()
                );
                self.refuse(tree.span, message, "")
            }
        }
    }

    /// A part that must be a text written out.
    pub fn literal<'t>(&mut self, tree: &'t Tree, what: &str) -> Option<&'t str> {
        match &tree.node {
            Node::Text(text) => Some(text),
            _ => {
                let message = format!(
                    "{what} must be written out as \"text\": it is read once, at the start"
                );
                self.refuse(tree.span, message, "")
            }
        }
    }

    /// A variable or a fact.
    fn name(&mut self, tree: &Tree) -> Option<Code> {
        if let Node::Name(name) = &tree.node
            && let Some(at) = self.scope.iter().rposition(|(known, _)| known == name)
        {
            return Some(Code::Text(self.scope[at].1, Source::Item(at)));
        }
        let id = self.fact(tree)?;
        Code::of_fact(id)
    }

    /// The fact that a dotted name stands for.
    pub fn fact(&mut self, tree: &Tree) -> Option<u16> {
        let Some(name) = tree.dotted() else {
            let Node::Select(of, field) = &tree.node else {
                return self.refuse(tree.span, "the name of a fact should be here", "");
            };
            if self.code(of).is_some() {
                let message = format!("a value has no field `{field}`");
                self.report(
                    Mistake::new(tree.span, message)
                        .with_hint("methods are written with parentheses: `x.size()`"),
                );
            }
            return None;
        };
        if let Some(id) = facts::find(&name) {
            self.reads.insert(id);
            self.stage = self.stage.max(facts::TABLE[usize::from(id)].stage);
            return Some(id);
        }
        self.unknown(tree.span, &name);
        None
    }

    fn unknown(&mut self, span: Span, name: &str) {
        let shown: String = name.chars().take(80).collect();
        let mistake = Mistake::new(span, format!("there is no fact `{shown}`"));
        let group = format!("{name}.");
        let members = facts::TABLE
            .iter()
            .filter(|fact| fact.name.starts_with(&group));
        let members: Vec<_> = members.map(|fact| format!("`{}`", fact.name)).collect();
        let hint = if let Some(owner) = facts::TABLE.iter().find(|fact| {
            name.strip_prefix(fact.name)
                .is_some_and(|rest| rest.starts_with('.'))
                && {
                    let method = &name[fact.name.len() + 1..];
                    functions::find(method).is_some()
                }
        }) {
            let method = &name[owner.name.len() + 1..];
            Some(format!(
                "a method is written with parentheses: `{}.{method}(…)`",
                owner.name
            ))
        } else if members.is_empty() {
            let names = facts::TABLE.iter().map(|fact| fact.name);
            let variables = self.scope.iter().map(|(name, _)| &**name);
            did_you_mean(name, names.chain(variables)).or_else(|| {
                let known = functions::find(name).is_some();
                known.then(|| format!("`{name}` is a function: write `{name}(…)`"))
            })
        } else {
            Some(format!("there is {}", members.join(", ")))
        };
        self.report(match hint {
            Some(hint) => mistake.with_hint(hint),
            None => mistake
                .with_hint("a text is written in quotes; `gatepost config rules` has all facts"),
        });
    }
}
