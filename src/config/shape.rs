//! Holds a TOML document against the schema: unknown keys, wrong types, words that don't exist, values that
//! don't parse. It goes on after each mistake and returns what is left, so that the checks of meaning can run
//! over the rest of the file.

use super::{
    AdminListen, Size, Time, Workers,
    document::Document,
    environment,
    hidden::is_secret,
    kind::{Kind, SCHEMA, resolve},
    later::{later, plain},
    nearest::{meant, nearest},
};
use serde_json::Value as Schema;
use std::ops::Range;
use toml::{
    Spanned, Table, Value,
    de::{DeTable, DeValue},
};

/// Walks the document's tree; what fits the schema comes back.
pub fn walk(tree: &Spanned<DeTable<'_>>, document: &mut Document) -> Table {
    Walker { document }.table(tree.get_ref(), &SCHEMA, "")
}

struct Walker<'a> {
    document: &'a mut Document,
}

impl Walker<'_> {
    fn table(&mut self, table: &DeTable<'_>, schema: &Schema, path: &str) -> Table {
        let properties = schema["properties"].as_object();
        let mut kept = Table::new();
        for (key, value) in table {
            let name: &str = key.get_ref();
            let here = join(path, name);
            match properties.and_then(|properties| properties.get(name)) {
                None => self.unknown(name, key.span(), schema, path),
                Some(schema) => {
                    self.document.mark(&here, key.span(), value.span());
                    if let Some(value) = self.value(value, resolve(schema), &here) {
                        kept.insert(name.into(), value);
                    }
                }
            }
        }
        kept
    }

    /// `None` where the value is no use; it has been told.
    fn value(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        schema: &Schema,
        path: &str,
    ) -> Option<Value> {
        let kind = Kind::of(schema);
        let expanded = match environment::expand(value) {
            Ok(expanded) => expanded,
            Err((message, hint)) => {
                self.wrong(value.span(), path, message, Some(hint));
                return None;
            }
        };
        let value = expanded.as_ref().unwrap_or(value);
        match (&kind, value.get_ref()) {
            (Kind::Table(schema), DeValue::Table(table)) => {
                let kept = self.table(table, schema, path);
                self.complete(value.span(), &kept, schema, path)
                    .then_some(Value::Table(kept))
            }
            (Kind::List(items), DeValue::Array(array)) => {
                let mut kept = Vec::with_capacity(array.len());
                for (at, item) in array.iter().enumerate() {
                    let here = format!("{path}[{at}]");
                    self.document.mark(&here, item.span(), item.span());
                    kept.push(self.value(item, resolve(items), &here));
                }
                // One that is missing would shift the others' places.
                kept.into_iter().collect::<Option<_>>().map(Value::Array)
            }
            (Kind::Either(text, _), DeValue::String(_)) => self.value(value, text, path),
            (Kind::Either(_, table), _) => self.value(value, table, path),
            (kind, found) => match scalar(kind, found)
                .or_else(|wrong| environment::unquoted(&expanded, kind).unwrap_or(Err(wrong)))
            {
                Ok(value) => Some(value),
                Err(Wrong { message, hint }) => {
                    self.wrong(value.span(), path, message, hint);
                    None
                }
            },
        }
    }

    /// Whether every key is there that has no default.
    fn complete(&mut self, span: Range<usize>, kept: &Table, schema: &Schema, path: &str) -> bool {
        let required = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Schema::as_str);
        let mut complete = true;
        for key in required.filter(|key| !kept.contains_key(*key)) {
            complete = false;
            if !self.document.is_broken(&join(path, key)) {
                self.wrong(span.clone(), path, format!("needs `{key}`"), None);
            }
        }
        complete
    }

    fn wrong(&mut self, span: Range<usize>, path: &str, message: String, hint: Option<String>) {
        let message = format!("`{path}` {message}");
        let hint = hint.map(|hint| hint.replace('…', &plain(path)));
        self.document.error_at(span, path, message, hint);
        self.document.mark_broken(path);
    }

    fn unknown(&mut self, name: &str, span: Range<usize>, schema: &Schema, path: &str) {
        let here = join(path, name);
        if let Some(advice) = later(&here) {
            self.document.error_at(
                span,
                &here,
                format!("`{name}` is not supported yet"),
                Some(advice.into()),
            );
            return;
        }
        let known: Vec<&str> = schema["properties"]
            .as_object()
            .into_iter()
            .flat_map(|keys| keys.keys())
            .map(String::as_str)
            .collect();
        let hint = match nearest(name, known.iter().copied()) {
            Some(near) => {
                // What the near miss leaves out is no second mistake.
                self.document.mark_broken(&join(path, near));
                format!("did you mean `{near}`?")
            }
            None => match below(schema, path, name).or_else(|| elsewhere(name)) {
                Some(section) => format!("that key belongs in {section}"),
                None => format!("the keys here are {}", known.join(", ")),
            },
        };
        self.document.error_at(
            span,
            &here,
            format!("unknown key `{name}` {}", place(path)),
            Some(hint),
        );
    }
}

/// What is wrong with a value, without its name.
struct Wrong {
    message: String,
    hint: Option<String>,
}

