//! The manual and the other views of the schema: `docs/config.md`, the JSON schema, the effective values.
//!
//! Everything here is read from the schema's doc comments, so the manual can't fall behind the code.

use super::{
    Config,
    kind::{Kind, SCHEMA, resolve},
};
use serde_json::Value as Schema;
use std::fmt::Write;
use toml::de::{DeTable, DeValue};

// INV-MANUAL
const INTRODUCTION: &str = "\
# Configuration

<!-- Generated from src/config/schema by `gatepost config reference`; a test keeps it equal. -->

The configuration is a TOML file. Keys without a default are marked *required*; an unknown key is an error.
`gatepost check -c FILE` prints every error in a file with its place and what to write instead (errors of TOML's syntax come
alone, and of more than 100 problems the rest is counted); `gatepost config show` prints the values that are in force. `SIGHUP` reads the file again: new connections get the new values, and a file with errors
changes nothing.

A *duration* is written `250ms`, `30s`, `5m`, `1h30m`, `7d`. A *size* is written `512`, `64KiB`, `25MiB`, `1GiB`,
or with `KB`, `MB`, `GB` for powers of 1000. An *address* is `192.0.2.1:25` or `[2001:db8::1]:25`. A *network* is
`10.0.0.0/8`, `2001:db8::/32`, or one address. Relative paths start in the working directory, those of `include` and
`shadow_config` in the folder of the file that names them.

