//! `x in y`: lists that are written out, lists that facts give, named lists, networks.

use super::{Checker, check_word};
use crate::policy::expression::{
    code::{Code, List, Node as Value, Run, Source},
    mistake::Span,
    names,
    syntax::tree::{Node, Operator, Tree},
    types::{TextKind, Type},
    value::{Frame, Known},
};
use std::net::IpAddr;

/// Levels of the left side of `in` where the list holds other than texts.
const ITEM_HEIGHT_MAX: usize = 3;
/// Names that are compared one by one: their lengths differ, so most comparisons end at once.
const SCANNED_MAX: usize = 8;

impl Checker<'_> {
    pub(super) fn within(&mut self, item: &Tree, list: &Tree) -> Option<Code> {
        let sides = [item.span, list.span];
        if let Node::List(items) = &list.node {
            let item_code = self.code(item)?;
            return self.within_items(item, item_code, items).map(Code::Bool);
        }
        let codes = (self.code(item), self.code(list));
        let (a, b) = (codes.0?, codes.1?);
        let kinds = (a.kind(), b.kind());
        let value = match (a, b) {
            (Code::Address(address), Code::Networks(networks)) => address
                .map(move |address| Ok(networks.iter().any(|network| network.contains(&address)))),
            (Code::Address(_), Code::Named(named)) if named.has_no_address() => {
                Ok(Value::Const(false))
            }
            (Code::Address(address), Code::Named(named)) => {
                address.map(move |address| Ok(named.has_address(address.to_canonical())))
            }
            (Code::Text(kind, source), Code::Named(named)) => Ok(Value::run(move |frame| {
                let text = source.read(frame)?.octets;
                Ok(match kind {
                    TextKind::Domain => named.has_domain(text),
                    TextKind::Mailbox => named.has_mailbox(text),
                    TextKind::Plain | TextKind::Word(_) => named.has_text(text),
                })
            })),
            (Code::Text(kind, source), Code::Texts(other, texts)) => {
                Ok(self.within_texts(sides, (kind, source), other, texts)?)
            }
            _ => {
                let hint = match kinds {
                    (Type::Text(_), Type::Text(_)) => "write `TEXT.contains(PART)`",
                    (Type::Text(_), Type::Networks) => {
                        "only an address is in networks: `client.address in …`"
                    }
                    (_, Type::Text(_)) => {
                        "the right side of `in` is a list: `[a, b]`, `list(\"name\")`, `cidr(\"…\")`"
                    }
                    _ => "",
                };
                let (a, b) = kinds;
                return self.refuse(
                    sides[0].to(sides[1]),
                    format!("a value of type {a} can't be in one of type {b}"),
                    hint,
                );
            }
        };
        self.folded(sides[0].to(sides[1]), value).map(Code::Bool)
    }

    /// In a list that a fact gives.
    fn within_texts(
        &mut self,
        sides: [Span; 2],
        (kind, source): (TextKind, Source),
        other: TextKind,
        texts: List,
    ) -> Option<Value<bool>> {
        if kind.is_name() && other.is_name() && kind != other {
            let message = format!(
                "a {} is never in a {}",
                Type::Text(kind),
                Type::Texts(other)
            );
            return self.refuse(
                sides[0].to(sides[1]),
                message,
                "write `LIST.exists(x, domain_of(x) == …)`",
            );
        }
        if !(kind.is_name() || other.is_name()) {
            return Some(Value::run(move |frame| {
                let text = source.read(frame)?;
                texts.any(frame, |item| {
                    Ok(text.equals(crate::policy::expression::value::Text::plain(item)))
                })
            }));
        }
        if let Source::Const(text) = source {
            let name = names::kept(&String::from_utf8_lossy(&text));
            return Some(Value::run(move |frame| {
                texts.any(frame, |item| Ok(names::is(item, &name)))
            }));
        }
        Some(Value::run(move |frame| {
            let text = source.read(frame)?.octets;
            texts.any(frame, |item| Ok(names::same(item, text)))
        }))
    }

    /// In a list that is written out.
    fn within_items(&mut self, item: &Tree, code: Code, items: &[Tree]) -> Option<Value<bool>> {
        let texts: Option<Vec<&str>> = items
            .iter()
            .map(|item| match &item.node {
                Node::Text(text) => Some(&**text),
                _ => None,
            })
            .collect();
        match (code, texts) {
            (Code::Text(kind, source), Some(texts)) => {
                for (text, tree) in texts.iter().zip(items) {
                    check_word(self, tree.span, kind, text.as_bytes());
                }
                Some(among_texts(kind, source, &texts))
            }
            (Code::Address(address), Some(texts)) => {
                let all: Vec<Option<IpAddr>> = texts
                    .iter()
                    .zip(items)
                    .map(|(text, tree)| self.address(tree.span, text.as_bytes()))
                    .collect();
                let all = all.into_iter().collect::<Option<Vec<_>>>()?;
                let value = address.map(move |address| Ok(all.contains(&address.to_canonical())));
                self.folded(item.span, value)
            }
            _ => self.among_values(item, items),
        }
    }

    /// Any other list: equal to one of its items.
    fn among_values(&mut self, item: &Tree, items: &[Tree]) -> Option<Value<bool>> {
        // The item is compiled once for each: what is small stays cheap to check.
        if item.height > ITEM_HEIGHT_MAX {
            let message = "the left side of `in` is too long for a list with other than texts";
            return self.refuse(item.span, message, "write `x == a || x == b`");
        }
        let equals: Vec<_> = items
            .iter()
            .map(|other| {
                let (a, b) = (self.code(item)?, self.code(other)?);
                match self.compare(Operator::Equal, [item.span, other.span], a, b)? {
                    Code::Bool(equal) => Some(equal),
                    _ => None,
                }
            })
            .collect();
        let equals = equals.into_iter().collect::<Option<Vec<_>>>()?;
        if equals.iter().all(|equal| matches!(equal, Value::Const(_))) {
            let found = equals
                .iter()
                .any(|equal| matches!(equal, Value::Const(true)));
            return Some(Value::Const(found));
        }
        let runs: Vec<Run<bool>> = equals.into_iter().map(Value::into_run).collect();
        Some(Value::run(move |frame| any(&runs, frame)))
    }
}

