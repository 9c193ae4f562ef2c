//! `== != < <= > >=`: only between values of types that can be compared.

use super::Checker;
use crate::config::Size;
use crate::policy::expression::{
    code::{Code, Node as Value, Source},
    mistake::{Mistake, Span, did_you_mean},
    names,
    syntax::tree::Operator,
    types::{TextKind, Type},
    value::{Gap, Known},
};
use std::{cmp::Ordering, net::IpAddr};

impl Checker<'_> {
    pub(super) fn compare(
        &mut self,
        operator: Operator,
        sides: [Span; 2],
        a: Code,
        b: Code,
    ) -> Option<Code> {
        let span = sides[0].to(sides[1]);
        let equality = matches!(operator, Operator::Equal | Operator::Unequal);
        let kinds = (a.kind(), b.kind());
        let is_size = [&a, &b].into_iter().any(is_size);
        let value = match (a, b) {
            (Code::Bool(a), Code::Bool(b)) if equality => equal(operator, a, b),
            (Code::Int(a), Code::Int(b)) | (Code::Duration(a), Code::Duration(b)) => {
                ordered(operator, a, b)
            }
            (Code::Float(a), Code::Float(b)) => float_order(operator, a, b),
            (Code::Float(a), Code::Int(Value::Const(b))) => {
                float_order(operator, a, Value::Const(b as f64))
            }
            (Code::Int(Value::Const(a)), Code::Float(b)) => {
                float_order(operator, Value::Const(a as f64), b)
            }
            (Code::Address(a), Code::Address(b)) if equality => equal(operator, a, b),
            (Code::Address(a), Code::Text(_, Source::Const(b))) if equality => {
                let b = self.address(sides[1], &b)?;
                equal(operator, a, Value::Const(b))
            }
            (Code::Text(_, Source::Const(a)), Code::Address(b)) if equality => {
                let a = self.address(sides[0], &a)?;
                equal(operator, Value::Const(a), b)
            }
            (Code::Text(a, left), Code::Text(b, right)) if equality => {
                let equal = self.same_text(sides, (a, left), (b, right))?;
                equal.map(move |equal| Ok(equal == (operator == Operator::Equal)))
            }
            (Code::Text(a, left), Code::Text(b, right)) if !a.is_name() && !b.is_name() => {
                Ok(text_order(operator, left, right))
            }
            _ if is_size && matches!(kinds, (Type::Int, _) | (_, Type::Int)) => {
                let (a, b) = kinds;
                let says = format!("{a} and {b} can't be compared with `{}`", operator.as_str());
                return self.refuse(span, says, "write a size as bytes(\"10MiB\")");
            }
            _ => return self.incomparable(operator, span, kinds),
        };
        self.folded(span, value).map(Code::Bool)
    }

    fn incomparable<T>(
        &mut self,
        operator: Operator,
        span: Span,
        kinds: (Type, Type),
    ) -> Option<T> {
        let (a, b) = kinds;
        let mut says = format!("{a} and {b} can't be compared with `{}`", operator.as_str());
        let hint = match kinds {
            (Type::Int, Type::Text(_)) | (Type::Text(_), Type::Int) => {
                "write a number without quotes"
            }
            (Type::Int, Type::Float) | (Type::Float, Type::Int) => {
                "write `double(x)` for the whole number"
            }
            (Type::Bool, Type::Text(_)) | (Type::Text(_), Type::Bool) => {
                "write `true` or `false` without quotes, or leave the comparison out"
            }
            (Type::Duration, _) | (_, Type::Duration) if a != b => {
                "write a time span as duration(\"5m\")"
            }
            (Type::Address, Type::Networks) => "write `client.address in cidr(…)`",
            (_, Type::Named) => "write `… in list(…)`",
            (Type::Texts(_) | Type::Items, _) | (_, Type::Texts(_) | Type::Items) => {
                "write `x in LIST`, `LIST.exists(x, …)` or `LIST.size()`"
            }
            _ if a == b => {
                says = format!(
                    "values of type {a} have no order, so `{}` can't be used",
                    operator.as_str()
                );
                "use `==` or `!=`"
            }
            _ => "",
        };
        self.refuse(span, says, hint)
    }

    /// The address that a text is.
    pub(super) fn address(&mut self, span: Span, text: &[u8]) -> Option<IpAddr> {
        let text = String::from_utf8_lossy(text);
        match text.parse::<IpAddr>() {
            Ok(address) => Some(address.to_canonical()),
            Err(_) => {
                let hint = if text.contains('/') {
                    "write `client.address in cidr(\"…\")` for a network"
                } else {
                    "write it as \"192.0.2.7\" or \"2001:db8::7\""
                };
                self.refuse(span, format!("{text:?} is no IP address"), hint)
            }
        }
    }

    /// Whether two texts are the same, by the kinds that they are of.
    pub(super) fn same_text(
        &mut self,
        sides: [Span; 2],
        (a, left): (TextKind, Source),
        (b, right): (TextKind, Source),
    ) -> Option<Value<bool>> {
        if a.is_name() && b.is_name() && a != b {
            let message = "a domain is never equal to a mail address";
            return self.refuse(
                sides[0].to(sides[1]),
                message,
                "write `domain_of(…)` for the domain of the address",
            );
        }
        self.word_fits(sides[1], a, &right);
        self.word_fits(sides[0], b, &left);
        let names = a.is_name() || b.is_name();
        Some(match (left, right) {
            (Source::Const(a), Source::Const(b)) => {
                Value::Const(if names { names::same(&a, &b) } else { a == b })
            }
            (source, Source::Const(text)) | (Source::Const(text), source) if names => {
                let name = names::kept(&String::from_utf8_lossy(&text));
                Value::run(move |frame| Ok(names::is(source.read(frame)?.octets, &name)))
            }
            (source, Source::Const(text)) | (Source::Const(text), source) => {
                Value::run(move |frame| {
                    let read = source.read(frame)?;
                    Ok(read.octets.len() == text.len()
                        && if read.lower {
                            read.iter().eq(text.iter().copied())
                        } else {
                            *read.octets == *text
                        })
                })
            }
            (a, b) if names => Value::run(move |frame| {
                Ok(names::same(a.read(frame)?.octets, b.read(frame)?.octets))
            }),
            (a, b) => Value::run(move |frame| Ok(a.read(frame)?.equals(b.read(frame)?))),
        })
    }

    /// Reports a literal that is none of the words of the other side.
    fn word_fits(&mut self, span: Span, kind: TextKind, literal: &Source) {
        if let Some(text) = literal.constant() {
            check_word(self, span, kind, text);
        }
    }
}