/// A value of another kind than the key takes.
fn mismatch(kind: &Kind<'_>, found: &DeValue<'_>) -> Wrong {
    match (kind, found) {
        // The text is not repeated: it may be a secret.
        (Kind::Table(schema), DeValue::String(_)) => {
            let keys = schema["properties"].as_object();
            let key = match schema["properties"]["then"].is_null() {
                true => keys.and_then(|keys| keys.keys().next()).map(|key| &**key),
                // What a check does is meant.
                false => Some("then"),
            };
            let key = key.unwrap_or("KEY");
            let hint = format!(
                "write it as a section of its own, `[…]`, or in one line: {{ {key} = VALUE }}"
            );
            Wrong {
                message: "must be a table, not text".into(),
                hint: Some(hint),
            }
        }
        // Nor is the number.
        (Kind::Table(schema), DeValue::Integer(_) | DeValue::Float(_)) if is_secret(schema) => {
            Wrong {
                message: "must be a table, not a number".into(),
                hint: kind.instead(found),
            }
        }
        _ => Wrong {
            message: format!("must be {}, not {}", kind.wanted(), describe(found)),
            hint: kind.instead(found),
        },
    }
}

fn scalar(kind: &Kind<'_>, found: &DeValue<'_>) -> Result<Value, Wrong> {
    let mismatch = || mismatch(kind, found);
    let text = match found {
        DeValue::Boolean(value) if matches!(kind, Kind::Switch) => {
            return Ok(Value::Boolean(*value));
        }
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        _ => return Err(mismatch()),
    };
    let quoted = matches!(found, DeValue::String(_));
    let whole = matches!(found, DeValue::Integer(_));
    match kind {
        Kind::Text if quoted => Ok(Value::String(text)),
        Kind::Word(words) if quoted => {
            if words.contains(&&*text) {
                return Ok(Value::String(text));
            }
            let near = meant(&text, words.iter().copied());
            Err(Wrong {
                message: format!("must be {}, not \"{text}\"", kind.wanted()),
                hint: near.map(|near| format!("did you mean \"{near}\"?")),
            })
        }
        Kind::Integer(max) if whole => match integer(found) {
            Some(number) if u64::try_from(number).is_ok_and(|number| number <= *max) => {
                Ok(Value::Integer(number))
            }
            _ => Err(Wrong {
                message: format!("must be from 0 to {max}, not {text}"),
                hint: None,
            }),
        },
        Kind::Float if !quoted => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Value::Float(number)),
            _ => Err(mismatch()),
        },
        Kind::Format("duration") if quoted => parsed::<Time>(&text),
        Kind::Format("size") if quoted || whole => {
            let text = integer(found).map_or(text, |number| number.to_string());
            parsed::<Size>(&text)
        }
        Kind::Format("effect") if quoted => parsed::<super::effect::Effect>(&text),
        Kind::Format("effect") => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Value::Float(number)),
            _ => Err(mismatch()),
        },
        Kind::Format("workers") if quoted || whole => parsed::<Workers>(&text),
        Kind::Format("listen") if quoted => parsed::<AdminListen>(&text),
        Kind::Format("socket") if quoted => match text.parse::<std::net::SocketAddr>() {
            Ok(_) => Ok(Value::String(text)),
            Err(_) => Err(Wrong {
                message: format!("must be {}, not \"{text}\"", kind.wanted()),
                hint: super::entry::instead_of_address(&text),
            }),
        },
        Kind::Format("network") if quoted => match super::entry::network(&text) {
            Ok(_) => Ok(Value::String(text)),
            Err(hint) => Err(Wrong {
                message: format!("holds \"{text}\", which is no network"),
                hint: Some(hint),
            }),
        },
        _ => Err(mismatch()),
    }
}

/// An integer of any radix.
fn integer(found: &DeValue<'_>) -> Option<i64> {
    match found {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    }
}

fn parsed<T: std::str::FromStr<Err = String>>(text: &str) -> Result<Value, Wrong> {
    match text.parse::<T>() {
        Ok(_) => Ok(Value::String(text.into())),
        Err(why) => {
            let (message, hint) = why
                .split_once("; ")
                .map_or((&*why, None), |(why, hint)| (why, Some(hint.into())));
            Err(Wrong {
                message: format!("is wrong: {message}"),
                hint,
            })
        }
    }
}

/// What stands there, in words.
fn describe(found: &DeValue<'_>) -> String {
    match found {
        DeValue::String(text) => format!("the text \"{text}\""),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

/// The policy in a table that has the key: of `[[profile]]` or `[[listener]]`.
fn below(schema: &Schema, path: &str, name: &str) -> Option<String> {
    let policy = &resolve(&schema["properties"]["policy"])["properties"];
    let is_there = !path.is_empty() && !policy[name].is_null();
    is_there.then(|| format!("`[{}.policy]`", plain(path)))
}

/// The section of the file that does have the key.
fn elsewhere(name: &str) -> Option<String> {
    let top = SCHEMA["properties"].as_object()?;
    if top.contains_key(name) {
        return Some("the top of the file, above the first section".into());
    }
    top.iter().find_map(|(section, schema)| {
        let (header, inner) = match Kind::of(resolve(schema)) {
            Kind::Table(inner) => (format!("`[{section}]`"), inner),
            Kind::List(items) => (format!("`[[{section}]]`"), resolve(items)),
            _ => return None,
        };
        inner["properties"].get(name).map(|_| header)
    })
}

/// Where a table stands, as its header would say it.
fn place(path: &str) -> String {
    match path {
        "" => "at the top of the file".into(),
        path if path.ends_with(']') && !path.contains('.') => {
            format!("in `[[{}]]`", path.split('[').next().unwrap_or_default())
        }
        path => format!("in `{path}`"),
    }
}

/// The path of a key in a table.
pub fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.into()
    } else {
        format!("{path}.{name}")
    }
}
