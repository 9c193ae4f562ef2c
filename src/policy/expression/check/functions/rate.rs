//! `rate(key, n, per)`, `rate_window(key, n, per)` and `leases(key, n, ttl)`.

use super::{Site, milliseconds};
use crate::policy::{
    expression::{
        check::Checker,
        code::{Code, Node as Value, Run, Source},
        syntax::tree::{Node, Tree},
        types::TextKind,
        value::{Counting, Frame, KeyPart, Known, Rate},
    },
    rates::{leases, windows},
};
use std::net::IpAddr;

/// Parts of a key.
const PARTS_MAX: usize = 4;
/// Uses of these functions in one rule.
const USES_MAX: usize = 16;
/// Milliseconds of `per`: a day, as long as accounts are kept.
const PER_MS_MAX: i64 = 86_400_000;

enum Part {
    Text(TextKind, Source),
    Address(Run<IpAddr>),
    Int(Run<i64>),
}

impl Part {
    fn read<'f>(&'f self, frame: &Frame<'f>) -> Known<KeyPart<'f>> {
        Ok(match self {
            Part::Text(kind, source) => {
                let text = source.read(frame)?;
                if kind.is_name() || text.lower {
                    KeyPart::Name(text.octets)
                } else {
                    KeyPart::Text(text.octets)
                }
            }
            Part::Address(address) => KeyPart::Address(address(frame)?),
            Part::Int(number) => KeyPart::Int(number(frame)?),
        })
    }
}

/// `rate(key, n, per)`.
pub fn rate(checker: &mut Checker<'_>, site: &Site<'_>) -> Option<Code> {
    build(checker, site, Counting::Bucket, u64::MAX)
}

/// `rate_window(key, n, per)`.
pub fn rate_window(checker: &mut Checker<'_>, site: &Site<'_>) -> Option<Code> {
    build(checker, site, Counting::Window, windows::LIMIT_MAX)
}

/// `leases(key, n, ttl)`.
pub fn leases(checker: &mut Checker<'_>, site: &Site<'_>) -> Option<Code> {
    build(checker, site, Counting::Leases, leases::LIMIT_MAX)
}

fn build(
    checker: &mut Checker<'_>,
    site: &Site<'_>,
    counting: Counting,
    limit_max: u64,
) -> Option<Code> {
    let [key, limit, per] = site.arguments[..] else {
        return None;
    };
    let parts = parts(checker, key);
    let limit = number(checker, limit, limit_max);
    let per = span(checker, per);
    let (parts, limit, per_ms) = (parts?, limit?, per?);
    if checker.rates >= USES_MAX {
        let message = format!("more than {USES_MAX} uses of `rate`, `rate_window` and `leases`");
        return checker.refuse(site.span, message, "write it as several rules");
    }
    let rule = checker.environment.rule.as_bytes();
    let rate = Rate {
        counting,
        account: account(rule, checker.rates as u64, limit, per_ms),
        limit,
        per_ms,
    };
    checker.rates += 1;
    Some(Code::Bool(Value::run(move |frame| {
        let mut key = [KeyPart::Int(0); PARTS_MAX];
        for (part, room) in parts.iter().zip(&mut key) {
            *room = part.read(frame)?;
        }
        Ok(frame.rates.is_above(&rate, &key[..parts.len()]))
    })))
}

fn parts(checker: &mut Checker<'_>, key: &Tree) -> Option<Vec<Part>> {
    let trees = match &key.node {
        Node::List(trees) => trees.as_slice(),
        _ => std::slice::from_ref(key),
    };
    if trees.is_empty() || trees.len() > PARTS_MAX {
        let message = format!("a key has one to {PARTS_MAX} parts");
        return checker.refuse(
            key.span,
            message,
            "write `rate([client.address, sender.domain], …)`",
        );
    }
    let parts: Vec<_> = trees
        .iter()
        .map(|tree| match checker.code(tree)? {
            Code::Text(kind, source) => Some(Part::Text(kind, source)),
            Code::Address(value) => Some(Part::Address(value.into_run())),
            Code::Int(value) => Some(Part::Int(value.into_run())),
            other => {
                let message = format!("a value of type {} can't be a key", other.kind());
                checker.refuse(
                    tree.span,
                    message,
                    "a key is a text, an address or a number",
                )
            }
        })
        .collect();
    parts.into_iter().collect()
}

fn number(checker: &mut Checker<'_>, tree: &Tree, most: u64) -> Option<u64> {
    let hint = "write a whole number of at least 1";
    match checker.code(tree)? {
        Code::Int(Value::Const(value)) => match u64::try_from(value) {
            Ok(value) if value > most => {
                let message = format!("this counts to {most} at most");
                checker.refuse(tree.span, message, "use `rate`, or a smaller number")
            }
            Ok(value) if value > 0 => Some(value),
            _ => checker.refuse(
                tree.span,
                format!("a rate of {value} lets nothing through"),
                hint,
            ),
        },
        Code::Int(_) => checker.refuse(tree.span, "the limit of a rate must be a constant", hint),
        other => {
            let message = format!(
                "the limit of a rate is an int, and this is of type {}",
                other.kind()
            );
            checker.refuse(tree.span, message, hint)
        }
    }
}

fn span(checker: &mut Checker<'_>, tree: &Tree) -> Option<u64> {
    let hint = "write it as \"30s\", \"5m\" or \"1h\"";
    let value = match &tree.node {
        Node::Text(text) => match milliseconds(text) {
            Some(value) => value,
            None => return checker.refuse(tree.span, format!("{text:?} is no duration"), hint),
        },
        _ => match checker.code(tree)? {
            Code::Duration(Value::Const(value)) => value,
            other => {
                let message = format!(
                    "the time of a rate must be a constant duration, and this is of type {}",
                    other.kind()
                );
                return checker.refuse(tree.span, message, hint);
            }
        },
    };
    if !(1_000..=PER_MS_MAX).contains(&value) {
        return checker.refuse(
            tree.span,
            "the time of a rate is a second at least and a day at most",
            hint,
        );
    }
    u64::try_from(value).ok()
}

/// FNV-1a over what tells one use from another: stable over reloads and machines.
fn account(rule: &[u8], at: u64, limit: u64, per_ms: u64) -> u64 {
    let numbers = [at, limit, per_ms];
    let numbers = numbers.iter().flat_map(|number| number.to_le_bytes());
    rule.iter()
        .copied()
        .chain([0])
        .chain(numbers)
        .fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
            (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
        })
}
