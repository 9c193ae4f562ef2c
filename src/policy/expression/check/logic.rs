//! `&&`, `||`, `!` and `? :`, in three values.
//!
//! An operand that is unknown decides nothing: `&&` is false where any operand is false, `||` is true where any is true,
//! in whichever order they stand; else one that is unknown makes the whole unknown.

use super::Checker;
use crate::policy::expression::{
    code::{Code, Node as Value, Run, Source},
    syntax::tree::Tree,
    types::{TextKind, Type},
    value::{Frame, Known},
};

impl Checker<'_> {
    pub(super) fn not(&mut self, part: &Tree) -> Option<Code> {
        let value = self.condition(part, "what follows `!`")?;
        let not = value.map(|value| Ok(!value));
        self.folded(part.span, not).map(Code::Bool)
    }

    /// `&&` (where `all` is true) or `||` of all parts.
    pub(super) fn all_of(&mut self, parts: &[Tree], all: bool) -> Option<Code> {
        let what = if all {
            "each side of `&&`"
        } else {
            "each side of `||`"
        };
        let values: Vec<_> = parts
            .iter()
            .map(|part| self.condition(part, what))
            .collect();
        let values = values.into_iter().collect::<Option<Vec<_>>>()?;
        let mut runs = Vec::new();
        for value in values {
            match value {
                Value::Const(value) if value == all => {}
                Value::Const(decided) => return Some(Code::Bool(Value::Const(decided))),
                Value::Run(run) => runs.push(run),
            }
        }
        Some(Code::Bool(chain(runs, all)))
    }

    pub(super) fn choice(&mut self, parts: &[Tree; 3]) -> Option<Code> {
        let [condition, yes, no] = parts;
        let codes = (
            self.condition(condition, "what stands before `?`"),
            self.code(yes),
            self.code(no),
        );
        let (chosen, yes_code, no_code) = (codes.0?, codes.1?, codes.2?);
        let (a, b) = (yes_code.kind(), no_code.kind());
        let span = yes.span.to(no.span);
        let code = match (yes_code, no_code) {
            (Code::Bool(a), Code::Bool(b)) => Code::Bool(pick(chosen, a, b)),
            (Code::Int(a), Code::Int(b)) => Code::Int(pick(chosen, a, b)),
            (Code::Float(a), Code::Float(b)) => Code::Float(pick(chosen, a, b)),
            (Code::Address(a), Code::Address(b)) => Code::Address(pick(chosen, a, b)),
            (Code::Duration(a), Code::Duration(b)) => Code::Duration(pick(chosen, a, b)),
            (Code::Text(a, yes), Code::Text(b, no)) => {
                let Some(kind) = common(a, &yes, b, &no) else {
                    let message = format!(
                        "one side of `:` is a {}, the other a {}",
                        Type::Text(a),
                        Type::Text(b)
                    );
                    return self.refuse(span, message, "compare each side by itself");
                };
                match chosen {
                    Value::Const(chosen) => Code::Text(kind, if chosen { yes } else { no }),
                    Value::Run(run) => Code::Text(kind, Source::Choice(run, Box::new([yes, no]))),
                }
            }
            _ => {
                let message =
                    format!("both sides of `:` must be of one type, and they are {a} and {b}");
                return self.refuse(
                    span,
                    message,
                    "lists can't be chosen between: write two rules",
                );
            }
        };
        Some(code)
    }
}

/// The kind of two texts between which something chooses. A constant is as the other.
fn common(a: TextKind, yes: &Source, b: TextKind, no: &Source) -> Option<TextKind> {
    let plain = |kind| match kind {
        TextKind::Word(_) => TextKind::Plain,
        other => other,
    };
    match (yes.constant(), no.constant()) {
        (Some(_), _) => Some(plain(b)),
        (_, Some(_)) => Some(plain(a)),
        _ => (plain(a) == plain(b)).then(|| plain(a)),
    }
}

fn pick<T: Copy + Send + Sync + 'static>(
    chosen: Value<bool>,
    yes: Value<T>,
    no: Value<T>,
) -> Value<T> {
    match chosen {
        Value::Const(true) => yes,
        Value::Const(false) => no,
        Value::Run(chosen) => {
            let (yes, no) = (yes.into_run(), no.into_run());
            Value::run(move |frame| {
                if chosen(frame)? {
                    yes(frame)
                } else {
                    no(frame)
                }
            })
        }
    }
}

/// The chain of what is not constant: two and three operands, the usual numbers, without a loop.
fn chain(mut runs: Vec<Run<bool>>, all: bool) -> Value<bool> {
    match runs.len() {
        0 => Value::Const(all),
        1 => Value::Run(runs.remove(0)),
        2 => {
            let (b, a) = (runs.remove(1), runs.remove(0));
            if all {
                Value::run(move |frame| step::<true>(a(frame), || b(frame)))
            } else {
                Value::run(move |frame| step::<false>(a(frame), || b(frame)))
            }
        }
        3 => {
            let (c, b, a) = (runs.remove(2), runs.remove(1), runs.remove(0));
            if all {
                Value::run(move |frame| {
                    step::<true>(step::<true>(a(frame), || b(frame)), || c(frame))
                })
            } else {
                Value::run(move |frame| {
                    step::<false>(step::<false>(a(frame), || b(frame)), || c(frame))
                })
            }
        }
        _ => Value::run(move |frame| long(&runs, frame, all)),
    }
}

#[inline]
fn step<const ALL: bool>(left: Known<bool>, right: impl FnOnce() -> Known<bool>) -> Known<bool> {
    match left {
        Ok(value) if value != ALL => Ok(value),
        Ok(_) => right(),
        Err(gap) => match right() {
            Ok(value) if value != ALL => Ok(value),
            _ => Err(gap),
        },
    }
}

fn long(runs: &[Run<bool>], frame: &Frame<'_>, all: bool) -> Known<bool> {
    let mut result = Ok(all);
    for run in runs {
        match run(frame) {
            Ok(value) if value != all => return Ok(value),
            Ok(_) => {}
            Err(gap) => result = result.and(Err(gap)),
        }
    }
    result
}