fn any(runs: &[Run<bool>], frame: &Frame<'_>) -> Known<bool> {
    let mut result = Ok(false);
    for run in runs {
        match run(frame) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(gap) => result = result.and(Err(gap)),
        }
    }
    result
}

/// Constants are kept sorted, so a long list costs a few comparisons.
fn among_texts(kind: TextKind, source: Source, texts: &[&str]) -> Value<bool> {
    let mut kept: Vec<Box<[u8]>> = texts
        .iter()
        .map(|text| match kind.is_name() {
            true => names::kept(text),
            false => text.as_bytes().into(),
        })
        .collect();
    kept.sort_unstable();
    if let (Source::Const(text), false) = (&source, kind.is_name()) {
        return Value::Const(kept.binary_search(text).is_ok());
    }
    if kind.is_name() && kept.len() <= SCANNED_MAX {
        return Value::run(move |frame| {
            let name = source.read(frame)?.octets;
            Ok(kept.iter().any(|known| names::is(name, known)))
        });
    }
    if kind.is_name() {
        return Value::run(move |frame| {
            let name = names::ascii(source.read(frame)?.octets);
            let lower = || name.iter().map(u8::to_ascii_lowercase);
            let found = kept.binary_search_by(|known| known.iter().copied().cmp(lower()));
            Ok(found.is_ok())
        });
    }
    Value::run(move |frame| {
        let text = source.read(frame)?;
        let found = kept.binary_search_by(|known| known.iter().copied().cmp(text.iter()));
        Ok(found.is_ok())
    })
}
