//! What a key takes, as read from the JSON schema. The walk over a file and the manual both ask here, so that
//! an error and the manual call the same thing by the same words.

use super::Config;
use serde_json::Value as Schema;
use std::sync::LazyLock;
use toml::de::DeValue;

/// The schema of the whole file.
pub static SCHEMA: LazyLock<Schema> = LazyLock::new(|| schemars::schema_for!(Config).to_value());

/// What a key takes.
pub enum Kind<'a> {
    /// A table with these properties.
    Table(&'a Schema),
    /// A list of these.
    List(&'a Schema),
    /// Text, or a table that says more.
    Either(&'a Schema, &'a Schema),
    /// One of these words.
    Word(Vec<&'a str>),
    /// `true` or `false`.
    Switch,
    /// Any text.
    Text,
    /// A whole number from 0 to this.
    Integer(u64),
    /// A number.
    Float,
    /// Text of a form that `value.rs` parses.
    Format(&'a str),
}

/// Follows a `$ref`.
#[must_use]
pub fn resolve(schema: &Schema) -> &Schema {
    match schema["$ref"]
        .as_str()
        .and_then(|target| target.strip_prefix("#/$defs/"))
    {
        Some(name) => &SCHEMA["$defs"][name],
        None => schema,
    }
}

impl<'a> Kind<'a> {
    /// Reads the kind from a resolved schema.
    #[must_use]
    pub fn of(schema: &'a Schema) -> Kind<'a> {
        if let Some(words) = schema["oneOf"].as_array() {
            return Kind::Word(
                words
                    .iter()
                    .filter_map(|word| word["const"].as_str())
                    .collect(),
            );
        }
        if let Some([text, table]) = schema["anyOf"].as_array().map(Vec::as_slice) {
            return Kind::Either(resolve(text), resolve(table));
        }
        let kind = &schema["type"];
        let format = schema["format"].as_str().unwrap_or_default();
        match kind.as_str().or_else(|| kind[0].as_str()) {
            Some("object") => Kind::Table(schema),
            Some("array") => Kind::List(&schema["items"]),
            Some("integer") => Kind::Integer(if format == "uint32" {
                u32::MAX.into()
            } else {
                i64::MAX as u64
            }),
            Some("boolean") => Kind::Switch,
            Some("number") => Kind::Float,
            _ if !format.is_empty() => Kind::Format(format),
            _ => Kind::Text,
        }
    }

    /// What an error says that the key takes.
    #[must_use]
    pub fn wanted(&self) -> String {
        match self {
            Kind::Table(_) => "a table".into(),
            Kind::List(_) => "a list".into(),
            Kind::Either(..) => "text or a table".into(),
            Kind::Word(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
                match words.split_last() {
                    Some((last, rest)) if !rest.is_empty() => {
                        format!("{} or {last}", rest.join(", "))
                    }
                    _ => words.concat(),
                }
            }
            Kind::Switch => "true or false".into(),
            Kind::Text => "text in quotes".into(),
            Kind::Integer(_) => "a whole number".into(),
            Kind::Float => "a number".into(),
            Kind::Format("duration") => "a duration like \"30s\", \"5m\" or \"1h30m\"".into(),
            Kind::Format("size") => "a size like 512, \"64KiB\" or \"25MiB\"".into(),
            Kind::Format("workers") => "\"auto\" or a number".into(),
            Kind::Format("listen") => "an address like \"127.0.0.1:9025\" or \"unix:/run/gatepost/admin.sock\", or \"off\"".into(),
            Kind::Format("socket") => {
                "an address like \"192.0.2.1:25\" or \"[2001:db8::1]:25\"".into()
            }
            Kind::Format("network") => "a network like \"10.0.0.0/8\" or \"2001:db8::/32\"".into(),
            Kind::Format("effect") => {
                "\"accept\", \"defer\", \"reject\", \"close\" or a score like 2.5".into()
            }
            Kind::Format(format) => (*format).into(),
        }
    }

    /// The word for the manual's tables.
    #[must_use]
    pub fn named(&self) -> String {
        match self {
            Kind::Table(_) => "table".into(),
            Kind::List(items) => format!("list of {}", plural(&Kind::of(resolve(items)).named())),
            Kind::Either(text, _) => format!("{} or table", Kind::of(text).named()),
            Kind::Word(words) => words
                .iter()
                .map(|word| format!("`{word}`"))
                .collect::<Vec<_>>()
                .join(", "),
            Kind::Switch => "`true`, `false`".into(),
            Kind::Text => "text".into(),
            Kind::Integer(_) => "whole number".into(),
            Kind::Float => "number".into(),
            Kind::Format("workers") => "`auto` or number".into(),
            Kind::Format("listen") => "address, `unix:/path` or `off`".into(),
            Kind::Format("socket") => "address".into(),
            Kind::Format("effect") => {
                "`accept`, `tag`, `greylist`, `defer`, `tarpit`, `quarantine`, `reject`, `close` or score"
                    .into()
            }
            Kind::Format(format) => (*format).into(),
        }
    }

    /// What could be written instead of this value.
    #[must_use]
    pub fn instead(&self, found: &DeValue<'_>) -> Option<String> {
        match (self, found) {
            (Kind::Format("duration"), DeValue::Integer(number)) => {
                Some(format!("write \"{number}s\" for seconds"))
            }
            (Kind::Integer(_) | Kind::Float, DeValue::String(text))
                if text.parse::<u64>().is_ok() =>
            {
                Some(format!("write {text} without quotes"))
            }
            (Kind::Switch, DeValue::String(text)) => match &**text {
                "true" | "yes" | "on" => Some("write true without quotes".into()),
                "false" | "no" | "off" => Some("write false without quotes".into()),
                _ => None,
            },
            (Kind::List(items), DeValue::String(text))
                if !matches!(Kind::of(resolve(items)), Kind::Table(_)) =>
            {
                Some(format!("write [\"{text}\"]"))
            }
            (Kind::List(_), DeValue::Table(_)) => {
                Some("write the header in double brackets: `[[…]]`".into())
            }
            (Kind::Table(_), DeValue::Array(_)) => {
                Some("write the header in single brackets: `[…]`".into())
            }
            (Kind::Table(_), _) => Some("write it as a section of its own: `[…]`".into()),
            (Kind::Text | Kind::Format(_), DeValue::Integer(number)) => {
                Some(format!("write \"{number}\""))
            }
            (Kind::Word(words), DeValue::Boolean(value)) => {
                let word = if *value { "on" } else { "off" };
                words.contains(&word).then(|| format!("write \"{word}\""))
            }
            (Kind::Format("listen"), DeValue::Boolean(false)) => Some("write \"off\"".into()),
            _ => None,
        }
    }
}

fn plural(name: &str) -> String {
    match name {
        "address" => "addresses".into(),
        "text" => "texts".into(),
        "network" => "networks".into(),
        "table" => "tables".into(),
        name => name.into(),
    }
}
