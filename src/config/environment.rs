//! `${NAME}` in a value: what the environment says, where a container's settings come from.
//!
//! Replaced after the file was parsed, so that a value can't add keys or lines to the file. `${NAME:-text}` has a text
//! for a variable that is not set; `$${` is a plain `${`.

use super::kind::Kind;
use toml::{Spanned, de::DeValue};

/// What is wrong with it, and what to do.
pub type Fault = (String, String);

/// The value with its variables replaced; `None` where it has none.
///
/// # Errors
/// A variable is not set, or its braces are not closed.
pub fn expand(value: &Spanned<DeValue<'_>>) -> Result<Option<Spanned<DeValue<'static>>>, Fault> {
    let DeValue::String(text) = value.get_ref() else {
        return Ok(None);
    };
    if !text.contains("${") {
        return Ok(None);
    }
    let look = |name: &str| std::env::var(name).ok();
    let text = replaced(text, look)?;
    Ok(Some(Spanned::new(
        value.span(),
        DeValue::String(text.into()),
    )))
}

fn replaced(text: &str, look: impl Fn(&str) -> Option<String>) -> Result<String, Fault> {
    let mut made = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            made.push_str(&rest[..at]);
            made.push('{');
            rest = &rest[at + 2..];
            continue;
        }
        made.push_str(&rest[..at]);
        let inner = &rest[at + 2..];
        let Some(end) = inner.find('}') else {
            return Err((
                "has a `${` without its `}`".into(),
                "write ${NAME}, or $${ for the characters themselves".into(),
            ));
        };
        let (name, default) = match inner[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&inner[..end], None),
        };
        let known = look(name).filter(|value| !(value.is_empty() && default.is_some()));
        match known.or_else(|| default.map(Into::into)) {
            Some(value) => made.push_str(&value),
            None => {
                return Err((
                    format!("names the environment variable `{name}`, which is not set"),
                    format!("set {name}, or write ${{{name}:-default}}"),
                ));
            }
        }
        rest = &inner[end + 1..];
    }
    made.push_str(rest);
    Ok(made)
}

/// A number or a switch that came from a variable: the file must quote it, so it is read without the quotes.
pub fn unquoted<E>(
    expanded: &Option<Spanned<DeValue<'static>>>,
    kind: &Kind<'_>,
) -> Option<Result<toml::Value, E>> {
    let DeValue::String(text) = expanded.as_ref()?.get_ref() else {
        return None;
    };
    let value = match kind {
        Kind::Integer(max) => {
            let number: u64 = text.trim().parse().ok().filter(|number| number <= max)?;
            toml::Value::Integer(i64::try_from(number).ok()?)
        }
        Kind::Float => {
            let number: f64 = text.trim().parse().ok()?;
            toml::Value::Float(Some(number).filter(|number| number.is_finite())?)
        }
        Kind::Switch => toml::Value::Boolean(text.trim().parse().ok()?),
        _ => return None,
    };
    Some(Ok(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("mx.example.net".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_replaced() {
        for (text, made) in [
            ("${HOST}", "mx.example.net"),
            ("a ${HOST}:${PORT:-25}", "a mx.example.net:25"),
            ("[${EMPTY}]", "[]"),
            ("${EMPTY:-full}", "full"),
            ("^a$${2}", "^a${2}"),
            ("$HOST {x}", "$HOST {x}"),
        ] {
            assert_eq!(replaced(text, look), Ok(made.to_string()), "{text}");
        }
    }

    #[test]
    fn what_is_not_there_is_told() {
        let (message, hint) = replaced("x ${NONE}", look).expect_err("not set");
        assert!(message.contains("`NONE`") && hint.contains("${NONE:-default}"));
        assert!(replaced("${HOST", look).is_err());
    }

    #[test]
    fn what_a_variable_holds_is_no_syntax() {
        let hostile = |_: &str| Some("\"\n[limits]\nsessions = 1".to_string());
        let made = replaced("${X}", hostile).expect("set");
        assert_eq!(made, "\"\n[limits]\nsessions = 1");
    }
}
