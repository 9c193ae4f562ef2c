//! `+ - * / %` and the sign. What leaves the range of its numbers has no value.

use super::Checker;
use crate::policy::expression::{
    code::{Code, Source},
    mistake::Span,
    syntax::tree::{Operator, Tree},
    types::Type,
    value::{Gap, Known},
};

impl Checker<'_> {
    pub(super) fn negative(&mut self, part: &Tree) -> Option<Code> {
        match self.code(part)? {
            Code::Int(value) => {
                let negative = value.map(|value| value.checked_neg().ok_or(Gap::Overflow));
                self.folded(part.span, negative).map(Code::Int)
            }
            Code::Float(value) => {
                let negative = value.map(|value| Ok(-value));
                self.folded(part.span, negative).map(Code::Float)
            }
            other => {
                let message = format!("`-` needs a number, and this is of type {}", other.kind());
                let hint = match other {
                    Code::Bool(_) => "write `!` for \"not\"",
                    _ => "",
                };
                self.refuse(part.span, message, hint)
            }
        }
    }

    pub(super) fn calculate(
        &mut self,
        operator: Operator,
        sides: [Span; 2],
        a: Code,
        b: Code,
    ) -> Option<Code> {
        let span = sides[0].to(sides[1]);
        let kinds = (a.kind(), b.kind());
        match (a, b) {
            (Code::Int(a), Code::Int(b)) => {
                let value = a.join(b, move |a, b| whole(operator, a, b));
                self.folded(span, value).map(Code::Int)
            }
            (Code::Float(a), Code::Float(b)) if operator != Operator::Remainder => {
                let value = a.join(b, move |a, b| Ok(fraction(operator, a, b)));
                self.folded(span, value).map(Code::Float)
            }
            (Code::Duration(a), Code::Duration(b))
                if matches!(operator, Operator::Add | Operator::Subtract) =>
            {
                let value = a.join(b, move |a, b| whole(operator, a, b));
                self.folded(span, value).map(Code::Duration)
            }
            (Code::Text(a, Source::Const(left)), Code::Text(_, Source::Const(right)))
                if operator == Operator::Add =>
            {
                let joined = [left, right].concat().into_boxed_slice();
                Some(Code::Text(a, Source::Const(joined)))
            }
            _ => {
                let hint = match kinds {
                    (Type::Text(_), _) | (_, Type::Text(_)) => {
                        "texts can't be put together in a rule: compare each part by itself"
                    }
                    (Type::Int, Type::Float) | (Type::Float, Type::Int) => {
                        "write whole numbers with a point (`2.0`), or `double(x)`"
                    }
                    _ => "",
                };
                let (a, b) = kinds;
                let message = format!("`{}` can't be used on {a} and {b}", operator.as_str());
                self.refuse(span, message, hint)
            }
        }
    }
}

fn whole(operator: Operator, a: i64, b: i64) -> Known<i64> {
    let value = match operator {
        Operator::Add => a.checked_add(b),
        Operator::Subtract => a.checked_sub(b),
        Operator::Multiply => a.checked_mul(b),
        _ if b == 0 => return Err(Gap::ZeroDivision),
        Operator::Divide => a.checked_div(b),
        _ => a.checked_rem(b),
    };
    value.ok_or(Gap::Overflow)
}

fn fraction(operator: Operator, a: f64, b: f64) -> f64 {
    match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        _ => a / b,
    }
}