The key `then` of a check says what happens on a match: `reject` refuses for good (5xx), `defer` refuses for now (4xx),
`close` refuses and closes the connection (421, so that a mail server tries again, for early talk 554; `reply = \"521 5.7.1 …\"` refuses
for good), `accept` refuses nothing and ends the lists or rules of its kind
([what it means where](policy.md#what-accept-means)), and `score`
adds the check's `score` to the message's score and goes on. `greylist`, for what is judged at RCPT or before, asks the greylist
whatever the score: it refuses for now (451 at RCPT) what comes for the first time (`policy.greylist`). The other words refuse
nothing, and the rest is judged as if they were not there: `tag` writes a word on the message (`policy.tag`), `tarpit` answers the client slowly from here on
(`limits.tarpit`, `timeouts.tarpit`), `quarantine` hands the message to another pool (`policy.quarantine`), and `discard`, in
`[[policy.rule]]` alone, has it taken with 250 and delivered nowhere. Of several the severest counts: what refuses comes before
all others, then `reject_score`, `discard`, `quarantine` with `quarantine_score`, `defer_score`, and `tag`, which is written
whatever the rest comes to. A score never discards. Trusted and authenticated clients meet those checks alone that are for
every client (rules, header rules, recipient lists); what a client had earned as a stranger is taken back once it logs in, slow
replies with it. The key `mode` is `on`, `shadow` (only log what the check would
have done), or `off`.

`config/quickstart.toml` is the shortest useful file, `config/cluster.toml` a realistic one, and
`config/edge.toml` shows every key.
";

/// The manual as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut out = String::from(INTRODUCTION);
    let defaults = serde_json::to_value(Config::default()).expect("the defaults are plain data");
    section(&mut out, "", &SCHEMA, &defaults);
    out
}

/// The JSON schema of the file.
#[must_use]
pub fn schema_text() -> String {
    let mut text = serde_json::to_string_pretty(&*SCHEMA).expect("a schema is plain data");
    text.push('\n');
    text
}

/// The configuration as a file that says the same.
#[must_use]
pub fn show(config: &Config) -> String {
    let text = toml::to_string_pretty(config).expect("every value has a TOML form");
    let mut idle = Vec::new();
    if let Ok(tree) = DeTable::parse(&text) {
        idle_scores(tree.get_ref(), &mut idle);
    }
    let mut shown = text;
    idle.sort_unstable();
    for offset in idle.into_iter().rev() {
        let end = shown[offset..].find('\n').map(|end| offset + end + 1);
        shown.replace_range(offset..end.unwrap_or(shown.len()), "");
    }
    shown
}

/// Where a `score` stands beside a `then` with which it has no effect. It is a default, and what a reader of the file would take for
/// a contradiction.
fn idle_scores(table: &DeTable<'_>, found: &mut Vec<usize>) {
    let then = table.get("then").and_then(|then| then.get_ref().as_str());
    for (key, value) in table {
        match value.get_ref() {
            DeValue::Table(below) => idle_scores(below, found),
            DeValue::Array(items) => {
                let tables = items.iter().filter_map(|item| item.get_ref().as_table());
                tables.for_each(|below| idle_scores(below, found));
            }
            _ if key.get_ref() == "score" && then.is_some_and(|then| then != "score") => {
                found.push(key.span().start);
            }
            _ => {}
        }
    }
}

/// One table of the file: its meaning, an example, its keys, then the tables below it.
fn section(out: &mut String, path: &str, schema: &Schema, defaults: &Schema) {
    let keys = schema["properties"].as_object();
    let mut below = Vec::new();
    let mut rows = String::new();
    for (name, property) in keys.into_iter().flatten() {
        let schema = resolve(property);
        let kind = Kind::of(schema);
        let here = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        match &kind {
            Kind::Table(inner) => below.push((
                format!("[{here}]"),
                here,
                property,
                *inner,
                defaults[name].clone(),
            )),
            Kind::List(items) if matches!(Kind::of(resolve(items)), Kind::Table(_)) => {
                let inner = resolve(items);
                below.push((
                    format!("[[{here}]]"),
                    here,
                    property,
                    inner,
                    element_defaults(inner),
                ));
            }
            kind => row(&mut rows, name, property, kind, &defaults[name]),
        }
    }
    if !rows.is_empty() {
        out.push_str("\n| key | type | default | meaning |\n|---|---|---|---|\n");
        out.push_str(&rows);
    }
    for (header, here, property, inner, defaults) in below {
        let depth = "#".repeat(2 + here.matches('.').count());
        let _ = write!(out, "\n{depth} `{header}`\n\n{}\n", text(property));
        if let Some(example) = inner["x-example"]
            .as_str()
            .filter(|_| property["x-as"].is_null() && !same_seen(out, inner))
        {
            let _ = write!(out, "\n```toml\n{}\n```\n", example.trim());
        }
        // What is told elsewhere already.
        if property["x-as"].is_null() {
            section(out, &here, inner, &defaults);
        }
    }
}

/// Whether the example of a type that stands in several places was shown already.
fn same_seen(out: &str, schema: &Schema) -> bool {
    schema["x-example"]
        .as_str()
        .is_some_and(|example| out.contains(example.trim()))
}

/// The defaults of a list's elements: those of the schema's properties.
fn element_defaults(schema: &Schema) -> Schema {
    let keys = schema["properties"].as_object().into_iter().flatten();
    Schema::Object(
        keys.map(|(name, property)| (name.clone(), property["default"].clone()))
            .collect(),
    )
}

fn row(out: &mut String, name: &str, property: &Schema, kind: &Kind<'_>, default: &Schema) {
    let default = match property["x-default"].as_str() {
        Some(words) => words.into(),
        None => match default {
            Schema::Null => "none".into(),
            Schema::String(text) if text.is_empty() => "required".into(),
            default => format!("`{}`", inline(default)),
        },
    };
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    let meaning = format!("{}{}", text(property), words(resolve(property)));
    let (kind, meaning) = (cell(&kind.named()), cell(&meaning));
    let _ = writeln!(
        out,
        "| `{name}` | {kind} | {} | {meaning} |",
        cell(&default)
    );
}

/// What each word means. Those of `then` and `mode` stand in the introduction.
fn words(schema: &Schema) -> String {
    if *schema == SCHEMA["$defs"]["Then"] || *schema == SCHEMA["$defs"]["Mode"] {
        return String::new();
    }
    let words = schema["oneOf"].as_array().into_iter().flatten();
    words
        .map(|word| {
            format!(
                " `{}`: {}",
                word["const"].as_str().unwrap_or_default(),
                text(word)
            )
        })
        .collect()
}

/// A value as TOML would have it on one line.
fn inline(value: &Schema) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn text(schema: &Schema) -> String {
    schema["description"].as_str().unwrap_or_default().into()
}
