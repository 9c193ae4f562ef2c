//! `LIST.exists(x, condition)` and `LIST.all(x, condition)`.

use super::Site;
use crate::policy::expression::{
    check::Checker,
    code::{Code, List, Node as Value, Source},
    facts,
    syntax::tree::Node,
    types::{TextKind, Type},
    value::{Frame, LOOPS_MAX},
};

/// Builds `exists`.
pub fn exists(checker: &mut Checker<'_>, site: &Site<'_>) -> Option<Code> {
    build(checker, site, false)
}

/// Builds `all`.
pub fn all(checker: &mut Checker<'_>, site: &Site<'_>) -> Option<Code> {
    build(checker, site, true)
}

fn build(checker: &mut Checker<'_>, site: &Site<'_>, all: bool) -> Option<Code> {
    let [list, variable, condition] = site.arguments[..] else {
        return None;
    };
    let (kind, list) = texts(checker, list)?;
    let Node::Name(name) = &variable.node else {
        let message = "the first argument names the item, as in `LIST.exists(x, x == \"a\")`";
        return checker.refuse(variable.span, message, "");
    };
    if facts::find(name).is_some() || checker.scope.iter().any(|(known, _)| known == name) {
        let message = format!("`{name}` is the name of something else already");
        return checker.refuse(variable.span, message, "choose another name for the item");
    }
    let depth = checker.scope.len();
    if depth >= LOOPS_MAX {
        let message = format!("more than {LOOPS_MAX} loops inside each other");
        return checker.refuse(site.span, message, "write it as several rules");
    }
    checker.scope.push((name.clone(), kind));
    let body = checker.condition(condition, "the condition of the loop");
    checker.scope.pop();
    // Of an empty list a constant condition must not decide.
    let body = body?.into_run();
    Some(Code::Bool(Value::run(move |frame| {
        let found = list.any(frame, |item| {
            let mut items = frame.items;
            items[depth] = item;
            let inner = Frame { items, ..*frame };
            body(&inner).map(|value| value != all)
        });
        found.map(|found| found != all)
    })))
}

/// A list of texts.
pub fn texts(
    checker: &mut Checker<'_>,
    tree: &crate::policy::expression::syntax::tree::Tree,
) -> Option<(TextKind, List)> {
    match checker.code(tree)? {
        Code::Texts(kind, list) => Some((kind, list)),
        Code::Items(items) => {
            let texts: Option<Box<[Box<[u8]>]>> = items
                .into_iter()
                .map(|item| match item {
                    Code::Text(_, Source::Const(text)) => Some(text),
                    _ => None,
                })
                .collect();
            match texts {
                Some(texts) => Some((TextKind::Plain, List::Const(texts))),
                None => checker.refuse(
                    tree.span,
                    "a loop over a written list needs a list of texts",
                    "write `a || b` instead",
                ),
            }
        }
        other => {
            let hint = match other.kind() {
                Type::Named | Type::Networks => "write `x in …`",
                _ => "",
            };
            let message = format!(
                "this needs a list of texts, and it is of type {}",
                other.kind()
            );
            checker.refuse(tree.span, message, hint)
        }
    }
}