/// Whether it is a text such as `10MiB`.
fn is_size(code: &Code) -> bool {
    let Code::Text(_, text) = code else {
        return false;
    };
    let text = text.constant().and_then(|text| str::from_utf8(text).ok());
    text.is_some_and(|text| text.parse::<Size>().is_ok() && text.parse::<u64>().is_err())
}

/// Reports a text that is none of the words of a kind.
pub fn check_word(checker: &mut Checker<'_>, span: Span, kind: TextKind, text: &[u8]) {
    let TextKind::Word(words) = kind else { return };
    let text = String::from_utf8_lossy(text);
    if !text.is_empty() && !words.contains(&&*text) {
        let hint = did_you_mean(&text, words.iter().copied());
        let hint = hint.unwrap_or_else(|| format!("it is one of \"{}\"", words.join("\", \"")));
        let message = format!("it is never {text:?}");
        checker.report(Mistake::new(span, message).with_hint(hint));
    }
}

fn equal<T: PartialEq + Copy + Send + Sync + 'static>(
    operator: Operator,
    a: Value<T>,
    b: Value<T>,
) -> Known<Value<bool>> {
    match operator {
        Operator::Equal => a.join(b, |a, b| Ok(a == b)),
        _ => a.join(b, |a, b| Ok(a != b)),
    }
}

/// Whole numbers and durations. One closure for each operator, so that none asks at run time which it is.
fn ordered(operator: Operator, a: Value<i64>, b: Value<i64>) -> Known<Value<bool>> {
    match operator {
        Operator::Equal | Operator::Unequal => equal(operator, a, b),
        Operator::Less => a.join(b, |a, b| Ok(a < b)),
        Operator::LessEqual => a.join(b, |a, b| Ok(a <= b)),
        Operator::Greater => a.join(b, |a, b| Ok(a > b)),
        _ => a.join(b, |a, b| Ok(a >= b)),
    }
}

/// Floats; what 0.0 / 0.0 makes has no place in an order.
fn float_order(operator: Operator, a: Value<f64>, b: Value<f64>) -> Known<Value<bool>> {
    let order = |a: f64, b: f64| a.partial_cmp(&b).ok_or(Gap::Overflow);
    match operator {
        Operator::Equal | Operator::Unequal => equal(operator, a, b),
        Operator::Less => a.join(b, move |a, b| Ok(order(a, b)?.is_lt())),
        Operator::LessEqual => a.join(b, move |a, b| Ok(order(a, b)?.is_le())),
        Operator::Greater => a.join(b, move |a, b| Ok(order(a, b)?.is_gt())),
        _ => a.join(b, move |a, b| Ok(order(a, b)?.is_ge())),
    }
}

/// Plain texts in the order of their octets, which for UTF-8 is that of its characters.
fn text_order(operator: Operator, a: Source, b: Source) -> Value<bool> {
    let holds = move |order: Ordering| match operator {
        Operator::Less => order.is_lt(),
        Operator::LessEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        _ => order.is_ge(),
    };
    match (a, b) {
        (Source::Const(a), Source::Const(b)) => Value::Const(holds(a.cmp(&b))),
        (a, b) => {
            Value::run(move |frame| Ok(holds(a.read(frame)?.iter().cmp(b.read(frame)?.iter()))))
        }
    }
}
