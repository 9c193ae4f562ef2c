//! The syntax tree of an expression.

use super::super::mistake::Span;
use std::fmt;

/// A part of an expression and the text that it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    /// What it is.
    pub node: Node,
    /// Its text.
    pub span: Span,
    /// How many levels there are below it, itself included: at most [`super::parse::HEIGHT_MAX`], so that nothing that
    /// walks a tree can run out of stack.
    pub height: usize,
}

/// What a part of an expression is.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// `true`, `false`.
    Bool(bool),
    /// `42`.
    Int(i64),
    /// `4.2`.
    Float(f64),
    /// `"text"`.
    Text(String),
    /// `helo`.
    Name(String),
    /// `client.address`: of what, which.
    Select(Box<Tree>, String),
    /// `size(x)`, `x.size()`.
    Call(Call),
    /// `[1, 2]`.
    List(Vec<Tree>),
    /// `!x`.
    Not(Box<Tree>),
    /// `-x`.
    Negative(Box<Tree>),
    /// `a && b && c`: flat, so that a long one is not deep.
    And(Vec<Tree>),
    /// `a || b || c`.
    Or(Vec<Tree>),
    /// `a == b` and the like.
    Binary(Operator, Box<[Tree; 2]>),
    /// `condition ? a : b`.
    Choice(Box<[Tree; 3]>),
}

/// A call of a function, or of a method of `target`.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The function.
    pub name: String,
    /// Where the name stands.
    pub name_span: Span,
    /// What it is a method of.
    pub target: Option<Box<Tree>>,
    /// In the parentheses.
    pub arguments: Vec<Tree>,
}

/// What stands between two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Equal,
    Unequal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operator {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Operator::Equal => "==",
            Operator::Unequal => "!=",
            Operator::Less => "<",
            Operator::LessEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterEqual => ">=",
            Operator::In => "in",
            Operator::Add => "+",
            Operator::Subtract => "-",
            Operator::Multiply => "*",
            Operator::Divide => "/",
            Operator::Remainder => "%",
        }
    }
}

impl Tree {
    /// The dotted name that it spells, if it spells one: `client.address`.
    pub fn dotted(&self) -> Option<String> {
        match &self.node {
            Node::Name(name) => Some(name.clone()),
            Node::Select(of, field) => Some(format!("{}.{field}", of.dotted()?)),
            _ => None,
        }
    }

    /// What it is made of, in the order of the text.
    pub fn parts(&self) -> impl Iterator<Item = &Tree> {
        let (one, many): (Option<&Tree>, &[Tree]) = match &self.node {
            Node::Bool(_) | Node::Int(_) | Node::Float(_) | Node::Text(_) | Node::Name(_) => {
                (None, &[])
            }
            Node::Select(of, _) | Node::Not(of) | Node::Negative(of) => (Some(of), &[]),
            Node::Call(call) => (call.target.as_deref(), &call.arguments),
            Node::List(parts) | Node::And(parts) | Node::Or(parts) => (None, parts),
            Node::Binary(_, parts) => (None, &**parts),
            Node::Choice(parts) => (None, &**parts),
        };
        one.into_iter().chain(many)
    }
}

/// With all parentheses, operators first: how the tests compare trees.
impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = |f: &mut fmt::Formatter<'_>, parts: &[Tree]| {
            parts.iter().try_for_each(|part| write!(f, " {part}"))
        };
        match &self.node {
            Node::Bool(value) => write!(f, "{value}"),
            Node::Int(value) => write!(f, "{value}"),
            Node::Float(value) => write!(f, "{value:?}"),
            Node::Text(text) => write!(f, "{text:?}"),
            Node::Name(name) => f.write_str(name),
            Node::Select(of, field) => write!(f, "(. {of} {field})"),
            Node::Call(call) => {
                write!(f, "({}", call.name)?;
                if let Some(target) = &call.target {
                    write!(f, " of {target}")?;
                }
                all(f, &call.arguments)?;
                f.write_str(")")
            }
            Node::List(items) => {
                f.write_str("(list")?;
                all(f, items)?;
                f.write_str(")")
            }
            Node::Not(part) => write!(f, "(! {part})"),
            Node::Negative(part) => write!(f, "(- {part})"),
            Node::And(parts) | Node::Or(parts) => {
                let and = matches!(self.node, Node::And(_));
                f.write_str(if and { "(&&" } else { "(||" })?;
                all(f, parts)?;
                f.write_str(")")
            }
            Node::Binary(operator, parts) => {
                write!(f, "({}", operator.as_str())?;
                all(f, &**parts)?;
                f.write_str(")")
            }
            Node::Choice(parts) => {
                f.write_str("(?")?;
                all(f, &**parts)?;
                f.write_str(")")
            }
        }
    }
}
